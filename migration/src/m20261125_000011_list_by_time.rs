//! A list stands in the order of the times that it shows, so that those between two times are found without looking at
//! others. The indexes of the lists change for it; there are no more of them than before.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Orders {
    Table,
    Id,
    UserId,
    Status,
    CreatedAt,
}

const BY_ID: [&str; 2] = ["orders_by_owner", "orders_unfinished_by_owner"];
const BY_TIME: [&str; 2] = ["orders_by_owner_and_time", "orders_unfinished_by_owner_and_time"];

async fn replace(
    manager: &SchemaManager<'_>,
    old: [&str; 2],
    new: [&str; 2],
    index: IndexCreateStatement,
) -> Result<(), DbErr> {
    for name in old {
        manager.drop_index(Index::drop().name(name).table(Orders::Table).to_owned()).await?;
    }
    let [all, unfinished] = new;
    manager.create_index(index.clone().name(all).to_owned()).await?;
    let is_unfinished = Expr::col(Orders::Status).is_null();
    manager.create_index(index.clone().name(unfinished).and_where(is_unfinished).to_owned()).await
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut by_time = Index::create();
        by_time.table(Orders::Table).col(Orders::UserId).col(Orders::CreatedAt).col(Orders::Id);
        replace(manager, BY_ID, BY_TIME, by_time).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut by_id = Index::create();
        by_id.table(Orders::Table).col(Orders::UserId).col(Orders::Id);
        replace(manager, BY_TIME, BY_ID, by_id).await
    }
}
