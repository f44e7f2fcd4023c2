//! The simulated chain's memory: an append-only file of what was taken and what it comes to.
//!
//! Several processes may use one file, as several engines use one chain. Each appends under an exclusive lock on the file
//! and reads first what the others have appended, so the same swap is taken once.
//!
//! A line counts once its newline is there. What stands behind the last newline is what a failed or interrupted append
//! left: readers pass over it, and whoever has the lock cuts it off. So an append that failed has taken nothing, also
//! where its remains cannot be cut off just now; and as long as they cannot, nothing more is appended.
//!
//! The chain has a time of its own, as a real one has: it agrees with the machine's wall clock when a boot of the machine
//! first meets the ledger, and goes on by the uptime from there. So nobody who sets the wall clock moves its height, and
//! nothing that it took lands a day late.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::domain::amount::BaseUnits;
use crate::domain::id::{OrderId, VenueId};
use crate::domain::moment::{Moment, Now, Uptime};
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::swap::{Fill, Outcome, Signature};

/// What every simulated transaction costs: one signature at 5,000 lamports.
const TRANSACTION_FEE: BaseUnits = BaseUnits(5_000);

/// A swap the chain has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
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
    pub fate: SwapOutcome,
}

/// What a taken swap comes to, if its blocks have not gone by before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum SwapOutcome {
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

impl SwapOutcome {
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
enum LedgerRecord {
    Genesis {
        at: DateTime<Utc>,
        block_ms: u64,
        /// The present when it began; earlier versions did not write it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moment: Option<Moment>,
    },
    /// Another boot met the ledger: the chain's time at a moment of it.
    Boot {
        at: DateTime<Utc>,
        moment: Moment,
    },
    Jump {
        at: DateTime<Utc>,
        blocks: u64,
    },
    Swap(LedgerEntry),
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
        source: io::Error,
    },
    /// A line of it cannot be read.
    #[error(
        "ledger {path:?}, line {line}: {reason}. What the chain took there is unknown. Put a whole copy of the file back, \
         or delete line {line}: a swap in it then counts as never taken"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is something else than a ledger, and is left as it is.
    #[error("ledger {path:?}, line 1: a ledger begins with its genesis; name another file in simulation.ledger")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was removed, replaced or cut short while it was used.
    #[error(
        "ledger {path:?} was removed, replaced or cut short while it was used: put it back as it was and start again"
    )]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// Another process writes to it just now.
    #[error("ledger {path:?}: another process holds it for an append")]
    Busy {
        /// The file.
        path: PathBuf,
    },
}

impl LedgerError {
    /// What is wrong, without the path: fit for whoever may ask how the engine is.
    fn in_public(&self) -> String {
        match self {
            Self::Io { source, .. } => source.to_string(),
            Self::Corrupt { line, .. } => format!("its line {line} cannot be read"),
            Self::Foreign { .. } => "the file is something else".to_owned(),
            Self::Replaced { .. } => "the file was removed, replaced or cut short".to_owned(),
            Self::Busy { .. } => "another process holds it".to_owned(),
        }
    }
}

/// What came of handing a swap to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapAccepted {
    /// It stands in the ledger, now or since before.
    Yes,
    /// It may no longer be taken.
    TooLate,
}

/// The ledger, in memory and, unless it was made for memory only, in its file.
#[derive(Debug)]
pub struct Ledger {
    genesis: DateTime<Utc>,
    // For each boot that met the ledger the chain's time at some uptime of it.
    boots: HashMap<Uuid, (Uptime, DateTime<Utc>)>,
    block: Duration,
    jumps: Vec<(DateTime<Utc>, u64)>,
    entries: Vec<LedgerEntry>,
    by_signature: HashMap<Signature, usize>,
    read: ReadPosition,
    file: Option<LedgerFile>,
}

/// How far the file has been read, in whole lines.
#[derive(Clone, Copy, Debug, Default)]
struct ReadPosition {
    bytes: u64,
    lines: usize,
}

