//! How an order is let in: durable first, then alive.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::actors::order;
use crate::actors::order_manager::OrderManager;
use crate::actors::persistence::{FindKey, LoadOrder, Persistence, RecordError, record};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::order::{Order, OrderRequest};
use crate::domain::user::Owner;
use crate::runtime::crash_points::crash_point;
use crate::store::{ReadError, StoredOrder, Write, Written};

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
    /// As many orders of the user are open as one may have; nothing was stored.
    #[error("as many orders of this user are open as one may have")]
    UserFull,
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
    /// The key belongs to an order that is stored in a way that this version cannot read, if its id can be read to this
    /// one; nothing was stored.
    #[error("the key belongs to an order that cannot be read")]
    Unreadable(Option<OrderId>),
    /// The order manager is gone, and whether it stored the order before is not known; repeat with the same key.
    #[error("the engine broke while it took the order in")]
    Broken,
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

/// Finds the order that a key belongs to, where no new one is let in.
async fn known(
    owner: Owner,
    key: Option<ClientKey>,
    request: &OrderRequest,
    persistence: &Addr<Persistence>,
    otherwise: SubmitError,
) -> Result<Submission, SubmitError> {
    let Some(key) = key else { return Err(otherwise) };
    match persistence.send(FindKey { owner, key }).await {
        Ok(Ok(Some(id))) => repeated(id, request, persistence).await,
        Ok(Err(ReadError::UnreadableRow(_))) => Err(SubmitError::Unreadable(None)),
        _ => Err(otherwise),
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
        Ok(Err(ReadError::UnreadableOrder(_))) => Err(SubmitError::Unreadable(Some(id))),
        // It is stored; only what it says cannot be read just now.
        Ok(Ok(None) | Err(_)) | Err(_) => Err(SubmitError::OutcomeUnknown(id)),
    }
}

impl OrderManager {
    /// Why no further order of that owner is let in just now.
    fn full(&self, owner: Owner) -> Option<SubmitError> {
        let orders = &self.settings.orders;
        let open = |user| self.open_of_users.get(&user).copied().unwrap_or_default();
        if owner.user().is_some_and(|user| open(user) >= orders.max_open_per_user) {
            return Some(SubmitError::UserFull);
        }
        (self.orders.len() + self.admitting >= orders.max_open).then_some(SubmitError::Full)
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
        if let Some(full) = self.full(owner) {
            // A repeat of an order that was let in is answered however full the house is.
            actix::spawn(async move {
                let known = timeout(ANSWER_WITHIN, known(owner, key, &request, &persistence, full.clone())).await;
                let _ = reply.send(known.unwrap_or(Err(full)));
            });
            return;
        }
        self.admitting += 1;
        self.count_in(owner);
        let order = Order::accept(OrderId(Uuid::now_v7()), owner, request.clone(), self.clock.read());
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
                Ok(Written::DuplicateOfUnreadable) => Err(SubmitError::Unreadable(None)),
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
                return self.start(StoredOrder { order, live: None }, ctx);
            }
        }
        self.count_out(owner);
    }
}
