//! SeaORM on SQLite or PostgreSQL: the same statements on both.

mod bulk;
mod list;
mod rows;
mod users;
mod writer;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use entity::{idempotency_keys, order_events, orders, transactions};
use migration::{Migrator, MigratorTrait};
use sea_orm::sea_query::{Condition, Value};
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    EntityTrait, ExecResult, PaginatorTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait, RuntimeErr,
    SqlErr, Statement, TransactionTrait,
};
use tokio::time::timeout;
use uuid::Uuid;

use self::bulk::{Statements, UpdateColumn};
use self::rows::Loaded;
use self::writer::FileWriter;
use crate::config::{DatabasePlace, DatabaseSettings, SqliteFile};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::moment::Stamp;
use crate::domain::order::{Order, RecordedEvent};
use crate::domain::swap::SignedSwap;
use crate::domain::user::Owner;
use crate::runtime::crash_points::crash_point;
use crate::store::lock::{EngineLock, FileLock, LockGuard};
use crate::store::{
    Accept, CommitError, DispatchRecord, ListFilter, OrderStore, Page, ReadError, Step, StoredOrder, SwapEnd,
    SwapWrite, Unfinished, UnfinishedFrom, Write, Written, event_to_text, moment_of, request_to_text,
};

const LIVE: &str = "live";

/// Orders in a SQLite file or a PostgreSQL database.
#[derive(Clone, Debug)]
pub struct SeaStore {
    writer: WriterConnection,
    reader: DatabaseConnection,
    parallel_commits: usize,
    // How long the database may take over one step of a commit; a file has no line that could go dead.
    patience: Option<Duration>,
    // What is known against the connections that write, and against those that read.
    doubt: SuspectConnections,
    reader_doubt: SuspectConnections,
}

/// Where writes go.
#[derive(Clone, Debug)]
enum WriterConnection {
    /// A SQLite file, which has one writer.
    File(Arc<FileWriter>),
    /// PostgreSQL, or SQLite in memory. The latter is one connection that must not be replaced, for the data goes with
    /// it; it has no disk that could be full.
    Pool(DatabaseConnection),
}

/// What is known against the connections of a pool.
#[derive(Clone, Debug, Default)]
struct SuspectConnections(Arc<Mutex<SuspectState>>);

#[derive(Debug, Default)]
struct SuspectState {
    // When a statement was last given up half way. Its connection went back to the pool with the answer still to come,
    // so for a while none is trusted unasked.
    given_up: Option<Instant>,
    // When the database last failed. What a connection that is older sees may be wrong for good (a server that became
    // read-only, a file that was replaced), so each of them is replaced.
    failed: Option<Instant>,
}

impl SuspectConnections {
    const LASTS: Duration = Duration::from_secs(10);

    fn arise(&self) {
        self.doubts().given_up = Some(Instant::now());
    }

    fn lasts(&self) -> bool {
        self.doubts().given_up.is_some_and(|arisen| arisen.elapsed() < Self::LASTS)
    }

    fn failed(&self) {
        self.doubts().failed = Some(Instant::now());
    }

    /// Whether a connection of that age may be used.
    fn allows(&self, age: Duration) -> bool {
        self.doubts().failed.is_none_or(|failed| age <= failed.elapsed())
    }

    fn doubts(&self) -> MutexGuard<'_, SuspectState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SeaStore {
    /// A commit that PostgreSQL does not answer for so long is given up, and its outcome is unknown.
    ///
    /// Its own limits do not help where the server stands still or the line is dead. With the longest wait of
    /// Persistence it stays below the five seconds within which work goes on after an outage.
    const PATIENCE: Duration = Duration::from_secs(3);
    /// An unused connection that does not answer for so long is replaced by a new one.
    const SIGN_OF_LIFE: Duration = Duration::from_millis(500);
    /// Connections for commits on PostgreSQL: those under way, and as many that are being given up.
    const WRITERS: u32 = 4;

    /// Opens the database and brings its schema up to date.
    ///
    /// Belongs on the thread that will use it: connections live and die with the runtime that opened them.
    pub async fn open(settings: &DatabaseSettings) -> Result<Self, DbErr> {
        Self::open_with(settings, None, None).await
    }

    /// As [`SeaStore::open`], for the engine that holds the lock: its connections are worth nothing without it.
    pub async fn open_locked(settings: &DatabaseSettings, lock: &EngineLock) -> Result<Self, DbErr> {
        Self::open_with(settings, lock.guard(), lock.file()).await
    }

    async fn open_with(
        settings: &DatabaseSettings,
        guard: Option<LockGuard>,
        file: Option<Arc<FileLock>>,
    ) -> Result<Self, DbErr> {
        if settings.url.place() == &DatabasePlace::Memory {
            let store = Self::connect_with(settings, guard, file).await?;
            if let WriterConnection::Pool(connection) = &store.writer {
                Migrator::up(connection, None).await?;
            }
            return Ok(store);
        }
        let connection = Self::schema_connection(settings).await?;
        if connection.get_database_backend() == DbBackend::Postgres {
            has_no_tables_elsewhere(&connection).await?;
        }
        Migrator::up(&connection, None).await?;
        connection.close().await?;
        Self::connect_with(settings, guard, file).await
    }

