use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
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

// Lists are told newest first by id, so each filter is followed by the id.
const INDEXES: [(&str, Orders); 3] = [
    ("orders_by_status", Orders::Status),
    ("orders_by_token_in", Orders::TokenIn),
    ("orders_by_token_out", Orders::TokenOut),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(Orders::Table)
                    .col(ColumnDef::new(Orders::Id).uuid().not_null().primary_key())
                    .col(
                        ColumnDef::new(Orders::Type).text().not_null().check(Expr::col(Orders::Type).is_in(["market"])),
                    )
                    // How it ended; NULL until then. Where an unfinished order stands is told by its latest event: a row
                    // that is written twice, not once a status, is what keeps many orders a second affordable.
                    .col(ColumnDef::new(Orders::Status).text().check(Expr::col(Orders::Status).is_in([
                        "confirmed",
                        "failed",
                        "cancelled",
                    ])))
                    .col(ColumnDef::new(Orders::TokenIn).text().not_null())
                    .col(ColumnDef::new(Orders::TokenOut).text().not_null())
                    .col(ColumnDef::new(Orders::ClientOrderId).text())
                    // The parsed request as JSON: amounts are whole base units in it, so both databases keep them exactly.
                    .col(ColumnDef::new(Orders::Request).text().not_null())
                    .col(ColumnDef::new(Orders::CreatedAt).timestamp_with_time_zone().not_null())
                    .col(ColumnDef::new(Orders::EndedAt).timestamp_with_time_zone())
                    .check(Expr::col(Orders::TokenIn).ne(Expr::col(Orders::TokenOut)))
                    .to_owned(),
            )
            .await?;
        for (name, column) in INDEXES {
            manager
                .create_index(Index::create().name(name).table(Orders::Table).col(column).col(Orders::Id).to_owned())
                .await?;
        }
        manager
            .create_index(
                Index::create()
                    .name("orders_by_client_order_id")
                    .table(Orders::Table)
                    .col(Orders::ClientOrderId)
                    .and_where(Expr::col(Orders::ClientOrderId).is_not_null())
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Orders::Table).to_owned()).await
    }
}
