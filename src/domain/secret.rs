//! Secrets, and the display of texts that may contain one.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use url::Url;
use zeroize::Zeroizing;

/// The display of a text that may contain a secret and cannot be parsed.
pub const HIDDEN: &str = "<hidden>";

/// The scheme, host, port and path of a URL, without user, password, query and fragment.
///
/// Returns [`HIDDEN`] if the text is not a URL, or if another part may hold the rest of a password that was not encoded.
pub fn url_without_secrets(text: &str) -> String {
    let contains_at = |part: &str| part.contains('@') || part.to_ascii_lowercase().contains("%40");
    let Ok(url) = Url::parse(text) else { return HIDDEN.to_owned() };
    let host = url.host_str().unwrap_or_default();
    let may_be_split =
        [url.path(), url.query().unwrap_or_default(), url.fragment().unwrap_or_default()].into_iter().any(contains_at);
    if url.cannot_be_a_base() || may_be_split || contains_at(host) || host.to_ascii_lowercase().contains("%3a") {
        return HIDDEN.to_owned();
    }
    let user = if url.username().is_empty() && url.password().is_none() { "" } else { "***@" };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{user}{host}{port}{}", url.scheme(), url.path())
}

/// The text itself, or [`HIDDEN`] if it looks like a secret in the wrong setting.
pub fn shown(text: &str) -> &str {
    let lower = text.to_ascii_lowercase();
    let is_suspect = ["@", "%40", "password", "passwd", "secret=", "token="].iter().any(|sign| lower.contains(sign));
    if is_suspect { HIDDEN } else { text }
}

/// A password, token or key. Only [`Secret::expose`] returns it; `Debug` prints `***`. It is overwritten when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps that text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("postgres://db:5432/orders", "postgres://db:5432/orders"),
            ("postgres://me:hunter2@db:5432/orders?password=hunter2#hunter2", "postgres://***@db:5432/orders"),
            ("postgres://me:hun%40ter2@db/orders", "postgres://***@db/orders"),
            ("postgres://%2Fvar%2Frun%2Fpostgresql/orders", "postgres://%2Fvar%2Frun%2Fpostgresql/orders"),
            ("redis://:hunter2@cache/0", "redis://***@cache/0"),
            ("http://hunter2@[::1]:3000", "http://***@[::1]:3000/"),
            ("http:me:hunter2@h/", "http://***@h/"),
        ] {
            assert_eq!(url_without_secrets(url), shown);
        }
    }

    #[test]
    fn a_url_that_cannot_be_parsed_safely_is_hidden() {
        for url in [
            "",
            "hunter2",
            "postgres://me:hun?ter2@h/db",
            "postgres://me:123?ter2@h/db",
            "postgres://me:123#ter2@h/db",
            "postgres://me:123/ter2@h/db",
            "postgres://me:12%3Fter2%40h/db",
            "postgres://h/db%40hunter2",
            "postgres://me%3Ahunter2%40h/db",
            "postgres:me:hunter2@h/db",
            "postgres//me:hunter2@h/db",
            "redis://:12/34@h",
            "http://me:12\\34@h",
        ] {
            assert_eq!(url_without_secrets(url), HIDDEN, "{url}");
        }
    }
}
