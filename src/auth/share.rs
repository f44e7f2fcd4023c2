//! Who gives way where something bounded is full: the holder of the most places, so that one holder cannot keep the
//! others out.
//!
//! Shares are counted by address first, and by name within it: one address may make up any number of names.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

/// Who has to give one place up for one more of `newcomer`; `None` where the newcomer has as much as anybody.
pub(super) fn gives_way<W: Copy + Eq + Hash>(
    held: impl Iterator<Item = (IpAddr, W)> + Clone,
    newcomer: (IpAddr, W),
) -> Option<(IpAddr, W)> {
    let (address, who) = newcomer;
    // Two more at least: with one more the newcomer would only change places with it.
    let greediest_address = greediest(held.clone().map(|(address, _)| address), address);
    let from = greediest_address.unwrap_or(address);
    let of_address = held.filter(|(held_from, _)| *held_from == from).map(|(_, who)| who);
    let whose = match greediest_address {
        // Whoever it is there: the address has too much.
        Some(_) => most(of_address),
        None => greediest(of_address, who),
    };
    whose.map(|whose| (from, whose))
}

/// Whoever has most, if that is two more at least than what `newcomer` has.
fn greediest<W: Copy + Eq + Hash>(held: impl Iterator<Item = W> + Clone, newcomer: W) -> Option<W> {
    let own = held.clone().filter(|holder| *holder == newcomer).count();
    let holder = most(held.clone())?;
    (held.filter(|other| *other == holder).count() >= own + 2).then_some(holder)
}

/// Whoever has most; of several that have as much, the one that came first.
fn most<W: Copy + Eq + Hash>(held: impl Iterator<Item = W> + Clone) -> Option<W> {
    let mut counts = HashMap::new();
    for holder in held.clone() {
        *counts.entry(holder).or_insert(0_usize) += 1;
    }
    let highest = counts.values().copied().max()?;
    held.into_iter().find(|holder| counts.get(holder) == Some(&highest))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn an_address_with_many_names_gives_way_to_another_address() {
        let held = (0..10_u8).map(|name| (at(1), name));
        assert_eq!(gives_way(held.clone(), (at(2), 99)), Some((at(1), 0)));
        assert_eq!(gives_way(held, (at(1), 99)), None, "within it every name has one already");
    }

    #[test]
    fn a_name_with_many_places_gives_way_to_another_one_of_its_address() {
        let held = [(at(1), 7_u8), (at(1), 7), (at(1), 8)].into_iter();
        assert_eq!(gives_way(held.clone(), (at(1), 9)), Some((at(1), 7)));
        assert_eq!(gives_way(held.clone(), (at(1), 8)), None, "it would only change places");
        assert_eq!(gives_way(held, (at(1), 7)), None, "it is the greediest itself");
    }

    #[test]
    fn where_all_have_the_same_nobody_gives_way() {
        let held = [(at(1), 1_u8), (at(2), 1), (at(3), 1)].into_iter();
        assert_eq!(gives_way(held, (at(4), 1)), None);
        assert_eq!(gives_way(std::iter::empty(), (at(4), 1)), None);
    }
}
