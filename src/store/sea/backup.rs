//! Copies of a SQLite database, made while an engine writes to it.
//!
//! `VACUUM INTO` reads one snapshot of the database. In a write-ahead log readers and the writer do not wait for each
//! other, so the engine goes on; its log only grows until the copy is made. The connection is read-only: when it is
//! closed, SQLite neither moves the log into the database nor removes it, which the engine would take for the work of
//! another program.

use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use entity::{order_events, orders};
use migration::Migrator;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, EntityTrait, PaginatorTrait,
    Statement,
};
use thiserror::Error;

use crate::runtime::new_file::{NewFile, beside};
use crate::store::sea::engine_state::mark_restored;
use crate::store::sea::store::SeaStore;

/// Why a copy was not made, or cannot be used.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The copy cannot be written.
    #[error("{}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The database cannot be read or copied.
    #[error("{}: {reason}", .path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// The error of SQLite.
        reason: String,
    },
    /// The file is not an intact database of the engine.
    #[error("{}: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a copy contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyFigures {
    /// Orders.
    pub orders: u64,
    /// Events of orders.
    pub events: u64,
    /// The size of the file.
    pub bytes: u64,
}

/// A verified copy of a database, which has its name once it is published.
#[derive(Debug)]
pub struct DatabaseCopy {
    file: NewFile,
    path: PathBuf,
    figures: CopyFigures,
}

impl DatabaseCopy {
    /// Copies a SQLite database to a new file, and verifies the copy.
    ///
    /// The copy has the schema of this version and is marked as restored from a backup of `now`, unless it has an
    /// earlier mark already.
    pub async fn make(source: &Path, path: &Path, now: DateTime<Utc>) -> Result<Self, BackupError> {
        let unwritten = |source| BackupError::Write { path: path.to_owned(), source };
        let mut file = NewFile::begin(path).map_err(unwritten)?;
        let partial = file.partial().to_owned();
        // SQLite would apply the rest of an earlier attempt to this one.
        let _ = std::fs::remove_file(beside(&partial, "-journal"));
        copy(source, &partial).await?;
        let figures = finish(&partial, source, now).await?;
        let bytes = file.file().metadata().map_err(unwritten)?.len();
        Ok(Self { file, path: path.to_owned(), figures: CopyFigures { bytes, ..figures } })
    }

    /// The path of the copy until it is published.
    pub fn partial(&self) -> &Path {
        self.file.partial()
    }

    /// Gives the copy its name. It is on the disk when this returns.
    pub fn publish(self) -> Result<CopyFigures, BackupError> {
        let Self { file, path, figures } = self;
        file.publish().map_err(|source| BackupError::Write { path, source })?;
        Ok(figures)
    }
}

impl SeaStore {
    /// Opens a copy that no engine uses, without changing it, and verifies its pages and its schema.
    pub async fn open_copy(path: &Path) -> Result<Self, BackupError> {
        let connection = connect(path, read_only(path)).await?;
        let damaged = |reason: String| BackupError::Damaged { path: path.to_owned(), reason };
        match Schema::of(&connection).await {
            Schema::Current => {}
            Schema::Earlier => {
                return Err(damaged(
                    "has the schema of an earlier version: check it with that version, or restore it, which brings the \
                     schema up to date"
                        .to_owned(),
                ));
            }
            Schema::Later(name) => {
                return Err(damaged(format!("is of a newer version: this one does not know the migration {name}")));
            }
            Schema::Foreign(reason) => return Err(damaged(format!("is not a database of the engine: {reason}"))),
        }
        verify(path, &connection).await?;
        Ok(Self::of_connection(connection))
    }
}

/// The schema of a database, compared with that of this version.
enum Schema {
    Current,
    Earlier,
    /// It has this migration, which this version does not know.
    Later(String),
    /// It is not a database of the engine.
    Foreign(String),
}

impl Schema {
    async fn of(connection: &DatabaseConnection) -> Self {
        let query = Statement::from_string(DbBackend::Sqlite, "SELECT version FROM seaql_migrations");
        let applied = connection.query_all_raw(query).await;
        let applied = applied.and_then(|rows| rows.iter().map(|row| row.try_get_by_index(0)).collect());
        let applied: Vec<String> = match applied {
            Ok(applied) => applied,
            Err(error) => return Self::Foreign(error.to_string()),
        };
        let known = Migrator::names();
        match applied.iter().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Self::Later(unknown.clone()),
            None if applied.len() < known.len() => Self::Earlier,
            None => Self::Current,
        }
    }
}

/// Copies one snapshot of the database into an empty file.
async fn copy(source: &Path, empty: &Path) -> Result<(), BackupError> {
    let failed = |error: sqlx::Error| BackupError::Database {
        path: source.to_owned(),
        reason: format!("cannot be copied: {error}"),
    };
    if let Err(error) = std::fs::metadata(source) {
        return Err(BackupError::Database { path: source.to_owned(), reason: error.to_string() });
    }
    let Some(empty) = empty.to_str() else {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path is not UTF-8");
        return Err(BackupError::Write { path: empty.to_owned(), source });
    };
    let mut connection = SqliteConnection::connect_with(&read_only(source)).await.map_err(failed)?;
    sqlx::query("VACUUM INTO ?").bind(empty).execute(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)
}

/// Brings the schema of a copy up to date, marks the copy, and verifies it. Errors name the source.
async fn finish(copy: &Path, source: &Path, now: DateTime<Utc>) -> Result<CopyFigures, BackupError> {
    // Not a write-ahead log: the copy is one file.
    let options = SqliteConnectOptions::new().filename(copy).journal_mode(SqliteJournalMode::Delete);
    let connection = connect(source, options).await?;
    if let Schema::Foreign(reason) = Schema::of(&connection).await {
        let reason = format!("is not a database of the engine: {reason}");
        return Err(BackupError::Damaged { path: source.to_owned(), reason });
    }
    let failed = |error: DbErr| BackupError::Database { path: source.to_owned(), reason: error.to_string() };
    Migrator::up(&connection, None).await.map_err(failed)?;
    mark_restored(&connection, now.to_rfc3339_opts(SecondsFormat::Secs, true)).await.map_err(failed)?;
    verify(source, &connection).await?;
    let orders = orders::Entity::find().count(&connection).await.map_err(failed)?;
    let events = order_events::Entity::find().count(&connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(CopyFigures { orders, events, bytes: 0 })
}

/// Checks every page and index.
async fn verify(path: &Path, connection: &DatabaseConnection) -> Result<(), BackupError> {
    let damaged = |reason: String| BackupError::Damaged { path: path.to_owned(), reason };
    let query = Statement::from_string(DbBackend::Sqlite, "PRAGMA integrity_check");
    let rows = connection.query_all_raw(query).await;
    let rows = rows.and_then(|rows| rows.iter().map(|row| row.try_get_by_index::<String>(0)).collect());
    let found: Vec<String> = rows.map_err(|error| damaged(error.to_string()))?;
    if found == ["ok"] { Ok(()) } else { Err(damaged(format!("is damaged: {}", found.join("; ")))) }
}

fn read_only(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging()
}

/// A single connection to a copy.
async fn connect(path: &Path, options: SqliteConnectOptions) -> Result<DatabaseConnection, BackupError> {
    let mut pool = ConnectOptions::new("sqlite://named-by-sqlite-options");
    pool.max_connections(1).sqlx_logging(false).map_sqlx_sqlite_opts(move |_| options.clone());
    Database::connect(pool)
        .await
        .map_err(|error| BackupError::Database { path: path.to_owned(), reason: error.to_string() })
}
