//! The order manager: who is let in, who may run, and who comes back after a fall.
//!
//! It knows every unfinished order. It gives out the slots (concurrency, the three priorities, the rate window), and
//! when an order's actor breaks it has the order loaded again and starts the next incarnation with the subscribers of the last one.

mod admission;
mod restart;

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

pub use self::admission::{ANSWER_WITHIN, Submission, SubmitError, submit};
use crate::actors::dex_router::{DexRouter, Venues};
use crate::actors::order::{
    Announce, Channels, Exit, OpenOrder, OrderActor, OrderContext, SlotGranted, StopOrder, Subscribers,
};
use crate::actors::persistence::Persistence;
use crate::actors::restartable_addr::RestartableAddr;
use crate::actors::supervisor::{Child, ChildExited, Supervisor};
use crate::chain::Chain;
use crate::config::Settings;
use crate::domain::dispatch::{Dispatcher, WaitingOrder};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::limits::RateWindow;
use crate::domain::moment::{ClockStep, ClockWatch, Now, Stamp, Uptime};
use crate::domain::order::Priority;
use crate::domain::tally::Tally;
use crate::domain::user::{Owner, UserId};
use crate::runtime::clock::Clock;
use crate::runtime::crash_points::crash_point;
use crate::runtime::placement::Placement;
use crate::store::{DispatchRecord, StoredOrder, UnreadableOrder};
use crate::telemetry::metrics::Metrics;

/// Asks where an unfinished order is reached.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "OrderLocation")]
pub struct FindOrder {
    /// Who asks; another's order is not found.
    pub owner: Owner,
    /// Which.
    pub id: OrderId,
}

/// Where an order is reached.
#[derive(Clone, Debug)]
pub enum OrderLocation {
    /// Its actor.
    Live(Addr<OrderActor>),
    /// It has none: it has ended, or never was; the store knows.
    NotLive,
    /// It is being restarted and too many wait for that already.
    Busy,
}

/// An order waits for a slot; a slot that it holds goes back.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RequestSlot {
    /// Which.
    pub id: OrderId,
    /// How long it waits before it stands in line.
    pub wait: Duration,
}

/// An order's actor is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct OrderExited {
    /// Whose.
    pub id: OrderId,
    /// How.
    pub exit: Exit,
    /// Who was listening.
    pub subscribers: Subscribers,
}

/// An order's swap is undecided for longer than is healthy.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SwapStuck(pub OrderId);

/// Takes up orders that an earlier process left unfinished.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Recover {
    /// The orders.
    pub orders: Vec<StoredOrder>,
    /// Orders that cannot be read: they count as stuck, and are not run.
    pub unreadable: Vec<UnreadableOrder>,
}

/// Stops letting orders in and out, gives those that run until the deadline, and parks every other.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Drain(pub Duration);

/// Asks how things stand.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "QueueStats")]
pub struct GetQueueStats;

/// How things stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, MessageResponse)]
pub struct QueueStats {
    /// Unfinished orders.
    pub open: usize,
    /// Orders that hold a slot.
    pub running: usize,
    /// Orders in line for a slot.
    pub queued: usize,
    /// Orders whose swap is undecided for too long, or that cannot be written or read.
    pub stuck: usize,
    /// Whether new orders are let in.
    pub admitting: bool,
    /// Whether nothing is dispatched because too many swaps are undecided.
    pub held_up: bool,
    /// The age of the oldest order in line for a slot.
    pub oldest_waiting: Option<Duration>,
    /// The latest step of the wall clock, and how long ago it was noticed; told for some minutes.
    pub clock_step: Option<(ClockStep, Duration)>,
    /// Steps of the wall clock since the start.
    pub clock_steps: u64,
}

