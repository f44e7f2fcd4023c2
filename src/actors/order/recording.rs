//! How an event becomes part of the order: it is recorded first, then applied, then published.

use std::sync::Arc;

use actix::prelude::*;

use crate::actors::order::OrderActor;
use crate::actors::order::log::log_event;
use crate::actors::order::messages::Exit;
use crate::actors::persistence::RecordError;
use crate::domain::lifecycle::OrderEvent;
use crate::domain::moment::Now;
use crate::domain::order::RecordedEvent;
use crate::domain::swap::SignedSwap;
use crate::runtime::crash_points::crash_point;
use crate::store::{Write, Written};

impl OrderActor {
    /// Has an event recorded, and then applies it.
    pub(super) fn record(&mut self, event: OrderEvent, signed: Option<SignedSwap>, ctx: &mut Context<Self>) {
        self.record_at(self.context.environment.clock.read(), event, signed, ctx);
    }

    pub(super) fn record_at(
        &mut self,
        now: Now,
        event: OrderEvent,
        signed: Option<SignedSwap>,
        ctx: &mut Context<Self>,
    ) {
        if let Some(recorded) = self.propose(event, now, ctx) {
            let write =
                Write::step(self.context.environment.random_id(), &self.order, recorded.clone(), signed.as_ref());
            self.write(write, recorded, signed, ctx);
        }
    }

    pub(super) fn propose(
        &mut self,
        event: OrderEvent,
        now: Now,
        ctx: &mut Context<Self>,
    ) -> Option<Arc<RecordedEvent>> {
        match self.order.propose(event, now) {
            Ok(recorded) => Some(Arc::new(recorded)),
            Err(illegal) => {
                tracing::error!(order_id = %self.order.id, %illegal, "an illegal step was proposed");
                debug_assert!(false, "{illegal}");
                self.stop(Exit::Broken, ctx);
                None
            }
        }
    }

    pub(super) fn write(
        &mut self,
        write: Write,
        recorded: Arc<RecordedEvent>,
        signed: Option<SignedSwap>,
        ctx: &mut Context<Self>,
    ) {
        crash_point("order.recording");
        self.recording = true;
        self.step += 1;
        // Dropped with the actor: the write may still happen, and the next actor of the order reads the outcome.
        let answer = self.context.persistence.record(write, None);
        ctx.spawn(answer.into_actor(self).map(move |answer, actor, ctx| match answer {
            Ok(Written::Stored) => actor.recorded(recorded, signed, ctx),
            Ok(Written::Duplicate(_) | Written::DuplicateOfUnreadable) => unreachable!("only new orders have keys"),
            Err(RecordError::Expired) => unreachable!("a step never expires"),
            Err(RecordError::Stopped) => actor.stop(Exit::Parked, ctx),
            Err(error) => {
                tracing::warn!(order_id = %actor.order.id, %error, "an event was not recorded");
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
            // The swap is recorded, so from here on it may be sent.
            self.live = signed;
            self.ask_first = false;
            self.sound_alarm_later(ctx);
        } else if self.order.state().live_swap().is_none() {
            self.live = None;
        }
        log_event(&self.order, &recorded);
        self.publish();
        crash_point("order.shown");
        self.cancels.answer(&self.order);
        self.advance(ctx);
    }

    /// Sends the new events to every subscriber and follower, and counts and announces them.
    pub(super) fn publish(&mut self) {
        let order = &self.order;
        let published = self.subscribers.published(order.last().seq);
        self.context.metrics.count(order, published);
        if let Some(announce) = &self.context.announce {
            // Of an order from an earlier process only the last event is announced, not its whole history.
            announce(order, order.history_after(published.unwrap_or(order.last().seq - 1)));
        }
        for _ in 0..self.subscribers.send(order, &self.channel) {
            self.context.metrics.listener_dropped();
        }
    }
}
