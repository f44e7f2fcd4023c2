//! The port: durable truth. Its adapter: SeaORM on SQLite or PostgreSQL, the only place that names `entity`.

pub mod lock;
mod sea;
pub mod users;

pub use sea::SeaStore;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::domain::id::{ClientKey, OrderId};
use crate::domain::lifecycle::{OrderEvent, Status};
use crate::domain::moment::{Moment, Stamp};
use crate::domain::order::{Order, OrderRequest, RecordedEvent};
use crate::domain::retry::FailureCode;
use crate::domain::swap::{Fill, Signature, SignedSwap};
use crate::domain::token::Mint;
use crate::domain::user::Owner;

/// Something to be made durable.
#[derive(Clone, Debug)]
pub enum Write {
    /// A new order.
    Accept(Accept),
    /// The next event of an order.
    Step(Step),
}

/// A new order with its first event and its key, stored together or not at all.
#[derive(Clone, Debug)]
pub struct Accept {
    /// The order, with nothing but its acceptance in its story.
    pub order: Order,
    /// The client's name for the request, by which a repeat is recognised.
    pub key: Option<ClientKey>,
    /// Recognises this very write if it has to be repeated.
    pub write_id: Uuid,
}

/// The next event of an order, and what it means for its swap.
#[derive(Clone, Debug)]
pub struct Step {
    /// Whose.
    pub order_id: OrderId,
    /// The event.
    pub recorded: Arc<RecordedEvent>,
    /// The swap's row.
    pub swap: SwapWrite,
    /// Where the event is a dispatch: its number, larger than that of every earlier one.
    pub dispatch: Option<i64>,
    /// Recognises this very write if it has to be repeated.
    pub write_id: Uuid,
}

/// What an event means for the swap's row.
#[derive(Clone, Debug)]
pub enum SwapWrite {
    /// Nothing.
    None,
    /// A swap was signed.
    Signed(SignedSwap),
    /// The live swap came to its end.
    Settled {
        /// Which.
        signature: Signature,
        /// How.
        end: SwapEnd,
    },
}

/// How a swap ended.
#[derive(Clone, Debug)]
pub enum SwapEnd {
    /// It landed.
    Landed(Fill),
    /// It landed as a failure, for that reason.
    Rejected(String),
    /// It provably never landed.
    Expired,
}

impl Write {
    /// A new order.
    pub fn accept(order: Order, key: Option<ClientKey>) -> Self {
        Self::Accept(Accept { order, key, write_id: Uuid::new_v4() })
    }

    /// An event that `order` proposes, with the signed swap if the event is its submission.
    pub fn step(order: &Order, recorded: Arc<RecordedEvent>, signed: Option<&SignedSwap>) -> Self {
        let swap = match (&recorded.event, order.state().live_swap(), signed) {
            (OrderEvent::Submitted(_), _, Some(signed)) => SwapWrite::Signed(signed.clone()),
            (OrderEvent::CancelRequested, ..) | (_, None, _) => SwapWrite::None,
            (event, Some(live), _) => SwapWrite::Settled { signature: live.signature, end: SwapEnd::by(event) },
        };
        Self::Step(Step { order_id: order.id, recorded, swap, dispatch: None, write_id: Uuid::new_v4() })
    }

    /// The dispatch that `order` proposes, under its number.
    pub fn dispatch(order: &Order, recorded: Arc<RecordedEvent>, number: i64) -> Self {
        let (order_id, swap, dispatch) = (order.id, SwapWrite::None, Some(number));
        Self::Step(Step { order_id, recorded, swap, dispatch, write_id: Uuid::new_v4() })
    }

    /// The order it belongs to.
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::Accept(accept) => accept.order.id,
            Self::Step(step) => step.order_id,
        }
    }

    /// The client's name for the request, where it makes an order of it.
    pub fn key(&self) -> Option<&ClientKey> {
        match self {
            Self::Accept(accept) => accept.key.as_ref(),
            Self::Step(_) => None,
        }
    }

    /// The sequence number it writes.
    pub fn seq(&self) -> u32 {
        match self {
            Self::Accept(accept) => accept.order.last().seq,
            Self::Step(step) => step.recorded.seq,
        }
    }

    /// What recognises it.
    pub fn write_id(&self) -> Uuid {
        match self {
            Self::Accept(accept) => accept.write_id,
            Self::Step(step) => step.write_id,
        }
    }
}

impl SwapEnd {
    fn by(event: &OrderEvent) -> Self {
        match event {
            OrderEvent::Confirmed { fill, .. } => Self::Landed(fill.clone()),
            OrderEvent::AttemptFailed { failure, .. }
            | OrderEvent::Failed(failure)
            | OrderEvent::Cancelled(Some(failure))
                if failure.code != FailureCode::SwapExpired =>
            {
                Self::Rejected(failure.to_string())
            }
            _ => Self::Expired,
        }
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is durable.
    Stored,
    /// Its key belongs to that order already; nothing was stored.
    Duplicate(OrderId),
    /// Its key belongs to an order already, and which one cannot be read; nothing was stored.
    DuplicateOfUnreadable,
}

/// Why a batch was not committed; none of its writes was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommitError {
    /// The database refuses a row of it, now and always.
    #[error("refused: {0}")]
    Refused(String),
    /// The database cannot be asked at the moment; the same batch may be tried again.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// What it says.
        reason: String,
        /// The commit itself was under way, so it may have happened all the same.
        maybe_committed: bool,
    },
}

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The database gave no answer; the same question may be asked again.
    #[error("the database gave no answer: {0}")]
    NoAnswer(String),
    /// The order is stored in a way that this version cannot read; asking again does not help.
    #[error(transparent)]
    UnreadableOrder(#[from] Box<UnreadableOrder>),
    /// The same of any other row, which the text names.
    #[error("{0}")]
    UnreadableRow(String),
}

