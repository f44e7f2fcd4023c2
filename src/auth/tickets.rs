//! Tickets: one-time credentials for a socket, valid for a short time, for clients that cannot send a header with it.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::auth::identity::Identity;
use crate::auth::share::holder_to_displace;
use crate::domain::user::UserId;
use crate::store::users::Digest;

/// The tickets that are not used yet, by the digest of their text.
#[derive(Default)]
pub(super) struct Tickets {
    open: HashMap<Digest, Ticket>,
    // The created tickets with their expiry, oldest first, including some that are redeemed. All have the same
    // lifetime, so they expire in this order.
    created: VecDeque<(Digest, Instant)>,
    of_users: HashMap<UserId, usize>,
}

struct Ticket {
    identity: Identity,
    from: IpAddr,
    until: Instant,
}

impl Tickets {
    /// The lifetime of a ticket.
    pub(super) const TTL: Duration = Duration::from_secs(30);
    /// The maximum number of open tickets of one user.
    const MAX_PER_USER: usize = 64;
    /// The maximum number of open tickets of all users. At the maximum, the user with the most tickets loses its oldest
    /// one to a user with fewer.
    const MAX: usize = 16 * 1024;

    /// Adds a new ticket that was requested from this address. Returns whether there was room for it.
    pub(super) fn add(&mut self, ticket: Digest, identity: Identity, from: IpAddr, now: Instant) -> bool {
        self.remove_expired(now);
        if self.of_users.get(&identity.user).is_some_and(|open| *open >= Self::MAX_PER_USER) {
            return false;
        }
        if self.open.len() >= Self::MAX {
            match self.to_displace(from, identity.user) {
                Some(oldest) => drop(self.take(&oldest)),
                None => return false,
            }
        }
        let until = now + Self::TTL;
        self.open.insert(ticket, Ticket { identity, from, until });
        self.created.push_back((ticket, until));
        *self.of_users.entry(identity.user).or_default() += 1;
        true
    }

    /// Uses up a ticket and returns its identity.
    pub(super) fn redeem(&mut self, ticket: &Digest, now: Instant) -> Option<Identity> {
        let Ticket { identity, until, .. } = self.take(ticket)?;
        (now < until).then_some(identity)
    }

    /// The ticket that a new ticket of this user displaces: the oldest one of the user with the most.
    fn to_displace(&self, from: IpAddr, user: UserId) -> Option<Digest> {
        let places = self.open.values().map(|ticket| (ticket.from, ticket.identity.user));
        let (from, user) = holder_to_displace(places, (from, user))?;
        let is_theirs = |ticket: &Ticket| ticket.from == from && ticket.identity.user == user;
        self.created.iter().map(|(ticket, _)| *ticket).find(|ticket| self.open.get(ticket).is_some_and(is_theirs))
    }

    fn take(&mut self, ticket: &Digest) -> Option<Ticket> {
        let taken = self.open.remove(ticket)?;
        let user = taken.identity.user;
        if let Some(open) = self.of_users.get_mut(&user) {
            *open -= 1;
            if *open == 0 {
                self.of_users.remove(&user);
            }
        }
        Some(taken)
    }

