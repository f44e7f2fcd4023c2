//! What an order's actor is asked, and what it reports to its manager.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use crate::actors::order::subscriber::{Subscriber, TooManySubscribers};
use crate::actors::order::subscribers::Subscribers;
use crate::domain::id::OrderId;
use crate::domain::lifecycle::Status;
use crate::domain::moment::Now;
use crate::domain::order::{Order, RecordedEvent};
use crate::domain::request::OrderRequest;

/// Adds a subscriber. The answer is the history, taken in the same turn: no event is lost in between.
#[derive(Debug, Message)]
#[rtype(result = "Result<Subscribed, TooManySubscribers>")]
pub struct Subscribe {
    /// The subscriber.
    pub to: Subscriber,
    /// The last sequence number that it has; 0 for none.
    pub after_seq: u32,
}

/// A new subscription, and the history so far.
#[derive(Debug)]
pub struct Subscribed {
    /// Identifies the subscription in [`Unsubscribe`].
    pub key: u64,
    /// The order's request.
    pub request: Arc<OrderRequest>,
    /// The order's status.
    pub status: Status,
    /// The latest sequence number.
    pub seq: u32,
    /// The events after [`Subscribe::after_seq`].
    pub history: Vec<Arc<RecordedEvent>>,
}

/// Ends a subscription.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Unsubscribe(pub u64);

/// Sends a subscriber the events of the order that it has missed, if there are any.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct SendMissed(pub Subscriber);

/// Cancels the order, if it is not too late.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Order, CancelError>")]
pub struct Cancel;

/// Why an order is not cancelled.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CancelError {
    /// A swap is signed and may land. The request is recorded; the order is cancelled if the swap does not land.
    #[error("a swap is signed and may land at any moment")]
    TooLate(Box<Order>),
    /// The order has ended with another status.
    #[error("the order has ended")]
    AlreadyEnded(Box<Order>),
    /// The database was restored from a backup, and the operator has not decided yet whether its orders go on.
    #[error("the orders of a restored database are suspended")]
    Suspended,
    /// There is no answer yet; the request may be repeated.
    #[error("no answer is available yet")]
    Busy,
}

/// Asks for the order as it is recorded.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Order")]
pub struct GetOrder;

/// The manager's permission to start an attempt.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SlotGranted {
    /// The time of the dispatch.
    pub now: Now,
    /// The number of the dispatch.
    pub number: i64,
}

/// Stops the actor. The order keeps its recorded state, and the next start resumes it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopOrder;

/// Why an order's actor stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The order has ended.
    Ended,
    /// It was stopped by [`StopOrder`], or because persistence has stopped.
    Parked,
    /// It panicked, or an event could not be recorded: the order needs a new actor.
    Broken,
}

/// Requests a slot; a slot that the order holds is given back first.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RequestSlot {
    /// The order.
    pub id: OrderId,
    /// How long the order waits before it joins the queue.
    pub wait: Duration,
}

/// Reports that an order's swap has been undecided for `chain.alarm_ms`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SwapStuck(pub OrderId);

/// Reports that an order's actor has stopped.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct OrderExited {
    /// The order.
    pub id: OrderId,
    /// Why it stopped.
    pub exit: Exit,
    /// Its subscribers, for the next actor of the order.
    pub subscribers: Subscribers,
}

/// The recipients of an order's reports: its manager.
#[derive(Clone, Debug)]
pub struct ReportRecipients {
    /// For slots.
    pub request_slot: Recipient<RequestSlot>,
    /// For swaps that are undecided for too long.
    pub swap_stuck: Recipient<SwapStuck>,
    /// For the end of the actor.
    pub order_exited: Recipient<OrderExited>,
}

impl<A> From<Addr<A>> for ReportRecipients
where
    A: Actor<Context = Context<A>> + Handler<RequestSlot> + Handler<SwapStuck> + Handler<OrderExited>,
{
    fn from(addr: Addr<A>) -> Self {
        Self {
            request_slot: addr.clone().recipient(),
            swap_stuck: addr.clone().recipient(),
            order_exited: addr.recipient(),
        }
    }
}
