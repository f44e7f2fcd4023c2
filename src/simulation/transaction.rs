//! The format of a simulated transaction: a signature, followed by the signed message as JSON.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::amount::BaseUnits;
use crate::domain::id::{OrderId, VenueId};
use crate::domain::swap::Signature;
use crate::domain::token::Mint;

/// The message of a simulated swap, which is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instruction {
    pub order_id: OrderId,
    pub attempt: u32,
    pub venue: VenueId,
    pub token_in: Mint,
    pub token_out: Mint,
    pub amount_in: BaseUnits,
    pub quoted_out: BaseUnits,
    pub min_amount_out: BaseUnits,
    pub last_valid_block_height: u64,
}

impl Instruction {
    /// The bytes to sign.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an instruction holds only strings and integers")
    }
}

/// The bytes of a signed swap: the signature followed by the message.
pub(super) fn encode(signature: Signature, message: &[u8]) -> Arc<[u8]> {
    [&signature.0[..], message].concat().into()
}

/// Splits the bytes of a signed swap. The signature is not verified: that would dominate the cost of the simulation, and
/// only the venues of the engine send to it.
pub(super) fn decode(bytes: &[u8]) -> Option<(Signature, Instruction)> {
    let (signature, message) = bytes.split_first_chunk::<64>()?;
    Some((Signature(*signature), serde_json::from_slice(message).ok()?))
}
