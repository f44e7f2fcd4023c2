//! The engine that a command talks to, and the credential that it sends.

use std::time::Duration;

use order_engine::config::{ConfigError, variable};
use order_engine::domain::secret::Secret;
use url::Url;

/// The URL and the credential, both checked.
pub(super) struct Target {
    /// Without a slash at the end.
    url: String,
    token: Option<Secret>,
}

/// The timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Target {
    /// Takes the flags, then the environment, then the default.
    pub(super) fn of(url: Option<&str>, token: Option<&Secret>) -> Result<Self, ConfigError> {
        let (url, token) = (flag(url, "--url"), flag(token.map(Secret::expose), "--token"));
        let url = match url.or_else(|| environment("ORDER_ENGINE_URL").transpose()) {
            Some(url) => parse_url(url?)?,
            None => "http://127.0.0.1:3000".to_owned(),
        };
        let token = token.or_else(|| environment("ORDER_ENGINE_TOKEN").transpose());
        Ok(Self { url, token: token.map(|token| parse_token(token?)).transpose()? })
    }

    pub(super) fn client(&self) -> awc::Client {
        let client = awc::Client::builder().timeout(TIMEOUT);
        match &self.token {
            Some(token) => client.bearer_auth(token.expose()).finish(),
            None => client.finish(),
        }
    }

    /// The URL of the engine, for messages.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The URL of a path.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

/// A text, and the name of the flag or variable that it comes from. Errors show the name, because the text may contain
/// a secret.
type Named = (String, &'static str);

fn flag(text: Option<&str>, name: &'static str) -> Option<Result<Named, ConfigError>> {
    text.map(|text| Ok((text.to_owned(), name)))
}

fn environment(name: &'static str) -> Result<Option<Named>, ConfigError> {
    let text = variable(name).map_err(|error| ConfigError(vec![error]))?;
    Ok(text.map(|text| (text, name)))
}

fn parse_url((text, name): Named) -> Result<String, ConfigError> {
    let wrong = |reason: &str| Err(ConfigError(vec![format!("{name}: {reason}")]));
    match Url::parse(text.trim()) {
        Ok(url) if url.scheme() != "http" => wrong("must begin with http://; TLS is not supported"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            wrong("must not contain a user or a password, because they are not sent; use a token")
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => wrong("must not contain a query or a fragment"),
        Ok(url) => Ok(url.as_str().trim_end_matches('/').to_owned()),
        Err(_) => wrong("is not a URL; an example is http://127.0.0.1:3000"),
    }
}

fn parse_token((text, name): Named) -> Result<Secret, ConfigError> {
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Secret::new(text)),
        false => Err(ConfigError(vec![format!("{name}: must be one or more visible ASCII characters without spaces")])),
    }
}
