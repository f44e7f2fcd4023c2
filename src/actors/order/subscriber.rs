//! The way to one subscriber, and what it has missed.
//!
//! A subscriber's mailbox is bounded. When it is full, no event is queued elsewhere: the [`Subscriber`] notes, per order,
//! after which event the rest was missed, and the subscriber catches up with one order at a time. When it has missed
//! more orders than it may, it is told so and the list is dropped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use actix::prelude::*;

use crate::domain::id::OrderId;
use crate::domain::order::RecordedEvent;
use crate::domain::request::OrderRequest;

/// An update as text. The first subscriber that needs it renders it for all of them.
pub type RenderedUpdate = Arc<OnceLock<String>>;

/// What a subscriber is sent.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub enum OrderUpdate {
    /// An event was recorded.
    Step {
        /// The order.
        id: OrderId,
        /// The order's request.
        request: Arc<OrderRequest>,
        /// The event.
        step: Arc<RecordedEvent>,
        /// The event as text.
        rendered: RenderedUpdate,
    },
    /// The subscriber could not keep up and has missed something: see [`Subscriber::missed`].
    Behind,
}

/// What a subscriber catches up with next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// The events of this order.
    Order(OrderId),
    /// More orders than it could catch up with.
    TooMuch,
}

/// The order has as many subscribers as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this order has too many subscribers")]
pub struct TooManySubscribers;

/// The way to one subscriber, shared by all orders that send to it.
///
/// It is shared so that its mailbox has one bound: actix counts the bound for each clone of a recipient separately.
#[derive(Clone, Debug)]
pub struct Subscriber(Arc<SubscriberState>);

#[derive(Debug)]
struct SubscriberState {
    number: u64,
    to: Recipient<OrderUpdate>,
    max_missed: usize,
    // Whether `missed` may hold anything: orders that have missed nothing take no lock.
    is_behind: AtomicBool,
    missed: Mutex<MissedOrders>,
}

#[derive(Debug, Default)]
struct MissedOrders {
    // Per order, the last sequence number that was sent.
    orders: BTreeMap<OrderId, u32>,
    too_many: bool,
    // An [`OrderUpdate::Behind`] is in the mailbox or being handled; there is at most one.
    notified: bool,
}

/// The result of sending events to a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// All events are sent, or the order is already on the list of missed orders.
    Whole,
    /// The mailbox is full: the order is now on the list of missed orders.
    Missed,
    /// The subscriber has stopped.
    Gone,
}

