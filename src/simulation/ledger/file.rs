//! The file of the ledger: locking, reading, appending and recovery.
//!
//! A line counts once its newline is written. Bytes after the last newline are the rest of a failed or interrupted append:
//! readers ignore them, and the next holder of the lock cuts them off before it appends. So a failed append has accepted
//! nothing, even if its rest cannot be cut off at present.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::runtime::private_file::{OWNER_ONLY, warn_if_shared};
use crate::simulation::ledger::error::LedgerError;
use crate::simulation::ledger::record::{Record, is_interrupted_genesis};
use crate::simulation::ledger::state::ChainState;

/// The open file of a ledger, read up to a position.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    file: File,
    /// Device and inode.
    id: (u64, u64),
    position: Position,
    /// The last error, and its time; `None` after a successful append.
    trouble: Option<(String, Instant)>,
}

/// How much of the file has been read, in complete lines.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    bytes: u64,
    lines: usize,
}

impl LedgerFile {
    /// While the file is not writable, [`LedgerFile::trouble`] tries a write at most this often.
    const PROBE_INTERVAL: Duration = Duration::from_secs(1);

    /// Opens the file, or creates it. Nothing is read yet.
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let io = |source| LedgerError::Io { path: path.clone(), source };
        let file = OpenOptions::new().create(true).read(true).append(true).mode(OWNER_ONLY).open(&path);
        let file = file.map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        ensure_regular(&path, &metadata)?;
        warn_if_shared(&path, &metadata);
        Ok(Self { file, id: id(&metadata), position: Position::default(), trouble: None, path })
    }

    /// Reads the state from the ledger at that path without changing the file.
    pub(super) fn read(path: &Path) -> Result<ChainState, LedgerError> {
        let io = |source| LedgerError::Io { path: path.to_owned(), source };
        // Checked before opening: opening a pipe can block.
        ensure_regular(path, &fs::metadata(path).map_err(io)?)?;
        let mut state = ChainState::default();
        read_lines(path, File::open(path).map_err(io)?, &mut Position::default(), &mut state)?;
        Ok(state)
    }

    /// Appends the record that `decide` returns, if any, and applies it to the state.
    ///
    /// `decide` runs under the exclusive lock, after the records of the other processes have been applied.
    pub(super) fn append(
        &mut self,
        state: &mut ChainState,
        decide: impl FnOnce(&ChainState) -> Option<Record>,
    ) -> Result<(), LedgerError> {
        self.exclusively(state, |file, state| {
            let Some(record) = decide(state) else { return Ok(()) };
            let line = record.to_line();
            file.write(&line)?;
            file.position.bytes += line.len() as u64;
            file.position.lines += 1;
            state.apply(record);
            Ok(())
        })
    }

    /// Applies the records that other processes have appended.
    pub(super) fn refresh(&mut self, state: &mut ChainState) -> Result<(), LedgerError> {
        let refreshed = self.locked(self.file.try_lock_shared()).and_then(|()| {
            let rest = self.catch_up(state);
            self.unlock();
            rest.map(drop)
        });
        self.note(refreshed)
    }

    /// Why the file is not writable, if it is not; without the path.
    ///
    /// Without a known error only the path is checked. After an error a write is tried.
    pub(super) fn trouble(&mut self, state: &mut ChainState) -> Option<&str> {
        // Errors are noted where they occur, so the results are not needed here.
        let _ = match &self.trouble {
            None => {
                let checked = self.check();
                self.note(checked)
            }
            Some((_, since)) if since.elapsed() < Self::PROBE_INTERVAL => Ok(()),
            Some(_) => self.exclusively(state, |file, _| file.probe()),
        };
        self.trouble.as_ref().map(|(trouble, _)| trouble.as_str())
    }

    /// Runs a change under the exclusive lock, after the state is up to date and the file ends with a complete line.
    fn exclusively<T>(
        &mut self,
        state: &mut ChainState,
        change: impl FnOnce(&mut Self, &mut ChainState) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let changed = self.locked(self.file.try_lock()).and_then(|()| {
            let rest = self.catch_up(state);
            let changed = rest.and_then(|rest| self.cut(&rest, state)).and_then(|()| change(self, state));
            self.unlock();
            changed
        });
        self.note(changed)
    }

    fn locked(&self, result: Result<(), TryLockError>) -> Result<(), LedgerError> {
        result.map_err(|error| match error {
            TryLockError::WouldBlock => LedgerError::Busy { path: self.path.clone() },
            TryLockError::Error(source) => self.io(source),
        })
    }

    fn unlock(&self) {
        // Unlocking an open descriptor does not fail. If it did, the next lock would report it.
        let _ = self.file.unlock();
    }

    /// Keeps an error for [`LedgerFile::trouble`] and logs it once. A successful append clears it.
    fn note<T>(&mut self, result: Result<T, LedgerError>) -> Result<T, LedgerError> {
        match &result {
            // A lock that is held by another process is not an error: the caller retries.
            Ok(_) | Err(LedgerError::Busy { .. }) => {}
            Err(error) => {
                let trouble = error.without_path();
                if self.trouble.as_ref().is_none_or(|(known, _)| *known != trouble) {
                    tracing::warn!(%error, "the ledger accepts no swaps");
                }
                self.trouble = Some((trouble, Instant::now()));
            }
        }
        result
    }

    /// Applies the complete lines after the position. Returns the bytes after the last of them.
    fn catch_up(&mut self, state: &mut ChainState) -> Result<Vec<u8>, LedgerError> {
        self.check()?;
        let length = self.file.metadata().map_err(|source| self.io(source))?.len();
        if length < self.position.bytes {
            return Err(LedgerError::Replaced { path: self.path.clone() });
        }
        if length == self.position.bytes {
            return Ok(Vec::new());
        }
        let mut reader = self.file.try_clone().map_err(|source| self.io(source))?;
        reader.seek(SeekFrom::Start(self.position.bytes)).map_err(|source| self.io(source))?;
        read_lines(&self.path, reader, &mut self.position, state)
    }

    /// Checks that the path still leads to this file.
    fn check(&self) -> Result<(), LedgerError> {
        match fs::metadata(&self.path) {
            Ok(found) if id(&found) == self.id => Ok(()),
            Ok(_) => Err(LedgerError::Replaced { path: self.path.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(LedgerError::Replaced { path: self.path.clone() })
            }
            Err(source) => Err(self.io(source)),
        }
    }

    /// Cuts off the rest of a failed or interrupted append.
    fn cut(&self, rest: &[u8], state: &ChainState) -> Result<(), LedgerError> {
        const SHOWN: usize = 400;
        if rest.is_empty() {
            return Ok(());
        }
        if !state.has_begun() && !is_interrupted_genesis(rest) {
            return Err(LedgerError::Foreign { path: self.path.clone() });
        }
        self.truncate()?;
        let line = self.position.lines + 1;
        let text = String::from_utf8_lossy(&rest[..rest.len().min(SHOWN)]).into_owned();
        tracing::warn!(file = %self.path.display(), line, text, "cut off an incomplete last line; it was never accepted");
        Ok(())
    }

    /// Writes at the end. After an error the file is as long as before, or its rest is ignored until it is cut off.
    fn write(&mut self, bytes: &[u8]) -> Result<(), LedgerError> {
        if let Err(source) = self.file.write_all(bytes) {
            // If this fails too, the next holder of the lock has to cut off the rest first.
            let _ = self.truncate();
            return Err(self.io(source));
        }
        if self.trouble.take().is_some() {
            tracing::info!(file = %self.path.display(), "the ledger accepts swaps again");
        }
        Ok(())
    }

    /// Tests whether the file is writable: writes more bytes than a line has, and removes them.
    fn probe(&mut self) -> Result<(), LedgerError> {
        const LONGER_THAN_A_LINE: [u8; 4096] = [b' '; 4096];
        self.write(&LONGER_THAN_A_LINE)?;
        self.truncate()
    }

    /// Removes everything after the position.
    fn truncate(&self) -> Result<(), LedgerError> {
        self.file.set_len(self.position.bytes).map_err(|source| self.io(source))
    }

    fn io(&self, source: io::Error) -> LedgerError {
        LedgerError::Io { path: self.path.clone(), source }
    }
}

