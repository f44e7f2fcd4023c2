//! Accounts: how they are created, read and changed.

use chrono::{DateTime, Utc};
use entity::{api_keys, orders, users};
use sea_orm::sea_query::{Expr, SelectStatement};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QueryResult,
    QuerySelect, QueryTrait, Select,
};

use crate::domain::secret::Secret;
use crate::domain::user::{Scopes, User, UserId, Username};
use crate::store::error::ReadError;
use crate::store::sea::store::SeaStore;
use crate::store::sea::turn::Turn;
use crate::store::sea::users::unreadable;
use crate::store::users::{Account, AccountChange, NewAccount, Standing, UserWriteError};

impl SeaStore {
    pub(super) async fn insert_account(&self, new: &NewAccount) -> Result<Standing, UserWriteError> {
        let turn = self.take_turn().await?;
        let inserted = insert(&turn, new).await;
        turn.end(inserted).await
    }

    pub(super) async fn account_by_name(&self, name: &Username) -> Result<Option<Account>, ReadError> {
        self.one_account(existing().filter(users::Column::Folded.eq(name.folded()))).await
    }

    pub(super) async fn account_by_id(&self, id: UserId) -> Result<Option<Account>, ReadError> {
        self.one_account(existing().filter(users::Column::Id.eq(id.0))).await
    }

    pub(super) async fn all_accounts(&self) -> Result<Vec<Account>, ReadError> {
        let rows = self.rows(&existing().order_by_asc(users::Column::Id).into_query()).await?;
        rows.iter().map(account).collect()
    }

    pub(super) async fn change(
        &self,
        id: UserId,
        change: &AccountChange,
        of_version: Option<i64>,
        at: DateTime<Utc>,
    ) -> Result<Standing, UserWriteError> {
        let turn = self.take_turn().await?;
        let changed = change_row(&turn, id, change, of_version, at).await;
        turn.end(changed).await
    }

    pub(super) async fn account_remains(&self, id: UserId) -> Result<bool, UserWriteError> {
        let turn = self.take_turn().await?;
        let row = turn.row(&existing().filter(users::Column::Id.eq(id.0)).into_query()).await;
        turn.end(row.map(|row| row.is_some()).map_err(UserWriteError::from)).await
    }

    pub(super) async fn standings_after(&self, revision: i64) -> Result<Vec<Standing>, ReadError> {
        let changed = users::Entity::find().filter(users::Column::Revision.gt(revision));
        let rows = self.rows(&changed.order_by_asc(users::Column::Revision).into_query()).await?;
        let standing = |row: &QueryResult| {
            let read = model(row).map(|row| standing_of(&row));
            read.inspect_err(|error| tracing::error!(%error, "a user gets no access")).ok()
        };
        Ok(rows.iter().filter_map(standing).collect())
    }

    async fn one_account(&self, query: Select<users::Entity>) -> Result<Option<Account>, ReadError> {
        self.rows(&query.into_query()).await?.first().map(account).transpose()
    }
}

/// The accounts that are not deleted.
fn existing() -> Select<users::Entity> {
    users::Entity::find().filter(users::Column::DeletedAt.is_null())
}

async fn insert(turn: &Turn<'_>, new: &NewAccount) -> Result<Standing, UserWriteError> {
    let NewAccount { user, password_hash, scopes } = new;
    let revision = next_revision(turn).await?;
    let row = users::ActiveModel {
        id: Set(user.id.0),
        username: Set(user.name.as_str().to_owned()),
        folded: Set(user.name.folded()),
        password_hash: Set(password_hash.expose().to_owned()),
        created_at: Set(user.created_at),
        scopes: Set(scopes.to_string()),
        token_version: Set(0),
        revision: Set(revision),
        disabled_at: Set(None),
        deleted_at: Set(None),
    };
    let unless_taken = users::Entity::insert(row).on_conflict_do_nothing_on([users::Column::Folded]);
    match turn.run(unless_taken.build(turn.backend())).await?.rows_affected() {
        0 => Err(UserWriteError::NameTaken),
        _ => Ok(Standing { user: user.id, revision, token_version: 0, scopes: *scopes, is_active: true }),
    }
}

async fn change_row(
    turn: &Turn<'_>,
    id: UserId,
    change: &AccountChange,
    of_version: Option<i64>,
    at: DateTime<Utc>,
) -> Result<Standing, UserWriteError> {
    let row = turn.row(&existing().filter(users::Column::Id.eq(id.0)).into_query()).await?;
    let row = row.as_ref().map(model).transpose()?.ok_or(UserWriteError::NoSuchAccount)?;
    if of_version.is_some_and(|version| version != row.token_version) {
        return Err(UserWriteError::Changed);
    }
    if matches!(change, AccountChange::Delete) {
        match number(turn, &open_orders(id)).await? {
            0 => revoke_keys(turn, id, at).await?,
            open => return Err(UserWriteError::OpenOrders(open.unsigned_abs())),
        }
    }
    let row = changed(row, change, next_revision(turn).await?, at);
    let update = users::Entity::update_many()
        .col_expr(users::Column::Username, Expr::value(row.username.clone()))
        .col_expr(users::Column::Folded, Expr::value(row.folded.clone()))
        .col_expr(users::Column::PasswordHash, Expr::value(row.password_hash.clone()))
        .col_expr(users::Column::Scopes, Expr::value(row.scopes.clone()))
        .col_expr(users::Column::TokenVersion, Expr::value(row.token_version))
        .col_expr(users::Column::Revision, Expr::value(row.revision))
        .col_expr(users::Column::DisabledAt, Expr::value(row.disabled_at))
        .col_expr(users::Column::DeletedAt, Expr::value(row.deleted_at))
        .filter(users::Column::Id.eq(row.id));
    turn.run(update.build(turn.backend())).await?;
    Ok(standing_of(&row))
}

