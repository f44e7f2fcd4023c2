//! One engine a database: an exclusive lock, taken before recovery and held for life.
//!
//! On SQLite it is a lock on the database file itself (module `file`), which goes with the process. On PostgreSQL it is an
//! advisory lock, which goes with a connection, and connections break while engines live on. So more is needed there.
//!
//! # What holds on PostgreSQL
//! *Nobody records without the lock.* The lock's holder alone can have connections that write: a connection joins the
//! engine's pool only after the server has confirmed that this engine's lock stands (`LockGuard::check`), and whoever takes
//! the lock ends every such connection of another engine before it goes on (`evict`). A connection that passed the
//! check is known to the server by then, so none is missed.
//!
//! *Nothing happens that is not recorded.* An order is dispatched, and a swap sent, only after that was committed. So
//! while the lock is away and somebody else has it, every write waits for a connection that cannot be had, and nothing
//! is dispatched. Bytes of a swap that was recorded before may be sent again: the chain takes them once.
//!
//! *Losing it is not yet the end.* When PostgreSQL restarts, or the one connection breaks, the lock is taken again as soon
//! as that is possible, and work goes on where it waited. If somebody else has it by then, the orders are theirs: the
//! engine gives up.
//!
//! What is left to the orders' own guard: eviction needs the right to end the other engine's connections, which the same
//! database user has. Without it, two engines may write for as long as the loser has not noticed. Even then no order is
//! swapped twice: `UNIQUE(order_id, seq)` lets one of two writers win each step, and the loser starts over from what the
//! winner recorded.

mod file;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

pub(super) use self::file::FileLock;
use crate::config::{DatabasePlace, DatabaseSettings};
use crate::store::sea::limits;

/// The right to be the engine of a database; given back when it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct EngineLock(HeldLock);

#[derive(Debug)]
enum HeldLock {
    /// A database in memory belongs to its process anyway.
    Memory,
    File(Arc<FileLock>),
    LockSession(LockSession),
}

/// Why the lock was not had.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another engine has it.
    #[error("another engine uses this database: {holder} holds {what}")]
    Held {
        /// Who holds it.
        holder: String,
        /// What is held.
        what: String,
    },
    /// The URL names something that cannot be a database, or is none yet; says what and what to do.
    #[error("database.url: {0}")]
    Setting(String),
    /// The database cannot be asked.
    #[error("{0}")]
    Database(String),
}

impl EngineLock {
    /// Takes the lock: of a SQLite file a lock on that file, of PostgreSQL an advisory one.
    ///
    /// A SQLite file that does not exist is created if its URL says so. Nothing else in this process may have it open.
    /// Belongs on the thread that will use the database: connections live and die with the runtime that opened them.
    pub async fn acquire(settings: &DatabaseSettings) -> Result<Self, LockError> {
        let kind = match settings.url.place() {
            DatabasePlace::Memory => HeldLock::Memory,
            DatabasePlace::File(database) => HeldLock::File(Arc::new(FileLock::acquire(database)?)),
            DatabasePlace::Postgres => HeldLock::LockSession(LockSession::begin(settings).await?),
        };
        Ok(Self(kind))
    }

    /// Gives the lock back; when this answers, its connection is closed. Dropped, it is closed when the runtime next gets
    /// to it.
    pub async fn release(self) {
        if let HeldLock::LockSession(mut session) = self.0 {
            session.keeper.abort();
            // It always ends as aborted.
            let _ = (&mut session.keeper).await;
        }
    }

    /// Resolves with the cause once somebody else has the lock, or the locked file is no longer the database; for ever
    /// pending where neither can be.
    pub fn lost(&self) -> impl Future<Output = String> + use<> {
        let kind = match &self.0 {
            HeldLock::Memory => None,
            // Weak, for whoever waits must not keep the lock.
            HeldLock::File(file) => Some(WatchedLock::File(Arc::downgrade(file))),
            HeldLock::LockSession(session) => Some(WatchedLock::LockSession(session.guard.hold.clone())),
        };
        async move {
            match kind {
                None => {}
                Some(WatchedLock::File(file)) => {
                    if let Some(cause) = file::replaced(file).await {
                        return cause;
                    }
                }
                Some(WatchedLock::LockSession(mut hold)) => {
                    let lost = hold.wait_for(|hold| matches!(hold, LockState::Lost(_))).await;
                    if let Ok(LockState::Lost(cause)) = lost.as_deref() {
                        return cause.clone();
                    }
                }
            }
            // It was given back: the engine is being stopped.
            std::future::pending().await
        }
    }

    /// Whether that path leads to the locked SQLite file. Whoever opened and closed it for something else would drop
    /// SQLite's own locks on it.
    pub fn covers(&self, path: &Path) -> bool {
        match &self.0 {
            HeldLock::File(file) => file.is_at(path),
            HeldLock::Memory | HeldLock::LockSession(_) => false,
        }
    }

