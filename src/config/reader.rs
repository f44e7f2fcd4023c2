//! Takes the values of single keys out of the merged sources, and collects the errors.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use config::{Value, ValueKind};
use rust_decimal::Decimal;

use crate::config::database_url::DatabaseUrl;
use crate::config::environment::nearest;
use crate::config::sources::{self, known_keys, place_in};
use crate::config::values::RedisUrl;
use crate::domain::secret;
use crate::domain::token::{KnownToken, MAX_DECIMALS, Token, TokenList};

const TOKENS: &str = include_str!("../../config/tokens.toml");

/// The maximum of a duration, ten years. Sums and multiples of durations then stay in the range of every clock.
const MAX_MILLISECONDS: u64 = 10 * 365 * 24 * 60 * 60 * 1_000;

/// The keys whose values are secrets or may have one.
const SECRETS: [&str; 4] = ["database.url", "redis.url", "auth.secret", "metrics.token"];

/// A key with its value in force, for `order-engine config`.
#[derive(Debug)]
pub struct ConfigEntry {
    /// The key, such as `orders.max_concurrent`.
    pub key: String,
    /// Its value, without secrets.
    pub value: String,
    /// The source of the value.
    pub source: String,
}

/// The keys that are not taken yet, with their texts and sources, and the errors so far.
pub(super) struct Reader {
    left: BTreeMap<String, (String, String)>,
    pub(super) errors: Vec<String>,
}

impl Reader {
    pub(super) fn new(tree: &Value) -> Self {
        let mut left = BTreeMap::new();
        flatten("", tree, &mut left);
        Self { left, errors: Vec::new() }
    }

    /// All keys as they are shown to the operator.
    pub(super) fn entries(&self) -> Vec<ConfigEntry> {
        self.left
            .iter()
            .map(|(key, (value, source))| {
                // Trimmed as for the parser. A URL that cannot be parsed is not shown at all.
                let text = value.trim();
                let shown = match key.as_str() {
                    _ if text.is_empty() => String::new(),
                    "database.url" => redacted(text.parse().map(|url: DatabaseUrl| url.redacted())),
                    "redis.url" => redacted(text.parse().map(|url: RedisUrl| url.redacted())),
                    "auth.secret" | "metrics.token" => "***".to_owned(),
                    _ => secret::shown(value).to_owned(),
                };
                ConfigEntry { key: key.clone(), value: shown, source: source.clone() }
            })
            .collect()
    }

    /// Adds an error of a key.
    pub(super) fn error(&mut self, key: &str, reason: impl Display) {
        self.errors.push(format!("{key}: {reason}"));
    }

    /// Takes a key and parses its value. `None` after an error.
    pub(super) fn take<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<T> {
        let (text, source) = match self.left.remove(key) {
            Some(found) => found,
            None => {
                self.error(key, "is missing");
                return None;
            }
        };
        match text.trim().parse() {
            Ok(value) => Some(value),
            // The text is a secret or may have one, so it is not shown.
            Err(error) if SECRETS.contains(&key) => {
                self.error(key, format!("{error} (from {source})"));
                None
            }
            Err(error) => {
                let error = error.to_string();
                let (error, text) = (secret::shown(&error), secret::shown(&text));
                self.error(key, format!("{error}, not {text:?} (from {source})"));
                None
            }
        }
    }

    /// As `take`; an empty text gives `Some(None)`.
    pub(super) fn optional<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<Option<T>> {
        match self.left.get(key) {
            Some((text, _)) if text.is_empty() => {
                self.left.remove(key);
                Some(None)
            }
            _ => self.take(key).map(Some),
        }
    }

    pub(super) fn at_least<T: FromStr<Err: Display> + PartialOrd + Display>(
        &mut self,
        key: &str,
        least: T,
    ) -> Option<T> {
        let value = self.take::<T>(key)?;
        if value < least {
            self.error(key, format!("must be at least {least}, not {value}"));
            return None;
        }
        Some(value)
    }

