//! The subscriptions of one WebSocket: to single orders by id, and to all orders of its owner.

use std::collections::HashMap;

use crate::actors::order::{Following, OrderUpdate};
use crate::domain::id::OrderId;
use crate::http::ws::progress::Progress;
use crate::http::ws::snapshot::Snapshot;
use crate::service::orders::{OrderSubscription, Watched};

/// The subscriptions; all are ended by [`Subscriptions::end_all`].
pub(super) struct Subscriptions {
    // At most `max`.
    orders: HashMap<OrderId, FollowedOrder>,
    max: usize,
    next_key: u64,
    // The subscription to all orders.
    channel: Option<Following>,
}

/// A subscription to a single order.
struct FollowedOrder {
    // Distinguishes it from an earlier subscription to the same order that is answered late.
    key: u64,
    progress: Progress,
    // `None` until the order has answered.
    subscription: Option<OrderSubscription>,
}

/// Why there is no further subscription to a single order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAdded {
    AlreadySubscribed,
    TooMany,
}

impl Subscriptions {
    /// No subscriptions, and at most `max` to single orders.
    pub(super) fn new(max: usize) -> Self {
        Self { orders: HashMap::new(), max, next_key: 0, channel: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.channel.is_none()
    }

    /// Whether the client wants the updates of that order.
    pub(super) fn include(&self, id: OrderId) -> bool {
        self.has_channel() || self.orders.contains_key(&id)
    }

    /// Whether there is a subscription to all orders.
    pub(super) fn has_channel(&self) -> bool {
        self.channel.is_some()
    }

    /// Sets or ends the subscription to all orders.
    pub(super) fn set_channel(&mut self, channel: Option<Following>) {
        self.channel = channel;
    }

    /// Adds a subscription to an order of which the client has the history up to `after_seq`. Returns its key.
    pub(super) fn add(&mut self, id: OrderId, after_seq: u32) -> Result<u64, NotAdded> {
        if self.orders.contains_key(&id) {
            return Err(NotAdded::AlreadySubscribed);
        }
        if self.orders.len() >= self.max {
            return Err(NotAdded::TooMany);
        }
        let key = self.next_key;
        self.next_key += 1;
        self.orders.insert(id, FollowedOrder { key, progress: Progress::after(after_seq), subscription: None });
        Ok(key)
    }

    /// Takes the order's answer. Returns the snapshot and the updates that came before it, each to be passed; `None` if the
    /// client has unsubscribed meanwhile.
    pub(super) fn confirm(&mut self, id: OrderId, key: u64, watched: Watched) -> Option<(Snapshot, Vec<OrderUpdate>)> {
        let Some(order) = self.orders.get_mut(&id).filter(|order| order.key == key) else {
            // If the client has subscribed again, the order has one subscription for both.
            if let Watched::Live(_, subscription) = watched
                && !self.orders.contains_key(&id)
            {
                subscription.end();
            }
            return None;
        };
        let (snapshot, subscription) = Snapshot::of(watched, order.progress.sent());
        order.subscription = subscription;
        let mut early = order.progress.snapshot_sent(snapshot.seq);
        if snapshot.status.is_final() {
            self.orders.remove(&id);
            early.clear();
        }
        Some((snapshot, early))
    }

    /// Removes a subscription that the order did not accept. Returns the updates that came before, each to be passed; `None`
    /// if the client has unsubscribed meanwhile.
    pub(super) fn reject(&mut self, id: OrderId, key: u64) -> Option<Vec<OrderUpdate>> {
        self.orders.get(&id).filter(|order| order.key == key)?;
        self.orders.remove(&id).map(|order| order.progress.into_early())
    }

    /// Returns an update of the order if it is to be sent now.
    pub(super) fn pass(&mut self, id: OrderId, update: OrderUpdate) -> Option<OrderUpdate> {
        match self.orders.get_mut(&id) {
            Some(order) => order.progress.pass(update),
            // Without a channel the client has unsubscribed meanwhile.
            None => self.has_channel().then_some(update),
        }
    }

    /// Whether the snapshot of that order is still to be sent.
    pub(super) fn await_snapshot(&self, id: OrderId) -> bool {
        self.orders.get(&id).is_some_and(|order| order.progress.awaits_snapshot())
    }

    /// Forgets an order that has ended. Returns the last sequence number that the client has, if it had subscribed to it.
    pub(super) fn forget(&mut self, id: OrderId) -> Option<u32> {
        self.orders.remove(&id).map(|order| order.progress.sent())
    }

    /// Ends the subscription to an order.
    pub(super) fn end(&mut self, id: OrderId) {
        if let Some(order) = self.orders.remove(&id) {
            order.end();
        }
    }

    /// Ends every subscription.
    pub(super) fn end_all(&mut self) {
        self.channel = None;
        self.orders.drain().for_each(|(_, order)| order.end());
    }
}

impl FollowedOrder {
    fn end(self) {
        if let Some(subscription) = self.subscription {
            subscription.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> OrderId {
        OrderId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn an_order_is_subscribed_to_once_and_their_number_is_limited() {
        let mut subscriptions = Subscriptions::new(2);
        assert!(subscriptions.is_empty());
        let first = subscriptions.add(id(1), 0).unwrap();
        assert_eq!(subscriptions.add(id(1), 0), Err(NotAdded::AlreadySubscribed));
        subscriptions.add(id(2), 0).unwrap();
        assert_eq!(subscriptions.add(id(3), 0), Err(NotAdded::TooMany));
        subscriptions.end(id(1));
        assert!(!subscriptions.include(id(1)) && subscriptions.include(id(2)));
        assert_ne!(subscriptions.add(id(1), 0), Ok(first));
        subscriptions.end_all();
        assert!(subscriptions.is_empty());
    }

    #[test]
    fn a_late_rejection_does_not_end_a_newer_subscription() {
        let mut subscriptions = Subscriptions::new(2);
        let first = subscriptions.add(id(1), 7).unwrap();
        subscriptions.end(id(1));
        let second = subscriptions.add(id(1), 7).unwrap();
        assert!(subscriptions.reject(id(1), first).is_none());
        assert!(subscriptions.await_snapshot(id(1)));
        assert!(subscriptions.pass(id(1), OrderUpdate::Behind).is_none());
        assert_eq!(subscriptions.reject(id(1), second).map(|early| early.len()), Some(1));
        assert!(subscriptions.is_empty());
        assert!(subscriptions.pass(id(1), OrderUpdate::Behind).is_none(), "there is no subscription any more");
    }
}
