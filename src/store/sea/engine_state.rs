//! What the engine must know about the database itself: whether it comes from a backup.
//!
//! A backup carries the mark in itself, so a database that was copied into place by hand is suspended too.

use entity::engine_state;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryTrait};

use crate::store::error::{CommitError, ReadError};
use crate::store::sea::error::during_single_statement;
use crate::store::sea::store::SeaStore;

/// The mark of a database that comes from a backup. Its value is when the backup was made, for the operator.
const RESTORED: &str = "restored";

impl SeaStore {
    /// When the backup was made from which the database was restored, if the operator has not decided yet whether its
    /// orders go on. Until then nothing is dispatched.
    pub async fn restored_from(&self) -> Result<Option<String>, ReadError> {
        let query = engine_state::Entity::find_by_id(RESTORED.to_owned()).into_query();
        let rows = self.rows(&query).await?;
        // A value that cannot be read is a mark too.
        Ok(rows.first().map(|row| row.try_get("", "value").unwrap_or_default()))
    }

    /// Removes the mark: the next start dispatches orders.
    pub async fn resume(&self) -> Result<(), CommitError> {
        let delete = engine_state::Entity::delete_by_id(RESTORED.to_owned()).build(self.backend());
        self.execute(delete).await.map(drop).map_err(during_single_statement)
    }
}

/// Marks a database as restored from a backup of that time. An earlier mark stays.
pub(super) async fn mark_restored(connection: &DatabaseConnection, made_at: String) -> Result<(), DbErr> {
    let row = engine_state::ActiveModel { key: Set(RESTORED.to_owned()), value: Set(made_at) };
    let keep = OnConflict::column(engine_state::Column::Key).do_nothing().to_owned();
    let insert = engine_state::Entity::insert(row).on_conflict(keep).build(connection.get_database_backend());
    connection.execute_raw(insert).await.map(drop)
}