    /// The lock of a SQLite file.
    pub(super) fn file(&self) -> Option<Arc<FileLock>> {
        match &self.0 {
            HeldLock::File(file) => Some(file.clone()),
            HeldLock::Memory | HeldLock::LockSession(_) => None,
        }
    }

    /// What keeps connections of engines without the lock out; there is no need for it on SQLite.
    pub(super) fn guard(&self) -> Option<LockGuard> {
        match &self.0 {
            HeldLock::LockSession(session) => Some(session.guard.clone()),
            HeldLock::Memory | HeldLock::File(_) => None,
        }
    }
}

/// What [`EngineLock::lost`] watches.
enum WatchedLock {
    File(std::sync::Weak<FileLock>),
    LockSession(watch::Receiver<LockState>),
}

/// The advisory lock's number; it is the same for every engine, and advisory locks are counted for each database.
const KEY: i64 = 0x6f72_6465_7245_6e67;
/// The lock as `pg_locks` shows it: the number's two halves.
const LOCKS: &str = "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
     WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND d.datname = current_database() \
     AND l.classid::bigint = $1 >> 32 AND l.objid::bigint = $1 & 4294967295";

/// How the lock stands.
#[derive(Clone, Debug)]
enum LockState {
    /// Held by that backend of the server.
    Held(i32),
    /// Its connection is gone; it is being taken again.
    Away,
    /// Somebody else has it, and the engine cannot go on.
    Lost(String),
}

/// The lock on PostgreSQL, and who keeps it.
#[derive(Debug)]
struct LockSession {
    guard: LockGuard,
    keeper: JoinHandle<()>,
}

impl Drop for LockSession {
    fn drop(&mut self) {
        // Its connection goes with it, and the lock with that.
        self.keeper.abort();
    }
}

impl LockSession {
    /// How often the connection is looked at.
    const HEARTBEAT: Duration = Duration::from_millis(500);
    /// A connection that does not answer for so long is given up.
    const PATIENCE: Duration = Duration::from_secs(3);
    /// How long to wait before the lock is tried for again.
    const AGAIN: Duration = Duration::from_millis(200);

    async fn begin(settings: &DatabaseSettings) -> Result<Self, LockError> {
        // Tells this engine's connections from another's, also in one process and after a restart.
        let instance = format!("{:08x} process {}", Uuid::new_v4().as_fields().0, std::process::id());
        let options: PgConnectOptions =
            settings.url.expose().parse().map_err(|error: sqlx::Error| LockError::Database(error.to_string()))?;
        // The server notices soon that this machine is gone, and frees the lock.
        let keepalive = [("tcp_keepalives_idle", 5), ("tcp_keepalives_interval", 2), ("tcp_keepalives_count", 3)];
        let options = options
            .application_name(&format!("order-engine lock {instance}"))
            .options(limits(settings))
            .options(keepalive)
            .disable_statement_logging();
        let taker = LockRequest { options, instance: instance.clone() };
        // The last engine's connection may take a moment to go, and a database a moment to come up.
        let deadline = Instant::now() + settings.connect_timeout;
        let (connection, backend) = loop {
            match taker.take().await {
                Ok(taken) => break taken,
                Err(_) if Instant::now() < deadline => sleep(Self::AGAIN).await,
                Err(AcquireError::Held(holder)) => {
                    return Err(LockError::Held { holder, what: "its advisory lock".to_owned() });
                }
                Err(AcquireError::Away(error)) => return Err(LockError::Database(error)),
            }
        };
        let (sender, hold) = watch::channel(LockState::Held(backend));
        let doubt = Arc::new(Notify::new());
        let keeper = tokio::spawn(keep(connection, taker, sender, doubt.clone()));
        Ok(Self { guard: LockGuard { instance, hold, doubt }, keeper })
    }
}

/// Looks after the lock: notices that its connection is gone, and takes it again unless somebody else has it.
async fn keep(mut connection: PgConnection, taker: LockRequest, hold: watch::Sender<LockState>, doubt: Arc<Notify>) {
    loop {
        while let Ok(Ok(())) = timeout(LockSession::PATIENCE, connection.ping()).await {
            if timeout(LockSession::HEARTBEAT, doubt.notified()).await.is_ok() {
                // Whoever doubts looks again when the answer is there.
                hold.send_modify(|_| ());
            }
        }
        hold.send_replace(LockState::Away);
        tracing::warn!("the connection that holds the engine's lock is gone");
        let backend;
        (connection, backend) = loop {
            match taker.take().await {
                Ok(taken) => break taken,
                Err(AcquireError::Away(reason)) => {
                    tracing::debug!(reason, "the engine's lock cannot be taken yet");
                    sleep(LockSession::AGAIN).await;
                }
                Err(AcquireError::Held(holder)) => {
                    hold.send_replace(LockState::Lost(format!("another engine took the database over: {holder}")));
                    return;
                }
            }
        };
        hold.send_replace(LockState::Held(backend));
        tracing::info!("the engine's lock is held again");
    }
}

