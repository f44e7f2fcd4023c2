//! The tokens that were revoked before they expired.

use crate::columns::{pk_uuid, timestamp_with_time_zone};
use crate::frame::drop_table;
use crate::prelude::*;

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum RevokedTokens {
    Table,
    Id,
    ExpiresAt,
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(RevokedTokens::Table)
                    .col(pk_uuid(RevokedTokens::Id))
                    // An expired token is not valid anyway, so its row can be deleted after this time.
                    .col(timestamp_with_time_zone(RevokedTokens::ExpiresAt))
                    .to_owned(),
            )
            .await?;
        // Finds the rows to delete.
        let by_expiry = Index::create()
            .name("revoked_tokens_by_expiry")
            .table(RevokedTokens::Table)
            .col(RevokedTokens::ExpiresAt)
            .to_owned();
        manager.create_index(by_expiry).await
    }

    async fn down(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        drop_table(manager, RevokedTokens::Table).await
    }
}
