//! The order manager: who is let in, who may run, and who comes back after a fall.
//!
//! It knows every unfinished order. It gives out the slots (concurrency, the three priorities, the rate window), and
//! when an order's actor breaks it has the order loaded again and starts the next incarnation with the old audience.

mod admission;
mod mending;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use chrono::{DateTime, Utc};
use tokio::sync::oneshot;

pub use self::admission::{ANSWER_WITHIN, Submission, SubmitError, submit};
use super::caretaker::{Caretaker, Child, ChildExited};
use super::dex_router::{DexRouter, Venues};
use super::line::Line;
use super::order::{Announce, Audience, Channels, Exit, OpenOrder, OrderActor, Park, SlotGranted, World};
use super::persistence::Persistence;
use super::placement::Placement;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::limits::{DispatchQueue, RateWindow};
use crate::domain::order::Priority;
use crate::domain::tally::Tally;
use crate::domain::user::Owner;
use crate::faults::crash_point;
use crate::metrics::Metrics;
use crate::store::StoredOrder;

/// Asks where an unfinished order is reached.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Found")]
pub struct FindOrder {
    /// Who asks; another's order is not found.
    pub owner: Owner,
    /// Which.
    pub id: OrderId,
}

/// Where an order is reached.
#[derive(Clone, Debug)]
pub enum Found {
    /// Its actor.
    Live(Addr<OrderActor>),
    /// It has none: it has ended, or never was; the store knows.
    NotLive,
    /// It is being restarted and too many wait for that already.
    Busy,
}

/// An order waits for a slot, not before that moment; a slot that it holds goes back.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RequestSlot {
    /// Which.
    pub id: OrderId,
    /// Not to be dispatched before.
    pub not_before: Option<DateTime<Utc>>,
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
    pub audience: Audience,
}

/// An order's swap is undecided for longer than is healthy.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SwapStuck(pub OrderId);

/// Takes up orders that an earlier process left unfinished.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Recover(pub Vec<StoredOrder>);

/// Stops letting orders in and out, gives those that run until the deadline, and parks every other.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Drain(pub Duration);

/// Asks how things stand.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Standing")]
pub struct HowThingsStand;

/// How things stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, MessageResponse)]
pub struct Standing {
    /// Unfinished orders.
    pub open: usize,
    /// Orders that hold a slot.
    pub running: usize,
    /// Orders in line for a slot.
    pub queued: usize,
    /// Orders whose swap is undecided for too long, or that cannot be written.
    pub stuck: usize,
    /// Whether new orders are let in.
    pub admitting: bool,
}

/// Knows every unfinished order.
pub struct OrderManager {
    settings: Arc<Settings>,
    clock: Clock,
    persistence: Addr<Persistence>,
    caretaker: Addr<Caretaker>,
    router: Line<DexRouter>,
    venues: Venues,
    chain: Arc<dyn Chain>,
    announce: Option<Announce>,
    tally: Arc<Mutex<Tally>>,
    metrics: Metrics,
    channels: Arc<Channels>,
    homes: Vec<Placement>,
    next_home: usize,
    world: Option<Arc<World>>,
    orders: HashMap<OrderId, Open>,
    admitting: usize,
    // The keys of orders whose fate is not known yet: a repeat that cannot be stored either is told of the first.
    unsettled_keys: HashMap<(Owner, ClientKey), OrderId>,
    running: usize,
    queue: DispatchQueue,
    // Retries whose wait is not over; each is looked at again when its moment has come.
    later: BinaryHeap<Reverse<(DateTime<Utc>, OrderId)>>,
    window: RateWindow,
    wake: Option<(DateTime<Utc>, SpawnHandle)>,
    draining: Option<Vec<oneshot::Sender<()>>>,
}

/// What the manager knows of an unfinished order.
struct Open {
    owner: Owner,
    priority: Priority,
    // None while it is being restarted.
    addr: Option<Addr<OrderActor>>,
    running: bool,
    not_before: Option<DateTime<Utc>>,
    stuck: bool,
    falls: u32,
    // While it is being restarted: its audience, and who waits to reach it.
    audience: Audience,
    waiting: Vec<oneshot::Sender<Found>>,
    // Its place among the open orders of its owner.
    place: OpenOrder,
}

