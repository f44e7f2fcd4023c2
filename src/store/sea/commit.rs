//! Commits batches. Each way of committing knows what an error or a missing answer means for the batch.

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement};

use crate::runtime::crash_points::crash_point;
use crate::store::error::CommitError;
use crate::store::sea::error::{before_commit, during_commit, during_single_statement, timed_out};
use crate::store::sea::file_writer::FileWriter;
use crate::store::sea::store::{SeaStore, WriterConnection};
use crate::store::sea::write::plan;
use crate::store::write::{Write, Written};

impl SeaStore {
    /// Commits a batch. An empty batch checks whether the database accepts writes.
    pub(super) async fn commit_batch(&self, batch: &[Write]) -> Result<Vec<Written>, CommitError> {
        if batch.is_empty() {
            return self.probe().await.map(|()| Vec::new());
        }
        match &self.writer {
            WriterConnection::File(file) => commit_to_file(file, batch).await,
            WriterConnection::Pool(pool) if self.backend() == DbBackend::Postgres => {
                match self.commit_single_statement(pool, batch).await {
                    Some(result) => result,
                    None => self.commit_transaction(pool, batch).await,
                }
            }
            WriterConnection::Pool(pool) => self.commit_transaction(pool, batch).await,
        }
    }

    /// Commits a batch as a single statement, which is a transaction of its own: one round trip instead of three.
    /// `None` if the batch needs several statements.
    async fn commit_single_statement(
        &self,
        pool: &DatabaseConnection,
        batch: &[Write],
    ) -> Option<Result<Vec<Written>, CommitError>> {
        let (statements, written) = match self.within_timeout(plan(pool, batch)).await {
            Some(Ok(planned)) => planned,
            Some(Err(error)) => {
                self.check_writers(Some(&error));
                return Some(Err(before_commit(error)));
            }
            None => {
                self.suspect_writers.statement_abandoned();
                return Some(Err(timed_out(false)));
            }
        };
        if !statements.is_single() {
            return None;
        }
        crash_point("store.writing");
        let committed = self.within_timeout(statements.run(pool)).await;
        crash_point("store.committed");
        self.check_writers(committed.as_ref().and_then(|committed| committed.as_ref().err()));
        Some(match committed {
            Some(Ok(())) => Ok(written),
            Some(Err(error)) => Err(during_single_statement(error)),
            None => {
                self.suspect_writers.statement_abandoned();
                Err(timed_out(true))
            }
        })
    }

    /// Commits a batch of several statements through a pool.
    async fn commit_transaction(
        &self,
        pool: &DatabaseConnection,
        batch: &[Write],
    ) -> Result<Vec<Written>, CommitError> {
        let transaction = self.begin(pool).await?;
        crash_point("store.writing");
        let steps = async {
            let written = write(&transaction, batch).await?;
            Ok((written, transaction_id(&transaction).await?))
        };
        let (written, id) = match self.within_timeout(steps).await {
            Some(Ok(written)) => written,
            Some(Err(error)) => {
                self.check_writers(Some(&error));
                // Without this the rollback would be left to the drop; then the pool closes the connection.
                let _ = self.within_timeout(transaction.rollback()).await;
                return Err(before_commit(error));
            }
            None => {
                self.suspect_writers.database_failed();
                return Err(timed_out(false));
            }
        };
        crash_point("store.written");
        let committed = self.within_timeout(transaction.commit()).await;
        crash_point("store.committed");
        self.check_writers(committed.as_ref().and_then(|committed| committed.as_ref().err()));
        match committed {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(during_commit(error)),
            None => {
                self.suspect_writers.database_failed();
                return Err(timed_out(true));
            }
        }
        // PostgreSQL answers the COMMIT of a failed transaction with a rollback, which is not an error.
        let Some(id) = id else { return Ok(written) };
        match self.within_timeout(is_committed(pool, id)).await {
            Some(Ok(true)) => Ok(written),
            Some(Ok(false)) => {
                self.suspect_writers.database_failed();
                let reason = "the database rolled the transaction back at its commit".to_owned();
                Err(CommitError::Unavailable { reason, maybe_committed: false })
            }
            Some(Err(error)) => Err(during_commit(error)),
            None => Err(timed_out(true)),
        }
    }

    /// Checks whether the database accepts writes, with a write that changes nothing.
    async fn probe(&self) -> Result<(), CommitError> {
        let statement = match &self.writer {
            // A database in memory accepts writes as long as the process lives.
            WriterConnection::Pool(_) if self.backend() == DbBackend::Sqlite => return Ok(()),
            // SQLite treats this as a change and writes a page, which fails on a full disk. The engine does not use the
            // value.
            WriterConnection::File(_) => "PRAGMA user_version = 0",
            // Deletes nothing; a read-only server still refuses it.
            WriterConnection::Pool(_) => "DELETE FROM order_events WHERE false",
        };
        match self.within_timeout(self.execute(Statement::from_string(self.backend(), statement))).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(before_commit(error)),
            None => {
                self.suspect_writers.statement_abandoned();
                Err(timed_out(false))
            }
        }
    }
}

/// Commits a batch to a SQLite file. The result follows from the answer of SQLite to this `COMMIT`.
async fn commit_to_file(file: &FileWriter, batch: &[Write]) -> Result<Vec<Written>, CommitError> {
    let transaction = file.begin().await.map_err(before_commit)?;
    crash_point("store.writing");
    let written = write(&transaction, batch).await.map_err(before_commit)?;
    crash_point("store.written");
    let committed = transaction.commit().await;
    crash_point("store.committed");
    committed.map_err(during_commit)?;
    Ok(written)
}

/// Writes a batch as a few statements of many rows each.
async fn write(transaction: &impl ConnectionTrait, batch: &[Write]) -> Result<Vec<Written>, DbErr> {
    let (statements, written) = plan(transaction, batch).await?;
    statements.run(transaction).await?;
    Ok(written)
}

/// PostgreSQL's number of a transaction. `None` for SQLite, whose `COMMIT` fails unless it commits.
async fn transaction_id(transaction: &DatabaseTransaction) -> Result<Option<i64>, DbErr> {
    let backend = transaction.get_database_backend();
    if backend != DbBackend::Postgres {
        return Ok(None);
    }
    let row = transaction.query_one_raw(Statement::from_string(backend, "SELECT txid_current()")).await?;
    row.map(|row| row.try_get_by_index(0)).transpose()
}

/// Whether PostgreSQL has committed the transaction with this number.
async fn is_committed(pool: &DatabaseConnection, id: i64) -> Result<bool, DbErr> {
    let query = Statement::from_sql_and_values(DbBackend::Postgres, "SELECT txid_status($1)", [id.into()]);
    let row = pool.query_one_raw(query).await?;
    let status: Option<String> = row.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
    Ok(status.as_deref() == Some("committed"))
}
