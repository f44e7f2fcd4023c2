//! Tickets: a pass for one socket, good once and not for long, for clients that can send no header with it.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::auth::Identity;
use crate::auth::share::gives_way;
use crate::domain::user::UserId;
use crate::store::users::Digest;

/// The tickets that nobody has come with yet, by the digest of their text.
#[derive(Default)]
pub(super) struct Tickets {
    open: HashMap<Digest, Ticket>,
    // Those that were made, oldest first, also where they have been redeemed since. All last as long, so they also end
    // in this order.
    made: VecDeque<(Digest, Instant)>,
    of_users: HashMap<UserId, usize>,
}

struct Ticket {
    identity: Identity,
    from: IpAddr,
    until: Instant,
}

impl Tickets {
    /// How long a ticket is good.
    pub(super) const TTL: Duration = Duration::from_secs(30);
    /// More may not be open for one user.
    const MOST_OF_A_USER: usize = 64;
    /// How many may be open for all users. Beyond it the user with the most loses its oldest to a user with fewer.
    const MOST: usize = 16 * 1024;

    /// Takes a new ticket in, which somebody at that address asked for; whether there was room for it.
    pub(super) fn add(&mut self, ticket: Digest, identity: Identity, from: IpAddr, now: Instant) -> bool {
        self.forget_ended(now);
        if self.of_users.get(&identity.user).is_some_and(|open| *open >= Self::MOST_OF_A_USER) {
            return false;
        }
        if self.open.len() >= Self::MOST {
            match self.to_give_way(from, identity.user) {
                Some(oldest) => drop(self.take(&oldest)),
                None => return false,
            }
        }
        let until = now + Self::TTL;
        self.open.insert(ticket, Ticket { identity, from, until });
        self.made.push_back((ticket, until));
        *self.of_users.entry(identity.user).or_default() += 1;
        true
    }

    /// Whose ticket it is; never again.
    pub(super) fn redeem(&mut self, ticket: &Digest, now: Instant) -> Option<Identity> {
        let Ticket { identity, until, .. } = self.take(ticket)?;
        (now < until).then_some(identity)
    }

    /// The oldest ticket of whoever has too many for another one of that user to be refused.
    fn to_give_way(&self, from: IpAddr, user: UserId) -> Option<Digest> {
        let held = self.open.values().map(|ticket| (ticket.from, ticket.identity.user));
        let (from, user) = gives_way(held, (from, user))?;
        let is_theirs = |ticket: &Ticket| ticket.from == from && ticket.identity.user == user;
        self.made.iter().map(|(ticket, _)| *ticket).find(|ticket| self.open.get(ticket).is_some_and(is_theirs))
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

    fn forget_ended(&mut self, now: Instant) {
        while let Some((ticket, _)) = self.made.pop_front_if(|(_, until)| *until <= now) {
            self.take(&ticket);
        }
        // Of those that are redeemed at once, too.
        if self.made.len() > 2 * self.open.len() + Self::MOST_OF_A_USER {
            self.made.retain(|(ticket, _)| self.open.contains_key(ticket));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use uuid::Uuid;

    use super::*;
    use crate::auth::{Credential, digest};
    use crate::domain::user::Scopes;
    use crate::fuzz::many;

    fn somebody() -> Identity {
        let credential = Credential { id: Uuid::new_v4(), expires_at: None, ends: None };
        Identity { user: UserId(Uuid::now_v7()), scopes: Scopes::ALL, credential }
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
    fn a_ticket_is_good_once_and_for_half_a_minute() {
        let (now, identity) = (Instant::now(), somebody());
        let mut tickets = Tickets::default();
        assert!(tickets.add(ticket(1), identity, at(1), now) && tickets.add(ticket(2), identity, at(1), now));
        let last = now + Tickets::TTL - Duration::from_nanos(1);
        assert_eq!(tickets.redeem(&ticket(1), last).map(|found| found.user), Some(identity.user));
        assert!(tickets.redeem(&ticket(1), last).is_none(), "it was good once");
        assert!(tickets.redeem(&ticket(2), now + Tickets::TTL).is_none(), "its time is over");
        assert!(tickets.redeem(&ticket(3), now).is_none(), "there never was such a ticket");
    }

    #[test]
    fn any_text_is_judged_and_only_the_very_ticket_is_one() {
        const TICKET: &str = "8vYFmBkBRkHMMDhmYtbjG3gQfFZZkDXqRzTYXVYx2b6u";
        let now = Instant::now();
        many("ticket", |fuzzer| {
            let mut tickets = Tickets::default();
            assert!(tickets.add(digest(TICKET), somebody(), at(1), now));
            let text = fuzzer.mangled_text(TICKET);
            let taken = tickets.redeem(&digest(&text), now).is_some();
            assert_eq!(taken, text == TICKET, "{text}");
            taken
        });
    }

    #[test]
    fn a_user_cannot_have_more_tickets_open_than_that() {
        let (now, greedy) = (Instant::now(), somebody());
        let mut tickets = Tickets::default();
        let most = u16::try_from(Tickets::MOST_OF_A_USER).unwrap();
        assert!((0..most).all(|number| tickets.add(ticket(number), greedy, at(1), now)));
        assert!(!tickets.add(ticket(most), greedy, at(1), now));
        assert!(tickets.add(ticket(most), somebody(), at(1), now), "another user still can");
        assert!(tickets.add(ticket(most + 1), greedy, at(1), now + Tickets::TTL), "and so can this one, later");
    }

    #[test]
    fn unused_tickets_of_many_users_leave_one_for_everybody_else() {
        let now = Instant::now();
        let mut tickets = Tickets::default();
        let mut number = 0_u16;
        let mut add = |tickets: &mut Tickets, who: Identity, from: IpAddr| {
            number += 1;
            tickets.add(ticket(number), who, from, now)
        };
        let users = Tickets::MOST / Tickets::MOST_OF_A_USER;
        for _ in 0..users {
            let greedy = somebody();
            assert!((0..Tickets::MOST_OF_A_USER).all(|_| add(&mut tickets, greedy, at(1))));
        }
        for other in [at(1), at(2)] {
            assert!(add(&mut tickets, somebody(), other), "{other}");
            assert_eq!(tickets.open.len(), Tickets::MOST);
        }
        // Another user of whoever filled it gets no more than one of its own.
        let one = somebody();
        assert!(add(&mut tickets, one, at(3)));
        assert!(tickets.redeem(&ticket(number), now).is_some(), "and the ticket is good");
    }

    #[test]
    fn a_redeemed_or_ended_ticket_takes_no_place() {
        let now = Instant::now();
        let mut tickets = Tickets::default();
        let who = somebody();
        for number in 0..1_000 {
            assert!(tickets.add(ticket(number), who, at(1), now));
            assert!(tickets.redeem(&ticket(number), now).is_some());
        }
        assert!(tickets.made.len() <= 2 * Tickets::MOST_OF_A_USER, "{}", tickets.made.len());
        tickets.add(ticket(1_000), who, at(1), now);
        tickets.forget_ended(now + Tickets::TTL);
        assert!(tickets.open.is_empty() && tickets.made.is_empty() && tickets.of_users.is_empty());
    }
}
