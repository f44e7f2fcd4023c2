//! Decides who loses a place when a bounded resource is full: the holder of the most places, so that one holder cannot
//! keep the others out.
//!
//! Places are counted by address first and then by holder, because one address can use any number of names.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

/// The holder that loses a place to `newcomer`; `None` if the newcomer has as many places as anybody else.
pub(super) fn holder_to_displace<H: Copy + Eq + Hash>(
    places: impl Iterator<Item = (IpAddr, H)> + Clone,
    newcomer: (IpAddr, H),
) -> Option<(IpAddr, H)> {
    let (address, holder) = newcomer;
    let largest_address = clearly_largest(places.clone().map(|(address, _)| address), address);
    let from = largest_address.unwrap_or(address);
    let of_address = places.filter(|(other, _)| *other == from).map(|(_, holder)| holder);
    let displaced = match largest_address {
        // The address has too many places, whichever of its holders has them.
        Some(_) => largest(of_address),
        None => clearly_largest(of_address, holder),
    };
    displaced.map(|displaced| (from, displaced))
}

/// The holder with the most places, if it has at least two more than `newcomer`. With one more, the newcomer would only
/// swap roles with it.
fn clearly_largest<H: Copy + Eq + Hash>(places: impl Iterator<Item = H> + Clone, newcomer: H) -> Option<H> {
    let count = |holder: H| places.clone().filter(|other| *other == holder).count();
    let holder = largest(places.clone())?;
    (count(holder) >= count(newcomer) + 2).then_some(holder)
}

/// The holder with the most places. Among equals, the one whose place is first.
fn largest<H: Copy + Eq + Hash>(places: impl Iterator<Item = H> + Clone) -> Option<H> {
    let mut counts = HashMap::new();
    for holder in places.clone() {
        *counts.entry(holder).or_insert(0_usize) += 1;
    }
    let highest = counts.values().copied().max()?;
    places.into_iter().find(|holder| counts.get(holder) == Some(&highest))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn an_address_with_many_names_loses_a_place_to_another_address() {
        let places = (0..10_u8).map(|name| (at(1), name));
        assert_eq!(holder_to_displace(places.clone(), (at(2), 99)), Some((at(1), 0)));
        assert_eq!(holder_to_displace(places, (at(1), 99)), None, "each name of the address has one place");
    }

    #[test]
    fn a_name_with_many_places_loses_one_to_another_name_of_its_address() {
        let places = [(at(1), 7_u8), (at(1), 7), (at(1), 8)].into_iter();
        assert_eq!(holder_to_displace(places.clone(), (at(1), 9)), Some((at(1), 7)));
        assert_eq!(holder_to_displace(places.clone(), (at(1), 8)), None, "they would only swap roles");
        assert_eq!(holder_to_displace(places, (at(1), 7)), None, "it has the most places itself");
    }

    #[test]
    fn nobody_loses_a_place_if_all_have_the_same_number() {
        let places = [(at(1), 1_u8), (at(2), 1), (at(3), 1)].into_iter();
        assert_eq!(holder_to_displace(places, (at(4), 1)), None);
        assert_eq!(holder_to_displace(std::iter::empty(), (at(4), 1)), None);
    }
}
