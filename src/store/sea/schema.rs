//! The schema of the database: it is brought up to date before the pools are opened.

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, Statement};

use crate::config::DatabaseSettings;
use crate::store::sea::pool;
use crate::store::sea::suspects::SuspectConnections;

/// Brings the schema up to date, on a connection of its own. A database in memory is migrated on its only connection
/// instead, with [`migrate_on`].
pub(super) async fn migrate(settings: &DatabaseSettings) -> Result<(), DbErr> {
    let connection = connect(settings).await?;
    if connection.get_database_backend() == DbBackend::Postgres {
        refuse_tables_in_another_schema(&connection).await?;
    }
    migrate_on(&connection).await?;
    connection.close().await
}

/// Brings the schema up to date.
pub(super) async fn migrate_on(connection: &DatabaseConnection) -> Result<(), DbErr> {
    Migrator::up(connection, None).await
}

/// Drops all tables and creates them again.
pub(super) async fn recreate(connection: &DatabaseConnection) -> Result<(), DbErr> {
    Migrator::fresh(connection).await
}

/// The PostgreSQL schema that the tables are in.
pub(super) async fn current_schema(settings: &DatabaseSettings) -> Result<String, DbErr> {
    let connection = connect(settings).await?;
    let row =
        connection.query_one_raw(Statement::from_string(DbBackend::Postgres, "SELECT current_schema()::text")).await?;
    connection.close().await?;
    let schema: Option<String> = row.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
    schema.ok_or_else(|| DbErr::Custom("search_path names no existing schema".to_owned()))
}

/// A single connection for the schema.
async fn connect(settings: &DatabaseSettings) -> Result<DatabaseConnection, DbErr> {
    let options = match settings.url.is_sqlite() {
        true => pool::sqlite(settings, 1, SuspectConnections::default())?,
        false => pool::postgres_for_schema(settings)?,
    };
    Database::connect(options).await
}

/// Refuses a schema without the tables if another schema of the database has them: a start would create new, empty
/// tables, and every accepted order would be missing.
async fn refuse_tables_in_another_schema(connection: &DatabaseConnection) -> Result<(), DbErr> {
    const ELSEWHERE: &str = "SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relname = 'order_events' AND c.relkind IN ('r', 'p') AND n.nspname <> current_schema() \
         AND NOT EXISTS (SELECT FROM pg_class o JOIN pg_namespace m ON m.oid = o.relnamespace \
         WHERE o.relname = 'order_events' AND m.nspname = current_schema()) LIMIT 1";
    match connection.query_one_raw(Statement::from_string(DbBackend::Postgres, ELSEWHERE)).await? {
        None => Ok(()),
        Some(row) => {
            let schema: String = row.try_get_by_index(0)?;
            Err(DbErr::Custom(format!(
                "the tables are in schema {schema:?}, but search_path names another one; set it back, or use another \
                 database"
            )))
        }
    }
}
