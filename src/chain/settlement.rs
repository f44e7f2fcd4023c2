//! Settlement: a signed swap is sent until the chain proves its outcome.

use std::time::Duration;

use crate::chain::port::{Chain, ChainError};
use crate::domain::swap::{SignedSwap, Verdict, judge};
use crate::runtime::crash_points::crash_point;

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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;

    use super::*;
    use crate::chain::port::{Message, PrepareError};
    use crate::domain::amount::BaseUnits;
    use crate::domain::id::VenueId;
    use crate::domain::swap::{Fill, Observation, Outcome, PublicKey, Signature, Swap, UnsignedSwap};

    const RESEND: Duration = Duration::from_secs(2);
    const LAST_VALID: u64 = 150;

    /// A chain with prepared answers. It counts the sends, and never answers after the last answer.
    struct ScriptedChain {
        sends: AtomicU32,
        send_answer: Result<(), ChainError>,
        watch_answers: Mutex<VecDeque<Result<Observation, ChainError>>>,
    }

    #[async_trait]
    impl Chain for ScriptedChain {
        async fn prepare(&self, _: &UnsignedSwap, _: PublicKey) -> Result<Message, PrepareError> {
            unreachable!("the swap is signed already")
        }

        fn wire(&self, _: &Message, _: Signature) -> Arc<[u8]> {
            unreachable!("the swap is signed already")
        }

        async fn send(&self, _: &[u8]) -> Result<(), ChainError> {
            self.sends.fetch_add(1, Ordering::Relaxed);
            self.send_answer.clone()
        }

        async fn watch(&self, _: Signature, _: Duration) -> Result<Observation, ChainError> {
            let answer = self.watch_answers.lock().unwrap().pop_front();
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    }

    fn chain<const N: usize>(answers: [Result<Observation, ChainError>; N]) -> ScriptedChain {
        ScriptedChain { sends: AtomicU32::new(0), send_answer: Ok(()), watch_answers: Mutex::new(answers.into()) }
    }

    fn no_answer<T>() -> Result<T, ChainError> {
        Err(ChainError("no answer".to_owned()))
    }

    fn unknown_at(height: u64) -> Result<Observation, ChainError> {
        Ok(Observation { height, outcome: None })
    }

    fn fill() -> Fill {
        Fill { amount_out: BaseUnits(7), slot: 90, fee: BaseUnits(5_000) }
    }

    fn landed() -> Result<Observation, ChainError> {
        Ok(Observation { height: 100, outcome: Some(Outcome::Landed(fill())) })
    }

    /// Settles a swap on the chain. Returns the verdict and the number of sends.
    async fn settled(chain: &ScriptedChain, check_first: bool) -> (Verdict, u32) {
        let swap = Swap {
            venue: VenueId::RAYDIUM,
            signature: Signature([7; 64]),
            last_valid_block_height: LAST_VALID,
            quoted_out: BaseUnits(8),
            min_amount_out: BaseUnits(7),
        };
        let verdict = settle(chain, &SignedSwap { swap, bytes: [1].into() }, RESEND, check_first).await;
        (verdict, chain.sends.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_swap_is_sent_once_if_it_lands_before_the_next_send() {
        assert_eq!(settled(&chain([landed()]), false).await, (Verdict::Landed(fill()), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_restart_a_landed_swap_is_not_sent_again() {
        assert_eq!(settled(&chain([landed()]), true).await, (Verdict::Landed(fill()), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_restart_an_undecided_swap_is_sent() {
        assert_eq!(settled(&chain([unknown_at(10), landed()]), true).await, (Verdict::Landed(fill()), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_undecided_swap_is_resent_and_expires_only_after_its_last_valid_height() {
        let chain = chain([unknown_at(10), unknown_at(LAST_VALID), unknown_at(LAST_VALID + 1)]);
        assert_eq!(settled(&chain, false).await, (Verdict::Expired, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_without_an_answer_proves_nothing() {
        let chain = ScriptedChain { send_answer: no_answer(), ..chain([no_answer(), no_answer(), landed()]) };
        assert_eq!(settled(&chain, false).await, (Verdict::Landed(fill()), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_that_hangs_is_asked_again_and_ends_nothing() {
        let chain = chain([]);
        let settled = tokio::time::timeout(Duration::from_secs(59), settled(&chain, false)).await;
        assert!(settled.is_err(), "{settled:?}");
        // The watch times out after two intervals, and the next send follows one interval later.
        assert_eq!(chain.sends.load(Ordering::Relaxed), 10);
    }
}
