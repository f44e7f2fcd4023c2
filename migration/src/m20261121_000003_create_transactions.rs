use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
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

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(Transactions::Table)
                    .col(ColumnDef::new(Transactions::Signature).text().not_null().primary_key())
                    .col(ColumnDef::new(Transactions::OrderId).uuid().not_null())
                    .col(ColumnDef::new(Transactions::Attempt).integer().not_null())
                    .col(ColumnDef::new(Transactions::Venue).text().not_null())
                    .col(ColumnDef::new(Transactions::Bytes).binary().not_null())
                    .col(ColumnDef::new(Transactions::LastValidBlockHeight).big_integer().not_null())
                    .col(
                        ColumnDef::new(Transactions::Status)
                            .text()
                            .not_null()
                            .check(Expr::col(Transactions::Status).is_in(["live", "landed", "rejected", "expired"])),
                    )
                    .col(ColumnDef::new(Transactions::Slot).big_integer())
                    .col(ColumnDef::new(Transactions::Fee).big_integer())
                    .col(ColumnDef::new(Transactions::Error).text())
                    .col(ColumnDef::new(Transactions::CreatedAt).timestamp_with_time_zone().not_null())
                    .col(ColumnDef::new(Transactions::UpdatedAt).timestamp_with_time_zone().not_null())
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("transactions_by_order")
                    .table(Transactions::Table)
                    .col(Transactions::OrderId)
                    .col(Transactions::Attempt)
                    .unique()
                    .to_owned(),
            )
            .await?;
        // An order has at most one live swap; the database says so too.
        manager
            .create_index(
                Index::create()
                    .name("transactions_one_live_swap")
                    .table(Transactions::Table)
                    .col(Transactions::OrderId)
                    .unique()
                    .and_where(Expr::col(Transactions::Status).eq("live"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Transactions::Table).to_owned()).await
    }
}
