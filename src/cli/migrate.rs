//! `order-engine migrate`: the schema, up to date. Refused while an engine uses the database.

use std::process::ExitCode;

use order_engine::Settings;
use order_engine::store::lock::EngineLock;
use order_engine::store::{OrderStore, SeaStore};

use super::{CommandError, client, not_locked, output};

pub(super) fn run(settings: &Settings) -> Result<ExitCode, CommandError> {
    client::block_on(async {
        let lock = match EngineLock::acquire(&settings.database).await {
            Ok(lock) => lock,
            Err(error) => return not_locked(error),
        };
        let store = SeaStore::open_locked(&settings.database, &lock).await?;
        store.close().await;
        output::line(format_args!("{} is up to date", settings.database.url.redacted()))?;
        Ok(ExitCode::SUCCESS)
    })
}
