//! Where a database is.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::config::database_url::tls::PostgresTls;

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabasePlace {
    /// SQLite in the memory of this process, lost with it. Only `sqlite::memory:` and `sqlite://:memory:` mean this.
    Memory,
    /// A SQLite file.
    File(SqliteFile),
    /// A database on a PostgreSQL server.
    Postgres(PostgresServer),
}

/// A SQLite file, as the URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteFile {
    /// The path, absolute or relative to the current folder.
    pub path: PathBuf,
    /// Whether the file is created if it does not exist (`mode=rwc`).
    pub create: bool,
}

/// A database on a PostgreSQL server, as the URL names it. `Display` is for messages: it has no user and no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresServer {
    /// The name or address of the server, without brackets, or the folder of its socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The name of the database.
    pub database: String,
    /// How the connection is encrypted.
    pub tls: PostgresTls,
}

impl PostgresServer {
    /// Host and port.
    pub fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Whether the server is reached by a socket in the file system.
    pub fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// Whether the connection does not leave this machine.
    pub fn is_on_this_machine(&self) -> bool {
        self.is_socket()
            || self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

impl fmt::Display for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.database, self.address())
    }
}
