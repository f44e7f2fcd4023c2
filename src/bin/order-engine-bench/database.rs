//! Empties the PostgreSQL database under measurement, between two runs and only if it was empty before the first.

use migration::Migrator;
use order_engine::Settings;
use order_engine::store::lock::EngineLock;
use sea_orm::{ConnectionTrait, Database, Statement};

use crate::BenchError;

/// Refuses a database that is not PostgreSQL or that contains tables: every run deletes what is in it.
pub(crate) async fn check_empty(url: &str) -> Result<(), BenchError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err("--database-url must name a PostgreSQL database; without it SQLite is measured".into());
    }
    let connection = Database::connect(url).await?;
    let tables = "SELECT count(*) AS tables FROM pg_tables WHERE schemaname = current_schema()";
    let statement = Statement::from_string(connection.get_database_backend(), tables);
    let row = connection.query_one_raw(statement).await?.ok_or("the database does not count its tables")?;
    let tables: i64 = row.try_get("", "tables")?;
    connection.close().await?;
    match tables {
        0 => Ok(()),
        _ => {
            Err(format!("the database contains {tables} tables, and every run would delete them; name an empty one")
                .into())
        }
    }
}

/// Deletes everything in the database and creates the schema.
pub(crate) async fn empty(settings: &Settings) -> Result<(), BenchError> {
    // Refused while an engine uses the database.
    let lock = EngineLock::acquire(&settings.database).await?;
    let connection = Database::connect(settings.database.url.expose()).await?;
    Migrator::down(&connection, None).await?;
    Migrator::up(&connection, None).await?;
    connection.close().await?;
    // The engine that starts next needs it.
    lock.release().await;
    Ok(())
}
