//! The host and port in `Host`, in the request target and in `Origin`, compared part by part.
//!
//! Only the plain spellings that browsers send are accepted. User names, empty ports, IPv6 addresses without brackets or
//! with a zone, and IPv4 addresses in other notations are refused, so that no text names one host to this server and
//! another host to a different parser.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The default port of `http`.
const HTTP_PORT: u16 = 80;
/// The default port of `https`.
const HTTPS_PORT: u16 = 443;

/// A host and an optional port.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Authority<'a> {
    pub(in crate::http) host: Host<'a>,
    port: Option<u16>,
}

/// The host of an [`Authority`].
#[derive(Clone, Copy, Debug)]
pub(in crate::http) enum Host<'a> {
    Name(&'a str),
    Address(IpAddr),
}

/// The origin of a web page: scheme, host and port.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Origin<'a> {
    is_https: bool,
    authority: Authority<'a>,
}

impl<'a> Authority<'a> {
    /// Reads `host` or `host:port`; `None` for anything else.
    pub(in crate::http) fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                (Host::Address(address.parse::<Ipv6Addr>().ok()?.to_canonical()), rest)
            }
            None => {
                let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                (Host::parse_name(name)?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return None,
            // `parse` alone accepts a plus sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
        };
        Some(Self { host, port })
    }

    /// Whether both have the same host and port; an absent port is `default_port`.
    fn is(&self, other: &Self, default_port: u16) -> bool {
        self.host == other.host && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }

    /// Whether both name the same server over plain HTTP.
    pub(in crate::http) fn is_over_http(&self, other: &Self) -> bool {
        self.is(other, HTTP_PORT)
    }
}

impl<'a> Host<'a> {
    fn parse_name(text: &'a str) -> Option<Self> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        ((1..=253).contains(&text.len()) && text.bytes().all(plain)).then_some(Self::Name(text))
    }
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(one), Self::Name(other)) => one.eq_ignore_ascii_case(other),
            (Self::Address(one), Self::Address(other)) => one == other,
            (Self::Name(_), Self::Address(_)) | (Self::Address(_), Self::Name(_)) => false,
        }
    }
}

impl<'a> Origin<'a> {
    /// Reads `scheme://host` or `scheme://host:port`, where the scheme is HTTP or HTTPS; `None` for anything else.
    pub(in crate::http) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_https = scheme.eq_ignore_ascii_case("https");
        (is_https || scheme.eq_ignore_ascii_case("http"))
            .then(|| Authority::parse(authority).map(|authority| Self { is_https, authority }))
            .flatten()
    }

    /// Whether the page comes from `server` over plain HTTP, the only protocol of this server.
    pub(in crate::http) fn is_of(&self, server: &Authority) -> bool {
        !self.is_https && self.authority.is_over_http(server)
    }
}

impl PartialEq for Origin<'_> {
    fn eq(&self, other: &Self) -> bool {
        let default_port = if self.is_https { HTTPS_PORT } else { HTTP_PORT };
        self.is_https == other.is_https && self.authority.is(&other.authority, default_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_spellings_of_a_host_and_port_are_accepted() {
        for good in
            ["localhost", "LOCALHOST:80", "a-b_c.example.org:65535", "127.0.0.1:3000", "[::1]", "[2001:DB8::1]:80"]
        {
            assert!(Authority::parse(good).is_some(), "{good}");
        }
        for odd in [
            "",
            ":",
            ":80",
            "localhost:",
            "localhost:+80",
            "localhost:-1",
            "localhost:65536",
            "localhost:80:80",
            "localhost:80@evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "user:pw@localhost",
            "localhost:80#@evil.example",
            "localhost/evil",
            "localhost\\evil",
            "localhost?evil",
            "localhost evil",
            "::1",
            "::1:80",
            "[::1",
            "[::1]80",
            "[::1]:",
            "[::1%lo]",
            "[::1%25lo]",
            "[127.0.0.1]",
            "[localhost]",
            "l\u{f6}calhost",
            "localhost,evil.example",
            "localhost%2e",
        ] {
            assert!(Authority::parse(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn an_origin_is_compared_by_scheme_and_host_and_port() {
        let same = |one: &str, other: &str| Origin::parse(one).unwrap() == Origin::parse(other).unwrap();
        assert!(same("https://desk.example.org", "HTTPS://Desk.example.org:443"));
        assert!(same("http://desk.example.org:80", "http://desk.example.org"));
        assert!(same("http://[::1]:3000", "http://[0:0:0:0:0:0:0:1]:3000"));
        assert!(!same("http://desk.example.org", "https://desk.example.org"));
        assert!(!same("https://desk.example.org:80", "https://desk.example.org"));
        assert!(!same("https://desk.example.org:8443", "https://desk.example.org"));
        for none in
            ["null", "", "desk.example.org", "ftp://desk.example.org", "https://", "https://a@desk", "https://desk/"]
        {
            assert!(Origin::parse(none).is_none(), "{none}");
        }
    }
}
