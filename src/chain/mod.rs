//! The chain: the port to which signed swaps are sent, and the settlement of a swap on it.
//!
//! The adapter is [`crate::simulation::chain`].

mod port;
mod settlement;

pub use port::{Chain, ChainError};
pub use settlement::settle;
