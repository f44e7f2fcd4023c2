//! Orders belong to users.

use crate::frame::{add_column, drop_column, drop_indexes};
use crate::prelude::*;

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Orders {
    Table,
    Id,
    UserId,
}

const BY_USER: &str = "orders_by_user";

/// Lists the orders of a user; `m20261125_000009_index_lists_by_owner` replaces it.
pub(crate) fn user_index() -> IndexCreateStatement {
    Index::create()
        .name(BY_USER)
        .table(Orders::Table)
        .col(Orders::UserId)
        .col(Orders::Id)
        // Orders without a user are left out, so a server without users does not pay for it.
        .and_where(Expr::col(Orders::UserId).is_not_null())
        .to_owned()
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        // NULL for an order without a user.
        add_column(manager, Orders::Table, ColumnDef::new(Orders::UserId).uuid()).await?;
        manager.create_index(user_index()).await
    }

    async fn down(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        drop_indexes(manager, Orders::Table, [BY_USER]).await?;
        drop_column(manager, Orders::Table, Orders::UserId).await
    }
}
