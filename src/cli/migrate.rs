//! `order-engine migrate`: the schema, up to date.

use std::process::ExitCode;

use order_engine::Settings;
use order_engine::store::{OrderStore, SeaStore};

use super::{Failure, client};

pub(super) fn run(settings: &Settings) -> Result<ExitCode, Failure> {
    client::block_on(async {
        let store = SeaStore::open(&settings.database).await?;
        store.close().await;
        println!("{} is up to date", settings.database.url.redacted());
        Ok(ExitCode::SUCCESS)
    })
}
