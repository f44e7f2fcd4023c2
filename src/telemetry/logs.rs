//! Logs: what `tracing` records goes to standard error, and never holds up or ends the engine.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::log_lines::LogQueue;
use crate::config::{LogFormat, LogSettings};

/// Standard error belongs to the process, and so does the one queue of lines to it.
static STANDARD_ERROR: OnceLock<LogQueue> = OnceLock::new();

/// From here on nothing waits for the reader of standard error. Belongs before anything that a service may say.
pub fn open() {
    standard_error();
}

/// Sends logs to standard error, in the format and from the level that the settings name; panics are logged too.
///
/// For the binary only: a program that embeds the engine has a subscriber of its own.
pub fn start(settings: &LogSettings) {
    let lines = standard_error();
    let filter = EnvFilter::try_new(settings.level.as_str()).expect("a log filter is checked when it is parsed");
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(|| lines.clone())
        // The subscriber would tell of its own errors with `eprintln!`, which panics when standard error is gone.
        .log_internal_errors(false);
    // A subscriber that stands already stays: then somebody else decides where logs go.
    let _ = match settings.format {
        LogFormat::Text => logs.with_target(false).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    // The standard hook writes to standard error itself, and waits for a reader that has stalled.
    std::panic::set_hook(Box::new(log_panic));
}

/// Writes a text to standard error: after [`open`] behind the lines that are logged so far, and dropped as they may be.
pub fn say(text: impl Display) {
    match STANDARD_ERROR.get() {
        Some(lines) => lines.push(format!("{text}\n").into_bytes()),
        // There is nobody else to tell if it cannot be written.
        None => drop(writeln!(std::io::stderr(), "{text}")),
    }
}

/// Waits until everything logged so far is written or dropped, but not for long: the reader may have stalled.
pub fn flush() {
    const PATIENCE: Duration = Duration::from_secs(1);
    if let Some(lines) = STANDARD_ERROR.get() {
        lines.flush(PATIENCE);
    }
}

/// How many lines were dropped since the start, because the queue was full or because they could not be written.
pub fn dropped_lines() -> u64 {
    STANDARD_ERROR.get().map_or(0, LogQueue::dropped)
}

/// Why logs are incomplete just now, if they are.
pub fn trouble() -> Option<String> {
    let lines = STANDARD_ERROR.get()?;
    lines.is_failing().then(|| format!("log lines cannot be written; {} are dropped", lines.dropped()))
}

fn standard_error() -> &'static LogQueue {
    STANDARD_ERROR.get_or_init(|| LogQueue::to(std::io::stderr()))
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let cause = panic.payload_as_str().unwrap_or("a value that is no text");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    // Captured only where RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => tracing::error!(thread, place, cause, %backtrace, "panic"),
        _ => tracing::error!(thread, place, cause, "panic"),
    }
    // The process may be about to end with this line still in the queue.
    if let Some(lines) = STANDARD_ERROR.get() {
        lines.flush(Duration::from_millis(50));
    }
}
