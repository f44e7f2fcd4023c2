//! What is made of an order whose actor broke.

use std::sync::Arc;

use actix::prelude::*;
use chrono::TimeDelta;

use crate::actors::order;
use crate::actors::order_manager::{OrderLocation, OrderManager, Subscribers};
use crate::actors::persistence::{LoadOrder, Persistence, RecordError, record};
use crate::config::Settings;
use crate::domain::id::OrderId;
use crate::domain::lifecycle::{OrderEvent, OrderState};
use crate::domain::retry::{Failure, FailureCode, base_delay, may_retry};
use crate::runtime::clock::Clock;
use crate::runtime::crash_points::crash_point;
use crate::runtime::jitter::jittered;
use crate::store::{ReadError, StoredOrder, UnreadableOrder, Write};

impl OrderManager {
    /// Has a broken order loaded and its fall recorded.
    pub(super) fn restart_order(&mut self, id: OrderId, ctx: &mut Context<Self>) {
        let Some(open) = self.orders.get_mut(&id) else { return };
        open.restarts += 1;
        if open.restarts > Self::MAX_RESTARTS {
            tracing::error!(order_id = %id, restarts = open.restarts, "an order keeps breaking and is set aside until the next start");
            open.set_aside = true;
            self.set_aside += 1;
            open.subscribers = Subscribers::default();
            open.waiting.drain(..).for_each(|waiting| drop(waiting.send(OrderLocation::Busy)));
            return;
        }
        tracing::warn!(order_id = %id, restarts = open.restarts, "an order's actor broke and is started again");
        let (settings, clock, persistence) = (self.settings.clone(), self.clock, self.persistence.clone());
        let me = ctx.address();
        let restarts = open.restarts;
        actix::spawn(async move {
            crash_point("manager.reloading");
            let stored = restart_order(id, restarts, &settings, clock, &persistence).await;
            // Full: do_send ignores bounds, one a fall. Closed: then the process ends.
            me.do_send(OrderReloaded { id, stored });
        });
    }
}

/// A broken order as the store has it, with what has been made of its fall.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct OrderReloaded {
    id: OrderId,
    stored: Result<Option<StoredOrder>, Box<UnreadableOrder>>,
}

/// Loads a broken order; where nothing was sent its fall counts as a failed attempt, and that is recorded.
async fn restart_order(
    id: OrderId,
    restarts: u32,
    settings: &Settings,
    clock: Clock,
    persistence: &Addr<Persistence>,
) -> Result<Option<StoredOrder>, Box<UnreadableOrder>> {
    loop {
        let mut stored = match persistence.send(LoadOrder(id)).await {
            Ok(Ok(Some(stored))) => stored,
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(ReadError::UnreadableOrder(order))) => return Err(order),
            Ok(Err(error)) => {
                tracing::warn!(order_id = %id, %error, "a broken order cannot be loaded yet");
                tokio::time::sleep(settings.orders.backoff_initial).await;
                continue;
            }
            Err(_) => return Ok(None),
        };
        let now = clock.read();
        let wait = jittered(base_delay(settings.orders.backoff_initial, restarts));
        let attempt = stored.order.state().attempt();
        let failure = Failure::new(FailureCode::Internal, "the engine stumbled over this order");
        let event = match stored.order.state() {
            state if state.is_final() => return Ok(Some(stored)),
            OrderState::Submitted { .. } => {
                // The swap may land: the attempt goes on, only not in a tight circle.
                tokio::time::sleep(wait).await;
                return Ok(Some(stored));
            }
            _ if may_retry(FailureCode::Internal, attempt, settings.orders.max_attempts) => OrderEvent::AttemptFailed {
                failure,
                retry_at: now.at.max(stored.order.last().at) + TimeDelta::from_std(wait).unwrap_or_default(),
            },
            _ => OrderEvent::Failed(failure),
        };
        let recorded = match stored.order.propose(event, now) {
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
                return Ok(Some(stored));
            }
            Err(RecordError::LostRace { .. }) => {}
            Err(RecordError::Stopped) => return Ok(None),
            // Nothing about it can be written: start it as it is, until it has fallen too often.
            Err(_) => return Ok(Some(stored)),
        }
    }
}

impl Handler<OrderReloaded> for OrderManager {
    type Result = ();

    fn handle(&mut self, OrderReloaded { id, stored }: OrderReloaded, ctx: &mut Self::Context) {
        crash_point("manager.reloaded");
        match stored {
            Ok(Some(stored)) if self.draining.is_none() => self.start(stored, ctx),
            Ok(_) => self.forget(id),
            Err(order) => {
                self.forget(id);
                self.set_aside_unreadable(&order);
            }
        }
    }
}
