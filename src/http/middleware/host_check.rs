//! Who is answered at all: a request must be meant for this server, and a web page must be one that may speak to it.
//!
//! A server on the loopback address is within reach of every web page that is open on its machine: a page may post to
//! it, and its owner may have the page's own name point here, so that the browser takes both for one. The first shows in
//! `Origin`, which browsers send and pages cannot change; the second in `Host`, which then names what is not this server.

use std::net::IpAddr;

use crate::config::{HostName, ListenHost, Settings, WebOrigin};
use crate::http::extract::authority::{Authority, Host, Origin};

/// Judges by `Host` and `Origin`.
#[derive(Clone, Debug)]
pub(in crate::http) struct HostCheck {
    bound: Vec<IpAddr>,
    hosts: Vec<HostName>,
    other_names: NamePolicy,
    origins: Vec<WebOrigin>,
}

/// Which names are answered to that no setting names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NamePolicy {
    /// None: anybody may have any name point here.
    None,
    /// Those that cannot belong to a page of the internet, such as a service's name within a cluster: without a dot, or
    /// below a domain that is set aside for private networks.
    Private,
    /// All: whoever asks has to show a token, which no page has.
    All,
}

/// Whose page asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum RequestOrigin {
    /// No other server's: none at all, or one of this server.
    Own,
    /// One of another server that is allowed.
    Foreign,
}

/// Why nobody is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum HostRefused {
    /// The request is meant for another server.
    Host,
    /// The page is of a server that is not allowed.
    Origin,
}

impl HostCheck {
    /// Where clients are served, at those addresses.
    pub(in crate::http) fn of_clients(settings: &Settings, bound: Vec<IpAddr>) -> Self {
        let server = &settings.server;
        Self {
            bound,
            hosts: server.allowed_hosts.clone(),
            other_names: NamePolicy::None,
            origins: server.allowed_origins.clone(),
        }
    }

    /// Where the operator is served, at those addresses. A monitor asks by the name of the service it was told of.
    pub(in crate::http) fn of_the_operator(settings: &Settings, bound: Vec<IpAddr>) -> Self {
        let other_names = match &settings.metrics.token {
            Some(_) => NamePolicy::All,
            // On the loopback address only this machine's browsers could be fooled, and nobody asks by such a name.
            None if bound.iter().all(|address| address.to_canonical().is_loopback()) => NamePolicy::None,
            None => NamePolicy::Private,
        };
        let mut host_check = Self { other_names, ..Self::of_clients(settings, bound) };
        if let Some(ListenHost::Name(name)) = settings.metrics.bind.as_ref().map(|place| &place.host) {
            host_check.hosts.push(name.clone());
        }
        host_check
    }

    /// Judges a request by where it is sent to and by whose page sends it, if a page does.
    pub(in crate::http) fn judge(&self, host: &str, origin: Option<&str>) -> Result<RequestOrigin, HostRefused> {
        let host = self.ours(host).ok_or(HostRefused::Host)?;
        let Some(origin) = origin else { return Ok(RequestOrigin::Own) };
        let origin = Origin::parse(origin).ok_or(HostRefused::Origin)?;
        if origin.is_of(&host) {
            return Ok(RequestOrigin::Own);
        }
        match self.origins.iter().any(|allowed| Origin::parse(allowed.as_str()) == Some(origin)) {
            true => Ok(RequestOrigin::Foreign),
            false => Err(HostRefused::Origin),
        }
    }

    /// Judges a request whose first line names its server too, as requests to a proxy do: both have to be this one.
    pub(in crate::http) fn judge_target(
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

    /// What that text names, if it is this server.
    ///
    /// The port may be any: what forwards requests to this server may be reached by another one. Behind an address no
    /// other name can hide, so a server that listens on all of them answers to each.
    fn ours<'a>(&self, text: &'a str) -> Option<Authority<'a>> {
        let named = Authority::parse(text)?;
        let is_ours = match named.host {
            Host::Address(address) => {
                let is_bound = |bound: &IpAddr| bound.to_canonical() == address || bound.is_unspecified();
                address.is_loopback() || self.bound.iter().any(is_bound) || self.other_names == NamePolicy::All
            }
            Host::Name(name) => {
                name.eq_ignore_ascii_case("localhost")
                    || self.other_names == NamePolicy::All
                    || (self.other_names == NamePolicy::Private && is_private(name))
                    || self.hosts.iter().any(|host| host.as_str().eq_ignore_ascii_case(name))
            }
        };
        is_ours.then_some(named)
    }
}

