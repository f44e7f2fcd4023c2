//! Reading a keypair file that only the user of the engine can read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use thiserror::Error;
use zeroize::Zeroizing;

use super::key::KeyError;

/// A keypair file that cannot be used.
#[derive(Debug, Error)]
#[error("the keypair file {}: {refusal}", .path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub refusal: FileRefusal,
}

/// Why a keypair file is not used. No part of its content is repeated.
#[derive(Debug, Error)]
pub enum FileRefusal {
    /// It cannot be opened or read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// A folder, a pipe or a device.
    #[error("it is not a file")]
    NotAFile,
    /// Others have access to the file, or to the file that a link leads to.
    #[error("other users have access to it (mode {0:o}); run chmod 600")]
    OpenToOthers(u32),
    /// Its owner, who can read and replace it, is neither the user of the engine nor root.
    #[error("it belongs to the user {0}; make the user of the engine its owner")]
    OfAnotherUser(u32),
    /// It is longer than a keypair can be.
    #[error("it is too long for a keypair")]
    TooLong,
    /// Its content is not a keypair.
    #[error("{0}")]
    Key(#[from] KeyError),
}

/// The text of a keypair file.
///
/// The checks apply to the opened file, not to its name: a link is followed, and what it leads to must be private.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, FileRefusal> {
    // Opening a pipe without a writer must not wait.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    check(&file)?;
    text(file)
}

fn check(file: &File) -> Result<(), FileRefusal> {
    const OTHERS: u32 = 0o077;
    let metadata = file.metadata()?;
    let mode = metadata.permissions().mode();
    let is_trusted = |user| user == 0 || user == rustix::process::geteuid().as_raw();
    match () {
        () if !metadata.is_file() => Err(FileRefusal::NotAFile),
        () if mode & OTHERS != 0 => Err(FileRefusal::OpenToOthers(mode & 0o777)),
        () if !is_trusted(metadata.uid()) => Err(FileRefusal::OfAnotherUser(metadata.uid())),
        () => Ok(()),
    }
}

fn text(file: File) -> Result<Zeroizing<String>, FileRefusal> {
    const LIMIT: usize = 1024;
    // With this capacity the text is never moved, so no copy of it stays in memory.
    let mut text = Zeroizing::new(String::with_capacity(2 * LIMIT));
    let limit = u64::try_from(LIMIT + 1).expect("a small number fits");
    // The error for bytes that are not UTF-8 does not contain them.
    file.take(limit).read_to_string(&mut text)?;
    if text.len() > LIMIT { Err(FileRefusal::TooLong) } else { Ok(text) }
}
