//! A list is read in the order of its owner's ids, and a page looks at a bounded number of them. That takes three indexes,
//! whatever the filters are; the one of each filter goes, for each of them was written at every
//! accept. A client order id is found as the idempotency key that it is.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Orders {
    Table,
    Id,
    UserId,
    Status,
    TokenIn,
    TokenOut,
    ClientOrderId,
}

const BY_OWNER: &str = "orders_by_owner";
const UNFINISHED: &str = "orders_unfinished";
const UNFINISHED_BY_OWNER: &str = "orders_unfinished_by_owner";
const BY_USER: &str = "orders_by_user";
const BY_CLIENT_ORDER_ID: &str = "orders_by_client_order_id";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["orders_by_status", "orders_by_token_in", "orders_by_token_out", BY_USER, BY_CLIENT_ORDER_ID] {
            manager.drop_index(Index::drop().name(name).table(Orders::Table).to_owned()).await?;
        }
        let by_owner = || Index::create().table(Orders::Table).col(Orders::UserId).col(Orders::Id).to_owned();
        // With the orders that belong to no user.
        manager.create_index(by_owner().name(BY_OWNER).to_owned()).await?;
        // An order leaves these two when it ends, so they are as small as there are open orders: one for their lists, one
        // for a start, which takes them up oldest first.
        let unfinished = || Expr::col(Orders::Status).is_null();
        manager.create_index(by_owner().name(UNFINISHED_BY_OWNER).and_where(unfinished()).to_owned()).await?;
        let by_age =
            Index::create().name(UNFINISHED).table(Orders::Table).col(Orders::Id).and_where(unfinished()).to_owned();
        manager.create_index(by_age).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [BY_OWNER, UNFINISHED, UNFINISHED_BY_OWNER] {
            manager.drop_index(Index::drop().name(name).table(Orders::Table).to_owned()).await?;
        }
        let indexes = [
            ("orders_by_status", Orders::Status),
            ("orders_by_token_in", Orders::TokenIn),
            ("orders_by_token_out", Orders::TokenOut),
        ];
        for (name, column) in indexes {
            let index = Index::create().name(name).table(Orders::Table).col(column).col(Orders::Id).to_owned();
            manager.create_index(index).await?;
        }
        manager
            .create_index(
                Index::create()
                    .name(BY_CLIENT_ORDER_ID)
                    .table(Orders::Table)
                    .col(Orders::ClientOrderId)
                    .and_where(Expr::col(Orders::ClientOrderId).is_not_null())
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name(BY_USER)
                    .table(Orders::Table)
                    .col(Orders::UserId)
                    .col(Orders::Id)
                    .and_where(Expr::col(Orders::UserId).is_not_null())
                    .to_owned(),
            )
            .await
    }
}
