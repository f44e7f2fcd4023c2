//! The lock on PostgreSQL: an advisory lock of a connection of its own, which a task keeps and acquires again.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::{self, Connection as _};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::config::{DatabaseSettings, PostgresServer};
use crate::runtime::tls_failure::TlsFailure;
use crate::store::sea::lock::error::LockError;
use crate::store::sea::{error, session};

/// The number of the advisory lock. It is the same for every engine: PostgreSQL has separate numbers for each database.
const KEY: i64 = 0x6f72_6465_7245_6e67;
/// The backend that holds the lock. `pg_locks` has the number as two halves.
const HOLDERS: &str = "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
     WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND d.datname = current_database() \
     AND l.classid::bigint = $1 >> 32 AND l.objid::bigint = $1 & 4294967295";

/// How often the connection is tested.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// The maximum time of an answer. After it the connection is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// The delay between two attempts to acquire the lock.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The state of the lock.
#[derive(Clone, Debug)]
pub(super) enum LockState {
    /// Held by this backend of the server.
    Held(i32),
    /// The connection was lost; the lock is being acquired again.
    Reacquiring,
    /// Another engine holds it. The value is the cause for the log. This state is final.
    Lost(String),
}

/// The lock and the task that keeps it.
#[derive(Debug)]
pub(super) struct LockSession {
    guard: LockGuard,
    keeper: JoinHandle<()>,
}

impl Drop for LockSession {
    fn drop(&mut self) {
        // The task owns the connection. The connection ends with it, and the server releases the lock.
        self.keeper.abort();
    }
}

impl LockSession {
    /// Acquires the lock. While another engine holds it, retries until `database.connect_timeout_ms` has passed: the
    /// connection of an engine that has just ended may remain for a moment, and a server that starts needs a moment
    /// too.
    pub(super) async fn begin(settings: &DatabaseSettings) -> Result<Self, LockError> {
        // Distinguishes the connections of this engine from those of others, in the same process and after a restart.
        // Not from the environment: two engines with the same seed are different engines.
        let instance = format!("{:08x} process {}", Uuid::new_v4().as_fields().0, std::process::id());
        let options = session::postgres(&settings.url)
            .map_err(|error| LockError::Database(error::driver_text(&error)))?
            .application_name(&format!("order-engine lock {instance}"))
            .options(session::postgres_limits(settings))
            .options(session::LOCK_KEEPALIVE);
        let request = LockRequest { options, instance: instance.clone() };
        // The URL is that of a PostgreSQL server.
        let server = settings.url.postgres();
        let named = |error: &str| server.map_or_else(|| error.to_owned(), |server| format!("{server}: {error}"));
        let deadline = Instant::now() + settings.connect_timeout;
        let (connection, backend) = loop {
            match request.try_acquire().await {
                Ok(acquired) => break acquired,
                // No retry: an operator has to change the URL, or something on the server.
                Err(AcquireError::Tls(failure)) => {
                    let server = server.map(PostgresServer::address).unwrap_or_default();
                    return Err(LockError::Setting(failure.at(&server, "sslrootcert")));
                }
                Err(_) if Instant::now() < deadline => sleep(RETRY_DELAY).await,
                Err(AcquireError::HeldBy(holder)) => {
                    return Err(LockError::Held { holder, what: "its advisory lock".to_owned() });
                }
                Err(AcquireError::Unavailable(error)) => return Err(LockError::Database(named(&error))),
            }
        };
        let (sender, state) = watch::channel(LockState::Held(backend));
        let recheck = Arc::new(Notify::new());
        let keeper = tokio::spawn(keep(connection, request, sender, recheck.clone()));
        Ok(Self { guard: LockGuard { instance, state, recheck }, keeper })
    }

    /// Ends the session. The connection is closed when this returns.
    pub(super) async fn end(mut self) {
        self.keeper.abort();
        // The result is always the abort.
        let _ = (&mut self.keeper).await;
    }

    pub(super) fn guard(&self) -> LockGuard {
        self.guard.clone()
    }

    pub(super) fn state(&self) -> watch::Receiver<LockState> {
        self.guard.state.clone()
    }
}

/// Keeps the lock: tests the connection, and acquires the lock again after the connection was lost.
async fn keep(
    mut connection: PgConnection,
    request: LockRequest,
    state: watch::Sender<LockState>,
    recheck: Arc<Notify>,
) {
    loop {
        while let Ok(Ok(())) = timeout(ANSWER_TIMEOUT, connection.ping()).await {
            if timeout(HEARTBEAT, recheck.notified()).await.is_ok() {
                // Wakes the guard that has asked for the test.
                state.send_modify(|_| ());
            }
        }
        state.send_replace(LockState::Reacquiring);
        tracing::warn!("the connection that holds the engine's lock was lost");
        let backend;
        (connection, backend) = loop {
            match request.try_acquire().await {
                Ok(acquired) => break acquired,
                Err(AcquireError::Unavailable(reason)) => {
                    tracing::debug!(reason, "the engine's lock cannot be acquired yet");
                    sleep(RETRY_DELAY).await;
                }
                // The store logs the failure of the pool, which has the same cause.
                Err(AcquireError::Tls(failure)) => {
                    tracing::debug!(%failure, "the engine's lock cannot be acquired yet");
                    sleep(RETRY_DELAY).await;
                }
                Err(AcquireError::HeldBy(holder)) => {
                    state.send_replace(LockState::Lost(format!("another engine took the database over: {holder}")));
                    return;
                }
            }
        };
        state.send_replace(LockState::Held(backend));
        tracing::info!("the engine's lock is held again");
    }
}

