//! The order service: the use cases around orders, for clients outside the actors.
//!
//! Every call names the owner. An order of another owner is answered like an order that does not exist.
//!
//! The actor of an order may end or be restarted while it is being asked. The service then looks for it again, or reads
//! the order from the store if it has no actor any more. Callers do not see the difference.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use thiserror::Error;
use tokio::time::timeout;

use crate::actors::dex_router::{RouteOrder, RouterRecipients};
use crate::actors::order::{
    Cancel, CancelError, Channels, Following, GetOrder, OrderActor, SendMissed, Subscribe, Subscribed, Subscriber,
    TooManySubscribers, Unsubscribe,
};
use crate::actors::order_manager::{
    CloseBook, FindOrder, GetQueueStats, ManagerRecipients, OpenOrders, OrderLocation, QueueStats, ReopenBook,
    Submission, SubmitError,
};
use crate::actors::persistence::{DatabaseState, GetDatabaseState, ListOrders, LoadOrder, PersistenceRecipients};
use crate::actors::restartable_addr::RestartableAddr;
use crate::domain::id::OrderId;
use crate::domain::lifecycle::Status;
use crate::domain::order::Order;
use crate::domain::request::OrderRequest;
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::routing::RoutingDecision;
use crate::domain::user::{Owner, UserId};
use crate::runtime::environment::Environment;
use crate::service::new_order::NewOrder;
use crate::service::turns::Turns;
use crate::store::{ListFilter, Page, ReadError, StoredOrder};
use crate::venue::QuoteRequest;

/// The use cases around orders.
#[derive(Clone)]
pub struct OrderService {
    // Shared, because each socket has a clone of the service.
    manager: Arc<ManagerRecipients>,
    persistence: Arc<PersistenceRecipients>,
    router: RestartableAddr<RouterRecipients>,
    channels: Arc<Channels>,
    turns: Arc<Turns>,
    environment: Environment,
    // The deadline of each answer.
    timeout: Duration,
}

/// Why the service has no answer.
#[derive(Clone, Debug, Error)]
pub enum ServiceError {
    /// The order does not exist, or it belongs to another owner.
    #[error("there is no order {0}")]
    Unknown(OrderId),
    /// The stored order cannot be read by this version.
    #[error("order {0} is stored in a way that this version cannot read")]
    Unreadable(OrderId),
    /// There is no answer now. The same request may succeed later.
    #[error("temporarily unavailable")]
    Unavailable,
}

/// Why an order is not cancelled.
#[derive(Clone, Debug, Error)]
pub enum CancelRefused {
    /// The order refused.
    #[error(transparent)]
    ByOrder(CancelError),
    /// The order could not be asked.
    #[error(transparent)]
    ByService(#[from] ServiceError),
}

/// The first answer to a subscriber.
#[derive(Debug)]
pub enum Watched {
    /// The history so far. The subscriber receives what follows.
    Live(Subscribed, OrderSubscription),
    /// The order has ended; its history is complete.
    Ended(Order),
}

/// A subscription to one order. It ends with the order or with [`OrderSubscription::end`].
#[derive(Clone, Debug)]
pub struct OrderSubscription {
    actor: Addr<OrderActor>,
    key: u64,
}

impl OrderSubscription {
    /// Ends the subscription.
    pub fn end(&self) {
        // `do_send` ignores the mailbox bound; this is sent once for each subscription. A closed mailbox means that the
        // order has ended or was restarted; a restarted order drops its disconnected subscribers at the next update.
        self.actor.do_send(Unsubscribe(self.key));
    }
}

impl OrderService {
    /// A service in front of these actors. Each answer takes at most `timeout`.
    pub fn new(
        manager: ManagerRecipients,
        persistence: PersistenceRecipients,
        router: RestartableAddr<RouterRecipients>,
        channels: Arc<Channels>,
        environment: Environment,
        timeout: Duration,
    ) -> Self {
        let (manager, persistence) = (Arc::new(manager), Arc::new(persistence));
        Self { manager, persistence, router, channels, turns: Arc::new(Turns::new()), environment, timeout }
    }

