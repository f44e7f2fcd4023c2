//! The state of the simulated chain: the sum of the records in the ledger. Pure: no file and no clock.
//!
//! The chain has its own time, as a real chain has. It equals the wall clock when a boot of the machine opens the ledger
//! for the first time, and continues by the uptime. So a step of the wall clock changes neither the block height nor the
//! time at which a swap lands.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::domain::amount::BaseUnits;
use crate::domain::moment::{Now, Uptime};
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::swap::{Expiry, Fill, Outcome, Signature};
use crate::simulation::ledger::record::{LedgerEntry, PlannedOutcome, Record};

/// The fee of every simulated transaction: one signature at 5,000 lamports.
const TRANSACTION_FEE: BaseUnits = BaseUnits(5_000);

/// The state of the simulated chain.
#[derive(Debug, Default)]
pub struct ChainState {
    genesis: Option<Genesis>,
    /// For each boot that opened the ledger: the chain's time at some uptime of that boot.
    boots: HashMap<Uuid, (Uptime, DateTime<Utc>)>,
    jumps: Vec<(DateTime<Utc>, u64)>,
    entries: Vec<LedgerEntry>,
    by_signature: HashMap<Signature, usize>,
}

#[derive(Clone, Copy, Debug)]
struct Genesis {
    at: DateTime<Utc>,
    block: Duration,
}

impl ChainState {
    /// The chain's time.
    pub fn time(&self, now: Now) -> DateTime<Utc> {
        match self.boots.get(&now.moment.boot) {
            Some(&(uptime, at)) => at + TimeDelta::microseconds(now.moment.uptime.0 - uptime.0),
            // In a new boot the wall clock may be behind, but the chain's time never decreases.
            None => self.latest().map_or(now.at, |latest| latest.max(now.at)),
        }
    }

    /// The block height at a time of the chain; 0 before the genesis.
    pub fn height(&self, at: DateTime<Utc>) -> u64 {
        let Some(genesis) = self.genesis else { return 0 };
        let age = (at - genesis.at).to_std().unwrap_or_default();
        let grown = age.as_micros() / genesis.block.as_micros();
        let jumped: u64 = self.jumps.iter().filter(|(when, _)| *when <= at).map(|(_, blocks)| blocks).sum();
        u64::try_from(grown).unwrap_or(u64::MAX).saturating_add(jumped)
    }

    /// The accepted swap with that signature.
    pub fn entry(&self, signature: &Signature) -> Option<&LedgerEntry> {
        self.by_signature.get(signature).map(|&index| &self.entries[index])
    }

    /// The accepted swaps, oldest first.
    pub fn entries(&self) -> &[LedgerEntry] {
        &self.entries
    }

    /// The outcome of an entry at a time of the chain. `None` while it is not due.
    pub fn outcome(&self, entry: &LedgerEntry, now: DateTime<Utc>) -> Option<Outcome> {
        let expired = || self.expiry(entry.last_valid_block_height, now).map(Outcome::Expired);
        self.execution(entry, now).or_else(expired)
    }

    /// The proof that a swap which has not landed can never land; `None` while its last valid block has not passed.
    pub fn expiry(&self, last_valid_block_height: u64, now: DateTime<Utc>) -> Option<Expiry> {
        let height = self.height(now);
        // Slots and heights are the same here: the simulation skips no slot.
        (height > last_valid_block_height).then_some(Expiry { height, unknown_at: height })
    }

    /// What happened when the entry landed. `None` while it is not due, and always if the last valid block height passes
    /// first.
    fn execution(&self, entry: &LedgerEntry, now: DateTime<Utc>) -> Option<Outcome> {
        let at = entry.planned.due_at()?;
        let slot = self.height(at);
        if at > now || slot > entry.last_valid_block_height {
            return None;
        }
        Some(match &entry.planned {
            PlannedOutcome::Lands { amount_out, .. } => {
                Outcome::Landed(Fill { amount_out: *amount_out, slot, fee: TRANSACTION_FEE })
            }
            PlannedOutcome::Rejected { code, .. } => {
                Outcome::Rejected { failure: Failure::new(*code, rejection(*code)), slot }
            }
            PlannedOutcome::Dropped => return None,
        })
    }

    /// Whether the chain has a genesis.
    pub(super) fn has_begun(&self) -> bool {
        self.genesis.is_some()
    }

    /// Whether the chain's time in that boot is known.
    pub(super) fn knows(&self, boot: Uuid) -> bool {
        self.boots.contains_key(&boot)
    }

