//! The users, the revoked tokens and the API keys in memory, so that a request needs no read of the database.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::domain::user::{KeyId, Scopes, UserId};
use crate::store::users::{Digest, RevokedToken, Standing, StoredKey};

/// The standing of each user, the revoked tokens, and the API keys that are not revoked.
#[derive(Default)]
pub(super) struct CredentialCache {
    // Some ten megabytes for 100,000 users.
    users: HashMap<UserId, Standing>,
    // With the time at which each expires. It is bounded by `forget_at`, and its growth by the cost of a login per
    // token.
    revoked: HashMap<Uuid, DateTime<Utc>>,
    // Above this number, tokens that expired long ago are forgotten.
    forget_at: usize,
    keys: HashMap<Digest, (KeyId, UserId, Scopes)>,
    live_keys: HashSet<Uuid>,
}

impl CredentialCache {
    /// Up to this number nothing is forgotten. It costs a few megabytes, and a clock that runs ahead cannot make a
    /// token valid again whose revocation was forgotten.
    const FORGET_FROM: usize = 50_000;
    /// Above that number, tokens are forgotten that expired this long ago. It allows for a wall clock that runs ahead
    /// by days: there is no other clock to compare it with.
    const FORGET_AFTER: TimeDelta = TimeDelta::days(60);

    /// The cache of what the database has.
    pub(super) fn new(users: &[Standing], revoked: Vec<RevokedToken>, keys: Vec<StoredKey>) -> Self {
        let mut cache = Self::default();
        for standing in users {
            cache.learn(*standing);
        }
        cache.revoked.extend(revoked.into_iter().map(|token| (token.id, token.expires_at)));
        keys.into_iter().for_each(|key| cache.add_key(key));
        cache
    }

    /// Notes the standing of a user after a change. Returns whether it is news: what is known may be of a later change.
    pub(super) fn learn(&mut self, standing: Standing) -> bool {
        match self.users.entry(standing.user) {
            Entry::Occupied(known) if known.get().revision >= standing.revision => false,
            Entry::Occupied(mut known) => {
                known.insert(standing);
                true
            }
            Entry::Vacant(unknown) => {
                unknown.insert(standing);
                true
            }
        }
    }

    /// The standing of a user who may authenticate.
    pub(super) fn active(&self, user: UserId) -> Option<Standing> {
        self.users.get(&user).copied().filter(|standing| standing.is_active)
    }

    /// The key with this digest.
    pub(super) fn key(&self, digest: &Digest) -> Option<(KeyId, UserId, Scopes)> {
        self.keys.get(digest).copied()
    }

    /// Whether the key is not revoked.
    pub(super) fn is_live_key(&self, id: Uuid) -> bool {
        self.live_keys.contains(&id)
    }

    /// Whether the token is revoked.
    pub(super) fn is_revoked(&self, token: Uuid) -> bool {
        self.revoked.contains_key(&token)
    }

    pub(super) fn add_key(&mut self, StoredKey { key, digest }: StoredKey) {
        self.keys.insert(digest, (key.id, key.user, key.scopes));
        self.live_keys.insert(key.id.0);
    }

    /// Removes a key. Returns whether the user had it.
    pub(super) fn remove_key(&mut self, user: UserId, id: KeyId) -> bool {
        let removed = self.keys.extract_if(|_, (known, owner, _)| (*known, *owner) == (id, user)).count() > 0;
        removed && self.live_keys.remove(&id.0)
    }

    /// Adds a revoked token. If old ones are forgotten because there are too many, returns the time: those that expired
    /// at this time or earlier.
    pub(super) fn revoke_token(
        &mut self,
        id: Uuid,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        self.revoked.insert(id, expires_at);
        if self.revoked.len() <= self.forget_at.max(Self::FORGET_FROM) {
            return None;
        }
        let by = now - Self::FORGET_AFTER;
        self.revoked.retain(|_, until| *until > by);
        self.forget_at = 2 * self.revoked.len();
        Some(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::user::Scopes;

    #[test]
    fn an_earlier_change_of_a_user_does_not_undo_a_later_one() {
        let user = UserId(Uuid::from_u128(1));
        let after = |revision, is_active| Standing {
            user,
            revision,
            token_version: revision,
            scopes: Scopes::READ_AND_TRADE,
            is_active,
        };
        let mut cache = CredentialCache::default();
        assert!(cache.active(user).is_none(), "a user who was never read gets no access");
        assert!(cache.learn(after(4, true)));
        assert!(cache.learn(after(6, false)) && !cache.learn(after(5, true)) && !cache.learn(after(6, false)));
        assert!(cache.active(user).is_none());
        assert!(cache.learn(after(7, true)));
        assert_eq!(cache.active(user), Some(after(7, true)));
    }

    #[test]
    fn a_revocation_is_not_forgotten_because_a_clock_runs_ahead() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut cache = CredentialCache::default();
        let first = Uuid::from_u128(0);
        assert_eq!(cache.revoke_token(first, now + TimeDelta::days(1), now), None);
        for number in 1..CredentialCache::FORGET_FROM as u128 {
            let in_years = now + TimeDelta::days(4_000);
            assert_eq!(cache.revoke_token(Uuid::from_u128(number), in_years, in_years), None, "{number}");
        }
        assert!(cache.is_revoked(first));
    }

    #[test]
    fn of_very_many_revocations_those_are_forgotten_that_expired_long_ago() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut cache = CredentialCache::default();
        let by = now - CredentialCache::FORGET_AFTER;
        let mut forgotten = Vec::new();
        for number in 0..=CredentialCache::FORGET_FROM as u128 {
            let expires_at = if number % 2 == 0 { by } else { by + TimeDelta::seconds(1) };
            forgotten.extend(cache.revoke_token(Uuid::from_u128(number), expires_at, now));
        }
        assert_eq!(forgotten, [by]);
        assert_eq!(cache.revoked.len(), CredentialCache::FORGET_FROM / 2);
    }
}
