//! How many connections the system's limit of open files has room for.
//!
//! A process that has used up its descriptors can neither take a connection nor refuse it: the client hangs. The database
//! needs descriptors too. So the limit is raised as far as the system lets it, a reserve is kept, and the connections
//! share the rest.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Settings;

/// For listeners, threads, logs, the ledger, the lock and Redis.
const OTHERS: usize = 64;
/// SQLite opens the database, its log and the log's index for each of its connections; PostgreSQL needs one.
const A_DATABASE_CONNECTION: usize = 3;
/// The socket, and its second handle.
const A_CONNECTION: usize = 2;
/// So many more connections are taken at once, for the time that it takes to close them again.
pub(in crate::http) const REFUSED_AT_ONCE: usize = 32;
/// With fewer the engine would not be of use; it takes so many whatever the limit is.
const FEWEST: usize = 8;

/// Raises the limit of open files to the highest that the system allows this process, and says how many connections
/// there may be then: as many as the settings want, or as many as fit.
pub(in crate::http) fn connections(settings: &Settings) -> usize {
    let wanted = settings.server.max_connections;
    let Some(files) = raised_limit() else { return wanted };
    let room = room(files, usize::try_from(settings.database.max_connections).unwrap_or(usize::MAX));
    if room < wanted {
        tracing::warn!(
            open_files = files,
            connections = room,
            "the system's limit of open files has no room for server.max_connections: further connections are closed; \
             raise ulimit -n"
        );
    }
    wanted.min(room)
}

/// How many connections fit into so many open files beside those that the database may open.
fn room(files: usize, database_connections: usize) -> usize {
    let database = database_connections.saturating_mul(A_DATABASE_CONNECTION);
    let left = files.saturating_sub(OTHERS).saturating_sub(database) / A_CONNECTION;
    left.saturating_sub(REFUSED_AT_ONCE).max(FEWEST)
}

/// The limit in force; `None` where there is none.
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
    fn connections_share_what_the_database_and_everything_else_leave() {
        assert_eq!(room(1_024, 20), (1_024 - 64 - 60) / 2 - 32);
        assert_eq!(room(1_048_576, 20), (1_048_576 - 64 - 60) / 2 - 32);
        assert_eq!((room(0, 20), room(64, usize::MAX)), (FEWEST, FEWEST));
    }

    #[test]
    fn all_that_may_be_open_at_once_stays_below_the_limit() {
        for (files, database) in [(256, 20), (1_024, 20), (1_024, 100), (4_096, 1), (65_536, 20)] {
            let most = A_CONNECTION * (room(files, database) + REFUSED_AT_ONCE) + 3 * database + OTHERS;
            assert!(most <= files, "{files}: {most}");
        }
    }
}
