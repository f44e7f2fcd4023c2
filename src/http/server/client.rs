//! The client that a connection, a socket or a request is counted for.

use std::net::IpAddr;

use crate::auth::network;
use crate::domain::user::UserId;

/// The key under which limits are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// A user, from any address.
    User(UserId),
    /// Every anonymous caller in the network of that address.
    Address(IpAddr),
    /// All clients that have no counter of their own, because there are too many.
    Others,
}

impl Client {
    /// The client at an address.
    pub fn at(address: IpAddr) -> Self {
        Self::Address(network(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        Client::at(address.parse().unwrap())
    }

    #[test]
    fn an_ipv6_network_is_one_client_and_an_ipv4_address_is_the_same_in_both_spellings() {
        assert_eq!(client("2001:db8:1:2::3"), client("2001:db8:1:2:ffff::4"));
        assert_ne!(client("2001:db8:1:2::3"), client("2001:db8:1:3::3"));
        assert_eq!(client("10.0.0.1"), client("::ffff:10.0.0.1"));
    }
}