/// Why the advisory lock was not acquired.
enum AcquireError {
    /// Another engine holds it.
    HeldBy(String),
    /// The server gave no definite answer.
    Unavailable(String),
    /// There is no TLS with the server.
    Tls(TlsFailure),
}

impl From<sqlx::Error> for AcquireError {
    fn from(error: sqlx::Error) -> Self {
        match error::tls_failure_of_driver(&error) {
            Some(failure) => Self::Tls(failure),
            None => Self::Unavailable(error::driver_text(&error)),
        }
    }
}

/// What is needed to acquire the lock.
struct LockRequest {
    options: PgConnectOptions,
    instance: String,
}

impl LockRequest {
    /// Opens a connection, acquires the lock on it, and ends the pool connections of other engines. Returns the
    /// connection and its backend on the server.
    async fn try_acquire(&self) -> Result<(PgConnection, i32), AcquireError> {
        let acquired = timeout(ANSWER_TIMEOUT, async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            let (acquired, backend): (bool, i32) = sqlx::query_as("SELECT pg_try_advisory_lock($1), pg_backend_pid()")
                .bind(KEY)
                .fetch_one(&mut connection)
                .await?;
            if !acquired {
                return Err(self.find_holder(&mut connection).await?);
            }
            end_other_pools(&mut connection, &self.instance).await?;
            Ok((connection, backend))
        });
        acquired.await.unwrap_or_else(|_| Err(AcquireError::Unavailable("no answer".to_owned())))
    }

    /// Finds the holder of the lock. If it is an earlier connection of this engine, which the server has not yet
    /// noticed to be lost, that connection is ended.
    async fn find_holder(&self, connection: &mut PgConnection) -> Result<AcquireError, sqlx::Error> {
        let backend: Option<i32> = sqlx::query_scalar(HOLDERS).bind(KEY).fetch_optional(&mut *connection).await?;
        let holder: Option<(i32, String, String, String)> = sqlx::query_as(
            "SELECT pid, coalesce(application_name, ''), coalesce(host(client_addr), 'this machine'), \
             coalesce(to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), '?') \
             FROM pg_stat_activity WHERE pid = $1",
        )
        .bind(backend)
        .fetch_optional(&mut *connection)
        .await?;
        let Some((backend, name, address, since)) = holder else {
            return Ok(AcquireError::Unavailable("the lock was just released".to_owned()));
        };
        if name.ends_with(&self.instance) {
            sqlx::query("SELECT pg_terminate_backend($1)").bind(backend).execute(connection).await?;
            return Ok(AcquireError::Unavailable("the lock's earlier connection is being ended".to_owned()));
        }
        Ok(AcquireError::HeldBy(format!("{name:?} (backend {backend}, from {address}, since {since} UTC)")))
    }
}

/// Ends the connections through which another engine could still write.
async fn end_other_pools(connection: &mut PgConnection, instance: &str) -> Result<(), sqlx::Error> {
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
            // The server has signalled them. They have ended when they are not listed any more.
            Ok(_) => sleep(Duration::from_millis(10)).await,
            // Insufficient privilege.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => {
                tracing::warn!(%error, "this database user cannot end the connections of the last engine");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

fn pool_name(instance: &str) -> String {
    format!("order-engine pool {instance}")
}

/// Admits a new connection to the pool only while the engine holds the lock.
#[derive(Clone, Debug)]
pub(in crate::store) struct LockGuard {
    instance: String,
    state: watch::Receiver<LockState>,
    // Has the keeper test its connection immediately.
    recheck: Arc<Notify>,
}

impl LockGuard {
    /// The name of the pool's connections on the server, by which the next engine finds them.
    pub(in crate::store) fn connection_name(&self) -> String {
        pool_name(&self.instance)
    }

    /// Waits until the server confirms, on the new connection, that the engine holds the lock. The pool's timeout for a
    /// connection bounds the wait.
    pub(in crate::store) async fn check(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut state = self.state.clone();
        loop {
            let current = state.wait_for(|state| !matches!(state, LockState::Reacquiring)).await;
            let current = current.map(|state| state.clone());
            let Ok(LockState::Held(backend)) = current else { return Err(not_held()) };
            let holders: Vec<i32> = sqlx::query_scalar(HOLDERS).bind(KEY).fetch_all(&mut *connection).await?;
            if holders.contains(&backend) {
                return Ok(());
            }
            self.recheck.notify_one();
            state.changed().await.map_err(|_| not_held())?;
        }
    }
}

fn not_held() -> sqlx::Error {
    sqlx::Error::Protocol("the engine does not hold its lock".to_owned())
}