/// Knows every unfinished order.
pub struct OrderManager {
    settings: Arc<Settings>,
    clock: Clock,
    persistence: Addr<Persistence>,
    supervisor: Addr<Supervisor>,
    router: RestartableAddr<DexRouter>,
    venues: Venues,
    chain: Arc<dyn Chain>,
    announce: Option<Announce>,
    tally: Arc<Mutex<Tally>>,
    metrics: Metrics,
    channels: Arc<Channels>,
    homes: Vec<Placement>,
    next_home: usize,
    world: Option<Arc<OrderContext>>,
    orders: HashMap<OrderId, OrderEntry>,
    admitting: usize,
    // How many orders each user has open or about to be; a user without any is not in it.
    open_of_users: HashMap<UserId, usize>,
    // The keys of orders whose fate is not known yet: a repeat that cannot be stored either is told of the first.
    unsettled_keys: HashMap<(Owner, ClientKey), OrderId>,
    set_aside: usize,
    // Unfinished orders that cannot be read; those whose swap may still land count as undecided instead.
    unreadable: usize,
    dispatcher: Dispatcher,
    // Retries whose wait is not over; each is looked at again when its moment has come.
    later: BinaryHeap<Reverse<(Uptime, OrderId)>>,
    window: RateWindow,
    last_dispatch: i64,
    wake: Option<(Uptime, SpawnHandle)>,
    clock_watch: ClockWatch,
    draining: Option<Vec<oneshot::Sender<()>>>,
}

/// What the manager knows of an unfinished order.
struct OrderEntry {
    owner: Owner,
    priority: Priority,
    // Its place in line, whenever it stands there.
    turn: WaitingOrder,
    // None while it is being restarted.
    addr: Option<Addr<OrderActor>>,
    running: bool,
    // When it stands in line again.
    waits_until: Option<Uptime>,
    // Its swap is undecided for too long; it holds no slot.
    undecided: bool,
    // It fell too often.
    set_aside: bool,
    restarts: u32,
    // While it is being restarted: its subscribers, and the requests that wait for it.
    subscribers: Subscribers,
    waiting: Vec<oneshot::Sender<OrderLocation>>,
    // Its place among the open orders of its owner.
    place: OpenOrder,
}

/// What the manager is made of.
#[allow(missing_docs, reason = "the fields are the actors and values they name")]
pub struct Parts {
    pub settings: Arc<Settings>,
    pub clock: Clock,
    pub persistence: Addr<Persistence>,
    pub supervisor: Addr<Supervisor>,
    pub router: RestartableAddr<DexRouter>,
    pub venues: Venues,
    pub chain: Arc<dyn Chain>,
    pub announce: Option<Announce>,
    pub tally: Arc<Mutex<Tally>>,
    pub metrics: Metrics,
    pub channels: Arc<Channels>,
    /// Where order actors live, in turn.
    pub homes: Vec<Placement>,
    /// The latest dispatches, the latest first: at least as many as a minute may hold.
    pub latest_dispatches: Vec<DispatchRecord>,
}

impl OrderManager {
    /// How many may wait for one order that is being restarted.
    const MAX_WAITING: usize = 256;
    /// An order that falls more often in one process is set aside until the next start.
    const MAX_RESTARTS: u32 = 20;
    /// How often the wall clock is compared with the uptime.
    const CLOCK_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

    /// A manager without orders.
    pub fn new(parts: Parts) -> Self {
        let now = parts.clock.read();
        // One that cannot be read may have been just now.
        let stamps: Vec<_> =
            parts.latest_dispatches.iter().map(|record| record.stamp.unwrap_or_else(|| now.into())).collect();
        let last_dispatch = parts.latest_dispatches.iter().filter_map(|record| record.number).max();
        let window = RateWindow::resumed(parts.settings.orders.rate_limit_per_minute, &stamps, now);
        let dispatcher = Dispatcher::new(parts.settings.orders.max_concurrent);
        Self {
            clock_watch: ClockWatch::new(before_the_restart(stamps.first(), now)),
            last_dispatch: last_dispatch.unwrap_or(0),
            settings: parts.settings,
            clock: parts.clock,
            persistence: parts.persistence,
            supervisor: parts.supervisor,
            router: parts.router,
            venues: parts.venues,
            chain: parts.chain,
            announce: parts.announce,
            tally: parts.tally,
            metrics: parts.metrics,
            channels: parts.channels,
            homes: parts.homes,
            next_home: 0,
            world: None,
            orders: HashMap::new(),
            admitting: 0,
            unsettled_keys: HashMap::new(),
            open_of_users: HashMap::new(),
            set_aside: 0,
            unreadable: 0,
            dispatcher,
            later: BinaryHeap::new(),
            window,
            wake: None,
            draining: None,
        }
    }

