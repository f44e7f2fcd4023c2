//! A list is read in the order of the ids of its owner's orders, and a page reads a bounded number of orders. This
//! takes three indexes for all filters. The indexes per filter are dropped: each of them was written at every accept.
//! An order is found by its client order id through the idempotency keys, which include it.

use crate::frame::{create_indexes, drop_indexes};
use crate::prelude::*;
use crate::{m20261121_000001_create_orders, m20261121_000005_orders_belong_to_users};

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Orders {
    Table,
    Id,
    UserId,
    Status,
}

const BY_FILTER: [&str; 5] =
    ["orders_by_status", "orders_by_token_in", "orders_by_token_out", "orders_by_user", "orders_by_client_order_id"];
const BY_OWNER: &str = "orders_by_owner";
const UNFINISHED: &str = "orders_unfinished";
const UNFINISHED_BY_OWNER: &str = "orders_unfinished_by_owner";

/// The indexes of the lists: all orders of an owner, and the unfinished ones among them;
/// `m20261125_000011_list_by_time` replaces them.
pub(crate) fn list_indexes() -> [IndexCreateStatement; 2] {
    let by_owner = || Index::create().table(Orders::Table).col(Orders::UserId).col(Orders::Id).to_owned();
    [
        // Orders without a user are in it as well.
        by_owner().name(BY_OWNER).to_owned(),
        // An order leaves the index when it ends, so the index is as small as the number of open orders.
        by_owner().name(UNFINISHED_BY_OWNER).and_where(Expr::col(Orders::Status).is_null()).to_owned(),
    ]
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        drop_indexes(manager, Orders::Table, BY_FILTER).await?;
        create_indexes(manager, list_indexes()).await?;
        // A start reads all unfinished orders, oldest first. It also holds open orders only.
        let unfinished = Index::create()
            .name(UNFINISHED)
            .table(Orders::Table)
            .col(Orders::Id)
            .and_where(Expr::col(Orders::Status).is_null())
            .to_owned();
        manager.create_index(unfinished).await
    }

    async fn down(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        drop_indexes(manager, Orders::Table, [BY_OWNER, UNFINISHED, UNFINISHED_BY_OWNER]).await?;
        create_indexes(manager, m20261121_000001_create_orders::list_indexes()).await?;
        manager.create_index(m20261121_000005_orders_belong_to_users::user_index()).await
    }
}
