//! Ids. Each is its own type, so that the compiler refuses one in place of another.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of an order: a UUID of version 7, so ids sort by the time of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct OrderId(pub Uuid);

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for OrderId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The name of a venue, as in settings, responses, events and stored rows: 1 to 32 characters of `a-z`, `0-9`, `_` and
/// `-`, and the first is a letter.
///
/// The set of venues is open: the configured adapters define it. A value is copied without an allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VenueId {
    // The name, filled up with zeros. So the derived order is that of the names.
    bytes: [u8; Self::MAX_LENGTH],
}

impl VenueId {
    /// The maximum length, in characters.
    pub const MAX_LENGTH: usize = 32;

    /// The form of a name, as a regular expression.
    const PATTERN: &str = "^[a-z][a-z0-9_-]{0,31}$";

    /// The venue with that name, for constants: `const ORCA: VenueId = VenueId::named("orca");`. A name from outside is
    /// parsed instead.
    ///
    /// # Panics
    ///
    /// If it is not a name of a venue; in a constant this is an error of the compiler.
    pub const fn named(name: &str) -> Self {
        match Self::new(name.as_bytes()) {
            Some(venue) => venue,
            None => panic!("not a name of a venue"),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        let length = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(Self::MAX_LENGTH);
        std::str::from_utf8(&self.bytes[..length]).expect("a name is ASCII")
    }

    const fn new(name: &[u8]) -> Option<Self> {
        if name.is_empty() || name.len() > Self::MAX_LENGTH || !name[0].is_ascii_lowercase() {
            return None;
        }
        let mut bytes = [0; Self::MAX_LENGTH];
        let mut at = 0;
        // A loop over indexes, because a constant function has no iterators.
        while at < name.len() {
            if !matches!(name[at], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-') {
                return None;
            }
            bytes[at] = name[at];
            at += 1;
        }
        Some(Self { bytes })
    }
}

#[cfg(test)]
impl VenueId {
    pub(crate) const METEORA: Self = Self::named("meteora");
    pub(crate) const RAYDIUM: Self = Self::named("raydium");
}

impl fmt::Display for VenueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for VenueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for VenueId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text.as_bytes()).ok_or_else(|| {
            format!(
                "{text:?} is not a venue: a name has 1 to 32 characters of a-z, 0-9, _ and -, the first is a letter"
            )
        })
    }
}

impl Serialize for VenueId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for VenueId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for VenueId {
    fn schema_name() -> Cow<'static, str> {
        "VenueId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Not an enumeration: a client that was generated from it must accept a venue that is added later.
        json_schema!({
            "type": "string",
            "description": "The name of a venue. Further venues may be added.",
            "pattern": Self::PATTERN,
            "examples": ["raydium", "meteora"],
        })
    }
}

/// The name that a client gives a request, so that the engine recognises a repeated request.
///
/// `Idempotency-Key` and `clientOrderId` share one namespace: 1 to 128 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientKey(String);

impl ClientKey {
    /// The maximum length, in characters.
    pub const MAX_LENGTH: usize = 128;

    /// The key as the client sent it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > Self::MAX_LENGTH {
            return Err("must have 1 to 128 characters");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must be visible ASCII characters without spaces");
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_venue_has_a_short_lowercase_name_and_keeps_it_in_text_and_json() {
        for name in ["a", "raydium", "orca-2_x", "z".repeat(32).as_str()] {
            let venue: VenueId = name.parse().unwrap();
            assert_eq!((venue.name(), venue.to_string()), (name, name.to_owned()));
            let json = serde_json::to_string(&venue).unwrap();
            assert_eq!(json, format!("{name:?}"));
            assert_eq!(serde_json::from_str::<VenueId>(&json).unwrap(), venue);
        }
        for text in ["", "Raydium", "1inch", "-a", "_a", "a b", "a.b", "é", "a\0", "z".repeat(33).as_str()] {
            assert!(text.parse::<VenueId>().is_err(), "{text:?}");
            assert!(serde_json::from_value::<VenueId>(text.into()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_pattern_of_a_venue_in_the_document_is_what_is_parsed() {
        let schema = schemars::schema_for!(VenueId);
        assert_eq!(schema.get("pattern").unwrap(), VenueId::PATTERN);
        assert!(VenueId::PATTERN.ends_with(&format!("{{0,{}}}$", VenueId::MAX_LENGTH - 1)));
        assert!(schema.get("enum").is_none() && schema.get("oneOf").is_none(), "{schema:?}");
    }

    #[test]
    fn venues_are_ordered_by_name() {
        assert!(VenueId::named("a") < VenueId::named("a-") && VenueId::named("a-") < VenueId::named("b"));
    }
}
