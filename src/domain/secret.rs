//! What must not be shown to anybody who did not bring it.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use url::Url;

/// What is shown of something that may hold a secret and cannot be taken apart.
pub const HIDDEN: &str = "<hidden>";

/// A URL's scheme, host, port and path: without user, password, parameters and fragment. [`HIDDEN`] where that may show a
/// part of a password, because it is no URL, or a password that was not encoded is cut in two.
pub fn url_without_secrets(text: &str) -> String {
    let holds_at = |part: &str| part.contains('@') || part.to_ascii_lowercase().contains("%40");
    let Ok(url) = Url::parse(text) else { return HIDDEN.to_owned() };
    let host = url.host_str().unwrap_or_default();
    let is_cut =
        [url.path(), url.query().unwrap_or_default(), url.fragment().unwrap_or_default()].into_iter().any(holds_at);
    if url.cannot_be_a_base() || is_cut || holds_at(host) || host.to_ascii_lowercase().contains("%3a") {
        return HIDDEN.to_owned();
    }
    let user = if url.username().is_empty() && url.password().is_none() { "" } else { "***@" };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{user}{host}{port}{}", url.scheme(), url.path())
}

/// A text that is no secret, unless it was put into the wrong place: then [`HIDDEN`].
pub fn shown(text: &str) -> &str {
    let small = text.to_ascii_lowercase();
    let is_suspect = ["@", "%40", "password", "passwd", "secret=", "token="].iter().any(|sign| small.contains(sign));
    if is_suspect { HIDDEN } else { text }
}

/// A password, a token, a key: readable only by asking for it. Whatever prints it prints `***`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Keeps that text to itself.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one who needs it.
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
    fn a_url_is_shown_without_what_may_be_secret() {
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
    fn a_url_that_cannot_be_taken_apart_is_shown_as_nothing() {
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
