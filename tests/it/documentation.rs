//! The documentation holds together: its links lead somewhere, and each page has a table of contents.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The pages at the root of the repository; those in `docs` are found by themselves.
const ROOT_PAGES: [&str; 5] = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docs"];

/// How long the README may be: it is the front door, the details are in `docs`.
const README_LINES: usize = 150;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page, by its path from the root of the repository.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for page in ROOT_PAGES {
        match root().join(page).is_dir() {
            true => pages.extend(std::fs::read_dir(root().join(page)).unwrap().map(|entry| entry.unwrap().path())),
            false => pages.push(root().join(page)),
        }
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.iter().map(|page| page.strip_prefix(root()).unwrap().to_owned()).collect()
}

fn read(page: &Path) -> String {
    std::fs::read_to_string(root().join(page)).unwrap()
}

/// The lines outside of fenced code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The text without its code spans, whose brackets are no links.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// The targets of the links `[text](target)`.
fn targets(text: &str) -> Vec<String> {
    let links = |line: &str| {
        let rests = without_code(line);
        rests
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(to, _)| to.to_owned())
            .collect::<Vec<_>>()
    };
    prose(text).flat_map(links).collect()
}

/// A heading: its depth and its text.
fn headings(text: &str) -> Vec<(usize, String)> {
    let heading = |line: &str| {
        let depth = line.bytes().take_while(|byte| *byte == b'#').count();
        let text = line.get(depth..)?.strip_prefix(' ')?;
        (depth > 0).then(|| (depth, text.replace('`', "")))
    };
    prose(text).filter_map(heading).collect()
}

/// The anchor that GitHub gives to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The anchors of a page; a repeated heading gets a number.
fn anchors(text: &str) -> Vec<String> {
    let mut seen = HashMap::new();
    let mut anchors = Vec::new();
    for (_, heading) in headings(text) {
        let anchor = anchor(&heading);
        let count = seen.entry(anchor.clone()).or_insert(0);
        anchors.push(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
        *count += 1;
    }
    anchors
}

/// What is wrong with a link on that page; nothing for a link to another server.
fn problem_of(page: &Path, text: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, wanted) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let linked = page.parent().unwrap().join(path);
    let other = match path {
        "" => text.to_owned(),
        _ if !root().join(&linked).exists() => return Some(format!("{}: {target} does not exist", page.display())),
        _ if wanted.is_none() => return None,
        _ => read(&linked),
    };
    let found = wanted.is_none_or(|wanted| anchors(&other).iter().any(|anchor| anchor == wanted));
    (!found).then(|| format!("{}: {target} has no such heading", page.display()))
}

/// What a page's table of contents has to be: every heading below the title, down to the third level, in order.
fn expected_contents(text: &str) -> Vec<String> {
    let below_title = headings(text).into_iter().filter(|(depth, _)| [2, 3].contains(depth));
    below_title.map(|(depth, heading)| format!("{}- {heading}", "  ".repeat(depth - 2))).collect()
}

/// The list of links between the title and the first section.
fn contents(text: &str) -> Vec<String> {
    let head = prose(text).take_while(|line| !line.starts_with("## "));
    let entry = |line: &str| {
        let (indent, link) = line.split_once("- [")?;
        let (name, rest) = link.split_once("](#")?;
        (rest == format!("{})", anchor(name))).then(|| format!("{indent}- {}", name.replace('`', "")))
    };
    head.filter_map(entry).collect()
}

#[test]
fn every_relative_link_and_anchor_leads_somewhere() {
    let mut problems = Vec::new();
    let mut checked = 0;
    for page in pages() {
        let text = read(&page);
        let targets = targets(&text);
        checked += targets.len();
        problems.extend(targets.iter().filter_map(|target| problem_of(&page, &text, target)));
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(checked > 100, "only {checked} links were found");
}

#[test]
fn every_page_has_a_table_of_contents_that_names_its_headings() {
    for page in pages().iter().filter(|page| *page != Path::new("README.md") && *page != Path::new("CHANGELOG.md")) {
        let text = read(page);
        assert_eq!(contents(&text), expected_contents(&text), "{}", page.display());
    }
}

#[test]
fn the_readme_is_short_and_names_every_page() {
    let readme = read(Path::new("README.md"));
    let lines = readme.lines().count();
    assert!(lines <= README_LINES, "the README has {lines} lines");
    let targets = targets(&readme);
    for page in pages().iter().filter(|page| *page != Path::new("README.md")) {
        assert!(targets.iter().any(|target| Path::new(target) == page), "the README does not name {}", page.display());
    }
}

#[test]
fn a_broken_link_is_found() {
    let page = Path::new("README.md");
    let text = "# Title\n\n## A `b` c\n\n[one](#a-b-c) [two](#nothing) [three](LICENSE-MIT) [four](nowhere.md)\n\
                ```\n[five](nowhere.md)\n```\n`[six](nowhere.md)` [seven](https://example.org/#nothing)\n";
    assert_eq!(targets(text).len(), 5);
    let problems: Vec<_> = targets(text).iter().filter_map(|target| problem_of(page, text, target)).collect();
    assert_eq!(problems, ["README.md: #nothing has no such heading", "README.md: nowhere.md does not exist"]);
    assert_eq!(anchor("The order's actor, 1.0 - now"), "the-orders-actor-10---now");
}
