use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum OrderEvents {
    Table,
    Status,
    At,
    Dispatch,
}

const BY_TIME: &str = "order_events_dispatches";
const BY_NUMBER: &str = "order_events_dispatch_numbers";

// More than any rate window of the past could hold.
const LATEST: usize = 10_000;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .alter_table(
                Table::alter()
                    .table(OrderEvents::Table)
                    // Numbers the dispatches in the order in which they were recorded; NULL for every other event. Their
                    // times would not do: they are the wall clock's, which somebody may set.
                    .add_column(ColumnDef::new(OrderEvents::Dispatch).big_integer())
                    .to_owned(),
            )
            .await?;
        // The dispatches that were recorded before get their time as a number: one in microseconds, as new numbers begin.
        let micros = match manager.get_database_backend() {
            DbBackend::Postgres => "CAST(EXTRACT(EPOCH FROM \"at\") * 1000000 AS BIGINT)",
            _ => "CAST(strftime('%s', \"at\") AS INTEGER) * 1000000",
        };
        let latest = format!(
            "UPDATE order_events SET dispatch = {micros} WHERE status = 'routing' AND \"at\" >= COALESCE((SELECT \"at\" FROM \
             order_events WHERE status = 'routing' ORDER BY \"at\" DESC LIMIT 1 OFFSET {LATEST}), \
             (SELECT MIN(\"at\") FROM order_events WHERE status = 'routing'))"
        );
        manager.get_connection().execute_unprepared(&latest).await?;
        manager.drop_index(Index::drop().name(BY_TIME).table(OrderEvents::Table).to_owned()).await?;
        manager
            .create_index(
                Index::create()
                    .name(BY_NUMBER)
                    .table(OrderEvents::Table)
                    .col(OrderEvents::Dispatch)
                    .and_where(Expr::col(OrderEvents::Dispatch).is_not_null())
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_index(Index::drop().name(BY_NUMBER).table(OrderEvents::Table).to_owned()).await?;
        manager
            .alter_table(Table::alter().table(OrderEvents::Table).drop_column(OrderEvents::Dispatch).to_owned())
            .await?;
        manager
            .create_index(
                Index::create()
                    .name(BY_TIME)
                    .table(OrderEvents::Table)
                    .col(OrderEvents::At)
                    .and_where(Expr::col(OrderEvents::Status).eq("routing"))
                    .to_owned(),
            )
            .await
    }
}
