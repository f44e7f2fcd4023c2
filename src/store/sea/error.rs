//! What the errors of the database mean: whether a commit may have happened, and whether a retry can help.

use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};

use crate::config::DatabaseUrl;
use crate::runtime::tls_failure::TlsFailure;
use crate::store::error::{CommitError, ReadError};
use crate::store::sea::session::STEP_TIMEOUT;

/// An error before the commit began: nothing is stored.
pub(super) fn before_commit(error: DbErr) -> CommitError {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(reason) | SqlErr::ForeignKeyConstraintViolation(reason)) => {
            CommitError::Refused(reason)
        }
        _ if is_data_error(&error) => CommitError::Refused(text(&error)),
        _ => CommitError::Unavailable { reason: text(&error), maybe_committed: false },
    }
}

/// An error of the commit itself. Nothing is stored if the database reports an error of the data or a collision with
/// another transaction. After any other error, such as a lost connection, the outcome is unknown.
pub(super) fn during_commit(error: DbErr) -> CommitError {
    // PostgreSQL's class 40: transaction rollback.
    let collided = sql_code(&error).is_some_and(|code| code.len() == 5 && code.starts_with("40"));
    if collided || is_data_error(&error) {
        return before_commit(error);
    }
    CommitError::Unavailable { reason: text(&error), maybe_committed: true }
}

/// An error of a statement that is a transaction of its own.
pub(super) fn during_single_statement(error: DbErr) -> CommitError {
    if is_rolled_back(&error) { before_commit(error) } else { during_commit(error) }
}

/// A step of a commit that was abandoned after its timeout.
pub(super) fn timed_out(maybe_committed: bool) -> CommitError {
    CommitError::Unavailable { reason: format!("no answer within {STEP_TIMEOUT:?}"), maybe_committed }
}

/// An error of a read.
pub(super) fn no_answer(error: DbErr) -> ReadError {
    ReadError::NoAnswer(text(&error))
}

/// The error of opening a database; it names the server and the database.
pub(super) fn not_opened(url: &DatabaseUrl, error: DbErr) -> DbErr {
    match url.postgres() {
        Some(server) => DbErr::Conn(RuntimeErr::Internal(format!("{server}: {}", text(&error)))),
        None => error,
    }
}

/// Why TLS failed, if that is the error.
pub(super) fn tls_failure(error: &DbErr) -> Option<TlsFailure> {
    driver_error(error).and_then(tls_failure_of_driver)
}

/// Why TLS failed, if that is the error of the driver.
pub(super) fn tls_failure_of_driver(error: &sqlx::Error) -> Option<TlsFailure> {
    match error {
        // The text is the driver's; it has no type of its own.
        sqlx::Error::Tls(reason) if reason.to_string() == "server does not support TLS" => Some(TlsFailure::NotOffered),
        sqlx::Error::Tls(reason) => {
            Some(TlsFailure::within(&**reason).unwrap_or_else(|| TlsFailure::Handshake(reason.to_string())))
        }
        error => TlsFailure::within(error),
    }
}

/// The text of an error.
pub(super) fn text(error: &DbErr) -> String {
    driver_error(error).map_or_else(|| error.to_string(), driver_text)
}

/// The text of an error of the driver, without the name and line of the driver's source that some of them have.
pub(super) fn driver_text(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Database(error) => error.to_string(),
        sqlx::Error::Protocol(text) => match text.rsplit_once(" (") {
            Some((text, place)) if place.contains("::") => text.to_owned(),
            _ => text.clone(),
        },
        error => error.to_string(),
    }
}

fn driver_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

/// Whether the error is a failure of the database. An error that refuses data is not.
pub(super) fn is_failure(error: &DbErr) -> bool {
    error.sql_err().is_none() && !is_data_error(error)
}

/// Whether the connection was lost, which says nothing about a new one. Waiting for a connection in vain is not that.
pub(super) fn is_lost_connection(error: &DbErr) -> bool {
    // Connection exceptions, and a connection that the server ended.
    let is_ended =
        || sql_code(error).is_some_and(|code| code.len() == 5 && (code.starts_with("08") || code == "57P01"));
    matches!(error, DbErr::Exec(_) | DbErr::Query(_))
        && (matches!(driver_error(error), Some(sqlx::Error::Io(_))) || is_ended())
}

/// Whether a statement that is a transaction of its own is certainly rolled back: it was not sent, or the server
/// reports what was wrong with it. A server that shuts down or is broken may report an error after the commit.
fn is_rolled_back(error: &DbErr) -> bool {
    // Connection exceptions, operator intervention by a shutdown, system errors, internal errors.
    const OUTCOME_UNKNOWN: [&str; 4] = ["08", "57P", "58", "XX"];
    matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_))
        || sql_code(error).is_some_and(|code| !OUTCOME_UNKNOWN.iter().any(|class| code.starts_with(class)))
}

/// Whether the database refuses the data of a statement, so that a retry cannot help.
fn is_data_error(error: &DbErr) -> bool {
    if matches!(error, DbErr::RecordNotInserted) {
        return true;
    }
    let Some(code) = sql_code(error) else { return false };
    // PostgreSQL's classes 22 (data exception) and 23 (integrity constraint); SQLite's SQLITE_CONSTRAINT with its
    // extended codes (275 is a CHECK), SQLITE_TOOBIG and SQLITE_MISMATCH.
    match code.len() {
        5 => code.starts_with("22") || code.starts_with("23"),
        _ => code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20)),
    }
}

