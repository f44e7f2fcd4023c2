//! Settlement: a signed swap is sent until the chain proves its outcome.

use std::time::Duration;

use crate::chain::port::{Chain, ChainError};
use crate::domain::swap::{SignedSwap, Verdict, judge};
use crate::domain::token::Mint;
use crate::runtime::crash_points::crash_point;

/// When the bytes of a swap are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// From the start: the swap was just signed.
    AtOnce,
    /// Once the chain was asked and has not decided: after a restart the swap may already have landed.
    AfterAsking,
    /// Never: the chain is only asked.
    Never,
}

/// Settles a signed swap that pays `token_out`: sends it, and resends it every `resend`, until the chain proves its outcome.
///
/// There is no deadline: until the outcome is proved the swap may land, and no other swap may be signed.
pub async fn settle(
    chain: &dyn Chain,
    signed: &SignedSwap,
    token_out: &Mint,
    resend: Duration,
    sending: Sending,
) -> Verdict {
    let swap = &signed.swap;
    let mut send = sending == Sending::AtOnce;
    let mut timeout = if send { resend } else { Duration::ZERO };
    loop {
        if send {
            crash_point("order.sending");
            if let Err(error) = within(resend, chain.send(&signed.bytes)).await {
                tracing::debug!(signature = %swap.signature, %error, "send without an answer");
            }
            crash_point("order.sent");
        }
        match within(timeout + resend, chain.watch(signed, token_out, timeout)).await {
            Ok(outcome) => match judge(swap.last_valid_block_height, outcome) {
                Verdict::Undecided => {}
                verdict => return verdict,
            },
            Err(error) => {
                tracing::debug!(signature = %swap.signature, %error, "outcome unknown");
                tokio::time::sleep(resend).await;
            }
        }
        (timeout, send) = (resend, sending != Sending::Never);
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
    use crate::chain::port::{Deviation, Intent, Message, PrepareError};
    use crate::domain::amount::BaseUnits;
    use crate::domain::id::VenueId;
    use crate::domain::swap::{Expiry, Fill, Outcome, Signature, Swap, UnsignedSwap};

    const RESEND: Duration = Duration::from_secs(2);
    const LAST_VALID: u64 = 150;

    type Answer = Result<Option<Outcome>, ChainError>;

    /// A chain with prepared answers. It counts the sends, and never answers after the last answer.
    struct ScriptedChain {
        sends: AtomicU32,
        send_answer: Result<(), ChainError>,
        watch_answers: Mutex<VecDeque<Answer>>,
    }

    #[async_trait]
    impl Chain for ScriptedChain {
        async fn prepare(&self, _: &UnsignedSwap, _: &Intent) -> Result<Message, PrepareError> {
            unreachable!("the swap is signed already")
        }

        fn inspect(&self, _: &Message, _: &Intent) -> Result<(), Deviation> {
            unreachable!("the swap is signed already")
        }

        fn wire(&self, _: &Message, _: Signature) -> Arc<[u8]> {
            unreachable!("the swap is signed already")
        }

        async fn send(&self, _: &[u8]) -> Result<(), ChainError> {
            self.sends.fetch_add(1, Ordering::Relaxed);
            self.send_answer.clone()
        }

        async fn watch(&self, _: &SignedSwap, _: &Mint, _: Duration) -> Answer {
            let answer = self.watch_answers.lock().unwrap().pop_front();
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    }

    fn chain<const N: usize>(answers: [Answer; N]) -> ScriptedChain {
        ScriptedChain { sends: AtomicU32::new(0), send_answer: Ok(()), watch_answers: Mutex::new(answers.into()) }
    }

    fn no_answer<T>() -> Result<T, ChainError> {
        Err(ChainError("no answer".to_owned()))
    }

    fn expired_at(height: u64) -> Answer {
        Ok(Some(Outcome::Expired(Expiry { height, unknown_at: 500 })))
    }

    fn fill() -> Fill {
        Fill { amount_out: BaseUnits(7), slot: 90, fee: BaseUnits(5_000) }
    }

    fn landed() -> Answer {
        Ok(Some(Outcome::Landed(fill())))
    }

    /// Settles a swap on the chain. Returns the verdict and the number of sends.
    async fn settled(chain: &ScriptedChain, sending: Sending) -> (Verdict, u32) {
        let swap = Swap {
            venue: VenueId::RAYDIUM,
            signature: Signature([7; 64]),
            last_valid_block_height: LAST_VALID,
            quoted_out: BaseUnits(8),
            min_amount_out: BaseUnits(7),
        };
        let token_out = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v".parse().unwrap();
        let verdict = settle(chain, &SignedSwap { swap, bytes: [1].into() }, &token_out, RESEND, sending).await;
        (verdict, chain.sends.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_swap_is_sent_once_if_it_lands_before_the_next_send() {
        assert_eq!(settled(&chain([landed()]), Sending::AtOnce).await, (Verdict::Landed(fill()), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_restart_a_landed_swap_is_not_sent_again() {
        assert_eq!(settled(&chain([landed()]), Sending::AfterAsking).await, (Verdict::Landed(fill()), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_restart_an_undecided_swap_is_sent() {
        assert_eq!(settled(&chain([Ok(None), landed()]), Sending::AfterAsking).await, (Verdict::Landed(fill()), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_undecided_swap_is_resent_and_expires_only_by_a_proof_beyond_its_last_valid_height() {
        let chain = chain([Ok(None), expired_at(LAST_VALID), expired_at(LAST_VALID + 1)]);
        assert_eq!(settled(&chain, Sending::AtOnce).await, (Verdict::Expired, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_swap_that_is_only_asked_about_is_never_sent() {
        let (landed, expired) = (chain([Ok(None), no_answer(), landed()]), chain([expired_at(LAST_VALID + 1)]));
        assert_eq!(settled(&landed, Sending::Never).await, (Verdict::Landed(fill()), 0));
        assert_eq!(settled(&expired, Sending::Never).await, (Verdict::Expired, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_without_an_answer_proves_nothing() {
        let chain = ScriptedChain { send_answer: no_answer(), ..chain([no_answer(), no_answer(), landed()]) };
        assert_eq!(settled(&chain, Sending::AtOnce).await, (Verdict::Landed(fill()), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_that_hangs_is_asked_again_and_ends_nothing() {
        let chain = chain([]);
        let settled = tokio::time::timeout(Duration::from_secs(59), settled(&chain, Sending::AtOnce)).await;
        assert!(settled.is_err(), "{settled:?}");
        // The watch times out after two intervals, and the next send follows one interval later.
        assert_eq!(chain.sends.load(Ordering::Relaxed), 10);
    }
}
