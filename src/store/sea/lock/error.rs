//! Why the lock was not acquired.

use std::path::PathBuf;

use thiserror::Error;

/// Why the lock was not acquired.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another engine holds it.
    #[error("another engine uses this database: {holder} holds {what}")]
    Held {
        /// The holder.
        holder: String,
        /// What is locked.
        what: String,
    },
    /// The URL names something that is not a database or cannot become one. The text says what to do.
    #[error("database.url: {0}")]
    Setting(String),
    /// This user may not write a file or a folder that the database needs, or cannot lock it.
    #[error("{} {reason}", .path.display())]
    Denied {
        /// The file or folder.
        path: PathBuf,
        /// What is not possible, and why.
        reason: String,
    },
    /// The database does not answer.
    #[error("{0}")]
    Database(String),
}
