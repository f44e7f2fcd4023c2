//! The address of an endpoint. Its user, password, path and query may be keys, so only the host is ever shown.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use url::Url;

/// The URL of a JSON-RPC endpoint. `Display` and `Debug` show its host and port only.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl(Url);

impl EndpointUrl {
    /// The whole URL, with its keys.
    pub fn expose(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.host_str().unwrap_or_default())?;
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not the URL of an endpoint. It does not repeat the text, which may hold a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be a URL with a host, such as https://api.mainnet-beta.solana.com")]
pub struct NotAnEndpoint;

impl FromStr for EndpointUrl {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| NotAnEndpoint)?;
        let is_http = matches!(url.scheme(), "http" | "https");
        if is_http && url.has_host() { Ok(Self(url)) } else { Err(NotAnEndpoint) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_shown_without_its_keys() {
        for (text, shown) in [
            ("https://rpc.example.com/v1/hunter2", "rpc.example.com"),
            ("https://rpc.example.com:8899/?api-key=hunter2#hunter2", "rpc.example.com:8899"),
            ("http://me:hunter2@127.0.0.1:8899", "127.0.0.1:8899"),
        ] {
            let url: EndpointUrl = text.parse().unwrap();
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), shown.to_owned()));
            assert_eq!(url.expose().as_str().contains("hunter2"), text.contains("hunter2"));
        }
    }

    #[test]
    fn other_texts_are_refused_without_being_repeated() {
        for text in ["", "hunter2", "ws://rpc.example.com/hunter2", "https://", "file:///hunter2"] {
            let refused = text.parse::<EndpointUrl>().unwrap_err();
            assert!(!refused.to_string().contains("hunter2"), "{text}");
        }
    }
}
