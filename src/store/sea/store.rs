//! The store itself: its connections, and how statements are run on them.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sea_query::SelectStatement;
use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement,
    TransactionTrait,
};
use tokio::time::timeout;

use crate::config::{DatabasePlace, DatabaseSettings};
use crate::store::error::{CommitError, ReadError};
use crate::store::sea::file_writer::FileWriter;
use crate::store::sea::lock::{self, EngineLock, FileLock, LockGuard};
use crate::store::sea::suspects::SuspectConnections;
use crate::store::sea::tls_note::TlsFailureNote;
use crate::store::sea::{error, pool, schema, session};

/// The connections for commits on PostgreSQL: one per parallel commit, and as many again for commits that are being
/// abandoned.
const WRITERS: u32 = 4;
/// The connections for reads on SQLite.
const SQLITE_READERS: u32 = 4;

/// Orders and users in a SQLite file or a PostgreSQL database.
#[derive(Clone, Debug)]
pub struct SeaStore {
    pub(super) writer: WriterConnection,
    pub(super) reader: DatabaseConnection,
    pub(super) parallel_commits: usize,
    // The maximum time of one step of a commit; `None` for SQLite, which has no network connection that can hang.
    step_timeout: Option<Duration>,
    pub(super) suspect_writers: SuspectConnections,
    suspect_readers: SuspectConnections,
    // Why TLS failed when the writers last failed.
    tls_failure: Arc<TlsFailureNote>,
}

/// Where writes go.
#[derive(Clone, Debug)]
pub(super) enum WriterConnection {
    /// A SQLite file, which has one writer.
    File(Arc<FileWriter>),
    /// PostgreSQL, or SQLite in memory. In memory there is one connection, which holds the data and must not be
    /// replaced; no disk can be full there.
    Pool(DatabaseConnection),
}

impl SeaStore {
    /// Opens the database and brings its schema up to date.
    ///
    /// Call it on the thread that will use the store: connections belong to the runtime that opened them.
    pub async fn open(settings: &DatabaseSettings) -> Result<Self, DbErr> {
        Self::open_with(settings, None, None).await
    }

    /// As [`SeaStore::open`], for the engine that holds the lock. The connections work only while it holds the lock.
    pub async fn open_locked(settings: &DatabaseSettings, lock: &EngineLock) -> Result<Self, DbErr> {
        Self::open_with(settings, lock.guard(), lock.file()).await
    }

    /// Opens the database without changing its schema.
    pub async fn connect(settings: &DatabaseSettings) -> Result<Self, DbErr> {
        Self::connect_with(settings, None, None).await
    }

    /// Opens a database beside an engine that may be running on it, to change accounts. It takes no lock of an engine: a
    /// change waits for those of the engine, and the engine for it. It leaves the schema as it is, and fails unless the
    /// schema is that of this version.
    pub async fn connect_beside(settings: &DatabaseSettings) -> Result<Self, DbErr> {
        if settings.url.place() == &DatabasePlace::Memory {
            return Err(DbErr::Custom("database.url: a database in memory belongs to its engine alone".to_owned()));
        }
        // SQLite would create the file.
        let file = session::sqlite_file(settings).map_err(|error| pool::invalid(&error))?;
        if let Some(file) = file.filter(|file| !file.path.exists()) {
            let path = file.path.display();
            return Err(DbErr::Custom(format!("{path} does not exist; `order-engine migrate` creates it")));
        }
        schema::check(settings).await?;
        Self::connect(settings).await
    }

    /// A store that reads through one connection.
    pub(super) fn of_connection(connection: DatabaseConnection) -> Self {
        Self {
            writer: WriterConnection::Pool(connection.clone()),
            reader: connection,
            parallel_commits: 1,
            step_timeout: None,
            suspect_writers: SuspectConnections::default(),
            suspect_readers: SuspectConnections::default(),
            tls_failure: Arc::default(),
        }
    }

    async fn open_with(
        settings: &DatabaseSettings,
        guard: Option<LockGuard>,
        file: Option<Arc<FileLock>>,
    ) -> Result<Self, DbErr> {
        if let Some(file) = session::sqlite_file(settings).map_err(|error| pool::invalid(&error))? {
            // SQLite would create it with the mode of the umask.
            lock::create_database(&file).map_err(|error| DbErr::Custom(error.to_string()))?;
        }
        if settings.url.place() == &DatabasePlace::Memory {
            let store = Self::connect_with(settings, guard, file).await?;
            schema::migrate_on(&store.reader).await?;
            return Ok(store);
        }
        schema::migrate(settings).await?;
        Self::connect_with(settings, guard, file).await
    }

    async fn connect_with(
        settings: &DatabaseSettings,
        guard: Option<LockGuard>,
        file: Option<Arc<FileLock>>,
    ) -> Result<Self, DbErr> {
        match settings.url.is_sqlite() {
            true => Self::connect_sqlite(settings, file).await,
            false => Self::connect_postgres(settings, guard).await,
        }
    }

