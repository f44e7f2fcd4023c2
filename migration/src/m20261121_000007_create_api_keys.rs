//! The API keys.

use crate::columns::{binary_uniq, pk_uuid, text, timestamp_with_time_zone, uuid};
use crate::frame::drop_table;
use crate::prelude::*;

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum ApiKeys {
    Table,
    Id,
    UserId,
    Name,
    Scopes,
    Digest,
    Prefix,
    CreatedAt,
    RevokedAt,
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(ApiKeys::Table)
                    .col(pk_uuid(ApiKeys::Id))
                    .col(uuid(ApiKeys::UserId))
                    .col(text(ApiKeys::Name))
                    .col(text(ApiKeys::Scopes))
                    // SHA-256 of the key. The key has 256 random bits, so the hash needs no salt and need not be slow.
                    .col(binary_uniq(ApiKeys::Digest))
                    .col(text(ApiKeys::Prefix))
                    .col(timestamp_with_time_zone(ApiKeys::CreatedAt))
                    .col(ColumnDef::new(ApiKeys::RevokedAt).timestamp_with_time_zone())
                    .to_owned(),
            )
            .await?;
        // Lists and counts the keys of a user that are not revoked.
        let by_user = Index::create()
            .name("api_keys_by_user")
            .table(ApiKeys::Table)
            .col(ApiKeys::UserId)
            .col(ApiKeys::Id)
            .and_where(Expr::col(ApiKeys::RevokedAt).is_null())
            .to_owned();
        manager.create_index(by_user).await
    }

    async fn down(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        drop_table(manager, ApiKeys::Table).await
    }
}
