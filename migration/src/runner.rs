//! Applies the migrations and records each of them.
//!
//! The record is the table of `sea-orm-migration`, with the same names, so databases of earlier versions stay as they are.
//! That crate itself would bring `sea-schema` and features of SeaORM that nothing here uses into every build.

use std::collections::BTreeSet;

use async_trait::async_trait;
use sea_orm::sea_query::{
    IndexCreateStatement, IndexDropStatement, TableAlterStatement, TableCreateStatement, TableDropStatement,
};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement, StatementBuilder,
    TransactionTrait,
};

/// A change of the schema.
#[async_trait]
pub(crate) trait MigrationTrait: Send + Sync {
    /// Makes the change.
    async fn up(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr>;

    /// Takes it back.
    async fn down(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr>;
}

/// A change and the name under which it is recorded.
pub(crate) struct NamedMigration {
    pub(crate) name: &'static str,
    pub(crate) migration: Box<dyn MigrationTrait>,
}

/// Runs the statements of a migration in its transaction.
pub(crate) struct SchemaManager<'a>(&'a DatabaseTransaction);

impl SchemaManager<'_> {
    /// The database, for statements that differ.
    pub(crate) fn backend(&self) -> DbBackend {
        self.0.get_database_backend()
    }

    /// Runs plain SQL. Returns the number of affected rows.
    pub(crate) async fn execute(&self, sql: &str) -> Result<u64, DbErr> {
        Ok(self.0.execute_unprepared(sql).await?.rows_affected())
    }

    /// The number that a query returns.
    pub(crate) async fn number(&self, sql: &str) -> Result<i64, DbErr> {
        let query = Statement::from_string(self.backend(), sql);
        let row = self.0.query_one_raw(query).await?;
        row.ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?.try_get_by_index(0)
    }

    pub(crate) async fn create_table(&self, table: TableCreateStatement) -> Result<(), DbErr> {
        self.run(table).await
    }

    pub(crate) async fn alter_table(&self, table: TableAlterStatement) -> Result<(), DbErr> {
        self.run(table).await
    }

    pub(crate) async fn drop_table(&self, table: TableDropStatement) -> Result<(), DbErr> {
        self.run(table).await
    }

    pub(crate) async fn create_index(&self, index: IndexCreateStatement) -> Result<(), DbErr> {
        self.run(index).await
    }

    pub(crate) async fn drop_index(&self, index: IndexDropStatement) -> Result<(), DbErr> {
        self.run(index).await
    }

    async fn run(&self, statement: impl StatementBuilder) -> Result<(), DbErr> {
        self.0.execute(&statement).await.map(drop)
    }
}

/// Applies the migrations that are not applied yet, oldest first, `most` of them at most.
///
/// Each is a transaction together with its record, so an interrupted one leaves nothing behind. Fails if the database has
/// a migration that is not among `migrations`: then a newer version has used it.
pub(crate) async fn up(
    connection: &DatabaseConnection,
    migrations: &[NamedMigration],
    most: Option<usize>,
) -> Result<(), DbErr> {
    let applied = applied(connection, migrations).await?;
    let pending = migrations.iter().filter(|migration| !applied.contains(migration.name));
    for NamedMigration { name, migration } in pending.take(most.unwrap_or(usize::MAX)) {
        let transaction = connection.begin().await?;
        migration.up(&SchemaManager(&transaction)).await?;
        let record = "INSERT INTO seaql_migrations (version, applied_at) VALUES ($1, $2)";
        let now = chrono::Utc::now().timestamp();
        let values = [(*name).into(), now.into()];
        transaction
            .execute_raw(Statement::from_sql_and_values(transaction.get_database_backend(), record, values))
            .await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// Takes back the migrations that are applied, newest first, `most` of them at most.
pub(crate) async fn down(
    connection: &DatabaseConnection,
    migrations: &[NamedMigration],
    most: Option<usize>,
) -> Result<(), DbErr> {
    let applied = applied(connection, migrations).await?;
    let undone = migrations.iter().rev().filter(|migration| applied.contains(migration.name));
    for NamedMigration { name, migration } in undone.take(most.unwrap_or(usize::MAX)) {
        let transaction = connection.begin().await?;
        migration.down(&SchemaManager(&transaction)).await?;
        let record = "DELETE FROM seaql_migrations WHERE version = $1";
        let values = [(*name).into()];
        transaction
            .execute_raw(Statement::from_sql_and_values(transaction.get_database_backend(), record, values))
            .await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// The number of migrations that are not applied yet.
pub(crate) async fn pending(connection: &DatabaseConnection, migrations: &[NamedMigration]) -> Result<usize, DbErr> {
    let applied = recorded(connection, migrations).await?;
    Ok(migrations.iter().filter(|migration| !applied.contains(migration.name)).count())
}

/// The names of the migrations that are applied. Creates the record if there is none.
async fn applied(connection: &DatabaseConnection, known: &[NamedMigration]) -> Result<BTreeSet<String>, DbErr> {
    connection
        .execute_unprepared(
            "CREATE TABLE IF NOT EXISTS seaql_migrations (version varchar NOT NULL PRIMARY KEY, applied_at bigint NOT NULL)",
        )
        .await?;
    recorded(connection, known).await
}

/// The names in the record of migrations. Fails if one of them is unknown.
async fn recorded(connection: &DatabaseConnection, known: &[NamedMigration]) -> Result<BTreeSet<String>, DbErr> {
    let backend = connection.get_database_backend();
    let rows =
        connection.query_all_raw(Statement::from_string(backend, "SELECT version FROM seaql_migrations")).await?;
    let applied = rows.iter().map(|row| row.try_get::<String>("", "version")).collect::<Result<BTreeSet<_>, _>>()?;
    let unknown = applied.iter().find(|name| !known.iter().any(|migration| migration.name == *name));
    match unknown {
        None => Ok(applied),
        Some(name) => Err(DbErr::Migration(format!(
            "a newer version has migrated the database: this one does not know the migration {name}"
        ))),
    }
}