    pub(super) fn within<T: FromStr<Err: Display> + PartialOrd + Display>(
        &mut self,
        key: &str,
        least: T,
        most: T,
    ) -> Option<T> {
        let value = self.at_least(key, least)?;
        if value > most {
            self.error(key, format!("must be at most {most}, not {value}"));
            return None;
        }
        Some(value)
    }

    /// A duration of at least one millisecond.
    pub(super) fn duration(&mut self, key: &str) -> Option<Duration> {
        self.within(key, 1, MAX_MILLISECONDS).map(Duration::from_millis)
    }

    pub(super) fn duration_or_zero(&mut self, key: &str) -> Option<Duration> {
        self.within(key, 0, MAX_MILLISECONDS).map(Duration::from_millis)
    }

    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        match self.take::<String>(key)?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            other => {
                self.error(key, format!("must be true or false, not {:?}", secret::shown(other)));
                None
            }
        }
    }

    /// A list of values that are separated by commas.
    pub(super) fn list<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<Vec<T>> {
        let text = self.take::<String>(key)?;
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        match names.map(str::parse).collect() {
            Ok(list) => Some(list),
            Err(error) => {
                self.error(key, secret::shown(&error.to_string()));
                None
            }
        }
    }

    /// The token list in the file that the key names, or the built-in one if the key is empty.
    pub(super) fn tokens(&mut self, key: &str) -> Option<TokenList> {
        let path = self.take::<PathBuf>(key)?;
        let text = match path.as_os_str().is_empty() {
            true => TOKENS.to_owned(),
            false => match sources::text_of(&path) {
                Ok(text) => text,
                Err(error) => {
                    self.error(key, format!("cannot read {path:?}: {error}"));
                    return None;
                }
            },
        };
        match parse_tokens(&text) {
            Ok(tokens) => Some(tokens),
            Err(error) => {
                self.error(key, error);
                None
            }
        }
    }

    /// Adds an error for each key that was not taken: there is no such setting.
    pub(super) fn refuse_leftovers(&mut self) {
        for (key, (_, source)) in std::mem::take(&mut self.left) {
            match nearest(&key, known_keys().iter().cloned()) {
                Some(known) => self.error(&key, format!("is not a setting (from {source}); did you mean {known}?")),
                None => self.error(&key, format!("is not a setting (from {source})")),
            }
        }
    }
}

/// A URL without its secrets. One that cannot be parsed is hidden completely.
fn redacted<E>(url: Result<String, E>) -> String {
    url.unwrap_or_else(|_| secret::HIDDEN.to_owned())
}

fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, (String, String)>) {
    // Only the built-in defaults have no origin: they are not parsed from a file.
    let source = |value: &Value| value.origin().unwrap_or("default").to_owned();
    match &value.kind {
        ValueKind::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, into);
            }
        }
        ValueKind::Array(items) => {
            let joined = items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            into.insert(path.to_owned(), (joined, source(items.first().unwrap_or(value))));
        }
        _ => {
            into.insert(path.to_owned(), (value.to_string(), source(value)));
        }
    }
}

fn parse_tokens(text: &str) -> Result<TokenList, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct TokenFile {
        unknown_decimals: u8,
        token: Vec<Row>,
    }
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Row {
        symbol: String,
        mint: String,
        decimals: u8,
        simulated_usd: Decimal,
    }
    let file: TokenFile = toml::from_str(text).map_err(|error| place_in(text, &error))?;
    let known = |row: Row| {
        if row.decimals > MAX_DECIMALS {
            return Err(format!("{}: decimals must be at most {MAX_DECIMALS}", row.symbol));
        }
        if row.simulated_usd <= Decimal::ZERO {
            return Err(format!("{}: simulated_usd must be greater than 0", row.symbol));
        }
        let mint = row.mint.parse().map_err(|error| format!("{}: {error}", row.symbol))?;
        let token = Token { mint, symbol: Some(row.symbol.into()), decimals: row.decimals };
        Ok(KnownToken { token, simulated_usd: row.simulated_usd })
    };
    let tokens = file.token.into_iter().map(known).collect::<Result<_, String>>()?;
    TokenList::new(tokens, file.unknown_decimals.min(MAX_DECIMALS))
}
