//! The accounts.

use crate::columns::{pk_uuid, text, text_uniq, timestamp_with_time_zone};
use crate::frame::drop_table;
use crate::prelude::*;

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Users {
    Table,
    Id,
    Username,
    Folded,
    PasswordHash,
    CreatedAt,
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(Users::Table)
                    .col(pk_uuid(Users::Id))
                    .col(text(Users::Username))
                    // The name in lower case. It is unique: names that differ only in case are the same name.
                    .col(text_uniq(Users::Folded))
                    // In the PHC string format, which includes the salt and the cost parameters.
                    .col(text(Users::PasswordHash))
                    .col(timestamp_with_time_zone(Users::CreatedAt))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        drop_table(manager, Users::Table).await
    }
}