#[derive(Debug)]
struct LedgerFile {
    path: PathBuf,
    file: File,
    // Device and inode.
    id: (u64, u64),
    // What was wrong at the last use, and when that was.
    trouble: Option<(String, Instant)>,
}

impl Ledger {
    /// A ledger that cannot be written is tried again after so long, when somebody asks how it is.
    const PROBED_EVERY: Duration = Duration::from_secs(1);

    /// A ledger that dies with the process.
    pub fn in_memory(now: Now, block: Duration) -> Self {
        Self { boots: HashMap::from([(now.moment.boot, (now.moment.uptime, now.at))]), ..Self::unread(now.at, block) }
    }

    fn unread(genesis: DateTime<Utc>, block: Duration) -> Self {
        Self {
            genesis,
            boots: HashMap::new(),
            block,
            jumps: vec![],
            entries: vec![],
            by_signature: HashMap::new(),
            read: ReadPosition::default(),
            file: None,
        }
    }

    /// Opens the ledger in that file, or begins one; its genesis and block time hold, whatever the settings say.
    ///
    /// What a crash left of a last line is cut off, with a warning. A broken line before the end is an error.
    pub fn open(path: &Path, now: Now, block: Duration) -> Result<Self, LedgerError> {
        /// How often a start tries for the lock, which others have for the moment of an append.
        const TRIES: u32 = 100;
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let io = |source| LedgerError::Io { path: path.clone(), source };
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path).map_err(io)?;
        let found = file.metadata().map_err(io)?;
        if !found.is_file() {
            // Such as /dev/null, which takes everything and keeps nothing.
            return Err(io(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
        }
        let id = id(&found);
        let mut ledger = Self::unread(now.at, block);
        ledger.file = Some(LedgerFile { path: path.clone(), file, id, trouble: None });
        let mut tries = 0;
        loop {
            match ledger.exclusively(|ledger| ledger.begin(now, block)) {
                Err(LedgerError::Busy { .. }) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
                begun => return begun.map(|()| ledger.meet(now)),
            }
        }
    }

    /// Reads the ledger in that file without changing it, also while an engine appends to it.
    pub fn read(path: &Path) -> Result<Self, LedgerError> {
        let io = |source| LedgerError::Io { path: path.to_owned(), source };
        // Anything else could have no end, or never answer.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(io(std::io::Error::other("it is no regular file")));
        }
        let file = File::open(path).map_err(io)?;
        let mut ledger = Self::unread(DateTime::UNIX_EPOCH, Duration::from_millis(1));
        ledger.absorb(path, file)?;
        Ok(ledger)
    }

    /// The chain's time.
    pub fn time(&self, now: Now) -> DateTime<Utc> {
        match self.boots.get(&now.moment.boot) {
            Some(&(uptime, at)) => at + TimeDelta::microseconds(now.moment.uptime.0 - uptime.0),
            // Another boot, in which the wall clock may be behind: the chain's time never runs backwards.
            None => now.at.max(self.latest()),
        }
    }

    /// The latest time of which the chain has kept something.
    fn latest(&self) -> DateTime<Utc> {
        let taken = self.entries.iter().map(|entry| entry.accepted_at);
        let others = self.boots.values().map(|(_, at)| *at).chain(self.jumps.iter().map(|(at, _)| *at));
        taken.chain(others).fold(self.genesis, Ord::max)
    }

    /// Keeps what the chain's time is in this boot.
    fn meet(mut self, now: Now) -> Self {
        if !self.boots.contains_key(&now.moment.boot) {
            let (at, moment) = (self.time(now), now.moment);
            // On a full disk it is kept in memory only. The next start keeps it then, or makes it anew.
            let _ = self.exclusively(|ledger| match ledger.boots.contains_key(&moment.boot) {
                // Another process was first.
                true => Ok(()),
                false => ledger.write(&LedgerRecord::Boot { at, moment }),
            });
            self.boots.entry(moment.boot).or_insert((moment.uptime, at));
        }
        self
    }

