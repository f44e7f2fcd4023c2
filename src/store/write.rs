//! What is written to the store: new orders, and the events of existing ones.

use std::sync::Arc;

use uuid::Uuid;

use crate::domain::id::{ClientKey, OrderId};
use crate::domain::lifecycle::OrderEvent;
use crate::domain::order::{Order, RecordedEvent};
use crate::domain::retry::FailureCode;
use crate::domain::swap::{Fill, Signature, SignedSwap};

/// A write to the store.
#[derive(Clone, Debug)]
pub enum Write {
    /// A new order.
    Accept(Accept),
    /// The next event of an order.
    Step(Step),
}

/// A new order with its first event and its key. They are stored together or not at all.
#[derive(Clone, Debug)]
pub struct Accept {
    /// The order. Its history holds its acceptance only.
    pub order: Order,
    /// The idempotency key or client order id, which identifies repeated requests.
    pub key: Option<ClientKey>,
    /// Identifies this write. After a lost answer it shows whether the write was stored.
    pub write_id: Uuid,
}

/// The next event of an order, with the change of its swap.
#[derive(Clone, Debug)]
pub struct Step {
    /// The order.
    pub order_id: OrderId,
    /// The event.
    pub recorded: Arc<RecordedEvent>,
    /// The change of the swap.
    pub swap: SwapWrite,
    /// The number of the dispatch if the event is one, higher than the numbers of all earlier dispatches.
    pub dispatch: Option<i64>,
    /// Identifies this write. After a lost answer it shows whether the write was stored.
    pub write_id: Uuid,
}

/// How an event changes the row of a swap.
#[derive(Clone, Debug)]
pub enum SwapWrite {
    /// No change.
    None,
    /// A swap was signed.
    Signed(SignedSwap),
    /// The live swap is settled.
    Settled {
        /// The swap.
        signature: Signature,
        /// Its outcome.
        end: SwapEnd,
    },
}

/// The outcome of a swap.
#[derive(Clone, Debug)]
pub enum SwapEnd {
    /// It landed.
    Landed(Fill),
    /// It landed and failed, with this reason.
    Rejected(String),
    /// It provably did not land and never will.
    Expired,
}

impl Write {
    /// A new order.
    pub fn accept(write_id: Uuid, order: Order, key: Option<ClientKey>) -> Self {
        Self::Accept(Accept { order, key, write_id })
    }

    /// An event that `order` proposes. `signed` is the signed swap if the event is its submission.
    pub fn step(write_id: Uuid, order: &Order, recorded: Arc<RecordedEvent>, signed: Option<&SignedSwap>) -> Self {
        let swap = match (&recorded.event, order.state().live_swap(), signed) {
            (OrderEvent::Submitted(_), _, Some(signed)) => SwapWrite::Signed(signed.clone()),
            (OrderEvent::CancelRequested, ..) | (_, None, _) => SwapWrite::None,
            (event, Some(live), _) => SwapWrite::Settled { signature: live.signature, end: SwapEnd::by(event) },
        };
        Self::Step(Step { order_id: order.id, recorded, swap, dispatch: None, write_id })
    }

    /// The dispatch that `order` proposes, with its number.
    pub fn dispatch(write_id: Uuid, order: &Order, recorded: Arc<RecordedEvent>, number: i64) -> Self {
        let (order_id, swap, dispatch) = (order.id, SwapWrite::None, Some(number));
        Self::Step(Step { order_id, recorded, swap, dispatch, write_id })
    }

    /// The order of the write.
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::Accept(accept) => accept.order.id,
            Self::Step(step) => step.order_id,
        }
    }

    /// The key of a new order.
    pub fn key(&self) -> Option<&ClientKey> {
        match self {
            Self::Accept(accept) => accept.key.as_ref(),
            Self::Step(_) => None,
        }
    }

    /// The sequence number of the event.
    pub fn seq(&self) -> u32 {
        match self {
            Self::Accept(accept) => accept.order.last().seq,
            Self::Step(step) => step.recorded.seq,
        }
    }

    /// The id of the write.
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

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is durable.
    Stored,
    /// The key already belongs to this order; nothing was stored.
    Duplicate(OrderId),
    /// The key already belongs to an order whose id cannot be read; nothing was stored.
    DuplicateOfUnreadable,
}