    /// A connection for changes to the schema, which nothing else uses afterwards.
    async fn schema_connection(settings: &DatabaseSettings) -> Result<DatabaseConnection, DbErr> {
        let options = match settings.url.is_sqlite() {
            true => sqlite_options(settings, 1, SuspectConnections::default())?,
            false => {
                // Without limits: a change to a large table may take longer than a statement.
                let mut options = options(settings, 1);
                let postgres = postgres(settings)?;
                options.map_sqlx_postgres_opts(move |_| postgres.clone());
                options
            }
        };
        Database::connect(options).await
    }

    /// Opens the database as it is.
    pub async fn connect(settings: &DatabaseSettings) -> Result<Self, DbErr> {
        Self::connect_with(settings, None, None).await
    }

    async fn connect_with(
        settings: &DatabaseSettings,
        guard: Option<LockGuard>,
        lock: Option<Arc<FileLock>>,
    ) -> Result<Self, DbErr> {
        if !settings.url.is_sqlite() {
            let schema = schema(settings).await?;
            // Writers have connections of their own, so that a flood of slow reads cannot hold up a commit.
            let writers = Ord::min(Self::WRITERS, settings.max_connections);
            let doubt = SuspectConnections::default();
            let writer =
                Database::connect(postgres_options(settings, &schema, guard.clone(), writers, doubt.clone())?).await?;
            let (reader, reader_doubt) = match settings.max_connections - writers {
                0 => (writer.clone(), doubt.clone()),
                readers => {
                    let doubt = SuspectConnections::default();
                    (
                        Database::connect(postgres_options(settings, &schema, guard, readers, doubt.clone())?).await?,
                        doubt,
                    )
                }
            };
            let writer = WriterConnection::Pool(writer);
            // Two: while one commit waits for the disk the next is being filled.
            return Ok(Self {
                writer,
                reader,
                parallel_commits: 2,
                patience: Some(Self::PATIENCE),
                doubt,
                reader_doubt,
            });
        }
        // SQLite has one writer. Its readers do not wait for it, unless the database is in memory: that is one connection.
        let doubt = SuspectConnections::default();
        let (writer, reader) = match sqlite_file(settings)? {
            Some(file) => {
                let writer = FileWriter::open(sqlite(SqliteConnectOptions::new(), Some(&file)), lock).await?;
                let readers = Ord::min(settings.max_connections, 4);
                let reader = Database::connect(sqlite_options(settings, readers, doubt.clone())?).await?;
                (WriterConnection::File(Arc::new(writer)), reader)
            }
            None => {
                let connection = Database::connect(sqlite_options(settings, 1, doubt.clone())?).await?;
                (WriterConnection::Pool(connection.clone()), connection)
            }
        };
        Ok(Self {
            writer,
            reader,
            parallel_commits: 1,
            patience: None,
            doubt: SuspectConnections::default(),
            reader_doubt: doubt,
        })
    }

    fn backend(&self) -> DbBackend {
        self.reader.get_database_backend()
    }

    /// Runs one statement that writes, as a transaction of its own.
    async fn execute(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match &self.writer {
            WriterConnection::File(file) => file.execute(statement).await,
            WriterConnection::Pool(pool) => {
                let done = pool.execute_raw(statement).await;
                self.judge(done.as_ref().err());
                done
            }
        }
    }

    /// Has the writing connections replaced if the database failed, other than by refusing data.
    fn judge(&self, error: Option<&DbErr>) {
        if error.is_some_and(|error| error.sql_err().is_none() && !is_about_the_data(error)) {
            self.doubt.failed();
        }
    }

    /// What to say of a read that failed; the connections that read are replaced.
    fn unread(&self, error: DbErr) -> ReadError {
        self.reader_doubt.failed();
        unread(error)
    }

    async fn begin(&self, writer: &DatabaseConnection) -> Result<DatabaseTransaction, CommitError> {
        let writer = writer.clone();
        // On its own: given up half way, a BEGIN would leave the pool a connection that is inside a transaction.
        let begun = tokio::spawn(async move { writer.begin().await });
        match self.patiently(begun).await {
            Some(Ok(begun)) => begun.map_err(|error| {
                self.judge(Some(&error));
                uncommitted(error)
            }),
            Some(Err(error)) => Err(CommitError::Unavailable { reason: error.to_string(), maybe_committed: false }),
            None => Err(unanswered(false)),
        }
    }

