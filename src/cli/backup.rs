//! `order-engine backup`: copies the database and the ledger of the simulated chain, also while an engine runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::Utc;
use order_engine::Settings;
use order_engine::config::{DatabasePlace, LedgerPlace, SecretPlace};
use order_engine::runtime::new_file::beside;
use order_engine::simulation::ledger::LedgerCopy;
use order_engine::store::{CopyFigures, DatabaseCopy};

use super::exit::{CommandError, FAILURE};
use super::output;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The new file. The ledger of the simulated chain is copied to FILE.ledger.
    file: PathBuf,
}

/// The ledger of a backup, beside its database.
pub(super) fn ledger_of(backup: &Path) -> PathBuf {
    beside(backup, ".ledger")
}

pub(super) async fn run(settings: &Settings, Arguments { file }: &Arguments) -> Result<ExitCode, CommandError> {
    let database = match settings.database.url.place() {
        DatabasePlace::File(database) => &database.path,
        DatabasePlace::Memory => return Err("database.url: a database in memory cannot be copied".into()),
        DatabasePlace::Postgres(_) => {
            output::note(postgres_recipe(settings, file));
            return Ok(ExitCode::from(FAILURE));
        }
    };
    let copy = DatabaseCopy::make(database, file, Utc::now()).await?;
    // After the database, so that it has the fate of every swap that the copy of the database knows.
    let ledger = match &settings.simulation.ledger {
        LedgerPlace::File(ledger) if ledger.exists() => Some(LedgerCopy::make(ledger, &ledger_of(file))?),
        LedgerPlace::File(_) | LedgerPlace::Memory => None,
    };
    let swaps = ledger.map(LedgerCopy::publish).transpose()?;
    // The database is last: where it is, the backup is complete.
    let CopyFigures { orders, events, bytes } = copy.publish()?;
    output::line(format_args!("{}  {orders} orders, {events} events, {bytes} bytes", file.display()))?;
    match swaps {
        Some(swaps) => output::line(format_args!("{}  {swaps} swaps", ledger_of(file).display()))?,
        None => output::note("there is no file with a ledger, so the backup has none"),
    }
    if let SecretPlace::File(secret) = &settings.auth.secret {
        output::note(format_args!("not part of the backup: the secret that signs tokens, {}", secret.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// What to run instead with PostgreSQL.
pub(super) fn postgres_recipe(settings: &Settings, file: &Path) -> String {
    let (url, file) = (settings.database.url.redacted(), file.display());
    let ledger = match &settings.simulation.ledger {
        LedgerPlace::File(ledger) => format!("\nCopy the ledger {} after pg_dump has ended.", ledger.display()),
        LedgerPlace::Memory => String::new(),
    };
    format!(
        "order-engine: this command copies SQLite files. PostgreSQL copies its own databases, also while an engine runs:
  pg_dump --format=custom --file={file} {url}{ledger}
To restore it, into an empty database that no engine uses, and before an engine starts on it:
  pg_restore --exit-on-error --no-owner --dbname={url} {file}
  psql {url} --command=\"INSERT INTO engine_state VALUES ('restored', now()::text) ON CONFLICT DO NOTHING\"
  order-engine restore --resume, or order-engine restore --cancel-unfinished"
    )
}
