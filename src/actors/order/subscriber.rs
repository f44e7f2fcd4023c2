//! The way to one listener, and what it has missed.
//!
//! A listener's mailbox has a bound. When it is full, the steps of an order are not queued anywhere else: the subscriber
//! notes after which step the listener has missed the rest, one entry an order, and the listener catches up with one
//! order at a time. When it has missed too many orders for that it is told so, and the list is thrown away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use actix::prelude::*;

use crate::domain::id::OrderId;
use crate::domain::order::{OrderRequest, RecordedEvent};

/// A step in words, which the first of its listeners finds for all of them.
pub type RenderedUpdate = Arc<OnceLock<String>>;

/// What a listener is told.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub enum OrderUpdate {
    /// Something was recorded.
    Step {
        /// Of which order.
        id: OrderId,
        /// What that order asked for.
        request: Arc<OrderRequest>,
        /// What was recorded.
        step: Arc<RecordedEvent>,
        /// The step in words.
        words: RenderedUpdate,
    },
    /// The listener could not keep up and has missed something: see [`Subscriber::missed`].
    Behind,
}

/// What a listener catches up with next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// The steps of this order.
    Order(OrderId),
    /// More orders than it could catch up with.
    TooMuch,
}

/// The way to a listener, one for all orders that tell it.
///
/// Shared, so that there is one bound: a mailbox's own counts for each clone of its address separately.
#[derive(Clone, Debug)]
pub struct Subscriber(Arc<SubscriberState>);

#[derive(Debug)]
struct SubscriberState {
    number: u64,
    to: Recipient<OrderUpdate>,
    most_missed: usize,
    // Whether there is a list of missed orders, so that the others need no lock to find out that there is none.
    is_behind: AtomicBool,
    missed: Mutex<MissedOrders>,
}

#[derive(Debug, Default)]
struct MissedOrders {
    // After which sequence number the listener has missed the rest.
    orders: BTreeMap<OrderId, u32>,
    too_many: bool,
    // An [`OrderUpdate::Behind`] is on its way or being acted upon; there is never a second one.
    announced: bool,
}

/// How much of what it was to be told a listener got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// All, now or when it catches up with what it has missed before.
    Whole,
    /// It has missed the rest, and nothing of this order before.
    Missed,
    /// It is gone.
    Gone,
}

impl Subscriber {
    /// A way to that listener. `most_missed` is how many orders it may have missed before it is given up.
    pub fn new(to: Recipient<OrderUpdate>, most_missed: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(SubscriberState {
            number,
            to,
            most_missed,
            is_behind: AtomicBool::default(),
            missed: Mutex::default(),
        }))
    }

    /// Tells two listeners apart.
    pub(super) fn number(&self) -> u64 {
        self.0.number
    }

    /// Whether it is the same listener.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the listener is there.
    pub(super) fn is_connected(&self) -> bool {
        self.0.to.connected()
    }

    /// Tells the steps of an order that come after `told`. Called only by that order.
    pub(super) fn tell(&self, id: OrderId, told: u32, steps: &[(u32, OrderUpdate)]) -> Delivery {
        if self.has_missed(id) {
            return Delivery::Whole;
        }
        let mut told = told;
        for (seq, step) in steps {
            match self.0.to.try_send(step.clone()) {
                Ok(()) => told = *seq,
                Err(SendError::Closed(_)) => return Delivery::Gone,
                Err(SendError::Full(_)) => {
                    self.miss(id, told);
                    return Delivery::Missed;
                }
            }
        }
        Delivery::Whole
    }

    /// What the listener has missed and not caught up with yet, oldest order first.
    pub fn missed(&self) -> Option<Missed> {
        let mut list = self.list();
        if list.too_many {
            return Some(Missed::TooMuch);
        }
        let next = list.orders.keys().next().copied();
        if next.is_none() {
            list.announced = false;
            self.0.is_behind.store(false, Ordering::Release);
        }
        next.map(Missed::Order)
    }

    /// Takes an order from the list: the listener is told what comes after the result, or wants it no more.
    pub fn catch_up(&self, id: OrderId) -> Option<u32> {
        if self.0.is_behind.load(Ordering::Acquire) { self.list().orders.remove(&id) } else { None }
    }

    fn has_missed(&self, id: OrderId) -> bool {
        // An order is put on the list by itself, so it always sees that it is there.
        self.0.is_behind.load(Ordering::Acquire) && {
            let list = self.list();
            list.too_many || list.orders.contains_key(&id)
        }
    }

    fn miss(&self, id: OrderId, told: u32) {
        let mut list = self.list();
        if list.orders.len() < self.0.most_missed {
            list.orders.insert(id, told);
        } else {
            list.too_many = true;
            list.orders.clear();
        }
        self.0.is_behind.store(true, Ordering::Release);
        if !std::mem::replace(&mut list.announced, true) {
            // Full: do_send ignores bounds, and there is one until the listener has caught up. Closed: it is gone.
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

    struct Deaf;

    impl Actor for Deaf {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Self::Context) {
            ctx.set_mailbox_capacity(1);
            ctx.wait(std::future::pending().into_actor(self));
        }
    }

    impl Handler<OrderUpdate> for Deaf {
        type Result = ();

        fn handle(&mut self, _: OrderUpdate, _: &mut Self::Context) {}
    }

    /// A listener that never listens; it catches up with two orders at most.
    pub(in crate::actors::order) fn listener() -> Subscriber {
        Subscriber::new(Deaf.start().recipient(), 2)
    }

    /// A listener whose mailbox is full.
    fn full_listener() -> Subscriber {
        let listener = listener();
        while listener.0.to.try_send(OrderUpdate::Behind).is_ok() {}
        listener
    }

    fn id() -> OrderId {
        OrderId(uuid::Uuid::now_v7())
    }

    fn steps(seqs: &[u32]) -> Vec<(u32, OrderUpdate)> {
        seqs.iter().map(|seq| (*seq, OrderUpdate::Behind)).collect()
    }

    #[actix::test]
    async fn an_order_that_was_missed_is_noted_once_and_told_from_where_it_was_missed() {
        let (listener, one, other) = (full_listener(), id(), id());
        assert_eq!(listener.missed(), None);
        assert_eq!(listener.tell(one, 3, &steps(&[4])), Delivery::Missed);
        assert_eq!(listener.tell(one, 4, &steps(&[5])), Delivery::Whole, "it is on the list already");
        assert_eq!(listener.tell(other, 0, &steps(&[1])), Delivery::Missed);
        assert_eq!(listener.missed(), Some(Missed::Order(one.min(other))));
        assert_eq!((listener.catch_up(one), listener.catch_up(one)), (Some(3), None));
        assert_eq!((listener.catch_up(other), listener.missed()), (Some(0), None));
    }

    #[actix::test]
    async fn who_has_missed_too_many_orders_is_told_that_and_costs_nothing_more() {
        let listener = full_listener();
        for _ in 0..3 {
            assert_eq!(listener.tell(id(), 0, &steps(&[1])), Delivery::Missed);
        }
        assert_eq!(listener.missed(), Some(Missed::TooMuch));
        for _ in 0..1_000 {
            assert_eq!(listener.tell(id(), 0, &steps(&[1])), Delivery::Whole);
        }
        assert_eq!((listener.missed(), listener.list().orders.len()), (Some(Missed::TooMuch), 0));
    }
}
