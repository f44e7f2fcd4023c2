//! The order manager: who is let in, who may run, and who comes back after a fall.
//!
//! It knows every unfinished order. It gives out the slots (concurrency, the three priorities, the rate window), and
//! when an order's actor breaks it has the order loaded again and starts the next incarnation with the old audience.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use super::backoff::jittered;
use super::caretaker::{Caretaker, Child, ChildExited};
use super::dex_router::{DexRouter, Venues};
use super::line::Line;
use super::order::{
    self, Announce, Audience, Exit, Follow, OrderActor, Outlet, Park, SlotGranted, TooManySubscribers, World,
};
use super::persistence::{FindKey, LoadOrder, Persistence, RecordError, record};
use super::placement::Placement;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::lifecycle::{OrderEvent, OrderState};
use crate::domain::limits::{DispatchQueue, RateWindow};
use crate::domain::order::{Order, OrderRequest, Priority};
use crate::domain::retry::{Failure, FailureCode, base_delay, may_retry};
use crate::domain::tally::Tally;
use crate::domain::user::Owner;
use crate::faults::crash_point;
use crate::metrics::Metrics;
use crate::store::{StoredOrder, Write, Written};

/// Takes an order in; answered once it is durable, or certainly refused, or after [`ANSWER_WITHIN`].
///
/// Dropped: what has begun goes on, what is stored is run.
pub async fn submit(
    manager: &Addr<OrderManager>,
    owner: Owner,
    request: Arc<OrderRequest>,
    key: Option<ClientKey>,
) -> Result<Submission, SubmitError> {
    let (reply, answer) = oneshot::channel();
    // Full: do_send ignores bounds; each connection has one under way. Closed: then nobody answers.
    manager.do_send(SubmitOrder { owner, request, key, reply });
    answer.await.unwrap_or(Err(SubmitError::Broken))
}

/// A new order and the way back; as with a write, a task for each answer is what is saved.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct SubmitOrder {
    owner: Owner,
    request: Arc<OrderRequest>,
    key: Option<ClientKey>,
    reply: oneshot::Sender<Result<Submission, SubmitError>>,
}

/// A submit is answered within this time, whatever the database does.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(950);

/// An order that waits to be written is given up after this time: soon enough that the answer can still say so.
const WRITE_WITHIN: Duration = Duration::from_millis(900);

/// An order that was submitted.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The order.
    pub order: Order,
    /// Whether this submit made it; otherwise it is the order that the key belongs to already.
    pub created: bool,
}

/// Why an order was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As many orders are open as may be; nothing was stored.
    #[error("as many orders are open as may be")]
    Full,
    /// The engine is stopping; nothing was stored.
    #[error("the engine is stopping")]
    Stopping,
    /// The key belongs to another order; nothing was stored.
    #[error("the key belongs to another order")]
    KeyReused,
    /// The database could not be reached; nothing was or will be stored.
    #[error("the order could not be stored")]
    NotAccepted,
    /// The database did not say; ask for this order later, or repeat with the same key.
    #[error("it is not known yet whether order {0} was stored")]
    OutcomeUnknown(OrderId),
    /// The order manager is gone, and whether it stored the order before is not known; repeat with the same key.
    #[error("the engine broke while it took the order in")]
    Broken,
}

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

/// Adds a listener to every unfinished order and to each that is still to come, until it wants no more; answered with
/// how many are unfinished.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<usize, TooManySubscribers>")]
pub struct FollowAll {
    /// Whose orders.
    pub owner: Owner,
    /// Who listens.
    pub to: Outlet,
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

/// A new order's fate is known: it is durable, or will never be.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Admitted {
    id: OrderId,
    owner: Owner,
    key: Option<ClientKey>,
    order: Option<Order>,
}

/// A broken order as the store has it, with what has been made of its fall.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Mended {
    id: OrderId,
    stored: Option<StoredOrder>,
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
    // Who listens to every order; a new one is born with them in its audience.
    followers: Vec<(Owner, Outlet)>,
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
            followers: Vec::new(),
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
        self.followers.retain(|(_, follower)| follower.follows());
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
        });
        let mut audience = std::mem::take(&mut open.audience);
        let followers = self.followers.iter().filter(|(of, _)| *of == owner);
        followers.for_each(|(_, follower)| audience.follow(follower.clone()));
        let addr = self.homes[self.next_home].start(move |_| OrderActor::new(order, live, audience, world));
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

    /// Has a broken order loaded and its fall recorded.
    fn mend(&mut self, id: OrderId, ctx: &mut Context<Self>) {
        let Some(open) = self.orders.get_mut(&id) else { return };
        open.falls += 1;
        if open.falls > Self::MAX_FALLS {
            tracing::error!(order_id = %id, falls = open.falls, "an order keeps breaking and is set aside until the next start");
            open.stuck = true;
            open.audience = Audience::default();
            open.waiting.drain(..).for_each(|waiting| drop(waiting.send(Found::Busy)));
            return;
        }
        tracing::warn!(order_id = %id, falls = open.falls, "an order's actor broke and is started again");
        let (settings, clock, persistence) = (self.settings.clone(), self.clock, self.persistence.clone());
        let me = ctx.address();
        let falls = open.falls;
        actix::spawn(async move {
            crash_point("manager.mending");
            let stored = mend(id, falls, &settings, clock, &persistence).await;
            // Full: do_send ignores bounds, one a fall. Closed: then the process ends.
            me.do_send(Mended { id, stored });
        });
    }
}

