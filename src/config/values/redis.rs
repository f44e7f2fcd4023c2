//! Redis: its URL, the files of its TLS, and the prefix of names.

use std::str::FromStr;

use redis::ConnectionAddr;

use crate::config::certificates::ClientCertificate;
use crate::domain::secret;

/// The URL of Redis. It may have a password, so `Debug` hides it and there is no `Display`.
#[derive(Clone)]
pub struct RedisUrl(redis::ConnectionInfo);

impl RedisUrl {
    /// The connection data, secrets included.
    pub fn expose(&self) -> redis::ConnectionInfo {
        self.0.clone()
    }

    /// Host, port and database, for logs.
    pub fn redacted(&self) -> String {
        let scheme = if self.is_encrypted() { "rediss" } else { "redis" };
        format!("{scheme}://{}/{}", self.address(), self.0.redis_settings().db())
    }

    /// Host and port.
    pub fn address(&self) -> String {
        self.0.addr().to_string()
    }

    /// Whether the connection is encrypted (`rediss://`). The certificate is always checked then.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.0.addr(), ConnectionAddr::TcpTls { .. })
    }
}

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl FromStr for RedisUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ERROR: &str = "must be redis://[user:password@]host[:port][/database], or rediss:// for TLS, with \
                             / ? # @ : and % in each part percent-encoded";
        // A / ? or # in a password would cut it in two, and a part of it would be taken for the port.
        if secret::url_without_secrets(text) == secret::HIDDEN {
            return Err(ERROR);
        }
        // The crate knows one fragment, #insecure, which would accept every certificate.
        if text.contains('#') {
            return Err("must have no # part: the certificate of Redis is always checked");
        }
        // The error of the crate may quote the URL, so it is not shown.
        redis::IntoConnectionInfo::into_connection_info(text).map(Self).map_err(|_| ERROR)
    }
}

/// The files of TLS to Redis, as PEM.
#[derive(Clone, Debug, Default)]
pub struct RedisTls {
    /// The only authorities that are trusted; `None` for those of the system.
    pub authorities: Option<String>,
    /// The certificate of this engine, if Redis asks for one.
    pub client_certificate: Option<ClientCertificate>,
}

/// The prefix of the names of channels and keys in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisPrefix(String);

impl std::fmt::Display for RedisPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RedisPrefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // No character has a meaning in a pattern, so a client can use the prefix in one.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 1 to 64 of the characters a-z, A-Z, 0-9, '-', '_', '.' and ':'")
        }
    }
}