    /// Applies one record.
    ///
    /// Two processes may append a record for the same boot or the same swap. The first one counts: results may already
    /// depend on it, and the same bytes land once.
    pub(super) fn apply(&mut self, record: Record) {
        match record {
            Record::Genesis { at, block_ms, moment } => {
                self.genesis = Some(Genesis { at, block: Duration::from_millis(block_ms.max(1)) });
                self.boots.extend(moment.map(|moment| (moment.boot, (moment.uptime, at))));
            }
            Record::Boot { at, moment } => {
                self.boots.entry(moment.boot).or_insert((moment.uptime, at));
            }
            Record::Jump { at, blocks } => self.jumps.push((at, blocks)),
            Record::Swap(entry) => {
                if !self.by_signature.contains_key(&entry.signature) {
                    self.by_signature.insert(entry.signature, self.entries.len());
                    self.entries.push(entry);
                }
            }
        }
    }

    /// The latest time in any record.
    fn latest(&self) -> Option<DateTime<Utc>> {
        let genesis = self.genesis.map(|genesis| genesis.at);
        let boots = self.boots.values().map(|(_, at)| *at);
        let jumps = self.jumps.iter().map(|(at, _)| *at);
        let swaps = self.entries.iter().map(|entry| entry.accepted_at);
        genesis.into_iter().chain(boots).chain(jumps).chain(swaps).max()
    }
}

const fn rejection(code: FailureCode) -> &'static str {
    match code {
        FailureCode::SlippageExceeded => "the pool would have paid less than the floor of the order",
        _ => "the chain rejected the swap",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::ledger::samples::{BLOCK, at, entry, genesis, in_boot, now};

    fn chain(records: impl IntoIterator<Item = Record>) -> ChainState {
        let mut state = ChainState::default();
        records.into_iter().for_each(|record| state.apply(record));
        state
    }

    #[test]
    fn a_swap_lands_at_its_time_without_any_further_record() {
        let state = chain([genesis(now(0))]);
        let entry = entry(PlannedOutcome::Lands { at: at(2_000), amount_out: BaseUnits(7) });
        assert_eq!(state.outcome(&entry, at(1_999)), None);
        let fill = Fill { amount_out: BaseUnits(7), slot: 5, fee: TRANSACTION_FEE };
        assert_eq!(state.outcome(&entry, at(999_000)), Some(Outcome::Landed(fill)));
    }

    #[test]
    fn a_swap_never_lands_after_its_last_valid_block_height() {
        let state = chain([genesis(now(0)), Record::Jump { at: at(1_000), blocks: 500 }]);
        let entry = entry(PlannedOutcome::Lands { at: at(2_000), amount_out: BaseUnits(7) });
        assert_eq!(state.outcome(&entry, at(999)), None);
        assert!(matches!(state.outcome(&entry, at(999_000)), Some(Outcome::Expired(_))));
    }

    #[test]
    fn the_first_of_two_records_of_one_swap_counts() {
        let lands = entry(PlannedOutcome::Lands { at: at(10), amount_out: BaseUnits(7) });
        let state = chain([genesis(now(0)), Record::Swap(lands.clone()), Record::Swap(entry(PlannedOutcome::Dropped))]);
        assert_eq!(state.entries(), [lands]);
    }

    #[test]
    fn within_one_boot_the_time_of_the_chain_follows_the_uptime_and_not_the_wall_clock() {
        let state = chain([genesis(now(1_000))]);
        for wall in [-3_600_000, -5_000, 0, 86_400_000] {
            assert_eq!(state.time(in_boot(1, wall, 4_000)), at(4_000));
        }
    }

    #[test]
    fn in_a_new_boot_the_time_of_the_chain_is_the_wall_clock_unless_the_wall_clock_is_behind() {
        let accepted = LedgerEntry { accepted_at: at(90_000), ..entry(PlannedOutcome::Dropped) };
        let state = chain([genesis(now(1_000)), Record::Swap(accepted)]);
        assert_eq!(state.time(in_boot(2, 50_000, 10)), at(90_000));
        assert_eq!(state.time(in_boot(2, 200_000, 10)), at(200_000));
    }

    #[test]
    fn a_chain_without_a_genesis_has_no_height() {
        let state = ChainState::default();
        assert_eq!((state.height(at(9_000)), state.time(now(9_000))), (0, at(9_000)));
        assert_eq!(chain([genesis(now(0))]).height(at(0) + 3 * BLOCK), 3);
    }
}