/// What the manager is made of.
#[allow(missing_docs, reason = "the fields are the actors and values they name")]
pub struct Parts {
    pub settings: Arc<Settings>,
    pub clock: Clock,
    pub persistence: Addr<Persistence>,
    pub caretaker: Addr<Caretaker>,
    pub router: Line<DexRouter>,
    pub venues: Venues,
    pub chain: Arc<dyn Chain>,
    pub announce: Option<Announce>,
    pub tally: Arc<Mutex<Tally>>,
    pub metrics: Metrics,
    pub channels: Arc<Channels>,
    /// Where order actors live, in turn.
    pub homes: Vec<Placement>,
    /// When orders were dispatched in the last minute.
    pub recent_dispatches: Vec<DateTime<Utc>>,
}

impl OrderManager {
    /// How many may wait for one order that is being restarted.
    const MAX_WAITING: usize = 256;
    /// An order that falls more often in one process is set aside until the next start.
    const MAX_FALLS: u32 = 20;

    /// A manager without orders.
    pub fn new(parts: Parts) -> Self {
        let window = RateWindow::new(parts.settings.orders.rate_limit_per_minute, parts.recent_dispatches);
        Self {
            settings: parts.settings,
            clock: parts.clock,
            persistence: parts.persistence,
            caretaker: parts.caretaker,
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
            running: 0,
            queue: DispatchQueue::default(),
            later: BinaryHeap::new(),
            window,
            wake: None,
            draining: None,
        }
    }

