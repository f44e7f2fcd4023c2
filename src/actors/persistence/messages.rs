//! What persistence is asked.

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::domain::id::{ClientKey, OrderId};
use crate::domain::user::Owner;
use crate::store::{
    DispatchRecord, ListFilter, Page, ReadError, StoredOrder, Unfinished, UnfinishedFrom, Write, Written,
};

/// A write and the channel for its answer. It has no actix answer, because actix keeps a task for each of those.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Record {
    /// The write.
    pub write: Write,
    /// When the write is given up, unless it may be stored already; `None` for never.
    pub expires: Option<Instant>,
    /// Where the result goes.
    pub reply: oneshot::Sender<Result<Written, RecordError>>,
}

/// Why a write is not stored. Except after [`RecordError::Stopped`], it never will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Another write stored that sequence number of the order.
    #[error("event {seq} of order {order} was stored by another write")]
    LostRace {
        /// The order.
        order: OrderId,
        /// The sequence number.
        seq: u32,
    },
    /// The database refuses the row.
    #[error("the database refuses the row: {0}")]
    Refused(String),
    /// The write expired before the database could be reached.
    #[error("the database could not be reached in time")]
    Expired,
    /// Persistence has stopped. The next start of the engine reads whether the write is stored.
    #[error("persistence has stopped")]
    Stopped,
}

/// Loads an order, after every write of it that is queued or in flight has settled.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Option<StoredOrder>, ReadError>")]
pub struct LoadOrder(pub OrderId);

/// Finds the order of a key.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Option<OrderId>, ReadError>")]
pub struct FindKey {
    /// The owner of the key.
    pub owner: Owner,
    /// The key.
    pub key: ClientKey,
}

/// Lists orders.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Page, ReadError>")]
pub struct ListOrders(pub ListFilter);

/// Loads orders that have not ended, oldest first.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Unfinished, ReadError>")]
pub struct LoadUnfinished {
    /// The position to start from.
    pub from: UnfinishedFrom,
    /// How many at most.
    pub limit: u64,
}

/// Loads the latest dispatches, at most as many as the number.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Vec<DispatchRecord>, ReadError>")]
pub struct LoadDispatches(pub u64);

/// Asks for the state of the database.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "DatabaseState")]
pub struct GetDatabaseState;

/// The state of the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, MessageResponse)]
pub struct DatabaseState {
    /// Whether the last group was committed.
    pub takes_writes: bool,
    /// Why it was not, if an operator must act.
    pub trouble: Option<String>,
    /// How many unreadable orders were found. Ended orders are found only when they are read.
    pub unreadable_orders: usize,
}

/// Answered once everything that is queued has settled; the database is not probed any more.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Flush;

/// The recipients of what orders, their manager and the service ask of persistence.
#[derive(Clone, Debug)]
pub struct PersistenceRecipients {
    /// For writes.
    pub record: Recipient<Record>,
    /// For one order.
    pub load_order: Recipient<LoadOrder>,
    /// For the order of a key.
    pub find_key: Recipient<FindKey>,
    /// For lists.
    pub list_orders: Recipient<ListOrders>,
    /// For the state of the database.
    pub database_state: Recipient<GetDatabaseState>,
}

impl PersistenceRecipients {
    /// Makes a write durable. The answer comes once the result is certain, however long the database is unavailable.
    ///
    /// At `expires`, a write that cannot be stored yet is given up; for new orders, whose clients wait.
    ///
    /// Dropped: the write may happen or not.
    pub fn record(
        &self,
        write: Write,
        expires: Option<Instant>,
    ) -> impl Future<Output = Result<Written, RecordError>> + use<> {
        let (reply, answer) = oneshot::channel();
        // Full: do_send ignores bounds; each open order has at most one write in flight. Closed: `reply` is dropped.
        self.record.do_send(Record { write, expires, reply });
        async move { answer.await.unwrap_or(Err(RecordError::Stopped)) }
    }
}

impl<A> From<Addr<A>> for PersistenceRecipients
where
    A: Actor<Context = Context<A>>
        + Handler<Record>
        + Handler<LoadOrder>
        + Handler<FindKey>
        + Handler<ListOrders>
        + Handler<GetDatabaseState>,
{
    fn from(addr: Addr<A>) -> Self {
        Self {
            record: addr.clone().recipient(),
            load_order: addr.clone().recipient(),
            find_key: addr.clone().recipient(),
            list_orders: addr.clone().recipient(),
            database_state: addr.recipient(),
        }
    }
}
