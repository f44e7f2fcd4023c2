//! A copy of the ledger's file, made while an engine appends to it.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::runtime::new_file::NewFile;
use crate::simulation::ledger::error::LedgerError;
use crate::simulation::ledger::file::LedgerFile;

/// Other processes hold the lock only for the duration of an append.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// A verified copy of a ledger, which has its name once it is published.
#[derive(Debug)]
pub struct LedgerCopy {
    file: NewFile,
    path: PathBuf,
    swaps: usize,
}

impl LedgerCopy {
    /// Copies the ledger at `source` to a new file. The copy has every swap that was accepted before.
    pub fn make(source: &Path, path: &Path) -> Result<Self, LedgerError> {
        let unread = |error| LedgerError::Io { path: source.to_owned(), source: error };
        let unwritten = |error| LedgerError::Io { path: path.to_owned(), source: error };
        let mut file = NewFile::begin(path).map_err(unwritten)?;
        let mut ledger = File::open(source).map_err(unread)?;
        let length = settled_length(source, &ledger)?;
        io::copy(&mut Read::by_ref(&mut ledger).take(length), file.file()).map_err(unwritten)?;
        cut_after_last_line(file.file()).map_err(unwritten)?;
        let swaps = LedgerFile::read(file.partial())?.entries().len();
        Ok(Self { file, path: path.to_owned(), swaps })
    }

    /// Gives the copy its name. It is on the disk when this returns. Returns the number of its swaps.
    pub fn publish(self) -> Result<usize, LedgerError> {
        let Self { file, path, swaps } = self;
        file.publish().map_err(|source| LedgerError::Io { path, source })?;
        Ok(swaps)
    }
}

/// The length of the file while no process appends to it. The complete lines before it do not change any more.
fn settled_length(path: &Path, file: &File) -> Result<u64, LedgerError> {
    let io = |source| LedgerError::Io { path: path.to_owned(), source };
    for _ in 0..TRIES {
        match file.try_lock_shared() {
            Ok(()) => {
                let length = file.metadata().map(|found| found.len());
                file.unlock().map_err(io)?;
                return length.map_err(io);
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
    }
    Err(LedgerError::Busy { path: path.to_owned() })
}

/// Removes the rest of a failed append after the last complete line.
fn cut_after_last_line(file: &mut File) -> io::Result<()> {
    /// Longer than a line, and than the rest of an append.
    const TAIL: u64 = 64 * 1024;
    let length = file.seek(SeekFrom::End(0))?;
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let complete = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline as u64 + 1);
    file.set_len(start + complete)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;
    use crate::simulation::ledger::Ledger;
    use crate::simulation::ledger::samples::{BLOCK, accept, now, numbered};

    #[test]
    fn a_copy_has_every_complete_line_and_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (path, to) = (folder.path().join("chain.ledger"), folder.path().join("copy"));
        let mut ledger = Ledger::open(&path, now(0), BLOCK).unwrap();
        for number in 2..200 {
            accept(&mut ledger, numbered(number)).unwrap();
        }
        let whole = fs::read(&path).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"line\":\"swap\",\"signa").unwrap();
        assert_eq!(LedgerCopy::make(&path, &to).unwrap().publish().unwrap(), 198);
        assert_eq!(fs::read(&to).unwrap(), whole);
        assert!(LedgerCopy::make(&path, &to).unwrap_err().to_string().contains("not overwritten"));
    }

    #[test]
    fn a_file_that_is_no_ledger_is_not_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (path, to) = (folder.path().join("text"), folder.path().join("copy"));
        fs::write(&path, "a text\n").unwrap();
        LedgerCopy::make(&path, &to).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left");
    }
}