/// Why the advisory lock was not had.
enum AcquireError {
    /// That one has it.
    Held(String),
    /// Nobody can say just now.
    Away(String),
}

impl From<sqlx::Error> for AcquireError {
    fn from(error: sqlx::Error) -> Self {
        Self::Away(error.to_string())
    }
}

/// Takes the advisory lock.
struct LockRequest {
    options: PgConnectOptions,
    instance: String,
}

impl LockRequest {
    async fn take(&self) -> Result<(PgConnection, i32), AcquireError> {
        let taken = timeout(LockSession::PATIENCE, async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            let (taken, backend): (bool, i32) = sqlx::query_as("SELECT pg_try_advisory_lock($1), pg_backend_pid()")
                .bind(KEY)
                .fetch_one(&mut connection)
                .await?;
            if !taken {
                return Err(self.holder(&mut connection).await?);
            }
            evict(&mut connection, &self.instance).await?;
            Ok((connection, backend))
        });
        taken.await.unwrap_or_else(|_| Err(AcquireError::Away("no answer".to_owned())))
    }

    /// Who has the lock. If it is a connection of this engine that the server believes alive, that one is ended.
    async fn holder(&self, connection: &mut PgConnection) -> Result<AcquireError, sqlx::Error> {
        let backend: Option<i32> = sqlx::query_scalar(LOCKS).bind(KEY).fetch_optional(&mut *connection).await?;
        let holder: Option<(i32, String, String, String)> = sqlx::query_as(
            "SELECT pid, coalesce(application_name, ''), coalesce(host(client_addr), 'this machine'), \
             coalesce(to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), '?') \
             FROM pg_stat_activity WHERE pid = $1",
        )
        .bind(backend)
        .fetch_optional(&mut *connection)
        .await?;
        let Some((backend, name, address, since)) = holder else {
            return Ok(AcquireError::Away("the lock was given back just now".to_owned()));
        };
        if name.ends_with(&self.instance) {
            sqlx::query("SELECT pg_terminate_backend($1)").bind(backend).execute(connection).await?;
            return Ok(AcquireError::Away("the lock's old connection is being ended".to_owned()));
        }
        Ok(AcquireError::Held(format!("{name:?} (backend {backend}, from {address}, since {since} UTC)")))
    }
}

/// Ends the connections through which another engine could still write.
async fn evict(connection: &mut PgConnection, instance: &str) -> Result<(), sqlx::Error> {
    loop {
        let ended = sqlx::query_scalar::<_, bool>(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name LIKE 'order-engine pool %' \
             AND application_name <> $1",
        )
        .bind(pool_name(instance))
        .fetch_all(&mut *connection)
        .await;
        match ended {
            Ok(ended) if ended.is_empty() => return Ok(()),
            // They were told; they are gone when they are no longer seen.
            Ok(_) => sleep(Duration::from_millis(10)).await,
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => {
                tracing::warn!(%error, "the last engine's connections cannot be ended by this database user");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

fn pool_name(instance: &str) -> String {
    format!("order-engine pool {instance}")
}

/// Lets a new connection of the pool in only while the engine's lock stands.
#[derive(Clone, Debug)]
pub(super) struct LockGuard {
    instance: String,
    hold: watch::Receiver<LockState>,
    // Has the keeper look at its connection at once.
    doubt: Arc<Notify>,
}

impl LockGuard {
    /// What the pool's connections are called on the server, so that the next engine finds them.
    pub(super) fn connection_name(&self) -> String {
        pool_name(&self.instance)
    }

    /// Waits until the server confirms that the lock stands; the pool's own timeout ends the wait.
    pub(super) async fn check(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut hold = self.hold.clone();
        loop {
            let stands = hold.wait_for(|hold| !matches!(hold, LockState::Away)).await.map(|hold| hold.clone());
            let Ok(LockState::Held(backend)) = stands else { return Err(unlocked()) };
            let holders: Vec<i32> = sqlx::query_scalar(LOCKS).bind(KEY).fetch_all(&mut *connection).await?;
            if holders.contains(&backend) {
                return Ok(());
            }
            self.doubt.notify_one();
            hold.changed().await.map_err(|_| unlocked())?;
        }
    }
}

fn unlocked() -> sqlx::Error {
    sqlx::Error::Protocol("the engine's lock is not held".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    #[actix_web::test]
    async fn a_second_engine_is_refused_and_told_who_holds_the_database() {
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
