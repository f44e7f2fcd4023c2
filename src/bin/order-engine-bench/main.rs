//! `order-engine-bench`: measures the engine from outside, as a process of its own. The load generator runs here.
//!
//! A binary of its own, because it empties the database that it is given; the engine's binary has no code for that.

// `println!` panics when standard output is closed.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

mod database;
mod engine;
mod experiments;
mod load;
mod plan;
mod report;
mod statistics;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::experiments::Experiment;
use crate::plan::Plan;

/// The same allocator as the engine's, so that the load generator costs as little as it can.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why a benchmark did not finish.
type BenchError = Box<dyn std::error::Error>;

/// Measures order-engine on this machine: engine, database and load generator together.
#[derive(Parser)]
#[command(name = "order-engine-bench", version)]
struct Arguments {
    /// What to measure; everything if nothing is named.
    #[arg(value_enum)]
    experiments: Vec<Experiment>,
    /// An empty PostgreSQL database, which is emptied again for each run; without it each run has a SQLite file.
    #[arg(long)]
    database_url: Option<String>,
    /// The engine's binary; by default `order-engine` in the folder of this one.
    #[arg(long)]
    engine: Option<PathBuf>,
    /// How often each experiment runs; reported are the median, the least and the most.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Uses a hundredth of the size, to check that everything works.
    #[arg(long)]
    smoke: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match actix_web::rt::System::new().block_on(run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::error(error);
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), BenchError> {
    let chosen = match arguments.experiments.as_slice() {
        [] => Experiment::value_variants(),
        chosen => chosen,
    };
    if let Some(url) = &arguments.database_url {
        database::check_empty(url).await?;
    }
    report::line(format_args!(
        "{} cores, {}, {} runs each, engine and load generator on this machine",
        std::thread::available_parallelism()?,
        arguments.database_url.as_ref().map_or("SQLite", |_| "PostgreSQL"),
        arguments.runs
    ))?;
    report::line(format_args!("{:<58} {:>12} {:>12} {:>12}", "", "median", "least", "most"))?;
    let plan = Plan {
        engine: match arguments.engine {
            Some(engine) => engine,
            None => std::env::current_exe()?.with_file_name("order-engine"),
        },
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
            report::line(format_args!("{name:<58} {median:>12} {least:>12} {most:>12}"))?;
        }
    }
    Ok(())
}
