//! The URL under which clients reach the server through a proxy, and the proxies that are trusted.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use url::{Host, Url};

use crate::config::values::{HostName, WebOrigin};

/// The URL of the server as its clients know it: a scheme, a host, and a port unless it is the default of the scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: WebOrigin,
    host: PublicHost,
}

/// The host of a [`PublicUrl`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicHost {
    /// A name.
    Name(HostName),
    /// An address.
    Address(IpAddr),
}

impl PublicUrl {
    /// The origin of the pages that the server delivers; a path follows it without anything between.
    pub fn origin(&self) -> &WebOrigin {
        &self.origin
    }

    /// The same for WebSockets: `ws://` or `wss://`.
    pub fn socket_origin(&self) -> String {
        self.origin.as_str().replacen("http", "ws", 1)
    }

    /// Whether clients use TLS.
    pub fn is_https(&self) -> bool {
        self.origin.as_str().starts_with("https:")
    }

    /// The host without the port.
    pub fn host(&self) -> &PublicHost {
        &self.host
    }

    /// Whether only clients on this machine can use it.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            PublicHost::Name(name) => name.as_str() == "localhost",
            PublicHost::Address(address) => address.is_loopback(),
        }
    }
}

impl std::fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.origin.as_str())
    }
}

/// Accepts no path: the paths of the server are fixed, and the pages at `/docs` refer to each other by them.
impl FromStr for PublicUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ERROR: &str = "must be http:// or https:// with a host and without a path, such as \
                             https://engine.example.org";
        let url = Url::parse(text).map_err(|_| ERROR)?;
        let is_http = ["http", "https"].contains(&url.scheme());
        let has_user = !url.username().is_empty() || url.password().is_some();
        if !is_http || has_user || url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(ERROR);
        }
        let host = match url.host().ok_or(ERROR)? {
            Host::Domain(name) => PublicHost::Name(name.parse().map_err(|_| ERROR)?),
            Host::Ipv4(address) => PublicHost::Address(address.into()),
            Host::Ipv6(address) => PublicHost::Address(IpAddr::from(address).to_canonical()),
        };
        if matches!(host, PublicHost::Address(address) if address.is_unspecified()) {
            return Err(ERROR);
        }
        let origin = url.origin().ascii_serialization().parse().map_err(|_| ERROR)?;
        Ok(Self { origin, host })
    }
}

/// The address of a proxy, or a net of such addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyNet(IpNet);

impl ProxyNet {
    /// Whether the address is one of a proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for ProxyNet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        let net = address.or_else(|_| text.parse::<IpNet>()).map_err(|_| {
            format!("must be a list of IP addresses and nets, such as 127.0.0.1 or 10.1.0.0/16, not {text:?}")
        })?;
        if net != net.trunc() {
            return Err(format!("the net of {text} is {}", net.trunc()));
        }
        // Addresses are compared in their IPv4 form.
        if matches!(net, IpNet::V6(net) if net.addr().to_ipv4_mapped().is_some()) {
            return Err(format!("{text} must be written as an IPv4 net"));
        }
        // Then every client could choose its own address.
        if net.prefix_len() == 0 {
            return Err(format!("{text} would trust every client"));
        }
        Ok(Self(net))
    }
}

/// The header in which the trusted proxies name the client. Every other one is ignored, because proxies pass on what a
/// client has written into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl FromStr for ForwardedHeader {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            _ => Err("must be x-forwarded-for or forwarded"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_a_scheme_and_a_host_and_nothing_else() {
        for (text, origin, sockets, is_loopback) in [
            ("https://Engine.example.org", "https://engine.example.org", "wss://engine.example.org", false),
            ("https://engine.example.org:443/", "https://engine.example.org", "wss://engine.example.org", false),
            (
                "https://engine.example.org:8443",
                "https://engine.example.org:8443",
                "wss://engine.example.org:8443",
                false,
            ),
            ("http://localhost:8080", "http://localhost:8080", "ws://localhost:8080", true),
            ("https://[::1]", "https://[::1]", "wss://[::1]", true),
            ("https://[2001:DB8::7]:8443", "https://[2001:db8::7]:8443", "wss://[2001:db8::7]:8443", false),
            ("http://192.0.2.7", "http://192.0.2.7", "ws://192.0.2.7", false),
        ] {
            let url: PublicUrl = text.parse().unwrap();
            assert_eq!((url.origin().as_str(), url.socket_origin().as_str()), (origin, sockets), "{text}");
            assert_eq!((url.is_loopback(), url.is_https()), (is_loopback, text.starts_with("https")), "{text}");
        }
        for wrong in [
            "",
            "engine.example.org",
            "ftp://engine.example.org",
            "wss://engine.example.org",
            "https://",
            "https://engine.example.org/engine",
            "https://engine.example.org//",
            "https://engine.example.org?",
            "https://engine.example.org#",
            "https://user@engine.example.org",
            "https://engine.example.org:0x50",
            "https://0.0.0.0",
            "https://[::]:443",
            "https://*.example.org",
            "https://a.example.org,https://b.example.org",
        ] {
            assert!(wrong.parse::<PublicUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_trusted_proxy_is_an_address_or_a_net_in_either_spelling_of_ipv4() {
        let contains = |net: &str, address: &str| net.parse::<ProxyNet>().unwrap().contains(address.parse().unwrap());
        for (net, inside, outside) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("10.1.0.0/16", "::ffff:10.1.2.3", "10.2.0.1"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("::1", "::1", "127.0.0.1"),
        ] {
            assert!(contains(net, inside) && !contains(net, outside), "{net}");
        }
        for wrong in ["", "localhost", "10.1.2.3/16", "10.0.0.0/33", "0.0.0.0/0", "::/0", "::ffff:10.0.0.0/104", "10.0"]
        {
            assert!(wrong.parse::<ProxyNet>().is_err(), "{wrong}");
        }
    }
}