/// The row after the change.
fn changed(mut row: users::Model, change: &AccountChange, revision: i64, at: DateTime<Utc>) -> users::Model {
    let scopes = scopes_of(&row);
    let mut ends_tokens = false;
    match change {
        AccountChange::Password(hash) => {
            row.password_hash = hash.expose().to_owned();
            ends_tokens = true;
        }
        AccountChange::Disable => {
            row.disabled_at = row.disabled_at.or(Some(at));
            ends_tokens = true;
        }
        AccountChange::Enable => row.disabled_at = None,
        AccountChange::Grant(granted) => row.scopes = scopes.with(*granted).to_string(),
        AccountChange::Revoke(revoked) => row.scopes = scopes.without(*revoked).to_string(),
        AccountChange::Delete => {
            // The name is free again. No name contains a colon, so this text collides with none.
            row.username = format!("deleted:{}", row.id);
            row.folded = row.username.clone();
            row.password_hash = String::new();
            row.deleted_at = Some(at);
            ends_tokens = true;
        }
    }
    row.token_version += i64::from(ends_tokens);
    row.revision = revision;
    row
}

async fn revoke_keys(turn: &Turn<'_>, user: UserId, at: DateTime<Utc>) -> Result<(), DbErr> {
    let revoke = api_keys::Entity::update_many()
        .col_expr(api_keys::Column::RevokedAt, Expr::value(at))
        .filter(api_keys::Column::UserId.eq(user.0))
        .filter(api_keys::Column::RevokedAt.is_null());
    turn.run(revoke.build(turn.backend())).await.map(drop)
}

/// Counts the orders of a user that have not ended, also those that cannot be read.
fn open_orders(user: UserId) -> SelectStatement {
    let open = orders::Entity::find().filter(orders::Column::Status.is_null());
    let of_user = open.filter(orders::Column::UserId.eq(user.0));
    of_user.select_only().column_as(orders::Column::Id.count(), "number").into_query()
}

/// The number of the next change.
async fn next_revision(turn: &Turn<'_>) -> Result<i64, UserWriteError> {
    let latest = users::Entity::find().select_only().column_as(users::Column::Revision.max(), "number");
    Ok(number(turn, &latest.into_query()).await? + 1)
}

/// The number that a query returns as `number`; 0 for NULL.
async fn number(turn: &Turn<'_>, query: &SelectStatement) -> Result<i64, UserWriteError> {
    let row = turn.row(query).await?;
    let number: Option<Option<i64>> = row.map(|row| row.try_get("", "number")).transpose()?;
    Ok(number.flatten().unwrap_or_default())
}

fn model(row: &QueryResult) -> Result<users::Model, ReadError> {
    let read = users::Model::from_query_result(row, "").map_err(|error| unreadable("a user", error))?;
    match read.scopes.parse::<Scopes>() {
        Ok(_) => Ok(read),
        Err(error) => Err(unreadable(format!("user {}", read.id), error)),
    }
}

fn account(row: &QueryResult) -> Result<Account, ReadError> {
    let row = model(row)?;
    let name = row.username.parse().map_err(|error| unreadable(format!("user {}", row.id), error))?;
    let user = User { id: UserId(row.id), name, created_at: row.created_at };
    Ok(Account { user, password_hash: Secret::new(row.password_hash.clone()), standing: standing_of(&row) })
}

fn standing_of(row: &users::Model) -> Standing {
    Standing {
        user: UserId(row.id),
        revision: row.revision,
        token_version: row.token_version,
        scopes: scopes_of(row),
        is_active: row.disabled_at.is_none() && row.deleted_at.is_none(),
    }
}

fn scopes_of(row: &users::Model) -> Scopes {
    row.scopes.parse().expect("the scopes of a row are parsed when it is read")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn row() -> users::Model {
        users::Model {
            id: Uuid::from_u128(7),
            username: "Alice".to_owned(),
            folded: "alice".to_owned(),
            password_hash: "of the first".to_owned(),
            created_at: DateTime::UNIX_EPOCH,
            scopes: "read trade".to_owned(),
            token_version: 3,
            revision: 10,
            disabled_at: None,
            deleted_at: None,
        }
    }

    #[test]
    fn what_keeps_a_user_out_ends_the_tokens_and_nothing_else_does() {
        let hash = Secret::new("of the second");
        let operate: Scopes = "operate".parse().unwrap();
        let trade: Scopes = "trade".parse().unwrap();
        for (change, ends_tokens, is_active, scopes) in [
            (AccountChange::Password(hash), true, true, "read trade"),
            (AccountChange::Disable, true, false, "read trade"),
            (AccountChange::Enable, false, true, "read trade"),
            (AccountChange::Grant(operate), false, true, "read trade operate"),
            (AccountChange::Revoke(trade), false, true, "read"),
            (AccountChange::Delete, true, false, "read trade"),
        ] {
            let after = standing_of(&changed(row(), &change, 11, DateTime::UNIX_EPOCH));
            let expected = Standing {
                user: UserId(Uuid::from_u128(7)),
                revision: 11,
                token_version: if ends_tokens { 4 } else { 3 },
                scopes: scopes.parse().unwrap(),
                is_active,
            };
            assert_eq!(after, expected, "{change:?}");
        }
    }

    #[test]
    fn nothing_of_a_deleted_user_is_left_but_the_id() {
        let after = changed(row(), &AccountChange::Delete, 11, DateTime::UNIX_EPOCH);
        let text = format!("{after:?}").to_lowercase();
        assert!(!text.contains("alice") && !text.contains("of the first"), "{text}");
        assert!(after.username.parse::<Username>().is_err(), "no user can take the text in place of the name");
    }
}
