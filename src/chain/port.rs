//! The port to the chain.

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::domain::swap::{Observation, Signature};

/// The chain on which signed swaps land.
#[async_trait]
pub trait Chain: Send + Sync + 'static {
    /// The latest block height.
    async fn block_height(&self) -> Result<u64, ChainError>;

    /// Sends a signed swap. The same bytes may be sent any number of times and land at most once.
    ///
    /// After an error the outcome is unknown: the swap may have been accepted. Only [`Chain::watch`] returns it.
    async fn send(&self, bytes: &[u8]) -> Result<(), ChainError>;

    /// Waits for a definite outcome, at most for `timeout`. Returns the last observation.
    async fn watch(&self, signature: Signature, timeout: Duration) -> Result<Observation, ChainError>;

    /// Why the chain does not accept swaps at present, if that is known. The text is public: `/ready` shows it.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// The chain gave no answer. This proves nothing about the swap.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the chain gave no answer: {0}")]
pub struct ChainError(pub String);
