//! The port: where a signed swap lands. Its adapter: the simulated chain.

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::domain::swap::{Observation, Signature, SignedSwap, Verdict, judge};
use crate::runtime::crash_points::crash_point;

/// Where signed swaps land.
#[async_trait]
pub trait Chain: Send + Sync + 'static {
    /// The latest block height.
    async fn block_height(&self) -> Result<u64, ChainError>;

    /// Hands over a signed swap. The same bytes may be sent any number of times and land at most once.
    ///
    /// An error does not mean that the swap was not taken: only [`Chain::watch`] tells.
    async fn send(&self, bytes: &[u8]) -> Result<(), ChainError>;

    /// Looks for a definite outcome for as long as `patience`, and then says what was seen last.
    async fn watch(&self, signature: Signature, patience: Duration) -> Result<Observation, ChainError>;

    /// Why swaps are not taken just now, if that is known; fit for whoever may ask how the engine is.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// The chain gave no answer; nothing follows from that.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the chain gave no answer: {0}")]
pub struct ChainError(pub String);

/// Sends a signed swap, and sends it again every `resend`, until the chain has proved what became of it.
///
/// `asked_first` looks before the first send: after a restart the swap may long have landed. There is no deadline: as
/// long as nothing is proved the swap may still land, and nothing else may be signed in its place.
pub async fn settle(chain: &dyn Chain, signed: &SignedSwap, resend: Duration, asked_first: bool) -> Verdict {
    let swap = &signed.swap;
    let mut patience = if asked_first { Duration::ZERO } else { resend };
    let mut send = !asked_first;
    loop {
        if send {
            crash_point("order.sending");
            if let Err(error) = within(resend, chain.send(&signed.bytes)).await {
                tracing::debug!(signature = %swap.signature, %error, "the send gave no answer");
            }
            crash_point("order.sent");
        }
        match within(patience + resend, chain.watch(swap.signature, patience)).await {
            Ok(observation) => match judge(swap.last_valid_block_height, observation) {
                Verdict::Undecided => {}
                verdict => return verdict,
            },
            Err(error) => {
                tracing::debug!(signature = %swap.signature, %error, "the chain gave no answer");
                tokio::time::sleep(resend).await;
            }
        }
        (patience, send) = (resend, true);
    }
}

async fn within<T>(deadline: Duration, call: impl Future<Output = Result<T, ChainError>>) -> Result<T, ChainError> {
    tokio::time::timeout(deadline, call).await.unwrap_or_else(|_| Err(ChainError("no answer in time".into())))
}