fn sql_code(error: &DbErr) -> Option<String> {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = error else {
        return None;
    };
    error.as_database_error().and_then(|error| error.code()).map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use sea_orm::sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    /// An error that the database reports with this code.
    #[derive(Debug, thiserror::Error)]
    #[error("as reported")]
    struct Reported(&'static str);

    impl DatabaseError for Reported {
        fn message(&self) -> &str {
            "as reported"
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn reported(code: &'static str) -> DbErr {
        DbErr::Exec(RuntimeErr::SqlxError(sqlx::Error::Database(Box::new(Reported(code))).into()))
    }

    fn connection_lost() -> DbErr {
        DbErr::Exec(RuntimeErr::SqlxError(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()).into()))
    }

    fn not_connected() -> DbErr {
        DbErr::Conn(RuntimeErr::Internal("no route".to_owned()))
    }

    #[derive(Debug, PartialEq)]
    enum Meaning {
        Refused,
        NotCommitted,
        MaybeCommitted,
    }

    fn meaning(error: &CommitError) -> Meaning {
        match error {
            CommitError::Refused(_) => Meaning::Refused,
            CommitError::Unavailable { maybe_committed: false, .. } => Meaning::NotCommitted,
            CommitError::Unavailable { maybe_committed: true, .. } => Meaning::MaybeCommitted,
        }
    }

    #[test]
    fn an_error_means_that_nothing_is_stored_only_if_that_is_certain() {
        use Meaning::{MaybeCommitted, NotCommitted, Refused};
        type MakeError = fn() -> DbErr;
        // What each error means before the commit, during it, and for a statement that is its own transaction.
        let table: [(&str, MakeError, [Meaning; 3]); 13] = [
            ("unique violation", || reported("23505"), [Refused, Refused, Refused]),
            ("check violation", || reported("23514"), [Refused, Refused, Refused]),
            ("data exception", || reported("22003"), [Refused, Refused, Refused]),
            ("SQLite's check", || reported("275"), [Refused, Refused, Refused]),
            ("too few rows", || DbErr::RecordNotInserted, [Refused, Refused, Refused]),
            ("serialization failure", || reported("40001"), [NotCommitted, NotCommitted, NotCommitted]),
            ("statement timeout", || reported("57014"), [NotCommitted, MaybeCommitted, NotCommitted]),
            ("read-only server", || reported("25006"), [NotCommitted, MaybeCommitted, NotCommitted]),
            ("administrator shutdown", || reported("57P01"), [NotCommitted, MaybeCommitted, MaybeCommitted]),
            ("system error", || reported("58030"), [NotCommitted, MaybeCommitted, MaybeCommitted]),
            ("SQLite's full disk", || reported("13"), [NotCommitted, MaybeCommitted, NotCommitted]),
            ("lost connection", connection_lost, [NotCommitted, MaybeCommitted, MaybeCommitted]),
            ("no connection", not_connected, [NotCommitted, MaybeCommitted, NotCommitted]),
        ];
        for (name, error, expected) in table {
            let found = [before_commit, during_commit, during_single_statement].map(|classify| classify(error()));
            assert_eq!(found.each_ref().map(meaning), expected, "{name}: {found:?}");
        }
    }

    #[test]
    fn an_error_of_opening_names_server_and_database_and_no_source_of_the_driver() {
        let protocol = "unexpected response from SSLRequest: 0x48 (sqlx_postgres::connection::tls:111)".to_owned();
        let error = DbErr::Conn(RuntimeErr::SqlxError(sqlx::Error::Protocol(protocol).into()));
        let url = "postgres://me:hunter2@db/orders".parse().unwrap();
        let text = not_opened(&url, error).to_string();
        assert!(text.ends_with("orders at db:5432: unexpected response from SSLRequest: 0x48"), "{text}");
    }

    #[test]
    fn a_server_without_tls_is_told_from_one_that_cannot_be_reached() {
        let without = sqlx::Error::Tls("server does not support TLS".into());
        assert_eq!(tls_failure_of_driver(&without), Some(TlsFailure::NotOffered));
        assert_eq!(tls_failure(&connection_lost()), None);
    }

    #[test]
    fn refused_data_is_no_failure_of_the_database() {
        assert!(!is_failure(&reported("23505")));
        assert!(!is_failure(&reported("22003")));
        assert!(is_failure(&reported("57P01")));
        assert!(is_failure(&connection_lost()));
    }

    #[test]
    fn only_a_lost_connection_is_worth_another_one() {
        for lost in [connection_lost(), reported("57P01"), reported("08006")] {
            assert!(is_lost_connection(&lost), "{lost}");
        }
        // A server that starts or stops, a statement that took too long, data, and no connection at all.
        for other in [reported("57P03"), reported("57014"), reported("23505"), reported("8"), not_connected()] {
            assert!(!is_lost_connection(&other), "{other}");
        }
    }
}
