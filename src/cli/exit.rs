//! Exit codes, and how a failed command is reported.

use std::process::ExitCode;

use order_engine::auth::AuthStartError;
use order_engine::config::ConfigError;
use order_engine::engine::StartError;
use order_engine::store::lock::LockError;

use super::output::{self, OutputError};

/// The command failed for a reason without a code of its own.
const FAILURE: u8 = 1;
/// The command line is wrong or incomplete.
pub(super) const USAGE: u8 = 2;
/// The watched order ended `failed`.
pub(super) const ORDER_FAILED: u8 = 3;
/// The watched order ended `cancelled`.
pub(super) const ORDER_CANCELLED: u8 = 4;
/// The engine could not continue (`EX_SOFTWARE`).
pub(super) const FATAL: u8 = 70;
/// Standard output cannot be written (`EX_IOERR`).
pub(super) const OUTPUT_LOST: u8 = 74;
/// Another engine uses the database (`EX_TEMPFAIL`).
pub(super) const LOCKED: u8 = 75;
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
    match failure.downcast_ref() {
        Some(StartError::Lock(error)) => return of_lock(error),
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

fn of_lock(error: &LockError) -> u8 {
    match error {
        LockError::Held { .. } => LOCKED,
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
        let cases: [(CommandError, u8); 8] = [
            ("anything else".into(), FAILURE),
            (ConfigError(vec!["server.port: is no port".to_owned()]).into(), CONFIG),
            (OutputError::Lost(std::io::Error::other("the disk is full")).into(), OUTPUT_LOST),
            (held().into(), LOCKED),
            (StartError::Lock(held()).into(), LOCKED),
            (LockError::Setting("is a folder".to_owned()).into(), CONFIG),
            (StartError::Open { key: "server.host", place: "0.0.0.0".to_owned() }.into(), CONFIG),
            (StartError::Database("no such table".to_owned()).into(), FAILURE),
        ];
        for (failure, code) in cases {
            assert_eq!(exit_code(&failure), code, "{failure}");
        }
    }
}
