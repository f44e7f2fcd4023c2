//! `order-engine ledger`: prints the ledger of the simulated chain, also while an engine runs.

use std::process::ExitCode;

use order_engine::Settings;
use order_engine::config::LedgerPlace;
use order_engine::domain::swap::Outcome;
use order_engine::runtime::clock::Clock;
use order_engine::simulation::ledger::{Ledger, LedgerEntry};
use serde::Serialize;

use super::exit::CommandError;
use super::output;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON object a line: the entry and its outcome.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct PrintedEntry<'a> {
    #[serde(flatten)]
    entry: &'a LedgerEntry,
    outcome: &'static str,
}

pub(super) fn run(settings: &Settings, arguments: &Arguments) -> Result<ExitCode, CommandError> {
    let LedgerPlace::File(path) = &settings.simulation.ledger else {
        return Err("simulation.ledger: the ledger is in the memory of the engine; there is no file to read".into());
    };
    let chain = Ledger::read(path)?;
    let now = chain.time(Clock::System.read());
    for entry in chain.entries() {
        let outcome = match chain.outcome(entry, now) {
            Some(Outcome::Landed(_)) => "landed",
            Some(Outcome::Rejected { .. }) => "rejected",
            Some(Outcome::Expired(_)) => "expired",
            None => "open",
        };
        if arguments.json {
            output::line(serde_json::to_string(&PrintedEntry { entry, outcome })?)?;
        } else {
            output::line(format_args!(
                "{}  order {}  attempt {}  {:<8} {outcome}",
                entry.accepted_at.format("%F %T%.3f"),
                entry.order_id,
                entry.attempt,
                entry.venue
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
