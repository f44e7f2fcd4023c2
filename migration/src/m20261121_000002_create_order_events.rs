//! The events of the orders. The events are the history of an order, and the order is rebuilt from them.

use crate::columns::{integer, text, timestamp_with_time_zone, uuid};
use crate::frame::drop_table;
use crate::prelude::*;

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum OrderEvents {
    Table,
    OrderId,
    Seq,
    Status,
    Data,
    At,
    WriteId,
}

/// Finds the dispatches of the last minute, from which a start rebuilds the rate window;
/// `m20261125_000010_number_dispatches` replaces it.
pub(crate) fn dispatch_index() -> IndexCreateStatement {
    Index::create()
        .name("order_events_dispatches")
        .table(OrderEvents::Table)
        .col(OrderEvents::At)
        .and_where(Expr::col(OrderEvents::Status).eq("routing"))
        .to_owned()
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(OrderEvents::Table)
                    .col(uuid(OrderEvents::OrderId))
                    .col(integer(OrderEvents::Seq).check(Expr::col(OrderEvents::Seq).gte(1)))
                    .col(text(OrderEvents::Status))
                    .col(text(OrderEvents::Data))
                    .col(timestamp_with_time_zone(OrderEvents::At))
                    // Identifies the write: a write that is repeated after a lost answer finds its own id here, and a
                    // write that lost a race finds another.
                    .col(uuid(OrderEvents::WriteId))
                    // Two writers cannot both record the same step of an order.
                    .primary_key(Index::create().col(OrderEvents::OrderId).col(OrderEvents::Seq))
                    .to_owned(),
            )
            .await?;
        manager.create_index(dispatch_index()).await
    }

    async fn down(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        drop_table(manager, OrderEvents::Table).await
    }
}
