//! A subscription to one order, for programs that embed the engine.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::mpsc;

use crate::actors::order::{OrderUpdate, Subscriber};
use crate::domain::id::OrderId;
use crate::domain::order::RecordedEvent;
use crate::domain::user::Owner;
use crate::runtime::placement::Placement;
use crate::service::orders::{OrderService, OrderSubscription, ServiceError, Watched};

/// The recorded events of one order, from the first to the last. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    history: VecDeque<Arc<RecordedEvent>>,
    // None after the last event.
    updates: Option<mpsc::Receiver<Arc<RecordedEvent>>>,
    // The sequence number of the last event that was returned.
    returned: u32,
    // None if the order had ended before.
    source: Option<OrderSubscription>,
}

impl Subscription {
    /// How many events may wait to be read.
    const CAPACITY: usize = 256;

    /// Subscribes to an order; its updates are forwarded on that thread.
    pub(super) async fn start(
        service: &OrderService,
        thread: &Placement,
        owner: Owner,
        id: OrderId,
    ) -> Result<Self, ServiceError> {
        let (sender, updates) = mpsc::channel(Self::CAPACITY);
        let forwarder = thread.start(move |_| UpdateForwarder { updates: sender });
        let watched = service.watch(owner, id, Subscriber::new(forwarder.recipient(), 1), 0).await?;
        Ok(match watched {
            Watched::Live(subscribed, source) => {
                Self { history: subscribed.history.into(), updates: Some(updates), returned: 0, source: Some(source) }
            }
            Watched::Ended(order) => {
                Self { history: order.history().to_vec().into(), updates: None, returned: 0, source: None }
            }
        })
    }

    /// The next event.
    ///
    /// Returns `None` after the last event of the order, and when the reader has fallen more than 256 events behind.
    pub async fn next(&mut self) -> Option<Arc<RecordedEvent>> {
        loop {
            let event = match self.history.pop_front() {
                Some(event) => event,
                None => self.updates.as_mut()?.recv().await?,
            };
            if event.seq > self.returned {
                self.returned = event.seq;
                if event.status.is_final() {
                    self.updates = None;
                }
                return Some(event);
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            source.end();
        }
    }
}

/// Forwards updates from the order's actor to a [`Subscription`].
struct UpdateForwarder {
    updates: mpsc::Sender<Arc<RecordedEvent>>,
}

impl Actor for UpdateForwarder {
    type Context = Context<Self>;
}

impl Handler<OrderUpdate> for UpdateForwarder {
    type Result = ();

    fn handle(&mut self, update: OrderUpdate, ctx: &mut Self::Context) {
        // A full or closed channel ends the subscription; the reader then gets `None`.
        let forwarded = match update {
            OrderUpdate::Step { step, .. } => self.updates.try_send(step).is_ok(),
            OrderUpdate::Behind => false,
        };
        if !forwarded {
            ctx.stop();
        }
    }
}
