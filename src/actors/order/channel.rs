//! The channel of all orders of one owner: its followers and its number of open orders.
//!
//! An order reads the followers when it has something to send. Following therefore costs the same for any number of open
//! orders, and no message goes to them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::actors::order::subscriber::{Subscriber, TooManySubscribers};
use crate::domain::user::Owner;

/// The channels in use: those with open orders or followers.
#[derive(Debug)]
pub struct Channels {
    max_followers: usize,
    of: Mutex<ChannelTable>,
}

#[derive(Debug, Default)]
struct ChannelTable {
    channels: HashMap<Owner, Weak<Channel>>,
    // The number of entries at which channels that are no longer in use are removed.
    sweep_at: usize,
}

impl Channels {
    const FIRST_SWEEP: usize = 1_024;

    /// No channels. Each takes at most `max_followers`.
    pub fn new(max_followers: usize) -> Self {
        Self { max_followers, of: Mutex::default() }
    }

    /// The channel of that owner; a new one if none is in use.
    pub fn of(&self, owner: Owner) -> Arc<Channel> {
        let mut known = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = known.channels.get(&owner).and_then(Weak::upgrade) {
            return channel;
        }
        if known.channels.len() >= known.sweep_at {
            known.channels.retain(|_, channel| channel.strong_count() > 0);
            known.sweep_at = Self::FIRST_SWEEP.max(2 * known.channels.len());
        }
        let channel = Arc::new(Channel { max_followers: self.max_followers, ..Channel::default() });
        known.channels.insert(owner, Arc::downgrade(&channel));
        channel
    }
}

/// The channel of one owner.
#[derive(Debug, Default)]
pub struct Channel {
    max_followers: usize,
    open_orders: AtomicUsize,
    // Replaced as a whole, so that an order does not hold the lock while it sends.
    followers: Mutex<Arc<[Subscriber]>>,
}

impl Channel {
    /// Adds a follower: it gets every event of the owner's orders from now on, until the result is dropped.
    pub fn follow(self: &Arc<Self>, to: Subscriber) -> Result<Following, TooManySubscribers> {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        if followers.len() >= self.max_followers {
            return Err(TooManySubscribers);
        }
        *followers = followers.iter().chain([&to]).cloned().collect();
        Ok(Following { channel: self.clone(), to })
    }

    /// The followers.
    pub fn followers(&self) -> Arc<[Subscriber]> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts an order as open until the result is dropped.
    pub fn open_order(self: &Arc<Self>) -> OpenOrder {
        self.open_orders.fetch_add(1, Ordering::Relaxed);
        OpenOrder(self.clone())
    }

    /// How many orders are open.
    pub fn open_orders(&self) -> usize {
        self.open_orders.load(Ordering::Relaxed)
    }
}

/// A follower of a channel; dropping it ends the following.
#[derive(Debug)]
pub struct Following {
    channel: Arc<Channel>,
    to: Subscriber,
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut followers = self.channel.followers.lock().unwrap_or_else(PoisonError::into_inner);
        *followers = followers.iter().filter(|follower| !follower.is(&self.to)).cloned().collect();
    }
}

/// An open order of a channel; dropping it ends the count.
#[derive(Debug)]
pub struct OpenOrder(Arc<Channel>);

impl OpenOrder {
    /// The order's channel.
    pub fn channel(&self) -> &Arc<Channel> {
        &self.0
    }
}

impl Drop for OpenOrder {
    fn drop(&mut self) {
        self.0.open_orders.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::order::subscriber::tests::stalled_subscriber;
    use crate::domain::user::UserId;

    #[actix::test]
    async fn a_follower_is_in_its_owners_channel_until_it_is_dropped() {
        let channels = Channels::new(2);
        let (shared, own) = (channels.of(Owner::Shared), channels.of(Owner::User(UserId(uuid::Uuid::new_v4()))));
        let (first, second) =
            (shared.follow(stalled_subscriber()).unwrap(), shared.follow(stalled_subscriber()).unwrap());
        assert!(shared.follow(stalled_subscriber()).is_err(), "the channel is full");
        assert_eq!((channels.of(Owner::Shared).followers().len(), own.followers().len()), (2, 0));
        drop(first);
        assert_eq!(shared.followers().len(), 1);
        assert!(shared.followers()[0].is(&second.to));
    }

    #[test]
    fn an_order_counts_as_open_until_it_is_dropped() {
        let channels = Channels::new(1);
        let orders: Vec<_> = (0..3).map(|_| channels.of(Owner::Shared).open_order()).collect();
        assert_eq!(channels.of(Owner::Shared).open_orders(), 3);
        drop(orders);
        assert_eq!(channels.of(Owner::Shared).open_orders(), 0);
    }

    #[test]
    fn a_channel_that_is_not_in_use_is_removed() {
        let channels = Channels::new(1);
        for _ in 0..10 * Channels::FIRST_SWEEP {
            channels.of(Owner::User(UserId(uuid::Uuid::new_v4()))).open_order();
        }
        assert!(channels.of.lock().unwrap().channels.len() <= Channels::FIRST_SWEEP);
    }
}
