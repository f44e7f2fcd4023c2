//! Tickets: a pass for one socket, good once and not for long, for clients that can send no header with it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Identity;
use crate::domain::user::UserId;
use crate::store::users::Digest;

/// The tickets that nobody has come with yet, by the digest of their text.
#[derive(Default)]
pub(super) struct Tickets {
    open: HashMap<Digest, (Identity, Instant)>,
}

impl Tickets {
    /// How long a ticket is good.
    pub(super) const TTL: Duration = Duration::from_secs(30);
    /// More may not be open for one user, and for all.
    const MOST_OF_A_USER: usize = 64;
    const MOST: usize = 16 * 1024;

    /// Takes a new ticket in; whether there was room for it.
    pub(super) fn add(&mut self, ticket: Digest, identity: Identity, now: Instant) -> bool {
        self.open.retain(|_, (_, until)| *until > now);
        if self.open.len() >= Self::MOST || self.of(identity.user) >= Self::MOST_OF_A_USER {
            return false;
        }
        self.open.insert(ticket, (identity, now + Self::TTL));
        true
    }

    /// Whose ticket it is; never again.
    pub(super) fn redeem(&mut self, ticket: &Digest, now: Instant) -> Option<Identity> {
        let (identity, until) = self.open.remove(ticket)?;
        (now < until).then_some(identity)
    }

    fn of(&self, user: UserId) -> usize {
        self.open.values().filter(|(identity, _)| identity.user == user).count()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::auth::{Credential, digest};
    use crate::domain::user::Scopes;
    use crate::fuzz::many;

    fn somebody() -> Identity {
        let credential = Credential { id: Uuid::new_v4(), expires_at: None };
        Identity { user: UserId(Uuid::now_v7()), scopes: Scopes::ALL, credential }
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
        assert!(tickets.add(ticket(1), identity, now) && tickets.add(ticket(2), identity, now));
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
        many("ticket", |garbler| {
            let mut tickets = Tickets::default();
            assert!(tickets.add(digest(TICKET), somebody(), now));
            let text = garbler.mangled_text(TICKET);
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
        assert!((0..most).all(|number| tickets.add(ticket(number), greedy, now)));
        assert!(!tickets.add(ticket(most), greedy, now));
        assert!(tickets.add(ticket(most), somebody(), now), "another user still can");
        assert!(tickets.add(ticket(most + 1), greedy, now + Tickets::TTL), "and so can this one, later");
    }
}
