//! The channel of all orders of one owner: who follows it, and how many orders are open in it.
//!
//! An order looks its followers up when it has something to tell, so following costs the same however many orders are
//! open, and nothing is sent to any of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::actors::order::TooManySubscribers;
use crate::actors::order::subscriber::Subscriber;
use crate::domain::user::Owner;

/// The channels that are in use: those with open orders or followers.
#[derive(Debug)]
pub struct Channels {
    most_followers: usize,
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

    /// No channels yet. `most_followers` is how many each takes.
    pub fn new(most_followers: usize) -> Self {
        Self { most_followers, of: Mutex::default() }
    }

    /// The channel of that owner.
    pub fn of(&self, owner: Owner) -> Arc<Channel> {
        let mut known = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = known.channels.get(&owner).and_then(Weak::upgrade) {
            return channel;
        }
        if known.channels.len() >= known.sweep_at {
            known.channels.retain(|_, channel| channel.strong_count() > 0);
            known.sweep_at = Self::FIRST_SWEEP.max(2 * known.channels.len());
        }
        let channel = Arc::new(Channel { most_followers: self.most_followers, ..Channel::default() });
        known.channels.insert(owner, Arc::downgrade(&channel));
        channel
    }
}

/// The channel of one owner.
#[derive(Debug, Default)]
pub struct Channel {
    most_followers: usize,
    open_orders: AtomicUsize,
    // Replaced as a whole, so that an order does not hold the lock while it tells.
    followers: Mutex<Arc<[Subscriber]>>,
}

impl Channel {
    /// Adds a follower: it is told what every order of the owner records from here on, until the result is dropped.
    pub fn follow(self: &Arc<Self>, to: Subscriber) -> Result<Following, TooManySubscribers> {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        if followers.len() >= self.most_followers {
            return Err(TooManySubscribers);
        }
        *followers = followers.iter().chain([&to]).cloned().collect();
        Ok(Following { channel: self.clone(), to })
    }

    /// Everybody who follows.
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

/// A follower's place in a channel.
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

/// An open order's place in its channel.
#[derive(Debug)]
pub struct OpenOrder(Arc<Channel>);

impl OpenOrder {
    /// The channel it is in.
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
    use crate::actors::order::subscriber::tests::listener;
    use crate::domain::user::UserId;

    #[actix::test]
    async fn a_follower_is_in_its_owners_channel_until_it_leaves() {
        let channels = Channels::new(2);
        let (shared, own) = (channels.of(Owner::Shared), channels.of(Owner::User(UserId(uuid::Uuid::new_v4()))));
        let (first, second) = (shared.follow(listener()).unwrap(), shared.follow(listener()).unwrap());
        assert!(shared.follow(listener()).is_err(), "the channel is full");
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
    fn a_channel_that_nobody_uses_is_forgotten() {
        let channels = Channels::new(1);
        for _ in 0..10 * Channels::FIRST_SWEEP {
            channels.of(Owner::User(UserId(uuid::Uuid::new_v4()))).open_order();
        }
        assert!(channels.of.lock().unwrap().channels.len() <= Channels::FIRST_SWEEP);
    }
}