    fn world(&mut self, ctx: &mut Context<Self>) -> Arc<World> {
        let make = || {
            Arc::new(World {
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
        let submitted = order.state().live_swap().is_some();
        self.next_home = (self.next_home + 1) % self.homes.len();
        let open = self.orders.entry(id).or_insert_with(|| Open {
            owner,
            priority,
            addr: None,
            running: false,
            not_before: None,
            stuck: false,
            falls: 0,
            audience: Audience::default(),
            waiting: Vec::new(),
            place: self.channels.of(owner).open_order(),
        });
        let (audience, channel) = (std::mem::take(&mut open.audience), open.place.channel().clone());
        let addr = self.homes[self.next_home].start(move |_| OrderActor::new(order, live, audience, channel, world));
        // Nobody listens where a client has gone meanwhile.
        open.waiting.drain(..).for_each(|waiting| drop(waiting.send(Found::Live(addr.clone()))));
        open.addr = Some(addr);
        if submitted && !open.running {
            open.running = true;
            self.running += 1;
        }
    }

    /// Gives out what slots there are to those whose turn it is.
    fn dispatch(&mut self, ctx: &mut Context<Self>) {
        while self.draining.is_none() && self.running < self.settings.orders.max_concurrent && !self.queue.is_empty() {
            let now = self.clock.now();
            if let Err(free) = self.window.take(now) {
                return self.wake_at(free, ctx);
            }
            let Some(id) = self.queue.pop() else { return };
            crash_point("manager.dispatching");
            let Some(open) = self.orders.get_mut(&id) else { continue };
            open.running = true;
            self.running += 1;
            if let Some(addr) = &open.addr {
                // Full: do_send ignores bounds, one a request. Closed: its exit is on the way and gives the slot back.
                addr.do_send(SlotGranted(now));
            }
        }
    }

    fn wake_at(&mut self, at: DateTime<Utc>, ctx: &mut Context<Self>) {
        match self.wake {
            Some((earlier, _)) if earlier <= at => return,
            Some((_, timer)) => {
                ctx.cancel_future(timer);
            }
            None => {}
        }
        // One millisecond more, for timers have no finer grain.
        let timer = ctx.run_later(self.clock.until(at) + Duration::from_millis(1), |manager, ctx| {
            manager.wake = None;
            manager.line_up_due(ctx);
            manager.dispatch(ctx);
        });
        self.wake = Some((at, timer));
    }

    /// Puts those in line whose wait is over, and wakes up for the next.
    fn line_up_due(&mut self, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        while let Some(&Reverse((at, id))) = self.later.peek() {
            if at > now {
                return self.wake_at(at, ctx);
            }
            self.later.pop();
            if let Some(open) = self.orders.get_mut(&id)
                && open.not_before == Some(at)
            {
                open.not_before = None;
                self.queue.push(id, open.priority);
            }
        }
    }

    /// Takes an order out of the line and its slot back.
    fn release(&mut self, id: OrderId) {
        if let Some(open) = self.orders.get_mut(&id) {
            open.not_before = None;
            self.queue.remove(id, open.priority);
            if std::mem::take(&mut open.running) {
                self.running -= 1;
            }
        }
    }

    fn forget(&mut self, id: OrderId) {
        if let Some(open) = self.orders.remove(&id) {
            open.waiting.into_iter().for_each(|waiting| drop(waiting.send(Found::NotLive)));
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

impl Actor for OrderManager {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        // Full: do_send ignores bounds, and a child exits once. Closed: then the engine is going down anyway.
        self.caretaker.do_send(ChildExited { child: Child::OrderManager, panicked: std::thread::panicking() });
    }
}

impl Handler<Recover> for OrderManager {
    type Result = ();

    fn handle(&mut self, Recover(orders): Recover, ctx: &mut Self::Context) {
        for stored in orders {
            self.start(stored, ctx);
        }
    }
}

impl Handler<FindOrder> for OrderManager {
    type Result = ResponseFuture<Found>;

    fn handle(&mut self, FindOrder { owner, id }: FindOrder, _: &mut Self::Context) -> Self::Result {
        let found = match self.orders.get_mut(&id).filter(|open| open.owner == owner) {
            None => Found::NotLive,
            Some(Open { addr: Some(addr), .. }) => Found::Live(addr.clone()),
            Some(open) if open.stuck || open.waiting.len() >= Self::MAX_WAITING => Found::Busy,
            Some(open) => {
                let (waiting, found) = oneshot::channel();
                open.waiting.push(waiting);
                return Box::pin(async move { found.await.unwrap_or(Found::Busy) });
            }
        };
        Box::pin(async move { found })
    }
}

impl Handler<RequestSlot> for OrderManager {
    type Result = ();

    fn handle(&mut self, RequestSlot { id, not_before }: RequestSlot, ctx: &mut Self::Context) {
        self.release(id);
        let draining = self.draining.is_some();
        let Some(open) = self.orders.get_mut(&id) else { return };
        if draining {
            if let Some(addr) = &open.addr {
                // Full: do_send ignores bounds. Closed: it has stopped already, as it was to.
                addr.do_send(Park);
            }
            return;
        }
        match not_before {
            Some(at) if at > self.clock.now() => {
                open.not_before = Some(at);
                self.later.push(Reverse((at, id)));
                self.wake_at(at, ctx);
            }
            _ => self.queue.push(id, open.priority),
        }
        self.dispatch(ctx);
    }
}

impl Handler<OrderExited> for OrderManager {
    type Result = ();

    fn handle(&mut self, OrderExited { id, exit, audience }: OrderExited, ctx: &mut Self::Context) {
        crash_point("manager.exited");
        self.release(id);
        match exit {
            Exit::Broken if self.draining.is_none() => {
                if let Some(open) = self.orders.get_mut(&id) {
                    open.addr = None;
                    open.audience = audience;
                    self.mend(id, ctx);
                }
            }
            Exit::Ended | Exit::Parked | Exit::Broken => self.forget(id),
        }
        self.dispatch(ctx);
    }
}

impl Handler<SwapStuck> for OrderManager {
    type Result = ();

    fn handle(&mut self, SwapStuck(id): SwapStuck, _: &mut Self::Context) {
        if let Some(open) = self.orders.get_mut(&id) {
            open.stuck = true;
        }
    }
}

impl Handler<HowThingsStand> for OrderManager {
    type Result = Standing;

    fn handle(&mut self, _: HowThingsStand, _: &mut Self::Context) -> Self::Result {
        Standing {
            open: self.orders.len(),
            running: self.running,
            queued: self.queue.len() + self.later.len(),
            stuck: self.orders.values().filter(|open| open.stuck).count(),
            admitting: self.draining.is_none(),
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
                addr.do_send(Park);
            }
        }
        ctx.run_later(deadline, |manager, _| {
            for addr in manager.orders.values().filter_map(|open| open.addr.as_ref()) {
                // As above.
                addr.do_send(Park);
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
