//! The pools of connections, and when a pooled connection may be used.

use std::time::Duration;

use sea_orm::sqlx::pool::PoolOptions;
use sea_orm::sqlx::postgres::{PgConnection, Postgres};
use sea_orm::sqlx::{self, Connection as _};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr, RuntimeErr};
use tokio::time::timeout;

use crate::config::{DatabasePlace, DatabaseSettings};
use crate::store::sea::error;
use crate::store::sea::lock::LockGuard;
use crate::store::sea::session::{self, PLANNER};
use crate::store::sea::suspects::SuspectConnections;

/// The maximum time for an unused connection to answer a test. After it the connection is replaced.
const TEST_TIMEOUT: Duration = Duration::from_millis(500);

/// Opens a pool. The error names the server.
pub(super) async fn open(settings: &DatabaseSettings, options: ConnectOptions) -> Result<DatabaseConnection, DbErr> {
    // On the heap: with TLS, the future of a connection is large.
    Box::pin(Database::connect(options)).await.map_err(|error| error::not_opened(&settings.url, error))
}

/// A pool to PostgreSQL for a running engine, or without a guard for a tool.
pub(super) fn postgres(
    settings: &DatabaseSettings,
    schema: &str,
    guard: Option<LockGuard>,
    connections: u32,
    suspects: SuspectConnections,
) -> Result<ConnectOptions, DbErr> {
    let postgres = session::postgres(&settings.url).map_err(|error| invalid(&error))?;
    let mut options = options(settings, connections);
    let mut limits = session::postgres_limits(settings);
    // Binds the connection to the schema that was found at the start: a search_path that is changed while the engine
    // runs would lead new connections to other tables. A name with other characters would have to be escaped; then new
    // connections find the schema as the first one did.
    if schema.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_') {
        limits.push(("search_path", format!("\"{schema}\"")));
    }
    let name = guard.as_ref().map_or_else(|| "order-engine".to_owned(), LockGuard::connection_name);
    options.map_sqlx_postgres_opts(move |_| {
        postgres.clone().options(limits.clone()).options(PLANNER).application_name(&name)
    });
    options.map_sqlx_postgres_pool_opts(move |pool| checked(pool, guard.clone(), suspects.clone()));
    Ok(options)
}

/// A connection to PostgreSQL that changes the schema. It has no limits: a change of a large table takes longer than a
/// statement may.
pub(super) fn postgres_for_schema(settings: &DatabaseSettings) -> Result<ConnectOptions, DbErr> {
    let postgres = session::postgres(&settings.url).map_err(|error| invalid(&error))?;
    let mut options = options(settings, 1);
    options.map_sqlx_postgres_opts(move |_| postgres.clone());
    Ok(options)
}

/// A pool to SQLite.
pub(super) fn sqlite(
    settings: &DatabaseSettings,
    connections: u32,
    suspects: SuspectConnections,
) -> Result<ConnectOptions, DbErr> {
    let mut options = options(settings, connections);
    let file = session::sqlite_file(settings).map_err(|error| invalid(&error))?;
    if file.is_none() {
        // A database in memory is lost with its last connection.
        options.idle_timeout(None::<Duration>).max_lifetime(None::<Duration>);
    } else {
        options.map_sqlx_sqlite_pool_opts(move |pool| {
            let suspects = suspects.clone();
            pool.test_before_acquire(false).before_acquire(move |_, about| {
                let allowed = suspects.allow(about.age);
                Box::pin(async move { Ok(allowed) })
            })
        });
    }
    options.map_sqlx_sqlite_opts(move |options| session::sqlite(options, file.as_ref()));
    Ok(options)
}

/// An error of the options themselves.
pub(super) fn invalid(error: &dyn std::error::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(error.to_string()))
}

fn options(settings: &DatabaseSettings, connections: u32) -> ConnectOptions {
    // SeaORM shows its options in its traces, so it does not get the password; sqlx gets the whole URL from `session`.
    // SeaORM would also read a SQLite URL differently; sqlx gets the file from `session`.
    let url = match settings.url.place() {
        DatabasePlace::Memory => "sqlite::memory:".to_owned(),
        DatabasePlace::File(_) => "sqlite://named-by-sqlite-options".to_owned(),
        DatabasePlace::Postgres(_) => settings.url.redacted(),
    };
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .idle_timeout(settings.idle_timeout)
        .connect_timeout(settings.connect_timeout)
        .acquire_timeout(settings.connect_timeout)
        .sqlx_logging(false);
    options
}

/// Adds the checks of a connection: when it is opened, before it is used, and after it is returned.
fn checked(
    pool: PoolOptions<Postgres>,
    guard: Option<LockGuard>,
    suspects: SuspectConnections,
) -> PoolOptions<Postgres> {
    let returned = suspects.clone();
    // The pool's own test has no timeout: on a dead network connection no time would be left to open a new one.
    let pool = pool.test_before_acquire(false).before_acquire(move |connection, about| {
        let allowed = suspects.allow(about.age);
        // A test would double the round trips of a busy engine, so a connection that was just used is not tested.
        let needs_test = about.idle_for >= TEST_TIMEOUT || suspects.must_test();
        Box::pin(async move { Ok(allowed && (!needs_test || answers(connection).await)) })
    });
    let pool = pool.after_release(move |connection, _| {
        let needs_test = returned.must_test();
        Box::pin(async move {
            if connection.should_flush() {
                // Its rollback is not sent yet, and the server may still be working on the transaction.
                return Err(sqlx::Error::Protocol("a transaction was abandoned".to_owned()));
            }
            // The pool pings each returned connection without a timeout, which never ends on a dead connection. An
            // error makes the pool close it instead.
            if needs_test && !answers(connection).await {
                return Err(sqlx::Error::Protocol("a statement was abandoned".to_owned()));
            }
            Ok(true)
        })
    });
    let Some(guard) = guard else { return pool };
    pool.after_connect(move |connection, _| {
        let guard = guard.clone();
        Box::pin(async move { guard.check(connection).await })
    })
}

async fn answers(connection: &mut PgConnection) -> bool {
    matches!(timeout(TEST_TIMEOUT, connection.ping()).await, Ok(Ok(())))
}
