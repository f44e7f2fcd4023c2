//! What the engine must know about the database itself, one row for each fact.

use crate::columns::text;
use crate::frame::drop_table;
use crate::prelude::*;

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum EngineState {
    Table,
    Key,
    Value,
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(EngineState::Table)
                    // The name of the fact. `restored`: the database comes from a backup, and the operator has not
                    // decided yet whether its orders go on.
                    .col(text(EngineState::Key).primary_key())
                    .col(text(EngineState::Value))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        drop_table(manager, EngineState::Table).await
    }
}
