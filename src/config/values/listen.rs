//! Addresses to listen on, and the names and origins that clients may use.

use std::net::IpAddr;
use std::str::FromStr;

/// The host part of an address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenHost {
    /// One address; an unspecified one means all addresses of the machine.
    Address(IpAddr),
    /// `localhost`: 127.0.0.1, and ::1 if the machine has it.
    Loopback,
    /// All addresses that the name has when the engine starts.
    Name(HostName),
}

impl ListenHost {
    /// Whether only this machine can reach it. A name counts as reachable from others: its addresses are not known
    /// here.
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

/// Accepts no name except `localhost`: the addresses of another name may change between two starts, and with them the
/// clients that may trade.
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

/// An address to listen on: `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenPlace {
    /// The host part.
    pub host: ListenHost,
    /// The port; 0 takes a free port.
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
        // An IPv6 address must be in brackets, or its last group would be taken for the port.
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

/// A name of this server, as clients send it: the host of a URL, without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// The name, in lower case.
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
            Err("must be a list of host names without scheme and port, such as engine.example.org")
        }
    }
}

/// The origin of a web page, as a browser sends it: scheme, host, and the port unless it is the default of the scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin(String);

impl WebOrigin {
    /// The origin, in lower case.
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
            Err("must be a list of origins without a path, such as https://desk.example.org")
        }
    }
}