    /// The block height at a moment of the chain's time.
    pub fn height(&self, at: DateTime<Utc>) -> u64 {
        let age = (at - self.genesis).to_std().unwrap_or_default();
        let grown = age.as_micros() / self.block.as_micros().max(1);
        let jumped: u64 = self.jumps.iter().filter(|(when, _)| *when <= at).map(|(_, blocks)| blocks).sum();
        u64::try_from(grown).unwrap_or(u64::MAX).saturating_add(jumped)
    }

    /// What was taken under that signature.
    pub fn entry(&self, signature: &Signature) -> Option<&LedgerEntry> {
        self.by_signature.get(signature).map(|&index| &self.entries[index])
    }

    /// Everything that was taken, oldest first.
    pub fn entries(&self) -> &[LedgerEntry] {
        &self.entries
    }

    /// What has come of an entry by `now`; `None` while it is open, and for ever if its blocks have gone by.
    pub fn outcome(&self, entry: &LedgerEntry, now: DateTime<Utc>) -> Option<Outcome> {
        let at = entry.fate.decided_at()?;
        let slot = self.height(at);
        if at > now || slot > entry.last_valid_block_height {
            return None;
        }
        Some(match &entry.fate {
            SwapOutcome::Lands { amount_out, .. } => {
                Outcome::Landed(Fill { amount_out: *amount_out, slot, fee: TRANSACTION_FEE })
            }
            SwapOutcome::Rejected { code, .. } => {
                Outcome::Rejected { failure: Failure::new(*code, rejection(*code)), slot }
            }
            SwapOutcome::Dropped => return None,
        })
    }

    /// Takes a swap, unless it was taken before: written first, remembered after.
    ///
    /// `draw` makes its entry, or `None` where it is too late. It is asked under the lock, so that nobody who looks from
    /// another process can decide otherwise in between. After an error the swap was not taken.
    pub fn take(
        &mut self,
        signature: Signature,
        draw: impl FnOnce(&Self) -> Option<LedgerEntry>,
    ) -> Result<SwapAccepted, LedgerError> {
        if self.entry(&signature).is_some() {
            return Ok(SwapAccepted::Yes);
        }
        self.exclusively(|ledger| {
            if ledger.entry(&signature).is_some() {
                return Ok(SwapAccepted::Yes);
            }
            let Some(entry) = draw(ledger) else { return Ok(SwapAccepted::TooLate) };
            let line = LedgerRecord::Swap(entry);
            ledger.write(&line)?;
            if let LedgerRecord::Swap(entry) = line {
                ledger.remember(entry);
            }
            Ok(SwapAccepted::Yes)
        })
    }

    /// Moves the height on by so many blocks.
    pub fn jump(&mut self, at: DateTime<Utc>, blocks: u64) -> Result<(), LedgerError> {
        self.exclusively(|ledger| {
            ledger.write(&LedgerRecord::Jump { at, blocks })?;
            ledger.jumps.push((at, blocks));
            Ok(())
        })
    }

