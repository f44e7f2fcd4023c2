//! Prints to standard output and standard error without a panic when either is closed.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints a line on standard output.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{text}")?;
    output.flush()
}

/// Prints why the benchmark failed.
pub(crate) fn error(text: impl Display) {
    // If standard error is closed, nothing can be reported.
    let _ = writeln!(io::stderr().lock(), "order-engine-bench: {text}");
}
