//! One engine a database: an exclusive lock, taken before recovery and held for life.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::DatabaseUrl;

/// The right to be the engine of a database; given back when it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct EngineLock {
    _file: Option<File>,
}

/// Why the lock was not had.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another engine has it.
    #[error("another engine uses this database: {holder} holds {path:?}")]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, as it wrote itself down.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error("lock file {path:?}: {source}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl EngineLock {
    /// Takes the lock of a SQLite file, `{file}.lock` beside it, without waiting.
    ///
    /// A database in memory belongs to its process anyway.
    pub fn acquire(url: &DatabaseUrl) -> Result<Self, LockError> {
        match url.sqlite_path() {
            Some(database) => Self::of_file(&database).map(|file| Self { _file: Some(file) }),
            None => Ok(Self { _file: None }),
        }
    }

    fn of_file(database: &Path) -> Result<File, LockError> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let io = |source| LockError::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(io)?;
                return Err(LockError::Held { path, holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "process {}", std::process::id()).map_err(io)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_engine_is_refused_and_told_who_holds_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let url: DatabaseUrl =
            format!("sqlite://{}?mode=rwc", folder.path().join("orders.db").display()).parse().unwrap();
        let first = EngineLock::acquire(&url).unwrap();
        let error = EngineLock::acquire(&url).unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        EngineLock::acquire(&url).unwrap();
    }
}