    fn remove_expired(&mut self, now: Instant) {
        while let Some((ticket, _)) = self.created.pop_front_if(|(_, until)| *until <= now) {
            self.take(&ticket);
        }
        // Redeemed tickets are removed before they expire if there are many.
        if self.created.len() > 2 * self.open.len() + Self::MAX_PER_USER {
            self.created.retain(|(ticket, _)| self.open.contains_key(ticket));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use uuid::Uuid;

    use super::*;
    use crate::auth::identity::Credential;
    use crate::auth::random::digest;
    use crate::domain::user::Scopes;
    use crate::fuzz::many;

    fn identity() -> Identity {
        let credential = Credential { id: Uuid::new_v4(), expires_at: None, version: 0, ends: None };
        Identity { user: UserId(Uuid::now_v7()), scopes: Scopes::READ_AND_TRADE, credential }
    }

    fn at(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn ticket(number: u16) -> Digest {
        let mut digest = [0; 32];
        digest[..2].copy_from_slice(&number.to_be_bytes());
        Digest(digest)
    }

    #[test]
    fn a_ticket_is_valid_once_and_for_half_a_minute() {
        let (now, user) = (Instant::now(), identity());
        let mut tickets = Tickets::default();
        assert!(tickets.add(ticket(1), user, at(1), now) && tickets.add(ticket(2), user, at(1), now));
        let last = now + Tickets::TTL - Duration::from_nanos(1);
        assert_eq!(tickets.redeem(&ticket(1), last).map(|found| found.user), Some(user.user));
        assert!(tickets.redeem(&ticket(1), last).is_none(), "it is valid once");
        assert!(tickets.redeem(&ticket(2), now + Tickets::TTL).is_none(), "it has expired");
        assert!(tickets.redeem(&ticket(3), now).is_none(), "no such ticket was created");
    }

    #[test]
    fn of_all_texts_only_the_ticket_itself_is_accepted() {
        const TICKET: &str = "8vYFmBkBRkHMMDhmYtbjG3gQfFZZkDXqRzTYXVYx2b6u";
        let now = Instant::now();
        many("ticket", |fuzzer| {
            let mut tickets = Tickets::default();
            assert!(tickets.add(digest(TICKET), identity(), at(1), now));
            let text = fuzzer.mangled_text(TICKET);
            let taken = tickets.redeem(&digest(&text), now).is_some();
            assert_eq!(taken, text == TICKET, "{text}");
            taken
        });
    }

    #[test]
    fn a_user_has_no_more_open_tickets_than_the_limit() {
        let (now, greedy) = (Instant::now(), identity());
        let mut tickets = Tickets::default();
        let most = u16::try_from(Tickets::MAX_PER_USER).unwrap();
        assert!((0..most).all(|number| tickets.add(ticket(number), greedy, at(1), now)));
        assert!(!tickets.add(ticket(most), greedy, at(1), now));
        assert!(tickets.add(ticket(most), identity(), at(1), now), "another user still gets one");
        assert!(tickets.add(ticket(most + 1), greedy, at(1), now + Tickets::TTL), "and so does this one, later");
    }

    #[test]
    fn unused_tickets_of_many_users_leave_room_for_other_users() {
        let now = Instant::now();
        let mut tickets = Tickets::default();
        let mut number = 0_u16;
        let mut add = |tickets: &mut Tickets, who: Identity, from: IpAddr| {
            number += 1;
            tickets.add(ticket(number), who, from, now)
        };
        let users = Tickets::MAX / Tickets::MAX_PER_USER;
        for _ in 0..users {
            let greedy = identity();
            assert!((0..Tickets::MAX_PER_USER).all(|_| add(&mut tickets, greedy, at(1))));
        }
        for other in [at(1), at(2)] {
            assert!(add(&mut tickets, identity(), other), "{other}");
            assert_eq!(tickets.open.len(), Tickets::MAX);
        }
        // A user at another address gets a ticket that is valid.
        let one = identity();
        assert!(add(&mut tickets, one, at(3)));
        assert!(tickets.redeem(&ticket(number), now).is_some(), "the ticket is valid");
    }

    #[test]
    fn a_redeemed_or_expired_ticket_takes_no_place() {
        let now = Instant::now();
        let mut tickets = Tickets::default();
        let who = identity();
        for number in 0..1_000 {
            assert!(tickets.add(ticket(number), who, at(1), now));
            assert!(tickets.redeem(&ticket(number), now).is_some());
        }
        assert!(tickets.created.len() <= 2 * Tickets::MAX_PER_USER, "{}", tickets.created.len());
        tickets.add(ticket(1_000), who, at(1), now);
        tickets.remove_expired(now + Tickets::TTL);
        assert!(tickets.open.is_empty() && tickets.created.is_empty() && tickets.of_users.is_empty());
    }
}
