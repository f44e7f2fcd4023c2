//! The host and port that a request names, in `Host`, in its target and in `Origin`, compared part by part.
//!
//! Only the plain spellings are taken: those that browsers send. User names, empty ports, IPv6 addresses without
//! brackets or with a zone, and IPv4 addresses in other notations are refused, so that no text means one host here and
//! another one elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The port of `http` where none is named.
const HTTP: u16 = 80;
/// The port of `https` where none is named.
const HTTPS: u16 = 443;

/// A host and perhaps a port.
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

/// Where a web page comes from.
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
            // `parse` alone takes a plus sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
        };
        Some(Self { host, port })
    }

    /// Whether both name the same host and port, where a port that is not named is `default`.
    fn is(&self, other: &Self, default: u16) -> bool {
        self.host == other.host && self.port.unwrap_or(default) == other.port.unwrap_or(default)
    }

    /// Whether both are the same server over plain HTTP.
    pub(in crate::http) fn is_over_http(&self, other: &Self) -> bool {
        self.is(other, HTTP)
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
    /// Reads `scheme://host` or `scheme://host:port` of a page over HTTP or HTTPS; `None` for anything else.
    pub(in crate::http) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_https = scheme.eq_ignore_ascii_case("https");
        (is_https || scheme.eq_ignore_ascii_case("http"))
            .then(|| Authority::parse(authority).map(|authority| Self { is_https, authority }))
            .flatten()
    }

    /// Whether the page is one of that server over plain HTTP, which is what this server speaks.
    pub(in crate::http) fn is_of(&self, server: &Authority) -> bool {
        !self.is_https && self.authority.is_over_http(server)
    }
}

impl PartialEq for Origin<'_> {
    fn eq(&self, other: &Self) -> bool {
        let default = if self.is_https { HTTPS } else { HTTP };
        self.is_https == other.is_https && self.authority.is(&other.authority, default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_spellings_of_a_host_and_port_are_taken() {
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
