//! Standard output and standard error of the commands. Nothing here panics if the reader is gone or the disk is full.

use std::fmt::Display;
use std::io::{self, Write};

use order_engine::telemetry::logs;
use thiserror::Error;

/// Why a command could not print its result.
#[derive(Debug, Error)]
pub(super) enum OutputError {
    /// The reader has closed the pipe.
    #[error("standard output is closed")]
    Closed,
    /// The result could not be written.
    #[error("standard output cannot be written: {0}")]
    Lost(io::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Lost(error),
        }
    }
}

/// Prints a line on standard output, and flushes it.
pub(super) fn line(text: impl Display) -> Result<(), OutputError> {
    let mut output = io::stdout().lock();
    writeln!(output, "{text}")?;
    Ok(output.flush()?)
}

/// Prints a note for the user on standard error.
pub(super) fn note(text: impl Display) {
    logs::say(text);
}
