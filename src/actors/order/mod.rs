//! The actor of one order: it owns the order from acceptance to its end, and nothing else changes the order.
//!
//! It reads the state, does the one thing that is due in it, has the outcome recorded, and only then publishes it. An
//! outcome that is not recorded is ignored: after a crash the next actor of the order reads the recorded state again.

mod build;
mod cancels;
mod channel;
mod context;
mod handlers;
mod log;
mod messages;
mod recording;
mod sign;
mod subscriber;
mod subscribers;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::timeout;
use tracing::Instrument;

use self::build::build;
use self::cancels::Cancels;
pub use self::channel::{Channel, Channels, Following, OpenOrder};
pub use self::context::{ANNOUNCED_EVERY, Announce, OrderContext};
pub(super) use self::log::log_event;
pub use self::messages::{
    Cancel, CancelError, Exit, GetOrder, OrderExited, ReportRecipients, RequestSlot, SendMissed, SlotGranted,
    StopOrder, Subscribe, Subscribed, SwapStuck, Unsubscribe,
};
pub use self::subscriber::{Missed, OrderUpdate, RenderedUpdate, Subscriber, TooManySubscribers};
pub use self::subscribers::Subscribers;
use crate::actors::dex_router::{RouteOrder, SwapEnded};
use crate::chain::{self, Sending};
use crate::domain::lifecycle::{OrderEvent, OrderState};
use crate::domain::moment::Uptime;
use crate::domain::order::Order;
use crate::domain::retry::{Failure, FailureCode, base_delay};
use crate::domain::routing::RoutingDecision;
use crate::domain::swap::{SignedSwap, Verdict};
use crate::runtime::crash_points::crash_point;
use crate::runtime::jitter::jittered;
use crate::venue::QuoteRequest;

/// The actor of one order.
pub struct OrderActor {
    order: Order,
    // The bytes of the live swap; present exactly while the state is `submitted`.
    live: Option<SignedSwap>,
    // The swap may have been sent by an earlier actor: ask the chain before the first send.
    ask_first: bool,
    context: Arc<OrderContext>,
    // Handed to the manager when the actor stops, so that a restart keeps them.
    subscribers: Subscribers,
    // The followers of all orders of the owner.
    channel: Arc<Channel>,
    // When the order fails, unless a swap is signed before.
    deadline: Uptime,
    // A write is in flight: until it settles, nothing else is started or decided.
    recording: bool,
    // Counts what was started. The outcome of abandoned work has an old number and is dropped.
    step: u64,
    // The work that was started last; starting other work cancels it.
    in_progress: Option<SpawnHandle>,
    cancels: Cancels,
    parking: bool,
    exit: Exit,
}

impl OrderActor {
    /// An actor for that order, with the bytes of its live swap if it has one, and the subscribers of its last actor.
    pub fn new(
        order: Order,
        live: Option<SignedSwap>,
        subscribers: Subscribers,
        channel: Arc<Channel>,
        context: Arc<OrderContext>,
    ) -> Self {
        let now = context.environment.clock.read();
        let timeout = context.settings.orders.timeout_of(&order.request.kind);
        let deadline = now.moment.uptime.minus(order.accepted().age(now)).plus(timeout);
        Self {
            order,
            deadline,
            ask_first: live.is_some(),
            live,
            context,
            subscribers,
            channel,
            recording: false,
            step: 0,
            in_progress: None,
            cancels: Cancels::default(),
            parking: false,
            // A panic leaves it at that; every other stop replaces it.
            exit: Exit::Broken,
        }
    }

