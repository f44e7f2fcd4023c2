//! The chain: the port that prepares messages and sends signed swaps, and the settlement of a swap on it.
//!
//! The adapter is [`crate::simulation::chain`].

mod port;
mod settlement;

pub use port::{Chain, ChainError, Deviation, Intent, Message, PrepareError};
pub use settlement::{Sending, settle};
