//! Which address a request comes from, also behind trusted proxies.
//!
//! Each proxy adds the address from which it was asked at the right end of one header. Hence the header is read from the
//! right, and only as far as trusted proxies have written it: the first address that is not one of theirs is the client.
//! What is left of it was sent by that client, and so was all of the header if the connection is not from a proxy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName, X_FORWARDED_FOR};

use crate::config::{ForwardedHeader, LimitSettings, ProxyNet, ServerSettings};

/// The proxies that are trusted, and the header in which they name the client.
#[derive(Clone, Debug)]
pub(in crate::http) struct Proxies {
    trusted: Vec<ProxyNet>,
    header: ForwardedHeader,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Source {
    /// The address of the client; of the nearest proxy whose own client is not known, if there is one.
    pub(in crate::http) address: IpAddr,
    /// Whether a trusted proxy has passed it on.
    pub(in crate::http) is_forwarded: bool,
}

impl Source {
    /// Whether the limits apply to this client. They apply to every client behind a proxy, whatever its address is.
    pub(in crate::http) fn is_limited(self, limits: &LimitSettings) -> bool {
        self.is_forwarded || limits.cover(self.address)
    }
}

impl Proxies {
    /// The proxies of the settings.
    pub(in crate::http) fn new(settings: &ServerSettings) -> Self {
        Self { trusted: settings.trusted_proxies.clone(), header: settings.forwarded_header }
    }

    /// Whether a proxy has this address.
    pub(in crate::http) fn trust(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(address))
    }

    /// Where a request on a connection from `peer` comes from.
    pub(in crate::http) fn source(&self, peer: IpAddr, headers: &HeaderMap) -> Source {
        if !self.trust(peer) {
            return Source { address: peer, is_forwarded: false };
        }
        let lines: Vec<_> = headers.get_all(self.header_name()).map(|line| line.as_bytes()).collect();
        Source { address: self.client(peer, &lines), is_forwarded: !lines.is_empty() }
    }

    /// The first address from the right that is not one of a proxy. An entry without an address ends the search: then it
    /// is the proxy that has written this entry.
    fn client(&self, peer: IpAddr, lines: &[&[u8]]) -> IpAddr {
        let mut nearest = peer;
        for entry in lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
            match self.address_in(entry) {
                Some(address) if self.trust(address) => nearest = address,
                Some(address) => return address,
                None => return nearest,
            }
        }
        nearest
    }

    fn header_name(&self) -> HeaderName {
        match self.header {
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => FORWARDED,
        }
    }

    fn address_in(&self, entry: &[u8]) -> Option<IpAddr> {
        let entry = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
        match self.header {
            ForwardedHeader::XForwardedFor => address_of_node(entry),
            ForwardedHeader::Forwarded => address_of_node(parameter_for(entry)?),
        }
    }
}

/// The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`. `unknown` and
/// obfuscated identifiers have none.
fn address_of_node(node: &str) -> Option<IpAddr> {
    if let Ok(address) = node.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, port) = match node.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (IpAddr::from(address.parse::<Ipv6Addr>().ok()?), port)
        }
        None => {
            let (address, port) = node.split_at(node.find(':')?);
            (IpAddr::from(address.parse::<Ipv4Addr>().ok()?), port)
        }
    };
    // RFC 7239 allows a name in place of the number.
    let is_port = |port: &str| {
        !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then(|| address.to_canonical())
}

/// The value of `for` in one element of `Forwarded`.
///
/// The header was divided at its commas, also at those in quotes, so that a quote which a client has left open cannot
/// hide what the proxy adds. Hence an element with half a quoted text, or with an escaped character, is not read at all.
fn parameter_for(element: &str) -> Option<&str> {
    let mut found = None;
    for pair in element.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let value = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'))?;
        if value.contains(['"', '\\']) || (name.eq_ignore_ascii_case("for") && found.replace(value).is_some()) {
            return None;
        }
    }
    found
}

