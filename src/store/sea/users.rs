//! The store of users: API keys and revoked tokens. Accounts are in [`super::accounts`].

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use entity::{api_keys, revoked_tokens, users};
use sea_orm::sea_query::{Expr, ExprTrait, InsertStatement, Query, Value};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryFilter,
    QueryOrder, QueryResult, QuerySelect, QueryTrait, Select,
};

use crate::domain::user::{ApiKey, KeyId, UserId, Username};
use crate::store::error::ReadError;
use crate::store::sea::error::text;
use crate::store::sea::store::{SeaStore, WriterConnection};
use crate::store::users::{
    Account, AccountChange, Digest, NewAccount, RevokedToken, Standing, StoredKey, UserStore, UserWriteError,
};

#[async_trait]
impl UserStore for SeaStore {
    async fn create_account(&self, account: &NewAccount) -> Result<Standing, UserWriteError> {
        self.insert_account(account).await
    }

    async fn account(&self, name: &Username) -> Result<Option<Account>, ReadError> {
        self.account_by_name(name).await
    }

    async fn account_of(&self, id: UserId) -> Result<Option<Account>, ReadError> {
        self.account_by_id(id).await
    }

    async fn accounts(&self) -> Result<Vec<Account>, ReadError> {
        self.all_accounts().await
    }

    async fn change_account(
        &self,
        id: UserId,
        change: AccountChange,
        of_version: Option<i64>,
        at: DateTime<Utc>,
    ) -> Result<Standing, UserWriteError> {
        self.change(id, &change, of_version, at).await
    }

    async fn remains(&self, id: UserId) -> Result<bool, UserWriteError> {
        self.account_remains(id).await
    }

    async fn standings(&self, after: i64) -> Result<Vec<Standing>, ReadError> {
        self.standings_after(after).await
    }

    async fn create_key(&self, key: &StoredKey, most: u32) -> Result<(), UserWriteError> {
        let insert = insert_key_below(most, key)?;
        let made = match &self.writer {
            // SQLite runs one writing statement at a time.
            WriterConnection::File(_) => self.execute(self.backend().build(&insert)).await?,
            // On PostgreSQL concurrent statements do not see each other's rows, so a lock on the row of the user makes
            // the keys of one user one after the other.
            WriterConnection::Pool(pool) => {
                let transaction =
                    self.begin(pool).await.map_err(|error| UserWriteError::Unavailable(error.to_string()))?;
                let mut user = users::Entity::find_by_id(key.key.user.0);
                if self.backend() == DbBackend::Postgres {
                    user = user.lock_exclusive();
                }
                user.one(&transaction).await?;
                let made = transaction.execute(&insert).await?;
                transaction.commit().await?;
                made
            }
        };
        if made.rows_affected() == 0 { Err(UserWriteError::TooManyKeys) } else { Ok(()) }
    }

    async fn revoke_key(&self, user: UserId, id: KeyId, at: DateTime<Utc>) -> Result<bool, UserWriteError> {
        let update = api_keys::Entity::update_many()
            .col_expr(api_keys::Column::RevokedAt, Expr::value(at))
            .filter(api_keys::Column::Id.eq(id.0))
            .filter(api_keys::Column::UserId.eq(user.0))
            .filter(api_keys::Column::RevokedAt.is_null());
        Ok(self.execute(update.build(self.backend())).await?.rows_affected() > 0)
    }

    async fn keys_of(&self, user: UserId) -> Result<Vec<ApiKey>, ReadError> {
        let live = api_keys::Entity::find()
            .filter(api_keys::Column::UserId.eq(user.0))
            .filter(api_keys::Column::RevokedAt.is_null());
        let keys = self.keys(live.order_by_asc(api_keys::Column::Id)).await?;
        Ok(keys.into_iter().map(|stored| stored.key).collect())
    }

    async fn live_keys(&self) -> Result<Vec<StoredKey>, ReadError> {
        self.keys(api_keys::Entity::find().filter(api_keys::Column::RevokedAt.is_null())).await
    }

    async fn revoke_token(&self, token: RevokedToken) -> Result<(), UserWriteError> {
        let row = revoked_tokens::ActiveModel { id: Set(token.id), expires_at: Set(token.expires_at) };
        let once = revoked_tokens::Entity::insert(row).on_conflict_do_nothing_on([revoked_tokens::Column::Id]);
        self.execute(once.build(self.backend())).await.map(drop).map_err(UserWriteError::from)
    }