    /// Commits a batch as a single statement, which is a transaction of its own: one round trip instead of three.
    /// `None` where the batch takes more than that.
    async fn commit_at_once(
        &self,
        writer: &DatabaseConnection,
        batch: &[Write],
    ) -> Option<Result<Vec<Written>, CommitError>> {
        let (statements, written) = match self.patiently(plan(writer, batch)).await {
            Some(Ok(planned)) => planned,
            Some(Err(error)) => {
                self.judge(Some(&error));
                return Some(Err(uncommitted(error)));
            }
            None => {
                self.doubt.arise();
                return Some(Err(unanswered(false)));
            }
        };
        if !statements.are_one() {
            return None;
        }
        crash_point("store.writing");
        let committed = self.patiently(statements.run(writer)).await;
        crash_point("store.committed");
        self.judge(committed.as_ref().and_then(|committed| committed.as_ref().err()));
        Some(match committed {
            Some(Ok(())) => Ok(written),
            Some(Err(error)) if was_undone(&error) => Err(uncommitted(error)),
            Some(Err(error)) => Err(unfinished(error)),
            None => {
                self.doubt.arise();
                Err(unanswered(true))
            }
        })
    }

    /// Commits a batch to a SQLite file. The answer follows from what SQLite said to this very `COMMIT`.
    async fn commit_to_file(&self, file: &FileWriter, batch: &[Write]) -> Result<Vec<Written>, CommitError> {
        let transaction = file.begin().await.map_err(uncommitted)?;
        crash_point("store.writing");
        let written = write(&transaction, batch).await.map_err(uncommitted)?;
        crash_point("store.written");
        let committed = transaction.commit().await;
        crash_point("store.committed");
        committed.map_err(unfinished)?;
        Ok(written)
    }

    /// Commits a batch of several statements through a pool.
    async fn commit_by_steps(&self, pool: &DatabaseConnection, batch: &[Write]) -> Result<Vec<Written>, CommitError> {
        let transaction = self.begin(pool).await?;
        crash_point("store.writing");
        let steps = async {
            let written = write(&transaction, batch).await?;
            Ok((written, transaction_id(&transaction).await?))
        };
        let (written, id) = match self.patiently(steps).await {
            Some(Ok(written)) => written,
            Some(Err(error)) => {
                self.judge(Some(&error));
                // Said now and not left to the drop: the connection goes back clean.
                let _ = self.patiently(transaction.rollback()).await;
                return Err(uncommitted(error));
            }
            None => {
                self.doubt.failed();
                return Err(unanswered(false));
            }
        };
        crash_point("store.written");
        let committed = self.patiently(transaction.commit()).await;
        crash_point("store.committed");
        self.judge(committed.as_ref().and_then(|committed| committed.as_ref().err()));
        match committed {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(unfinished(error)),
            None => {
                self.doubt.failed();
                return Err(unanswered(true));
            }
        }
        // PostgreSQL answers the COMMIT of a transaction that has failed with a rollback, which is not an error.
        let Some(id) = id else { return Ok(written) };
        match self.patiently(was_committed(pool, id)).await {
            Some(Ok(true)) => Ok(written),
            Some(Ok(false)) => {
                self.doubt.failed();
                let reason = "the database rolled the transaction back at its commit".to_owned();
                Err(CommitError::Unavailable { reason, maybe_committed: false })
            }
            Some(Err(error)) => Err(unfinished(error)),
            None => Err(unanswered(true)),
        }
    }

    /// Asks whether the database takes writes, by one that changes nothing.
    async fn probe(&self) -> Result<(), CommitError> {
        let statement = match &self.writer {
            // A database in memory takes writes as long as the process lives.
            WriterConnection::Pool(_) if self.backend() == DbBackend::Sqlite => return Ok(()),
            // SQLite takes this for a change and writes a page, so a full disk shows. The engine keeps nothing there.
            WriterConnection::File(_) => "PRAGMA user_version = 0",
            // Refused by a server that is read-only, though there is nothing to delete.
            WriterConnection::Pool(_) => "DELETE FROM order_events WHERE false",
        };
        match self.patiently(self.execute(Statement::from_string(self.backend(), statement))).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(uncommitted(error)),
            None => {
                self.doubt.arise();
                Err(unanswered(false))
            }
        }
    }

    /// Waits for a step of a commit; `None` where it takes too long.
    async fn patiently<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        match self.patience {
            Some(patience) => timeout(patience, step).await.ok(),
            None => Some(step.await),
        }
    }

    /// How many orders have ended.
    pub async fn count_ended(&self) -> Result<u64, ReadError> {
        orders::Entity::find()
            .filter(orders::Column::Status.is_not_null())
            .count(&self.reader)
            .await
            .map_err(|error| self.unread(error))
    }

    /// Forgets everything and begins with an empty schema: for benchmarks.
    pub async fn start_anew(self) -> Result<(), DbErr> {
        match &self.writer {
            WriterConnection::Pool(pool) => Migrator::fresh(pool).await?,
            // The connections that read are not in use yet, and those that write are not pooled.
            WriterConnection::File(_) => Migrator::fresh(&self.reader).await?,
        }
        self.close().await;
        Ok(())
    }
}

fn options(settings: &DatabaseSettings, connections: u32) -> ConnectOptions {
    // SeaORM shows its options in its traces, so it is not told a password; sqlx gets the whole URL by `postgres`. Nor
    // does it read a SQLite URL, which it would understand otherwise; sqlx gets the file by `sqlite_options`.
    let url = match settings.url.place() {
        DatabasePlace::Memory => "sqlite::memory:".to_owned(),
        DatabasePlace::File(_) => "sqlite://named-by-sqlite-options".to_owned(),
        DatabasePlace::Postgres => settings.url.redacted(),
    };
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .idle_timeout(settings.idle_timeout)
        .connect_timeout(settings.connect_timeout)
        .acquire_timeout(settings.connect_timeout)
        .sqlx_logging(false);
    options
}

