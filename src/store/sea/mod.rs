//! The adapter of the store: SeaORM on SQLite or PostgreSQL, with the same statements on both.
//!
//! - `store`: the connections, and how statements are run on them. `pool` opens the pools, `session` has the settings
//!   of each connection, `suspects` knows which connections must be replaced, `tls_note` why TLS failed, `schema`
//!   migrates.
//! - `commit`: commits a batch. `write` makes its rows, `bulk` its statements; `file_writer` is the one connection that
//!   writes to a SQLite file.
//! - `read` and `list`: queries. `rows` rebuilds orders from their rows.
//! - `users`: API keys and revoked tokens. `accounts`: accounts; `turn` is the transaction that changes them.
//! - `engine_state`: whether the database comes from a backup. `backup` copies a SQLite database and opens copies;
//!   `inspect` reads every row of one.
//! - `error`: what the errors of the database mean.
//! - [`lock`]: one engine per database.

mod accounts;
mod backup;
mod bulk;
mod commit;
mod engine_state;
mod error;
mod file_writer;
mod inspect;
mod list;
pub mod lock;
mod pool;
mod read;
mod rows;
mod schema;
mod session;
mod store;
mod suspects;
mod tls_note;
mod turn;
mod users;
mod write;

use async_trait::async_trait;
use sea_orm::DbBackend;
use uuid::Uuid;

pub use self::backup::{BackupError, CopyFigures, DatabaseCopy};
pub use self::inspect::Inspection;
pub use self::store::SeaStore;
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::user::Owner;
use crate::store::error::{CommitError, ReadError};
use crate::store::port::{DispatchRecord, ListFilter, OrderStore, Page, StoredOrder, Unfinished, UnfinishedFrom};
use crate::store::write::{Write, Written};

#[async_trait]
impl OrderStore for SeaStore {
    fn parallel_commits(&self) -> usize {
        self.parallel_commits
    }

    fn is_remote(&self) -> bool {
        self.backend() == DbBackend::Postgres
    }

    fn trouble(&self) -> Option<String> {
        self.writer_trouble()
    }

    async fn commit(&self, batch: &[Write]) -> Result<Vec<Written>, CommitError> {
        self.commit_batch(batch).await
    }

    async fn writer_of(&self, order: OrderId, seq: u32) -> Result<Option<Uuid>, ReadError> {
        self.find_writer(order, seq).await
    }

    async fn order(&self, id: OrderId) -> Result<Option<StoredOrder>, ReadError> {
        self.find_order(id).await
    }

    async fn order_by_key(&self, owner: Owner, key: &ClientKey) -> Result<Option<OrderId>, ReadError> {
        self.find_by_key(owner, key).await
    }

    async fn unfinished(&self, from: UnfinishedFrom, limit: u64) -> Result<Unfinished, ReadError> {
        self.find_unfinished(from, limit).await
    }

    async fn list(&self, filter: &ListFilter) -> Result<Page, ReadError> {
        self.page(filter).await
    }

    async fn latest_dispatches(&self, limit: u64) -> Result<Vec<DispatchRecord>, ReadError> {
        self.find_latest_dispatches(limit).await
    }

    async fn close(&self) {
        self.close_connections().await;
    }
}
