//! One order's actor: it owns the order from acceptance to its end, and is the only one that moves it on.
//!
//! It looks at where the order stands, does the one thing that is due there, has the outcome recorded, and only then
//! shows it. Whatever is not recorded has not happened: after a crash the next incarnation looks again.

mod build;
mod channel;
mod log;
mod subscriber;
mod subscribers;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use chrono::TimeDelta;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::Instrument;

use self::build::build;
pub use self::channel::{Channel, Channels, Following, OpenOrder};
pub(super) use self::log::log;
pub use self::subscriber::{Missed, OrderUpdate, RenderedUpdate, Subscriber};
pub use self::subscribers::Subscribers;
use crate::actors::dex_router::{DexRouter, RouteOrder, SwapEnded, Venues};
use crate::actors::order_manager::{OrderExited, OrderManager, RequestSlot, SwapStuck};
use crate::actors::persistence::{Persistence, RecordError, record};
use crate::actors::restartable_addr::RestartableAddr;
use crate::chain::{self, Chain};
use crate::config::Settings;
use crate::domain::lifecycle::{OrderEvent, OrderState, Status};
use crate::domain::moment::{Now, Uptime};
use crate::domain::order::{Order, OrderRequest, RecordedEvent};
use crate::domain::retry::{Failure, FailureCode, base_delay, may_retry};
use crate::domain::routing::RoutingDecision;
use crate::domain::swap::{SignedSwap, Verdict};
use crate::domain::tally::Tally;
use crate::runtime::clock::Clock;
use crate::runtime::crash_points::crash_point;
use crate::runtime::jitter::jittered;
use crate::store::{Write, Written};
use crate::telemetry::metrics::Metrics;
use crate::venue::QuoteRequest;

/// Adds a listener, and answers in the same turn with what was recorded after `after_seq`: nothing falls in between.
#[derive(Debug, Message)]
#[rtype(result = "Result<Subscribed, TooManySubscribers>")]
pub struct Subscribe {
    /// Who listens.
    pub to: Subscriber,
    /// What it has had already; 0 for nothing.
    pub after_seq: u32,
}

/// A subscription, and the story so far.
#[derive(Debug)]
pub struct Subscribed {
    /// Names the subscription when it is ended.
    pub key: u64,
    /// The order's request.
    pub request: Arc<OrderRequest>,
    /// Where the order stands.
    pub status: Status,
    /// The latest sequence number.
    pub seq: u32,
    /// What was recorded after the wanted sequence number.
    pub history: Vec<Arc<RecordedEvent>>,
}

/// The order has as many listeners as one may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this order has too many listeners")]
pub struct TooManySubscribers;

/// Ends a subscription.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Unsubscribe(pub u64);

/// Tells a listener what it has missed of the order, and nothing if that is nothing.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct TellMissed(pub Subscriber);

/// Cancels the order, if it is not too late.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Order, CancelError>")]
pub struct Cancel;

/// Why an order is not cancelled.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CancelError {
    /// A swap is signed and may land; the wish is kept, and granted if the swap dies.
    #[error("a swap is signed and may land at any moment")]
    TooLate(Box<Order>),
    /// The order has ended otherwise.
    #[error("the order has ended")]
    AlreadyEnded(Box<Order>),
    /// No answer can be given just now; ask again.
    #[error("no answer can be given just now")]
    Busy,
}

/// Asks for the order as it is recorded.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Order")]
pub struct GetOrder;

/// The manager's leave to begin an attempt.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SlotGranted {
    /// When it was given.
    pub now: Now,
    /// The dispatch's number.
    pub number: i64,
}

/// Stops the actor where the order stands; the next start takes it up again.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopOrder;

/// How an incarnation came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The order has ended.
    Ended,
    /// It was told to stop.
    Parked,
    /// It panicked, or could not write: another incarnation has to look again.
    Broken,
}