/// How PostgreSQL is really reached.
fn postgres(settings: &DatabaseSettings) -> Result<PgConnectOptions, DbErr> {
    let options: PgConnectOptions = settings
        .url
        .expose()
        .parse()
        .map_err(|error: sqlx::Error| DbErr::Conn(RuntimeErr::Internal(error.to_string())))?;
    Ok(options.disable_statement_logging())
}

/// Every statement of the engine has its index and touches few rows. While a table that grows fast has no statistics yet,
/// PostgreSQL would rather read all of it, and first compile machine code for that: of 1,000,000 orders stored within a
/// minute the p99 of a page was 229 ms, without reading all of them up to 43, and without the machine code up to 12.
const BY_INDEX: [(&str, &str); 2] = [("enable_seqscan", "off"), ("jit", "off")];

/// The schema that the tables are in. Every connection is bound to it: a `search_path` that is changed while the engine
/// runs would lead new connections to other tables.
async fn schema(settings: &DatabaseSettings) -> Result<String, DbErr> {
    let connection = SeaStore::schema_connection(settings).await?;
    let row =
        connection.query_one_raw(Statement::from_string(DbBackend::Postgres, "SELECT current_schema()::text")).await?;
    connection.close().await?;
    let schema: Option<String> = row.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
    schema.ok_or_else(|| DbErr::Custom("search_path names no schema that exists".to_owned()))
}

/// Refuses a schema without the tables where another one of the database has them: a start would make new, empty ones, and
/// every accepted order would be gone.
async fn has_no_tables_elsewhere(connection: &DatabaseConnection) -> Result<(), DbErr> {
    const ELSEWHERE: &str = "SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relname = 'order_events' AND c.relkind IN ('r', 'p') AND n.nspname <> current_schema() \
         AND NOT EXISTS (SELECT FROM pg_class o JOIN pg_namespace m ON m.oid = o.relnamespace \
         WHERE o.relname = 'order_events' AND m.nspname = current_schema()) LIMIT 1";
    match connection.query_one_raw(Statement::from_string(DbBackend::Postgres, ELSEWHERE)).await? {
        None => Ok(()),
        Some(row) => {
            let schema: String = row.try_get_by_index(0)?;
            Err(DbErr::Custom(format!(
                "the tables are in schema {schema:?}, and search_path leads elsewhere; set it back, or use another database"
            )))
        }
    }
}

fn postgres_options(
    settings: &DatabaseSettings,
    schema: &str,
    guard: Option<LockGuard>,
    connections: u32,
    doubt: SuspectConnections,
) -> Result<ConnectOptions, DbErr> {
    let postgres = postgres(settings)?;
    let mut options = options(settings, connections);
    let mut limits = limits(settings);
    // Another name would have to be escaped; then the connections find the schema as this one did.
    if schema.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_') {
        limits.push(("search_path", format!("\"{schema}\"")));
    }
    let name = guard.as_ref().map_or_else(|| "order-engine".to_owned(), LockGuard::connection_name);
    options.map_sqlx_postgres_opts(move |_| {
        postgres.clone().options(limits.clone()).options(BY_INDEX).application_name(&name)
    });
    options.map_sqlx_postgres_pool_opts(move |pool| {
        // The pool's own test would wait as long as the line is dead, and then there is no time left to connect anew.
        let (doubt, released) = (doubt.clone(), doubt.clone());
        let pool = pool.test_before_acquire(false).before_acquire(move |connection, about| {
            let trusted = about.idle_for < SeaStore::SIGN_OF_LIFE && !doubt.lasts();
            let allowed = doubt.allows(about.age);
            Box::pin(async move {
                if !allowed {
                    return Ok(false);
                }
                // Used just now: asking would only double the round trips of a busy engine.
                if trusted {
                    return Ok(true);
                }
                Ok(matches!(timeout(SeaStore::SIGN_OF_LIFE, connection.ping()).await, Ok(Ok(()))))
            })
        });
        let pool = pool.after_release(move |connection, _| {
            let doubtful = released.lasts();
            Box::pin(async move {
                let given_up = |what: &str| Err(sqlx::Error::Protocol(format!("{what} was given up half way")));
                if connection.should_flush() {
                    // Its rollback waits to be sent: what else the server still does with that connection nobody
                    // knows, so nobody gets it.
                    return given_up("a transaction");
                }
                // The pool asks every connection that comes back, and would ask a dead line for ever.
                if doubtful && !matches!(timeout(SeaStore::SIGN_OF_LIFE, connection.ping()).await, Ok(Ok(()))) {
                    return given_up("a statement");
                }
                Ok(true)
            })
        });
        let Some(guard) = guard.clone() else { return pool };
        pool.after_connect(move |connection, _| {
            let guard = guard.clone();
            Box::pin(async move { guard.check(connection).await })
        })
    });
    Ok(options)
}

