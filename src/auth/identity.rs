//! An authenticated user, and the credential that proved it.

use std::time::Instant;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::secret::Secret;
use crate::domain::user::{Scopes, User, UserId};

/// An authenticated user.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// What the user may do with this credential.
    pub scopes: Scopes,
    /// The token or API key. For a ticket, the one with which the ticket was made.
    pub credential: Credential,
}

/// A token or an API key, without its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The id of the token or key.
    pub id: Uuid,
    /// When the token expires, by the wall clock; `None` for a key.
    pub expires_at: Option<DateTime<Utc>>,
    /// The version of the token; a later version of the user's tokens ends it. Without meaning for a key.
    pub version: i64,
    /// The same time on the monotonic clock, as of the moment at which the token was presented. A socket that was
    /// opened with it ends then, even if the wall clock is set meanwhile.
    pub ends: Option<Instant>,
}

impl Credential {
    /// Whether the credential has expired.
    pub fn has_ended(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

/// The result of a login.
#[derive(Debug)]
pub struct Login {
    /// The user.
    pub user: User,
    /// The new token.
    pub token: Secret,
    /// When the token expires.
    pub expires_at: DateTime<Utc>,
    /// Whether the account was created by this request.
    pub created: bool,
}
