//! A transaction that changes accounts. There is one at a time, on both databases and across processes, so the changes
//! are committed in the order of their numbers, and who knows a number has seen all changes before it.

use sea_orm::sea_query::SelectStatement;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement};

use crate::store::sea::file_writer::FileTransaction;
use crate::store::sea::store::{SeaStore, WriterConnection};
use crate::store::users::UserWriteError;

/// The number of the advisory lock of account changes on PostgreSQL.
const KEY: i64 = 0x6f72_6465_7255_7372;

/// A transaction that changes accounts.
pub(super) enum Turn<'a> {
    /// On a SQLite file, which has one writer.
    File(FileTransaction<'a>),
    /// On PostgreSQL, or on SQLite in memory.
    Pool(DatabaseTransaction),
}

impl SeaStore {
    /// Begins such a transaction, once the one before has ended.
    pub(super) async fn take_turn(&self) -> Result<Turn<'_>, UserWriteError> {
        let pool = match &self.writer {
            WriterConnection::File(file) => return Ok(Turn::File(file.begin().await?)),
            WriterConnection::Pool(pool) => pool,
        };
        let begun = self.begin(pool).await.map_err(|error| UserWriteError::Unavailable(error.to_string()))?;
        let turn = Turn::Pool(begun);
        if self.backend() == DbBackend::Postgres {
            // The end of the transaction releases the lock. A statement that fails for its timeout ends it too.
            let lock =
                Statement::from_sql_and_values(DbBackend::Postgres, "SELECT pg_advisory_xact_lock($1)", [KEY.into()]);
            if let Err(error) = turn.run(lock).await {
                return turn.end(Err(error.into())).await;
            }
        }
        Ok(turn)
    }
}

impl Turn<'_> {
    pub(super) fn backend(&self) -> DbBackend {
        match self {
            Self::File(transaction) => transaction.get_database_backend(),
            Self::Pool(transaction) => transaction.get_database_backend(),
        }
    }

    /// Runs a statement.
    pub(super) async fn run(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match self {
            Self::File(transaction) => transaction.execute_raw(statement).await,
            Self::Pool(transaction) => transaction.execute_raw(statement).await,
        }
    }

    /// The first row that a query finds.
    pub(super) async fn row(&self, query: &SelectStatement) -> Result<Option<QueryResult>, DbErr> {
        let query = self.backend().build(query);
        match self {
            Self::File(transaction) => transaction.query_one_raw(query).await,
            Self::Pool(transaction) => transaction.query_one_raw(query).await,
        }
    }

    /// Ends the transaction: commits it, or rolls it back if the database failed. A change that is refused is refused
    /// before anything is written.
    pub(super) async fn end<T>(self, result: Result<T, UserWriteError>) -> Result<T, UserWriteError> {
        let failed = matches!(result, Err(UserWriteError::Unavailable(_)));
        match (self, failed) {
            (Self::File(transaction), false) => transaction.commit().await?,
            // The drop closes the connection, and SQLite rolls back.
            (Self::File(transaction), true) => drop(transaction),
            (Self::Pool(transaction), false) => transaction.commit().await?,
            // Without this the rollback would be left to the drop; then the pool closes the connection.
            (Self::Pool(transaction), true) => drop(transaction.rollback().await),
        }
        result
    }
}
