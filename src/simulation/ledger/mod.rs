//! The ledger of the simulated chain: which swaps the chain has accepted, and with what outcome.
//!
//! The ledger is an append-only file, or memory only. Several processes may share one file, as several engines share one
//! chain: each appends under an exclusive lock, after it has read what the others have appended. So a swap is accepted
//! once.
//!
//! - `record`: the lines of the file.
//! - `state`: what the records add up to, as a pure value: time, block height, outcomes.
//! - `file`: locking, reading, appending and recovery. `copy`: copies for backups.

mod copy;
mod error;
mod file;
mod record;
#[cfg(test)]
mod samples;
mod state;

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::domain::moment::Now;
use crate::domain::swap::Signature;
use crate::simulation::ledger::file::LedgerFile;
use crate::simulation::ledger::record::Record;

pub use copy::LedgerCopy;
pub use error::LedgerError;
pub use record::{LedgerEntry, PlannedOutcome};
pub use state::ChainState;

/// The ledger: the state of the chain and, unless it is kept in memory only, its file.
#[derive(Debug)]
pub struct Ledger {
    state: ChainState,
    file: Option<LedgerFile>,
}

/// Whether a swap is in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It is, since now or since an earlier send.
    Accepted,
    /// It is not, and its last valid block height has passed.
    TooLate,
}

impl Ledger {
    /// A ledger that is lost with the process.
    pub fn in_memory(now: Now, block: Duration) -> Self {
        let mut state = ChainState::default();
        state.apply(genesis(now, block));
        Self { state, file: None }
    }

    /// Opens the ledger in that file, or creates it. An existing file keeps its genesis and block time.
    ///
    /// The rest of an interrupted append is cut off, with a warning. A broken line before the end is an error.
    pub fn open(path: &Path, now: Now, block: Duration) -> Result<Self, LedgerError> {
        // Other processes hold the lock only for the duration of an append.
        const TRIES: u32 = 100;
        let mut ledger = Self { state: ChainState::default(), file: Some(LedgerFile::open(path)?) };
        let mut tries = 0;
        loop {
            match ledger.append(|state| (!state.has_begun()).then(|| genesis(now, block))) {
                Err(LedgerError::Busy { .. }) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
                begun => return begun.map(|()| ledger.enter_boot(now)),
            }
        }
    }

    /// Reads the state from the file without changing it, also while an engine appends to it.
    pub fn read(path: &Path) -> Result<ChainState, LedgerError> {
        LedgerFile::read(path)
    }

    /// The state of the chain, as far as the file has been read.
    pub fn state(&self) -> &ChainState {
        &self.state
    }

    /// Accepts a swap, unless it was accepted before: written first, applied after.
    ///
    /// `entry` returns the entry of a new swap, or `None` if it is too late. It runs under the exclusive lock, so no other
    /// process can decide differently. After an error the swap was not accepted.
    pub fn accept(
        &mut self,
        signature: Signature,
        entry: impl FnOnce(&ChainState) -> Option<LedgerEntry>,
    ) -> Result<Acceptance, LedgerError> {
        if self.state.entry(&signature).is_none() {
            self.append(|state| match state.entry(&signature) {
                // Another process was first.
                Some(_) => None,
                None => entry(state).map(Record::Swap),
            })?;
        }
        Ok(if self.state.entry(&signature).is_some() { Acceptance::Accepted } else { Acceptance::TooLate })
    }

    /// Advances the block height by a number of blocks.
    pub fn jump(&mut self, at: DateTime<Utc>, blocks: u64) -> Result<(), LedgerError> {
        self.append(|_| Some(Record::Jump { at, blocks }))
    }

    /// Reads what other processes have appended. Only after that is it certain that a swap was not accepted.
    pub fn refresh(&mut self) -> Result<(), LedgerError> {
        match &mut self.file {
            Some(file) => file.refresh(&mut self.state),
            None => Ok(()),
        }
    }

    /// Why the ledger accepts no swaps, if it does not; without the path.
    pub fn trouble(&mut self) -> Option<&str> {
        self.file.as_mut()?.trouble(&mut self.state)
    }

    /// Fixes the chain's time for this boot.
    fn enter_boot(mut self, now: Now) -> Self {
        let boot = |state: &ChainState| Record::Boot { at: state.time(now), moment: now.moment };
        if !self.state.knows(now.moment.boot) {
            // If the disk is full the time is fixed in memory only, and the next start fixes it in the file.
            let _ = self.append(|state| (!state.knows(now.moment.boot)).then(|| boot(state)));
            self.state.apply(boot(&self.state));
        }
        self
    }

