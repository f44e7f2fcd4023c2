//! The dependencies between the modules of `src`: top modules use only lower layers, and files of one top module do not
//! import each other in a circle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

/// The layers of the library; a module may use only modules of the lines above its own.
const LAYERS: [&[&str]; 9] = [
    &["domain"],
    &["runtime", "config"],
    &["telemetry"],
    &["venue", "chain", "signer", "store"],
    &["simulation", "solana", "auth", "redis", "api"],
    &["actors"],
    &["service"],
    &["http"],
    &["engine"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// One file of `src`.
struct Source {
    /// The path of its module, `store::sea` for `store/sea.rs` and for `store/sea/mod.rs`.
    module: String,
    /// Its text without comments.
    code: String,
}

impl Source {
    fn new(module: &str, text: &str) -> Self {
        let lines: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
        Self { module: module.to_owned(), code: lines.join("\n") }
    }

    fn top(&self) -> &str {
        top(&self.module)
    }
}

fn top(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// The top modules that a source names by `crate::` and may not use.
fn wrong_uses(source: &Source) -> Vec<&str> {
    let ends_name = |letter: char| !letter.is_ascii_lowercase() && letter != '_';
    let named = source.code.split("crate::").skip(1).map(|rest| rest.split(ends_name).next().unwrap_or_default());
    named.filter(|used| layer(used).is_some() && *used != source.top() && layer(used) >= layer(source.top())).collect()
}

/// The paths of the `use` lines of a source, from the root of the crate and with braces expanded, and whether each line
/// is a re-export (`pub use`). A test module at the end of a file is left out, because its `super` is the file itself.
fn imports(source: &Source) -> Vec<(Vec<String>, bool)> {
    let mut found = Vec::new();
    let code = source.code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    for statement in code.split(';') {
        let Some(line) = statement.lines().position(|line| is_use(line.trim())) else { continue };
        let statement = statement.lines().skip(line).collect::<Vec<_>>().join(" ");
        let (before, tree) = statement.split_once("use ").expect("the line is a use");
        for path in expanded(tree.trim()) {
            found.extend(absolute(&source.module, &path).map(|path| (path, !before.trim().is_empty())));
        }
    }
    found
}

fn is_use(line: &str) -> bool {
    let visible = line.strip_prefix("pub").map_or(line, |rest| rest.split_once(' ').map_or("", |(_, rest)| rest));
    visible.starts_with("use ")
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d` and `a::c::e`.
fn expanded(tree: &str) -> Vec<String> {
    let Some((prefix, inner)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let inner = &inner[..inner.rfind('}').unwrap_or(inner.len())];
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for letter in inner.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("there is at least one part").push(letter);
    }
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts.flat_map(expanded).map(|part| format!("{}{part}", prefix.trim())).collect()
}

/// An import from the root of the crate; `None` where it is of another crate.
fn absolute(module: &str, import: &str) -> Option<Vec<String>> {
    let mut parts: VecDeque<_> = import.split("::").map(str::trim).collect();
    let mut base: Vec<_> = module.split("::").collect();
    match parts.pop_front()? {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            base.pop();
            while parts.front() == Some(&"super") {
                parts.pop_front();
                base.pop();
            }
        }
        _ => return None,
    }
    Some(base.into_iter().chain(parts).map(str::to_owned).collect())
}

/// Circles of imports between files of one top module, each as the modules along it.
///
/// Imports are `use crate::`, `use self::` and `use super::` lines. There are two exceptions. A re-export (`pub use`)
/// is no dependency of its file; an import of a re-exported name is a dependency on the file that defines the name. And
/// a file may import from the modules that contain it, because in Rust it is a part of them.
fn circles(sources: &[Source]) -> Vec<Vec<String>> {
    let modules: BTreeSet<_> = sources.iter().map(|source| source.module.as_str()).collect();
    let mut reexports = BTreeMap::<&str, Vec<Vec<String>>>::new();
    for source in sources {
        let paths = imports(source).into_iter().filter(|(_, is_reexport)| *is_reexport).map(|(path, _)| path);
        reexports.entry(&source.module).or_default().extend(paths);
    }
    let mut used = BTreeMap::<&str, BTreeSet<&str>>::new();
    for source in sources {
        for (path, _) in imports(source).into_iter().filter(|(_, is_reexport)| !is_reexport) {
            let Some(target) = defining_module(&path, &modules, &reexports) else { continue };
            let contains = source.module == target || source.module.starts_with(&format!("{target}::"));
            if top(target) == source.top() && !contains {
                used.entry(&source.module).or_default().insert(target);
            }
        }
    }
    let mut found: Vec<Vec<String>> = Vec::new();
    for start in used.keys() {
        let Some(circle) = circle_from(start, &used) else { continue };
        let is_known = |known: &Vec<String>| circle.iter().all(|module| known.contains(module));
        if !found.iter().any(is_known) {
            found.push(circle);
        }
    }
    found
}

/// The module that defines an imported name, through re-exports.
fn defining_module<'a>(
    path: &[String],
    modules: &BTreeSet<&'a str>,
    reexports: &BTreeMap<&str, Vec<Vec<String>>>,
) -> Option<&'a str> {
    let (module, name) = (0..=path.len()).rev().find_map(|length| {
        let module = modules.get(path[..length].join("::").as_str())?;
        Some((*module, path.get(length)))
    })?;
    let reexport = reexports.get(module).into_iter().flatten().find(|reexport| reexport.last() == name);
    match reexport {
        Some(reexport) if reexport.as_slice() != path => defining_module(reexport, modules, reexports),
        _ => Some(module),
    }
}

/// The shortest circle of uses through a module.
fn circle_from(start: &str, used: &BTreeMap<&str, BTreeSet<&str>>) -> Option<Vec<String>> {
    let mut paths = VecDeque::from([vec![start]]);
    let mut visited = BTreeSet::new();
    while let Some(path) = paths.pop_front() {
        for next in used.get(path.last()?).into_iter().flatten() {
            if *next == start {
                return Some(path.into_iter().map(str::to_owned).collect());
            }
            if visited.insert(*next) {
                paths.push_back(path.iter().copied().chain([*next]).collect());
            }
        }
    }
    None
}

/// Every file of `src` except the root of the library and of the binary.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let sources: Vec<_> = files(&root)
        .iter()
        .filter_map(|path| {
            let mut parts: Vec<_> =
                path.strip_prefix(&root).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
            let name = parts.pop().expect("a file has a name").trim_end_matches(".rs");
            parts.extend((name != "mod").then_some(name));
            let is_root = ["lib", "main"].contains(&parts.join("::").as_str());
            (!is_root).then(|| Source::new(&parts.join("::"), &std::fs::read_to_string(path).unwrap()))
        })
        .collect();
    assert!(sources.len() > 80, "only {} sources were found", sources.len());
    sources
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn no_module_uses_a_module_of_its_own_or_a_higher_layer() {
    for source in sources() {
        // The binaries are above the library, and the input generator of the tests is used in every layer.
        if ["bin", "cli", "fuzz"].contains(&source.top()) {
            continue;
        }
        assert!(layer(source.top()).is_some(), "{} is in no layer", source.module);
        let wrong = wrong_uses(&source);
        assert!(wrong.is_empty(), "{} uses {wrong:?}", source.module);
    }
}

#[test]
fn no_files_of_a_top_module_import_each_other_in_a_circle() {
    let found: Vec<_> = circles(&sources()).iter().map(|circle| circle.join(" → ")).collect();
    assert!(found.is_empty(), "circles:\n{}", found.join("\n"));
}

#[test]
fn a_planted_use_of_a_higher_layer_is_found() {
    let planted = "use crate::domain::id::OrderId;\n// crate::engine is only named.\nuse crate::http::Problem;\n";
    assert_eq!(wrong_uses(&Source::new("store::sea", planted)), ["http"]);
    assert!(wrong_uses(&Source::new("engine", planted)).is_empty());
    assert_eq!(wrong_uses(&Source::new("chain", "fn f() -> crate::venue::Venue {}")), ["venue"]);
}

#[test]
fn a_planted_circle_is_found() {
    let found = |sources: &[(&str, &str)]| {
        circles(&sources.iter().map(|(module, text)| Source::new(module, text)).collect::<Vec<_>>())
    };
    let nested = ("domain::order", "use crate::domain::{id::OrderId, lifecycle::{self, Status}};");
    assert_eq!(
        found(&[nested, ("domain::lifecycle", "use super::order::Order;\npub fn f() {}")]),
        [["domain::lifecycle", "domain::order"]]
    );
    let three = [
        ("store::a", "use self::x::Y;\nuse super::b::B;"),
        ("store::b", "use crate::store::c::C;"),
        ("store::c", "use super::a::A;"),
    ];
    assert_eq!(found(&three), [["store::a", "store::b", "store::c"]]);
    let through_reexport = [
        ("actors", "mod order;\npub use self::order::Order;"),
        ("actors::manager", "pub struct Manager;\nuse super::Order;"),
        ("actors::order", "use super::manager::Manager;"),
    ];
    assert_eq!(found(&through_reexport), [["actors::manager", "actors::order"]]);
}

#[test]
fn a_file_may_use_the_modules_that_contain_it() {
    let sources = [
        Source::new("store::sea", "mod rows;\nuse self::rows::Row;\npub struct Sea;"),
        Source::new("store::sea::rows", "use super::Sea;\nuse crate::store::Store;"),
        Source::new(
            "store",
            "mod sea;\npub use self::sea::Sea;\n#[cfg(test)]\nmod tests {\n    use super::sea::Sea;\n}",
        ),
    ];
    assert!(circles(&sources).is_empty());
}

/// The modules that get time, random numbers and identities from their environment only.
const REPEATABLE: [&str; 5] = ["domain", "actors", "simulation", "store", "service"];

/// What would read a clock or draw a number beside the environment. `tokio::time` is allowed: it is the time of the
/// runtime, which a test can pause.
const BESIDE_THE_ENVIRONMENT: [&str; 8] = [
    "Uuid::new_v4",
    "Uuid::now_v7",
    "rand::random",
    "rand::rng()",
    "Utc::now",
    "SystemTime::now",
    "std::time::Instant",
    "Local::now",
];

/// The lines outside tests that get time, a random number or an identity from elsewhere than the environment.
fn beside_the_environment(source: &Source) -> Vec<&'static str> {
    let is_test = source.module.split("::").any(|part| part == "tests");
    // Two engines with the same seed are different engines to the lock of a database.
    let is_lock = source.module == "store::sea::lock::advisory";
    if is_test || is_lock || !REPEATABLE.contains(&source.top()) {
        return Vec::new();
    }
    let code = source.code.split("mod tests {").next().unwrap_or_default();
    let uses_std_instant = code.lines().any(|line| line.starts_with("use std::time::{") && line.contains("Instant"));
    let named = BESIDE_THE_ENVIRONMENT.into_iter().filter(|name| code.contains(name));
    named.chain(uses_std_instant.then_some("std::time::Instant")).collect()
}

#[test]
fn time_random_numbers_and_identities_come_from_the_environment() {
    for source in sources() {
        assert_eq!(beside_the_environment(&source), [""; 0], "{}", source.module);
    }
}

#[test]
fn a_planted_clock_is_found() {
    let planted = |module, text| !beside_the_environment(&Source::new(module, text)).is_empty();
    assert!(planted("domain::order", "fn now() -> DateTime<Utc> { Utc::now() }"));
    assert!(planted("store::write", "use std::time::{Duration, Instant};"));
    assert!(planted("actors::order", "let id = Uuid::now_v7();"));
    assert!(!planted("http::server", "let id = Uuid::now_v7();"));
    assert!(!planted("actors::order", "use tokio::time::{Instant, timeout};"));
}

#[test]
fn only_the_benchmarks_can_delete_the_tables() {
    let deleting = ["Migrator::down", "DROP TABLE", "DROP SCHEMA", "TRUNCATE TABLE"];
    let found: BTreeSet<_> = sources()
        .into_iter()
        // The tests of the migrations are at the end of a file.
        .filter(|source| {
            let code = source.code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            deleting.iter().any(|text| code.contains(text))
        })
        .map(|source| source.module)
        .collect();
    assert_eq!(found, BTreeSet::from(["bin::order-engine-bench::database".to_owned()]));
}
