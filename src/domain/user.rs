//! Users: whose an order is, and what their keys may do.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Somebody with an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their identity.
    pub id: UserId,
    /// What they call themselves.
    pub name: Username,
    /// When the account was made.
    pub created_at: DateTime<Utc>,
}

/// A user's identity: a UUID of version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
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

/// A user's name: 3 to 64 letters, digits and `_ - . @ +`. Two that differ in case alone are the same name.
#[derive(Clone, Debug)]
pub struct Username(String);

impl Username {
    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as it is compared.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl PartialEq for Username {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Username {}

impl FromStr for Username {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let decent = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@+".contains(&byte);
        if (3..=64).contains(&text.len()) && text.bytes().all(decent) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 3 to 64 letters, digits or any of _ - . @ +")
        }
    }
}

/// Something that a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at one's own orders, and at quotes.
    Read,
    /// Submit orders and cancel them.
    Trade,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 2] = [Self::Read, Self::Trade];

    /// Its name in answers and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Trade => "trade",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Trade => 2,
        }
    }
}

/// Some scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope.
    pub const ALL: Self = Self(Scope::Read.bit() | Scope::Trade.bit());

    /// Whether that one is among them.
    pub const fn contain(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contain(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().map(Scope::name).collect::<Vec<_>>().join(" "))
    }
}

impl FromStr for Scopes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let scope = |name: &str| {
            Scope::ALL
                .into_iter()
                .find(|scope| scope.name() == name)
                .ok_or_else(|| format!("unknown scope {name:?}, expected read or trade"))
        };
        text.split_whitespace().map(scope).collect()
    }
}

/// An API key's identity; the key itself is known to its user alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct KeyId(pub Uuid);

impl FromStr for KeyId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What is known of an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its identity.
    pub id: KeyId,
    /// Whose it is.
    pub user: UserId,
    /// What its user calls it.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// Its first characters, so that its user can tell it from the others.
    pub prefix: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_whatever_their_case_and_anything_odd_is_no_name() {
        let name = |text: &str| text.parse::<Username>();
        assert_eq!(name("Alice").unwrap(), name("aLICE").unwrap());
        assert_eq!(name("me+bot@example.org").unwrap().as_str(), "me+bot@example.org");
        for odd in ["", "ab", "a b c", "alice\n", "ali\u{441}e", &"a".repeat(65)] {
            assert!(name(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn scopes_are_stored_by_their_names() {
        for (text, read, trade) in [("read", true, false), ("trade", false, true), ("read trade", true, true)] {
            let scopes: Scopes = text.parse().unwrap();
            assert_eq!((scopes.contain(Scope::Read), scopes.contain(Scope::Trade)), (read, trade));
            assert_eq!(scopes.to_string(), text);
        }
        assert!("".parse::<Scopes>().unwrap().is_empty());
        assert!("read admin".parse::<Scopes>().is_err());
    }
}
