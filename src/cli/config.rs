//! `order-engine config`: prints every setting and its source.

use std::process::ExitCode;

use order_engine::config::ConfigEntry;

use super::exit::CommandError;
use super::output;

pub(super) fn run(entries: &[ConfigEntry]) -> Result<ExitCode, CommandError> {
    for ConfigEntry { key, value, source } in entries {
        output::line(format_args!("{key:<36} {value:<40} {source}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
