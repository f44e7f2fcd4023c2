//! The signed swaps, recorded before they are sent.

use crate::columns::{big_integer, binary, integer, text, timestamp_with_time_zone, uuid};
use crate::frame::{create_indexes, drop_table};
use crate::prelude::*;

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Transactions {
    Table,
    Signature,
    OrderId,
    Attempt,
    Venue,
    Bytes,
    LastValidBlockHeight,
    Status,
    Slot,
    Fee,
    Error,
    CreatedAt,
    UpdatedAt,
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let statuses = ["live", "landed", "rejected", "expired"];
        manager
            .create_table(
                Table::create()
                    .table(Transactions::Table)
                    .col(text(Transactions::Signature).primary_key())
                    .col(uuid(Transactions::OrderId))
                    .col(integer(Transactions::Attempt))
                    .col(text(Transactions::Venue))
                    .col(binary(Transactions::Bytes))
                    .col(big_integer(Transactions::LastValidBlockHeight))
                    .col(text(Transactions::Status).check(Expr::col(Transactions::Status).is_in(statuses)))
                    .col(ColumnDef::new(Transactions::Slot).big_integer())
                    .col(ColumnDef::new(Transactions::Fee).big_integer())
                    .col(ColumnDef::new(Transactions::Error).text())
                    .col(timestamp_with_time_zone(Transactions::CreatedAt))
                    .col(timestamp_with_time_zone(Transactions::UpdatedAt))
                    .to_owned(),
            )
            .await?;
        let by_order =
            |name| Index::create().name(name).table(Transactions::Table).col(Transactions::OrderId).to_owned();
        let indexes = [
            // Finds the swaps of an order, and allows one swap per attempt.
            by_order("transactions_by_order").col(Transactions::Attempt).unique().to_owned(),
            // Allows one live swap per order: the database itself refuses a second one.
            by_order("transactions_one_live_swap")
                .unique()
                .and_where(Expr::col(Transactions::Status).eq("live"))
                .to_owned(),
        ];
        create_indexes(manager, indexes).await
    }

    async fn down(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        drop_table(manager, Transactions::Table).await
    }
}