    async fn connect_postgres(settings: &DatabaseSettings, guard: Option<LockGuard>) -> Result<Self, DbErr> {
        let schema = schema::current_schema(settings).await?;
        let connect = async |connections: u32, suspects: &SuspectConnections| {
            let options = pool::postgres(settings, &schema, guard.clone(), connections, suspects.clone())?;
            pool::open(settings, options).await
        };
        // Writers have their own connections, so that many slow reads cannot delay a commit.
        let writers = Ord::min(WRITERS, settings.max_connections);
        let suspect_writers = SuspectConnections::default();
        let writer = connect(writers, &suspect_writers).await?;
        let (reader, suspect_readers) = match settings.max_connections - writers {
            0 => (writer.clone(), suspect_writers.clone()),
            readers => {
                let suspects = SuspectConnections::default();
                (connect(readers, &suspects).await?, suspects)
            }
        };
        Ok(Self {
            writer: WriterConnection::Pool(writer),
            reader,
            // While one commit waits for the disk, the next batch fills.
            parallel_commits: 2,
            step_timeout: Some(session::STEP_TIMEOUT),
            suspect_writers,
            suspect_readers,
            tls_failure: Arc::new(TlsFailureNote::of(settings)),
        })
    }

    async fn connect_sqlite(settings: &DatabaseSettings, lock: Option<Arc<FileLock>>) -> Result<Self, DbErr> {
        let suspect_readers = SuspectConnections::default();
        let (writer, reader) = match session::sqlite_file(settings).map_err(|error| pool::invalid(&error))? {
            Some(file) => {
                let options = session::sqlite(SqliteConnectOptions::new(), Some(&file));
                let writer = FileWriter::open(options, lock).await?;
                let readers = Ord::min(settings.max_connections, SQLITE_READERS);
                let reader = pool::open(settings, pool::sqlite(settings, readers, suspect_readers.clone())?).await?;
                (WriterConnection::File(Arc::new(writer)), reader)
            }
            // A database in memory is one connection.
            None => {
                let connection = pool::open(settings, pool::sqlite(settings, 1, suspect_readers.clone())?).await?;
                (WriterConnection::Pool(connection.clone()), connection)
            }
        };
        Ok(Self {
            writer,
            reader,
            parallel_commits: 1,
            step_timeout: None,
            suspect_writers: SuspectConnections::default(),
            suspect_readers,
            tls_failure: Arc::new(TlsFailureNote::of(settings)),
        })
    }

    pub(super) fn backend(&self) -> DbBackend {
        self.reader.get_database_backend()
    }

    /// The rows that a query finds, not decoded yet.
    pub(super) async fn rows(&self, query: &SelectStatement) -> Result<Vec<QueryResult>, ReadError> {
        let statement = self.backend().build(query);
        let read = self.reader.query_all_raw(statement.clone()).await.map_err(|error| {
            let was_lost = error::is_lost_connection(&error);
            (was_lost, self.read_failed(error))
        });
        match read {
            // A connection that was used a moment ago is not tested before it is used. The older ones are replaced now, so
            // one more try finds whether the database answers.
            Err((true, _)) => self.reader.query_all_raw(statement).await.map_err(|error| self.read_failed(error)),
            read => read.map_err(|(_, error)| error),
        }
    }

    /// The error of a failed read. The readers are replaced.
    pub(super) fn read_failed(&self, error: DbErr) -> ReadError {
        self.suspect_readers.database_failed();
        error::no_answer(error)
    }

    /// Runs one statement that writes, as a transaction of its own.
    pub(super) async fn execute(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match &self.writer {
            WriterConnection::File(file) => file.execute(statement).await,
            WriterConnection::Pool(pool) => {
                let result = pool.execute_raw(statement).await;
                self.check_writers(result.as_ref().err());
                result
            }
        }
    }

    /// Begins a transaction on a pool.
    pub(super) async fn begin(&self, pool: &DatabaseConnection) -> Result<DatabaseTransaction, CommitError> {
        let pool = pool.clone();
        // A task of its own, which is not abandoned: an abandoned BEGIN would return a connection to the pool that is
        // inside a transaction.
        let begun = tokio::spawn(async move { pool.begin().await });
        match self.within_timeout(begun).await {
            Some(Ok(begun)) => begun.map_err(|error| {
                self.check_writers(Some(&error));
                error::before_commit(error)
            }),
            Some(Err(error)) => Err(CommitError::Unavailable { reason: error.to_string(), maybe_committed: false }),
            None => Err(error::timed_out(false)),
        }
    }

    /// Has the writers replaced if the error is a failure of the database.
    pub(super) fn check_writers(&self, error: Option<&DbErr>) {
        if error.is_some_and(error::is_failure) {
            self.suspect_writers.database_failed();
        }
        self.tls_failure.set(error.and_then(error::tls_failure));
    }

    /// Why the writers failed last, if an operator must act.
    pub(super) fn writer_trouble(&self) -> Option<String> {
        self.tls_failure.get().map(|failure| failure.to_string())
    }

    /// Waits for one step of a commit; `None` if it takes too long.
    pub(super) async fn within_timeout<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        match self.step_timeout {
            Some(limit) => timeout(limit, step).await.ok(),
            None => Some(step.await),
        }
    }

    pub(super) async fn close_connections(&self) {
        let reader = self.reader.close_by_ref().await;
        let writer = match &self.writer {
            WriterConnection::File(file) => file.close().await,
            WriterConnection::Pool(pool) => pool.close_by_ref().await,
        };
        for closed in [reader, writer] {
            if let Err(error) = closed {
                tracing::warn!(%error, "a database connection was not closed");
            }
        }
    }
}
