//! The chain port: signed swaps are sent to it and land on it. Its adapter is [`crate::simulation::chain`].

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::domain::swap::{Observation, Signature, SignedSwap, Verdict, judge};
use crate::runtime::crash_points::crash_point;

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

/// Settles a signed swap: sends it, and resends it every `resend`, until the chain proves its outcome.
///
/// With `check_first` the chain is asked before the first send, because after a restart the swap may already have landed.
/// There is no deadline: until the outcome is proved the swap may land, and no other swap may be signed.
pub async fn settle(chain: &dyn Chain, signed: &SignedSwap, resend: Duration, check_first: bool) -> Verdict {
    let swap = &signed.swap;
    let mut timeout = if check_first { Duration::ZERO } else { resend };
    let mut send = !check_first;
    loop {
        if send {
            crash_point("order.sending");
            if let Err(error) = within(resend, chain.send(&signed.bytes)).await {
                tracing::debug!(signature = %swap.signature, %error, "send without an answer");
            }
            crash_point("order.sent");
        }
        match within(timeout + resend, chain.watch(swap.signature, timeout)).await {
            Ok(observation) => match judge(swap.last_valid_block_height, observation) {
                Verdict::Undecided => {}
                verdict => return verdict,
            },
            Err(error) => {
                tracing::debug!(signature = %swap.signature, %error, "outcome unknown, resending");
                tokio::time::sleep(resend).await;
            }
        }
        (timeout, send) = (resend, true);
    }
}

async fn within<T>(deadline: Duration, call: impl Future<Output = Result<T, ChainError>>) -> Result<T, ChainError> {
    tokio::time::timeout(deadline, call).await.unwrap_or_else(|_| Err(ChainError("timed out".into())))
}
