//! Logs and metrics.

mod log_lines;
pub mod logs;
pub mod metrics;