/// Tells everybody else where an order stands, and which steps are new; none where it is only still there.
///
/// Called on the order's own thread, so it may neither wait nor fail.
pub type Announce = Arc<dyn Fn(&Order, &[Arc<RecordedEvent>]) + Send + Sync>;

/// How often an order that waits is announced again, for what is announced of it is forgotten.
pub const ANNOUNCED_EVERY: Duration = Duration::from_secs(20);

/// What every order needs of the world.
pub struct OrderContext {
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// The time.
    pub clock: Clock,
    /// The order manager.
    pub manager: Addr<OrderManager>,
    /// Persistence.
    pub persistence: Addr<Persistence>,
    /// The router.
    pub router: RestartableAddr<DexRouter>,
    /// The venues.
    pub venues: Venues,
    /// The chain.
    pub chain: Arc<dyn Chain>,
    /// Tells everybody who is no subscriber, where there is a way to.
    pub announce: Option<Announce>,
    /// What has happened so far.
    pub tally: Arc<Mutex<Tally>>,
    /// The same and more, for the operator.
    pub metrics: Metrics,
}

/// One order, alive.
pub struct OrderActor {
    order: Order,
    // The bytes of the live swap: there while the state is `submitted`, and only then.
    live: Option<SignedSwap>,
    // A restart found the order `submitted`: the chain is asked before anything is sent.
    ask_first: bool,
    world: Arc<OrderContext>,
    // Handed to the manager when the actor stops, so that a restart keeps its subscribers.
    subscribers: Subscribers,
    // Who follows every order of the owner.
    channel: Arc<Channel>,
    // When its time is over, unless a swap is signed before.
    deadline: Uptime,
    // A write is under way: until it settles nothing else is begun or decided.
    recording: bool,
    // Counts what was begun, so that the outcome of something abandoned is recognised and dropped.
    step: u64,
    // What was begun last; it ends where something else begins.
    under_way: Option<SpawnHandle>,
    cancels: Vec<oneshot::Sender<Result<Order, CancelError>>>,
    parking: bool,
    exit: Exit,
}

impl OrderActor {
    /// More cancels than this of one order at one moment are answered `Busy`.
    const MAX_PARKED_CANCELS: usize = 64;

    /// An incarnation of that order, with the bytes of its live swap if it has one, and the subscribers of the last one.
    pub fn new(
        order: Order,
        live: Option<SignedSwap>,
        subscribers: Subscribers,
        channel: Arc<Channel>,
        world: Arc<OrderContext>,
    ) -> Self {
        let now = world.clock.read();
        let deadline = now.moment.uptime.minus(order.accepted().age(now)).plus(world.settings.orders.timeout);
        Self {
            order,
            deadline,
            ask_first: live.is_some(),
            live,
            world,
            subscribers,
            channel,
            recording: false,
            step: 0,
            under_way: None,
            cancels: Vec::new(),
            parking: false,
            // Until something better is known: a panic leaves it at that.
            exit: Exit::Broken,
        }
    }

    /// Does what is due where the order stands.
    fn advance(&mut self, ctx: &mut Context<Self>) {
        if self.recording {
            return;
        }
        if self.parking {
            return self.stop(Exit::Parked, ctx);
        }
        if !self.cancels.is_empty() && !self.order.state().is_final() {
            return self.decide_cancels(ctx);
        }
        if self.is_out_of_time() {
            return self.record(OrderEvent::Failed(self.timeout()), None, ctx);
        }
        fail::fail_point!("order", self.is_poisoned(), |_| unreachable!("this fail point only panics"));
        match self.order.state().clone() {
            // Full: do_send ignores bounds, and an order asks once a wait. Closed: then the engine is going down.
            OrderState::Pending { .. } => {
                let wait = self.order.retry_wait(self.world.clock.read());
                self.world.manager.do_send(RequestSlot { id: self.order.id, wait })
            }
            OrderState::Routing { attempt } => self.route(attempt, ctx),
            OrderState::Building { attempt, decision } => self.build(attempt, &decision, ctx),
            OrderState::Submitted { .. } => self.settle(ctx),
            OrderState::Confirmed { .. } | OrderState::Failed { .. } | OrderState::Cancelled { .. } => {
                self.stop(Exit::Ended, ctx)
            }
        }
    }