    /// Does what is due in the current state.
    fn advance(&mut self, ctx: &mut Context<Self>) {
        if self.recording {
            return;
        }
        if self.parking {
            return self.stop(Exit::Parked, ctx);
        }
        if self.is_suspended() {
            return;
        }
        if !self.cancels.is_empty() && !self.order.state().is_final() {
            return self.decide_cancels(ctx);
        }
        if self.is_out_of_time() {
            return self.record(OrderEvent::Failed(self.timeout_failure()), None, ctx);
        }
        fail::fail_point!("order", self.is_poisoned(), |_| unreachable!("this fail point only panics"));
        match self.order.state().clone() {
            // Full: do_send ignores bounds, and an order requests one slot at a time. Closed: the engine is shutting down.
            OrderState::Pending { .. } => {
                let wait = self.order.retry_wait(self.context.environment.clock.read());
                self.context.manager.request_slot.do_send(RequestSlot { id: self.order.id, wait })
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
        let request = QuoteRequest { id: self.order.id.0, round: attempt, order: self.order.request_on_terms() };
        // The router keeps the routing deadline. This one covers a router that has stopped.
        let max_wait = self.context.settings.routing_timeout * 2;
        let answer = timeout(max_wait, self.context.router.with(|router| router.route.send(RouteOrder(request))));
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
        let built = build(self.context.clone(), order.id, attempt, order.request_on_terms(), decision.clone(), decided);
        self.begin(built, "order.signed", ctx, |actor, built, ctx| match built {
            Ok(signed) => actor.record(OrderEvent::Submitted(Arc::new(signed.swap.clone())), Some(signed), ctx),
            Err(failure) => actor.attempt_failed(failure, ctx),
        });
    }

    fn settle(&mut self, ctx: &mut Context<Self>) {
        let Some(signed) = self.live.clone() else {
            tracing::error!(order_id = %self.order.id, "a submitted order has no bytes of its swap");
            return self.stop(Exit::Broken, ctx);
        };
        let (chain, resend) = (self.context.chain.clone(), self.context.settings.chain.resend);
        let token_out = self.order.request.token_out.mint.clone();
        let sending = match (self.context.suspended, std::mem::replace(&mut self.ask_first, true)) {
            (true, _) => Sending::Never,
            (false, true) => Sending::AfterAsking,
            (false, false) => Sending::AtOnce,
        };
        let verdict = async move { chain::settle(&*chain, &signed, &token_out, resend, sending).await };
        self.begin(verdict, "order.decided", ctx, |actor, verdict, ctx| {
            let Some(swap) = actor.order.state().live_swap().cloned() else { return };
            let ended = SwapEnded { venue: swap.venue, landed: matches!(verdict, Verdict::Landed(_)) };
            // Full: do_send ignores bounds, one per swap. Closed: a restarted router starts a new record anyway.
            actor.context.router.with(|router| router.swap_ended.do_send(ended));
            match verdict {
                Verdict::Landed(fill) => actor.record(OrderEvent::Confirmed { swap, fill }, None, ctx),
                Verdict::Rejected(failure, _) => actor.attempt_failed(failure, ctx),
                Verdict::Expired => {
                    let message = "the swap's last valid block has passed and the chain does not know its signature";
                    actor.attempt_failed(Failure::new(FailureCode::SwapExpired, message), ctx);
                }
                Verdict::Undecided => unreachable!("the chain is asked until it has decided"),
            }
        });
    }

    /// Decides what follows a failed attempt. Called only if no swap can land any more.
    fn attempt_failed(&mut self, failure: Failure, ctx: &mut Context<Self>) {
        let now = self.context.environment.clock.read();
        let orders = &self.context.settings.orders;
        let wait = jittered(
            base_delay(orders.backoff_initial, self.order.state().attempt()),
            &self.context.environment.random,
        );
        // If the order is out of time, the next step fails it: the failure of this attempt is recorded first.
        let event = self.order.after_failed_attempt(failure, now, wait, orders.max_attempts);
        self.record_at(now, event, None, ctx);
    }

    /// Runs work beside the mailbox, and continues with its outcome unless the order has moved on since.
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
        let started = ctx.spawn(work.instrument(span).into_actor(self).map(move |outcome, actor, ctx| {
            crash_point(crash);
            if actor.step == step {
                then(actor, outcome, ctx);
            }
        }));
        if let Some(abandoned) = self.in_progress.replace(started) {
            ctx.cancel_future(abandoned);
        }
    }

    /// Decides the waiting cancels. Called only while no write is in flight and the order has not ended.
    fn decide_cancels(&mut self, ctx: &mut Context<Self>) {
        crash_point("order.cancelling");
        match self.order.state() {
            OrderState::Submitted { cancel_requested: false, .. } => {
                self.record(OrderEvent::CancelRequested, None, ctx)
            }
            OrderState::Submitted { .. } => {
                self.cancels.answer(&self.order);
                self.advance(ctx);
            }
            _ => self.record(OrderEvent::Cancelled(None), None, ctx),
        }
    }

    fn sound_alarm_later(&mut self, ctx: &mut Context<Self>) {
        let attempt = self.order.state().attempt();
        let undecided_for = self.order.undecided_for(self.context.environment.clock.read()).unwrap_or_default();
        ctx.run_later(self.context.settings.chain.alarm.saturating_sub(undecided_for), move |actor, _| {
            if actor.order.state().live_swap().is_some() && actor.order.state().attempt() == attempt {
                tracing::warn!(order_id = %actor.order.id, attempt, "a swap is undecided for too long");
                // Full: do_send ignores bounds, one per swap. Closed: the engine is shutting down.
                actor.context.manager.swap_stuck.do_send(SwapStuck(actor.order.id));
            }
        });
    }

    /// Whether the next step is the operator's: the order may have been swapped after the backup, so it neither goes on
    /// nor ends here.
    fn is_suspended(&self) -> bool {
        let state = self.order.state();
        self.context.suspended && !state.is_final() && state.live_swap().is_none()
    }

    fn is_out_of_time(&self) -> bool {
        let state = self.order.state();
        !self.is_suspended()
            && !state.is_final()
            && state.live_swap().is_none()
            && self.context.environment.clock.uptime() >= self.deadline
    }

    fn timeout_failure(&self) -> Failure {
        let limit = self.context.settings.orders.timeout_of(&self.order.request.kind).as_millis();
        Failure::new(FailureCode::Timeout, format!("no swap was signed within {limit} ms"))
    }

    fn stop(&mut self, exit: Exit, ctx: &mut Context<Self>) {
        self.exit = exit;
        ctx.stop();
    }

    /// The fail points of the fault tests apply to orders whose client order id starts with `poison`.
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
            let left = self.deadline.since(self.context.environment.clock.uptime());
            ctx.run_later(left + Duration::from_millis(1), |actor, ctx| {
                if !actor.recording && actor.is_out_of_time() {
                    actor.record(OrderEvent::Failed(actor.timeout_failure()), None, ctx);
                }
            });
            if self.live.is_some() {
                self.sound_alarm_later(ctx);
            }
            if let Some(announce) = self.context.announce.clone() {
                ctx.run_interval(jittered(ANNOUNCED_EVERY, &self.context.environment.random), move |actor, _| {
                    announce(&actor.order, &[])
                });
            }
        }
        match self.order.state() {
            // The last actor of the order stopped here; nothing was sent.
            OrderState::Routing { .. } | OrderState::Building { .. } if !self.is_suspended() => {
                self.record(OrderEvent::Interrupted, None, ctx)
            }
            _ => self.advance(ctx),
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        crash_point("order.stopped");
        // Also runs while a panic unwinds, so nothing here may fail. Full: do_send ignores bounds, one per actor.
        // Closed: the manager has stopped, and the next start of the engine loads the order as it is recorded.
        self.context.manager.order_exited.do_send(OrderExited {
            id: self.order.id,
            exit: if std::thread::panicking() { Exit::Broken } else { self.exit },
            subscribers: std::mem::take(&mut self.subscribers),
        });
    }
}
