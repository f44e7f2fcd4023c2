//! Counts what each client holds open at the moment: connections, or WebSockets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::http::server::client::Client;

/// The slots of all clients.
#[derive(Debug, Default)]
pub(in crate::http) struct Slots {
    taken: Mutex<TakenSlots>,
}

#[derive(Debug, Default)]
struct TakenSlots {
    total: usize,
    by_client: HashMap<Client, usize>,
}

/// One slot of a client, which is free again when this is dropped.
#[derive(Debug)]
pub(in crate::http) struct Slot {
    slots: Arc<Slots>,
    client: Client,
}

impl Slots {
    /// Takes a slot; the caller checks the limits afterwards.
    pub(super) fn take(self: &Arc<Self>, client: Client) -> Slot {
        self.taken().add(client);
        Slot { slots: self.clone(), client }
    }

    /// Takes a slot if the client has fewer than `max`.
    pub(in crate::http) fn try_take(self: &Arc<Self>, client: Client, max: usize) -> Option<Slot> {
        let mut taken = self.taken();
        if taken.of(client) >= max {
            return None;
        }
        taken.add(client);
        Some(Slot { slots: self.clone(), client })
    }

    /// How many slots are taken.
    pub(super) fn total(&self) -> usize {
        self.taken().total
    }

    /// How many slots the client has taken.
    pub(super) fn of(&self, client: Client) -> usize {
        self.taken().of(client)
    }

    fn taken(&self) -> MutexGuard<'_, TakenSlots> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TakenSlots {
    fn of(&self, client: Client) -> usize {
        self.by_client.get(&client).copied().unwrap_or_default()
    }

    fn add(&mut self, client: Client) {
        self.total += 1;
        *self.by_client.entry(client).or_default() += 1;
    }

    fn remove(&mut self, client: Client) {
        self.total -= 1;
        if let Some(count) = self.by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&client);
            }
        }
    }
}

impl Slot {
    /// The client that has it.
    pub(super) fn client(&self) -> Client {
        self.client
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken().remove(self.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_slot_is_free_again_and_its_client_is_forgotten() {
        let (slots, one, other) = (Arc::new(Slots::default()), Client::at([10, 0, 0, 1].into()), Client::Others);
        let first = slots.try_take(one, 1).unwrap();
        assert!(slots.try_take(one, 1).is_none());
        let second = slots.take(other);
        assert_eq!((slots.total(), slots.of(one), slots.of(other)), (2, 1, 1));
        drop(first);
        assert!(slots.try_take(one, 1).is_some());
        drop(second);
        assert_eq!(slots.total(), 0);
        assert!(slots.taken().by_client.is_empty());
    }
}
