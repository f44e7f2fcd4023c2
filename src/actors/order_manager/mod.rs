//! The order manager: it admits orders, gives them slots, and restarts those whose actors break.
//!
//! It knows every open order. The [`Scheduler`] decides which order is dispatched and when; the manager sends the messages
//! and keeps the timers. If an order's actor breaks, the manager has the order loaded again and starts its next actor
//! with the same subscribers.

mod admission;
mod handlers;
mod messages;
mod restart;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use self::admission::Admission;
pub use self::messages::{
    CloseBook, Drain, FindOrder, GetQueueStats, ManagerRecipients, OpenOrders, OrderLocation, QueueStats, Recover,
    ReopenBook, Submission, SubmitAnswer, SubmitError, SubmitOrder,
};
use self::restart::reload;
use crate::actors::order::{Channels, OpenOrder, OrderActor, OrderContext, SlotGranted, Subscribers};
use crate::actors::supervisor::{Child, ChildExited};
use crate::domain::dispatch::{Dispatch, Scheduler};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::limits::RateWindow;
use crate::domain::moment::{ClockWatch, Now, Stamp, Uptime};
use crate::domain::order::Order;
use crate::domain::user::Owner;
use crate::runtime::crash_points::crash_point;
use crate::runtime::placement::Placement;
use crate::store::{DispatchRecord, StoredOrder, UnreadableOrder};

/// A new order is stored, or never will be.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Admitted {
    id: OrderId,
    owner: Owner,
    key: Option<ClientKey>,
    order: Option<Order>,
}

/// A broken order as it is stored, with its break recorded.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct OrderReloaded {
    id: OrderId,
    stored: Result<Option<StoredOrder>, Box<UnreadableOrder>>,
}

/// Knows every open order.
pub struct OrderManager {
    context: Arc<OrderContext>,
    supervisor: Recipient<ChildExited>,
    channels: Arc<Channels>,
    homes: Vec<Placement>,
    next_home: usize,
    orders: HashMap<OrderId, OrderEntry>,
    admission: Admission,
    scheduler: Scheduler,
    // The next call of `dispatch`, and its timer.
    wake: Option<(Uptime, SpawnHandle)>,
    set_aside: usize,
    // Open orders that cannot be read. Those whose swap may land count as undecided instead.
    unreadable: usize,
    clock_watch: ClockWatch,
    draining: Option<Vec<oneshot::Sender<()>>>,
}

/// What the manager keeps of an open order.
struct OrderEntry {
    owner: Owner,
    // None while the order is being restarted.
    addr: Option<Addr<OrderActor>>,
    restarts: u32,
    // It broke too often and is not restarted.
    set_aside: bool,
    // During a restart: its subscribers, and the callers that wait for its next actor.
    subscribers: Subscribers,
    waiting: Vec<oneshot::Sender<OrderLocation>>,
    // Counts it as open in the channel of its owner.
    open: OpenOrder,
}

/// The parts of the manager.
#[allow(missing_docs, reason = "the fields are the actors and values they name")]
pub struct Parts {
    /// What its orders use; their reports go to this manager.
    pub context: Arc<OrderContext>,
    pub supervisor: Recipient<ChildExited>,
    pub channels: Arc<Channels>,
    /// The threads of the order actors, used in turn.
    pub homes: Vec<Placement>,
    /// The latest dispatches, newest first; at least as many as a minute may hold.
    pub latest_dispatches: Vec<DispatchRecord>,
}

impl OrderManager {
    /// How many callers may wait for one order that is being restarted.
    const MAX_WAITING: usize = 256;
    /// An order that breaks more often in one process is set aside until the next start.
    const MAX_RESTARTS: u32 = 20;
    /// How often the wall clock is compared with the uptime.
    const CLOCK_CHECKED_EVERY: Duration = Duration::from_secs(1);

    /// A manager without orders.
    pub fn new(parts: Parts) -> Self {
        let now = parts.context.environment.clock.read();
        // A dispatch with an unreadable time may be a recent one.
        let stamps: Vec<_> =
            parts.latest_dispatches.iter().map(|record| record.stamp.unwrap_or_else(|| now.into())).collect();
        let last_number = parts.latest_dispatches.iter().filter_map(|record| record.number).max().unwrap_or(0);
        let orders = &parts.context.settings.orders;
        let window = RateWindow::resumed(orders.rate_limit_per_minute, &stamps, now);
        let mut scheduler = Scheduler::new(orders.max_concurrent, window, last_number);
        if parts.context.suspended {
            scheduler.stop();
        }
        Self {
            clock_watch: ClockWatch::new(before_the_restart(stamps.first(), now)),
            admission: Admission::new(orders.max_open, orders.max_open_per_user),
            scheduler,
            context: parts.context,
            supervisor: parts.supervisor,
            channels: parts.channels,
            homes: parts.homes,
            next_home: 0,
            orders: HashMap::new(),
            wake: None,
            set_aside: 0,
            unreadable: 0,
            draining: None,
        }
    }

