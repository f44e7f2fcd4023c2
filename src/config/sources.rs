//! The sources of settings: the defaults, the file of a profile, and the embedding program.
//! [`crate::config::environment`] is the fourth one.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::LazyLock;

use config::{File, FileFormat, Map, Source, Value};

const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The profile that is compiled in, so that it works from any folder. A file of the same name replaces it.
const BUILT_IN: (&str, &str) = ("production", include_str!("../../config/production.toml"));

pub(super) fn defaults() -> impl Source + Send + Sync + 'static {
    File::from_str(DEFAULTS, FileFormat::Toml)
}

/// All keys, as the defaults have them.
pub(super) fn known_keys() -> &'static [String] {
    static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let table = DEFAULTS.parse().expect("the defaults are valid TOML, which a test checks");
        let mut values = Vec::new();
        flatten("", &table, &mut values);
        values.into_iter().map(|(key, _)| key).collect()
    });
    &KEYS
}

/// Values with their keys and their origins: `(key, value, origin)`.
#[derive(Clone, Debug)]
pub(super) struct NamedValues(pub(super) Vec<(String, String, String)>);

impl Source for NamedValues {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        let value =
            |(key, text, origin): &(String, String, String)| (key.clone(), Value::new(Some(origin), text.clone()));
        Ok(self.0.iter().map(value).collect())
    }
}

/// The settings of `{directory}/{profile}.toml`, or of the profile that is compiled in.
pub(super) fn profile(directory: &Path, profile: &str) -> Result<NamedValues, String> {
    const MAX_LETTERS: usize = 64;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    // Without dots and slashes, the name cannot lead to another file.
    if profile.is_empty() || profile.len() > MAX_LETTERS || !profile.bytes().all(plain) {
        return Err(format!(
            "profile: must be 1 to {MAX_LETTERS} letters, digits, '-' and '_', such as production, not {profile:?}"
        ));
    }
    let path = directory.join(format!("{profile}.toml"));
    let file = path.display().to_string();
    let (text, origin) = match (text_of(&path), BUILT_IN) {
        (Ok(text), _) => (text, file),
        (Err(error), (name, text)) if error.kind() == ErrorKind::NotFound && profile == name => {
            (text.to_owned(), format!("built-in profile {name}"))
        }
        (Err(error), _) => return Err(format!("profile: {file}: {error}")),
    };
    let table = text.parse().map_err(|error| format!("{origin}: {}", place_in(&text, &error)))?;
    let mut values = Vec::new();
    flatten("", &table, &mut values);
    if let Some((key, _)) = values.iter().find(|(key, text)| !LISTS.contains(&key.as_str()) && text.starts_with('[')) {
        return Err(format!("{key}: must not be a list (from {origin})"));
    }
    let is_section =
        |key: &str| known_keys().iter().any(|known| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')));
    if let Some((section, _)) = values.iter().find(|(key, _)| is_section(key)) {
        return Err(format!("{section}: is a section, not a setting (from {origin})"));
    }
    Ok(NamedValues(values.into_iter().map(|(key, value)| (key, value, origin.clone())).collect()))
}

/// The position and the reason of a TOML error, without any value: a value may be a secret.
pub(super) fn place_in(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
    format!("line {line}, column {column}: {}", without_values(error.message()))
}

/// The message, unless it quotes more than a single character or the name of a key.
fn without_values(message: &str) -> &str {
    let quotes_a_key = message.starts_with("unknown field") || message.starts_with("missing field");
    let quoted = message.split(['`', '"', '\'']).skip(1).step_by(2);
    let quotes_a_value = quoted.into_iter().any(|quoted| quoted.len() > 2);
    if quotes_a_value && !quotes_a_key { "not valid here" } else { message }
}

/// The keys whose values are lists.
const LISTS: [&str; 5] = [
    "server.allowed_hosts",
    "server.allowed_origins",
    "server.trusted_proxies",
    "simulation.venues_down",
    "simulation.venues_silent",
];

fn flatten(path: &str, table: &toml::Table, into: &mut Vec<(String, String)>) {
    let text = |value: &toml::Value| match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            // An empty table in place of a value would be ignored, so it is kept as a wrong value. A section may be
            // empty.
            toml::Value::Table(table) if table.is_empty() && path.contains('.') => into.push((path, "{}".to_owned())),
            toml::Value::Table(table) => flatten(&path, table, into),
            // Elsewhere an empty list would count as unset, so it is kept as a wrong value.
            toml::Value::Array(items) if LISTS.contains(&path.as_str()) => {
                into.push((path, items.iter().map(text).collect::<Vec<_>>().join(",")))
            }
            single => into.push((path, text(single))),
        }
    }
}

/// The text of a file of settings. It must be a regular file: a device or a pipe may have no end, or never answer.
pub(super) fn text_of(path: &Path) -> std::io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    std::fs::read_to_string(path)
}