    fn route(&mut self, attempt: u32, ctx: &mut Context<Self>) {
        let request = QuoteRequest { id: self.order.id.0, round: attempt, order: self.order.request.clone() };
        // The router keeps the deadline; this one only covers a router that is gone.
        let patience = self.world.settings.routing_timeout * 2;
        let answer = timeout(patience, self.world.router.get().send(RouteOrder(request)));
        self.begin(answer, "order.quoted", ctx, |actor, answer, ctx| match answer {
            Ok(Ok(Ok(decision))) => actor.record(OrderEvent::Routed(Arc::new(decision)), None, ctx),
            Ok(Ok(Err(failure))) => actor.attempt_failed(failure, ctx),
            Ok(Err(_)) | Err(_) => {
                actor.attempt_failed(Failure::new(FailureCode::VenueUnavailable, "the router is being restarted"), ctx);
            }
        });
    }

    fn build(&mut self, attempt: u32, decision: &Arc<RoutingDecision>, ctx: &mut Context<Self>) {
        let (order, decided) = (&self.order, self.order.last().stamp());
        let built = build(self.world.clone(), order.id, attempt, order.request.clone(), decision.clone(), decided);
        self.begin(built, "order.signed", ctx, |actor, built, ctx| match built {
            Ok(signed) => actor.record(OrderEvent::Submitted(Arc::new(signed.swap.clone())), Some(signed), ctx),
            Err(failure) => actor.attempt_failed(failure, ctx),
        });
    }

    fn settle(&mut self, ctx: &mut Context<Self>) {
        let Some(signed) = self.live.clone() else {
            tracing::error!(order_id = %self.order.id, "a submitted order without the bytes of its swap");
            return self.stop(Exit::Broken, ctx);
        };
        let (chain, resend) = (self.world.chain.clone(), self.world.settings.chain.resend);
        let ask_first = std::mem::replace(&mut self.ask_first, true);
        let verdict = async move { chain::settle(&*chain, &signed, resend, ask_first).await };
        self.begin(verdict, "order.decided", ctx, |actor, verdict, ctx| {
            let Some(swap) = actor.order.state().live_swap().cloned() else { return };
            let ended = SwapEnded { venue: swap.venue, landed: matches!(verdict, Verdict::Landed(_)) };
            // Full: do_send ignores bounds, one a swap. Closed: a restarted router begins a new record anyway.
            actor.world.router.get().do_send(ended);
            match verdict {
                Verdict::Landed(fill) => actor.record(OrderEvent::Confirmed { swap, fill }, None, ctx),
                Verdict::Rejected(failure, _) => actor.attempt_failed(failure, ctx),
                Verdict::Expired => {
                    let gone = "the swap's blocks went by and the chain knows nothing of it";
                    actor.attempt_failed(Failure::new(FailureCode::SwapExpired, gone), ctx);
                }
                Verdict::Undecided => unreachable!("the chain is asked until it has decided"),
            }
        });
    }

    /// Decides what follows a failed attempt. Called only where no swap can land any more.
    fn attempt_failed(&mut self, failure: Failure, ctx: &mut Context<Self>) {
        let now = self.world.clock.read();
        let attempt = self.order.state().attempt();
        let orders = &self.world.settings.orders;
        let cancel_requested = matches!(self.order.state(), OrderState::Submitted { cancel_requested: true, .. });
        let event = if cancel_requested {
            OrderEvent::Cancelled(Some(failure))
        } else if !may_retry(failure.code, attempt, orders.max_attempts) {
            OrderEvent::Failed(failure)
        } else {
            // Where its time is over it fails in the next step: first it is told what became of this one.
            let wait = jittered(base_delay(orders.backoff_initial, attempt));
            // After the stamp that the event will have, which is later than the clock where that was set back.
            let failed_at = now.at.max(self.order.last().at);
            OrderEvent::AttemptFailed { failure, retry_at: failed_at + TimeDelta::from_std(wait).unwrap_or_default() }
        };
        self.record_at(now, event, None, ctx);
    }

