//! A simulated chain that behaves like Solana in what the engine relies on, with a ledger that outlives the process.
//!
//! The block height grows with the chain's time from a genesis in the ledger. A signed swap is valid up to a height, and
//! the same bytes land at most once. The outcome of a swap is drawn and written once, when the chain accepts the swap;
//! whether that outcome has happened is computed on each read. So a swap lands even if the engine is not running.
//!
//! The ledger is written without fsync: it survives a killed process, not a power failure.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use crate::chain::{Chain, ChainError, Deviation, Intent, Message, PrepareError};
use crate::config::SimulationSettings;
use crate::domain::amount::BaseUnits;
use crate::domain::retry::FailureCode;
use crate::domain::swap::{Outcome, Signature, SignedSwap, Swap, UnsignedSwap};
use crate::domain::token::Mint;
use crate::runtime::clock::Clock;
use crate::simulation::ledger::{Acceptance, ChainState, Ledger, LedgerEntry, LedgerError, PlannedOutcome};
use crate::simulation::rng::SimulationRng;
use crate::simulation::transaction::{Instruction, decode, deviation, encode, with_lifetime};

// The purposes of the draws, see `SimulationRng::draws`.
const OUTCOME: u64 = 3;
const LOST_ANSWER: u64 = 4;

/// The simulated chain.
pub struct SimulatedChain {
    settings: SimulationSettings,
    rng: SimulationRng,
    clock: Clock,
    ledger: Mutex<Ledger>,
}

impl SimulatedChain {
    /// Creates a chain on that ledger.
    pub fn new(settings: SimulationSettings, rng: SimulationRng, clock: Clock, ledger: Ledger) -> Self {
        Self { settings, rng, clock, ledger: Mutex::new(ledger) }
    }