/// The limits PostgreSQL itself keeps, on every connection that serves the engine.
pub(super) fn limits(settings: &DatabaseSettings) -> Vec<(&'static str, String)> {
    vec![
        ("statement_timeout", settings.statement_timeout.as_millis().to_string()),
        ("lock_timeout", settings.lock_timeout.as_millis().to_string()),
        // A transaction whose engine no longer speaks is undone, or its rows would stay locked against the next try.
        ("idle_in_transaction_session_timeout", SeaStore::PATIENCE.as_millis().to_string()),
        // Whatever the server, the database or the role say: a commit that is not on the disk is none.
        ("synchronous_commit", "on".to_owned()),
    ]
}

/// The file of a SQLite database that has one.
fn sqlite_file(settings: &DatabaseSettings) -> Result<Option<SqliteFile>, DbErr> {
    match settings.url.place() {
        // Absolute: a connection that is opened later means the same file, also after a change of folder.
        DatabasePlace::File(file) => {
            let path = std::path::absolute(&file.path)
                .map_err(|error| DbErr::Conn(RuntimeErr::Internal(format!("{}: {error}", file.path.display()))))?;
            Ok(Some(SqliteFile { path, create: file.create }))
        }
        DatabasePlace::Memory | DatabasePlace::Postgres => Ok(None),
    }
}

/// How SQLite is opened, whoever opens it.
fn sqlite(options: SqliteConnectOptions, file: Option<&SqliteFile>) -> SqliteConnectOptions {
    let options =
        options.busy_timeout(Duration::from_secs(5)).synchronous(SqliteSynchronous::Full).disable_statement_logging();
    match file {
        None => options,
        Some(file) => options.filename(&file.path).create_if_missing(file.create).journal_mode(SqliteJournalMode::Wal),
    }
}

fn sqlite_options(
    settings: &DatabaseSettings,
    connections: u32,
    doubt: SuspectConnections,
) -> Result<ConnectOptions, DbErr> {
    let mut options = options(settings, connections);
    let file = sqlite_file(settings)?;
    if file.is_none() {
        // Closing the last connection would forget everything.
        options.idle_timeout(None::<Duration>).max_lifetime(None::<Duration>);
    } else {
        options.map_sqlx_sqlite_pool_opts(move |pool| {
            let doubt = doubt.clone();
            pool.test_before_acquire(false).before_acquire(move |_, about| {
                let allowed = doubt.allows(about.age);
                Box::pin(async move { Ok(allowed) })
            })
        });
    }
    options.map_sqlx_sqlite_opts(move |options| sqlite(options, file.as_ref()));
    Ok(options)
}

#[async_trait]
impl OrderStore for SeaStore {
    fn parallel_commits(&self) -> usize {
        self.parallel_commits
    }

    async fn commit(&self, batch: &[Write]) -> Result<Vec<Written>, CommitError> {
        if batch.is_empty() {
            return self.probe().await.map(|()| Vec::new());
        }
        match &self.writer {
            WriterConnection::File(file) => self.commit_to_file(file, batch).await,
            WriterConnection::Pool(pool) if self.backend() == DbBackend::Postgres => {
                match self.commit_at_once(pool, batch).await {
                    Some(committed) => committed,
                    None => self.commit_by_steps(pool, batch).await,
                }
            }
            WriterConnection::Pool(pool) => self.commit_by_steps(pool, batch).await,
        }
    }

    async fn writer_of(&self, order: OrderId, seq: u32) -> Result<Option<Uuid>, ReadError> {
        let query = order_events::Entity::find_by_id((order.0, as_i32(seq)))
            .select_only()
            .column(order_events::Column::WriteId)
            .into_query();
        // A name that cannot be read is not the name of a write that waits for its answer.
        Ok(self.rows(&query).await?.first().map(|row| row.try_get("", "write_id").unwrap_or(Uuid::nil())))
    }

    async fn order(&self, id: OrderId) -> Result<Option<StoredOrder>, ReadError> {
        let rows = self.rows(&orders::Entity::find_by_id(id.0).into_query()).await?;
        let Loaded { mut orders, mut unreadable, .. } = self.load(&rows).await?;
        match unreadable.pop() {
            Some(unreadable) => Err(Box::new(unreadable).into()),
            None => Ok(orders.pop()),
        }
    }

    async fn order_by_key(&self, owner: Owner, key: &ClientKey) -> Result<Option<OrderId>, ReadError> {
        let id = (scope(owner), key.as_str().to_owned());
        let query = idempotency_keys::Entity::find_by_id(id)
            .select_only()
            .column(idempotency_keys::Column::OrderId)
            .into_query();
        let damaged = |error: DbErr| ReadError::UnreadableRow(format!("the order of key {:?}: {error}", key.as_str()));
        let rows = self.rows(&query).await?;
        rows.first().map(|row| row.try_get("", "order_id").map(OrderId).map_err(damaged)).transpose()
    }

