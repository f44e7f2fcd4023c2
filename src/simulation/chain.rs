//! A chain that behaves as Solana does where it matters, with a ledger that outlives the engine.
//!
//! Block height follows the wall clock from a genesis in the ledger. A signed swap is valid up to a height; the same
//! bytes land at most once. What a send will come to is drawn and written once, when it is first taken; whether it *has*
//! come to that is computed whenever somebody looks. So a swap lands whether the engine lives or not.
//!
//! The ledger is appended to without fsync: it survives a killed process, not a power cut.

pub use super::ledger::{Ledger, LedgerEntry, LedgerError, SwapAccepted, SwapOutcome};

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::chain::{Chain, ChainError};
use crate::config::SimulationSettings;
use crate::domain::amount::BaseUnits;
use crate::domain::id::{OrderId, VenueId};
use crate::domain::swap::{Observation, Outcome, Signature};
use crate::domain::token::Mint;
use crate::runtime::clock::Clock;
use crate::simulation::rng::SimulationRng;

const FATE: u64 = 3;
const LOST_ANSWER: u64 = 4;

/// What a simulated swap says: the message that is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of the order and of the swap")]
pub struct Instruction {
    pub order_id: OrderId,
    pub attempt: u32,
    pub venue: VenueId,
    pub token_in: Mint,
    pub token_out: Mint,
    pub amount_in: BaseUnits,
    pub quoted_out: BaseUnits,
    pub min_amount_out: BaseUnits,
    pub last_valid_block_height: u64,
}

impl Instruction {
    /// The bytes that are signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an instruction holds only strings and integers")
    }
}

/// A signed swap on the wire: the signature, then the message.
pub fn wire(signature: Signature, message: &[u8]) -> Arc<[u8]> {
    [&signature.0[..], message].concat().into()
}

/// Takes a wire apart. The signature itself is not verified here: that would cost the simulation more than all else it
/// does, and nothing but the engine's own venues can reach it.
fn unwire(bytes: &[u8]) -> Option<(Signature, Instruction)> {
    let (signature, message) = bytes.split_first_chunk::<64>()?;
    Some((Signature(*signature), serde_json::from_slice(message).ok()?))
}

/// The simulated chain.
pub struct SimulatedChain {
    settings: SimulationSettings,
    rng: SimulationRng,
    clock: Clock,
    ledger: Mutex<Ledger>,
}

impl SimulatedChain {
    /// A chain on that ledger.
    pub fn new(settings: SimulationSettings, rng: SimulationRng, clock: Clock, ledger: Ledger) -> Self {
        Self { settings, rng, clock, ledger: Mutex::new(ledger) }
    }

    /// Moves the block height on by so many blocks at once.
    pub fn jump(&self, blocks: u64) -> Result<(), LedgerError> {
        let mut ledger = self.ledger();
        let now = ledger.time(self.clock.read());
        ledger.jump(now, blocks)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What a swap that is taken now will come to.
    fn draw(&self, instruction: &Instruction, now: DateTime<Utc>) -> SwapOutcome {
        let settings = &self.settings;
        let mut draws = self.rng.cast(FATE, instruction.order_id.0, instruction.attempt);
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
            SwapOutcome::Dropped
        } else if settings.failure_rate.holds(rejected) {
            SwapOutcome::Rejected { at, code: crate::domain::retry::FailureCode::SwapRejected }
        } else if amount_out < instruction.min_amount_out.max(BaseUnits(1)) {
            // No pool pays nothing, whatever floor a swap of an earlier version has.
            SwapOutcome::Rejected { at, code: crate::domain::retry::FailureCode::SlippageExceeded }
        } else {
            SwapOutcome::Lands { at, amount_out }
        }
    }

    /// Does something with the ledger, again for a moment while another process appends to it.
    async fn on_ledger<T>(&self, act: impl Fn(&mut Ledger) -> Result<T, LedgerError>) -> Result<T, ChainError> {
        const TRIES: u32 = 50;
        let mut tries = 0;
        loop {
            match act(&mut self.ledger()) {
                Err(LedgerError::Busy { .. }) if tries < TRIES => tries += 1,
                done => return done.map_err(|error| ChainError(error.to_string())),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What is known now, and how long it is until it is worth looking again.
    async fn look(&self, signature: Signature) -> Result<(Observation, Option<Duration>), ChainError> {
        self.on_ledger(|ledger| {
            let now = ledger.time(self.clock.read());
            if ledger.entry(&signature).is_none() {
                // It may stand in the file all the same: another engine can have sent it.
                ledger.refresh()?;
            }
            let height = ledger.height(now);
            let Some(entry) = ledger.entry(&signature) else {
                return Ok((Observation { height, outcome: None }, None));
            };
            let outcome: Option<Outcome> = ledger.outcome(entry, now);
            let next = outcome.is_none().then(|| entry.fate.decided_at()).flatten();
            let wait = next.map(|at| (at - now).to_std().unwrap_or_default());
            Ok((Observation { height, outcome }, wait))
        })
        .await
    }
}

#[async_trait]
impl Chain for SimulatedChain {
    async fn block_height(&self) -> Result<u64, ChainError> {
        let ledger = self.ledger();
        Ok(ledger.height(ledger.time(self.clock.read())))
    }

    async fn send(&self, bytes: &[u8]) -> Result<(), ChainError> {
        let (signature, instruction) = unwire(bytes).ok_or_else(|| ChainError("these bytes are no swap".into()))?;
        let draw = |ledger: &Ledger| {
            let now = ledger.time(self.clock.read());
            (ledger.height(now) <= instruction.last_valid_block_height).then(|| LedgerEntry {
                signature,
                order_id: instruction.order_id,
                attempt: instruction.attempt,
                venue: instruction.venue,
                last_valid_block_height: instruction.last_valid_block_height,
                accepted_at: now,
                fate: self.draw(&instruction, now),
            })
        };
        let known = self.ledger().entry(&signature).is_some();
        match self.on_ledger(|ledger| ledger.take(signature, draw)).await? {
            SwapAccepted::TooLate => return Err(ChainError("the swap's blocks have gone by".into())),
            SwapAccepted::Yes if known => return Ok(()),
            SwapAccepted::Yes => {}
        }
        let lost = self.rng.cast(LOST_ANSWER, instruction.order_id.0, instruction.attempt).millionths();
        if self.settings.lost_answer_rate.holds(lost) {
            return Err(ChainError("the answer was lost".into()));
        }
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        self.ledger().trouble().map(|trouble| format!("the chain's ledger takes no swaps: {trouble}"))
    }

    async fn watch(&self, signature: Signature, patience: Duration) -> Result<Observation, ChainError> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let (observation, wait) = self.look(signature).await?;
            if observation.outcome.is_some() || tokio::time::Instant::now() >= deadline {
                return Ok(observation);
            }
            // One millisecond more, for timers have no finer grain and waking early would only mean looking twice.
            let wait = wait.map_or(patience, |wait| wait + Duration::from_millis(1));
            tokio::time::sleep_until(deadline.min(tokio::time::Instant::now() + wait)).await;
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