    fn world(&mut self, ctx: &mut Context<Self>) -> Arc<OrderContext> {
        let make = || {
            Arc::new(OrderContext {
                settings: self.settings.clone(),
                clock: self.clock,
                manager: ctx.address(),
                persistence: self.persistence.clone(),
                router: self.router.clone(),
                venues: self.venues.clone(),
                chain: self.chain.clone(),
                announce: self.announce.clone(),
                tally: self.tally.clone(),
                metrics: self.metrics.clone(),
            })
        };
        self.world.get_or_insert_with(make).clone()
    }

    /// Starts an incarnation; one that may have a swap on its way holds a slot from its first moment.
    fn start(&mut self, StoredOrder { order, live }: StoredOrder, ctx: &mut Context<Self>) {
        let world = self.world(ctx);
        let (id, owner, priority) = (order.id, order.owner, order.request.priority);
        let now = self.clock.read();
        let accepted = now.moment.uptime.minus(order.accepted().age(now));
        let undecided_for = order.undecided_for(now);
        self.next_home = (self.next_home + 1) % self.homes.len();
        let open = self.orders.entry(id).or_insert_with(|| OrderEntry {
            owner,
            priority,
            turn: WaitingOrder { accepted, id },
            addr: None,
            running: false,
            waits_until: None,
            undecided: false,
            set_aside: false,
            restarts: 0,
            subscribers: Subscribers::default(),
            waiting: Vec::new(),
            place: self.channels.of(owner).open_order(),
        });
        let (subscribers, channel) = (std::mem::take(&mut open.subscribers), open.place.channel().clone());
        let addr = self.homes[self.next_home].start(move |_| OrderActor::new(order, live, subscribers, channel, world));
        // Nobody listens where a client has gone meanwhile.
        open.waiting.drain(..).for_each(|waiting| drop(waiting.send(OrderLocation::Live(addr.clone()))));
        open.addr = Some(addr);
        match undecided_for {
            Some(age) if age >= self.settings.chain.alarm && !open.undecided => {
                open.undecided = true;
                self.dispatcher.add_undecided(owner);
            }
            Some(_) if !open.running && !open.undecided => {
                open.running = true;
                self.dispatcher.occupy(owner);
            }
            _ => {}
        }
    }

    /// Gives out what slots there are to those whose turn it is.
    fn dispatch(&mut self, ctx: &mut Context<Self>) {
        while self.draining.is_none() && self.dispatcher.has_next() {
            let now = self.clock.read();
            if let Err(free) = self.window.take(now.moment.uptime) {
                return self.wake_at(free, ctx);
            }
            let Some((owner, id)) = self.dispatcher.serve_next() else { return };
            crash_point("manager.dispatching");
            let Some(open) = self.orders.get_mut(&id) else {
                self.dispatcher.give_back(owner);
                continue;
            };
            open.running = true;
            self.last_dispatch += 1;
            if let Some(addr) = &open.addr {
                // Full: do_send ignores bounds, one a request. Closed: its exit is on the way and gives the slot back.
                addr.do_send(SlotGranted { now, number: self.last_dispatch });
            }
        }
    }

    fn wake_at(&mut self, at: Uptime, ctx: &mut Context<Self>) {
        match self.wake {
            Some((earlier, _)) if earlier <= at => return,
            Some((_, timer)) => {
                ctx.cancel_future(timer);
            }
            None => {}
        }
        // One millisecond more, for timers have no finer grain.
        let timer = ctx.run_later(at.since(self.clock.uptime()) + Duration::from_millis(1), |manager, ctx| {
            manager.wake = None;
            manager.line_up_due(ctx);
            manager.dispatch(ctx);
        });
        self.wake = Some((at, timer));
    }

