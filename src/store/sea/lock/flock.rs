//! The `flock` of a file, and the process that holds it.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::runtime::private_file::OWNER_ONLY;

/// Why a file was not locked.
pub(super) enum Refusal {
    /// This process holds the lock.
    HeldBy(String),
    /// The file system has no locks, or does not answer.
    Impossible(std::io::Error),
}

/// Locks an opened file.
pub(super) fn lock(file: &File, found: &Metadata) -> Result<(), Refusal> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Refusal::HeldBy(holder(found))),
        Err(TryLockError::Error(error)) => Err(Refusal::Impossible(error)),
    }
}

/// Locks `{file}.lock` and writes the number of this process into it. The error is the holder of the lock. If the file
/// cannot be created or locked, the engine starts without it: the lock on the database itself is sufficient.
pub(super) fn lock_companion(database: &Path) -> Result<Option<File>, String> {
    let mut path = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned()).into_os_string();
    path.push(".lock");
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(OWNER_ONLY).open(&path);
    let Ok(mut companion) = opened else { return Ok(None) };
    let Ok(found) = companion.metadata() else { return Ok(None) };
    match lock(&companion, &found) {
        Ok(()) => {}
        Err(Refusal::HeldBy(holder)) => return Err(holder),
        Err(Refusal::Impossible(_)) => return Ok(None),
    }
    let written = companion.set_len(0).and_then(|()| companion.rewind());
    if let Err(error) = written.and_then(|()| writeln!(companion, "process {}", std::process::id())) {
        tracing::warn!(%error, "the number of this process was not written into the lock file");
    }
    Ok(Some(companion))
}

/// The holder of a lock, from the kernel's list of locks. The list leaves out the processes of other containers.
fn holder(found: &Metadata) -> String {
    let list = fs::read_to_string("/proc/locks").unwrap_or_default();
    match list.lines().find_map(|line| holder_in(line, found.ino())) {
        Some(process) => format!("process {process}"),
        None => "a process that is not visible from here".to_owned(),
    }
}

/// The process of a line such as `3: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF`, if the line is about this inode.
/// The device is not compared: on some file systems the kernel's list has another one than `stat`.
fn holder_in(line: &str, inode: u64) -> Option<u32> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [_, "FLOCK", _, _, process, file, ..] = words.as_slice() else { return None };
    (file.rsplit(':').next()?.parse() == Ok(inode)).then(|| process.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_the_process_of_the_line_about_the_inode() {
        let line = "3: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF";
        assert_eq!(holder_in(line, 5678), Some(1234));
        assert_eq!(holder_in(line, 567), None);
        assert_eq!(holder_in("3: POSIX  ADVISORY  WRITE 1234 fe:01:5678 0 EOF", 5678), None);
        assert_eq!(holder_in("", 5678), None);
    }
}
