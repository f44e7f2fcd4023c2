//! Checks that a request is meant for this server, and that a web page which sends it is allowed to.
//!
//! Every web page that is open on the same machine can reach a server on the loopback address. A page may send requests
//! across origins: the browser then names the page in `Origin`, which the page cannot change. Or the page's owner lets its
//! DNS name point to this machine (DNS rebinding): then `Host` has a name that is not one of this server.

use std::net::IpAddr;

use crate::config::{HostName, ListenHost, PublicHost, PublicUrl, Settings, WebOrigin};
use crate::http::extract::authority::{Authority, Host, Origin};

/// The names of this server and the origins of the pages that may use it.
#[derive(Clone, Debug)]
pub(in crate::http) struct HostCheck {
    bound: Vec<IpAddr>,
    hosts: Vec<HostName>,
    other_names: NamePolicy,
    /// What a proxy in front of this server is called; its pages are those of this server.
    public_url: Option<PublicUrl>,
    origins: Vec<WebOrigin>,
}

/// Which host names are accepted beyond those in the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NamePolicy {
    /// None: anyone can let any name point to this machine.
    None,
    /// Names that no page on the internet can have, such as the name of a service in a cluster: without a dot, or below a
    /// domain reserved for private networks.
    Private,
    /// All: the routes require a token, which no page has.
    All,
}

/// Which kind of page sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum RequestOrigin {
    /// No page, or a page of this server.
    Own,
    /// A page of an allowed origin.
    Foreign,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum HostRefused {
    /// The request is meant for another server.
    Host,
    /// The origin of the page is not allowed.
    Origin,
}

impl HostCheck {
    /// The check for listeners of clients, at those addresses.
    pub(in crate::http) fn of_clients(settings: &Settings, bound: Vec<IpAddr>) -> Self {
        let server = &settings.server;
        Self {
            bound,
            hosts: server.allowed_hosts.clone(),
            other_names: NamePolicy::None,
            public_url: server.public_url.clone(),
            origins: server.allowed_origins.clone(),
        }
    }

    /// The check for listeners of the operator, at those addresses. Monitoring uses the name of a service in its cluster.
    pub(in crate::http) fn of_the_operator(settings: &Settings, bound: Vec<IpAddr>) -> Self {
        let other_names = match &settings.metrics.token {
            Some(_) => NamePolicy::All,
            // Only browsers on this machine reach the loopback address, and no honest client uses such a name there.
            None if bound.iter().all(|address| address.to_canonical().is_loopback()) => NamePolicy::None,
            None => NamePolicy::Private,
        };
        let mut host_check = Self { other_names, ..Self::of_clients(settings, bound) };
        if let Some(ListenHost::Name(name)) = settings.metrics.bind.as_ref().map(|place| &place.host) {
            host_check.hosts.push(name.clone());
        }
        host_check
    }

    /// Checks the `Host` of a request, and its `Origin` if it has one.
    pub(in crate::http) fn check(&self, host: &str, origin: Option<&str>) -> Result<RequestOrigin, HostRefused> {
        let host = self.ours(host).ok_or(HostRefused::Host)?;
        let Some(origin) = origin else { return Ok(RequestOrigin::Own) };
        let origin = Origin::parse(origin).ok_or(HostRefused::Origin)?;
        let is = |known: &WebOrigin| Origin::parse(known.as_str()) == Some(origin);
        let is_own = origin.is_of(&host) && !self.is_secured(&host.host);
        if is_own || self.public_url.as_ref().is_some_and(|url| is(url.origin())) {
            return Ok(RequestOrigin::Own);
        }
        match self.origins.iter().any(is) {
            true => Ok(RequestOrigin::Foreign),
            false => Err(HostRefused::Origin),
        }
    }

    /// Checks a request target that is a whole URL, as in requests to a proxy: it and `Host` must name the same server.
    pub(in crate::http) fn check_target(
        &self,
        scheme: Option<&str>,
        authority: &str,
        host: &str,
    ) -> Result<(), HostRefused> {
        let is_http = scheme.is_none_or(|scheme| scheme.eq_ignore_ascii_case("http"));
        let named = self.ours(authority).filter(|_| is_http).ok_or(HostRefused::Host)?;
        let host = Authority::parse(host).ok_or(HostRefused::Host)?;
        if named.is_over_http(&host) { Ok(()) } else { Err(HostRefused::Host) }
    }