    /// Runs something beside the mailbox, and goes on with its outcome unless the order has moved on meanwhile.
    fn begin<T: 'static>(
        &mut self,
        work: impl Future<Output = T> + 'static,
        crash: &'static str,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, T, &mut Context<Self>) + 'static,
    ) {
        self.step += 1;
        let step = self.step;
        let span = tracing::info_span!("attempt", order_id = %self.order.id, attempt = self.order.state().attempt());
        let begun = ctx.spawn(work.instrument(span).into_actor(self).map(move |outcome, actor, ctx| {
            crash_point(crash);
            if actor.step == step {
                then(actor, outcome, ctx);
            }
        }));
        if let Some(abandoned) = self.under_way.replace(begun) {
            ctx.cancel_future(abandoned);
        }
    }

    /// Has an event recorded, and then lives by it.
    fn record(&mut self, event: OrderEvent, signed: Option<SignedSwap>, ctx: &mut Context<Self>) {
        self.record_at(self.world.clock.read(), event, signed, ctx);
    }

    fn record_at(&mut self, now: Now, event: OrderEvent, signed: Option<SignedSwap>, ctx: &mut Context<Self>) {
        if let Some(recorded) = self.propose(event, now, ctx) {
            let write = Write::step(&self.order, recorded.clone(), signed.as_ref());
            self.write(write, recorded, signed, ctx);
        }
    }

    fn propose(&mut self, event: OrderEvent, now: Now, ctx: &mut Context<Self>) -> Option<Arc<RecordedEvent>> {
        match self.order.propose(event, now) {
            Ok(recorded) => Some(Arc::new(recorded)),
            Err(illegal) => {
                tracing::error!(order_id = %self.order.id, %illegal, "a step that cannot be");
                debug_assert!(false, "{illegal}");
                self.stop(Exit::Broken, ctx);
                None
            }
        }
    }

    fn write(
        &mut self,
        write: Write,
        recorded: Arc<RecordedEvent>,
        signed: Option<SignedSwap>,
        ctx: &mut Context<Self>,
    ) {
        crash_point("order.recording");
        self.recording = true;
        self.step += 1;
        // Dropped with the actor: the write happens or not, and the next incarnation reads which.
        let answer = record(&self.world.persistence, write, None);
        ctx.spawn(answer.into_actor(self).map(move |answer, actor, ctx| match answer {
            Ok(Written::Stored) => actor.recorded(recorded, signed, ctx),
            Ok(Written::Duplicate(_) | Written::DuplicateOfUnreadable) => unreachable!("only new orders have keys"),
            Err(RecordError::Expired) => unreachable!("a step never expires"),
            Err(RecordError::Stopped) => actor.stop(Exit::Parked, ctx),
            Err(error) => {
                tracing::warn!(order_id = %actor.order.id, %error, "a step was not recorded");
                actor.stop(Exit::Broken, ctx);
            }
        }));
    }

    fn recorded(&mut self, recorded: Arc<RecordedEvent>, signed: Option<SignedSwap>, ctx: &mut Context<Self>) {
        crash_point("order.recorded");
        self.recording = false;
        if let Err(illegal) = self.order.apply(recorded.clone()) {
            unreachable!("what was proposed is legal until it is recorded: {illegal}");
        }
        if signed.is_some() {
            // Not sent before: this is the first moment at which a crash could not forget it.
            self.live = signed;
            self.ask_first = false;
            self.sound_alarm_later(ctx);
        } else if self.order.state().live_swap().is_none() {
            self.live = None;
        }
        log(&self.order, &recorded);
        self.publish();
        crash_point("order.shown");
        self.answer_cancels();
        self.advance(ctx);
    }

    /// Tells every listener what it has not had.
    fn publish(&mut self) {
        let order = &self.order;
        let published = self.subscribers.published(order.last().seq);
        self.world.tally.lock().unwrap_or_else(PoisonError::into_inner).count(order, published);
        self.world.metrics.count(order, published);
        if let Some(announce) = &self.world.announce {
            // An order that an earlier process left behind says where it stands, not its whole story again.
            announce(order, order.history_after(published.unwrap_or(order.last().seq - 1)));
        }
        for _ in 0..self.subscribers.tell(order, &self.channel) {
            self.world.metrics.listener_dropped();
        }
    }

    /// Decides the cancels that wait; called while nothing is being recorded and the order has not ended.
    fn decide_cancels(&mut self, ctx: &mut Context<Self>) {
        crash_point("order.cancelling");
        match self.order.state() {
            OrderState::Submitted { cancel_requested: false, .. } => {
                self.record(OrderEvent::CancelRequested, None, ctx)
            }
            OrderState::Submitted { .. } => {
                self.answer_cancels();
                self.advance(ctx);
            }
            _ => self.record(OrderEvent::Cancelled(None), None, ctx),
        }
    }

    /// Answers the cancels whose fate is known.
    fn answer_cancels(&mut self) {
        let answer = match self.order.state() {
            OrderState::Cancelled { .. } => Ok(self.order.clone()),
            OrderState::Submitted { cancel_requested: true, .. } => {
                Err(CancelError::TooLate(Box::new(self.order.clone())))
            }
            state if state.is_final() => Err(CancelError::AlreadyEnded(Box::new(self.order.clone()))),
            _ => return,
        };
        for cancel in self.cancels.drain(..) {
            // Nobody listens where the client has gone; the cancel holds all the same.
            let _ = cancel.send(answer.clone());
        }
    }

    fn sound_alarm_later(&mut self, ctx: &mut Context<Self>) {
        let attempt = self.order.state().attempt();
        let undecided_for = self.order.undecided_for(self.world.clock.read()).unwrap_or_default();
        ctx.run_later(self.world.settings.chain.alarm.saturating_sub(undecided_for), move |actor, _| {
            if actor.order.state().live_swap().is_some() && actor.order.state().attempt() == attempt {
                tracing::warn!(order_id = %actor.order.id, attempt, "a swap is undecided for long");
                // Full: do_send ignores bounds, one a swap. Closed: then the engine is going down.
                actor.world.manager.do_send(SwapStuck(actor.order.id));
            }
        });
    }

    fn is_out_of_time(&self) -> bool {
        let state = self.order.state();
        !state.is_final() && state.live_swap().is_none() && self.world.clock.uptime() >= self.deadline
    }

    fn timeout(&self) -> Failure {
        let limit = self.world.settings.orders.timeout.as_millis();
        Failure::new(FailureCode::Timeout, format!("no swap was signed within {limit} ms"))
    }

    fn stop(&mut self, exit: Exit, ctx: &mut Context<Self>) {
        self.exit = exit;
        ctx.stop();
    }

    /// Chosen by the fault tests: an order whose client calls it `poison…` meets its fail points.
    #[cfg_attr(not(feature = "failpoints"), allow(dead_code, reason = "fail points are compiled out"))]
    fn is_poisoned(&self) -> bool {
        let poisoned = self.order.request.client_order_id.as_ref().is_some_and(|id| id.as_str().starts_with("poison"));
        poisoned && !self.order.state().is_final()
    }
}

