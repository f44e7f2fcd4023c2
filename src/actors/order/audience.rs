//! Who listens to an order, and how far each has been told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use actix::prelude::*;

use super::TooManySubscribers;
use crate::domain::id::OrderId;
use crate::domain::order::{Order, OrderRequest, Recorded};

/// The way to a listener, one for all orders that tell it.
///
/// Shared, so that there is one bound: a mailbox's own counts for each clone of its address separately.
#[derive(Clone, Debug)]
pub struct Outlet(Arc<Way>);

#[derive(Debug)]
struct Way {
    to: Recipient<OrderUpdate>,
    follows: AtomicBool,
}

impl Outlet {
    /// A way to that listener, which follows no order that it does not subscribe to.
    pub fn new(to: Recipient<OrderUpdate>) -> Self {
        Self(Arc::new(Way { to, follows: AtomicBool::new(false) }))
    }

    /// Whether the listener wants all orders of its owner; an order that it does not want any more forgets it.
    pub fn set_follows(&self, follows: bool) {
        self.0.follows.store(follows, Ordering::Relaxed);
    }

    /// Whether the listener is there and wants all orders of its owner.
    pub fn follows(&self) -> bool {
        self.0.follows.load(Ordering::Relaxed) && self.0.to.connected()
    }

    /// Whether it is the same listener.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A step in words, which the first of its listeners finds for all of them.
pub type Words = Arc<OnceLock<String>>;

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
        step: Arc<Recorded>,
        /// The step in words.
        words: Words,
    },
    /// The listener could not keep up and has been dropped; it may subscribe again after what it has had.
    Dropped {
        /// By which order.
        id: OrderId,
        /// The last sequence number that it was told.
        told: u32,
    },
}

/// A listener, and how far it has been told.
#[derive(Debug)]
struct Subscriber {
    // Names its subscription to this order; `None` for one that follows every order of its owner.
    key: Option<u64>,
    to: Outlet,
    told: u32,
}

impl Subscriber {
    fn is_wanted(&self) -> bool {
        self.key.is_some() || self.to.follows()
    }
}

/// Who has been told how much of an order; outlives the order's incarnations.
#[derive(Debug, Default)]
pub struct Audience {
    subscribers: Vec<Subscriber>,
    next_key: u64,
    // How far everybody else was told; `None` before the first incarnation of this process.
    published: Option<u32>,
}

impl Audience {
    /// Adds a listener that is told what comes after what was published, unless it listens already.
    pub fn follow(&mut self, to: Outlet) {
        self.subscribers.retain(Subscriber::is_wanted);
        if !self.subscribers.iter().any(|subscriber| subscriber.to.is(&to)) {
            let told = self.published.unwrap_or_default();
            self.subscribers.push(Subscriber { key: None, to, told });
        }
    }

    /// Adds a listener that has had everything up to `told`, and names its subscription; at most so many.
    pub(super) fn subscribe(&mut self, to: Outlet, told: u32, most: usize) -> Result<u64, TooManySubscribers> {
        let subscribers = &mut self.subscribers;
        if subscribers.len() >= most {
            subscribers.retain(|subscriber| subscriber.is_wanted() && subscriber.to.0.to.connected());
            // Those who follow every order have their own limit.
            if subscribers.iter().filter(|subscriber| subscriber.key.is_some()).count() >= most {
                return Err(TooManySubscribers);
            }
        }
        let key = self.next_key;
        self.next_key += 1;
        // Whoever follows the order already is told each step once all the same.
        subscribers.retain(|subscriber| !subscriber.to.is(&to));
        subscribers.push(Subscriber { key: Some(key), to, told });
        Ok(key)
    }

    /// Ends a subscription; who follows every order of its owner goes on listening.
    pub(super) fn unsubscribe(&mut self, key: u64) {
        for subscriber in self.subscribers.iter_mut().filter(|subscriber| subscriber.key == Some(key)) {
            subscriber.key = None;
        }
        self.subscribers.retain(Subscriber::is_wanted);
    }

    /// Notes that everybody else is told up to there, and says how far they were.
    pub(super) fn published(&mut self, seq: u32) -> Option<u32> {
        self.published.replace(seq)
    }

    /// Tells every listener what it has not had, and says how many could not keep up and were dropped.
    pub(super) fn tell(&mut self, order: &Order) -> usize {
        let mut words = BTreeMap::<u32, Words>::new();
        let mut dropped = 0;
        self.subscribers.retain_mut(|subscriber| {
            if !subscriber.is_wanted() {
                return false;
            }
            for step in order.history_after(subscriber.told) {
                let (request, words) = (order.request.clone(), words.entry(step.seq).or_default().clone());
                let update = OrderUpdate::Step { id: order.id, request, step: step.clone(), words };
                match subscriber.to.0.to.try_send(update) {
                    Ok(()) => subscriber.told = step.seq,
                    Err(SendError::Closed(_)) => return false,
                    Err(SendError::Full(_)) => {
                        // Ignores the bound, once: a listener that wakes up learns why it hears no more.
                        subscriber.to.0.to.do_send(OrderUpdate::Dropped { id: order.id, told: subscriber.told });
                        dropped += 1;
                        return false;
                    }
                }
            }
            true
        });
        dropped
    }
}