    async fn unfinished(&self, from: UnfinishedFrom, limit: u64) -> Result<Unfinished, ReadError> {
        let mut query = orders::Entity::find().filter(orders::Column::Status.is_null());
        if let Some(after) = from.after {
            query = query.filter(orders::Column::Id.gt(after.0));
        }
        let query = query.order_by_asc(orders::Column::Id).offset(from.skip).limit(limit).into_query();
        let rows = self.rows(&query).await?;
        let Loaded { mut orders, unreadable, nameless } = self.load(&rows).await?;
        // The events are what happened: where only the row lacks the end, there is nothing left to do.
        orders.retain(|stored| !stored.order.state().is_final());
        let is_last = rows.len() < usize::try_from(limit).unwrap_or(usize::MAX);
        let next = (!is_last).then(|| {
            let named = rows.iter().enumerate().rev().find_map(|(place, row)| Some((place, rows::id_of(row).ok()?)));
            match named {
                Some((place, id)) => UnfinishedFrom { after: Some(id), skip: (rows.len() - 1 - place) as u64 },
                None => UnfinishedFrom { skip: from.skip + rows.len() as u64, ..from },
            }
        });
        Ok(Unfinished { orders, unreadable, nameless, next })
    }

    async fn list(&self, filter: &ListFilter) -> Result<Page, ReadError> {
        self.page(filter).await
    }

    async fn latest_dispatches(&self, limit: u64) -> Result<Vec<DispatchRecord>, ReadError> {
        let query = order_events::Entity::find()
            .select_only()
            .columns([order_events::Column::Dispatch, order_events::Column::At, order_events::Column::Data])
            .filter(order_events::Column::Dispatch.is_not_null())
            .order_by_desc(order_events::Column::Dispatch)
            .limit(limit)
            .into_query();
        let stamp = |row: &QueryResult| {
            let (at, data): (_, String) = (row.try_get("", "at").ok()?, row.try_get("", "data").ok()?);
            Some(Stamp { at, moment: moment_of(&data).ok()? })
        };
        let record = |row: &QueryResult| DispatchRecord { number: row.try_get("", "dispatch").ok(), stamp: stamp(row) };
        Ok(self.rows(&query).await?.iter().map(record).collect())
    }

    async fn close(&self) {
        let writer = async {
            match &self.writer {
                WriterConnection::File(file) => file.close().await,
                WriterConnection::Pool(pool) => pool.close_by_ref().await,
            }
        };
        for closed in [self.reader.close_by_ref().await, writer.await] {
            if let Err(error) = closed {
                tracing::warn!(%error, "a database connection did not close");
            }
        }
    }
}

/// Writes a batch as a few statements of many rows.
async fn write(transaction: &impl ConnectionTrait, batch: &[Write]) -> Result<Vec<Written>, DbErr> {
    let (statements, written) = plan(transaction, batch).await?;
    statements.run(transaction).await?;
    Ok(written)
}

/// PostgreSQL's number of a transaction; SQLite needs none, whose `COMMIT` says itself what it did.
async fn transaction_id(transaction: &DatabaseTransaction) -> Result<Option<i64>, DbErr> {
    let backend = transaction.get_database_backend();
    if backend != DbBackend::Postgres {
        return Ok(None);
    }
    let row = transaction.query_one_raw(Statement::from_string(backend, "SELECT txid_current()")).await?;
    row.map(|row| row.try_get_by_index(0)).transpose()
}

/// Whether PostgreSQL committed the transaction of that number.
async fn was_committed(pool: &DatabaseConnection, id: i64) -> Result<bool, DbErr> {
    let asked = Statement::from_sql_and_values(DbBackend::Postgres, "SELECT txid_status($1)", [id.into()]);
    let row = pool.query_one_raw(asked).await?;
    let status: Option<String> = row.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
    Ok(status.as_deref() == Some("committed"))
}