impl Actor for OrderActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        crash_point("order.started");
        self.publish();
        if !self.order.state().is_final() {
            let left = self.deadline.since(self.world.clock.uptime());
            ctx.run_later(left + Duration::from_millis(1), |actor, ctx| {
                if !actor.recording && actor.is_out_of_time() {
                    actor.record(OrderEvent::Failed(actor.timeout()), None, ctx);
                }
            });
            if self.live.is_some() {
                self.sound_alarm_later(ctx);
            }
            if let Some(announce) = self.world.announce.clone() {
                ctx.run_interval(jittered(ANNOUNCED_EVERY), move |actor, _| announce(&actor.order, &[]));
            }
        }
        match self.order.state() {
            // An earlier incarnation got that far and no further; nothing was sent.
            OrderState::Routing { .. } | OrderState::Building { .. } => self.record(OrderEvent::Interrupted, None, ctx),
            _ => self.advance(ctx),
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        crash_point("order.stopped");
        // Also runs while a panic unwinds, so nothing here may fail. Full: do_send ignores bounds, one an incarnation.
        // Closed: then the manager is gone, and the next start finds the order where it was recorded.
        self.world.manager.do_send(OrderExited {
            id: self.order.id,
            exit: if std::thread::panicking() { Exit::Broken } else { self.exit },
            subscribers: std::mem::take(&mut self.subscribers),
        });
    }
}