    /// Submits an order. The order is durable when this returns `Ok`.
    ///
    /// A caller that stops waiting does not undo the submit. After [`SubmitError::Broken`] the order may be stored.
    pub async fn submit(&self, owner: Owner, order: NewOrder) -> Result<Submission, SubmitError> {
        let submitted = self.manager.submit(owner, order.request, order.key);
        // The manager has its own, shorter deadline. If this one passes, the manager does not respond at all, but it may
        // have stored the order.
        timeout(self.timeout, submitted).await.unwrap_or(Err(SubmitError::Broken))
    }

    /// One order, as it is recorded.
    pub async fn order(&self, owner: Owner, id: OrderId) -> Result<Order, ServiceError> {
        match self.ask_order(owner, id, || GetOrder).await? {
            Located::Live(_, order) => Ok(order),
            Located::NotLive | Located::Busy => self.stored(owner, id).await,
        }
    }

    /// Cancels an order. Returns the cancelled order, also if it was cancelled before.
    pub async fn cancel(&self, owner: Owner, id: OrderId) -> Result<Order, CancelRefused> {
        match self.ask_order(owner, id, || Cancel).await? {
            Located::Live(_, answer) => answer.map_err(CancelRefused::ByOrder),
            Located::NotLive => {
                let order = self.ended(owner, id).await?;
                match order.state().status() {
                    Status::Cancelled => Ok(order),
                    _ => Err(CancelRefused::ByOrder(CancelError::AlreadyEnded(Box::new(order)))),
                }
            }
            Located::Busy => Err(ServiceError::Unavailable.into()),
        }
    }

    /// Subscribes to an order. The answer contains the events after `after_seq`; the subscriber receives the next ones.
    pub async fn watch(
        &self,
        owner: Owner,
        id: OrderId,
        to: Subscriber,
        after_seq: u32,
    ) -> Result<Watched, ServiceError> {
        match self.ask_order(owner, id, || Subscribe { to: to.clone(), after_seq }).await? {
            Located::Live(actor, Ok(subscribed)) => {
                let key = subscribed.key;
                Ok(Watched::Live(subscribed, OrderSubscription { actor, key }))
            }
            Located::NotLive => self.ended(owner, id).await.map(Watched::Ended),
            Located::Live(_, Err(TooManySubscribers)) | Located::Busy => Err(ServiceError::Unavailable),
        }
    }

    /// Subscribes to all orders of an owner, until the result is dropped. Also returns how many are open now.
    pub fn follow(&self, owner: Owner, to: Subscriber) -> Result<(Following, usize), TooManySubscribers> {
        let channel = self.channels.of(owner);
        Ok((channel.follow(to)?, channel.open_orders()))
    }

    /// Sends a subscriber the events of an order that it has missed.
    ///
    /// A live order sends them itself, and the result is `None`. An order that has ended is returned; the caller sends
    /// its events and then removes the order from the subscriber's list of missed orders.
    pub async fn send_missed(&self, owner: Owner, id: OrderId, to: &Subscriber) -> Result<Option<Order>, ServiceError> {
        match self.ask_order(owner, id, || SendMissed(to.clone())).await? {
            Located::Live(_, ()) => Ok(None),
            Located::NotLive => {
                let turn = timeout(self.timeout, self.turns.catch_up()).await;
                let _turn = turn.map_err(|_| ServiceError::Unavailable)?;
                self.ended(owner, id).await.map(Some)
            }
            Located::Busy => Err(ServiceError::Unavailable),
        }
    }

    /// A page of orders, newest first.
    pub async fn list(&self, filter: ListFilter) -> Result<Page, ServiceError> {
        let list = async {
            let _turn = self.turns.list(filter.owner).await;
            self.persistence.list_orders.send(ListOrders(filter)).await
        };
        match timeout(self.timeout, list).await {
            Ok(Ok(page)) => page.map_err(|error| unavailable(&error)),
            Ok(Err(_)) | Err(_) => Err(ServiceError::Unavailable),
        }
    }

