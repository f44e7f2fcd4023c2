//! `order-engine migrate`: brings the schema up to date. Refused while an engine uses the database.

use std::process::ExitCode;

use order_engine::Settings;
use order_engine::store::lock::EngineLock;
use order_engine::store::{OrderStore, SeaStore};

use super::exit::CommandError;
use super::output;

pub(super) async fn run(settings: &Settings) -> Result<ExitCode, CommandError> {
    let lock = EngineLock::acquire(&settings.database).await?;
    let store = SeaStore::open_locked(&settings.database, &lock).await?;
    store.close().await;
    output::line(format_args!("the schema of {} is up to date", settings.database.url.redacted()))?;
    Ok(ExitCode::SUCCESS)
}