/// Loads a broken order; where nothing was sent its fall counts as a failed attempt, and that is recorded.
async fn mend(
    id: OrderId,
    falls: u32,
    settings: &Settings,
    clock: Clock,
    persistence: &Addr<Persistence>,
) -> Option<StoredOrder> {
    loop {
        let mut stored = match persistence.send(LoadOrder(id)).await {
            Ok(Ok(stored)) => stored?,
            Ok(Err(error)) => {
                tracing::warn!(order_id = %id, %error, "a broken order cannot be loaded yet");
                tokio::time::sleep(settings.orders.backoff_initial).await;
                continue;
            }
            Err(_) => return None,
        };
        let wait = jittered(base_delay(settings.orders.backoff_initial, falls));
        let attempt = stored.order.state().attempt();
        let failure = Failure::new(FailureCode::Internal, "the engine stumbled over this order");
        let event = match stored.order.state() {
            state if state.is_final() => return Some(stored),
            OrderState::Submitted { .. } => {
                // The swap may land: the attempt goes on, only not in a tight circle.
                tokio::time::sleep(wait).await;
                return Some(stored);
            }
            _ if may_retry(FailureCode::Internal, attempt, settings.orders.max_attempts) => OrderEvent::AttemptFailed {
                failure,
                retry_at: clock.now() + TimeDelta::from_std(wait).unwrap_or_default(),
            },
            _ => OrderEvent::Failed(failure),
        };
        let recorded = match stored.order.propose(event, clock.now()) {
            Ok(recorded) => Arc::new(recorded),
            Err(illegal) => unreachable!("an attempt can fail wherever no swap is live: {illegal}"),
        };
        let write = Write::step(&stored.order, recorded.clone(), None);
        match record(persistence, write, None).await {
            Ok(_) => {
                if let Err(illegal) = stored.order.apply(recorded.clone()) {
                    unreachable!("what was proposed is legal until it is recorded: {illegal}");
                }
                order::log(&stored.order, &recorded);
                return Some(stored);
            }
            Err(RecordError::LostRace { .. }) => {}
            Err(RecordError::Stopped) => return None,
            // Nothing about it can be written: start it as it is, until it has fallen too often.
            Err(_) => return Some(stored),
        }
    }
}

/// Finds the order that a key belongs to, where no new one is let in.
async fn known(
    owner: Owner,
    key: Option<ClientKey>,
    request: &OrderRequest,
    persistence: &Addr<Persistence>,
) -> Result<Submission, SubmitError> {
    let Some(key) = key else { return Err(SubmitError::Full) };
    match persistence.send(FindKey { owner, key }).await {
        Ok(Ok(Some(id))) => repeated(id, request, persistence).await,
        _ => Err(SubmitError::Full),
    }
}

/// The order of that id, where it was asked for by the same request.
async fn repeated(
    id: OrderId,
    request: &OrderRequest,
    persistence: &Addr<Persistence>,
) -> Result<Submission, SubmitError> {
    match persistence.send(LoadOrder(id)).await {
        Ok(Ok(Some(StoredOrder { order, .. }))) if *order.request == *request => {
            Ok(Submission { order, created: false })
        }
        Ok(Ok(Some(_))) => Err(SubmitError::KeyReused),
        // It is stored; only what it says cannot be read just now.
        Ok(Ok(None) | Err(_)) | Err(_) => Err(SubmitError::OutcomeUnknown(id)),
    }
}

impl Actor for OrderManager {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        // Full: do_send ignores bounds, and a child exits once. Closed: then the engine is going down anyway.
        self.caretaker.do_send(ChildExited { child: Child::OrderManager, panicked: std::thread::panicking() });
    }
}

impl Handler<SubmitOrder> for OrderManager {
    type Result = ();

