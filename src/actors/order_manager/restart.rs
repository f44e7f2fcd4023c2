//! The reload of an order whose actor broke.

use std::sync::Arc;

use crate::actors::order::{OrderContext, log_event};
use crate::actors::persistence::{LoadOrder, RecordError};
use crate::domain::id::OrderId;
use crate::domain::retry::{Failure, FailureCode, base_delay};
use crate::runtime::crash_points::crash_point;
use crate::runtime::jitter::jittered;
use crate::store::{ReadError, StoredOrder, UnreadableOrder, Write};

/// Loads an order whose actor broke for the `restarts`th time. Without a live swap, the break is recorded as a failed
/// attempt.
///
/// `None` if the order is not stored, or if persistence has stopped.
pub(super) async fn reload(
    id: OrderId,
    restarts: u32,
    context: &OrderContext,
) -> Result<Option<StoredOrder>, Box<UnreadableOrder>> {
    crash_point("manager.reloading");
    let orders = &context.settings.orders;
    loop {
        let mut stored = match context.persistence.load_order.send(LoadOrder(id)).await {
            Ok(Ok(Some(stored))) => stored,
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(ReadError::UnreadableOrder(order))) => return Err(order),
            Ok(Err(error)) => {
                tracing::warn!(order_id = %id, %error, "a broken order cannot be loaded yet");
                tokio::time::sleep(orders.backoff_initial).await;
                continue;
            }
            Err(_) => return Ok(None),
        };
        let wait = jittered(base_delay(orders.backoff_initial, restarts), &context.environment.random);
        if stored.order.state().live_swap().is_some() {
            // The swap may land, so the attempt goes on. The wait keeps a repeated break from becoming a busy loop.
            tokio::time::sleep(wait).await;
            return Ok(Some(stored));
        }
        if stored.order.state().is_final() || context.suspended {
            return Ok(Some(stored));
        }
        let now = context.environment.clock.read();
        let failure = Failure::new(FailureCode::Internal, "internal error");
        let event = stored.order.after_failed_attempt(failure, now, wait, orders.max_attempts);
        let recorded = match stored.order.propose(event, now) {
            Ok(recorded) => Arc::new(recorded),
            Err(illegal) => unreachable!("an attempt can fail in every state without a live swap: {illegal}"),
        };
        match context
            .persistence
            .record(Write::step(context.environment.random_id(), &stored.order, recorded.clone(), None), None)
            .await
        {
            Ok(_) => {
                if let Err(illegal) = stored.order.apply(recorded.clone()) {
                    unreachable!("a proposed event is legal until it is recorded: {illegal}");
                }
                log_event(&stored.order, &recorded);
                return Ok(Some(stored));
            }
            Err(RecordError::LostRace { .. }) => {}
            Err(RecordError::Stopped) => return Ok(None),
            // Nothing can be written for this order. It is started as it is, until it has broken too often.
            Err(_) => return Ok(Some(stored)),
        }
    }
}