    /// Reads what other processes have appended. Only after that is it certain that a swap was not taken.
    pub fn refresh(&mut self) -> Result<(), LedgerError> {
        let Some(file) = &self.file else { return Ok(()) };
        let path = file.path.clone();
        match file.file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LedgerError::Busy { path }),
            Err(TryLockError::Error(source)) => return Err(LedgerError::Io { path, source }),
        }
        let refreshed = self.catch_up().map(drop);
        self.unlock();
        self.note(refreshed)
    }

    /// Why the ledger takes no swaps, if it does not; without the path.
    pub fn trouble(&mut self) -> Option<String> {
        let file = self.file.as_ref()?;
        // What is wrong is noted where it happens, so nothing is made of the answers here.
        let _ = match &file.trouble {
            None => {
                let standing = file.check();
                self.note(standing)
            }
            Some((_, since)) if since.elapsed() < Self::PROBED_EVERY => Ok(()),
            // Whether there is room again shows only when something is written.
            Some(_) => self.exclusively(Self::probe),
        };
        self.file.as_ref()?.trouble.as_ref().map(|(trouble, _)| trouble.clone())
    }

    /// The first entry of a signature is the one that holds: where two processes wrote to one file, the same bytes may
    /// stand in it twice, and they still land once.
    fn remember(&mut self, entry: LedgerEntry) {
        if self.by_signature.contains_key(&entry.signature) {
            return;
        }
        self.by_signature.insert(entry.signature, self.entries.len());
        self.entries.push(entry);
    }

    /// Does something to the ledger that no other process may do meanwhile, knowing what the others have done before.
    fn exclusively<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let Some(file) = &self.file else { return act(self) };
        let path = file.path.clone();
        let done = match file.file.try_lock() {
            Ok(()) => {
                let done = self.catch_up().and_then(|torn| self.cut(torn)).and_then(|()| act(self));
                self.unlock();
                done
            }
            Err(TryLockError::WouldBlock) => Err(LedgerError::Busy { path }),
            Err(TryLockError::Error(source)) => Err(LedgerError::Io { path, source }),
        };
        self.note(done)
    }

    fn unlock(&self) {
        if let Some(file) = &self.file {
            // It does not fail on a descriptor that is open; if it did, the next use would say so.
            let _ = file.file.unlock();
        }
    }

    /// Remembers what is wrong, for whoever asks, and says it once. What can be written again clears it.
    fn note<T>(&mut self, done: Result<T, LedgerError>) -> Result<T, LedgerError> {
        match (&mut self.file, &done) {
            // An append of another process takes a moment, and is tried again.
            (None, _) | (_, Ok(_) | Err(LedgerError::Busy { .. })) => {}
            (Some(file), Err(error)) => {
                let trouble = error.in_public();
                if file.trouble.as_ref().is_none_or(|(known, _)| *known != trouble) {
                    tracing::warn!(%error, "the ledger takes no swaps");
                }
                file.trouble = Some((trouble, Instant::now()));
            }
        }
        done
    }

    /// Reads what others have appended; gives what stands behind the last whole line, if anything.
    fn catch_up(&mut self) -> Result<Vec<u8>, LedgerError> {
        let Some(file) = &self.file else { return Ok(Vec::new()) };
        file.check()?;
        let path = file.path.clone();
        let io = |source| LedgerError::Io { path: path.clone(), source };
        let length = file.file.metadata().map_err(io)?.len();
        if length < self.read.bytes {
            return Err(LedgerError::Replaced { path });
        }
        if length == self.read.bytes {
            return Ok(Vec::new());
        }
        let mut reader = file.file.try_clone().map_err(io)?;
        reader.seek(SeekFrom::Start(self.read.bytes)).map_err(io)?;
        self.absorb(&path, reader)
    }

    /// Reads whole lines from where the file has been read to; gives what stands behind the last of them.
    fn absorb(&mut self, path: &Path, file: File) -> Result<Vec<u8>, LedgerError> {
        let mut reader = BufReader::new(file);
        let mut text = Vec::new();
        loop {
            text.clear();
            let read = reader.read_until(b'\n', &mut text);
            let read = read.map_err(|source| LedgerError::Io { path: path.to_owned(), source })?;
            if !text.ends_with(b"\n") {
                return Ok(text);
            }
            let line = serde_json::from_slice(&text);
            if self.read.lines == 0 && !matches!(line, Ok(LedgerRecord::Genesis { .. })) {
                return Err(LedgerError::Foreign { path: path.to_owned() });
            }
            match line {
                Ok(LedgerRecord::Genesis { at, block_ms, moment }) => {
                    (self.genesis, self.block) = (at, Duration::from_millis(block_ms.max(1)));
                    self.boots.extend(moment.map(|moment| (moment.boot, (moment.uptime, at))));
                }
                Ok(LedgerRecord::Boot { at, moment }) => {
                    // The first holds, as for a swap: what was told by it stays true.
                    self.boots.entry(moment.boot).or_insert((moment.uptime, at));
                }
                Ok(LedgerRecord::Jump { at, blocks }) => self.jumps.push((at, blocks)),
                Ok(LedgerRecord::Swap(entry)) => self.remember(entry),
                Err(error) => {
                    let (path, line) = (path.to_owned(), self.read.lines + 1);
                    return Err(LedgerError::Corrupt { path, line, reason: error.to_string() });
                }
            }
            self.read.lines += 1;
            self.read.bytes += read as u64;
        }
    }

    /// Cuts off what an append left that failed or was interrupted.
    fn cut(&mut self, torn: Vec<u8>) -> Result<(), LedgerError> {
        const SHOWN: usize = 400;
        let Some(file) = &self.file else { return Ok(()) };
        if torn.is_empty() {
            return Ok(());
        }
        if self.read.lines == 0 && !may_become_a_genesis(&torn) {
            return Err(LedgerError::Foreign { path: file.path.clone() });
        }
        file.cut_to(self.read.bytes)?;
        let line = self.read.lines + 1;
        let text = String::from_utf8_lossy(&torn[..torn.len().min(SHOWN)]).into_owned();
        tracing::warn!(file = %file.path.display(), line, text, "a torn last line was cut off; it was never answered for");
        Ok(())
    }

    /// Writes the first line, where there is none yet.
    fn begin(&mut self, now: Now, block: Duration) -> Result<(), LedgerError> {
        if self.read.lines > 0 {
            return Ok(());
        }
        let block_ms = u64::try_from(block.as_millis()).unwrap_or(u64::MAX);
        self.boots.insert(now.moment.boot, (now.moment.uptime, now.at));
        self.write(&LedgerRecord::Genesis { at: now.at, block_ms, moment: Some(now.moment) })
    }

    fn write(&mut self, line: &LedgerRecord) -> Result<(), LedgerError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut text = serde_json::to_vec(line).expect("a ledger line holds only strings and integers");
        text.push(b'\n');
        file.append(&text, self.read.bytes)?;
        self.read.lines += 1;
        self.read.bytes += text.len() as u64;
        Ok(())
    }

    /// Finds out whether the file takes a line, and leaves nothing of it.
    fn probe(&mut self) -> Result<(), LedgerError> {
        const LONGER_THAN_A_LINE: [u8; 4096] = [b' '; 4096];
        let Some(file) = &mut self.file else { return Ok(()) };
        file.append(&LONGER_THAN_A_LINE, self.read.bytes)?;
        file.cut_to(self.read.bytes)
    }
}

