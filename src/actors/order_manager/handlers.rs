//! What the manager does with each message.

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::actors::order::{Exit, OrderExited, RequestSlot, StopOrder, SwapStuck, log_event};
use crate::actors::order_manager::admission::{ANSWER_WITHIN, NewOrder, accept, refuse};
use crate::actors::order_manager::messages::{
    CloseBook, Drain, FindOrder, GetQueueStats, OpenOrders, OrderLocation, QueueStats, Recover, ReopenBook,
    SubmitError, SubmitOrder,
};
use crate::actors::order_manager::{Admitted, OrderEntry, OrderManager, OrderReloaded};
use crate::domain::id::OrderId;
use crate::domain::order::Order;
use crate::runtime::crash_points::crash_point;
use crate::store::StoredOrder;

impl Handler<SubmitOrder> for OrderManager {
    type Result = ();

    fn handle(&mut self, SubmitOrder { owner, request, key, reply }: SubmitOrder, ctx: &mut Self::Context) {
        fail::fail_point!("manager", |_| unreachable!("this fail point only panics"));
        // The client may be gone when it is answered.
        if self.draining.is_some() {
            let _ = reply.send(Err(SubmitError::Stopping));
            return;
        }
        let context = self.context.clone();
        let suspended = context.suspended.then_some(SubmitError::Suspended);
        if let Some(refusal) = suspended.or_else(|| self.admission.refusal(owner)) {
            let deadline = Instant::now() + ANSWER_WITHIN;
            actix::spawn(async move {
                let _ = reply.send(refuse(owner, &request, key, refusal, deadline, &context.persistence).await);
            });
            return;
        }
        self.admission.opened(owner);
        let terms = Some(context.settings.orders.terms_of(&request));
        let id = OrderId(context.environment.time_ordered_id());
        let order = Order::accept(terms, id, owner, request, context.environment.clock.read());
        let first = key.as_ref().map_or(id, |key| self.admission.first_of_key(owner, key, id));
        let write_id = context.environment.random_id();
        let new = NewOrder { order, write_id, key: key.clone(), first, reply };
        let me = ctx.address();
        // A task of its own: it goes on if the client disconnects.
        actix::spawn(async move {
            // Full: do_send ignores bounds, one per submit. Closed: the process ends.
            let settled = move |order| me.do_send(Admitted { id, owner, key, order });
            accept(new, &context.persistence, settled).await;
        });
    }
}

impl Handler<Admitted> for OrderManager {
    type Result = ();

    fn handle(&mut self, Admitted { id, owner, key, order }: Admitted, _: &mut Self::Context) {
        crash_point("accept.admitted");
        if let Some(key) = key {
            self.admission.settled_key(owner, key, id);
        }
        if let Some(order) = order {
            log_event(&order, order.last());
            // While the engine shuts down the order is not started. It is stored, and the next start runs it.
            if self.draining.is_none() {
                return self.start(StoredOrder { order, live: None });
            }
        }
        self.admission.closed(owner);
    }
}

impl Handler<Recover> for OrderManager {
    type Result = ();

    fn handle(&mut self, Recover { orders, unreadable }: Recover, _: &mut Self::Context) {
        for order in &unreadable {
            self.count_unreadable(order);
        }
        for stored in orders {
            self.admission.opened(stored.order.owner);
            self.start(stored);
        }
    }
}

impl Handler<FindOrder> for OrderManager {
    type Result = ResponseFuture<OrderLocation>;

    fn handle(&mut self, FindOrder { owner, id }: FindOrder, _: &mut Self::Context) -> Self::Result {
        let found = match self.orders.get_mut(&id).filter(|entry| entry.owner == owner) {
            None => OrderLocation::NotLive,
            Some(OrderEntry { addr: Some(addr), .. }) => OrderLocation::Live(addr.clone()),
            Some(entry) if entry.set_aside || entry.waiting.len() >= Self::MAX_WAITING => OrderLocation::Busy,
            Some(entry) => {
                let (waiting, found) = oneshot::channel();
                entry.waiting.push(waiting);
                return Box::pin(async move { found.await.unwrap_or(OrderLocation::Busy) });
            }
        };
        Box::pin(async move { found })
    }
}

