//! Users, and whose an order is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A user's identity: a UUID of version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub Uuid);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for UserId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Whose an order is. To everybody else it does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Everybody who does not say who they are, together: the only owner on a server without users.
    #[default]
    Shared,
    /// That user alone.
    User(UserId),
}

impl Owner {
    /// The user, if it is one.
    pub const fn user(self) -> Option<UserId> {
        match self {
            Self::Shared => None,
            Self::User(user) => Some(user),
        }
    }
}

impl From<Option<UserId>> for Owner {
    fn from(user: Option<UserId>) -> Self {
        user.map_or(Self::Shared, Self::User)
    }
}
