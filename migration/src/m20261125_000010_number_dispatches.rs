//! Dispatches have numbers, so that a start finds the latest ones although the wall clock may have been set back.

use crate::frame::{add_column, drop_column, drop_indexes};
use crate::m20261121_000002_create_order_events;
use crate::prelude::*;

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum OrderEvents {
    Table,
    Dispatch,
}

const BY_TIME: &str = "order_events_dispatches";
const BY_NUMBER: &str = "order_events_dispatch_numbers";

/// Only the latest dispatches get a number. No rate window ever held more than this.
const LATEST: usize = 10_000;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        // The number of a dispatch, in the order in which dispatches were recorded; NULL for every other event.
        add_column(manager, OrderEvents::Table, ColumnDef::new(OrderEvents::Dispatch).big_integer()).await?;
        // New numbers start at the time in microseconds, so the existing dispatches get their time as their number.
        let micros = match manager.backend() {
            DbBackend::Postgres => "CAST(EXTRACT(EPOCH FROM \"at\") * 1000000 AS BIGINT)",
            _ => "CAST(strftime('%s', \"at\") AS INTEGER) * 1000000",
        };
        let latest = format!(
            "UPDATE order_events SET dispatch = {micros} WHERE status = 'routing' AND \"at\" >= COALESCE((SELECT \"at\" FROM \
             order_events WHERE status = 'routing' ORDER BY \"at\" DESC LIMIT 1 OFFSET {LATEST}), \
             (SELECT MIN(\"at\") FROM order_events WHERE status = 'routing'))"
        );
        manager.execute(&latest).await?;
        drop_indexes(manager, OrderEvents::Table, [BY_TIME]).await?;
        // Finds the latest dispatches, from which a start rebuilds the rate window. It holds nothing but dispatches.
        let by_number = Index::create()
            .name(BY_NUMBER)
            .table(OrderEvents::Table)
            .col(OrderEvents::Dispatch)
            .and_where(Expr::col(OrderEvents::Dispatch).is_not_null())
            .to_owned();
        manager.create_index(by_number).await
    }

    async fn down(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        drop_indexes(manager, OrderEvents::Table, [BY_NUMBER]).await?;
        drop_column(manager, OrderEvents::Table, OrderEvents::Dispatch).await?;
        manager.create_index(m20261121_000002_create_order_events::dispatch_index()).await
    }
}
