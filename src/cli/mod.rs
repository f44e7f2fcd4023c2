//! The command line: one file for each command. Without a command it runs `serve`.

mod backup;
mod client;
mod config;
mod exit;
mod ledger;
mod migrate;
mod orders;
mod output;
mod quote;
mod restore;
mod serve;
mod submit;
mod users;
mod watch;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use actix_web::rt::System;
use clap::{Parser, Subcommand};
use order_engine::config::{ConfigEntry, ConfigError, LogFormat, environment_mistakes, variable};
use order_engine::{Settings, telemetry::logs};

use self::exit::CommandError;
use self::output::OutputError;

/// An order execution engine for Solana DEXes: each order is swapped exactly once, on Raydium or Meteora, whichever has
/// the better route.
#[derive(Parser)]
#[command(name = "order-engine", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    sources: SettingSources,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where settings are read from, besides the environment.
#[derive(clap::Args, Default)]
struct SettingSources {
    /// The directory that contains {profile}.toml [env: ORDER_ENGINE_CONFIG_DIR] [default: config]
    #[arg(long, global = true)]
    config_dir: Option<PathBuf>,
    /// Override the default settings with those of {config-dir}/{profile}.toml [env: ORDER_ENGINE_PROFILE]
    #[arg(long, global = true)]
    profile: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the engine (the default).
    Serve(serve::Arguments),
    /// Bring the database schema up to date.
    Migrate,
    /// Manage accounts in the database, also while an engine runs on it.
    Users(users::Arguments),
    /// Copy the database and the ledger of the simulated chain, also while an engine runs.
    Backup(backup::Arguments),
    /// Put a backup in the place of the database, and decide what its open orders do.
    Restore(restore::Arguments),
    /// Print every swap that the simulated chain received, and its outcome.
    Ledger(ledger::Arguments),
    /// Submit an order to a running engine.
    Submit(submit::Arguments),
    /// Follow an order until it ends.
    Watch(watch::Arguments),
    /// List orders, newest first.
    Orders(orders::Arguments),
    /// Cancel an order.
    Cancel(orders::CancelArguments),
    /// Ask every venue for a quote.
    Quote(quote::Arguments),
    /// Print every setting and its source, without secrets.
    Config,
}

/// Parses the command line, runs the command, and returns its exit code.
pub(crate) fn run() -> ExitCode {
    let Cli { sources, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return print_answer(&answer),
    };
    let command = command.unwrap_or(Command::Serve(serve::Arguments::default()));
    let code = run_command(&sources, command).unwrap_or_else(|failure| exit::report(&failure));
    logs::flush();
    code
}

fn run_command(sources: &SettingSources, command: Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::Serve(arguments) => {
            logs::open(sources.log_format());
            serve::run(sources.load()?.0, &arguments)
        }
        Command::Migrate => {
            let (settings, _) = sources.load()?;
            block_on(migrate::run(&settings))
        }
        Command::Users(arguments) => {
            let (settings, _) = sources.load()?;
            block_on(async move { users::run(&settings, arguments).await })
        }
        Command::Backup(arguments) => {
            let (settings, _) = sources.load()?;
            block_on(backup::run(&settings, &arguments))
        }
        Command::Restore(arguments) => {
            let (settings, _) = sources.load()?;
            block_on(restore::run(&settings, &arguments))
        }
        Command::Ledger(arguments) => ledger::run(&sources.load()?.0, &arguments),
        Command::Config => config::run(&sources.load()?.1),
        Command::Submit(arguments) => block_on(submit::run(arguments)),
        Command::Watch(arguments) => block_on(watch::run(arguments)),
        Command::Orders(arguments) => block_on(orders::run(arguments)),
        Command::Cancel(arguments) => block_on(orders::cancel(arguments)),
        Command::Quote(arguments) => block_on(quote::run(arguments)),
    }
}

fn block_on(command: impl Future<Output = Result<ExitCode, CommandError>>) -> Result<ExitCode, CommandError> {
    // With a misspelled ORDER_ENGINE_URL a client command would talk to the wrong engine.
    let mistakes = environment_mistakes();
    if !mistakes.is_empty() {
        return Err(ConfigError(mistakes).into());
    }
    System::new().block_on(command)
}

/// Prints what the parser returns instead of a command: the help, the version, or an error.
fn print_answer(answer: &clap::Error) -> ExitCode {
    if answer.use_stderr() && is_serve() && SettingSources::default().log_format() == LogFormat::Json {
        logs::open(LogFormat::Json);
        logs::say(answer.to_string().trim_end());
        logs::flush();
        return ExitCode::from(exit::USAGE);
    }
    let printed = answer.print().and_then(|()| io::stdout().flush()).map_err(OutputError::from);
    match printed {
        Err(error @ OutputError::Lost(_)) if !answer.use_stderr() => exit::report(&error.into()),
        _ => ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(1)),
    }
}

/// Whether the command line is one of `serve`, which is the default. A person runs the other commands.
fn is_serve() -> bool {
    let mut words = std::env::args_os().skip(1).filter(|word| !word.to_string_lossy().starts_with('-'));
    words.next().is_none_or(|word| word == "serve")
}

impl SettingSources {
    /// The format of the log, which is known before the other settings are.
    fn log_format(&self) -> LogFormat {
        Settings::log_format(&self.config_dir(), self.profile().unwrap_or_default().as_deref())
    }

    fn load(&self) -> Result<(Settings, Vec<ConfigEntry>), CommandError> {
        let profile = self.profile().map_err(|error| ConfigError(vec![error]))?;
        Ok(Settings::load(&self.config_dir(), profile.as_deref())?)
    }

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
