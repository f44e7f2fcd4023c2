//! How connections are opened, and the settings of their sessions. Each setting has its reason beside it.
//!
//! The pools, the connection that writes to a SQLite file and the connection that holds the engine's lock all use
//! these.

use std::time::Duration;

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{self, ConnectOptions as _};

use crate::config::{DatabasePlace, DatabaseSettings, DatabaseUrl, SqliteFile};

/// The maximum time of one step of a commit on PostgreSQL. After it the commit is abandoned and its outcome is unknown.
///
/// The limits of the server do not help if the server hangs or the network connection is dead. Together with the
/// longest wait of Persistence, this stays below the five seconds within which work continues after an outage.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(3);

/// Settings of the query planner of PostgreSQL.
///
/// Every statement of the engine has its index and reads few rows. While a table that grows fast has no statistics yet,
/// PostgreSQL would read all of it, and first compile machine code for that. Measured with 1,000,000 orders stored
/// within a minute, the p99 of a page was 229 ms; without sequential scans it was up to 43 ms, and without machine code
/// (`jit`) up to 12 ms.
pub(super) const PLANNER: [(&str, &str); 2] = [("enable_seqscan", "off"), ("jit", "off")];

/// How PostgreSQL is reached: everything that the URL says, TLS included.
pub(super) fn postgres(url: &DatabaseUrl) -> Result<PgConnectOptions, sqlx::Error> {
    let mut options: PgConnectOptions = url.expose().parse()?;
    if let Some(server) = url.postgres().filter(|server| !server.is_socket()) {
        // Without the brackets of an IPv6 address, which no certificate has.
        options = options.host(&server.host);
    }
    Ok(options.disable_statement_logging())
}

/// The limits that PostgreSQL enforces on every connection of a running engine.
pub(super) fn postgres_limits(settings: &DatabaseSettings) -> Vec<(&'static str, String)> {
    vec![
        ("statement_timeout", settings.statement_timeout.as_millis().to_string()),
        ("lock_timeout", settings.lock_timeout.as_millis().to_string()),
        // Rolls back a transaction whose engine no longer answers. Its rows would stay locked against the retry.
        ("idle_in_transaction_session_timeout", STEP_TIMEOUT.as_millis().to_string()),
        // The answer to a COMMIT means that the commit is on the disk, whatever the defaults of the server, the
        // database or the role are.
        ("synchronous_commit", "on".to_owned()),
    ]
}

/// The keepalives of the connection that holds the lock. The server notices within about 11 s that this machine is
/// gone, and frees the lock.
pub(super) const LOCK_KEEPALIVE: [(&str, &str); 3] =
    [("tcp_keepalives_idle", "5"), ("tcp_keepalives_interval", "2"), ("tcp_keepalives_count", "3")];

/// More than the rows of a page with the events of its orders, all of which are kept in memory anyway.
const ROWS_READ_AHEAD: usize = 4_096;

/// How SQLite is opened, in memory or as `file`.
pub(super) fn sqlite(options: SqliteConnectOptions, file: Option<&SqliteFile>) -> SqliteConnectOptions {
    let options = options
        // PRAGMA busy_timeout: waits for a lock that another process holds for a moment, such as a backup or a
        // checkpoint, instead of failing.
        .busy_timeout(Duration::from_secs(5))
        // PRAGMA synchronous = FULL: each commit is synced to the disk. With NORMAL, a power failure loses the latest
        // commits of a write-ahead log.
        .synchronous(SqliteSynchronous::Full)
        // Rows that SQLite's thread reads ahead of the thread that asked. At the default of 50 the two threads wake each
        // other many times for one page of a list, which took more CPU than the page itself.
        .row_buffer_size(ROWS_READ_AHEAD)
        .disable_statement_logging();
    match file {
        None => options,
        Some(file) => options
            .filename(&file.path)
            .create_if_missing(file.create)
            // PRAGMA journal_mode = WAL: readers and the writer do not wait for each other.
            .journal_mode(SqliteJournalMode::Wal),
    }
}

/// The file of a SQLite database; `None` for PostgreSQL and for a database in memory.
///
/// The path is absolute: a connection that is opened later opens the same file, even if the current folder has changed.
pub(super) fn sqlite_file(settings: &DatabaseSettings) -> std::io::Result<Option<SqliteFile>> {
    match settings.url.place() {
        DatabasePlace::File(file) => {
            let path = std::path::absolute(&file.path)
                .map_err(|error| std::io::Error::new(error.kind(), format!("{}: {error}", file.path.display())))?;
            Ok(Some(SqliteFile { path, create: file.create }))
        }
        DatabasePlace::Memory | DatabasePlace::Postgres(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_is_compared_with_the_certificate_without_its_brackets() {
        for (url, host) in [("postgres://[::1]/orders", "::1"), ("postgres://db/orders", "db")] {
            assert_eq!(postgres(&url.parse().unwrap()).unwrap().get_host(), host);
        }
    }
}
