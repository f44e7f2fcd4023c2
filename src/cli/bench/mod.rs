//! `order-engine bench`: the engine measured from outside, as a process of its own, load generator included.

mod engine;
mod experiments;
mod filters;
mod load;
mod statistics;

use std::process::ExitCode;

use super::exit::CommandError;
use super::output;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// What to measure; everything if nothing is named.
    #[arg(value_enum)]
    experiments: Vec<Experiment>,
    /// Where orders are kept: an empty PostgreSQL database; a SQLite file of its own for each run if none is named.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// How often each experiment is run; the median is told, with the least and the most.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// A hundredth of the size, to see that everything works.
    #[arg(long)]
    smoke: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Experiment {
    /// Durable accepts a second over 128 connections; execution is held back.
    Accept,
    /// Orders a second from POST to `confirmed`, without simulated waits, 1,000 at once.
    Lifecycle,
    /// One order alone: the accept, and submit to confirmed as a client sees it.
    Alone,
    /// From an event's timestamp to the client that sees it, at 1,000 orders a second.
    Fanout,
    /// Memory idle, per waiting order, and after the wave.
    Memory,
    /// Default waits, 1,000 slots, 5,000 orders, against the ideal schedule of the same waits.
    Schedule,
    /// How long a start takes to own 100,000 unfinished orders.
    Restart,
    /// Lists and single orders with 1,000,000 orders stored, against 1,000.
    Lists,
    /// Pages of 1,000,000 orders, under every combination of filters.
    Filters,
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, CommandError> {
    use clap::ValueEnum;
    let chosen = match arguments.experiments.as_slice() {
        [] => Experiment::value_variants(),
        chosen => chosen,
    };
    let database = match &arguments.database_url {
        Some(_) => "PostgreSQL",
        None => "SQLite",
    };
    output::line(format_args!(
        "{} cores, {database}, {} runs each, engine and load generator on this machine",
        std::thread::available_parallelism()?,
        arguments.runs
    ))?;
    output::line(format_args!("{:<58} {:>12} {:>12} {:>12}", "", "median", "least", "most"))?;
    let plan = experiments::ExperimentPlan {
        database_url: arguments.database_url,
        share: if arguments.smoke { 100 } else { 1 },
    };
    for experiment in chosen {
        let mut figures: Vec<(&'static str, &'static str, Vec<u64>)> = Vec::new();
        for _ in 0..arguments.runs {
            for (name, unit, figure) in experiments::run(*experiment, &plan).await? {
                match figures.iter_mut().find(|(known, ..)| *known == name) {
                    Some((_, _, runs)) => runs.push(figure),
                    None => figures.push((name, unit, vec![figure])),
                }
            }
        }
        for (name, unit, mut runs) in figures {
            runs.sort_unstable();
            let [least, median, most] = [0, runs.len() / 2, runs.len() - 1].map(|at| format!("{} {unit}", runs[at]));
            output::line(format_args!("{name:<58} {median:>12} {least:>12} {most:>12}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
