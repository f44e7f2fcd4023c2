//! What single settings can be, each parsed from its text.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use rust_decimal::Decimal;

use crate::domain::secret::{self, Secret};

/// Where the secret is that tokens are signed with.
#[derive(Clone, Debug)]
pub enum SecretPlace {
    /// In the settings.
    Given(Secret),
    /// In that file, which is made where there is none.
    File(PathBuf),
    /// In this process, lost with it, as its database is.
    Memory,
}

/// Whether new accounts are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registration {
    Open,
    Closed,
}

impl FromStr for Registration {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            _ => Err("must be open or closed"),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be text or json"),
        }
    }
}

/// Which log lines are written: a level, and other levels for single targets, such as `info,sqlx=warn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    const LEVELS: &str = "error, warn, info, debug, trace or off";

    /// The filter, as `tracing` takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// To `tracing` a word that is no level is the name of a target, and then nothing else is logged. So a target is
    /// taken only with its level.
    fn check(directive: &str) -> Result<(), String> {
        let level = directive.rsplit_once('=').filter(|(_, level)| !level.contains(']'));
        // To `tracing` anything could be the name of a target, and then two filters with a space between them are one.
        let target = level.map_or("", |(target, _)| target).split('[').next().unwrap_or_default();
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_:-.".contains(letter);
        if !target.trim().chars().all(is_name) {
            let target = secret::shown(target);
            return Err(format!("{target:?} is no target; separate filters by commas, such as info,sqlx=warn"));
        }
        let level = level.map_or(directive, |(_, level)| level).trim();
        // Nothing behind the sign is an error to `tracing`.
        if !level.is_empty() && level.parse::<tracing_subscriber::filter::LevelFilter>().is_ok() {
            return Ok(());
        }
        let level = secret::shown(level);
        Err(format!("{level:?} is no level; must be {} or targets with one, such as sqlx=warn", Self::LEVELS))
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut depth = 0_i32;
        // A span's fields, in brackets, may hold commas of their own.
        let is_end = |letter: char| {
            depth += i32::from("[{".contains(letter)) - i32::from("]}".contains(letter));
            letter == ',' && depth == 0
        };
        let directives: Vec<_> = text.split(is_end).map(str::trim).filter(|directive| !directive.is_empty()).collect();
        if directives.is_empty() {
            return Err(format!("must be {}", Self::LEVELS));
        }
        directives.iter().copied().try_for_each(Self::check)?;
        // `tracing` takes no spaces.
        let filter = directives.join(",");
        tracing_subscriber::EnvFilter::try_new(&filter).map_err(|error| error.to_string())?;
        Ok(Self(filter))
    }
}

/// Where the simulated chain keeps its ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerPlace {
    /// In this process, lost with it; for benchmarks.
    Memory,
    /// In that file.
    File(PathBuf),
}

/// The text of a ledger's place, before `auto` is resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LedgerText {
    /// Beside the database.
    Auto,
    /// Where it says.
    At(LedgerPlace),
}

impl FromStr for LedgerText {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A near miss must not silently become a file of that name.
        let word = text.trim_matches(':').to_ascii_lowercase();
        match text {
            "auto" => Ok(Self::Auto),
            "memory" => Ok(Self::At(LedgerPlace::Memory)),
            _ if word.is_empty() || word == "auto" || word == "memory" || text.ends_with('/') => {
                Err("must be a file, \"memory\" or \"auto\"")
            }
            _ if text.chars().any(char::is_control) => Err("must have no control characters"),
            _ => Ok(Self::At(LedgerPlace::File(text.into()))),
        }
    }
}

/// A share from 0 to 1, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// All.
    pub const ALL: Self = Self(1_000_000);

    /// Whether a number drawn evenly from 0 to 999,999 falls into this share.
    pub const fn holds(self, drawn: u32) -> bool {
        drawn < self.0
    }
}

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ERROR: &str = "must be a share from 0 to 1";
        let share = text.parse::<Decimal>().map_err(|_| ERROR)?;
        if share < Decimal::ZERO || share > Decimal::ONE {
            return Err(ERROR);
        }
        u32::try_from((share * Decimal::from(1_000_000)).trunc().mantissa()).map(Self).map_err(|_| ERROR)
    }
}

/// Where Redis is. It may hold a password, so it has no plain `Debug` or `Display`.
#[derive(Clone)]
pub struct RedisUrl(redis::ConnectionInfo);

impl RedisUrl {
    /// How to connect, secrets included.
    pub fn expose(&self) -> redis::ConnectionInfo {
        self.0.clone()
    }

    /// Host, port and database, fit for logs.
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
            "must be redis://[user:password@]host[:port][/database], with / ? # @ : and % in them percent-encoded";
        // With a / ? or # in it a password is cut in two, and half of it would be taken for a port.
        if secret::url_without_secrets(text) == secret::HIDDEN {
            return Err(ERROR);
        }
        // What the crate says of a wrong URL may quote it, so it is not repeated.
        redis::IntoConnectionInfo::into_connection_info(text).map(Self).map_err(|_| ERROR)
    }
}

/// The host part of where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenHost {
    /// One address; all of the machine's where it is unspecified.
    Address(IpAddr),
    /// `localhost`: 127.0.0.1, and ::1 where the machine has it.
    Loopback,
    /// All addresses that a name has when the engine starts.
    Name(HostName),
}

impl ListenHost {
    /// Whether it is reached from this machine alone. Nobody knows of a name.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.to_canonical().is_loopback(),
            Self::Loopback => true,
            Self::Name(_) => false,
        }
    }
}

impl std::fmt::Display for ListenHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address @ IpAddr::V6(_)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Loopback => f.write_str("localhost"),
            Self::Name(name) => f.write_str(name.as_str()),
        }
    }
}

/// Not a name but `localhost`: which addresses another name has may change between two starts, and with it who may trade.
impl FromStr for ListenHost {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.eq_ignore_ascii_case("localhost") {
            return Ok(Self::Loopback);
        }
        let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        address.parse().map(Self::Address).map_err(|_| "must be localhost or an IP address, such as 127.0.0.1 or ::1")
    }
}

/// Where to listen: `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenPlace {
    /// The host part.
    pub host: ListenHost,
    /// The port; 0 takes a free one.
    pub port: u16,
}

impl std::fmt::Display for ListenPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for ListenPlace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ERROR: &str = "must be an address or a name with a port, such as 127.0.0.1:9100 or engine:9100";
        let (host, port) = text.rsplit_once(':').ok_or(ERROR)?;
        let port = port.parse().map_err(|_| ERROR)?;
        // An IPv6 address stands in brackets, so that its end is not taken for the port.
        if host.contains(':') && !host.starts_with('[') {
            return Err(ERROR);
        }
        let host = match host.parse() {
            Ok(host) => host,
            Err(_) => ListenHost::Name(host.parse().map_err(|_| ERROR)?),
        };
        Ok(Self { host, port })
    }
}

/// A name by which this server is called: the host of a URL, without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// The name, in small letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=253).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("must be host names without scheme and port, such as engine.example.org")
        }
    }
}

/// Where a web page comes from, as a browser says it: scheme, host, and the port where it is not the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin(String);

impl WebOrigin {
    /// The origin, in small letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WebOrigin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
        if !host.is_empty() && host.bytes().all(plain) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("must be origins such as https://desk.example.org, without a path")
        }
    }
}

/// What the names of this engine's channels and keys in Redis begin with.
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
        // Nothing that means something in a pattern, so that it can be subscribed to as it is.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 1 to 64 of the characters a-z, A-Z, 0-9, '-', '_', '.' and ':'")
        }
    }
}