/// Whether no page of the internet can have that name.
fn is_private(name: &str) -> bool {
    const DOMAINS: [&str; 4] = [".internal", ".local", ".svc", ".home.arpa"];
    let name = name.to_ascii_lowercase();
    // What begins with a digit may be an address in an odd spelling.
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
            origins: vec!["https://desk.example.org".parse().unwrap()],
        }
    }

    #[test]
    fn only_requests_for_this_server_are_answered() {
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
                .for_each(|host| assert_eq!(host_check.judge(host, None), Ok(RequestOrigin::Own), "{bound} {host}"));
            others
                .iter()
                .for_each(|host| assert_eq!(host_check.judge(host, None), Err(HostRefused::Host), "{bound} {host}"));
        }
    }

    #[test]
    fn a_whole_url_in_the_first_line_names_this_server_and_the_one_in_host() {
        let judge = |scheme, authority| host_check("127.0.0.1").judge_target(Some(scheme), authority, "localhost:3000");
        assert_eq!(judge("http", "localhost:3000"), Ok(()));
        assert_eq!(judge("HTTP", "LOCALHOST:3000"), Ok(()));
        for (scheme, authority) in [
            ("https", "localhost:3000"),
            ("http", "localhost"),
            ("http", "127.0.0.1:3000"),
            ("http", "evil.example"),
            ("http", "localhost:3000@evil.example"),
            ("http", "evil.example@localhost:3000"),
        ] {
            assert_eq!(judge(scheme, authority), Err(HostRefused::Host), "{scheme} {authority}");
        }
    }

    #[test]
    fn a_monitor_may_ask_the_operators_address_by_the_name_of_its_service() {
        let host_check = |bound: &str, bind: &str, token: &str| {
            let settings = Settings::with([("metrics.bind", bind), ("metrics.token", token)]).unwrap();
            HostCheck::of_the_operator(&settings, vec![bound.parse().unwrap()])
        };
        let asked = |host_check: &HostCheck, host: &str| host_check.judge(host, None).is_ok();
        let open = host_check("10.0.0.7", "metrics.engine.example:9100", "");
        for (host, answered) in [
            ("10.0.0.7:9100", true),
            ("metrics.engine.example:9100", true),
            ("order-engine:9100", true),
            ("engine.prod.svc:9100", true),
            ("engine.prod.svc.cluster.local", true),
            ("evil.example:9100", false),
            ("10.0.0.8:9100", false),
            ("", false),
        ] {
            assert_eq!(asked(&open, host), answered, "{host}");
        }
        let here = host_check("127.0.0.1", "127.0.0.1:9100", "");
        assert!(asked(&here, "localhost:9100") && !asked(&here, "order-engine:9100"));
        let with_token = host_check("127.0.0.1", "127.0.0.1:9100", "a-token-of-the-operator");
        assert!(asked(&with_token, "evil.example") && asked(&with_token, "order-engine:9100"));
    }

    #[test]
    fn only_pages_of_this_server_and_of_those_allowed_may_speak_to_it() {
        let judge = |origin| host_check("127.0.0.1").judge("localhost:3000", Some(origin));
        for own in ["http://localhost:3000", "HTTP://LOCALHOST:3000"] {
            assert_eq!(judge(own), Ok(RequestOrigin::Own), "{own}");
        }
        for allowed in ["https://desk.example.org", "https://Desk.example.org:443"] {
            assert_eq!(judge(allowed), Ok(RequestOrigin::Foreign), "{allowed}");
        }
        let by_default_port = host_check("127.0.0.1").judge("localhost", Some("http://localhost:80"));
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
            assert_eq!(judge(foreign), Err(HostRefused::Origin), "{foreign}");
        }
    }
}
