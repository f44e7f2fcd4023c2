//! What is read from the store, and the end of the writes.

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::actors::persistence::Persistence;
use crate::actors::persistence::messages::{
    DatabaseState, FindKey, Flush, GetDatabaseState, ListOrders, LoadDispatches, LoadOrder, LoadUnfinished,
};
use crate::domain::id::OrderId;
use crate::runtime::crash_points::crash_point;
use crate::store::{DispatchRecord, Page, ReadError, StoredOrder, Unfinished};

impl Handler<LoadOrder> for Persistence {
    type Result = ResponseActFuture<Self, Result<Option<StoredOrder>, ReadError>>;

    fn handle(&mut self, LoadOrder(id): LoadOrder, _: &mut Self::Context) -> Self::Result {
        let store = self.store.clone();
        let parked = self.unsettled.contains_key(&id).then(|| {
            let (settled, parked) = oneshot::channel();
            self.parked_loads.push((id, settled));
            parked
        });
        let load = async move {
            if let Some(parked) = parked {
                let _ = parked.await;
            }
            store.order(id).await
        };
        Box::pin(load.into_actor(self).map(move |loaded, actor, _| {
            match &loaded {
                Err(ReadError::UnreadableOrder(order)) => actor.note_unreadable([&**order]),
                // The row was repaired.
                Ok(Some(_)) => drop(actor.unreadable.remove(&id)),
                Ok(None) | Err(_) => {}
            }
            loaded
        }))
    }
}

impl Handler<FindKey> for Persistence {
    type Result = ResponseFuture<Result<Option<OrderId>, ReadError>>;

    fn handle(&mut self, FindKey { owner, key }: FindKey, _: &mut Self::Context) -> Self::Result {
        let store = self.store.clone();
        Box::pin(async move { store.order_by_key(owner, &key).await })
    }
}

impl Handler<ListOrders> for Persistence {
    type Result = ResponseActFuture<Self, Result<Page, ReadError>>;

    fn handle(&mut self, ListOrders(filter): ListOrders, _: &mut Self::Context) -> Self::Result {
        let store = self.store.clone();
        let list = async move { store.list(&filter).await };
        Box::pin(list.into_actor(self).map(|page, actor, _| {
            actor.note_unreadable(page.iter().flat_map(|page| &page.unreadable));
            page
        }))
    }
}

impl Handler<LoadUnfinished> for Persistence {
    type Result = ResponseActFuture<Self, Result<Unfinished, ReadError>>;

    fn handle(&mut self, LoadUnfinished { from, limit }: LoadUnfinished, _: &mut Self::Context) -> Self::Result {
        let store = self.store.clone();
        let load = async move { store.unfinished(from, limit).await };
        Box::pin(load.into_actor(self).map(|loaded, actor, _| {
            if let Ok(Unfinished { unreadable, nameless, .. }) = &loaded {
                actor.note_unreadable(unreadable);
                actor.nameless += nameless;
            }
            loaded
        }))
    }
}

impl Handler<LoadDispatches> for Persistence {
    type Result = ResponseFuture<Result<Vec<DispatchRecord>, ReadError>>;

    fn handle(&mut self, LoadDispatches(limit): LoadDispatches, _: &mut Self::Context) -> Self::Result {
        let store = self.store.clone();
        Box::pin(async move { store.latest_dispatches(limit).await })
    }
}

impl Handler<GetDatabaseState> for Persistence {
    type Result = DatabaseState;

    fn handle(&mut self, _: GetDatabaseState, _: &mut Self::Context) -> Self::Result {
        let unreadable_orders = self.unreadable.len() + self.nameless;
        let trouble = self.outage.and_then(|_| self.store.trouble());
        DatabaseState { takes_writes: self.takes_writes(), trouble, unreadable_orders }
    }
}

impl Handler<Flush> for Persistence {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Flush, ctx: &mut Self::Context) -> Self::Result {
        crash_point("persistence.flushing");
        if let Some(probe) = self.probe.take() {
            ctx.cancel_future(probe);
        }
        let (flushed, all) = oneshot::channel();
        if self.queue.is_empty() && self.in_flight == 0 {
            let _ = flushed.send(());
        } else {
            self.flushed.push(flushed);
        }
        Box::pin(async move {
            let _ = all.await;
        })
    }
}