/// The statements that write a batch, and what becomes of each write once they have run.
async fn plan(connection: &impl ConnectionTrait, batch: &[Write]) -> Result<(Statements, Vec<Written>), DbErr> {
    let accepts = || {
        batch.iter().filter_map(|write| match write {
            Write::Accept(accept) => Some(accept),
            Write::Step(_) => None,
        })
    };
    let steps = || {
        batch.iter().filter_map(|write| match write {
            Write::Step(step) => Some(step),
            Write::Accept(_) => None,
        })
    };
    let mut owners = key_owners(connection, accepts()).await?;

    let mut written = Vec::with_capacity(batch.len());
    let (mut new_orders, mut new_keys, mut new_events) = (vec![], vec![], vec![]);
    // Apart, for they set one column more; an order without a user costs what it would without users.
    let mut new_orders_of_users = vec![];
    for write in batch {
        match write {
            Write::Accept(Accept { order, key, write_id }) => {
                if let Some(key) = key {
                    let scoped = (scope(order.owner), key.as_str().to_owned());
                    if let Some(owner) = owners.get(&scoped) {
                        written.push(match owner {
                            // Its own key: this write is the repeat of one that did happen.
                            Some(owner) if *owner == order.id => Written::Stored,
                            Some(owner) => Written::Duplicate(*owner),
                            None => Written::DuplicateOfUnreadable,
                        });
                        continue;
                    }
                    owners.insert(scoped, Some(order.id));
                    new_keys.push(key_row(key, order));
                }
                match order.owner {
                    Owner::Shared => new_orders.push(order_row(order)),
                    Owner::User(_) => new_orders_of_users.push(order_row(order)),
                }
                new_events.push(event_row(order.id, order.last(), None, *write_id));
            }
            Write::Step(step) => {
                new_events.push(event_row(step.order_id, &step.recorded, step.dispatch, step.write_id))
            }
        }
        written.push(Written::Stored);
    }
    let mut statements = Statements::new(connection.get_database_backend());
    statements.insert(new_orders);
    statements.insert(new_orders_of_users);
    statements.insert(new_keys);
    statements.insert(new_events);
    end_orders(&mut statements, steps().filter_map(ended_order).collect());
    settle_swaps(&mut statements, steps().filter_map(settled_swap).collect());
    // An order's next swap may only be stored once its last one is no longer live. Orders take one step a group, so it is
    // only a caller with a whole story in hand who puts both into one.
    let settled: HashSet<_> =
        steps().filter(|step| matches!(step.swap, SwapWrite::Settled { .. })).map(|step| step.order_id).collect();
    if steps().any(|step| matches!(step.swap, SwapWrite::Signed(_)) && settled.contains(&step.order_id)) {
        statements.then();
    }
    statements.insert(steps().filter_map(swap_row).collect());
    Ok((statements, written))
}

/// Which of these keys belong to an order already.
async fn key_owners<'a>(
    connection: &impl ConnectionTrait,
    accepts: impl Iterator<Item = &'a Accept>,
) -> Result<HashMap<(String, String), Option<OrderId>>, DbErr> {
    use idempotency_keys::Column;
    let mut keys: HashMap<Owner, HashSet<&str>> = HashMap::new();
    for accept in accepts {
        if let Some(key) = &accept.key {
            keys.entry(accept.order.owner).or_default().insert(key.as_str());
        }
    }
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let of_an_owner = |(owner, keys)| Condition::all().add(Column::Scope.eq(scope(owner))).add(Column::Key.is_in(keys));
    let wanted = keys.into_iter().map(of_an_owner).fold(Condition::any(), Condition::add);
    let query = idempotency_keys::Entity::find()
        .select_only()
        .columns([Column::Scope, Column::Key, Column::OrderId])
        .filter(wanted)
        .into_query();
    let rows = connection.query_all_raw(connection.get_database_backend().build(&query)).await?;
    // The key is what was asked for, so it can be read; the order's id may be damaged, and the key is taken all the same.
    let owner = |row: &QueryResult| {
        Ok(((row.try_get("", "scope")?, row.try_get("", "key")?), row.try_get("", "order_id").ok().map(OrderId)))
    };
    rows.iter().map(owner).collect()
}

/// Where an owner's keys live: nobody's key is another's.
fn scope(owner: Owner) -> String {
    owner.user().map(|user| user.to_string()).unwrap_or_default()
}

fn order_row(order: &Order) -> orders::ActiveModel {
    let request = &order.request;
    orders::ActiveModel {
        id: Set(order.id.0),
        r#type: Set("market".to_owned()),
        status: NotSet,
        token_in: Set(request.token_in.mint.to_string()),
        token_out: Set(request.token_out.mint.to_string()),
        client_order_id: Set(request.client_order_id.as_ref().map(|key| key.as_str().to_owned())),
        request: Set(request_to_text(request)),
        created_at: Set(order.created_at()),
        ended_at: NotSet,
        user_id: order.owner.user().map_or(NotSet, |user| Set(Some(user.0))),
    }
}

fn key_row(key: &ClientKey, order: &Order) -> idempotency_keys::ActiveModel {
    idempotency_keys::ActiveModel {
        scope: Set(scope(order.owner)),
        key: Set(key.as_str().to_owned()),
        order_id: Set(order.id.0),
        created_at: Set(order.created_at()),
    }
}

fn event_row(
    order: OrderId,
    recorded: &RecordedEvent,
    dispatch: Option<i64>,
    write_id: Uuid,
) -> order_events::ActiveModel {
    order_events::ActiveModel {
        order_id: Set(order.0),
        seq: Set(as_i32(recorded.seq)),
        status: Set(recorded.status.name().to_owned()),
        data: Set(event_to_text(recorded)),
        at: Set(recorded.at),
        write_id: Set(write_id),
        dispatch: Set(dispatch),
    }
}

fn swap_row(step: &Step) -> Option<transactions::ActiveModel> {
    let SwapWrite::Signed(SignedSwap { swap, bytes }) = &step.swap else { return None };
    Some(transactions::ActiveModel {
        signature: Set(swap.signature.to_string()),
        order_id: Set(step.order_id.0),
        attempt: Set(as_i32(step.recorded.attempt)),
        venue: Set(swap.venue.name().to_owned()),
        bytes: Set(bytes.to_vec()),
        last_valid_block_height: Set(as_i64(swap.last_valid_block_height)),
        status: Set(LIVE.to_owned()),
        slot: NotSet,
        fee: NotSet,
        error: NotSet,
        created_at: Set(step.recorded.at),
        updated_at: Set(step.recorded.at),
    })
}