    /// Puts those in line whose wait is over, and wakes up for the next.
    fn line_up_due(&mut self, ctx: &mut Context<Self>) {
        let now = self.clock.uptime();
        while let Some(&Reverse((at, id))) = self.later.peek() {
            if at > now {
                return self.wake_at(at, ctx);
            }
            self.later.pop();
            if let Some(open) = self.orders.get_mut(&id)
                && open.waits_until == Some(at)
            {
                open.waits_until = None;
                self.dispatcher.push(open.owner, open.turn, open.priority);
            }
        }
    }

    /// Takes an order out of the line and its slot back.
    fn release(&mut self, id: OrderId) {
        if let Some(open) = self.orders.get_mut(&id) {
            open.waits_until = None;
            self.dispatcher.remove(open.owner, open.turn, open.priority);
            if std::mem::take(&mut open.running) {
                self.dispatcher.give_back(open.owner);
            }
            if std::mem::take(&mut open.undecided) {
                self.dispatcher.remove_undecided(open.owner);
            }
        }
    }

    /// Counts an order that is open, or about to be, for its user.
    fn count_in(&mut self, owner: Owner) {
        if let Some(user) = owner.user() {
            *self.open_of_users.entry(user).or_default() += 1;
        }
    }

    fn count_out(&mut self, owner: Owner) {
        if let Some(user) = owner.user()
            && let Entry::Occupied(mut open) = self.open_of_users.entry(user)
        {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }

    fn watch_clock(&mut self) {
        if let Some(step) = self.clock_watch.check(self.clock.read()) {
            tracing::warn!(
                milliseconds = step.by.num_milliseconds(),
                "the wall clock stepped; waits are measured otherwise"
            );
        }
    }

    /// Notes an order that cannot be read: it is never run, and a swap of it that may still land counts as live.
    fn set_aside_unreadable(&mut self, order: &UnreadableOrder) {
        match order.owner {
            Some(owner) if order.may_be_live => self.dispatcher.add_undecided(owner),
            _ => self.unreadable += 1,
        }
    }

    fn forget(&mut self, id: OrderId) {
        if let Some(open) = self.orders.remove(&id) {
            self.count_out(open.owner);
            open.waiting.into_iter().for_each(|waiting| drop(waiting.send(OrderLocation::NotLive)));
        }
        if self.orders.is_empty()
            && let Some(drained) = &mut self.draining
        {
            for drained in drained.drain(..) {
                let _ = drained.send(());
            }
        }
    }
}

/// What the clocks said at the latest dispatch, where that was within this boot: a step since then is noticed.
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
        ctx.run_interval(Self::CLOCK_LOOKED_AT_EVERY, |manager, _| manager.watch_clock());
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        // Full: do_send ignores bounds, and a child exits once. Closed: then the engine is going down anyway.
        self.supervisor.do_send(ChildExited { child: Child::OrderManager, panicked: std::thread::panicking() });
    }
}

impl Handler<Recover> for OrderManager {
    type Result = ();

    fn handle(&mut self, Recover { orders, unreadable }: Recover, ctx: &mut Self::Context) {
        for order in &unreadable {
            self.set_aside_unreadable(order);
        }
        for stored in orders {
            self.count_in(stored.order.owner);
            self.start(stored, ctx);
        }
    }
}

impl Handler<FindOrder> for OrderManager {
    type Result = ResponseFuture<OrderLocation>;

    fn handle(&mut self, FindOrder { owner, id }: FindOrder, _: &mut Self::Context) -> Self::Result {
        let found = match self.orders.get_mut(&id).filter(|open| open.owner == owner) {
            None => OrderLocation::NotLive,
            Some(OrderEntry { addr: Some(addr), .. }) => OrderLocation::Live(addr.clone()),
            Some(open) if open.set_aside || open.waiting.len() >= Self::MAX_WAITING => OrderLocation::Busy,
            Some(open) => {
                let (waiting, found) = oneshot::channel();
                open.waiting.push(waiting);
                return Box::pin(async move { found.await.unwrap_or(OrderLocation::Busy) });
            }
        };
        Box::pin(async move { found })
    }
}

