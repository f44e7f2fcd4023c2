use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
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

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(OrderEvents::Table)
                    .col(ColumnDef::new(OrderEvents::OrderId).uuid().not_null())
                    .col(
                        ColumnDef::new(OrderEvents::Seq).integer().not_null().check(Expr::col(OrderEvents::Seq).gte(1)),
                    )
                    .col(ColumnDef::new(OrderEvents::Status).text().not_null())
                    .col(ColumnDef::new(OrderEvents::Data).text().not_null())
                    .col(ColumnDef::new(OrderEvents::At).timestamp_with_time_zone().not_null())
                    // Tells a repeated write of one's own from a lost race.
                    .col(ColumnDef::new(OrderEvents::WriteId).uuid().not_null())
                    .primary_key(Index::create().col(OrderEvents::OrderId).col(OrderEvents::Seq))
                    .to_owned(),
            )
            .await?;
        // The dispatches of the last minute, from which the rate window is rebuilt.
        manager
            .create_index(
                Index::create()
                    .name("order_events_dispatches")
                    .table(OrderEvents::Table)
                    .col(OrderEvents::At)
                    .and_where(Expr::col(OrderEvents::Status).eq("routing"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(OrderEvents::Table).to_owned()).await
    }
}
