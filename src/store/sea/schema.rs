//! The schema of the database: it is brought up to date before the pools are opened.

use migration::Migrator;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};

use crate::config::{DatabaseSettings, TlsMode};
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

/// Fails unless the schema is up to date. Changes nothing.
pub(super) async fn check(settings: &DatabaseSettings) -> Result<(), DbErr> {
    let connection = connect(settings).await?;
    let pending = Migrator::pending(&connection).await;
    connection.close().await?;
    match pending {
        Ok(0) => Ok(()),
        Ok(_) => Err(DbErr::Custom(
            "the schema of the database is older than this version; `order-engine migrate` brings it up to date"
                .to_owned(),
        )),
        Err(error @ DbErr::Migration(_)) => Err(error),
        Err(error) => Err(DbErr::Custom(format!(
            "the database has no readable schema ({error}); `order-engine migrate` creates it"
        ))),
    }
}

/// The PostgreSQL schema that the tables are in.
pub(super) async fn current_schema(settings: &DatabaseSettings) -> Result<String, DbErr> {
    const QUERY: &str = "SELECT current_schema()::text, (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())";
    let connection = connect(settings).await?;
    let row = connection.query_one_raw(Statement::from_string(DbBackend::Postgres, QUERY)).await?;
    connection.close().await?;
    let (schema, encrypted) = match row {
        Some(row) => (row.try_get_by_index(0)?, row.try_get_by_index(1)?),
        None => (None, None),
    };
    warn_if_readable(settings, encrypted);
    schema.ok_or_else(|| DbErr::Custom("search_path names no existing schema".to_owned()))
}

/// Warns if others can read the connection to PostgreSQL and the URL does not say that they may.
fn warn_if_readable(settings: &DatabaseSettings, encrypted: Option<bool>) {
    if let Some(server) = settings.url.postgres()
        && server.tls.mode == TlsMode::Prefer
        && !server.is_on_this_machine()
        && encrypted == Some(false)
    {
        let server = server.address();
        tracing::warn!(
            "the connection to PostgreSQL at {server} is not encrypted, because the server does not offer TLS: enable \
             it there and write sslmode=verify-full in database.url, or write sslmode=disable"
        );
    }
}

/// A single connection for the schema.
async fn connect(settings: &DatabaseSettings) -> Result<DatabaseConnection, DbErr> {
    let options = match settings.url.is_sqlite() {
        true => pool::sqlite(settings, 1, SuspectConnections::default())?,
        false => pool::postgres_for_schema(settings)?,
    };
    pool::open(settings, options).await
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::Settings;

    /// The start of the SHA-256 of the SQLite schema after each released migration.
    ///
    /// A released migration must not change: databases that have it would differ from new ones. A new migration adds a
    /// line.
    const RELEASED: [(&str, &str); 14] = [
        ("m20261121_000001_create_orders", "f815b4f0bbc50dde"),
        ("m20261121_000002_create_order_events", "4cb8082fc243b6e1"),
        ("m20261121_000003_create_transactions", "a56b5cb64568ea74"),
        ("m20261121_000004_create_idempotency_keys", "762d5bd72f74efee"),
        ("m20261121_000005_orders_belong_to_users", "f6b2740fcd2d1153"),
        ("m20261121_000006_create_users", "f1f12fd22ef40ef7"),
        ("m20261121_000007_create_api_keys", "685115e1193195ac"),
        ("m20261121_000008_create_revoked_tokens", "a70f8552d4e12a66"),
        ("m20261125_000009_index_lists_by_owner", "40178609c96e3185"),
        ("m20261125_000010_number_dispatches", "31136296de5e3554"),
        ("m20261125_000011_list_by_time", "1b825f497a9e1a35"),
        ("m20261201_000012_drop_checks_of_orders", "469a8232951ce470"),
        ("m20261201_000013_manage_accounts", "cbcee1f7c4973104"),
        ("m20261201_000014_create_engine_state", "184e0fef104d462e"),
    ];

    async fn in_memory() -> DatabaseConnection {
        connect(&Settings::with([("database.url", "sqlite::memory:")]).unwrap().database).await.unwrap()
    }

    /// The statements that create the tables and indexes, and a short digest of them.
    async fn schema_of(database: &DatabaseConnection) -> (String, String) {
        let query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'seaql%' ORDER BY name";
        let rows = database.query_all_raw(Statement::from_string(DbBackend::Sqlite, query)).await.unwrap();
        let schema: Vec<String> = rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
        let schema = schema.join("\n");
        let digest = Sha256::digest(&schema).iter().take(8).fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        });
        (schema, digest)
    }

    #[actix_web::test]
    async fn released_migrations_do_not_change() {
        let database = in_memory().await;
        let migrations = Migrator::names();
        assert_eq!(migrations.len(), RELEASED.len(), "a new migration needs a line in RELEASED");
        for (migration, (name, digest)) in migrations.into_iter().zip(RELEASED) {
            Migrator::up(&database, Some(1)).await.unwrap();
            let (schema, found) = schema_of(&database).await;
            assert_eq!((migration, found.as_str()), (name, digest), "{schema}");
        }
    }

    #[actix_web::test]
    async fn each_migration_goes_back_to_the_schema_before_it() {
        let database = in_memory().await;
        let mut before = vec![schema_of(&database).await];
        for _ in RELEASED {
            Migrator::up(&database, Some(1)).await.unwrap();
            before.push(schema_of(&database).await);
        }
        for (name, _) in RELEASED.iter().rev() {
            before.pop();
            Migrator::down(&database, Some(1)).await.unwrap();
            assert_eq!(Some(&schema_of(&database).await), before.last(), "{name}");
        }
    }
}
