//! The one connection that writes to a SQLite file, and its transactions.
//!
//! On a full disk or an I/O error SQLite rolls a transaction back by itself. sqlx counts transactions separately and
//! does not notice it: its next commit would release a savepoint inside a transaction that is never committed, and
//! report success. Therefore the transaction consists of plain statements here. `BEGIN IMMEDIATE` fails inside a
//! transaction and `COMMIT` fails outside of one, so SQLite itself decides. A connection is used again only after its
//! `COMMIT` succeeded; after any other end, including a dropped future, it is closed and the next transaction opens a
//! new one.

use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _, Executor as _};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use sea_query_sqlx::SqlxValues;
use tokio::sync::{Mutex, MutexGuard};

use crate::store::sea::lock::FileLock;

/// Writes to a SQLite file, one transaction at a time.
#[derive(Debug)]
pub(super) struct FileWriter {
    options: SqliteConnectOptions,
    connection: Mutex<Option<SqliteConnection>>,
    // Detects that the files were replaced; `None` without a lock, and then nothing is checked.
    lock: Option<Arc<FileLock>>,
}

impl FileWriter {
    /// Opens the first connection.
    pub(super) async fn open(options: SqliteConnectOptions, lock: Option<Arc<FileLock>>) -> Result<Self, DbErr> {
        let connection = SqliteConnection::connect_with(&options).await.map_err(unconnected)?;
        Ok(Self { options, connection: Mutex::new(Some(connection)), lock })
    }

    /// Begins a transaction. It waits for the transaction before it, and holds SQLite's write lock from the start.
    pub(super) async fn begin(&self) -> Result<FileTransaction<'_>, DbErr> {
        let mut slot = self.connection.lock().await;
        if let Some(cause) = self.lock.as_ref().and_then(|lock| lock.lost()) {
            return Err(DbErr::Custom(cause.to_owned()));
        }
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => SqliteConnection::connect_with(&self.options).await.map_err(unconnected)?,
        };
        let mut transaction = FileTransaction { writer: self, slot, connection: None };
        let begun = plain(&mut connection, "BEGIN IMMEDIATE").await;
        transaction.connection = Some(Mutex::new(connection));
        begun.map(|()| transaction)
    }

    /// Checks that the last commit is in the files that the next start will read.
    fn check(&self) -> Result<(), DbErr> {
        let Some(lock) = &self.lock else { return Ok(()) };
        lock.watch_log();
        lock.check().map_err(DbErr::Custom)
    }

    /// Runs one statement as a transaction.
    pub(super) async fn execute(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let transaction = self.begin().await?;
        let result = transaction.execute_raw(statement).await?;
        transaction.commit().await?;
        Ok(result)
    }

    /// Closes the connection. A later transaction would open a new one.
    pub(super) async fn close(&self) -> Result<(), DbErr> {
        let connection = self.connection.lock().await.take();
        self.forget_log();
        match connection {
            Some(connection) => connection.close().await.map_err(unconnected),
            None => Ok(()),
        }
    }

    fn forget_log(&self) {
        if let Some(lock) = &self.lock {
            lock.forget_log();
        }
    }
}

/// A transaction on the connection of the writer. If it is dropped without a commit, the connection is closed, and
/// SQLite rolls the transaction back.
pub(super) struct FileTransaction<'a> {
    writer: &'a FileWriter,
    slot: MutexGuard<'a, Option<SqliteConnection>>,
    // `None` after the commit.
    connection: Option<Mutex<SqliteConnection>>,
}

impl FileTransaction<'_> {
    /// Commits. After an error it is not known whether the transaction is stored.
    pub(super) async fn commit(mut self) -> Result<(), DbErr> {
        plain(&mut *self.connection().lock().await, "COMMIT").await?;
        self.writer.check()?;
        *self.slot = self.connection.take().map(Mutex::into_inner);
        Ok(())
    }

    fn connection(&self) -> &Mutex<SqliteConnection> {
        self.connection.as_ref().expect("a transaction has its connection until it is committed")
    }
}

impl Drop for FileTransaction<'_> {
    fn drop(&mut self) {
        if self.connection.is_some() {
            self.writer.forget_log();
        }
    }
}

async fn plain(connection: &mut SqliteConnection, statement: &'static str) -> Result<(), DbErr> {
    connection.execute(statement).await.map(drop).map_err(not_executed)
}

#[async_trait]
impl ConnectionTrait for FileTransaction<'_> {
    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Sqlite
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let query = sqlx::query_with(AssertSqlSafe(statement.sql), values(statement.values));
        let result = query.execute(&mut *self.connection().lock().await).await;
        result.map(Into::into).map_err(not_executed)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let result = self.connection().lock().await.execute(AssertSqlSafe(sql.to_owned())).await;
        result.map(Into::into).map_err(not_executed)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let query = sqlx::query_with(AssertSqlSafe(statement.sql), values(statement.values));
        let row = query.fetch_optional(&mut *self.connection().lock().await).await;
        row.map(|row| row.map(Into::into)).map_err(not_queried)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let query = sqlx::query_with(AssertSqlSafe(statement.sql), values(statement.values));
        let rows = query.fetch_all(&mut *self.connection().lock().await).await;
        rows.map(|rows| rows.into_iter().map(Into::into).collect()).map_err(not_queried)
    }
}

fn values(values: Option<sea_orm::Values>) -> SqlxValues {
    SqlxValues(values.unwrap_or(sea_orm::Values(Vec::new())))
}

fn unconnected(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

fn not_executed(error: sqlx::Error) -> DbErr {
    DbErr::Exec(RuntimeErr::SqlxError(error.into()))
}

fn not_queried(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}
