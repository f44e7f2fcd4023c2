//! The port to the chain.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::domain::amount::BaseUnits;
use crate::domain::id::{OrderId, VenueId};
use crate::domain::swap::{Outcome, PublicKey, Signature, SignedSwap, UnsignedSwap};
use crate::domain::token::Mint;

/// The chain on which signed swaps land.
#[async_trait]
pub trait Chain: Send + Sync + 'static {
    /// Compiles the instructions of a venue into the message that the wallet signs, and gives it a lifetime.
    ///
    /// This is a call of the chain and not of the venue or the signer, because only the chain knows its recent blocks, its
    /// fees and the format of its messages. A venue knows only its pool, and a signer only bytes. The instructions are
    /// written without a wallet: the chain puts the one of the intent in its place. It may execute the message without
    /// effect first, and fails if that fails.
    ///
    /// It has no effect on the chain. The caller sets the deadline.
    async fn prepare(&self, unsigned: &UnsignedSwap, intent: &Intent) -> Result<Message, PrepareError>;

    /// Decodes the finished message, and refuses it unless it does exactly what was intended.
    ///
    /// A signed message may be executed, whatever it does. So this is the last step before the signature, and it trusts
    /// neither the venue nor [`Chain::prepare`]. It has no effect and waits for nothing.
    fn inspect(&self, message: &Message, intent: &Intent) -> Result<(), Deviation>;

    /// The bytes to record and send: the message with its signature, in the format of the chain.
    fn wire(&self, message: &Message, signature: Signature) -> Arc<[u8]>;

    /// Sends a signed swap. The same bytes may be sent any number of times and land at most once.
    ///
    /// After an error the outcome is unknown: the swap may have been accepted. Only [`Chain::watch`] returns it.
    async fn send(&self, bytes: &[u8]) -> Result<(), ChainError>;

    /// Waits until the outcome of a swap that pays `token_out` is proved, at most for `timeout`. `None` if it is not proved
    /// by then: the swap may still land.
    ///
    /// Another swap is signed after [`Outcome::Rejected`] and [`Outcome::Expired`], so both must be final. In doubt the
    /// answer is `None`.
    async fn watch(
        &self,
        swap: &SignedSwap,
        token_out: &Mint,
        timeout: Duration,
    ) -> Result<Option<Outcome>, ChainError>;

    /// Why the chain does not accept swaps at present, if that is known. The text is public: `/ready` shows it.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// What a swap is meant to do, from the order and its quote. A message is signed only if it does exactly this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The order.
    pub order_id: OrderId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The wallet: it pays, signs and receives.
    pub wallet: PublicKey,
    /// The venue.
    pub venue: VenueId,
    /// The token to sell.
    pub token_in: Mint,
    /// The token to buy.
    pub token_out: Mint,
    /// The amount to sell.
    pub amount_in: BaseUnits,
    /// The minimum output, at least the floor of the order.
    pub min_amount_out: BaseUnits,
}

/// A message does something else than was intended. The text is for the log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the message is not the intended swap: {0}")]
pub struct Deviation(pub String);

/// A message to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The bytes that are signed.
    pub bytes: Arc<[u8]>,
    /// The last block height at which the message can land.
    pub last_valid_block_height: u64,
}

/// Why a message was not prepared. Nothing was signed. The texts are public: they become the failure of the order.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrepareError {
    /// The chain gave no answer.
    #[error("the chain gave no answer: {0}")]
    Unavailable(String),
    /// The chain cannot use the instructions. Those of another venue may be usable.
    #[error("the chain cannot use the instructions of the venue: {0}")]
    Instructions(String),
    /// The payer does not hold the input or the fees.
    #[error("the wallet cannot pay for the swap: {0}")]
    InsufficientFunds(String),
}

/// The chain gave no answer. This proves nothing about the swap.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the chain gave no answer: {0}")]
pub struct ChainError(pub String);
