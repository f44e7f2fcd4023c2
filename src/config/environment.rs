//! The environment variables with settings, and the misspelled ones.
//!
//! An empty variable counts as unset. Variables of other programs are ignored, whatever their values are.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::config::sources::{NamedValues, known_keys};

const PREFIX: &str = "ORDER_ENGINE__";

/// The short names of variables. `ORDER_ENGINE__…` overrides them, and a later one overrides an earlier one.
const SHORT_NAMES: [(&str, &str); 11] = [
    ("HOST", "server.host"),
    ("PORT", "server.port"),
    ("DATABASE_URL", "database.url"),
    ("REDIS_URL", "redis.url"),
    ("LOG_LEVEL", "log.level"),
    ("MAX_CONCURRENT_ORDERS", "orders.max_concurrent"),
    ("QUEUE_MAX_CONCURRENCY", "orders.max_concurrent"),
    ("QUEUE_RATE_LIMIT_PER_MINUTE", "orders.rate_limit_per_minute"),
    ("ORDER_TIMEOUT_MS", "orders.timeout_ms"),
    ("ROUTING_TIMEOUT_MS", "routing.timeout_ms"),
    ("RUST_LOG", "log.level"),
];

/// The variables of the command line.
const COMMAND_LINE: [&str; 4] =
    ["ORDER_ENGINE_CONFIG_DIR", "ORDER_ENGINE_PROFILE", "ORDER_ENGINE_TOKEN", "ORDER_ENGINE_URL"];

/// The prefixes of variables of this project's tests. The engines that the tests start inherit them.
const TESTS: [&str; 2] = ["ORDER_ENGINE_TEST_", "ORDER_ENGINE_CAMPAIGN"];

/// The text of a variable; `None` if it is unset or empty. The error says why the text cannot be used.
pub fn variable(name: &str) -> Result<Option<String>, String> {
    std::env::var_os(name).map_or(Ok(None), |value| text(name, value))
}

/// The settings in the environment, and all its errors.
pub(super) fn settings(variables: impl IntoIterator<Item = (OsString, OsString)>) -> (NamedValues, Vec<String>) {
    let keys = known_keys();
    let long: BTreeMap<String, &str> = keys.iter().map(|key| (long_name(key), key.as_str())).collect();
    let (mut found, mut errors, mut others) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (name, value) in variables {
        let name = match name.to_str() {
            Some(name) if long.contains_key(name) || SHORT_NAMES.iter().any(|(short, _)| *short == name) => name,
            _ => {
                errors.extend(mistake(&name, &value));
                others.extend(name.into_string().ok().filter(|_| !value.is_empty()));
                continue;
            }
        };
        match text(name, value) {
            Ok(value) => found.extend(value.map(|value| (name.to_owned(), value))),
            Err(error) => errors.push(error),
        }
    }
    for name in others {
        // If another variable sets the same key, this one is assumed to belong to another program.
        let is_set = |key: &str| {
            SHORT_NAMES.iter().any(|(short, of)| *of == key && found.contains_key(*short))
                || found.contains_key(&long_name(key))
        };
        if let Some((right, _)) = similar_short_name(&name).filter(|(_, key)| !is_set(key)) {
            errors.push(format!("{name}: is not a setting; did you mean {right}?"));
        }
    }
    let take = |name: &str, key: &str| Some((key.to_owned(), found.get(name)?.clone(), format!("environment {name}")));
    let short = SHORT_NAMES.iter().filter_map(|(name, key)| take(name, key));
    let long = long.iter().filter_map(|(name, key)| take(name, key));
    (NamedValues(short.chain(long).collect()), errors)
}

/// The errors for misspelled variables of this program. Without them, a misspelled setting would be ignored silently.
pub fn mistakes() -> Vec<String> {
    std::env::vars_os().filter_map(|(name, value)| mistake(&name, &value)).collect()
}

/// The error for a variable that is not a setting, if it seems to be meant for this program.
fn mistake(name: &OsStr, value: &OsStr) -> Option<String> {
    let name = name.to_string_lossy();
    let known =
        || known_keys().iter().map(|key| long_name(key)).chain(COMMAND_LINE.map(str::to_owned)).collect::<Vec<_>>();
    if value.is_empty() || COMMAND_LINE.contains(&&*name) || TESTS.iter().any(|own| name.starts_with(own)) {
        return None;
    }
    let is_ours = letters(&name).starts_with("ORDERENGINE")
        || name.contains("__") && known().iter().any(|known| similarity(&name, known) > 850);
    if !is_ours || known().contains(&name.to_string()) || is_service_link(&name, value) {
        return None;
    }
    Some(match nearest(&name, known()) {
        Some(known) => format!("{name}: is not a setting; did you mean {known}?"),
        None => format!("{name}: is not a setting; settings have the form ORDER_ENGINE__SECTION__KEY"),
    })
}