/// A load balancer keeps an unused connection for up to about this time, and expects the engine to keep it for longer: if
/// the engine closes it while a request is on its way, the balancer answers 502.
const BALANCER_KEEP_ALIVE: Duration = Duration::from_secs(75);

/// What is likely to be wrong in the settings about proxies.
pub(in crate::http) fn warnings(settings: &ServerSettings) -> Vec<&'static str> {
    let is_behind_proxy = settings.public_url.as_ref().is_some_and(|url| url.is_https());
    let has_proxies = !settings.trusted_proxies.is_empty();
    let mut warnings = Vec::new();
    if is_behind_proxy && !has_proxies {
        warnings.push(
            "server.public_url is https, so a proxy is in front of this server, and server.trusted_proxies is empty: \
             all clients behind that proxy count as one",
        );
    }
    if has_proxies && settings.proxy_keep_alive < BALANCER_KEEP_ALIVE {
        warnings.push(
            "server.proxy_keep_alive_ms is below 75000: a proxy that keeps its connections for longer may send a \
             request while this server closes the connection, and answers 502",
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;
    use crate::config::Settings;
    use crate::fuzz::many;

    fn proxies(header: &str) -> Proxies {
        let trusted = ("server.trusted_proxies", "127.0.0.1,10.0.0.0/8,2001:db8:aa::/48");
        Proxies::new(&Settings::with([trusted, ("server.forwarded_header", header)]).unwrap().server)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn headers(name: HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        lines.iter().for_each(|line| headers.append(name.clone(), HeaderValue::from_str(line).unwrap()));
        headers
    }

    #[track_caller]
    fn assert_source(header: &str, lines: &[&str], expected: &str) {
        let name = HeaderName::try_from(header).unwrap();
        let source = proxies(header).source(address("127.0.0.1"), &headers(name, lines));
        assert_eq!(source, Source { address: address(expected), is_forwarded: true }, "{lines:?}");
    }

    #[test]
    fn the_client_is_the_first_address_from_the_right_that_is_not_of_a_proxy() {
        for (lines, client) in [
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
            (&["198.51.100.1,203.0.113.7 , 10.0.0.2,10.0.0.3"], "203.0.113.7"),
            (&["127.0.0.1, 203.0.113.7"], "203.0.113.7"),
            (&["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
            (&["203.0.113.7", "10.0.0.2"], "203.0.113.7"),
            (&["2001:db8::7"], "2001:db8::7"),
            (&["[2001:db8::7]:4711, 2001:db8:aa::1"], "2001:db8::7"),
            (&["::ffff:203.0.113.7"], "203.0.113.7"),
            (&["203.0.113.7:4711, ::ffff:10.0.0.2"], "203.0.113.7"),
        ] {
            assert_source("x-forwarded-for", lines, client);
        }
        for (lines, client) in [
            (&["for=203.0.113.7"][..], "203.0.113.7"),
            (&["for=198.51.100.1, For=\"203.0.113.7:4711\";proto=https;by=10.0.0.1"], "203.0.113.7"),
            (&["proto=https; for=\"[2001:db8::7]:_port\";", "for=\"10.0.0.2\""], "2001:db8::7"),
            (&["for=\"[2001:db8::7]\", for=\"[2001:db8:aa::1]\""], "2001:db8::7"),
            // A client has left a quote open.
            (&["for=\"198.51.100.1, for=203.0.113.7"], "203.0.113.7"),
        ] {
            assert_source("forwarded", lines, client);
        }
    }

    #[test]
    fn an_entry_without_an_address_leads_to_the_proxy_that_has_written_it() {
        for unreadable in [
            "",
            "unknown",
            "_hidden",
            "engine",
            "203.0.113",
            "203.0.113.7:",
            "203.0.113.7:a b",
            "203.0.113.7 ::1",
            "[::1",
            "[203.0.113.7]",
            "2001:db8::7]",
            "[2001:db8::7]80",
            "fe80::1%eth0",
            "\"203.0.113.7\"",
            "for=203.0.113.7",
            "1",
        ] {
            assert_source("x-forwarded-for", &[unreadable], "127.0.0.1");
            assert_source("x-forwarded-for", &[&format!("198.51.100.1, {unreadable},10.0.0.2")], "10.0.0.2");
        }
        for unreadable in [
            "",
            "203.0.113.7",
            "for=unknown",
            "for=_hidden",
            "for=",
            "for",
            "by=203.0.113.7",
            "for=203.0.113.7;for=198.51.100.1",
            "for=\"203.0.113.7",
            "for=203.0.113.7\"",
            // Ends of texts in quotes, in which a client has written a comma.
            "for=198.51.100.1\"",
            "for=198.51.100.1;x=\"",
            "for=198.51.100.1;x=\\\"\"",
        ] {
            assert_source("forwarded", &[unreadable], "127.0.0.1");
            assert_source("forwarded", &[&format!("for=198.51.100.1,{unreadable} , for=10.0.0.2")], "10.0.0.2");
        }
        assert_source("x-forwarded-for", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
    }

    #[test]
    fn only_a_trusted_peer_names_a_client_and_only_in_the_chosen_header() {
        let proxies = proxies("forwarded");
        let spoofed = headers(FORWARDED, &["for=203.0.113.7"]);
        for stranger in ["127.0.0.2", "203.0.113.1", "::1"] {
            let source = Source { address: address(stranger), is_forwarded: false };
            assert_eq!(proxies.source(address(stranger), &spoofed), source);
        }
        let other = headers(X_FORWARDED_FOR, &["203.0.113.7"]);
        let source = Source { address: address("127.0.0.1"), is_forwarded: false };
        assert_eq!(proxies.source(address("127.0.0.1"), &other), source);
        assert!(proxies.source(address("::ffff:127.0.0.1"), &spoofed).is_forwarded);
    }

    #[test]
    fn a_client_behind_a_proxy_is_limited_also_if_it_is_on_this_machine() {
        let limits = Settings::with::<String, String>([]).unwrap().limits;
        let source = |is_forwarded| Source { address: address("127.0.0.1"), is_forwarded };
        assert!(source(true).is_limited(&limits) && !source(false).is_limited(&limits));
    }

    #[test]
    fn whatever_a_client_writes_it_is_counted_at_the_address_that_the_proxy_adds() {
        for (header, added) in [("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=203.0.113.7;proto=https")] {
            let proxies = proxies(header);
            many(header, |fuzzer| {
                let sample =
                    ["for=198.51.100.1;host=\"a,b\", for=\"[::1]:80\"", "198.51.100.1, [::1]:80"][fuzzer.below(2)];
                let own = fuzzer.mangled(sample);
                let both = [own.as_slice(), b",", added.as_bytes()].concat();
                assert_eq!(proxies.client(address("127.0.0.1"), &[&both]), address("203.0.113.7"), "{both:?}");
                proxies.client(address("127.0.0.1"), &[&own]) != address("127.0.0.1")
            });
        }
    }

    #[test]
    fn settings_that_are_likely_to_be_wrong_are_reported() {
        let warnings =
            |settings: &[(&str, &str)]| warnings(&Settings::with(settings.iter().copied()).unwrap().server).concat();
        let (url, proxy) =
            (("server.public_url", "https://engine.example.org"), ("server.trusted_proxies", "127.0.0.1"));
        assert_eq!(warnings(&[]), "");
        assert_eq!(warnings(&[url, proxy]), "");
        assert!(warnings(&[url]).starts_with("server.public_url is https"));
        let short = ("server.proxy_keep_alive_ms", "74999");
        assert!(warnings(&[url, proxy, short]).starts_with("server.proxy_keep_alive_ms"));
        assert_eq!(warnings(&[short]), "");
    }
}