    /// Starts an actor for the order. An order with a live swap gets a slot immediately.
    fn start(&mut self, StoredOrder { order, live }: StoredOrder) {
        let (id, owner, priority) = (order.id, order.owner, order.request.priority);
        let now = self.context.environment.clock.read();
        let accepted = now.moment.uptime.minus(order.accepted().age(now));
        self.scheduler.add(id, owner, priority, accepted);
        match order.undecided_for(now) {
            Some(age) if age >= self.context.settings.chain.alarm => self.scheduler.set_undecided(id),
            Some(_) => self.scheduler.occupy(id),
            None => {}
        }
        let entry = self.orders.entry(id).or_insert_with(|| OrderEntry {
            owner,
            addr: None,
            restarts: 0,
            set_aside: false,
            subscribers: Subscribers::default(),
            waiting: Vec::new(),
            open: self.channels.of(owner).open_order(),
        });
        let (subscribers, channel) = (std::mem::take(&mut entry.subscribers), entry.open.channel().clone());
        let context = self.context.clone();
        self.next_home = (self.next_home + 1) % self.homes.len();
        let home = &self.homes[self.next_home];
        let addr = home.start(move |_| OrderActor::new(order, live, subscribers, channel, context));
        // A caller may be gone.
        entry.waiting.drain(..).for_each(|waiting| drop(waiting.send(OrderLocation::Live(addr.clone()))));
        entry.addr = Some(addr);
    }

    /// Dispatches the orders that are due, and sets the timer for the next ones.
    fn dispatch(&mut self, ctx: &mut Context<Self>) {
        let now = self.context.environment.clock.read();
        while let Some(Dispatch { id, number }) = self.scheduler.next_dispatch(now.moment.uptime) {
            crash_point("manager.dispatching");
            if let Some(addr) = self.orders.get(&id).and_then(|entry| entry.addr.as_ref()) {
                // Full: do_send ignores bounds, one per request. Closed: its exit is in the mailbox and frees the slot.
                addr.do_send(SlotGranted { now, number });
            }
        }
        if let Some(at) = self.scheduler.next_wake() {
            self.wake_at(at, now.moment.uptime, ctx);
        }
    }

    fn wake_at(&mut self, at: Uptime, now: Uptime, ctx: &mut Context<Self>) {
        match self.wake {
            Some((earlier, _)) if earlier <= at => return,
            Some((_, timer)) => {
                ctx.cancel_future(timer);
            }
            None => {}
        }
        // One millisecond more, because timers are no finer.
        let timer = ctx.run_later(at.since(now) + Duration::from_millis(1), |manager, ctx| {
            manager.wake = None;
            manager.dispatch(ctx);
        });
        self.wake = Some((at, timer));
    }

    /// Has a broken order loaded again, unless it has broken too often.
    fn restart(&mut self, id: OrderId, subscribers: Subscribers, ctx: &mut Context<Self>) {
        let Some(entry) = self.orders.get_mut(&id) else { return };
        entry.addr = None;
        entry.restarts += 1;
        let restarts = entry.restarts;
        if restarts > Self::MAX_RESTARTS {
            tracing::error!(order_id = %id, restarts, "an order keeps breaking and is set aside until the next start");
            entry.set_aside = true;
            self.set_aside += 1;
            entry.waiting.drain(..).for_each(|waiting| drop(waiting.send(OrderLocation::Busy)));
            return;
        }
        tracing::warn!(order_id = %id, restarts, "an order's actor broke and is restarted");
        entry.subscribers = subscribers;
        let (context, me) = (self.context.clone(), ctx.address());
        actix::spawn(async move {
            let stored = reload(id, restarts, &context).await;
            // Full: do_send ignores bounds, one per restart. Closed: the process ends.
            me.do_send(OrderReloaded { id, stored });
        });
    }

    /// Removes an order that is not open any more.
    fn remove(&mut self, id: OrderId) {
        self.scheduler.remove(id);
        if let Some(entry) = self.orders.remove(&id) {
            self.admission.closed(entry.owner);
            entry.waiting.into_iter().for_each(|waiting| drop(waiting.send(OrderLocation::NotLive)));
        }
        self.finish_drain();
    }

    /// Counts an order that cannot be read. It is never run, and its swap counts as live if it may land.
    fn count_unreadable(&mut self, order: &UnreadableOrder) {
        match order.owner {
            Some(owner) if order.may_be_live => self.scheduler.add_unreadable_undecided(owner),
            _ => self.unreadable += 1,
        }
    }

    /// Answers the drains, if no order is left.
    fn finish_drain(&mut self) {
        if self.orders.is_empty()
            && let Some(drained) = &mut self.draining
        {
            for drained in drained.drain(..) {
                let _ = drained.send(());
            }
        }
    }

    fn watch_clock(&mut self) {
        if let Some(step) = self.clock_watch.check(self.context.environment.clock.read()) {
            let milliseconds = step.by.num_milliseconds();
            tracing::warn!(
                milliseconds,
                "the wall clock was set; waits and limits use the uptime and are not affected"
            );
        }
    }
}

/// The clocks at the latest dispatch, if it was within this boot: a step of the wall clock since then is noticed.
fn before_the_restart(latest: Option<&Stamp>, now: Now) -> Now {
    match latest {
        Some(Stamp { at, moment: Some(moment) }) if moment.boot == now.moment.boot => Now { at: *at, moment: *moment },
        _ => now,
    }
}

impl Actor for OrderManager {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.watch_clock();
        ctx.run_interval(Self::CLOCK_CHECKED_EVERY, |manager, _| manager.watch_clock());
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        // Full: do_send ignores bounds, and a child exits once. Closed: the engine is shutting down.
        self.supervisor.do_send(ChildExited { child: Child::OrderManager, panicked: std::thread::panicking() });
    }
}
