//! Bounds how many expensive reads run at the same time, so that the database has capacity for other work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::user::Owner;

/// Turns at reading lists and at loading orders for subscribers that catch up.
pub(super) struct Turns {
    catch_up: Arc<Semaphore>,
    // Owners that read a list or wait for one.
    lists: Mutex<HashMap<Owner, Arc<Semaphore>>>,
}

impl Turns {
    /// How many orders are loaded in parallel for subscribers that catch up.
    const CATCH_UP: usize = 4;
    /// How many lists of one owner are read in parallel. A page costs a hundred times as much as one order.
    const LISTS: usize = 2;

    pub(super) fn new() -> Self {
        Self { catch_up: Arc::new(Semaphore::new(Self::CATCH_UP)), lists: Mutex::default() }
    }

    /// Waits for a turn at loading an order for a subscriber. The turn ends when the permit is dropped.
    pub(super) async fn catch_up(&self) -> OwnedSemaphorePermit {
        take(self.catch_up.clone()).await
    }

    /// Waits for a turn at reading a list of that owner.
    pub(super) async fn list(&self, owner: Owner) -> OwnedSemaphorePermit {
        take(self.lists_of(owner)).await
    }

    fn lists_of(&self, owner: Owner) -> Arc<Semaphore> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = lists.get(&owner) {
            return turns.clone();
        }
        // Forgets owners that neither read a list nor wait for one: each such task holds a reference.
        lists.retain(|_, turns| Arc::strong_count(turns) > 1);
        lists.entry(owner).or_insert_with(|| Arc::new(Semaphore::new(Self::LISTS))).clone()
    }
}

async fn take(turns: Arc<Semaphore>) -> OwnedSemaphorePermit {
    turns.acquire_owned().await.expect("no semaphore here is ever closed")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::domain::user::UserId;

    #[tokio::test(start_paused = true)]
    async fn an_owner_that_reads_many_lists_delays_no_other_owner() {
        let turns = Turns::new();
        let (busy, other) = (Owner::Shared, Owner::User(UserId(uuid::Uuid::nil())));
        let held = (turns.list(busy).await, turns.list(busy).await);
        assert!(timeout(Duration::from_secs(1), turns.list(busy)).await.is_err());
        drop(turns.list(other).await);
        drop(held);
        drop(turns.list(busy).await);
    }

    #[tokio::test]
    async fn owners_that_read_no_list_are_forgotten() {
        let turns = Turns::new();
        for user in 0..100 {
            drop(turns.list(Owner::User(UserId(uuid::Uuid::from_u128(user)))).await);
        }
        assert_eq!(turns.lists.lock().unwrap().len(), 1);
    }
}
