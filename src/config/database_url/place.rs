//! Where a database is.

use std::path::PathBuf;

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabasePlace {
    /// SQLite in the memory of this process, lost with it. Only `sqlite::memory:` and `sqlite://:memory:` mean this.
    Memory,
    /// A SQLite file.
    File(SqliteFile),
    /// A database on a PostgreSQL server.
    Postgres,
}

/// A SQLite file, as the URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteFile {
    /// The path, absolute or relative to the current folder.
    pub path: PathBuf,
    /// Whether the file is created if it does not exist (`mode=rwc`).
    pub create: bool,
}
