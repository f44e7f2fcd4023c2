//! Redis: its URL, and the prefix of names.

use std::str::FromStr;

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
        format!("redis://{}/{}", self.0.addr(), self.0.redis_settings().db())
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
        const ERROR: &str =
            "must be redis://[user:password@]host[:port][/database], with / ? # @ : and % in each part percent-encoded";
        // A / ? or # in a password would cut it in two, and a part of it would be taken for the port.
        if secret::url_without_secrets(text) == secret::HIDDEN {
            return Err(ERROR);
        }
        // The error of the crate may quote the URL, so it is not shown.
        redis::IntoConnectionInfo::into_connection_info(text).map(Self).map_err(|_| ERROR)
    }
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