/// The short name that was probably meant, with its key. The shortest names are left out: too many other names are
/// similar to them.
fn similar_short_name(name: &str) -> Option<(&'static str, &'static str)> {
    const TOO_SHORT: [&str; 3] = ["HOST", "PORT", "RUST_LOG"];
    let text = letters(name);
    let is_near = |short: &str| similarity(name, short) > 850 || text.len() >= 10 && letters(short).starts_with(&text);
    let candidates = SHORT_NAMES.into_iter().filter(|(short, _)| !TOO_SHORT.contains(short) && is_near(short));
    candidates.max_by_key(|(short, _)| similarity(name, short))
}

/// The most similar of the known names, if one is similar enough.
pub(super) fn nearest(name: &str, known: impl IntoIterator<Item = String>) -> Option<String> {
    // A missing section or prefix is the most likely error.
    let end = letters(name).replace("ORDERENGINE", "");
    let bonus = |known: &str| if end.len() >= 3 && letters(known).ends_with(&end) { 300 } else { 0 };
    let rated = known.into_iter().map(|known| (similarity(name, &known) + bonus(&known), known));
    let best = rated.max_by_key(|(likeness, _)| *likeness)?;
    (best.0 > 600).then_some(best.1)
}

/// From 0 to 1,000. Separators and the case of letters are ignored.
fn similarity(name: &str, known: &str) -> usize {
    let (name, known) = (letters(name), letters(known));
    let edits = strsim::damerau_levenshtein(&name, &known);
    1_000 - 1_000 * edits / name.len().max(known.len()).max(1)
}

fn letters(name: &str) -> String {
    name.chars().filter(|letter| letter.is_ascii_alphanumeric()).map(|letter| letter.to_ascii_uppercase()).collect()
}

/// Whether Kubernetes sets the variable in every container, for a service that is called `order-engine` or
/// `order-engine-db`.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let is_port = |rest: &str| rest.starts_with(|digit: char| digit.is_ascii_digit());
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.split_once("_PORT_").is_some_and(|(_, rest)| is_port(rest))
        || name.ends_with("_PORT") && value.to_string_lossy().contains("://")
}