    /// Quotes of all venues, and the one that would win now.
    pub async fn quote(&self, order: Arc<OrderRequest>) -> Result<RoutingDecision, Failure> {
        let request = QuoteRequest { id: self.environment.time_ordered_id(), round: 1, order };
        let decision = self.router.with(|router| router.route.send(RouteOrder(request)));
        match timeout(self.timeout, decision).await {
            Ok(Ok(decision)) => decision,
            Ok(Err(_)) | Err(_) => Err(Failure::new(FailureCode::VenueUnavailable, "the router is being restarted")),
        }
    }

    /// How many orders are open, running and queued.
    pub async fn queue_stats(&self) -> Result<QueueStats, ServiceError> {
        self.answer(self.manager.queue_stats.send(GetQueueStats)).await
    }

    /// Admits no further order of a user, unless one is open. Without an answer the book may be closed.
    pub async fn close_book(&self, user: UserId) -> Result<Result<(), OpenOrders>, ServiceError> {
        self.answer(self.manager.close_book.send(CloseBook(user))).await
    }

    /// Admits orders of a user again.
    pub fn reopen_book(&self, user: UserId) {
        // Full: do_send ignores bounds, one per failed deletion. Closed: the engine is shutting down.
        self.manager.reopen_book.do_send(ReopenBook(user));
    }

    /// The state of the database.
    pub async fn database_state(&self) -> DatabaseState {
        self.answer(self.persistence.database_state.send(GetDatabaseState)).await.unwrap_or_default()
    }

    /// Asks the actor of an order, and looks for the next actor if this one stops before it answers.
    async fn ask_order<M>(
        &self,
        owner: Owner,
        id: OrderId,
        message: impl Fn() -> M,
    ) -> Result<Located<M::Result>, ServiceError>
    where
        M: Message<Result: Send> + Send + 'static,
        OrderActor: Handler<M>,
    {
        /// An actor may stop once in each attempt, and once more at the end of the order.
        const LOOKUPS: usize = 5;
        for _ in 0..LOOKUPS {
            let actor = match self.answer(self.manager.find_order.send(FindOrder { owner, id })).await? {
                OrderLocation::Live(actor) => actor,
                OrderLocation::NotLive => return Ok(Located::NotLive),
                OrderLocation::Busy => return Ok(Located::Busy),
            };
            match timeout(self.timeout, actor.send(message())).await {
                Ok(Ok(answer)) => return Ok(Located::Live(actor, answer)),
                // The actor has stopped.
                Ok(Err(_)) => {}
                Err(_) => return Err(ServiceError::Unavailable),
            }
        }
        Err(ServiceError::Unavailable)
    }

    /// An order without an actor. If it has not ended, its next actor is about to start, and the caller must try again.
    async fn ended(&self, owner: Owner, id: OrderId) -> Result<Order, ServiceError> {
        let order = self.stored(owner, id).await?;
        if order.state().is_final() { Ok(order) } else { Err(ServiceError::Unavailable) }
    }

    async fn stored(&self, owner: Owner, id: OrderId) -> Result<Order, ServiceError> {
        match self.answer(self.persistence.load_order.send(LoadOrder(id))).await? {
            Ok(Some(StoredOrder { order, .. })) if order.owner == owner => Ok(order),
            Ok(_) => Err(ServiceError::Unknown(id)),
            // If the owner is unreadable too, it may be this one, so "there is no order" could be wrong.
            Err(ReadError::UnreadableOrder(order)) => match order.owner {
                Some(other) if other != owner => Err(ServiceError::Unknown(id)),
                _ => Err(ServiceError::Unreadable(id)),
            },
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// The answer of an actor that is expected to be running.
    async fn answer<T>(&self, answer: impl Future<Output = Result<T, MailboxError>>) -> Result<T, ServiceError> {
        match timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(ServiceError::Unavailable),
        }
    }
}

/// What came of asking an order's actor.
enum Located<T> {
    /// The actor, and its answer.
    Live(Addr<OrderActor>, T),
    /// The order has no actor: it has ended, or does not exist. The store has the answer.
    NotLive,
    /// The actor is being restarted, and too many callers wait for it already.
    Busy,
}

fn unavailable(error: &ReadError) -> ServiceError {
    tracing::warn!(%error, "a read failed");
    ServiceError::Unavailable
}
