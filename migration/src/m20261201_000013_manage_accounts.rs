//! Accounts have scopes, can be disabled and deleted, and their tokens can be ended all at once.

use crate::columns::{big_integer, text};
use crate::frame::{add_column, drop_column, drop_indexes};
use crate::prelude::*;

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Users {
    Table,
    Scopes,
    TokenVersion,
    Revision,
    DisabledAt,
    DeletedAt,
}

const BY_REVISION: &str = "users_by_revision";

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let columns = [
            // Until now every user could read and trade.
            text(Users::Scopes).default("read trade").take(),
            // The tokens with another version have ended.
            big_integer(Users::TokenVersion).default(0).take(),
            // The number of the latest change of the row; all changes of the table are numbered in one sequence.
            big_integer(Users::Revision).default(0).take(),
            ColumnDef::new(Users::DisabledAt).timestamp_with_time_zone().take(),
            // A deleted account keeps its id, because its orders do, and nothing else of its user.
            ColumnDef::new(Users::DeletedAt).timestamp_with_time_zone().take(),
        ];
        for mut column in columns {
            add_column(manager, Users::Table, &mut column).await?;
        }
        // Finds the changes since the latest known one, and the number of the next.
        let by_revision = Index::create().name(BY_REVISION).table(Users::Table).col(Users::Revision).to_owned();
        manager.create_index(by_revision).await
    }

    async fn down(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        // The version before cannot keep a user out.
        let disabled = "SELECT count(*) FROM users WHERE disabled_at IS NOT NULL AND deleted_at IS NULL";
        match manager.number(disabled).await? {
            0 => {}
            count => return Err(DbErr::Migration(format!("{count} users are disabled, and would be enabled again"))),
        }
        drop_indexes(manager, Users::Table, [BY_REVISION]).await?;
        for column in [Users::DeletedAt, Users::DisabledAt, Users::Revision, Users::TokenVersion, Users::Scopes] {
            drop_column(manager, Users::Table, column).await?;
        }
        Ok(())
    }
}
