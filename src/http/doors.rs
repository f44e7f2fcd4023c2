//! Who is answered at all: a request must be meant for this server, and a web page must be one that may speak to it.
//!
//! A server on the loopback address is within reach of every web page that is open on its machine: a page may post to
//! it, and its owner may have the page's own name point here, so that the browser takes both for one. The first shows in
//! `Origin`, which browsers send and pages cannot change; the second in `Host`, which then names what is not this server.

use std::net::IpAddr;

use crate::config::{HostName, ServerSettings, WebOrigin};

/// Judges by `Host` and `Origin`.
#[derive(Clone, Debug)]
pub(super) struct Doors {
    bound: IpAddr,
    hosts: Vec<HostName>,
    origins: Vec<WebOrigin>,
}

/// Whose page asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// No other server's: none at all, or one of this server.
    Own,
    /// One of another server that is allowed.
    Foreign,
}

/// Why nobody is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The request is meant for another server.
    Host,
    /// The page is of a server that is not allowed.
    Origin,
}

impl Doors {
    pub(super) fn new(settings: &ServerSettings) -> Self {
        Self { bound: settings.host, hosts: settings.allowed_hosts.clone(), origins: settings.allowed_origins.clone() }
    }

    /// Judges a request by where it is sent to and by whose page sends it, if a page does.
    pub(super) fn judge(&self, host: &str, origin: Option<&str>) -> Result<Asker, Refused> {
        if !self.is_ours(without_port(host)) {
            return Err(Refused::Host);
        }
        let Some(origin) = origin else { return Ok(Asker::Own) };
        if origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)) {
            return Ok(Asker::Own);
        }
        match self.origins.iter().any(|allowed| allowed.as_str().eq_ignore_ascii_case(origin)) {
            true => Ok(Asker::Foreign),
            false => Err(Refused::Origin),
        }
    }

    // Behind an address no other name can hide; so a server that listens on all of them answers to each.
    fn is_ours(&self, name: &str) -> bool {
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        match address.parse::<IpAddr>() {
            Ok(address) => address.is_loopback() || address == self.bound || self.bound.is_unspecified(),
            Err(_) => {
                name.eq_ignore_ascii_case("localhost")
                    || self.hosts.iter().any(|host| host.as_str().eq_ignore_ascii_case(name))
            }
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doors(bound: &str) -> Doors {
        Doors {
            bound: bound.parse().unwrap(),
            hosts: vec!["engine.example.org".parse().unwrap()],
            origins: vec!["https://desk.example.org".parse().unwrap()],
        }
    }

    #[test]
    fn only_requests_for_this_server_are_answered() {
        for (bound, ours, others) in [
            (
                "127.0.0.1",
                &["127.0.0.1:3000", "localhost", "LocalHost:3000", "[::1]:3000", "[::1]", "Engine.example.org"][..],
                &["", ":", "evil.example", "localhost.evil.example", "localhost.", "10.0.0.7:3000", "[::2]", "0.0.0.0"]
                    [..],
            ),
            ("10.0.0.7", &["10.0.0.7:3000", "localhost:3000"], &["10.0.0.8:3000", "evil.example:3000"]),
            ("0.0.0.0", &["10.0.0.7:3000", "[2001:db8::1]:80"], &["evil.example:3000", "10.0.0.7.evil.example"]),
            ("::", &["10.0.0.7", "[2001:db8::1]"], &["evil.example"]),
        ] {
            let doors = doors(bound);
            ours.iter().for_each(|host| assert_eq!(doors.judge(host, None), Ok(Asker::Own), "{bound} {host}"));
            others.iter().for_each(|host| assert_eq!(doors.judge(host, None), Err(Refused::Host), "{bound} {host}"));
        }
    }

    #[test]
    fn only_pages_of_this_server_and_of_those_allowed_may_speak_to_it() {
        let judge = |origin| doors("127.0.0.1").judge("localhost:3000", Some(origin));
        for own in ["http://localhost:3000", "https://localhost:3000", "http://LOCALHOST:3000"] {
            assert_eq!(judge(own), Ok(Asker::Own), "{own}");
        }
        assert_eq!(judge("https://desk.example.org"), Ok(Asker::Foreign));
        for foreign in [
            "null",
            "",
            "http://localhost",
            "http://localhost:3001",
            "http://127.0.0.1:3000",
            "http://desk.example.org",
            "https://desk.example.org.evil.example",
            "https://evil.example",
        ] {
            assert_eq!(judge(foreign), Err(Refused::Origin), "{foreign}");
        }
    }
}