impl LedgerFile {
    /// Whether the path still leads to this file.
    fn check(&self) -> Result<(), LedgerError> {
        match fs::metadata(&self.path) {
            Ok(found) if id(&found) == self.id => Ok(()),
            Ok(_) => Err(LedgerError::Replaced { path: self.path.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(LedgerError::Replaced { path: self.path.clone() })
            }
            Err(source) => Err(LedgerError::Io { path: self.path.clone(), source }),
        }
    }

    /// Appends, or leaves the file as long as it was.
    fn append(&mut self, text: &[u8], length: u64) -> Result<(), LedgerError> {
        if let Err(source) = self.file.write_all(text) {
            // If that fails too the remains stand without a newline: they count for nothing, and the next use of the
            // file has to cut them off first.
            let _ = self.cut_to(length);
            return Err(LedgerError::Io { path: self.path.clone(), source });
        }
        if self.trouble.take().is_some() {
            tracing::info!(file = %self.path.display(), "the ledger takes swaps again");
        }
        Ok(())
    }

    fn cut_to(&self, length: u64) -> Result<(), LedgerError> {
        self.file.set_len(length).map_err(|source| LedgerError::Io { path: self.path.clone(), source })
    }
}

fn id(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Whether this is the beginning of a first line, or what a power cut leaves of one: then nothing else is lost with it.
fn may_become_a_genesis(torn: &[u8]) -> bool {
    const GENESIS: &[u8] = br#"{"line":"genesis","#;
    torn.starts_with(GENESIS) || GENESIS.starts_with(torn) || torn.iter().all(|byte| *byte == 0)
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

    const BLOCK: Duration = Duration::from_millis(400);

    fn at(milliseconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(milliseconds)
    }

    /// The wall clock and the uptime both say that.
    fn now(milliseconds: i64) -> Now {
        in_boot(1, milliseconds, milliseconds)
    }

    fn in_boot(boot: u128, wall: i64, uptime: i64) -> Now {
        let moment = Moment { boot: Uuid::from_u128(boot), uptime: Uptime(uptime * 1_000) };
        Now { at: at(wall), moment }
    }

    fn entry(fate: SwapOutcome) -> LedgerEntry {
        LedgerEntry {
            signature: Signature([1; 64]),
            order_id: OrderId(uuid::Uuid::nil()),
            attempt: 1,
            venue: VenueId::Raydium,
            last_valid_block_height: 150,
            accepted_at: at(0),
            fate,
        }
    }

    fn append(ledger: &mut Ledger, entry: LedgerEntry) -> Result<SwapAccepted, LedgerError> {
        ledger.take(entry.signature, |_| Some(entry.clone()))
    }

    fn other(number: u8) -> LedgerEntry {
        LedgerEntry { signature: Signature([number; 64]), ..entry(SwapOutcome::Dropped) }
    }

    #[test]
    fn a_swap_lands_while_nobody_looks() {
        let ledger = Ledger::in_memory(now(0), BLOCK);
        let entry = entry(SwapOutcome::Lands { at: at(2_000), amount_out: BaseUnits(7) });
        assert_eq!(ledger.outcome(&entry, at(1_999)), None);
        let fill = Fill { amount_out: BaseUnits(7), slot: 5, fee: TRANSACTION_FEE };
        assert_eq!(ledger.outcome(&entry, at(999_000)), Some(Outcome::Landed(fill)));
    }

    #[test]
    fn a_swap_whose_blocks_went_by_first_never_lands() {
        let mut ledger = Ledger::in_memory(now(0), BLOCK);
        let entry = entry(SwapOutcome::Lands { at: at(2_000), amount_out: BaseUnits(7) });
        ledger.jump(at(1_000), 500).unwrap();
        assert_eq!(ledger.outcome(&entry, at(999_000)), None);
    }

    #[test]
    fn the_same_bytes_in_the_file_twice_have_landed_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let mut one = Ledger::open(&path, now(0), BLOCK).unwrap();
        let mut other = Ledger::open(&path, now(0), BLOCK).unwrap();
        append(&mut one, entry(SwapOutcome::Lands { at: at(10), amount_out: BaseUnits(7) })).unwrap();
        append(&mut other, entry(SwapOutcome::Dropped)).unwrap();
        assert_eq!(Ledger::read(&path).unwrap().entries(), one.entries());
    }

    #[test]
    fn the_file_tells_the_same_story_after_a_crash_in_mid_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let mut ledger = Ledger::open(&path, now(0), BLOCK).unwrap();
        append(&mut ledger, entry(SwapOutcome::Dropped)).unwrap();
        ledger.jump(at(400), 10).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"line\":\"swap\",\"signa").unwrap();
        let mut again = Ledger::open(&path, now(9_999), Duration::from_millis(1)).unwrap();
        assert_eq!(again.entries(), ledger.entries());
        append(&mut again, other(2)).unwrap();
        assert_eq!(Ledger::read(&path).unwrap().entries().len(), 2);
        assert_eq!(again.height(at(800)), 12);
    }

    #[test]
    fn two_processes_that_append_to_one_file_see_each_others_swaps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let mut one = Ledger::open(&path, now(0), BLOCK).unwrap();
        let mut two = Ledger::open(&path, now(99), Duration::from_millis(1)).unwrap();
        for number in 1..=20 {
            append(&mut one, other(2 * number)).unwrap();
            append(&mut two, other(2 * number + 1)).unwrap();
        }
        assert!(one.entry(&Signature([41; 64])).is_none());
        one.refresh().unwrap();
        assert_eq!(one.entries(), two.entries());
        assert_eq!(one.entries(), Ledger::read(&path).unwrap().entries());
        one.jump(at(400), 10).unwrap();
        two.refresh().unwrap();
        assert_eq!(two.height(at(800)), 12);
    }

    #[test]
    fn while_another_process_appends_nothing_is_said_of_a_swap() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let mut ledger = Ledger::open(&path, now(0), BLOCK).unwrap();
        let other_process = File::open(&path).unwrap();
        other_process.lock().unwrap();
        assert!(matches!(append(&mut ledger, other(2)), Err(LedgerError::Busy { .. })));
        assert!(matches!(ledger.refresh(), Err(LedgerError::Busy { .. })));
        drop(other_process);
        ledger.refresh().unwrap();
        assert_eq!(ledger.entries(), []);
        assert_eq!(ledger.trouble(), None);
    }

    #[test]
    fn what_a_failed_append_left_is_cut_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let mut ledger = Ledger::open(&path, now(0), BLOCK).unwrap();
        append(&mut ledger, other(2)).unwrap();
        let whole = fs::read(&path).unwrap();
        // The write and the cut have failed: half a line stands there, whatever it says.
        for torn in [&whole[..1], &whole[..whole.len() - 1], b"\0\0\0", b"\xff"] {
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(torn).unwrap();
            ledger.refresh().unwrap();
            assert_eq!(ledger.entries().len(), 1);
            assert_eq!(Ledger::read(&path).unwrap().entries(), ledger.entries());
            ledger.jump(at(0), 0).unwrap();
            let lines = fs::read_to_string(&path).unwrap();
            assert!(lines.lines().all(|line| serde_json::from_str::<LedgerRecord>(line).is_ok()), "{lines}");
            fs::write(&path, &whole).unwrap();
            ledger = Ledger::open(&path, now(9), BLOCK).unwrap();
        }
    }

    #[test]
    fn a_file_that_takes_no_line_takes_no_swap_and_is_whole_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let mut ledger = Ledger::open(&path, now(0), BLOCK).unwrap();
        // Every write to it fails, as on a full disk.
        let writable = std::mem::replace(&mut ledger.file.as_mut().unwrap().file, File::open(&path).unwrap());
        assert!(matches!(append(&mut ledger, other(2)), Err(LedgerError::Io { .. })));
        assert_eq!(ledger.entries(), []);
        assert!(ledger.trouble().is_some());
        let waited =
            ledger.file.as_ref().unwrap().trouble.clone().map(|(trouble, at)| (trouble, at - Ledger::PROBED_EVERY));
        ledger.file.as_mut().unwrap().trouble = waited.clone();
        assert!(ledger.trouble().is_some(), "the probe fails too");
        let file = ledger.file.as_mut().unwrap();
        (file.file, file.trouble) = (writable, waited);
        let before = fs::read(&path).unwrap();
        assert_eq!(ledger.trouble(), None);
        assert_eq!(fs::read(&path).unwrap(), before, "the probe leaves nothing");
        append(&mut ledger, other(2)).unwrap();
        assert_eq!(Ledger::read(&path).unwrap().entries(), ledger.entries());
    }

    #[test]
    fn a_broken_line_before_the_end_stops_the_start_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let mut ledger = Ledger::open(&path, now(0), BLOCK).unwrap();
        append(&mut ledger, other(2)).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"line\":\"swap\",\"signa\n").unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"line\":").unwrap();
        let before = fs::read(&path).unwrap();
        let error = Ledger::open(&path, now(0), BLOCK).unwrap_err().to_string();
        assert!(
            error.contains("chain.ledger") && error.contains("line 3") && error.contains("delete line 3"),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), before, "nothing is cut off");
        // The engine that runs meanwhile takes nothing more either.
        assert!(append(&mut ledger, other(3)).is_err());
        assert_eq!(ledger.trouble().unwrap(), "its line 3 cannot be read");
    }

    #[test]
    fn a_file_that_is_no_ledger_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["a text without an end", "a text\n", "SQLite format 3\0", "{}\n", "\n"] {
            let path = folder.path().join("other");
            fs::write(&path, text).unwrap();
            assert!(matches!(Ledger::open(&path, now(0), BLOCK), Err(LedgerError::Foreign { .. })), "{text:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert!(
            Ledger::open(Path::new("/dev/null"), now(0), BLOCK).unwrap_err().to_string().contains("no regular file")
        );
    }

    #[test]
    fn a_first_line_that_a_full_disk_left_half_written_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "{", "{\"line\":\"genesis\",\"at\":\"19", "\0\0\0\0"] {
            let path = folder.path().join("chain.ledger");
            fs::write(&path, text).unwrap();
            assert_eq!(Ledger::open(&path, now(0), BLOCK).unwrap().entries(), [], "{text:?}");
            Ledger::read(&path).unwrap();
        }
    }

    #[test]
    fn a_ledger_that_is_removed_replaced_or_cut_short_takes_no_swap() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("chain.ledger"), folder.path().join("moved"));
        let mut ledger = Ledger::open(&path, now(0), BLOCK).unwrap();
        append(&mut ledger, other(2)).unwrap();
        fs::rename(&path, &moved).unwrap();
        assert!(ledger.trouble().unwrap().contains("removed"));
        assert!(matches!(append(&mut ledger, other(3)), Err(LedgerError::Replaced { .. })));
        fs::copy(&moved, &path).unwrap();
        assert!(matches!(append(&mut ledger, other(3)), Err(LedgerError::Replaced { .. })));
        fs::rename(&moved, &path).unwrap();
        append(&mut ledger, other(3)).unwrap();
        assert_eq!(ledger.trouble(), None);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        assert!(matches!(append(&mut ledger, other(4)), Err(LedgerError::Replaced { .. })));
        assert_eq!(ledger.entries().len(), 2);
    }

    #[test]
    fn whoever_sets_the_wall_clock_moves_neither_the_height_nor_what_lands() {
        const DAY: i64 = 86_400_000;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let mut ledger = Ledger::open(&path, now(1_000), BLOCK).unwrap();
        append(&mut ledger, entry(SwapOutcome::Lands { at: at(5_000), amount_out: BaseUnits(7) })).unwrap();
        for step in [-3_600_000, -5_000, 0, DAY] {
            // Running, started again, and looked at from beside.
            for ledger in [&ledger, &Ledger::open(&path, in_boot(1, step, 2_000), BLOCK).unwrap()] {
                assert_eq!(ledger.time(in_boot(1, step, 4_000)), at(4_000));
            }
            assert_eq!(Ledger::read(&path).unwrap().time(in_boot(1, step, 4_000)), at(4_000));
        }
    }

    #[test]
    fn after_a_boot_the_chains_time_is_the_wall_clocks_unless_that_is_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let mut ledger = Ledger::open(&path, now(1_000), BLOCK).unwrap();
        append(&mut ledger, LedgerEntry { accepted_at: at(90_000), ..entry(SwapOutcome::Dropped) }).unwrap();
        let behind = Ledger::open(&path, in_boot(2, 50_000, 10), BLOCK).unwrap();
        assert_eq!(behind.time(in_boot(2, 1, 1_010)), at(91_000));
        assert_eq!(Ledger::read(&path).unwrap().time(in_boot(2, 1, 1_010)), at(91_000));
        let ahead = Ledger::open(&path, in_boot(3, 200_000, 10), BLOCK).unwrap();
        assert_eq!(ahead.time(in_boot(3, 1, 1_010)), at(201_000));
    }

    #[test]
    fn a_ledger_of_an_earlier_version_goes_on_by_the_uptime() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        fs::write(&path, "{\"line\":\"genesis\",\"at\":\"1970-01-01T00:00:01Z\",\"blockMs\":400}\n").unwrap();
        let ledger = Ledger::open(&path, in_boot(1, 9_000, 10), BLOCK).unwrap();
        assert_eq!((ledger.time(in_boot(1, 0, 1_010)), ledger.height(at(9_000))), (at(10_000), 20));
    }
}
