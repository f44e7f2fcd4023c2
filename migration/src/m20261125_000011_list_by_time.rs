//! A list is sorted by the times that it shows, so that the orders between two times are found without reading others.
//! The indexes of the lists change accordingly; their number stays the same.

use crate::frame::{create_indexes, drop_indexes};
use crate::m20261125_000009_index_lists_by_owner;
use crate::prelude::*;

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

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        drop_indexes(manager, Orders::Table, BY_ID).await?;
        let [all, mut unfinished] = BY_TIME.map(|name| {
            let mut index = Index::create();
            index.name(name).table(Orders::Table).col(Orders::UserId).col(Orders::CreatedAt).col(Orders::Id).to_owned()
        });
        // The second one serves the lists of open orders. An order leaves it when it ends, so ended orders are not
        // read.
        unfinished.and_where(Expr::col(Orders::Status).is_null());
        create_indexes(manager, [all, unfinished]).await
    }

    async fn down(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        drop_indexes(manager, Orders::Table, BY_TIME).await?;
        create_indexes(manager, m20261125_000009_index_lists_by_owner::list_indexes()).await
    }
}
