//! Who listens to an order, and how far they have been told.

use std::sync::Arc;

use crate::actors::order::TooManySubscribers;
use crate::actors::order::channel::Channel;
use crate::actors::order::subscriber::{Delivery, OrderUpdate, RenderedUpdate, Subscriber};
use crate::domain::order::{Order, RecordedEvent};

/// Who subscribed to an order by name, and how far it has been told; outlives the order's incarnations.
///
/// Who follows every order of the owner is in the [`Channel`]. All of them have been told equally far, but for what an
/// [`Subscriber`] notes as missed.
#[derive(Debug, Default)]
pub struct Subscribers {
    subscribers: Vec<(u64, Subscriber)>,
    next_key: u64,
    told: u32,
    // How far everybody else was told; `None` before the first incarnation of this process.
    published: Option<u32>,
}

impl Subscribers {
    /// Adds a listener that is told what comes next, and names its subscription. `most` is how many an order may have.
    pub(super) fn subscribe(&mut self, to: Subscriber, most: usize) -> Result<u64, TooManySubscribers> {
        let subscribers = &mut self.subscribers;
        if subscribers.len() >= most {
            subscribers.retain(|(_, subscriber)| subscriber.is_connected());
            if subscribers.len() >= most {
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

    /// Notes that everybody else is told up to there, and says how far they were.
    pub(super) fn published(&mut self, seq: u32) -> Option<u32> {
        self.published.replace(seq)
    }

    /// Tells every listener what it has not had, and says how many could not keep up.
    pub(super) fn tell(&mut self, order: &Order, channel: &Channel) -> usize {
        let followers = channel.followers();
        let mut behind = 0;
        if !self.subscribers.is_empty() || !followers.is_empty() {
            let steps = steps(order, self.told);
            self.subscribers.retain(|(_, subscriber)| {
                let delivery = subscriber.tell(order.id, self.told, &steps);
                behind += usize::from(delivery == Delivery::Missed);
                delivery != Delivery::Gone
            });
            // A follower that also subscribed by name is told each step only once.
            let mut by_name: Vec<_> = self.subscribers.iter().map(|(_, subscriber)| subscriber.number()).collect();
            by_name.sort_unstable();
            for follower in followers.iter().filter(|follower| by_name.binary_search(&follower.number()).is_err()) {
                let delivery = follower.tell(order.id, self.told, &steps);
                behind += usize::from(delivery == Delivery::Missed);
            }
        }
        self.told = order.last().seq;
        behind
    }

    /// Tells one listener what it has missed; whether it could keep up this time.
    pub(super) fn tell_missed(order: &Order, to: &Subscriber) -> bool {
        let Some(told) = to.catch_up(order.id) else { return true };
        to.tell(order.id, told, &steps(order, told)) != Delivery::Missed
    }
}

/// What was recorded after that sequence number, to be told.
fn steps(order: &Order, after: u32) -> Vec<(u32, OrderUpdate)> {
    let step = |step: &Arc<RecordedEvent>| {
        let (request, words) = (order.request.clone(), RenderedUpdate::default());
        (step.seq, OrderUpdate::Step { id: order.id, request, step: step.clone(), words })
    };
    order.history_after(after).iter().map(step).collect()
}
