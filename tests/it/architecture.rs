//! Dependencies between the modules point one way.

use std::path::{Path, PathBuf};

/// The modules of the library; each may use only those of the lines above it.
const LAYERS: [&[&str]; 9] = [
    &["domain"],
    &["runtime", "config"],
    &["telemetry"],
    &["venue", "chain", "store"],
    &["simulation", "auth", "redis", "api"],
    &["actors"],
    &["service"],
    &["http"],
    &["engine"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// The modules that a source names by `crate::`, comments aside.
fn named(source: &str) -> impl Iterator<Item = &str> {
    let code = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_').next().unwrap_or_default())
        .filter(|name| layer(name).is_some())
}

/// What a source of that module uses and may not.
fn wrong_uses<'a>(module: &'a str, source: &'a str) -> impl Iterator<Item = &'a str> {
    named(source).filter(move |used| *used != module && layer(used) >= layer(module))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn no_module_uses_one_that_stands_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut judged = 0;
    for path in sources(&root) {
        let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
        let module = first.as_os_str().to_str().unwrap().trim_end_matches(".rs");
        // The binary has no module of the library in it, and the tools of the tests are used by all.
        if ["lib", "main", "cli", "fuzz"].contains(&module) {
            continue;
        }
        assert!(layer(module).is_some(), "{module} has no place among the layers");
        let source = std::fs::read_to_string(&path).unwrap();
        let wrong: Vec<_> = wrong_uses(module, &source).collect();
        assert!(wrong.is_empty(), "{} uses {wrong:?}", path.display());
        judged += 1;
    }
    assert!(judged > 80, "only {judged} sources were found");
}

#[test]
fn a_use_against_the_direction_is_found() {
    let planted = "use crate::domain::id::OrderId;\n// crate::engine is only named.\nuse crate::http::Problem;\n";
    assert_eq!(wrong_uses("store", planted).collect::<Vec<_>>(), ["http"]);
    assert_eq!(wrong_uses("engine", planted).count(), 0);
    assert_eq!(wrong_uses("chain", "fn f() -> crate::venue::Venue {}").collect::<Vec<_>>(), ["venue"]);
}