    fn handle(&mut self, SubmitOrder { owner, request, key, reply }: SubmitOrder, ctx: &mut Self::Context) {
        fail::fail_point!("manager", |_| unreachable!("this fail point only panics"));
        // Nobody listens to a reply where the client has gone; what is stored is run all the same.
        if self.draining.is_some() {
            let _ = reply.send(Err(SubmitError::Stopping));
            return;
        }
        let persistence = self.persistence.clone();
        if self.orders.len() + self.admitting >= self.settings.orders.max_open {
            // A repeat of an order that was let in is answered however full the house is.
            actix::spawn(async move {
                let known = timeout(ANSWER_WITHIN, known(owner, key, &request, &persistence)).await;
                let _ = reply.send(known.unwrap_or(Err(SubmitError::Full)));
            });
            return;
        }
        self.admitting += 1;
        let order = Order::accept(OrderId(Uuid::now_v7()), owner, request.clone(), self.clock.now());
        let id = order.id;
        let first = key.as_ref().map_or(id, |key| *self.unsettled_keys.entry((owner, key.clone())).or_insert(id));
        let me = ctx.address();
        // On its own, so that it goes on even where the client has left or been answered.
        actix::spawn(async move {
            crash_point("accept.asked");
            let expires = Instant::now() + WRITE_WITHIN;
            let mut written =
                std::pin::pin!(record(&persistence, Write::accept(order.clone(), key.clone()), Some(expires)));
            let (written, reply) = match timeout(ANSWER_WITHIN, &mut written).await {
                Ok(written) => (written, Some(reply)),
                Err(_) => {
                    let _ = reply.send(Err(SubmitError::OutcomeUnknown(first)));
                    (written.await, None)
                }
            };
            crash_point("accept.recorded");
            // Full: do_send ignores bounds, one a submit. Closed: then the process ends.
            let stored = (written == Ok(Written::Stored)).then(|| order.clone());
            me.do_send(Admitted { id, owner, key, order: stored });
            let Some(reply) = reply else { return };
            let _ = reply.send(match written {
                Ok(Written::Stored) => Ok(Submission { order, created: true }),
                Ok(Written::Duplicate(known)) => {
                    let found = timeout_at(expires, repeated(known, &request, &persistence)).await;
                    found.unwrap_or(Err(SubmitError::OutcomeUnknown(known)))
                }
                Err(RecordError::Expired) if first != id => Err(SubmitError::OutcomeUnknown(first)),
                Err(RecordError::Expired) => Err(SubmitError::NotAccepted),
                Err(error @ (RecordError::Refused(_) | RecordError::LostRace { .. })) => {
                    tracing::warn!(%error, "an order was not accepted");
                    Err(SubmitError::NotAccepted)
                }
                Err(RecordError::Stopped) => Err(SubmitError::OutcomeUnknown(id)),
            });
        });
    }
}

impl Handler<Admitted> for OrderManager {
    type Result = ();

    fn handle(&mut self, Admitted { id, owner, key, order }: Admitted, ctx: &mut Self::Context) {
        crash_point("accept.admitted");
        self.admitting -= 1;
        if let Some(key) = key.map(|key| (owner, key))
            && self.unsettled_keys.get(&key) == Some(&id)
        {
            self.unsettled_keys.remove(&key);
        }
        if let Some(order) = order {
            order::log(&order, order.last());
            // While the engine stops, the order stays where it is: durable, for the next start.
            if self.draining.is_none() {
                self.start(StoredOrder { order, live: None }, ctx);
            }
        }
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

impl Handler<FollowAll> for OrderManager {
    type Result = Result<usize, TooManySubscribers>;

    fn handle(&mut self, FollowAll { owner, to }: FollowAll, _: &mut Self::Context) -> Self::Result {
        self.followers.retain(|(_, follower)| follower.follows());
        let mut others = self.followers.iter().filter(|(of, _)| *of == owner);
        if !others.clone().any(|(_, follower)| follower.is(&to)) {
            if others.by_ref().count() >= self.settings.orders.max_subscribers {
                return Err(TooManySubscribers);
            }
            self.followers.push((owner, to.clone()));
        }
        let orders = self.orders.values().filter(|open| open.owner == owner);
        for addr in orders.clone().filter_map(|open| open.addr.as_ref()) {
            // Full: do_send ignores bounds, one a request. Closed: it has ended, or is started again with every follower.
            addr.do_send(Follow(to.clone()));
        }
        Ok(orders.count())
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

impl Handler<Mended> for OrderManager {
    type Result = ();

    fn handle(&mut self, Mended { id, stored }: Mended, ctx: &mut Self::Context) {
        crash_point("manager.mended");
        match stored {
            Some(stored) if self.draining.is_none() => self.start(stored, ctx),
            _ => self.forget(id),
        }
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