impl Handler<SlotGranted> for OrderActor {
    type Result = ();

    fn handle(&mut self, SlotGranted { now, number }: SlotGranted, ctx: &mut Self::Context) {
        // Otherwise something else is being decided, and the slot goes back when that ends the order or asks anew.
        if !self.recording && matches!(self.order.state(), OrderState::Pending { .. }) {
            let Some(recorded) = self.propose(OrderEvent::Dispatched, now, ctx) else { return };
            self.write(Write::dispatch(&self.order, recorded.clone(), number), recorded, None, ctx);
        }
    }
}

impl Handler<Subscribe> for OrderActor {
    type Result = Result<Subscribed, TooManySubscribers>;

    fn handle(&mut self, Subscribe { to, after_seq }: Subscribe, _: &mut Self::Context) -> Self::Result {
        let most = self.world.settings.orders.max_subscribers;
        let (seq, history) = (self.order.last().seq, self.order.history_after(after_seq).to_vec());
        // The answer tells the whole story, also what was missed of it.
        to.catch_up(self.order.id);
        let key = self.subscribers.subscribe(to, most)?;
        Ok(Subscribed { key, request: self.order.request.clone(), status: self.order.last().status, seq, history })
    }
}

impl Handler<Unsubscribe> for OrderActor {
    type Result = ();

    fn handle(&mut self, Unsubscribe(key): Unsubscribe, _: &mut Self::Context) {
        self.subscribers.unsubscribe(key);
    }
}

impl Handler<TellMissed> for OrderActor {
    type Result = ();

    fn handle(&mut self, TellMissed(to): TellMissed, _: &mut Self::Context) {
        if !Subscribers::tell_missed(&self.order, &to) {
            self.world.metrics.listener_dropped();
        }
    }
}

impl Handler<Cancel> for OrderActor {
    type Result = ResponseFuture<Result<Order, CancelError>>;

    fn handle(&mut self, _: Cancel, ctx: &mut Self::Context) -> Self::Result {
        if self.cancels.len() >= Self::MAX_PARKED_CANCELS {
            return Box::pin(async { Err(CancelError::Busy) });
        }
        let (cancel, answer) = oneshot::channel();
        self.cancels.push(cancel);
        if !self.recording {
            if self.order.state().is_final() {
                self.answer_cancels();
            } else {
                self.decide_cancels(ctx);
            }
        }
        Box::pin(async move { answer.await.unwrap_or(Err(CancelError::Busy)) })
    }
}

impl Handler<GetOrder> for OrderActor {
    type Result = MessageResult<GetOrder>;

    fn handle(&mut self, _: GetOrder, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.order.clone())
    }
}

impl Handler<StopOrder> for OrderActor {
    type Result = ();

    fn handle(&mut self, _: StopOrder, ctx: &mut Self::Context) {
        self.parking = true;
        if !self.recording {
            self.stop(Exit::Parked, ctx);
        }
    }
}