fn ended_order(step: &Step) -> Option<Vec<Value>> {
    let recorded = &step.recorded;
    recorded.status.is_final().then(|| vec![step.order_id.0.into(), recorded.status.name().into(), recorded.at.into()])
}

fn end_orders(statements: &mut Statements, ended: Vec<Vec<Value>>) {
    use orders::Column;
    let targets = [Column::Status, Column::EndedAt].map(|column| UpdateColumn { column, nullable: false });
    statements.update(Column::Id, &targets, ended);
}

fn settled_swap(step: &Step) -> Option<Vec<Value>> {
    let SwapWrite::Settled { signature, end } = &step.swap else { return None };
    let (status, slot, fee, error) = match end {
        SwapEnd::Landed(fill) => ("landed", as_i64(fill.slot), as_i64(fill.fee.0), ""),
        SwapEnd::Rejected(reason) => ("rejected", NO_NUMBER, NO_NUMBER, reason.as_str()),
        SwapEnd::Expired => ("expired", NO_NUMBER, NO_NUMBER, ""),
    };
    Some(vec![
        signature.to_string().into(),
        status.into(),
        slot.into(),
        fee.into(),
        error.into(),
        step.recorded.at.into(),
    ])
}

/// Travels for NULL in a column of numbers that are never negative.
const NO_NUMBER: i64 = -1;

fn settle_swaps(statements: &mut Statements, settled: Vec<Vec<Value>>) {
    use transactions::Column;
    let targets = [
        UpdateColumn { column: Column::Status, nullable: false },
        UpdateColumn { column: Column::Slot, nullable: true },
        UpdateColumn { column: Column::Fee, nullable: true },
        UpdateColumn { column: Column::Error, nullable: true },
        UpdateColumn { column: Column::UpdatedAt, nullable: false },
    ];
    statements.update(Column::Signature, &targets, settled);
}

fn uncommitted(error: DbErr) -> CommitError {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(reason) | SqlErr::ForeignKeyConstraintViolation(reason)) => {
            CommitError::Refused(reason)
        }
        _ if is_about_the_data(&error) => CommitError::Refused(error.to_string()),
        _ => CommitError::Unavailable { reason: error.to_string(), maybe_committed: false },
    }
}

/// What became of a commit that failed: certainly nothing if the database itself says so, for its data or for a
/// collision with another transaction. A connection that is lost or shut down says nothing.
fn unfinished(error: DbErr) -> CommitError {
    let collided = sql_code(&error).is_some_and(|code| code.len() == 5 && code.starts_with("40"));
    if collided || is_about_the_data(&error) {
        return uncommitted(error);
    }
    CommitError::Unavailable { reason: error.to_string(), maybe_committed: true }
}

/// Whether a statement that is a transaction of its own is certainly undone: it was never sent, or the server says what
/// was wrong with it. A server that shuts down or is broken says nothing.
fn was_undone(error: &DbErr) -> bool {
    // Connection exceptions, operator intervention by a shutdown, system errors, internal errors.
    const SAYS_NOTHING: [&str; 4] = ["08", "57P", "58", "XX"];
    matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_))
        || sql_code(error).is_some_and(|code| !SAYS_NOTHING.iter().any(|class| code.starts_with(class)))
}

fn unanswered(maybe_committed: bool) -> CommitError {
    let reason = format!("no answer within {:?}", SeaStore::PATIENCE);
    CommitError::Unavailable { reason, maybe_committed }
}

fn sql_code(error: &DbErr) -> Option<String> {
    let (DbErr::Exec(sea_orm::RuntimeErr::SqlxError(error)) | DbErr::Query(sea_orm::RuntimeErr::SqlxError(error))) =
        error
    else {
        return None;
    };
    error.as_database_error().and_then(|error| error.code()).map(std::borrow::Cow::into_owned)
}

/// Whether the database understood the statement and refuses its data, so that trying again cannot help.
fn is_about_the_data(error: &DbErr) -> bool {
    if matches!(error, DbErr::RecordNotInserted) {
        return true;
    }
    let Some(code) = sql_code(error) else { return false };
    // PostgreSQL's classes 22 (data exception) and 23 (integrity constraint); SQLite's SQLITE_CONSTRAINT with its
    // extended codes (275 is a CHECK), SQLITE_TOOBIG and SQLITE_MISMATCH.
    match code.len() {
        5 => code.starts_with("22") || code.starts_with("23"),
        _ => code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20)),
    }
}

fn unread(error: DbErr) -> ReadError {
    ReadError::NoAnswer(error.to_string())
}

fn as_i32(number: u32) -> i32 {
    i32::try_from(number).expect("no order has two billion events")
}

fn as_i64(number: u64) -> i64 {
    i64::try_from(number).expect("block heights, slots and fees stay below 2^63")
}
