//! The orders, one row each.

use crate::columns::{pk_uuid, text, timestamp_with_time_zone};
use crate::frame::{create_indexes, drop_table};
use crate::prelude::*;

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Orders {
    Table,
    Id,
    Type,
    Status,
    TokenIn,
    TokenOut,
    ClientOrderId,
    Request,
    CreatedAt,
    EndedAt,
}

/// The indexes of the list, one per filter; `m20261125_000009_index_lists_by_owner` replaces them.
pub(crate) fn list_indexes() -> [IndexCreateStatement; 4] {
    // Lists are sorted by id, newest first, so the id follows the column of each filter.
    let filter = |name, column| Index::create().name(name).table(Orders::Table).col(column).col(Orders::Id).to_owned();
    [
        filter("orders_by_status", Orders::Status),
        filter("orders_by_token_in", Orders::TokenIn),
        filter("orders_by_token_out", Orders::TokenOut),
        // Most orders have no client order id; the index leaves them out.
        Index::create()
            .name("orders_by_client_order_id")
            .table(Orders::Table)
            .col(Orders::ClientOrderId)
            .and_where(Expr::col(Orders::ClientOrderId).is_not_null())
            .to_owned(),
    ]
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let ends = ["confirmed", "failed", "cancelled"];
        manager
            .create_table(
                Table::create()
                    .table(Orders::Table)
                    .col(pk_uuid(Orders::Id))
                    .col(text(Orders::Type).check(Expr::col(Orders::Type).is_in(["market"])))
                    // The final status; NULL until the order has ended. The status of an unfinished order is in its
                    // latest event: the row is written twice per order and not once per status, which costs far less.
                    .col(ColumnDef::new(Orders::Status).text().check(Expr::col(Orders::Status).is_in(ends)))
                    .col(text(Orders::TokenIn))
                    .col(text(Orders::TokenOut))
                    .col(ColumnDef::new(Orders::ClientOrderId).text())
                    // The parsed request as JSON. Its amounts are integers in base units, exact on both databases.
                    .col(text(Orders::Request))
                    .col(timestamp_with_time_zone(Orders::CreatedAt))
                    .col(ColumnDef::new(Orders::EndedAt).timestamp_with_time_zone())
                    .check(Expr::col(Orders::TokenIn).ne(Expr::col(Orders::TokenOut)))
                    .to_owned(),
            )
            .await?;
        create_indexes(manager, list_indexes()).await
    }

    async fn down(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        drop_table(manager, Orders::Table).await
    }
}
