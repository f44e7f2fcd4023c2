//! The URL of the database. It is parsed completely at the start, so that no part of it is ignored or misunderstood
//! later.

mod decode;
mod place;
mod postgres;
mod sqlite;
#[cfg(test)]
mod tests;
mod tls;

use std::path::PathBuf;
use std::str::FromStr;

pub use self::place::{DatabasePlace, PostgresServer, SqliteFile};
pub use self::tls::{PostgresTls, TlsMode};
use crate::domain::secret;

/// The URL of the database. A PostgreSQL URL may have a password, so `Debug` hides it and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    text: String,
    place: DatabasePlace,
}

impl DatabaseUrl {
    /// The URL as it was written, secrets included.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Where the database is.
    pub fn place(&self) -> &DatabasePlace {
        &self.place
    }

    /// Whether the database is SQLite, in a file or in memory.
    pub fn is_sqlite(&self) -> bool {
        self.postgres().is_none()
    }

    /// The PostgreSQL server; `None` for SQLite.
    pub fn postgres(&self) -> Option<&PostgresServer> {
        match &self.place {
            DatabasePlace::Postgres(server) => Some(server),
            DatabasePlace::Memory | DatabasePlace::File(_) => None,
        }
    }

    /// The path of the SQLite file; `None` for PostgreSQL and for a database in memory.
    pub fn sqlite_path(&self) -> Option<PathBuf> {
        match &self.place {
            DatabasePlace::File(file) => Some(file.path.clone()),
            DatabasePlace::Memory | DatabasePlace::Postgres(_) => None,
        }
    }

    /// The URL without user, password and parameters, for logs.
    pub fn redacted(&self) -> String {
        match &self.place {
            DatabasePlace::Memory => self.text.clone(),
            DatabasePlace::File(file) => format!("sqlite://{}", file.path.display()),
            DatabasePlace::Postgres(_) => secret::url_without_secrets(&self.text),
        }
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let place = if let Some(rest) = text.strip_prefix("sqlite:") {
            sqlite::parse(rest.strip_prefix("//").unwrap_or(rest))?
        } else if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            DatabasePlace::Postgres(postgres::parse(text)?)
        } else if text.is_empty() {
            return Err("is empty: set DATABASE_URL, for example to sqlite:///var/lib/order-engine/order-engine.db?mode=rwc, or \
                        to postgres://USER:PASSWORD@HOST/DATABASE"
                .to_owned());
        } else {
            return Err("must begin with sqlite: or postgres://".to_owned());
        };
        Ok(Self { text: text.to_owned(), place })
    }
}
