//! What the actor does with each message.

use actix::prelude::*;

use crate::actors::order::OrderActor;
use crate::actors::order::messages::{
    Cancel, CancelError, Exit, GetOrder, SendMissed, SlotGranted, StopOrder, Subscribe, Subscribed, Unsubscribe,
};
use crate::actors::order::subscriber::TooManySubscribers;
use crate::actors::order::subscribers::Subscribers;
use crate::domain::lifecycle::{OrderEvent, OrderState};
use crate::domain::order::Order;
use crate::store::Write;

impl Handler<SlotGranted> for OrderActor {
    type Result = ();

    fn handle(&mut self, SlotGranted { now, number }: SlotGranted, ctx: &mut Self::Context) {
        // Otherwise another event is being recorded. It ends the order or leads to a new request: both return the slot.
        if !self.recording && matches!(self.order.state(), OrderState::Pending { .. }) {
            let Some(recorded) = self.propose(OrderEvent::Dispatched, now, ctx) else { return };
            self.write(
                Write::dispatch(self.context.environment.random_id(), &self.order, recorded.clone(), number),
                recorded,
                None,
                ctx,
            );
        }
    }
}

impl Handler<Subscribe> for OrderActor {
    type Result = Result<Subscribed, TooManySubscribers>;

    fn handle(&mut self, Subscribe { to, after_seq }: Subscribe, _: &mut Self::Context) -> Self::Result {
        let max = self.context.settings.orders.max_subscribers;
        let (seq, history) = (self.order.last().seq, self.order.history_after(after_seq).to_vec());
        // The answer holds the whole history, including what was missed.
        to.catch_up(self.order.id);
        let key = self.subscribers.subscribe(to, max)?;
        Ok(Subscribed { key, request: self.order.request.clone(), status: self.order.last().status, seq, history })
    }
}

impl Handler<Unsubscribe> for OrderActor {
    type Result = ();

    fn handle(&mut self, Unsubscribe(key): Unsubscribe, _: &mut Self::Context) {
        self.subscribers.unsubscribe(key);
    }
}

impl Handler<SendMissed> for OrderActor {
    type Result = ();

    fn handle(&mut self, SendMissed(to): SendMissed, _: &mut Self::Context) {
        if !Subscribers::send_missed(&self.order, &to) {
            self.context.metrics.listener_dropped();
        }
    }
}

impl Handler<Cancel> for OrderActor {
    type Result = ResponseFuture<Result<Order, CancelError>>;

    fn handle(&mut self, _: Cancel, ctx: &mut Self::Context) -> Self::Result {
        if self.context.suspended && !self.order.state().is_final() {
            return Box::pin(async { Err(CancelError::Suspended) });
        }
        let Some(answer) = self.cancels.add() else { return Box::pin(async { Err(CancelError::Busy) }) };
        if !self.recording {
            if self.order.state().is_final() {
                self.cancels.answer(&self.order);
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
