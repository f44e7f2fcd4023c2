//! The port: what the engine asks of the store of orders.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::id::{ClientKey, OrderId};
use crate::domain::lifecycle::Status;
use crate::domain::moment::Stamp;
use crate::domain::order::Order;
use crate::domain::swap::SignedSwap;
use crate::domain::token::Mint;
use crate::domain::user::Owner;
use crate::store::error::{CommitError, ReadError, UnreadableOrder};
use crate::store::write::{Write, Written};

/// Stores orders and their events.
#[async_trait]
pub trait OrderStore: Send + Sync + 'static {
    /// The number of commits that may run at the same time.
    fn parallel_commits(&self) -> usize;

    /// Whether the store is another process, which can go away or stop answering without an error.
    fn is_remote(&self) -> bool {
        false
    }

    /// Why the last commits failed, if an operator must act before they can succeed. Every client may read it, so it
    /// names no host.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Commits a batch in one transaction, all of it or nothing. The results are in the order of the batch. They are
    /// durable when this returns.
    async fn commit(&self, batch: &[Write]) -> Result<Vec<Written>, CommitError>;

    /// The id of the write that stored an event; `None` if the event is not stored.
    async fn writer_of(&self, order: OrderId, seq: u32) -> Result<Option<Uuid>, ReadError>;

    /// One order.
    async fn order(&self, id: OrderId) -> Result<Option<StoredOrder>, ReadError>;

    /// The order to which an owner's key belongs.
    async fn order_by_key(&self, owner: Owner, key: &ClientKey) -> Result<Option<OrderId>, ReadError>;

    /// The next unfinished orders, oldest first.
    async fn unfinished(&self, from: UnfinishedFrom, limit: u64) -> Result<Unfinished, ReadError>;

    /// A page of a list of orders.
    async fn list(&self, filter: &ListFilter) -> Result<Page, ReadError>;

    /// The dispatches with the highest numbers, highest first.
    async fn latest_dispatches(&self, limit: u64) -> Result<Vec<DispatchRecord>, ReadError>;

    /// Closes all connections. No other method may be called afterwards.
    async fn close(&self);
}

/// An order as it is stored, with the bytes of its live swap if it has one.
#[derive(Clone, Debug)]
pub struct StoredOrder {
    /// The order.
    pub order: Order,
    /// The live swap of the order.
    pub live: Option<SignedSwap>,
}

/// Which orders to list: those that match every given field, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// The owner of the orders.
    pub owner: Owner,
    /// Their current status.
    pub status: Option<Status>,
    /// Only orders that have not ended.
    pub unfinished: bool,
    /// The token that they sell.
    pub token_in: Option<Mint>,
    /// The token that they buy.
    pub token_out: Option<Mint>,
    /// Their client order id.
    pub client_order_id: Option<ClientKey>,
    /// Accepted at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Accepted before this time.
    pub to: Option<DateTime<Utc>>,
    /// Only orders after this one in the list: the cursor of the page before.
    pub before: Option<OrderId>,
    /// The maximum number of orders, at least 1.
    pub limit: u64,
}

/// A page of a list, newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The orders. A page has fewer than the limit if it has read as many orders as it may.
    pub orders: Vec<Order>,
    /// The cursor of the next page, for [`ListFilter::before`]; `None` at the end of the list.
    pub next: Option<OrderId>,
    /// Orders of this page that cannot be read.
    pub unreadable: Vec<UnreadableOrder>,
}

/// A part of the unfinished orders, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Unfinished {
    /// The orders.
    pub orders: Vec<StoredOrder>,
    /// Orders of this part that cannot be read.
    pub unreadable: Vec<UnreadableOrder>,
    /// The number of further rows whose id cannot be read.
    pub nameless: usize,
    /// The position of the next part; `None` at the end.
    pub next: Option<UnfinishedFrom>,
}

/// A position among the unfinished orders. The default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnfinishedFrom {
    /// After this order; from the oldest one if `None`.
    pub after: Option<OrderId>,
    /// The number of rows to skip after that order, because their ids cannot be read.
    pub skip: u64,
}

/// A dispatch as it is stored. `None` is a value that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DispatchRecord {
    /// The number of the dispatch.
    pub number: Option<i64>,
    /// The time of the dispatch.
    pub stamp: Option<Stamp>,
}
