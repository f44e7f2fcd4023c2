use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Orders {
    Table,
    Id,
    UserId,
}

const INDEX: &str = "orders_by_user";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .alter_table(
                Table::alter()
                    .table(Orders::Table)
                    // Whose it is; NULL where it was submitted by nobody in particular.
                    .add_column(ColumnDef::new(Orders::UserId).uuid())
                    .to_owned(),
            )
            .await?;
        // Only users' orders are in it: on a server without users it costs nothing.
        manager
            .create_index(
                Index::create()
                    .name(INDEX)
                    .table(Orders::Table)
                    .col(Orders::UserId)
                    .col(Orders::Id)
                    .and_where(Expr::col(Orders::UserId).is_not_null())
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_index(Index::drop().name(INDEX).table(Orders::Table).to_owned()).await?;
        manager.alter_table(Table::alter().table(Orders::Table).drop_column(Orders::UserId).to_owned()).await
    }
}
