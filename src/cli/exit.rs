//! Exit codes, and how a failed command is reported.

use std::io::ErrorKind;
use std::process::ExitCode;

use order_engine::auth::AuthStartError;
use order_engine::config::ConfigError;
use order_engine::engine::StartError;
use order_engine::simulation::ledger::LedgerError;
use order_engine::store::BackupError;
use order_engine::store::lock::LockError;

use super::output::{self, OutputError};

/// The command failed for a reason without a code of its own.
pub(super) const FAILURE: u8 = 1;
/// The command line is wrong or incomplete.
pub(super) const USAGE: u8 = 2;
/// The watched order ended `failed`.
pub(super) const ORDER_FAILED: u8 = 3;
/// The watched order ended `cancelled`.
pub(super) const ORDER_CANCELLED: u8 = 4;
/// A backup is damaged, or has rows that cannot be read (`EX_DATAERR`).
pub(super) const DATA: u8 = 65;
/// The engine could not continue (`EX_SOFTWARE`).
pub(super) const FATAL: u8 = 70;
/// A file cannot be created, or exists already (`EX_CANTCREAT`).
const NOT_CREATED: u8 = 73;
/// Standard output cannot be written (`EX_IOERR`).
pub(super) const OUTPUT_LOST: u8 = 74;
/// Another engine uses the database (`EX_TEMPFAIL`).
pub(super) const LOCKED: u8 = 75;
/// A file or folder cannot be written by this user (`EX_NOPERM`).
const NOT_PERMITTED: u8 = 77;
/// The settings are wrong (`EX_CONFIG`).
pub(super) const CONFIG: u8 = 78;
/// The reader of standard output closed it before the order ended: the code of a process that `SIGPIPE` ends.
pub(super) const OUTPUT_CLOSED: u8 = 141;

/// Why a command failed. [`report`] finds the exit code by its type.
pub(super) type CommandError = Box<dyn std::error::Error>;

/// Prints why a command failed, and returns its exit code.
pub(super) fn report(failure: &CommandError) -> ExitCode {
    if let Some(OutputError::Closed) = failure.downcast_ref() {
        // The reader has what it wanted.
        return ExitCode::SUCCESS;
    }
    let code = exit_code(failure);
    if code == CONFIG {
        let lines: Vec<_> = failure.to_string().lines().map(|line| format!("\n  {line}")).collect();
        output::note(format_args!("order-engine: the settings are wrong:{}", lines.concat()));
    } else {
        output::note(format_args!("order-engine: {failure}"));
    }
    ExitCode::from(code)
}

fn exit_code(failure: &CommandError) -> u8 {
    if failure.is::<ConfigError>() {
        return CONFIG;
    }
    if failure.is::<OutputError>() {
        return OUTPUT_LOST;
    }
    if let Some(error) = failure.downcast_ref() {
        return match error {
            BackupError::Write { .. } => NOT_CREATED,
            BackupError::Damaged { .. } => DATA,
            BackupError::Database { .. } => FAILURE,
        };
    }
    if let Some(LedgerError::Io { source, .. }) = failure.downcast_ref()
        && source.kind() == ErrorKind::AlreadyExists
    {
        return NOT_CREATED;
    }
    match failure.downcast_ref() {
        Some(StartError::Lock(error)) => return of_lock(error),
        Some(StartError::Ledger(LedgerError::Io { source, .. })) if is_denied(source) => return NOT_PERMITTED,
        Some(
            StartError::Open { .. }
            | StartError::SameFile { .. }
            | StartError::UnknownVenue { .. }
            | StartError::Auth(AuthStartError::Secret(_)),
        ) => {
            return CONFIG;
        }
        _ => {}
    }
    failure.downcast_ref().map_or(FAILURE, of_lock)
}

fn is_denied(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

fn of_lock(error: &LockError) -> u8 {
    match error {
        LockError::Held { .. } => LOCKED,
        LockError::Denied { .. } => NOT_PERMITTED,
        LockError::Setting(_) => CONFIG,
        LockError::Database(_) => FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_exit_code() {
        let held = || LockError::Held { holder: "process 1".to_owned(), what: "x.db".to_owned() };
        let denied = || std::io::Error::from(ErrorKind::PermissionDenied);
        let path = || std::path::PathBuf::from("x.db");
        let cases: [(CommandError, u8); 12] = [
            ("anything else".into(), FAILURE),
            (ConfigError(vec!["server.port: is no port".to_owned()]).into(), CONFIG),
            (OutputError::Lost(std::io::Error::other("the disk is full")).into(), OUTPUT_LOST),
            (held().into(), LOCKED),
            (StartError::Lock(held()).into(), LOCKED),
            (LockError::Setting("is a folder".to_owned()).into(), CONFIG),
            (StartError::Open { key: "server.host", place: "0.0.0.0".to_owned() }.into(), CONFIG),
            (StartError::Database("no such table".to_owned()).into(), FAILURE),
            (LockError::Denied { path: path(), reason: "cannot be written".to_owned() }.into(), NOT_PERMITTED),
            (StartError::Ledger(LedgerError::Io { path: path(), source: denied() }).into(), NOT_PERMITTED),
            (BackupError::Write { path: path(), source: denied() }.into(), NOT_CREATED),
            (BackupError::Damaged { path: path(), reason: "is damaged".to_owned() }.into(), DATA),
        ];
        for (failure, code) in cases {
            assert_eq!(exit_code(&failure), code, "{failure}");
        }
    }
}