fn long_name(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

fn text(name: &str, value: OsString) -> Result<Option<String>, String> {
    match value.into_string() {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(_) => Err(format!("{name}: is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> (NamedValues, Vec<String>) {
        settings(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
    }

    #[test]
    fn a_misspelled_variable_is_refused_with_the_right_spelling() {
        for (name, right) in [
            ("ORDER_ENGINE_AUTH__REQUIRED", "ORDER_ENGINE__AUTH__REQUIRED"),
            ("ORDER_ENGINE__AUTH_REQUIRED", "ORDER_ENGINE__AUTH__REQUIRED"),
            ("ORDER_ENGINE_AUTH_REQUIRED", "ORDER_ENGINE__AUTH__REQUIRED"),
            ("ORDER_ENGINE___AUTH__REQUIRED", "ORDER_ENGINE__AUTH__REQUIRED"),
            ("ORDER_ENGINE__AUTH__REQUIERD", "ORDER_ENGINE__AUTH__REQUIRED"),
            ("order_engine__auth__required", "ORDER_ENGINE__AUTH__REQUIRED"),
            ("Order_Engine__Auth__Required", "ORDER_ENGINE__AUTH__REQUIRED"),
            ("ORDER_ENGINE__auth__required", "ORDER_ENGINE__AUTH__REQUIRED"),
            ("ORDERENGINE__AUTH__REQUIRED", "ORDER_ENGINE__AUTH__REQUIRED"),
            ("ORDER-ENGINE__AUTH__REQUIRED", "ORDER_ENGINE__AUTH__REQUIRED"),
            ("ORDER_ENGIN__AUTH__REQUIRED", "ORDER_ENGINE__AUTH__REQUIRED"),
            ("ORDER_ENGINE.AUTH.REQUIRED", "ORDER_ENGINE__AUTH__REQUIRED"),
            ("ORDER_ENGINE_DATABASE_URL", "ORDER_ENGINE__DATABASE__URL"),
            ("ORDER_ENGINE_LOG_LEVEL", "ORDER_ENGINE__LOG__LEVEL"),
            ("ORDER_ENGINE__PROFILE", "ORDER_ENGINE_PROFILE"),
            ("ORDER_ENGINE_PROFIL", "ORDER_ENGINE_PROFILE"),
            ("order_engine_url", "ORDER_ENGINE_URL"),
            ("ORDER_ENGINE_PORT", "ORDER_ENGINE__SERVER__PORT"),
        ] {
            let (_, errors) = read(&[(name, "true")]);
            assert_eq!(errors, [format!("{name}: is not a setting; did you mean {right}?")]);
        }
    }

    #[test]
    fn a_misspelled_short_name_is_refused_unless_its_setting_is_given() {
        for (name, right) in [
            ("DATABASE_URI", "DATABASE_URL"),
            ("DATABASEURL", "DATABASE_URL"),
            ("database_url", "DATABASE_URL"),
            ("REDIS_URI", "REDIS_URL"),
            ("LOG_LEVL", "LOG_LEVEL"),
            ("MAX_CONCURRENT_ORDER", "MAX_CONCURRENT_ORDERS"),
            ("MAX_CONCURRENT_ORDERS_", "MAX_CONCURRENT_ORDERS"),
            ("QUEUE_RATE_LIMIT", "QUEUE_RATE_LIMIT_PER_MINUTE"),
            ("QUEUE_RATE_LIMIT_PER_MIN", "QUEUE_RATE_LIMIT_PER_MINUTE"),
            ("ORDER_TIMEOUT", "ORDER_TIMEOUT_MS"),
        ] {
            assert_eq!(read(&[(name, "1")]).1, [format!("{name}: is not a setting; did you mean {right}?")]);
            assert!(read(&[(name, "1"), (right, "1")]).1.is_empty(), "{name} beside {right}");
        }
        for other in
            ["DATABASE_USER", "DATABASE_NAME", "REDIS_PORT", "REDIS_HOST", "HOSTNAME", "PORTS", "RUST_LOG_STYLE"]
        {
            assert!(read(&[(other, "1")]).1.is_empty(), "{other}");
        }
    }

    #[test]
    fn variables_of_other_programs_and_empty_ones_are_ignored() {
        for (name, value) in [
            ("AUTH__REQUIRED", "true"),
            ("ORDERS", "many"),
            ("NODE__AUTH__REQUIRED", "x"),
            ("ORDER_ENGINE_AUTH__REQUIRED", ""),
            ("ORDER_ENGINE__AUTH__REQUIRED", ""),
            ("ORDER_ENGINE_SERVICE_HOST", "10.0.0.1"),
            ("ORDER_ENGINE_SERVICE_PORT", "3000"),
            ("ORDER_ENGINE_SERVICE_PORT_HTTP", "3000"),
            ("ORDER_ENGINE_PORT", "tcp://10.0.0.1:3000"),
            ("ORDER_ENGINE_PORT_3000_TCP_ADDR", "10.0.0.1"),
            ("ORDER_ENGINE_DB_PORT_5432_TCP", "tcp://10.0.0.2:5432"),
            ("ORDER_ENGINE_TOKEN", "secret"),
        ] {
            let (NamedValues(found), errors) = read(&[(name, value)]);
            assert!(found.is_empty() && errors.is_empty(), "{name}: {errors:?}");
        }
    }

    #[test]
    fn only_variables_of_this_program_must_be_utf_8() {
        let garbled = || OsString::from_vec(vec![b'x', 0xff]);
        let (NamedValues(found), errors) = settings([
            (OsString::from("SOMEBODY_ELSES"), garbled()),
            (garbled(), garbled()),
            (OsString::from("DATABASE_URL"), garbled()),
            (OsString::from("ORDER_ENGINE__SERVER__PORT"), garbled()),
        ]);
        assert!(found.is_empty());
        assert_eq!(errors, ["DATABASE_URL: is not UTF-8", "ORDER_ENGINE__SERVER__PORT: is not UTF-8"]);
    }

    #[test]
    fn the_long_name_overrides_a_short_one_and_a_later_short_one_an_earlier_one() {
        let value = |variables: &[(&str, &str)]| read(variables).0.0.last().cloned().unwrap().1;
        assert_eq!(value(&[("ORDER_ENGINE__DATABASE__URL", "long"), ("DATABASE_URL", "short")]), "long");
        assert_eq!(value(&[("RUST_LOG", "stronger"), ("LOG_LEVEL", "weaker")]), "stronger");
        assert_eq!(value(&[("QUEUE_MAX_CONCURRENCY", "stronger"), ("MAX_CONCURRENT_ORDERS", "weaker")]), "stronger");
    }
}
