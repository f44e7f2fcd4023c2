//! Ids. Each is its own type, so that the compiler refuses one in place of another.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
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

/// A venue: a DEX that quotes and builds swaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VenueId {
    /// Raydium.
    Raydium,
    /// Meteora.
    Meteora,
}

impl VenueId {
    /// Every venue, in the venue order: on a tie the earlier one wins.
    pub const ALL: [Self; 2] = [Self::Raydium, Self::Meteora];

    /// The name in settings, responses and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raydium => "raydium",
            Self::Meteora => "meteora",
        }
    }
}

impl fmt::Display for VenueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for VenueId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|venue| venue.name() == text)
            .ok_or_else(|| format!("unknown venue {text:?}, expected raydium or meteora"))
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
