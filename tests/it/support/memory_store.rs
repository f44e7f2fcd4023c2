//! A store in memory, for tests on paused time: the timers of a real database would not pause.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use order_engine::domain::id::{ClientKey, OrderId};
use order_engine::domain::order::Order;
use order_engine::domain::swap::SignedSwap;
use order_engine::domain::user::Owner;
use order_engine::store::{
    CommitError, DispatchRecord, ListFilter, OrderStore, Page, ReadError, StoredOrder, SwapWrite, Unfinished,
    UnfinishedFrom, Write, Written,
};
use uuid::Uuid;

#[derive(Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
    panics_after_commit: bool,
}

#[derive(Default)]
struct Inner {
    orders: BTreeMap<OrderId, Order>,
    keys: HashMap<(Owner, ClientKey), OrderId>,
    swaps: HashMap<OrderId, SignedSwap>,
    writers: HashMap<(OrderId, u32), Uuid>,
    dispatches: Vec<DispatchRecord>,
}

impl MemoryStore {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A store that panics after each commit, before it can report the commit.
    pub fn panicking_after_commit() -> Arc<Self> {
        Arc::new(Self { panics_after_commit: true, ..Self::default() })
    }
}

impl MemoryStore {
    /// Whether every order has ended.
    pub fn all_ended(&self) -> bool {
        self.inner.lock().unwrap().orders.values().all(|order| order.state().is_final())
    }

    /// Everything that is stored, one line for each value.
    pub fn contents(&self) -> String {
        let inner = self.inner.lock().unwrap();
        let writers: BTreeMap<_, _> = inner.writers.iter().collect();
        format!("{:#?}\n{writers:#?}\n{:#?}", inner.orders, inner.dispatches)
    }
}

#[async_trait]
impl OrderStore for MemoryStore {
    fn parallel_commits(&self) -> usize {
        1
    }

    async fn commit(&self, batch: &[Write]) -> Result<Vec<Written>, CommitError> {
        let mut inner = self.inner.lock().unwrap();
        let taken = |write: &&Write| inner.writers.contains_key(&(write.order_id(), write.seq()));
        if let Some(taken) = batch.iter().find(taken) {
            return Err(CommitError::Refused(format!("event {} of {} exists already", taken.seq(), taken.order_id())));
        }
        let mut written = Vec::new();
        for write in batch {
            match write {
                Write::Accept(accept) => {
                    if let Some(key) = &accept.key {
                        let key = (accept.order.owner, key.clone());
                        if let Some(known) = inner.keys.get(&key) {
                            written.push(Written::Duplicate(*known));
                            continue;
                        }
                        inner.keys.insert(key, accept.order.id);
                    }
                    inner.orders.insert(accept.order.id, accept.order.clone());
                }
                Write::Step(step) => {
                    let order = inner.orders.get_mut(&step.order_id).unwrap();
                    order.apply(step.recorded.clone()).unwrap();
                    if let Some(number) = step.dispatch {
                        inner
                            .dispatches
                            .push(DispatchRecord { number: Some(number), stamp: Some(step.recorded.stamp()) });
                    }
                    match &step.swap {
                        SwapWrite::None => {}
                        SwapWrite::Signed(swap) => drop(inner.swaps.insert(step.order_id, swap.clone())),
                        SwapWrite::Settled { .. } => drop(inner.swaps.remove(&step.order_id)),
                    }
                }
            }
            inner.writers.insert((write.order_id(), write.seq()), write.write_id());
            written.push(Written::Stored);
        }
        drop(inner);
        assert!(!self.panics_after_commit, "a panic after the commit");
        Ok(written)
    }

    async fn writer_of(&self, order: OrderId, seq: u32) -> Result<Option<Uuid>, ReadError> {
        Ok(self.inner.lock().unwrap().writers.get(&(order, seq)).copied())
    }

    async fn order(&self, id: OrderId) -> Result<Option<StoredOrder>, ReadError> {
        let inner = self.inner.lock().unwrap();
        Ok(inner.orders.get(&id).map(|order| StoredOrder { order: order.clone(), live: inner.swaps.get(&id).cloned() }))
    }

    async fn order_by_key(&self, owner: Owner, key: &ClientKey) -> Result<Option<OrderId>, ReadError> {
        Ok(self.inner.lock().unwrap().keys.get(&(owner, key.clone())).copied())
    }

    async fn unfinished(&self, from: UnfinishedFrom, limit: u64) -> Result<Unfinished, ReadError> {
        let inner = self.inner.lock().unwrap();
        let open = inner
            .orders
            .values()
            .filter(|order| !order.state().is_final() && from.after.is_none_or(|after| order.id > after));
        let stored = open.map(|order| StoredOrder { order: order.clone(), live: inner.swaps.get(&order.id).cloned() });
        let orders: Vec<_> = stored.take(usize::try_from(limit).unwrap()).collect();
        let next = orders.last().map(|last| UnfinishedFrom { after: Some(last.order.id), skip: 0 });
        Ok(Unfinished { orders, next, ..Unfinished::default() })
    }

    async fn list(&self, filter: &ListFilter) -> Result<Page, ReadError> {
        let inner = self.inner.lock().unwrap();
        let of_owner = inner.orders.values().rev().filter(|order| order.owner == filter.owner);
        let orders = of_owner.take(usize::try_from(filter.limit).unwrap()).cloned().collect();
        Ok(Page { orders, ..Page::default() })
    }

    async fn latest_dispatches(&self, limit: u64) -> Result<Vec<DispatchRecord>, ReadError> {
        let inner = self.inner.lock().unwrap();
        Ok(inner.dispatches.iter().rev().take(usize::try_from(limit).unwrap()).copied().collect())
    }

    async fn close(&self) {}
}