    /// Appends the record that `decide` returns, if any, and applies it.
    fn append(&mut self, decide: impl FnOnce(&ChainState) -> Option<Record>) -> Result<(), LedgerError> {
        match &mut self.file {
            Some(file) => file.append(&mut self.state, decide),
            None => {
                if let Some(record) = decide(&self.state) {
                    self.state.apply(record);
                }
                Ok(())
            }
        }
    }
}

fn genesis(now: Now, block: Duration) -> Record {
    let block_ms = u64::try_from(block.as_millis()).unwrap_or(u64::MAX);
    Record::Genesis { at: now.at, block_ms, moment: Some(now.moment) }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::samples::{BLOCK, accept, at, entry, in_boot, now, numbered};
    use super::*;
    use crate::domain::amount::BaseUnits;

    #[test]
    fn the_same_bytes_sent_by_two_processes_land_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let mut one = Ledger::open(&path, now(0), BLOCK).unwrap();
        let mut two = Ledger::open(&path, now(0), BLOCK).unwrap();
        accept(&mut one, entry(PlannedOutcome::Lands { at: at(10), amount_out: BaseUnits(7) })).unwrap();
        accept(&mut two, entry(PlannedOutcome::Dropped)).unwrap();
        assert_eq!(Ledger::read(&path).unwrap().entries(), one.state().entries());
    }

    #[test]
    fn a_ledger_is_the_same_after_a_crash_during_an_append() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let mut ledger = Ledger::open(&path, now(0), BLOCK).unwrap();
        accept(&mut ledger, entry(PlannedOutcome::Dropped)).unwrap();
        ledger.jump(at(400), 10).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"line\":\"swap\",\"signa").unwrap();
        let mut reopened = Ledger::open(&path, now(9_999), Duration::from_millis(1)).unwrap();
        assert_eq!(reopened.state().entries(), ledger.state().entries());
        accept(&mut reopened, numbered(2)).unwrap();
        assert_eq!(Ledger::read(&path).unwrap().entries().len(), 2);
        assert_eq!(reopened.state().height(at(800)), 12);
    }

    #[test]
    fn two_processes_that_append_to_one_file_read_the_swaps_of_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let mut one = Ledger::open(&path, now(0), BLOCK).unwrap();
        let mut two = Ledger::open(&path, now(99), Duration::from_millis(1)).unwrap();
        for number in 1..=20 {
            accept(&mut one, numbered(2 * number)).unwrap();
            accept(&mut two, numbered(2 * number + 1)).unwrap();
        }
        assert!(one.state().entry(&Signature([41; 64])).is_none());
        one.refresh().unwrap();
        assert_eq!(one.state().entries(), two.state().entries());
        assert_eq!(one.state().entries(), Ledger::read(&path).unwrap().entries());
        one.jump(at(400), 10).unwrap();
        two.refresh().unwrap();
        assert_eq!(two.state().height(at(800)), 12);
    }

    #[test]
    fn a_step_of_the_wall_clock_does_not_change_the_time_of_the_chain() {
        const DAY: i64 = 86_400_000;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let ledger = Ledger::open(&path, now(1_000), BLOCK).unwrap();
        for wall in [-3_600_000, -5_000, 0, DAY] {
            let reopened = Ledger::open(&path, in_boot(1, wall, 2_000), BLOCK).unwrap();
            for state in [ledger.state(), reopened.state(), &Ledger::read(&path).unwrap()] {
                assert_eq!(state.time(in_boot(1, wall, 4_000)), at(4_000));
            }
        }
    }

    #[test]
    fn a_boot_fixes_the_time_of_the_chain_for_every_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let mut ledger = Ledger::open(&path, now(1_000), BLOCK).unwrap();
        accept(&mut ledger, LedgerEntry { accepted_at: at(90_000), ..entry(PlannedOutcome::Dropped) }).unwrap();
        let behind = Ledger::open(&path, in_boot(2, 50_000, 10), BLOCK).unwrap();
        assert_eq!(behind.state().time(in_boot(2, 1, 1_010)), at(91_000));
        assert_eq!(Ledger::read(&path).unwrap().time(in_boot(2, 1, 1_010)), at(91_000));
        let ahead = Ledger::open(&path, in_boot(3, 200_000, 10), BLOCK).unwrap();
        assert_eq!(ahead.state().time(in_boot(3, 1, 1_010)), at(201_000));
    }

    #[test]
    fn a_ledger_of_an_earlier_version_continues_by_the_uptime() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        fs::write(&path, "{\"line\":\"genesis\",\"at\":\"1970-01-01T00:00:01Z\",\"blockMs\":400}\n").unwrap();
        let ledger = Ledger::open(&path, in_boot(1, 9_000, 10), BLOCK).unwrap();
        let state = ledger.state();
        assert_eq!((state.time(in_boot(1, 0, 1_010)), state.height(at(9_000))), (at(10_000), 20));
    }
}