    /// Parses `text` and returns it if it names this server.
    ///
    /// Any port is accepted, because a proxy in front of this server may listen on another port. A server that listens on
    /// all addresses accepts each address: DNS rebinding needs a name.
    fn ours<'a>(&self, text: &'a str) -> Option<Authority<'a>> {
        let named = Authority::parse(text)?;
        let is_ours = match named.host {
            Host::Address(address) => {
                let is_bound = |bound: &IpAddr| bound.to_canonical() == address || bound.is_unspecified();
                address.is_loopback()
                    || self.bound.iter().any(is_bound)
                    || self.other_names == NamePolicy::All
                    || self.public_url.as_ref().is_some_and(|url| is_host_of(url, &named.host))
            }
            Host::Name(name) => {
                name.eq_ignore_ascii_case("localhost")
                    || self.other_names == NamePolicy::All
                    || (self.other_names == NamePolicy::Private && is_private(name))
                    || self.hosts.iter().any(|host| host.as_str().eq_ignore_ascii_case(name))
                    || self.public_url.as_ref().is_some_and(|url| is_host_of(url, &named.host))
            }
        };
        is_ours.then_some(named)
    }

    /// Whether clients reach that host over HTTPS only. Then a page that came over HTTP is not one of this server: another
    /// machine in the network may have sent it.
    fn is_secured(&self, host: &Host) -> bool {
        let https = self.public_url.as_ref().filter(|url| url.is_https() && !url.is_loopback());
        https.is_some_and(|url| is_host_of(url, host))
    }
}

fn is_host_of(url: &PublicUrl, host: &Host) -> bool {
    match (url.host(), host) {
        (PublicHost::Name(public), Host::Name(name)) => public.as_str().eq_ignore_ascii_case(name),
        (PublicHost::Address(public), Host::Address(address)) => public == address,
        (PublicHost::Name(_), Host::Address(_)) | (PublicHost::Address(_), Host::Name(_)) => false,
    }
}

