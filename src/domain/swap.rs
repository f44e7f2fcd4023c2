//! A signed swap, what the chain says of it, and what may be concluded.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::amount::BaseUnits;
use crate::domain::id::VenueId;
use crate::domain::retry::Failure;

/// A swap's signature, which is also its identity on the chain; base58 outside.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 64]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 88];
        let length = five8::encode_64(&self.0, &mut text);
        f.write_str(std::str::from_utf8(&text[..length.into()]).expect("base58 is ASCII"))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Signature {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 64];
        five8::decode_64(text, &mut bytes).map_err(|_| "a signature is the base58 of 64 bytes")?;
        Ok(Self(bytes))
    }
}

impl Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The facts of a signed swap; its bytes are kept apart, in [`SignedSwap`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Swap {
    /// The venue whose pool it trades against.
    pub venue: VenueId,
    /// The first signature, known before the first send.
    pub signature: Signature,
    /// The last block height at which the chain may still take it.
    pub last_valid_block_height: u64,
    /// What the venue promised, net of fees.
    pub quoted_out: BaseUnits,
    /// The floor that travels in the swap: the chain rejects it rather than pay less.
    pub min_amount_out: BaseUnits,
}

/// A swap with the exact bytes that are sent, and sent again, until the chain has spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedSwap {
    /// Its facts.
    pub swap: Swap,
    /// The signed wire bytes.
    pub bytes: Arc<[u8]>,
}

/// What a landed swap brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fill {
    /// The output received, net of fees.
    pub amount_out: BaseUnits,
    /// The slot it landed in.
    pub slot: u64,
    /// The transaction fee, in lamports.
    pub fee: BaseUnits,
}

/// A definite answer of the chain about one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It landed and did what it says.
    Landed(Fill),
    /// It landed as a failure: fees are spent, nothing was swapped.
    Rejected {
        /// Why.
        failure: Failure,
        /// The slot it failed in.
        slot: u64,
    },
}

/// One look at the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The finalized block height, read *before* the outcome was looked up.
    pub height: u64,
    /// What the chain knows of the signature at that height or later; `None` where it knows nothing.
    pub outcome: Option<Outcome>,
}

/// What an observation proves about a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It landed.
    Landed(Fill),
    /// It provably failed on the chain; another may be signed.
    Rejected(Failure, u64),
    /// It can never land any more; another may be signed.
    Expired,
    /// Nothing is proved: it may still land, so nothing else may be signed.
    Undecided,
}

/// Concludes what can be concluded, and nothing more.
///
/// A swap has expired only when the chain, asked after a height beyond the last valid one was final, knows nothing of it.
pub fn judge(last_valid_block_height: u64, observation: Observation) -> Verdict {
    match observation.outcome {
        Some(Outcome::Landed(fill)) => Verdict::Landed(fill),
        Some(Outcome::Rejected { failure, slot }) => Verdict::Rejected(failure, slot),
        None if observation.height > last_valid_block_height => Verdict::Expired,
        None => Verdict::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_survives_its_text_and_nothing_else_is_one() {
        for bytes in [[0; 64], [255; 64], std::array::from_fn(|at| at as u8)] {
            let signature = Signature(bytes);
            assert_eq!(signature.to_string().parse(), Ok(signature));
        }
        assert_eq!(Signature([0; 64]).to_string(), "1".repeat(64));
        let short = "1".repeat(63);
        for text in ["", "0", "1", short.as_str(), "é", &"z".repeat(88), &"z".repeat(1_000)] {
            assert!(text.parse::<Signature>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_swap_expires_only_beyond_its_last_valid_height() {
        let unknown_at = |height| judge(100, Observation { height, outcome: None });
        assert_eq!(unknown_at(99), Verdict::Undecided);
        assert_eq!(unknown_at(100), Verdict::Undecided);
        assert_eq!(unknown_at(101), Verdict::Expired);
    }

    #[test]
    fn a_landed_swap_has_landed_however_late_one_asks() {
        let fill = Fill { amount_out: BaseUnits(1), slot: 90, fee: BaseUnits(5_000) };
        let observation = Observation { height: 10_000, outcome: Some(Outcome::Landed(fill.clone())) };
        assert_eq!(judge(100, observation), Verdict::Landed(fill));
    }
}