impl Handler<CloseBook> for OrderManager {
    type Result = Result<(), OpenOrders>;

    fn handle(&mut self, CloseBook(user): CloseBook, _: &mut Self::Context) -> Self::Result {
        self.admission.close_book(user)
    }
}

impl Handler<ReopenBook> for OrderManager {
    type Result = ();

    fn handle(&mut self, ReopenBook(user): ReopenBook, _: &mut Self::Context) {
        self.admission.reopen_book(user);
    }
}

impl Handler<RequestSlot> for OrderManager {
    type Result = ();

    fn handle(&mut self, RequestSlot { id, wait }: RequestSlot, ctx: &mut Self::Context) {
        if self.draining.is_some() {
            self.scheduler.release(id);
            if let Some(addr) = self.orders.get(&id).and_then(|entry| entry.addr.as_ref()) {
                // Full: do_send ignores bounds. Closed: it has stopped already.
                addr.do_send(StopOrder);
            }
            return;
        }
        let now = self.context.environment.clock.uptime();
        self.scheduler.wait(id, now.plus(wait), now);
        self.dispatch(ctx);
    }
}

impl Handler<SwapStuck> for OrderManager {
    type Result = ();

    fn handle(&mut self, SwapStuck(id): SwapStuck, ctx: &mut Self::Context) {
        self.scheduler.set_undecided(id);
        self.dispatch(ctx);
    }
}

impl Handler<OrderExited> for OrderManager {
    type Result = ();

    fn handle(&mut self, OrderExited { id, exit, subscribers }: OrderExited, ctx: &mut Self::Context) {
        crash_point("manager.exited");
        self.scheduler.release(id);
        match exit {
            Exit::Broken if self.draining.is_none() => self.restart(id, subscribers, ctx),
            Exit::Ended | Exit::Parked | Exit::Broken => self.remove(id),
        }
        self.dispatch(ctx);
    }
}

impl Handler<OrderReloaded> for OrderManager {
    type Result = ();

    fn handle(&mut self, OrderReloaded { id, stored }: OrderReloaded, _: &mut Self::Context) {
        crash_point("manager.reloaded");
        match stored {
            Ok(Some(stored)) if self.draining.is_none() => self.start(stored),
            Ok(_) => self.remove(id),
            Err(order) => {
                self.remove(id);
                self.count_unreadable(&order);
            }
        }
    }
}

impl Handler<GetQueueStats> for OrderManager {
    type Result = QueueStats;

    fn handle(&mut self, _: GetQueueStats, _: &mut Self::Context) -> Self::Result {
        self.watch_clock();
        let now = self.context.environment.clock.uptime();
        QueueStats {
            open: self.orders.len(),
            running: self.scheduler.running(),
            queued: self.scheduler.queued(),
            stuck: self.scheduler.undecided() + self.set_aside + self.unreadable,
            admitting: self.draining.is_none(),
            suspended: self.context.suspended,
            held_up: self.scheduler.is_held_up(),
            oldest_waiting: self.scheduler.oldest().map(|accepted| now.since(accepted)),
            clock_step: self.clock_watch.recent(now).map(|step| (step, now.since(step.detected))),
            clock_steps: self.clock_watch.steps(),
        }
    }
}

impl Handler<Drain> for OrderManager {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Drain(time_to_end): Drain, ctx: &mut Self::Context) -> Self::Result {
        crash_point("manager.draining");
        let (drained, all) = oneshot::channel();
        self.draining.get_or_insert_default().push(drained);
        self.scheduler.stop();
        self.orders.retain(|_, entry| entry.addr.is_some());
        for (id, entry) in &self.orders {
            if let Some(addr) = &entry.addr
                && !self.scheduler.is_running(*id)
            {
                // Full: do_send ignores bounds. Closed: it has stopped already.
                addr.do_send(StopOrder);
            }
        }
        ctx.run_later(time_to_end, |manager, _| {
            for addr in manager.orders.values().filter_map(|entry| entry.addr.as_ref()) {
                // As above.
                addr.do_send(StopOrder);
            }
        });
        self.finish_drain();
        Box::pin(async move {
            let _ = all.await;
        })
    }
}
