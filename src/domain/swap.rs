//! A signed swap, what the chain proves about it, and the verdict that follows.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};

use crate::domain::amount::BaseUnits;
use crate::domain::id::VenueId;
use crate::domain::retry::Failure;

/// The signature of a swap, which is also its id on the chain; base58 as text.
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

/// The public key of a wallet, which is also its address; base58 as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key of those bytes, if they are a point of the curve.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, &'static str> {
        VerifyingKey::from_bytes(bytes).map(Self).map_err(|_| "the bytes are not an ed25519 public key")
    }

    /// The bytes of the key.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Whether this key signed the message.
    pub fn verifies(&self, message: &[u8], signature: Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; five8::BASE58_ENCODED_32_MAX_LEN];
        let length = five8::encode_32(self.0.as_bytes(), &mut text);
        f.write_str(std::str::from_utf8(&text[..length.into()]).expect("base58 is ASCII"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A swap as a venue builds it: without a wallet, a lifetime and a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsignedSwap {
    /// The venue of the pool.
    pub venue: VenueId,
    /// The output that the venue quoted, after fees.
    pub quoted_out: BaseUnits,
    /// The minimum output, part of the instructions.
    pub min_amount_out: BaseUnits,
    /// The instructions of the venue. The adapters of venues and chain share their format; the engine does not read it.
    /// Where they need the wallet or one of its accounts, they have a placeholder.
    pub instructions: Arc<[u8]>,
}

/// The data of a signed swap, without its bytes. [`SignedSwap`] has both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Swap {
    /// The venue of the pool.
    pub venue: VenueId,
    /// The signature, known before the first send.
    pub signature: Signature,
    /// The last block height at which the swap can land.
    pub last_valid_block_height: u64,
    /// The output that the venue quoted, after fees.
    pub quoted_out: BaseUnits,
    /// The minimum output, part of the signed swap: the chain rejects the swap rather than pay less.
    pub min_amount_out: BaseUnits,
}

/// A swap with its signed bytes. Exactly these bytes are sent, and resent until the outcome is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedSwap {
    /// The data.
    pub swap: Swap,
    /// The signed bytes as they are sent.
    pub bytes: Arc<[u8]>,
}

/// The result of a landed swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fill {
    /// The output received, after fees.
    pub amount_out: BaseUnits,
    /// The slot of the transaction.
    pub slot: u64,
    /// The transaction fee, in lamports.
    pub fee: BaseUnits,
}

/// The definite outcome of one signed swap, as the chain proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The swap landed and was executed.
    Landed(Fill),
    /// The transaction landed and failed: the fee is paid, nothing was swapped.
    Rejected {
        /// The cause.
        failure: Failure,
        /// The slot of the transaction.
        slot: u64,
    },
    /// The swap did not land and can never land.
    Expired(Expiry),
}

/// The proof that a swap can never land.
///
/// A height alone proves nothing: it may be wrong, and the swap may have landed before it was reached. So the adapter of
/// the chain creates this only after it has done all that its chain requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// A finalized block height, read *before* the chain was asked for the signature.
    pub height: u64,
    /// The slot at which the chain, asked afterwards, did not know the signature.
    pub unknown_at: u64,
}

/// What is proved about a swap. Another swap may be signed only after `Rejected` or `Expired`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The swap landed.
    Landed(Fill),
    /// The swap failed on the chain, in that slot.
    Rejected(Failure, u64),
    /// The swap can never land.
    Expired,
    /// Nothing is proved: the swap may still land, so no other swap may be signed.
    Undecided,
}

/// Derives the verdict from the outcome that the chain has proved, if any.
///
/// A proof of expiry counts only if its height is beyond the last valid one of the swap.
pub fn judge(last_valid_block_height: u64, outcome: Option<Outcome>) -> Verdict {
    match outcome {
        Some(Outcome::Landed(fill)) => Verdict::Landed(fill),
        Some(Outcome::Rejected { failure, slot }) => Verdict::Rejected(failure, slot),
        Some(Outcome::Expired(expiry)) if expiry.height > last_valid_block_height => Verdict::Expired,
        Some(Outcome::Expired(_)) | None => Verdict::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_formatted_and_parsed_exactly_and_other_texts_are_refused() {
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
    fn a_public_key_verifies_only_its_own_signature_of_the_same_message() {
        use ed25519_dalek::{Signer, SigningKey};
        let key = SigningKey::from_bytes(&[1; 32]);
        let public = PublicKey::from_bytes(&key.verifying_key().to_bytes()).unwrap();
        let signature = Signature(key.sign(b"swap").to_bytes());
        assert!(public.verifies(b"swap", signature));
        assert!(!public.verifies(b"other", signature));
        assert!(!public.verifies(b"swap", Signature([0; 64])));
        assert_eq!(public.to_string(), "AKnL4NNf3DGWZJS6cPknBuEGnVsV4A4m5tgebLHaRSZ9");
        assert!(PublicKey::from_bytes(&[2; 32]).is_err());
    }

    #[test]
    fn a_swap_expires_only_by_a_proof_beyond_its_last_valid_height() {
        let expired_at = |height| judge(100, Some(Outcome::Expired(Expiry { height, unknown_at: 10_000 })));
        assert_eq!(expired_at(99), Verdict::Undecided);
        assert_eq!(expired_at(100), Verdict::Undecided);
        assert_eq!(expired_at(101), Verdict::Expired);
        assert_eq!(judge(100, None), Verdict::Undecided);
    }
}
