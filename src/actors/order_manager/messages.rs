//! What the order manager is asked.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::actors::order::OrderActor;
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::moment::ClockStep;
use crate::domain::order::Order;
use crate::domain::request::OrderRequest;
use crate::domain::user::{Owner, UserId};
use crate::store::{StoredOrder, UnreadableOrder};

/// A new order and the channel for its answer. It has no actix answer, because actix keeps a task for each of those.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SubmitOrder {
    /// The owner of the order.
    pub owner: Owner,
    /// What is to be swapped.
    pub request: Arc<OrderRequest>,
    /// The client's key for the request; a repeat with the same key is answered with the same order.
    pub key: Option<ClientKey>,
    /// Where the answer goes.
    pub reply: oneshot::Sender<SubmitAnswer>,
}

/// The answer to a submit.
pub type SubmitAnswer = Result<Submission, SubmitError>;

/// A submitted order.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The order.
    pub order: Order,
    /// Whether this submit created it; otherwise the key belongs to it already.
    pub created: bool,
}

/// Why an order was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// `orders.max_open` orders are open; nothing was stored.
    #[error("too many orders are open")]
    Full,
    /// `orders.max_open_per_user` orders of the user are open; nothing was stored.
    #[error("too many orders of this user are open")]
    UserFull,
    /// The engine is shutting down; nothing was stored.
    #[error("the engine is shutting down")]
    Stopping,
    /// The database was restored from a backup, and the operator has not decided yet whether its orders go on; nothing
    /// was stored.
    #[error("the orders of a restored database are suspended")]
    Suspended,
    /// The idempotency key and the client order id of the request differ; nothing was stored.
    #[error("the idempotency key and the client order id differ")]
    KeyMismatch,
    /// The key belongs to another order; nothing was stored.
    #[error("the key belongs to another order")]
    KeyReused,
    /// The order could not be stored, and will not be.
    #[error("the order could not be stored")]
    NotAccepted,
    /// This submit was not stored, but whether an earlier one with the same key was is not known. Repeat with the same key.
    #[error("it is not known whether an order with this key is stored")]
    KeyUnknown,
    /// The database has not answered in time. Ask for this order later, or repeat with the same key.
    #[error("it is not known yet whether order {0} was stored")]
    OutcomeUnknown(OrderId),
    /// The key belongs to an order that this version cannot read; its id is given if that can be read. Nothing was stored.
    #[error("the key belongs to an order that cannot be read")]
    Unreadable(Option<OrderId>),
    /// The order manager has stopped, and whether it stored the order is not known. Repeat with the same key.
    #[error("the order manager has stopped")]
    Broken,
}

/// Asks for the actor of an open order.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "OrderLocation")]
pub struct FindOrder {
    /// The caller; an order of another owner is not found.
    pub owner: Owner,
    /// The order.
    pub id: OrderId,
}

/// Admits no further order of a user, whose account is to be deleted. Refused while an order of the user is open.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), OpenOrders>")]
pub struct CloseBook(pub UserId);

/// Why no book is closed: this number of orders is open. An order that is being stored counts as open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOrders(pub usize);

/// Admits orders of a user again, whose account was not deleted.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct ReopenBook(pub UserId);

/// Where an order is.
#[derive(Clone, Debug)]
pub enum OrderLocation {
    /// It is open, and this is its actor.
    Live(Addr<OrderActor>),
    /// It is not open. It may have ended; the store knows.
    NotLive,
    /// It is being restarted and too many callers wait for it, or it is set aside.
    Busy,
}

/// Starts orders that an earlier process left open.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Recover {
    /// The orders.
    pub orders: Vec<StoredOrder>,
    /// Orders that cannot be read: they count as stuck and are not run.
    pub unreadable: Vec<UnreadableOrder>,
}

/// Stops the orders before a shutdown: new ones are refused, running ones have this time to end, all others are parked.
///
/// Answered once no order runs any more.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Drain(pub Duration);

/// Asks for the state of the queue.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "QueueStats")]
pub struct GetQueueStats;

/// The state of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, MessageResponse)]
pub struct QueueStats {
    /// Open orders.
    pub open: usize,
    /// Orders that hold a slot.
    pub running: usize,
    /// Orders that wait for a slot.
    pub queued: usize,
    /// Orders whose swap is undecided for too long, or that cannot be written or read.
    pub stuck: usize,
    /// Whether new orders are accepted.
    pub admitting: bool,
    /// Whether the database was restored from a backup, and nothing is dispatched until the operator decides.
    pub suspended: bool,
    /// Whether nothing is dispatched because too many swaps are undecided.
    pub held_up: bool,
    /// The age of the oldest order in the queue.
    pub oldest_waiting: Option<Duration>,
    /// The latest step of the wall clock, and how long ago it was noticed; shown for some minutes.
    pub clock_step: Option<(ClockStep, Duration)>,
    /// Steps of the wall clock since the start.
    pub clock_steps: u64,
}

/// The recipients of what the service asks of the order manager.
#[derive(Clone, Debug)]
pub struct ManagerRecipients {
    /// For new orders.
    pub submit: Recipient<SubmitOrder>,
    /// For the actors of open orders.
    pub find_order: Recipient<FindOrder>,
    /// For the state of the queue.
    pub queue_stats: Recipient<GetQueueStats>,
    /// Before an account is deleted.
    pub close_book: Recipient<CloseBook>,
    /// After an account was not deleted.
    pub reopen_book: Recipient<ReopenBook>,
}

impl ManagerRecipients {
    /// Submits an order. The answer comes once the order is durable or certainly refused, and within a second.
    ///
    /// Dropped: a submit that has begun goes on, and what is stored is run.
    pub async fn submit(&self, owner: Owner, request: Arc<OrderRequest>, key: Option<ClientKey>) -> SubmitAnswer {
        let (reply, answer) = oneshot::channel();
        // Full: do_send ignores bounds; each connection has one submit in flight. Closed: `reply` is dropped.
        self.submit.do_send(SubmitOrder { owner, request, key, reply });
        answer.await.unwrap_or(Err(SubmitError::Broken))
    }
}

impl<A> From<Addr<A>> for ManagerRecipients
where
    A: Actor<Context = Context<A>>
        + Handler<SubmitOrder>
        + Handler<FindOrder>
        + Handler<GetQueueStats>
        + Handler<CloseBook>
        + Handler<ReopenBook>,
{
    fn from(addr: Addr<A>) -> Self {
        Self {
            submit: addr.clone().recipient(),
            find_order: addr.clone().recipient(),
            queue_stats: addr.clone().recipient(),
            close_book: addr.clone().recipient(),
            reopen_book: addr.recipient(),
        }
    }
}