    /// Advances the block height by a number of blocks immediately.
    pub fn jump(&self, blocks: u64) -> Result<(), LedgerError> {
        let mut ledger = self.ledger();
        let now = ledger.state().time(self.clock.read());
        ledger.jump(now, blocks)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Draws the outcome of a swap that is accepted now.
    fn draw(&self, instruction: &Instruction, now: DateTime<Utc>) -> PlannedOutcome {
        let settings = &self.settings;
        let mut draws = self.rng.draws(OUTCOME, instruction.order_id.0, instruction.attempt);
        let (least, most) = (micros(settings.swap_latency_min), micros(settings.swap_latency_max));
        let mut latency = draws.between(least, most);
        if settings.delay_rate.holds(draws.millionths()) {
            latency += micros(settings.delay);
        }
        let at = now + TimeDelta::microseconds(i64::try_from(latency).unwrap_or(i64::MAX));
        let drift = settings.drift_ppm;
        let executed_ppm = draws.between(u64::from(1_000_000 - drift), u64::from(1_000_000 + drift));
        let executed = u128::from(instruction.quoted_out.0) * u128::from(executed_ppm) / 1_000_000;
        let amount_out = BaseUnits(u64::try_from(executed).unwrap_or(u64::MAX));
        let (rejected, dropped) = (draws.millionths(), draws.millionths());
        if settings.drop_rate.holds(dropped) {
            PlannedOutcome::Dropped
        } else if settings.failure_rate.holds(rejected) {
            PlannedOutcome::Rejected { at, code: FailureCode::SwapRejected }
        } else if amount_out < instruction.min_amount_out.max(BaseUnits(1)) {
            // A swap of an earlier version can have a floor of 0, but a pool never pays nothing.
            PlannedOutcome::Rejected { at, code: FailureCode::SlippageExceeded }
        } else {
            PlannedOutcome::Lands { at, amount_out }
        }
    }

    /// Runs an operation on the ledger, and retries it for a short time while another process holds the lock.
    async fn on_ledger<T>(&self, operation: impl Fn(&mut Ledger) -> Result<T, LedgerError>) -> Result<T, ChainError> {
        const TRIES: u32 = 50;
        let mut tries = 0;
        loop {
            match operation(&mut self.ledger()) {
                Err(LedgerError::Busy { .. }) if tries < TRIES => tries += 1,
                result => return result.map_err(|error| ChainError(error.to_string())),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The outcome that is proved now, and otherwise the time until the outcome of the swap is due.
    async fn observe(&self, swap: &Swap) -> Result<(Option<Outcome>, Option<Duration>), ChainError> {
        self.on_ledger(|ledger| {
            // The time comes first: a swap that another process accepts after it must not look expired.
            let now = ledger.state().time(self.clock.read());
            if ledger.state().entry(&swap.signature).is_none() {
                // Another process may have appended it to the file.
                ledger.refresh()?;
            }
            let state = ledger.state();
            let Some(entry) = state.entry(&swap.signature) else {
                return Ok((state.expiry(swap.last_valid_block_height, now).map(Outcome::Expired), None));
            };
            let outcome = state.outcome(entry, now);
            let due = outcome.is_none().then(|| entry.planned.due_at()).flatten();
            Ok((outcome, due.map(|at| (at - now).to_std().unwrap_or_default())))
        })
        .await
    }
}

#[async_trait]
impl Chain for SimulatedChain {
    async fn prepare(&self, unsigned: &UnsignedSwap, _: &Intent) -> Result<Message, PrepareError> {
        let height = {
            let ledger = self.ledger();
            let state = ledger.state();
            state.height(state.time(self.clock.read()))
        };
        let last_valid_block_height = height + self.settings.valid_blocks;
        let bytes = with_lifetime(&unsigned.instructions, last_valid_block_height).ok_or_else(|| {
            PrepareError::Instructions("they are not in the format of the simulated chain".to_owned())
        })?;
        Ok(Message { bytes: bytes.into(), last_valid_block_height })
    }

    fn inspect(&self, message: &Message, intent: &Intent) -> Result<(), Deviation> {
        deviation(&message.bytes, message.last_valid_block_height, intent)
            .map_err(|reason| Deviation(reason.to_owned()))
    }

    fn wire(&self, message: &Message, signature: Signature) -> Arc<[u8]> {
        encode(signature, &message.bytes)
    }

    async fn send(&self, bytes: &[u8]) -> Result<(), ChainError> {
        let (signature, instruction) =
            decode(bytes).ok_or_else(|| ChainError("the bytes are not a signed swap".into()))?;
        let entry = |state: &ChainState| {
            let now = state.time(self.clock.read());
            (state.height(now) <= instruction.last_valid_block_height).then(|| LedgerEntry {
                signature,
                order_id: instruction.order_id,
                attempt: instruction.attempt,
                venue: instruction.venue,
                last_valid_block_height: instruction.last_valid_block_height,
                accepted_at: now,
                planned: self.draw(&instruction, now),
            })
        };
        let known = self.ledger().state().entry(&signature).is_some();
        match self.on_ledger(|ledger| ledger.accept(signature, entry)).await? {
            Acceptance::TooLate => return Err(ChainError("the last valid block height of the swap has passed".into())),
            Acceptance::Accepted if known => return Ok(()),
            Acceptance::Accepted => {}
        }
        let lost = self.rng.draws(LOST_ANSWER, instruction.order_id.0, instruction.attempt).millionths();
        if self.settings.lost_answer_rate.holds(lost) {
            return Err(ChainError("the answer was lost".into()));
        }
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        self.ledger().trouble().map(|trouble| format!("the ledger of the simulated chain accepts no swaps: {trouble}"))
    }

    async fn watch(&self, signed: &SignedSwap, _: &Mint, timeout: Duration) -> Result<Option<Outcome>, ChainError> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let (outcome, wait) = self.observe(&signed.swap).await?;
            if outcome.is_some() || tokio::time::Instant::now() >= deadline {
                return Ok(outcome);
            }
            // One millisecond more: timers have that resolution, and waking too early would cost a second read.
            let wait = wait.map_or(timeout, |wait| wait + Duration::from_millis(1));
            tokio::time::sleep_until(deadline.min(tokio::time::Instant::now() + wait)).await;
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::config::Share;
    use crate::domain::id::{OrderId, VenueId};
    use crate::domain::swap::Expiry;
    use crate::signer::Signer;
    use crate::simulation::samples::settings;
    use crate::simulation::signer::SimulatedSigner;
    use crate::simulation::transaction::encode;

    const LONG: Duration = Duration::from_secs(600);

    fn chain(settings: SimulationSettings) -> SimulatedChain {
        let clock = Clock::runtime();
        let ledger = Ledger::in_memory(clock.read(), settings.block);
        SimulatedChain::new(
            settings,
            SimulationRng::new(1, &crate::runtime::environment::Environment::system().random),
            clock,
            ledger,
        )
    }

    fn instruction(min_amount_out: u64) -> Instruction {
        Instruction {
            order_id: OrderId(Uuid::from_u128(1)),
            attempt: 1,
            venue: VenueId::RAYDIUM,
            token_in: "So11111111111111111111111111111111111111112".parse().unwrap(),
            token_out: "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v".parse().unwrap(),
            amount_in: BaseUnits(1_000),
            quoted_out: BaseUnits(100),
            min_amount_out: BaseUnits(min_amount_out),
            last_valid_block_height: 150,
        }
    }

    fn swap(min_amount_out: u64) -> SignedSwap {
        let (signature, instruction) = (Signature([7; 64]), instruction(min_amount_out));
        let swap = Swap {
            venue: instruction.venue,
            signature,
            last_valid_block_height: instruction.last_valid_block_height,
            quoted_out: instruction.quoted_out,
            min_amount_out: instruction.min_amount_out,
        };
        SignedSwap { swap, bytes: encode(signature, &instruction.to_bytes()) }
    }

    async fn outcome(chain: &SimulatedChain, swap: &SignedSwap, timeout: Duration) -> Option<Outcome> {
        chain.watch(swap, &instruction(99).token_out, timeout).await.unwrap()
    }

    fn intent() -> Intent {
        let Instruction { order_id, attempt, venue, token_in, token_out, amount_in, min_amount_out, .. } =
            instruction(99);
        let wallet = SimulatedSigner::new(&[1; 32]).public_key();
        Intent { order_id, attempt, wallet, venue, token_in, token_out, amount_in, min_amount_out }
    }

    #[tokio::test(start_paused = true)]
    async fn a_prepared_message_is_valid_from_the_present_height_on_and_other_instructions_are_refused() {
        let chain = chain(settings());
        chain.jump(7).unwrap();
        let unsigned = |instructions: Vec<u8>| UnsignedSwap {
            venue: VenueId::RAYDIUM,
            quoted_out: BaseUnits(100),
            min_amount_out: BaseUnits(99),
            instructions: instructions.into(),
        };
        let built = Instruction { last_valid_block_height: 0, ..instruction(99) };
        let message = chain.prepare(&unsigned(built.to_bytes()), &intent()).await.unwrap();
        assert_eq!(message.last_valid_block_height, 7 + settings().valid_blocks);
        let (_, sent) = decode(&chain.wire(&message, Signature([7; 64]))).unwrap();
        assert_eq!(sent, Instruction { last_valid_block_height: message.last_valid_block_height, ..built });
        let refused = chain.prepare(&unsigned(b"other".to_vec()), &intent()).await.unwrap_err();
        assert!(matches!(refused, PrepareError::Instructions(_)), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_message_of_the_intended_swap_passes_the_inspection() {
        let chain = chain(settings());
        let message = |bytes: Vec<u8>| Message { bytes: bytes.into(), last_valid_block_height: 150 };
        let built = instruction(99);
        assert_eq!(chain.inspect(&message(built.to_bytes()), &intent()), Ok(()));
        let (usdc, built) = (built.token_out.clone(), || instruction(99));
        let wrong = [
            Instruction { order_id: OrderId(Uuid::from_u128(2)), ..built() },
            Instruction { attempt: 2, ..built() },
            Instruction { venue: VenueId::METEORA, ..built() },
            Instruction { token_in: usdc, ..built() },
            Instruction { token_out: built().token_in, ..built() },
            Instruction { amount_in: BaseUnits(1_001), ..built() },
            Instruction { min_amount_out: BaseUnits(98), ..built() },
            Instruction { last_valid_block_height: 151, ..built() },
        ];
        let other_encoding = [&built().to_bytes()[..], b" "].concat();
        let wrong = wrong.iter().map(Instruction::to_bytes).chain([other_encoding, Vec::new()]);
        for bytes in wrong {
            assert!(chain.inspect(&message(bytes.clone()), &intent()).is_err(), "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_swap_that_is_sent_twice_lands_once() {
        let (chain, swap) = (chain(settings()), swap(99));
        chain.send(&swap.bytes).await.unwrap();
        assert_eq!(outcome(&chain, &swap, Duration::ZERO).await, None);
        let landed = outcome(&chain, &swap, LONG).await;
        assert!(matches!(&landed, Some(Outcome::Landed(fill)) if fill.amount_out == BaseUnits(100)), "{landed:?}");
        chain.send(&swap.bytes).await.unwrap();
        assert_eq!(chain.ledger().state().entries().len(), 1);
        assert_eq!(outcome(&chain, &swap, Duration::ZERO).await, landed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_swap_is_refused_after_its_last_valid_block_height_and_then_has_expired() {
        let (chain, swap) = (chain(settings()), swap(99));
        chain.jump(150).unwrap();
        assert_eq!(outcome(&chain, &swap, Duration::ZERO).await, None);
        chain.jump(1).unwrap();
        assert!(chain.send(&swap.bytes).await.is_err());
        let expired = Outcome::Expired(Expiry { height: 151, unknown_at: 151 });
        assert_eq!(outcome(&chain, &swap, Duration::ZERO).await, Some(expired));
    }

    #[tokio::test(start_paused = true)]
    async fn a_landed_swap_has_not_expired_at_any_height() {
        let (chain, swap) = (chain(settings()), swap(99));
        chain.send(&swap.bytes).await.unwrap();
        let landed = outcome(&chain, &swap, LONG).await;
        chain.jump(10_000).unwrap();
        assert_eq!(outcome(&chain, &swap, Duration::ZERO).await, landed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_swap_whose_answer_is_lost_lands() {
        let chain = chain(SimulationSettings { lost_answer_rate: Share::ALL, ..settings() });
        let swap = swap(99);
        assert!(chain.send(&swap.bytes).await.is_err());
        assert!(matches!(outcome(&chain, &swap, LONG).await, Some(Outcome::Landed(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_swap_never_lands() {
        let chain = chain(SimulationSettings { drop_rate: Share::ALL, ..settings() });
        let swap = swap(99);
        chain.send(&swap.bytes).await.unwrap();
        assert!(matches!(outcome(&chain, &swap, LONG).await, Some(Outcome::Expired(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_swap_below_its_floor_is_rejected_and_never_paid() {
        let (chain, swap) = (chain(settings()), swap(101));
        chain.send(&swap.bytes).await.unwrap();
        let outcome = outcome(&chain, &swap, LONG).await;
        assert!(
            matches!(&outcome, Some(Outcome::Rejected { failure, .. }) if failure.code == FailureCode::SlippageExceeded),
            "{outcome:?}"
        );
    }
}
