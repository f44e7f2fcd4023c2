//! The simulated chain's memory: an append-only file of what was taken and what it comes to.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::amount::BaseUnits;
use crate::domain::id::{OrderId, VenueId};
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::swap::{Fill, Outcome, Signature};

/// What every simulated transaction costs: one signature at 5,000 lamports.
const TRANSACTION_FEE: BaseUnits = BaseUnits(5_000);

/// A swap the chain has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its identity.
    pub signature: Signature,
    /// The order it was signed for.
    pub order_id: OrderId,
    /// The attempt it was signed for.
    pub attempt: u32,
    /// The venue.
    pub venue: VenueId,
    /// The last height at which it can land.
    pub last_valid_block_height: u64,
    /// When it was first taken.
    pub accepted_at: DateTime<Utc>,
    /// What it comes to.
    #[serde(flatten)]
    pub fate: Fate,
}

/// What a taken swap comes to, if its blocks have not gone by before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fate {
    /// It lands.
    Lands {
        /// When.
        at: DateTime<Utc>,
        /// What it brings.
        amount_out: BaseUnits,
    },
    /// It lands as a failure.
    Rejected {
        /// When.
        at: DateTime<Utc>,
        /// Why.
        code: FailureCode,
    },
    /// It never lands.
    Dropped,
}

impl Fate {
    /// When it is decided, unless never.
    pub const fn decided_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Lands { at, .. } | Self::Rejected { at, .. } => Some(*at),
            Self::Dropped => None,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Line {
    Genesis { at: DateTime<Utc>, block_ms: u64 },
    Jump { at: DateTime<Utc>, blocks: u64 },
    Swap(Entry),
}

/// Why the ledger cannot be used.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The file cannot be read or written.
    #[error("ledger {path:?}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not a ledger.
    #[error("ledger {path:?}, line {line}: {reason}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// The ledger, in memory and, unless it was made for memory only, in its file.
#[derive(Debug)]
pub struct Ledger {
    genesis: DateTime<Utc>,
    block: Duration,
    jumps: Vec<(DateTime<Utc>, u64)>,
    entries: Vec<Entry>,
    by_signature: HashMap<Signature, usize>,
    file: Option<(PathBuf, File)>,
}

impl Ledger {
    /// A ledger that dies with the process.
    pub fn in_memory(now: DateTime<Utc>, block: Duration) -> Self {
        Self { genesis: now, block, jumps: vec![], entries: vec![], by_signature: HashMap::new(), file: None }
    }

    /// Opens the ledger in that file, or begins one; its genesis and block time hold, whatever the settings say.
    pub fn open(path: &Path, now: DateTime<Utc>, block: Duration) -> Result<Self, LedgerError> {
        let io = |source| LedgerError::Io { path: path.to_owned(), source };
        let (mut ledger, whole) =
            if path.exists() { Self::read_whole(path)? } else { (Self::in_memory(now, block), 0) };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
        file.set_len(whole).map_err(io)?;
        ledger.file = Some((path.to_owned(), file));
        if whole == 0 {
            let block_ms = u64::try_from(block.as_millis()).unwrap_or(u64::MAX);
            (ledger.genesis, ledger.block) = (now, block);
            ledger.write(&Line::Genesis { at: now, block_ms })?;
        }
        Ok(ledger)
    }

    /// Reads the ledger in that file without changing it, also while an engine appends to it.
    pub fn read(path: &Path) -> Result<Self, LedgerError> {
        Self::read_whole(path).map(|(ledger, _)| ledger)
    }

    /// The ledger and the length of its whole lines: the last one may be half written, and its send was never answered.
    fn read_whole(path: &Path) -> Result<(Self, u64), LedgerError> {
        let io = |source| LedgerError::Io { path: path.to_owned(), source };
        let mut ledger = Self::in_memory(DateTime::UNIX_EPOCH, Duration::from_millis(1));
        let mut reader = BufReader::new(File::open(path).map_err(io)?);
        let (mut text, mut number, mut whole) = (String::new(), 0, 0);
        loop {
            text.clear();
            let read = reader.read_line(&mut text).map_err(io)?;
            if !text.ends_with('\n') {
                return Ok((ledger, whole));
            }
            (number, whole) = (number + 1, whole + read as u64);
            match serde_json::from_str(&text) {
                Ok(Line::Genesis { at, block_ms }) => {
                    (ledger.genesis, ledger.block) = (at, Duration::from_millis(block_ms.max(1)))
                }
                Ok(Line::Jump { at, blocks }) => ledger.jumps.push((at, blocks)),
                Ok(Line::Swap(entry)) => ledger.remember(entry),
                Err(error) => {
                    return Err(LedgerError::Corrupt {
                        path: path.to_owned(),
                        line: number,
                        reason: error.to_string(),
                    });
                }
            }
        }
    }

    /// The block height at a moment.
    pub fn height(&self, at: DateTime<Utc>) -> u64 {
        let age = (at - self.genesis).to_std().unwrap_or_default();
        let grown = age.as_micros() / self.block.as_micros().max(1);
        let jumped: u64 = self.jumps.iter().filter(|(when, _)| *when <= at).map(|(_, blocks)| blocks).sum();
        u64::try_from(grown).unwrap_or(u64::MAX).saturating_add(jumped)
    }