impl Handler<RequestSlot> for OrderManager {
    type Result = ();

    fn handle(&mut self, RequestSlot { id, wait }: RequestSlot, ctx: &mut Self::Context) {
        self.release(id);
        let draining = self.draining.is_some();
        let Some(open) = self.orders.get_mut(&id) else { return };
        if draining {
            if let Some(addr) = &open.addr {
                // Full: do_send ignores bounds. Closed: it has stopped already, as it was to.
                addr.do_send(StopOrder);
            }
            return;
        }
        if wait.is_zero() {
            self.dispatcher.push(open.owner, open.turn, open.priority);
        } else {
            let until = self.clock.uptime().plus(wait);
            open.waits_until = Some(until);
            self.later.push(Reverse((until, id)));
            self.wake_at(until, ctx);
        }
        self.dispatch(ctx);
    }
}

impl Handler<OrderExited> for OrderManager {
    type Result = ();

    fn handle(&mut self, OrderExited { id, exit, subscribers }: OrderExited, ctx: &mut Self::Context) {
        crash_point("manager.exited");
        self.release(id);
        match exit {
            Exit::Broken if self.draining.is_none() => {
                if let Some(open) = self.orders.get_mut(&id) {
                    open.addr = None;
                    open.subscribers = subscribers;
                    self.restart_order(id, ctx);
                }
            }
            Exit::Ended | Exit::Parked | Exit::Broken => self.forget(id),
        }
        self.dispatch(ctx);
    }
}

impl Handler<SwapStuck> for OrderManager {
    type Result = ();

    /// The slot goes back, so that swaps nobody decides do not stop the orders of others.
    fn handle(&mut self, SwapStuck(id): SwapStuck, ctx: &mut Self::Context) {
        let Some(open) = self.orders.get_mut(&id).filter(|open| !open.undecided) else { return };
        open.undecided = true;
        self.dispatcher.add_undecided(open.owner);
        if std::mem::take(&mut open.running) {
            self.dispatcher.give_back(open.owner);
        }
        self.dispatch(ctx);
    }
}

impl Handler<GetQueueStats> for OrderManager {
    type Result = QueueStats;

    fn handle(&mut self, _: GetQueueStats, _: &mut Self::Context) -> Self::Result {
        self.watch_clock();
        let now = self.clock.uptime();
        QueueStats {
            open: self.orders.len(),
            running: self.dispatcher.running(),
            queued: self.dispatcher.waiting() + self.later.len(),
            stuck: self.dispatcher.undecided() + self.set_aside + self.unreadable,
            admitting: self.draining.is_none(),
            held_up: self.dispatcher.is_held_up(),
            oldest_waiting: self.dispatcher.oldest().map(|accepted| now.since(accepted)),
            clock_step: self.clock_watch.recent(now).map(|step| (step, now.since(step.detected))),
            clock_steps: self.clock_watch.steps(),
        }
    }
}

impl Handler<Drain> for OrderManager {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Drain(deadline): Drain, ctx: &mut Self::Context) -> Self::Result {
        crash_point("manager.draining");
        let (drained, all) = oneshot::channel();
        self.draining.get_or_insert_default().push(drained);
        self.orders.retain(|_, open| open.addr.is_some());
        for open in self.orders.values().filter(|open| !open.running) {
            if let Some(addr) = &open.addr {
                // Full: do_send ignores bounds. Closed: it has stopped already, as it was to.
                addr.do_send(StopOrder);
            }
        }
        ctx.run_later(deadline, |manager, _| {
            for addr in manager.orders.values().filter_map(|open| open.addr.as_ref()) {
                // As above.
                addr.do_send(StopOrder);
            }
        });
        if self.orders.is_empty()
            && let Some(drained) = &mut self.draining
        {
            for drained in drained.drain(..) {
                let _ = drained.send(());
            }
        }
        Box::pin(async move {
            let _ = all.await;
        })
    }
}
