//! Why the ledger cannot be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why the ledger cannot be used. After any of these errors nothing was accepted.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The file cannot be read or written.
    #[error("ledger {path:?}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A complete line cannot be read.
    #[error(
        "ledger {path:?}, line {line}: {reason}. It is unknown what the chain accepted there. Restore a complete copy of \
         the file, or delete line {line}: a swap in it then counts as never accepted"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The error of the parser.
        reason: String,
    },
    /// The file is not a ledger. It is not changed.
    #[error(
        "ledger {path:?}, line 1: not a ledger, which begins with a genesis line; set simulation.ledger to another file"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was removed, replaced or truncated during use.
    #[error("ledger {path:?} was removed, replaced or truncated during use: restore the original file and restart")]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// Another process holds the lock. It does so only for the duration of an append, so a retry succeeds.
    #[error("ledger {path:?} is locked by another process")]
    Busy {
        /// The file.
        path: PathBuf,
    },
}

impl LedgerError {
    /// The error without the path, for public responses.
    pub(super) fn without_path(&self) -> String {
        match self {
            Self::Io { source, .. } => source.to_string(),
            Self::Corrupt { line, .. } => format!("line {line} cannot be read"),
            Self::Foreign { .. } => "the file is not a ledger".to_owned(),
            Self::Replaced { .. } => "the file was removed, replaced or truncated".to_owned(),
            Self::Busy { .. } => "the file is locked by another process".to_owned(),
        }
    }
}
