//! One engine per database: an exclusive lock that an engine acquires before recovery and holds until it ends.
//!
//! On SQLite it is a lock on the database file (module `file`). The kernel releases it when the process ends. On
//! PostgreSQL it is an advisory lock (module `advisory`). The server releases it when the connection ends, and a
//! connection can break while its engine continues to run, so more is needed there.
//!
//! # What holds on PostgreSQL
//! *Only the holder of the lock writes.* A connection joins the pool of an engine only after the server has confirmed
//! that this engine holds the lock (`LockGuard::check`). An engine that acquires the lock first ends all pool
//! connections of other engines (`end_other_pools`). The server already knows every connection that has passed the
//! check, so none is missed.
//!
//! *Only recorded steps have effects.* An order is dispatched, and a swap is sent, only after that step was committed.
//! While another engine holds the lock, every write waits for a connection that is not granted, and nothing is
//! dispatched. Only the bytes of a swap that was recorded before may be sent again; the chain accepts them once.
//!
//! *A lost connection does not stop the engine.* If PostgreSQL restarts or the connection breaks, the engine acquires
//! the lock again as soon as possible, and the waiting work continues. If another engine holds the lock by then, that
//! engine has the orders, and this one stops.
//!
//! One case is left to the protection of the single order. To end the connections of another engine, the database user
//! needs the right to do so; the same user has it. Without it, two engines may write until the loser notices. Even then
//! no order is swapped twice: the primary key of the events allows one of two writers to record a step, and the other
//! continues from what the first one recorded.

mod advisory;
mod error;
mod file;
mod flock;
mod path;
mod wal;

use std::path::Path;
use std::sync::{Arc, Weak};

pub(in crate::store) use self::advisory::LockGuard;
use self::advisory::{LockSession, LockState};
pub use self::error::LockError;
pub(in crate::store) use self::file::FileLock;
use crate::config::{DatabasePlace, DatabaseSettings, SqliteFile};

/// Creates the file of a SQLite database if it does not exist and its URL says so. Only the user of this process may read
/// it, and what SQLite keeps beside it: SQLite gives its other files the mode of this one.
pub(in crate::store) fn create_database(database: &SqliteFile) -> Result<(), LockError> {
    path::create(&database.path, database)
}

/// The right to be the engine of a database. It is released when it is dropped or when the process ends in any way.
#[derive(Debug)]
pub struct EngineLock(HeldLock);

#[derive(Debug)]
enum HeldLock {
    /// A database in memory belongs to its process and needs no lock.
    Memory,
    File(Arc<FileLock>),
    Advisory(LockSession),
}

impl EngineLock {
    /// Acquires the lock: a lock on the file of a SQLite database, an advisory lock on PostgreSQL.
    ///
    /// A SQLite file that does not exist is created if its URL says so. Nothing else in this process may have it open.
    /// Call it on the thread that will use the database: connections belong to the runtime that opened them.
    pub async fn acquire(settings: &DatabaseSettings) -> Result<Self, LockError> {
        let held = match settings.url.place() {
            DatabasePlace::Memory => HeldLock::Memory,
            DatabasePlace::File(database) => HeldLock::File(Arc::new(FileLock::acquire(database)?)),
            DatabasePlace::Postgres(_) => HeldLock::Advisory(LockSession::begin(settings).await?),
        };
        Ok(Self(held))
    }

    /// Releases the lock. Its connection is closed when this returns; after a drop instead, the runtime closes it soon.
    pub async fn release(self) {
        if let HeldLock::Advisory(session) = self.0 {
            session.end().await;
        }
    }

    /// Resolves with the cause once another engine holds the lock, or the locked file is not the database any more.
    /// Never resolves if neither can happen.
    pub fn lost(&self) -> impl Future<Output = String> + use<> {
        let watched = match &self.0 {
            HeldLock::Memory => None,
            // Weak: the returned future must not keep the lock.
            HeldLock::File(file) => Some(WatchedLock::File(Arc::downgrade(file))),
            HeldLock::Advisory(session) => Some(WatchedLock::Advisory(session.state())),
        };
        async move {
            match watched {
                None => {}
                Some(WatchedLock::File(file)) => {
                    if let Some(cause) = file::replaced(file).await {
                        return cause;
                    }
                }
                Some(WatchedLock::Advisory(mut state)) => {
                    let lost = state.wait_for(|state| matches!(state, LockState::Lost(_))).await;
                    if let Ok(LockState::Lost(cause)) = lost.as_deref() {
                        return cause.clone();
                    }
                }
            }
            // The lock was released: the engine is shutting down.
            std::future::pending().await
        }
    }

    /// Whether this path leads to the locked SQLite file. If the process opened and closed that file for another
    /// purpose, the kernel would release SQLite's own locks on it.
    pub fn covers(&self, path: &Path) -> bool {
        match &self.0 {
            HeldLock::File(file) => file.is_at(path),
            HeldLock::Memory | HeldLock::Advisory(_) => false,
        }
    }

    /// The lock of a SQLite file.
    pub(in crate::store) fn file(&self) -> Option<Arc<FileLock>> {
        match &self.0 {
            HeldLock::File(file) => Some(file.clone()),
            HeldLock::Memory | HeldLock::Advisory(_) => None,
        }
    }

    /// The guard that keeps connections of an engine without the lock out of its pool. SQLite needs none.
    pub(in crate::store) fn guard(&self) -> Option<LockGuard> {
        match &self.0 {
            HeldLock::Advisory(session) => Some(session.guard()),
            HeldLock::Memory | HeldLock::File(_) => None,
        }
    }
}

/// What [`EngineLock::lost`] watches.
enum WatchedLock {
    File(Weak<FileLock>),
    Advisory(tokio::sync::watch::Receiver<LockState>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    #[actix_web::test]
    async fn a_second_engine_is_refused_and_the_error_names_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("orders.db").display());
        let settings = Settings::with([("database.url", url)]).unwrap().database;
        let first = EngineLock::acquire(&settings).await.unwrap();
        let error = EngineLock::acquire(&settings).await.unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        EngineLock::acquire(&settings).await.unwrap();
    }
}
