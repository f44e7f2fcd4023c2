//! Accounts and keys on SeaORM.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use entity::{api_keys, revoked_tokens, users};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, SqlErr,
};

use super::{SeaStore, unread};
use crate::domain::secret::Secret;
use crate::domain::user::{ApiKey, KeyId, User, UserId, Username};
use crate::store::ReadError;
use crate::store::users::{Account, Digest, RevokedToken, StoredKey, UserStore, UserWriteError};

#[async_trait]
impl UserStore for SeaStore {
    async fn create_account(&self, account: &Account) -> Result<(), UserWriteError> {
        let Account { user, password_hash } = account;
        let row = users::ActiveModel {
            id: Set(user.id.0),
            username: Set(user.name.as_str().to_owned()),
            folded: Set(user.name.folded()),
            password_hash: Set(password_hash.expose().to_owned()),
            created_at: Set(user.created_at),
        };
        match users::Entity::insert(row).exec_without_returning(&self.writer).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {
                Err(UserWriteError::NameTaken)
            }
            Err(error) => Err(unwritten(error)),
        }
    }

    async fn account(&self, name: &Username) -> Result<Option<Account>, ReadError> {
        let found = users::Entity::find().filter(users::Column::Folded.eq(name.folded()));
        let Some(row) = found.one(&self.reader).await.map_err(unread)? else { return Ok(None) };
        let password_hash = Secret::new(row.password_hash.clone());
        Ok(Some(Account { user: user(row)?, password_hash }))
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, ReadError> {
        users::Entity::find_by_id(id.0).one(&self.reader).await.map_err(unread)?.map(user).transpose()
    }

    async fn create_key(&self, StoredKey { key, digest }: &StoredKey) -> Result<(), UserWriteError> {
        let row = api_keys::ActiveModel {
            id: Set(key.id.0),
            user_id: Set(key.user.0),
            name: Set(key.name.clone()),
            scopes: Set(key.scopes.to_string()),
            digest: Set(digest.0.to_vec()),
            prefix: Set(key.prefix.clone()),
            created_at: Set(key.created_at),
            revoked_at: NotSet,
        };
        api_keys::Entity::insert(row).exec_without_returning(&self.writer).await.map(drop).map_err(unwritten)
    }

    async fn revoke_key(&self, user: UserId, id: KeyId, at: DateTime<Utc>) -> Result<bool, UserWriteError> {
        let update = api_keys::Entity::update_many()
            .col_expr(api_keys::Column::RevokedAt, Expr::value(at))
            .filter(api_keys::Column::Id.eq(id.0))
            .filter(api_keys::Column::UserId.eq(user.0))
            .filter(api_keys::Column::RevokedAt.is_null());
        Ok(update.exec(&self.writer).await.map_err(unwritten)?.rows_affected > 0)
    }

    async fn keys_of(&self, user: UserId) -> Result<Vec<ApiKey>, ReadError> {
        let live = api_keys::Entity::find()
            .filter(api_keys::Column::UserId.eq(user.0))
            .filter(api_keys::Column::RevokedAt.is_null());
        let rows = live.order_by_asc(api_keys::Column::Id).all(&self.reader).await.map_err(unread)?;
        rows.into_iter().map(|row| Ok(stored_key(row)?.key)).collect()
    }

    async fn live_keys(&self) -> Result<Vec<StoredKey>, ReadError> {
        let live = api_keys::Entity::find().filter(api_keys::Column::RevokedAt.is_null());
        live.all(&self.reader).await.map_err(unread)?.into_iter().map(stored_key).collect()
    }

    async fn revoke_token(&self, token: RevokedToken, now: DateTime<Utc>) -> Result<(), UserWriteError> {
        let row = revoked_tokens::ActiveModel { id: Set(token.id), expires_at: Set(token.expires_at) };
        let once = revoked_tokens::Entity::insert(row).on_conflict_do_nothing_on([revoked_tokens::Column::Id]);
        once.exec_without_returning(&self.writer).await.map_err(unwritten)?;
        revoked_tokens::Entity::delete_many()
            .filter(revoked_tokens::Column::ExpiresAt.lte(now))
            .exec(&self.writer)
            .await
            .map(drop)
            .map_err(unwritten)
    }

    async fn revoked_tokens(&self, now: DateTime<Utc>) -> Result<Vec<RevokedToken>, ReadError> {
        let live = revoked_tokens::Entity::find().filter(revoked_tokens::Column::ExpiresAt.gt(now));
        let rows = live.all(&self.reader).await.map_err(unread)?;
        Ok(rows.into_iter().map(|row| RevokedToken { id: row.id, expires_at: row.expires_at }).collect())
    }
}

fn user(row: users::Model) -> Result<User, ReadError> {
    let name = row.username.parse().map_err(|error| unreadable("user", row.id, error))?;
    Ok(User { id: UserId(row.id), name, created_at: row.created_at })
}

fn stored_key(row: api_keys::Model) -> Result<StoredKey, ReadError> {
    let scopes = row.scopes.parse().map_err(|error| unreadable("API key", row.id, error))?;
    let digest = row.digest.try_into().map_err(|_| unreadable("API key", row.id, "its digest has another length"))?;
    let (id, user) = (KeyId(row.id), UserId(row.user_id));
    let key = ApiKey { id, user, name: row.name, scopes, prefix: row.prefix, created_at: row.created_at };
    Ok(StoredKey { key, digest: Digest(digest) })
}

fn unreadable(what: &str, id: uuid::Uuid, reason: impl std::fmt::Display) -> ReadError {
    ReadError(format!("{what} {id} is stored in a way this version cannot read: {reason}"))
}

fn unwritten(error: DbErr) -> UserWriteError {
    UserWriteError::Unavailable(error.to_string())
}
