//! The command line: one file a command. Without a command the engine is served.

mod bench;
mod client;
mod config;
mod ledger;
mod migrate;
mod orders;
mod output;
mod quote;
mod serve;
mod submit;
mod watch;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use order_engine::config::{ConfigEntry, ConfigError, variable};
use order_engine::store::lock::LockError;
use order_engine::{Settings, telemetry::logs};

use self::output::OutputError;

/// Exit codes beside 0 (it went well) and 1 (it did not).
mod exit {
    /// The command line was wrong, or says too little.
    pub(super) const USAGE: u8 = 2;
    /// The order that was watched ended `failed`.
    pub(super) const ORDER_FAILED: u8 = 3;
    /// The order that was watched ended `cancelled`.
    pub(super) const ORDER_CANCELLED: u8 = 4;
    /// The engine could not go on (`EX_SOFTWARE`).
    pub(super) const FATAL: u8 = 70;
    /// Standard output could not be written (`EX_IOERR`).
    pub(super) const OUTPUT_LOST: u8 = 74;
    /// Another engine uses the database (`EX_TEMPFAIL`).
    pub(super) const LOCKED: u8 = 75;
    /// The settings are wrong (`EX_CONFIG`).
    pub(super) const CONFIG: u8 = 78;
    /// Nobody reads standard output any more, and how the order ends was not seen: as for any command that `SIGPIPE` ends.
    pub(super) const OUTPUT_CLOSED: u8 = 141;
}

/// An order execution engine for Solana DEXes: each order is swapped exactly once, at the better of Raydium and Meteora.
#[derive(Parser)]
#[command(name = "order-engine", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    place: EngineAddress,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Args)]
struct EngineAddress {
    /// Where {profile}.toml is looked for [env: ORDER_ENGINE_CONFIG_DIR] [default: config]
    #[arg(long, global = true)]
    config_dir: Option<PathBuf>,
    /// Settings of {config-dir}/{profile}.toml override the defaults [env: ORDER_ENGINE_PROFILE]
    #[arg(long, global = true)]
    profile: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the engine (the default).
    Serve(serve::Arguments),
    /// Bring the database's schema up to date.
    Migrate,
    /// Print what the simulated chain has taken and what became of it.
    Ledger(ledger::Arguments),
    /// Submit an order to a running engine.
    Submit(submit::Arguments),
    /// Follow an order to its end.
    Watch(watch::Arguments),
    /// List orders, newest first.
    Orders(orders::Arguments),
    /// Cancel an order.
    Cancel(orders::CancelArguments),
    /// Ask every venue for a quote.
    Quote(quote::Arguments),
    /// Measure the engine on this machine.
    Bench(bench::Arguments),
    /// Print the settings in force and where each came from, without secrets.
    Config,
}

/// Why a command did not go well.
type CommandError = Box<dyn std::error::Error>;

/// Runs the command that was asked for.
pub(crate) fn run() -> ExitCode {
    let Cli { place, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return print_answer(&answer),
    };
    let code = run_command(&place, command).unwrap_or_else(|failure| exit_code(&failure));
    logs::flush();
    code
}

fn run_command(place: &EngineAddress, command: Option<Command>) -> Result<ExitCode, CommandError> {
    match command.unwrap_or(Command::Serve(serve::Arguments::default())) {
        Command::Serve(arguments) => {
            logs::open();
            with_settings(place, |settings, _| serve::run(settings, &arguments))
        }
        Command::Migrate => with_settings(place, |settings, _| migrate::run(&settings)),
        Command::Ledger(arguments) => with_settings(place, |settings, _| ledger::run(&settings, &arguments)),
        Command::Config => with_settings(place, |_, entries| config::run(&entries)),
        Command::Submit(arguments) => client::block_on(submit::run(arguments)),
        Command::Watch(arguments) => client::block_on(watch::run(arguments)),
        Command::Orders(arguments) => client::block_on(orders::run(arguments)),
        Command::Cancel(arguments) => client::block_on(orders::cancel(arguments)),
        Command::Bench(arguments) => client::block_on(bench::run(arguments)),
        Command::Quote(arguments) => client::block_on(quote::run(arguments)),
    }
}

/// Says why a command did not go well, and which exit code says the same.
fn exit_code(failure: &CommandError) -> ExitCode {
    if let Some(ConfigError(errors)) = failure.downcast_ref() {
        output::note("order-engine: the settings are wrong:");
        errors.iter().for_each(|line| output::note(format_args!("  {line}")));
        return ExitCode::from(exit::CONFIG);
    }
    match failure.downcast_ref() {
        // Whoever has closed the pipe has read what they wanted.
        Some(OutputError::Closed) => ExitCode::SUCCESS,
        Some(OutputError::Lost(_)) => {
            output::note(format_args!("order-engine: {failure}"));
            ExitCode::from(exit::OUTPUT_LOST)
        }
        None => {
            output::note(format_args!("order-engine: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// What the parser of the command line says instead of a command: help, the version, or what is wrong.
fn print_answer(answer: &clap::Error) -> ExitCode {
    let printed = answer.print().and_then(|()| io::stdout().flush()).map_err(OutputError::from);
    match printed {
        Err(error @ OutputError::Lost(_)) if !answer.use_stderr() => {
            output::note(format_args!("order-engine: {error}"));
            ExitCode::from(exit::OUTPUT_LOST)
        }
        _ => ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(1)),
    }
}

/// Says why the database could not be had for this process alone, and ends with the exit code for that.
fn not_locked(error: LockError) -> Result<ExitCode, CommandError> {
    match error {
        LockError::Held { .. } => {
            output::note(format_args!("order-engine: {error}"));
            Ok(ExitCode::from(exit::LOCKED))
        }
        LockError::Setting(_) => {
            output::note(format_args!("order-engine: the settings are wrong:\n  {error}"));
            Ok(ExitCode::from(exit::CONFIG))
        }
        LockError::Database(_) => Err(error.into()),
    }
}

fn with_settings(
    place: &EngineAddress,
    run: impl FnOnce(Settings, Vec<ConfigEntry>) -> Result<ExitCode, CommandError>,
) -> Result<ExitCode, CommandError> {
    let profile = place.profile().map_err(|error| ConfigError(vec![error]))?;
    let (settings, entries) = Settings::load(&place.config_dir(), profile.as_deref())?;
    run(settings, entries)
}

impl EngineAddress {
    fn config_dir(&self) -> PathBuf {
        let variable =
            || std::env::var_os("ORDER_ENGINE_CONFIG_DIR").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.config_dir.clone().or_else(variable).unwrap_or_else(|| "config".into())
    }

    fn profile(&self) -> Result<Option<String>, String> {
        match &self.profile {
            Some(profile) => Ok(Some(profile.clone())),
            None => variable("ORDER_ENGINE_PROFILE"),
        }
    }
}
