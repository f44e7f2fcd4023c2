use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Orders {
    Table,
    Id,
    Type,
    Status,
    Seq,
    TokenIn,
    TokenOut,
    ClientOrderId,
    Request,
    CreatedAt,
    UpdatedAt,
}

const INDEXES: [(&str, Orders); 5] = [
    ("orders_by_status", Orders::Status),
    ("orders_by_token_in", Orders::TokenIn),
    ("orders_by_token_out", Orders::TokenOut),
    ("orders_by_client_order_id", Orders::ClientOrderId),
    ("orders_by_created_at", Orders::CreatedAt),
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
                    .col(ColumnDef::new(Orders::Status).text().not_null().check(Expr::col(Orders::Status).is_in([
                        "pending",
                        "routing",
                        "building",
                        "submitted",
                        "confirmed",
                        "failed",
                        "cancelled",
                    ])))
                    .col(ColumnDef::new(Orders::Seq).integer().not_null().check(Expr::col(Orders::Seq).gte(1)))
                    .col(ColumnDef::new(Orders::TokenIn).text().not_null())
                    .col(ColumnDef::new(Orders::TokenOut).text().not_null())
                    .col(ColumnDef::new(Orders::ClientOrderId).text())
                    // The parsed request as JSON: amounts are whole base units in it, so both databases keep them exactly.
                    .col(ColumnDef::new(Orders::Request).text().not_null())
                    .col(ColumnDef::new(Orders::CreatedAt).timestamp_with_time_zone().not_null())
                    .col(ColumnDef::new(Orders::UpdatedAt).timestamp_with_time_zone().not_null())
                    .check(Expr::col(Orders::TokenIn).ne(Expr::col(Orders::TokenOut)))
                    .to_owned(),
            )
            .await?;
        // Lists are told newest first by id, so each filter is followed by the id.
        for (name, column) in INDEXES {
            manager
                .create_index(Index::create().name(name).table(Orders::Table).col(column).col(Orders::Id).to_owned())
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Orders::Table).to_owned()).await
    }
}