impl Subscriber {
    /// A way to that subscriber. After more than `max_missed` missed orders it gets [`Missed::TooMuch`].
    pub fn new(to: Recipient<OrderUpdate>, max_missed: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(SubscriberState {
            number,
            to,
            max_missed,
            is_behind: AtomicBool::default(),
            missed: Mutex::default(),
        }))
    }

    /// Identifies the subscriber in this process.
    pub(super) fn number(&self) -> u64 {
        self.0.number
    }

    /// Whether it is the same subscriber.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the subscriber is running.
    pub(super) fn is_connected(&self) -> bool {
        self.0.to.connected()
    }

    /// Sends the events of an order that follow the event `sent`. Called only by that order.
    pub(super) fn send(&self, id: OrderId, sent: u32, steps: &[(u32, OrderUpdate)]) -> Delivery {
        if self.has_missed(id) {
            return Delivery::Whole;
        }
        let mut sent = sent;
        for (seq, step) in steps {
            match self.0.to.try_send(step.clone()) {
                Ok(()) => sent = *seq,
                Err(SendError::Closed(_)) => return Delivery::Gone,
                Err(SendError::Full(_)) => {
                    self.miss(id, sent);
                    return Delivery::Missed;
                }
            }
        }
        Delivery::Whole
    }

    /// What the subscriber has missed and not caught up with yet, oldest order first.
    pub fn missed(&self) -> Option<Missed> {
        let mut list = self.list();
        if list.too_many {
            return Some(Missed::TooMuch);
        }
        let next = list.orders.keys().next().copied();
        if next.is_none() {
            list.notified = false;
            self.0.is_behind.store(false, Ordering::Release);
        }
        next.map(Missed::Order)
    }

    /// Removes an order from the list of missed orders. Returns the last sequence number that was sent.
    pub fn catch_up(&self, id: OrderId) -> Option<u32> {
        if self.0.is_behind.load(Ordering::Acquire) { self.list().orders.remove(&id) } else { None }
    }

    fn has_missed(&self, id: OrderId) -> bool {
        // Only the order itself puts itself on the list, so it always sees its own entry.
        self.0.is_behind.load(Ordering::Acquire) && {
            let list = self.list();
            list.too_many || list.orders.contains_key(&id)
        }
    }

    fn miss(&self, id: OrderId, sent: u32) {
        let mut list = self.list();
        if list.orders.len() < self.0.max_missed {
            list.orders.insert(id, sent);
        } else {
            list.too_many = true;
            list.orders.clear();
        }
        self.0.is_behind.store(true, Ordering::Release);
        if !std::mem::replace(&mut list.notified, true) {
            // Full: do_send ignores bounds, and there is one until the subscriber has caught up. Closed: it has stopped.
            self.0.to.do_send(OrderUpdate::Behind);
        }
    }

    fn list(&self) -> MutexGuard<'_, MissedOrders> {
        self.0.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An actor that handles nothing.
    struct Stalled;

    impl Actor for Stalled {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Self::Context) {
            ctx.set_mailbox_capacity(1);
            ctx.wait(std::future::pending().into_actor(self));
        }
    }

    impl Handler<OrderUpdate> for Stalled {
        type Result = ();

        fn handle(&mut self, _: OrderUpdate, _: &mut Self::Context) {}
    }

    /// A subscriber that reads nothing; it may miss two orders.
    pub(in crate::actors::order) fn stalled_subscriber() -> Subscriber {
        Subscriber::new(Stalled.start().recipient(), 2)
    }

    /// A subscriber with a full mailbox.
    fn full_subscriber() -> Subscriber {
        let subscriber = stalled_subscriber();
        while subscriber.0.to.try_send(OrderUpdate::Behind).is_ok() {}
        subscriber
    }

    fn id() -> OrderId {
        OrderId(uuid::Uuid::now_v7())
    }

    fn steps(seqs: &[u32]) -> Vec<(u32, OrderUpdate)> {
        seqs.iter().map(|seq| (*seq, OrderUpdate::Behind)).collect()
    }

    #[actix::test]
    async fn a_missed_order_is_noted_once_with_the_last_event_that_was_sent() {
        let (subscriber, one, other) = (full_subscriber(), id(), id());
        assert_eq!(subscriber.missed(), None);
        assert_eq!(subscriber.send(one, 3, &steps(&[4])), Delivery::Missed);
        assert_eq!(subscriber.send(one, 4, &steps(&[5])), Delivery::Whole, "it is on the list already");
        assert_eq!(subscriber.send(other, 0, &steps(&[1])), Delivery::Missed);
        assert_eq!(subscriber.missed(), Some(Missed::Order(one.min(other))));
        assert_eq!((subscriber.catch_up(one), subscriber.catch_up(one)), (Some(3), None));
        assert_eq!((subscriber.catch_up(other), subscriber.missed()), (Some(0), None));
    }

    #[actix::test]
    async fn a_subscriber_that_missed_too_many_orders_is_told_so_and_nothing_more_is_noted() {
        let subscriber = full_subscriber();
        for _ in 0..3 {
            assert_eq!(subscriber.send(id(), 0, &steps(&[1])), Delivery::Missed);
        }
        assert_eq!(subscriber.missed(), Some(Missed::TooMuch));
        for _ in 0..1_000 {
            assert_eq!(subscriber.send(id(), 0, &steps(&[1])), Delivery::Whole);
        }
        assert_eq!((subscriber.missed(), subscriber.list().orders.len()), (Some(Missed::TooMuch), 0));
    }
}
