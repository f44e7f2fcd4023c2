//! Sends `tracing` events to standard error, without ever blocking or ending the engine.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use super::log_lines::LogQueue;
use crate::config::{LogFormat, LogSettings};

/// One queue for the process, because standard error belongs to the process.
static STANDARD_ERROR: OnceLock<LogQueue> = OnceLock::new();

/// Whether every line is a JSON object, also those of [`say`].
static JSON: AtomicBool = AtomicBool::new(false);

/// Starts the queue in front of standard error, so that no writer waits for its reader. From here on everything is
/// written in this format, also a panic. Call it before any output.
pub fn open(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    standard_error();
    // The default hook writes to standard error directly, and blocks if the reader has stalled.
    std::panic::set_hook(Box::new(log_panic));
}

/// Sends logs to standard error, in the format and with the filter of the settings. Call [`open`] before.
///
/// For the binary only: a program that embeds the engine installs its own subscriber.
pub fn start(settings: &LogSettings) {
    let lines = standard_error();
    let filter = EnvFilter::try_new(settings.level.as_str()).expect("a log filter is checked when it is parsed");
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(|| lines.clone())
        // The subscriber reports its own errors with `eprintln!`, which panics if standard error is closed.
        .log_internal_errors(false);
    // Fails if a subscriber is installed already; that one stays in force.
    let _ = match settings.format {
        LogFormat::Text => logs.with_target(false).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
}

/// Writes a text to standard error. After [`open`] it goes through the queue, in order with the log lines and in their
/// format.
pub fn say(text: impl Display) {
    match STANDARD_ERROR.get() {
        Some(lines) => lines.push(line(text).into_bytes()),
        // A failure cannot be reported anywhere else.
        None => drop(writeln!(std::io::stderr(), "{text}")),
    }
}

/// A text as a line of the log; in JSON with the fields that the subscriber writes.
fn line(text: impl Display) -> String {
    if !JSON.load(Ordering::Relaxed) {
        return format!("{text}\n");
    }
    let (now, message) = (Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true), text.to_string());
    format!("{}\n", json!({ "timestamp": now, "level": "ERROR", "message": message, "target": "order_engine" }))
}

/// Waits until every line logged so far is written or dropped; one second at most, because the reader may have stalled.
pub fn flush() {
    const LIMIT: Duration = Duration::from_secs(1);
    if let Some(lines) = STANDARD_ERROR.get() {
        lines.flush(LIMIT);
    }
}

/// Lines dropped since the start, because the queue was full or the write failed.
pub fn dropped_lines() -> u64 {
    STANDARD_ERROR.get().map_or(0, LogQueue::dropped)
}

/// Why log lines are being dropped, if they are.
pub fn trouble() -> Option<String> {
    let lines = STANDARD_ERROR.get()?;
    lines.is_failing().then(|| format!("log lines cannot be written; {} are dropped", lines.dropped()))
}

fn standard_error() -> &'static LogQueue {
    STANDARD_ERROR.get_or_init(|| LogQueue::to(std::io::stderr()))
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let cause = panic.payload_as_str().unwrap_or("a panic value that is not text");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    // Captured only if RUST_BACKTRACE is set.
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        _ if !tracing::dispatcher::has_been_set() => say(format_args!("panic of thread {thread} at {place}: {cause}")),
        BacktraceStatus::Captured => tracing::error!(thread, place, cause, %backtrace, "panic"),
        _ => tracing::error!(thread, place, cause, "panic"),
    }
    // The process may end with this line still in the queue.
    if let Some(lines) = STANDARD_ERROR.get() {
        lines.flush(Duration::from_millis(50));
    }
}
