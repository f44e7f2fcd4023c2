//! The subscribers of an order, and what has been sent to them.

use std::sync::Arc;

use crate::actors::order::channel::Channel;
use crate::actors::order::subscriber::{Delivery, OrderUpdate, RenderedUpdate, Subscriber, TooManySubscribers};
use crate::domain::order::{Order, RecordedEvent};

/// The subscribers of one order, and the last event that was sent to them; kept over a restart of its actor.
///
/// Followers, who get every order of the owner, are in the [`Channel`]. Subscribers and followers have all been sent the
/// same events, except those that a [`Subscriber`] has noted as missed.
#[derive(Debug, Default)]
pub struct Subscribers {
    subscribers: Vec<(u64, Subscriber)>,
    next_key: u64,
    sent: u32,
    // The last event that was counted and announced; `None` before the first actor of the order in this process.
    published: Option<u32>,
}

impl Subscribers {
    /// Adds a subscriber for the events that follow, and returns the key of its subscription. An order has at most `max`.
    pub(super) fn subscribe(&mut self, to: Subscriber, max: usize) -> Result<u64, TooManySubscribers> {
        let subscribers = &mut self.subscribers;
        if subscribers.len() >= max {
            subscribers.retain(|(_, subscriber)| subscriber.is_connected());
            if subscribers.len() >= max {
                return Err(TooManySubscribers);
            }
        }
        let key = self.next_key;
        self.next_key += 1;
        subscribers.retain(|(_, subscriber)| !subscriber.is(&to));
        subscribers.push((key, to));
        Ok(key)
    }

    /// Ends a subscription.
    pub(super) fn unsubscribe(&mut self, key: u64) {
        self.subscribers.retain(|(known, _)| *known != key);
    }

    /// Notes that everything up to `seq` is counted and announced. Returns what was noted before.
    pub(super) fn published(&mut self, seq: u32) -> Option<u32> {
        self.published.replace(seq)
    }

    /// Sends every subscriber and follower the new events. Returns how many of them could not keep up.
    pub(super) fn send(&mut self, order: &Order, channel: &Channel) -> usize {
        let followers = channel.followers();
        let mut behind = 0;
        if !self.subscribers.is_empty() || !followers.is_empty() {
            let steps = steps(order, self.sent);
            self.subscribers.retain(|(_, subscriber)| {
                let delivery = subscriber.send(order.id, self.sent, &steps);
                behind += usize::from(delivery == Delivery::Missed);
                delivery != Delivery::Gone
            });
            // A follower that is also a subscriber gets each event once.
            let mut subscribed: Vec<_> = self.subscribers.iter().map(|(_, subscriber)| subscriber.number()).collect();
            subscribed.sort_unstable();
            for follower in followers.iter().filter(|follower| subscribed.binary_search(&follower.number()).is_err()) {
                let delivery = follower.send(order.id, self.sent, &steps);
                behind += usize::from(delivery == Delivery::Missed);
            }
        }
        self.sent = order.last().seq;
        behind
    }

    /// Sends one subscriber what it has missed. Returns whether it could keep up this time.
    pub(super) fn send_missed(order: &Order, to: &Subscriber) -> bool {
        let Some(sent) = to.catch_up(order.id) else { return true };
        to.send(order.id, sent, &steps(order, sent)) != Delivery::Missed
    }
}

/// The events after that sequence number, as updates.
fn steps(order: &Order, after: u32) -> Vec<(u32, OrderUpdate)> {
    let step = |step: &Arc<RecordedEvent>| {
        let (request, rendered) = (order.request.clone(), RenderedUpdate::default());
        (step.seq, OrderUpdate::Step { id: order.id, request, step: step.clone(), rendered })
    };
    order.history_after(after).iter().map(step).collect()
}
