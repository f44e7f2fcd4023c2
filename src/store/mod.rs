//! The database: the port through which the engine stores orders and users, and its adapter.
//!
//! [`port`], [`mod@write`], [`users`] and [`error`] are the port. `sea` is the adapter: SeaORM on SQLite or PostgreSQL.
//! It alone names the rows of `entity`. [`lock`] allows one engine per database.

mod encoding;
pub mod error;
pub mod port;
mod sea;
pub mod users;
pub mod write;

pub use self::error::{CommitError, ReadError, UnreadableOrder};
pub use self::port::{DispatchRecord, ListFilter, OrderStore, Page, StoredOrder, Unfinished, UnfinishedFrom};
pub use self::sea::{BackupError, CopyFigures, DatabaseCopy, Inspection, SeaStore, lock};
pub use self::write::{Accept, Step, SwapEnd, SwapWrite, Write, Written};