    /// What was taken under that signature.
    pub fn entry(&self, signature: &Signature) -> Option<&Entry> {
        self.by_signature.get(signature).map(|&index| &self.entries[index])
    }

    /// Everything that was taken, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What has come of an entry by `now`; `None` while it is open, and for ever if its blocks have gone by.
    pub fn outcome(&self, entry: &Entry, now: DateTime<Utc>) -> Option<Outcome> {
        let at = entry.fate.decided_at()?;
        let slot = self.height(at);
        if at > now || slot > entry.last_valid_block_height {
            return None;
        }
        Some(match &entry.fate {
            Fate::Lands { amount_out, .. } => {
                Outcome::Landed(Fill { amount_out: *amount_out, slot, fee: TRANSACTION_FEE })
            }
            Fate::Rejected { code, .. } => Outcome::Rejected { failure: Failure::new(*code, rejection(*code)), slot },
            Fate::Dropped => return None,
        })
    }

    /// Takes a swap: written first, remembered after.
    pub fn append(&mut self, entry: Entry) -> Result<(), LedgerError> {
        let line = Line::Swap(entry);
        self.write(&line)?;
        if let Line::Swap(entry) = line {
            self.remember(entry);
        }
        Ok(())
    }

    /// Moves the height on by so many blocks.
    pub fn jump(&mut self, at: DateTime<Utc>, blocks: u64) -> Result<(), LedgerError> {
        self.write(&Line::Jump { at, blocks })?;
        self.jumps.push((at, blocks));
        Ok(())
    }

    /// The first entry of a signature is the one that holds: where two processes wrote to one file, the same bytes may
    /// stand in it twice, and they still land once.
    fn remember(&mut self, entry: Entry) {
        if self.by_signature.contains_key(&entry.signature) {
            return;
        }
        self.by_signature.insert(entry.signature, self.entries.len());
        self.entries.push(entry);
    }

    fn write(&mut self, line: &Line) -> Result<(), LedgerError> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let mut text = serde_json::to_vec(line).expect("a ledger line holds only strings and integers");
        text.push(b'\n');
        // One write a line, so that a killed process leaves no line torn in the middle.
        file.write_all(&text).map_err(|source| LedgerError::Io { path: path.clone(), source })
    }
}

const fn rejection(code: FailureCode) -> &'static str {
    match code {
        FailureCode::SlippageExceeded => "the pool would have paid less than the order's floor",
        _ => "the chain rejected the swap",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    const BLOCK: Duration = Duration::from_millis(400);

    fn at(milliseconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(milliseconds)
    }

    fn entry(fate: Fate) -> Entry {
        Entry {
            signature: Signature([1; 64]),
            order_id: OrderId(uuid::Uuid::nil()),
            attempt: 1,
            venue: VenueId::Raydium,
            last_valid_block_height: 150,
            accepted_at: at(0),
            fate,
        }
    }

    #[test]
    fn a_swap_lands_while_nobody_looks() {
        let ledger = Ledger::in_memory(at(0), BLOCK);
        let entry = entry(Fate::Lands { at: at(2_000), amount_out: BaseUnits(7) });
        assert_eq!(ledger.outcome(&entry, at(1_999)), None);
        let fill = Fill { amount_out: BaseUnits(7), slot: 5, fee: TRANSACTION_FEE };
        assert_eq!(ledger.outcome(&entry, at(999_000)), Some(Outcome::Landed(fill)));
    }

    #[test]
    fn a_swap_whose_blocks_went_by_first_never_lands() {
        let mut ledger = Ledger::in_memory(at(0), BLOCK);
        let entry = entry(Fate::Lands { at: at(2_000), amount_out: BaseUnits(7) });
        ledger.jump(at(1_000), 500).unwrap();
        assert_eq!(ledger.outcome(&entry, at(999_000)), None);
    }

    #[test]
    fn the_same_bytes_in_the_file_twice_have_landed_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let mut one = Ledger::open(&path, at(0), BLOCK).unwrap();
        let mut other = Ledger::open(&path, at(0), BLOCK).unwrap();
        one.append(entry(Fate::Lands { at: at(10), amount_out: BaseUnits(7) })).unwrap();
        other.append(entry(Fate::Dropped)).unwrap();
        assert_eq!(Ledger::read(&path).unwrap().entries(), one.entries());
    }

    #[test]
    fn the_file_tells_the_same_story_after_a_crash_in_mid_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let mut ledger = Ledger::open(&path, at(0), BLOCK).unwrap();
        ledger.append(entry(Fate::Dropped)).unwrap();
        ledger.jump(at(400), 10).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"line\":\"swap\",\"signa").unwrap();
        let mut again = Ledger::open(&path, at(9_999), Duration::from_millis(1)).unwrap();
        assert_eq!(again.entries(), ledger.entries());
        again.append(Entry { signature: Signature([2; 64]), ..entry(Fate::Dropped) }).unwrap();
        assert_eq!(Ledger::read(&path).unwrap().entries().len(), 2);
        assert_eq!(again.height(at(800)), 12);
    }
}
