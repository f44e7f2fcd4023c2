//! The format of the simulated chain. A transaction is a signature, followed by the signed message as JSON. A venue builds
//! the message without its lifetime, and the chain adds that.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chain::Intent;
use crate::domain::amount::BaseUnits;
use crate::domain::id::{OrderId, VenueId};
use crate::domain::swap::{Signature, UnsignedSwap};
use crate::domain::token::Mint;
use crate::venue::SwapRequest;

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
    /// 0 until the chain has prepared the message.
    pub last_valid_block_height: u64,
}

impl Instruction {
    /// The bytes to sign.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an instruction holds only strings and integers")
    }

    /// Whether the swap is the intended one. It has no field for the wallet: the simulation has one wallet.
    fn does(&self, intent: &Intent) -> bool {
        let Intent { order_id, attempt, wallet: _, venue, token_in, token_out, amount_in, min_amount_out } = intent;
        (self.order_id, self.attempt, self.venue) == (*order_id, *attempt, *venue)
            && (&self.token_in, &self.token_out) == (token_in, token_out)
            && (self.amount_in, self.min_amount_out) == (*amount_in, *min_amount_out)
    }
}

/// The swap of that request, in the format of the simulated chain. A venue of an embedding program can use it.
pub fn unsigned(request: &SwapRequest) -> UnsignedSwap {
    let (order, quote) = (&request.order, &request.quote);
    let min_amount_out = order.floor(quote.amount_out);
    let instruction = Instruction {
        order_id: request.order_id,
        attempt: request.attempt,
        venue: quote.venue,
        token_in: order.token_in.mint.clone(),
        token_out: order.token_out.mint.clone(),
        amount_in: order.amount_in,
        quoted_out: quote.amount_out,
        min_amount_out,
        last_valid_block_height: 0,
    };
    let instructions = instruction.to_bytes().into();
    UnsignedSwap { venue: quote.venue, quoted_out: quote.amount_out, min_amount_out, instructions }
}

/// The message with that lifetime, from the instructions of a venue. `None` if they have another format.
pub(super) fn with_lifetime(instructions: &[u8], last_valid_block_height: u64) -> Option<Vec<u8>> {
    let instruction: Instruction = serde_json::from_slice(instructions).ok()?;
    Some(Instruction { last_valid_block_height, ..instruction }.to_bytes())
}

/// Why a finished message is not the intended swap.
pub(super) fn deviation(message: &[u8], last_valid_block_height: u64, intent: &Intent) -> Result<(), &'static str> {
    let instruction: Instruction = serde_json::from_slice(message).map_err(|_| "it cannot be decoded")?;
    match () {
        // What is signed are the bytes, so no other bytes may have the same meaning.
        () if instruction.to_bytes() != message => Err("it has another encoding"),
        () if !instruction.does(intent) => Err("it is another swap"),
        () if instruction.last_valid_block_height != last_valid_block_height => Err("it has another lifetime"),
        () => Ok(()),
    }
}

/// The bytes of a signed swap: the signature followed by the message.
pub(super) fn encode(signature: Signature, message: &[u8]) -> Arc<[u8]> {
    [&signature.0[..], message].concat().into()
}

/// Splits the bytes of a signed swap. The signature is not verified: the engine has verified it before the swap was
/// recorded.
pub(super) fn decode(bytes: &[u8]) -> Option<(Signature, Instruction)> {
    let (signature, message) = bytes.split_first_chunk::<64>()?;
    Some((Signature(*signature), serde_json::from_slice(message).ok()?))
}