    async fn forget_revoked_tokens(&self, by: DateTime<Utc>) -> Result<(), UserWriteError> {
        let ended = revoked_tokens::Entity::delete_many().filter(revoked_tokens::Column::ExpiresAt.lte(by));
        self.execute(ended.build(self.backend())).await.map(drop).map_err(UserWriteError::from)
    }

    async fn revoked_tokens(&self) -> Result<Vec<RevokedToken>, ReadError> {
        let rows = self.rows(&revoked_tokens::Entity::find().into_query()).await?;
        let token = |row: &QueryResult| match row.try_get("", "id") {
            // A token whose expiry cannot be read stays revoked without an end.
            Ok(id) => {
                Some(RevokedToken { id, expires_at: row.try_get("", "expires_at").unwrap_or(DateTime::<Utc>::MAX_UTC) })
            }
            Err(error) => {
                tracing::error!(%error, "a revoked token cannot be read; it may be accepted again until it expires");
                None
            }
        };
        Ok(rows.iter().filter_map(token).collect())
    }
}

impl SeaStore {
    /// The keys that can be read. The others are logged and give no access.
    async fn keys(&self, query: Select<api_keys::Entity>) -> Result<Vec<StoredKey>, ReadError> {
        let rows = self.rows(&query.into_query()).await?;
        let key = |row: &QueryResult| {
            let name = row
                .try_get::<uuid::Uuid>("", "id")
                .map_or_else(|_| "without a readable id".to_owned(), |id| id.to_string());
            let read = api_keys::Model::from_query_result(row, "")
                .map_err(|error| unreadable(format!("API key {name}"), error));
            read.and_then(stored_key).inspect_err(|error| tracing::error!(%error, "an API key is left out")).ok()
        };
        Ok(rows.iter().filter_map(key).collect())
    }
}

/// Inserts a key if its user has fewer than `most` that are not revoked: one statement counts and inserts.
fn insert_key_below(most: u32, StoredKey { key, digest }: &StoredKey) -> Result<InsertStatement, UserWriteError> {
    use api_keys::Column;
    let live = Query::select()
        .expr(Expr::col(Column::Id).count())
        .from(api_keys::Entity)
        .and_where(Column::UserId.eq(key.user.0))
        .and_where(Column::RevokedAt.is_null())
        .to_owned();
    let values: [Value; 7] = [
        key.id.0.into(),
        key.user.0.into(),
        key.name.clone().into(),
        key.scopes.to_string().into(),
        digest.0.to_vec().into(),
        key.prefix.clone().into(),
        key.created_at.into(),
    ];
    let row = Query::select()
        .exprs(values.map(Expr::value))
        .and_where(Expr::SubQuery(None, Box::new(live.into())).lt(i64::from(most)))
        .to_owned();
    let columns =
        [Column::Id, Column::UserId, Column::Name, Column::Scopes, Column::Digest, Column::Prefix, Column::CreatedAt];
    let mut insert = Query::insert();
    insert.into_table(api_keys::Entity).columns(columns);
    insert.select_from(row).map_err(|error| UserWriteError::Unavailable(error.to_string()))?;
    Ok(insert)
}

fn stored_key(row: api_keys::Model) -> Result<StoredKey, ReadError> {
    let scopes = row.scopes.parse().map_err(|error| unreadable(format!("API key {}", row.id), error))?;
    let digest = row
        .digest
        .try_into()
        .map_err(|_| unreadable(format!("API key {}", row.id), "its digest has a wrong length"))?;
    let (id, user) = (KeyId(row.id), UserId(row.user_id));
    let key = ApiKey { id, user, name: row.name, scopes, prefix: row.prefix, created_at: row.created_at };
    Ok(StoredKey { key, digest: Digest(digest) })
}

pub(super) fn unreadable(what: impl std::fmt::Display, reason: impl std::fmt::Display) -> ReadError {
    ReadError::UnreadableRow(format!("{what} is stored in a way that this version cannot read: {reason}"))
}

impl From<DbErr> for UserWriteError {
    fn from(error: DbErr) -> Self {
        Self::Unavailable(text(&error))
    }
}

impl From<ReadError> for UserWriteError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