/// Whether no page on the internet can have that name.
fn is_private(name: &str) -> bool {
    const DOMAINS: [&str; 4] = [".internal", ".local", ".svc", ".home.arpa"];
    let name = name.to_ascii_lowercase();
    // A name that begins with a digit may be an address in an unusual notation.
    let is_word = name.starts_with(|letter: char| letter.is_ascii_alphabetic());
    is_word && (!name.contains('.') || DOMAINS.iter().any(|domain| name.ends_with(domain)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_check(bound: &str) -> HostCheck {
        HostCheck {
            bound: vec![bound.parse().unwrap()],
            hosts: vec!["engine.example.org".parse().unwrap()],
            other_names: NamePolicy::None,
            public_url: None,
            origins: vec!["https://desk.example.org".parse().unwrap()],
        }
    }

    #[test]
    fn only_requests_for_this_server_are_accepted() {
        for (bound, ours, others) in [
            (
                "127.0.0.1",
                &["127.0.0.1:3000", "localhost", "LocalHost:3000", "[::1]:3000", "[::1]", "Engine.example.org"][..],
                &[
                    "",
                    ":",
                    "localhost:80@evil.example",
                    "localhost:",
                    "[127.0.0.1]",
                    "::1",
                    "2130706433",
                    "0x7f.1",
                    "127.1",
                    "evil.example",
                    "localhost.evil.example",
                    "localhost.",
                    "10.0.0.7:3000",
                    "[::2]",
                    "0.0.0.0",
                ][..],
            ),
            ("10.0.0.7", &["10.0.0.7:3000", "localhost:3000"], &["10.0.0.8:3000", "evil.example:3000"]),
            ("0.0.0.0", &["10.0.0.7:3000", "[2001:db8::1]:80"], &["evil.example:3000", "10.0.0.7.evil.example"]),
            ("::", &["10.0.0.7", "[2001:db8::1]"], &["evil.example"]),
        ] {
            let host_check = host_check(bound);
            ours.iter()
                .for_each(|host| assert_eq!(host_check.check(host, None), Ok(RequestOrigin::Own), "{bound} {host}"));
            others
                .iter()
                .for_each(|host| assert_eq!(host_check.check(host, None), Err(HostRefused::Host), "{bound} {host}"));
        }
    }

    #[test]
    fn the_public_url_is_a_name_and_an_origin_of_this_server() {
        let check = |url: &str, host: &str, origin: &str| {
            let settings = Settings::with([("server.public_url", url)]).unwrap();
            HostCheck::of_clients(&settings, vec![IpAddr::from([127, 0, 0, 1])]).check(host, Some(origin))
        };
        let named = |host: &str, origin: &str| check("https://engine.example.org", host, origin);
        // A proxy may pass on the name by which it was called, or the address at which it calls this server.
        for host in ["engine.example.org", "Engine.example.org:443", "127.0.0.1:3000"] {
            assert_eq!(named(host, "https://engine.example.org"), Ok(RequestOrigin::Own), "{host}");
            for foreign in ["https://engine.example.org:8443", "https://www.engine.example.org", "null"] {
                assert_eq!(named(host, foreign), Err(HostRefused::Origin), "{host} {foreign}");
            }
        }
        assert_eq!(named("example.org", "https://engine.example.org"), Err(HostRefused::Host));
        // A page that came without TLS.
        for host in ["engine.example.org", "engine.example.org:8443"] {
            assert_eq!(named(host, &format!("http://{host}")), Err(HostRefused::Origin), "{host}");
        }
        assert_eq!(named("127.0.0.1:3000", "http://127.0.0.1:3000"), Ok(RequestOrigin::Own));
        let on_this_machine = check("https://localhost:8443", "localhost:3000", "http://localhost:3000");
        assert_eq!(on_this_machine, Ok(RequestOrigin::Own));
        let address = "https://[2001:db8::7]:8443";
        assert_eq!(check(address, "[2001:DB8:0::7]:8443", address), Ok(RequestOrigin::Own));
        assert_eq!(check(address, "[2001:db8::8]:8443", address), Err(HostRefused::Host));
    }

    #[test]
    fn a_url_as_request_target_must_name_this_server_and_the_one_in_host() {
        let check = |scheme, authority| host_check("127.0.0.1").check_target(Some(scheme), authority, "localhost:3000");
        assert_eq!(check("http", "localhost:3000"), Ok(()));
        assert_eq!(check("HTTP", "LOCALHOST:3000"), Ok(()));
        for (scheme, authority) in [
            ("https", "localhost:3000"),
            ("http", "localhost"),
            ("http", "127.0.0.1:3000"),
            ("http", "evil.example"),
            ("http", "localhost:3000@evil.example"),
            ("http", "evil.example@localhost:3000"),
        ] {
            assert_eq!(check(scheme, authority), Err(HostRefused::Host), "{scheme} {authority}");
        }
    }

    #[test]
    fn monitoring_may_use_the_name_of_a_service_at_the_operators_address() {
        let host_check = |bound: &str, bind: &str, token: &str| {
            let settings = Settings::with([("metrics.bind", bind), ("metrics.token", token)]).unwrap();
            HostCheck::of_the_operator(&settings, vec![bound.parse().unwrap()])
        };
        let accepts = |host_check: &HostCheck, host: &str| host_check.check(host, None).is_ok();
        let open = host_check("10.0.0.7", "metrics.engine.example:9100", "");
        for (host, accepted) in [
            ("10.0.0.7:9100", true),
            ("metrics.engine.example:9100", true),
            ("order-engine:9100", true),
            ("engine.prod.svc:9100", true),
            ("engine.prod.svc.cluster.local", true),
            ("evil.example:9100", false),
            ("10.0.0.8:9100", false),
            ("", false),
        ] {
            assert_eq!(accepts(&open, host), accepted, "{host}");
        }
        let loopback = host_check("127.0.0.1", "127.0.0.1:9100", "");
        assert!(accepts(&loopback, "localhost:9100") && !accepts(&loopback, "order-engine:9100"));
        let with_token = host_check("127.0.0.1", "127.0.0.1:9100", "a-token-of-the-operator");
        assert!(accepts(&with_token, "evil.example") && accepts(&with_token, "order-engine:9100"));
    }

    #[test]
    fn only_pages_of_this_server_and_of_allowed_origins_are_accepted() {
        let check = |origin| host_check("127.0.0.1").check("localhost:3000", Some(origin));
        for own in ["http://localhost:3000", "HTTP://LOCALHOST:3000"] {
            assert_eq!(check(own), Ok(RequestOrigin::Own), "{own}");
        }
        for allowed in ["https://desk.example.org", "https://Desk.example.org:443"] {
            assert_eq!(check(allowed), Ok(RequestOrigin::Foreign), "{allowed}");
        }
        let by_default_port = host_check("127.0.0.1").check("localhost", Some("http://localhost:80"));
        assert_eq!(by_default_port, Ok(RequestOrigin::Own));
        for foreign in [
            "null",
            "",
            "http://localhost",
            "https://localhost:3000",
            "ws://localhost:3000",
            "http://me@localhost:3000",
            "http://localhost:3000@evil.example",
            "http://localhost:3000/",
            "https://desk.example.org:444",
            "http://localhost:3001",
            "http://127.0.0.1:3000",
            "http://desk.example.org",
            "https://desk.example.org.evil.example",
            "https://evil.example",
        ] {
            assert_eq!(check(foreign), Err(HostRefused::Origin), "{foreign}");
        }
    }
}
