//! How many connections fit into the limit of open files (`ulimit -n`).
//!
//! A process without free file descriptors can neither accept a connection nor refuse it, so the client hangs. The
//! database needs descriptors too. So the limit is raised as far as the system allows, a reserve is kept, and the
//! connections get the rest.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Settings;

/// Descriptors for listeners, threads, logs, the ledger, the lock and Redis.
const RESERVE: usize = 64;
/// For each of its connections SQLite opens the database, its write-ahead log and the index of that log; PostgreSQL needs
/// one descriptor.
const PER_DATABASE_CONNECTION: usize = 3;
/// The socket and its second handle.
const PER_CONNECTION: usize = 2;
/// How many more connections may be accepted at once only to be closed.
pub(in crate::http) const REFUSED_AT_ONCE: usize = 32;
/// The engine accepts at least this many connections, even with a lower limit of open files.
const MIN_CONNECTIONS: usize = 8;

/// Raises the limit of open files as far as the system allows, and returns how many connections may be open: the number in
/// the settings, or fewer if fewer fit.
pub(in crate::http) fn max_connections(settings: &Settings) -> usize {
    let wanted = settings.server.max_connections;
    let Some(files) = raised_limit() else { return wanted };
    let room = room(files, usize::try_from(settings.database.max_connections).unwrap_or(usize::MAX));
    if room < wanted {
        tracing::warn!(
            open_files = files,
            connections = room,
            "the limit of open files is too low for server.max_connections; further connections are closed; raise \
             ulimit -n"
        );
    }
    wanted.min(room)
}

/// How many connections fit into that many open files, beside the connections of the database.
fn room(files: usize, database_connections: usize) -> usize {
    let database = database_connections.saturating_mul(PER_DATABASE_CONNECTION);
    let left = files.saturating_sub(RESERVE).saturating_sub(database) / PER_CONNECTION;
    left.saturating_sub(REFUSED_AT_ONCE).max(MIN_CONNECTIONS)
}

/// The limit after it was raised; `None` if there is none.
fn raised_limit() -> Option<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let limit = if current == maximum || setrlimit(Resource::Nofile, raised).is_ok() { maximum } else { current };
    limit.map(|files| usize::try_from(files).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_the_reserve_and_the_database_leave() {
        assert_eq!(room(1_024, 20), (1_024 - 64 - 60) / 2 - 32);
        assert_eq!(room(1_048_576, 20), (1_048_576 - 64 - 60) / 2 - 32);
        assert_eq!((room(0, 20), room(64, usize::MAX)), (MIN_CONNECTIONS, MIN_CONNECTIONS));
    }

    #[test]
    fn everything_open_at_once_stays_below_the_limit() {
        for (files, database) in [(256, 20), (1_024, 20), (1_024, 100), (4_096, 1), (65_536, 20)] {
            let max = PER_CONNECTION * (room(files, database) + REFUSED_AT_ONCE) + 3 * database + RESERVE;
            assert!(max <= files, "{files}: {max}");
        }
    }
}
