//! The one connection that writes to a SQLite file, and its transactions.
//!
//! On a full disk or an I/O error SQLite ends a transaction by itself. sqlx counts transactions on its own and does not
//! notice: its next commit would release a savepoint inside a transaction that nobody commits, and report success. So the
//! transaction is made of plain statements here. `BEGIN IMMEDIATE` fails inside a transaction and `COMMIT` fails outside
//! of one, so the state of the connection is what SQLite itself says. A connection is used again only after its `COMMIT`
//! has succeeded; after any other end, also a dropped future, it is closed and the next transaction opens a new one.

use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _, Executor as _};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use sea_query_sqlx::SqlxValues;
use tokio::sync::{Mutex, MutexGuard};

use crate::store::lock::FileLock;

/// Writes to a SQLite file, one transaction at a time.
#[derive(Debug)]
pub(super) struct FileWriter {
    options: SqliteConnectOptions,
    connection: Mutex<Option<SqliteConnection>>,
    // Without it nothing is known of the files.
    lock: Option<Arc<FileLock>>,
}

impl FileWriter {
    /// A writer with its first connection.
    pub(super) async fn open(options: SqliteConnectOptions, lock: Option<Arc<FileLock>>) -> Result<Self, DbErr> {
        let connection = SqliteConnection::connect_with(&options).await.map_err(unconnected)?;
        Ok(Self { options, connection: Mutex::new(Some(connection)), lock })
    }

    /// Begins a transaction. It waits for the one before it, and holds SQLite's write lock from the start.
    pub(super) async fn begin(&self) -> Result<FileTransaction<'_>, DbErr> {
        let mut place = self.connection.lock().await;
        if let Some(cause) = self.lock.as_ref().and_then(|lock| lock.lost()) {
            return Err(DbErr::Custom(cause.to_owned()));
        }
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => SqliteConnection::connect_with(&self.options).await.map_err(unconnected)?,
        };
        let mut transaction = FileTransaction { writer: self, place, connection: None };
        let begun = plain(&mut connection, "BEGIN IMMEDIATE").await;
        transaction.connection = Some(Mutex::new(connection));
        begun.map(|()| transaction)
    }

    /// Whether what was just committed is in the files that the next start will read.
    fn check(&self) -> Result<(), DbErr> {
        let Some(lock) = &self.lock else { return Ok(()) };
        lock.watch_log();
        lock.check().map_err(DbErr::Custom)
    }

    /// Runs one statement as a transaction.
    pub(super) async fn execute(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let transaction = self.begin().await?;
        let done = transaction.execute_raw(statement).await?;
        transaction.commit().await?;
        Ok(done)
    }

    /// Closes the connection; a later transaction would open a new one.
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

/// A transaction on the writer's connection. Dropped without a commit, it closes the connection, and SQLite undoes it.
pub(super) struct FileTransaction<'a> {
    writer: &'a FileWriter,
    place: MutexGuard<'a, Option<SqliteConnection>>,
    // None once it was committed.
    connection: Option<Mutex<SqliteConnection>>,
}

impl FileTransaction<'_> {
    /// Commits. After an error it is unknown whether the transaction is stored.
    pub(super) async fn commit(mut self) -> Result<(), DbErr> {
        plain(&mut *self.connection().lock().await, "COMMIT").await?;
        self.writer.check()?;
        *self.place = self.connection.take().map(Mutex::into_inner);
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
        let done = query.execute(&mut *self.connection().lock().await).await;
        done.map(Into::into).map_err(not_executed)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let done = self.connection().lock().await.execute(AssertSqlSafe(sql.to_owned())).await;
        done.map(Into::into).map_err(not_executed)
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