/// Applies the complete lines of the reader and advances the position. Returns the bytes after the last of them.
fn read_lines(
    path: &Path,
    file: File,
    position: &mut Position,
    state: &mut ChainState,
) -> Result<Vec<u8>, LedgerError> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length =
            reader.read_until(b'\n', &mut line).map_err(|source| LedgerError::Io { path: path.to_owned(), source })?;
        if !line.ends_with(b"\n") {
            return Ok(line);
        }
        let record = serde_json::from_slice(&line);
        if !state.has_begun() && !matches!(record, Ok(Record::Genesis { .. })) {
            return Err(LedgerError::Foreign { path: path.to_owned() });
        }
        let record = record.map_err(|error| LedgerError::Corrupt {
            path: path.to_owned(),
            line: position.lines + 1,
            reason: error.to_string(),
        })?;
        state.apply(record);
        position.lines += 1;
        position.bytes += length as u64;
    }
}

/// Refuses devices and pipes: /dev/null keeps nothing, and others have no end.
fn ensure_regular(path: &Path, metadata: &fs::Metadata) -> Result<(), LedgerError> {
    if metadata.is_file() {
        return Ok(());
    }
    let source = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
    Err(LedgerError::Io { path: path.to_owned(), source })
}

fn id(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::ledger::Ledger;
    use crate::simulation::ledger::samples::{BLOCK, accept, at, now, numbered};

    /// An open ledger in a folder of its own.
    fn new_ledger() -> (tempfile::TempDir, PathBuf, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.ledger");
        let ledger = Ledger::open(&path, now(0), BLOCK).unwrap();
        (folder, path, ledger)
    }

    fn append_bytes(path: &Path, bytes: &[u8]) {
        OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
    }

    #[test]
    fn the_rest_of_a_failed_append_is_ignored_and_cut_off() {
        let (_folder, path, mut ledger) = new_ledger();
        accept(&mut ledger, numbered(2)).unwrap();
        let whole = fs::read(&path).unwrap();
        // Both the write and the truncation have failed.
        for rest in [&whole[..1], &whole[..whole.len() - 1], b"\0\0\0", b"\xff"] {
            append_bytes(&path, rest);
            ledger.refresh().unwrap();
            assert_eq!(ledger.state().entries().len(), 1);
            assert_eq!(Ledger::read(&path).unwrap().entries(), ledger.state().entries());
            ledger.jump(at(0), 0).unwrap();
            let lines = fs::read_to_string(&path).unwrap();
            assert!(lines.lines().all(|line| serde_json::from_str::<Record>(line).is_ok()), "{lines}");
            fs::write(&path, &whole).unwrap();
            ledger = Ledger::open(&path, now(9), BLOCK).unwrap();
        }
    }

    #[test]
    fn a_file_that_is_not_writable_accepts_no_swap_and_is_complete_afterwards() {
        let (_folder, path, mut ledger) = new_ledger();
        // Every write fails, as on a full disk.
        let read_only = File::open(&path).unwrap();
        let writable = std::mem::replace(&mut ledger.file.as_mut().unwrap().file, read_only);
        assert!(matches!(accept(&mut ledger, numbered(2)), Err(LedgerError::Io { .. })));
        assert_eq!(ledger.state().entries(), []);
        assert!(ledger.trouble().is_some());
        let file = ledger.file.as_mut().unwrap();
        let overdue = file.trouble.clone().map(|(trouble, at)| (trouble, at - LedgerFile::PROBE_INTERVAL));
        file.trouble = overdue.clone();
        assert!(ledger.trouble().is_some(), "the probe fails too");
        let file = ledger.file.as_mut().unwrap();
        (file.file, file.trouble) = (writable, overdue);
        let before = fs::read(&path).unwrap();
        assert_eq!(ledger.trouble(), None);
        assert_eq!(fs::read(&path).unwrap(), before, "the probe leaves nothing");
        accept(&mut ledger, numbered(2)).unwrap();
        assert_eq!(Ledger::read(&path).unwrap().entries(), ledger.state().entries());
    }

    #[test]
    fn a_broken_line_before_the_end_is_an_error_that_names_the_line() {
        let (_folder, path, mut ledger) = new_ledger();
        accept(&mut ledger, numbered(2)).unwrap();
        append_bytes(&path, b"{\"line\":\"swap\",\"signa\n{\"line\":");
        let before = fs::read(&path).unwrap();
        let error = Ledger::open(&path, now(0), BLOCK).unwrap_err().to_string();
        assert!(
            error.contains("chain.ledger") && error.contains("line 3") && error.contains("delete line 3"),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), before, "nothing is cut off");
        // A running process accepts nothing either.
        assert!(accept(&mut ledger, numbered(3)).is_err());
        assert_eq!(ledger.trouble(), Some("line 3 cannot be read"));
    }

    #[test]
    fn a_file_that_is_not_a_ledger_is_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["a text without an end", "a text\n", "SQLite format 3\0", "{}\n", "\n"] {
            let path = folder.path().join("other");
            fs::write(&path, text).unwrap();
            assert!(matches!(Ledger::open(&path, now(0), BLOCK), Err(LedgerError::Foreign { .. })), "{text:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let device = Ledger::open(Path::new("/dev/null"), now(0), BLOCK).unwrap_err();
        assert!(device.to_string().contains("not a regular file"), "{device}");
    }

    #[test]
    fn an_interrupted_genesis_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "{", "{\"line\":\"genesis\",\"at\":\"19", "\0\0\0\0"] {
            let path = folder.path().join("chain.ledger");
            fs::write(&path, text).unwrap();
            assert_eq!(Ledger::open(&path, now(0), BLOCK).unwrap().state().entries(), [], "{text:?}");
            Ledger::read(&path).unwrap();
        }
    }

    #[test]
    fn a_removed_replaced_or_truncated_file_accepts_no_swap() {
        let (folder, path, mut ledger) = new_ledger();
        let moved = folder.path().join("moved");
        accept(&mut ledger, numbered(2)).unwrap();
        fs::rename(&path, &moved).unwrap();
        assert!(ledger.trouble().unwrap().contains("removed"));
        assert!(matches!(accept(&mut ledger, numbered(3)), Err(LedgerError::Replaced { .. })));
        fs::copy(&moved, &path).unwrap();
        assert!(matches!(accept(&mut ledger, numbered(3)), Err(LedgerError::Replaced { .. })));
        fs::rename(&moved, &path).unwrap();
        accept(&mut ledger, numbered(3)).unwrap();
        assert_eq!(ledger.trouble(), None);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        assert!(matches!(accept(&mut ledger, numbered(4)), Err(LedgerError::Replaced { .. })));
        assert_eq!(ledger.state().entries().len(), 2);
    }

    #[test]
    fn while_another_process_holds_the_lock_nothing_is_decided() {
        let (_folder, path, mut ledger) = new_ledger();
        let other_process = File::open(&path).unwrap();
        other_process.lock().unwrap();
        assert!(matches!(accept(&mut ledger, numbered(2)), Err(LedgerError::Busy { .. })));
        assert!(matches!(ledger.refresh(), Err(LedgerError::Busy { .. })));
        drop(other_process);
        ledger.refresh().unwrap();
        assert_eq!(ledger.state().entries(), []);
        assert_eq!(ledger.trouble(), None);
    }
}
