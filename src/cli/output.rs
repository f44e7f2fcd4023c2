//! Standard output and standard error of the commands. Nothing here panics: a reader may be gone, and a disk full.

use std::fmt::Display;
use std::io::{self, Write};

use order_engine::telemetry::logs;
use thiserror::Error;

/// Why a command could not print what it was asked for.
#[derive(Debug, Error)]
pub(super) enum OutputError {
    /// Whoever read it has closed the pipe, and wants no more.
    #[error("nobody reads standard output any more")]
    Closed,
    /// It is lost.
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

/// Prints a line on standard output, at once.
pub(super) fn line(text: impl Display) -> Result<(), OutputError> {
    let mut output = io::stdout().lock();
    writeln!(output, "{text}")?;
    Ok(output.flush()?)
}

/// Says something to the person at standard error.
pub(super) fn note(text: impl Display) {
    logs::say(text);
}