/// An order that is stored in a way that this version cannot read. It is never run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("order {id} is stored in a way that this version cannot read: {reason}")]
pub struct UnreadableOrder {
    /// The order.
    pub id: OrderId,
    /// The owner; `None` if that is unreadable too.
    pub owner: Option<Owner>,
    /// Whether a swap of it may still land.
    pub may_be_live: bool,
    /// What cannot be read.
    pub reason: String,
}

/// An order as it is stored, with the bytes of its live swap if it has one.
#[derive(Clone, Debug)]
pub struct StoredOrder {
    /// The order.
    pub order: Order,
    /// Its live swap.
    pub live: Option<SignedSwap>,
}

/// Which orders to list: all that match every given field, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Whose they are.
    pub owner: Owner,
    /// Where they stand.
    pub status: Option<Status>,
    /// Only those that have not ended.
    pub unfinished: bool,
    /// What they sell.
    pub token_in: Option<Mint>,
    /// What they buy.
    pub token_out: Option<Mint>,
    /// The client's name for them.
    pub client_order_id: Option<ClientKey>,
    /// Accepted at or after.
    pub from: Option<DateTime<Utc>>,
    /// Accepted before.
    pub to: Option<DateTime<Utc>>,
    /// Only orders older than this one: where the last page ended.
    pub before: Option<OrderId>,
    /// How many at most, at least 1.
    pub limit: u64,
}

/// A page of a list, newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The orders; fewer than were asked for where the page has looked at as many as it may.
    pub orders: Vec<Order>,
    /// Where the next page begins: [`ListFilter::before`] of it. `None` where there is nothing more.
    pub next: Option<OrderId>,
    /// Orders that belong here and cannot be read.
    pub unreadable: Vec<UnreadableOrder>,
}

/// The next orders that have not ended, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Unfinished {
    /// The orders.
    pub orders: Vec<StoredOrder>,
    /// Orders among them that cannot be read.
    pub unreadable: Vec<UnreadableOrder>,
    /// How many more have an id that cannot be read.
    pub nameless: usize,
    /// Where the next ones begin. `None` where there is nothing more.
    pub next: Option<UnfinishedFrom>,
}

/// Where orders that have not ended are read on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnfinishedFrom {
    /// After this order; from the oldest on where there is none.
    pub after: Option<OrderId>,
    /// The number of rows to skip after that order: their ids are unreadable.
    pub skip: u64,
}

/// A dispatch as it is stored; `None` is what cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DispatchRecord {
    /// Its number.
    pub number: Option<i64>,
    /// When it was.
    pub stamp: Option<Stamp>,
}

/// Durable truth.
#[async_trait]
pub trait OrderStore: Send + Sync + 'static {
    /// How many commits may be under way at once.
    fn parallel_commits(&self) -> usize;

    /// Makes a batch durable in one transaction: all of it or nothing. Answers in the order of the batch.
    async fn commit(&self, batch: &[Write]) -> Result<Vec<Written>, CommitError>;

    /// The id of the write that stored that event, if any did.
    async fn writer_of(&self, order: OrderId, seq: u32) -> Result<Option<Uuid>, ReadError>;

    /// One order.
    async fn order(&self, id: OrderId) -> Result<Option<StoredOrder>, ReadError>;

    /// The order that an owner's key belongs to.
    async fn order_by_key(&self, owner: Owner, key: &ClientKey) -> Result<Option<OrderId>, ReadError>;

    /// The next orders that have not ended, oldest first.
    async fn unfinished(&self, from: UnfinishedFrom, limit: u64) -> Result<Unfinished, ReadError>;

    /// A page of orders.
    async fn list(&self, filter: &ListFilter) -> Result<Page, ReadError>;

    /// The latest dispatches by their numbers, the latest first.
    async fn latest_dispatches(&self, limit: u64) -> Result<Vec<DispatchRecord>, ReadError>;

    /// Closes the connections; nothing is asked afterwards.
    async fn close(&self);
}

/// The request as it is stored; here, so that every store keeps the same text.
pub(crate) fn request_to_text(request: &OrderRequest) -> String {
    serde_json::to_string(request).expect("a request holds only strings and integers")
}

/// The event as it is stored: with its moment, where that is looked at after a restart.
pub(crate) fn event_to_text(recorded: &RecordedEvent) -> String {
    #[derive(Serialize)]
    struct Stored<'a> {
        #[serde(flatten)]
        event: &'a OrderEvent,
        #[serde(skip_serializing_if = "Option::is_none")]
        moment: Option<Moment>,
    }
    let is_measured_from = matches!(
        recorded.event,
        OrderEvent::Accepted | OrderEvent::Dispatched | OrderEvent::Submitted(_) | OrderEvent::AttemptFailed { .. }
    );
    let moment = recorded.moment.filter(|_| is_measured_from);
    serde_json::to_string(&Stored { event: &recorded.event, moment })
        .expect("an event holds only strings, numbers and times")
}

/// The moment of a stored event; none where it was not kept.
pub(crate) fn moment_of(text: &str) -> serde_json::Result<Option<Moment>> {
    #[derive(Deserialize)]
    struct Stored {
        moment: Option<Moment>,
    }
    // Most events have none, and lists read many: the word is looked for first.
    if !text.contains("\"moment\"") {
        return Ok(None);
    }
    serde_json::from_str::<Stored>(text).map(|stored| stored.moment)
}
