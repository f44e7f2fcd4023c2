//! Users, the owners of orders, and their scopes.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::secret::Secret;

/// A user with an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// The name.
    pub name: Username,
    /// The time of registration.
    pub created_at: DateTime<Utc>,
}

/// The id of a user: a UUID of version 7.
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

/// The owner of an order. For every other caller the order does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// All anonymous callers together; the only owner if authentication is off.
    #[default]
    Shared,
    /// One user.
    User(UserId),
}

impl Owner {
    /// The user, if the owner is one.
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

/// The name of a user: 3 to 64 letters, digits and `_ - . @ +`. Names that differ only in case are equal.
#[derive(Clone, Debug)]
pub struct Username(String);

impl Username {
    /// The name as the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in lower case, for comparison.
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
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@+".contains(&byte);
        if (3..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 3 to 64 letters, digits or any of _ - . @ +")
        }
    }
}

/// Checks that a text can be a password: it has 8 to 256 bytes.
pub fn parse_password(text: &str) -> Result<Secret, &'static str> {
    match text.len() {
        8..=256 => Ok(Secret::new(text)),
        _ => Err("must have 8 to 256 bytes"),
    }
}

/// A permission of a user, and of a credential of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read quotes and the user's own orders.
    Read,
    /// Submit and cancel orders.
    Trade,
    /// Use what is for the operator.
    Operate,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Read, Self::Trade, Self::Operate];

    /// The name in responses and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Trade => "trade",
            Self::Operate => "operate",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Trade => 2,
            Self::Operate => 4,
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|scope| scope.name() == text);
        found.ok_or_else(|| format!("unknown scope {text:?}, expected read, trade or operate"))
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// What a user who trades needs.
    pub const READ_AND_TRADE: Self = Self(Scope::Read.bit() | Scope::Trade.bit());

    /// Whether the set contains that scope.
    pub const fn contain(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether the set contains each of those scopes.
    pub const fn contain_all(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// The scopes that are in this set or in the other.
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// The scopes that are in this set and not in the other.
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// The scopes that are in both sets.
    pub const fn within(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes in the set.
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
        text.split_whitespace().map(str::parse).collect()
    }
}

/// The id of an API key. The key itself is a secret that only the user has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct KeyId(pub Uuid);

impl FromStr for KeyId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// An API key, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The id.
    pub id: KeyId,
    /// The user of the key.
    pub user: UserId,
    /// The name that the user gave the key.
    pub name: String,
    /// The scopes.
    pub scopes: Scopes,
    /// The first characters of the key, so that the user can identify it.
    pub prefix: String,
    /// The time of creation.
    pub created_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ignore_case_and_other_characters_are_refused() {
        let name = |text: &str| text.parse::<Username>();
        assert_eq!(name("Alice").unwrap(), name("aLICE").unwrap());
        assert_eq!(name("me+bot@example.org").unwrap().as_str(), "me+bot@example.org");
        for invalid in ["", "ab", "a b c", "alice\n", "ali\u{441}e", &"a".repeat(65)] {
            assert!(name(invalid).is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn scopes_are_stored_by_name() {
        for (text, read, trade) in [("read", true, false), ("trade", false, true), ("read trade", true, true)] {
            let scopes: Scopes = text.parse().unwrap();
            assert_eq!((scopes.contain(Scope::Read), scopes.contain(Scope::Trade)), (read, trade));
            assert_eq!(scopes.to_string(), text);
        }
        assert!("".parse::<Scopes>().unwrap().is_empty());
        assert!("read admin".parse::<Scopes>().is_err());
    }

    #[test]
    fn sets_of_scopes_are_joined_and_narrowed() {
        let scopes = |text: &str| text.parse::<Scopes>().unwrap();
        let (both, trade, operate) = (Scopes::READ_AND_TRADE, scopes("trade"), scopes("operate"));
        assert_eq!(both.with(operate).to_string(), "read trade operate");
        assert_eq!(both.without(trade), scopes("read"));
        assert_eq!(both.without(operate), both);
        assert_eq!(both.within(trade.with(operate)), trade);
        assert!(both.contain_all(trade) && !trade.contain_all(both) && trade.contain_all(scopes("")));
    }

    #[test]
    fn a_password_has_8_to_256_bytes() {
        for (length, is_taken) in [(7, false), (8, true), (256, true), (257, false)] {
            assert_eq!(parse_password(&"x".repeat(length)).is_ok(), is_taken, "{length}");
        }
    }
}
