//! The order service: what HTTP, WebSocket and embedding programs may ask of the actors.
//!
//! An order's actor may end or be restarted between finding it and asking it. The service asks again, and answers from the
//! store where there is no actor any more, so that nobody else has to know.
//!
//! Whoever asks says for whom: to any other owner an order does not exist.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::prelude::*;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

use crate::actors::dex_router::{DexRouter, RouteOrder};
use crate::actors::order::{
    Cancel, CancelError, Channels, Following, GetOrder, OrderActor, Subscribe, Subscribed, Subscriber, TellMissed,
    TooManySubscribers, Unsubscribe,
};
use crate::actors::order_manager::{
    FindOrder, GetQueueStats, OrderLocation, OrderManager, QueueStats, Submission, SubmitError, submit,
};
use crate::actors::persistence::{DatabaseState, GetDatabaseState, ListOrders, LoadOrder, Persistence};
use crate::actors::restartable_addr::RestartableAddr;
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::order::{Order, OrderRequest};
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::routing::RoutingDecision;
use crate::domain::tally::Tally;
use crate::domain::user::Owner;
use crate::store::{ListFilter, Page, ReadError, StoredOrder};
use crate::venue::QuoteRequest;

/// Where everybody outside the actors asks.
#[derive(Clone)]
pub struct OrderService {
    manager: Addr<OrderManager>,
    persistence: Addr<Persistence>,
    router: RestartableAddr<DexRouter>,
    tally: Arc<Mutex<Tally>>,
    channels: Arc<Channels>,
    // Held while an order is loaded for a listener that catches up, so that slow listeners don't keep the database busy.
    catching_up: Arc<Semaphore>,
    // The lists that each owner has asked for and not been answered yet.
    lists: Arc<Mutex<HashMap<Owner, Arc<Semaphore>>>>,
    patience: Duration,
}

/// Why the service has no answer.
#[derive(Clone, Debug, Error)]
pub enum ServiceError {
    /// There is no such order, or none of that owner.
    #[error("there is no order {0}")]
    Unknown(OrderId),
    /// The order is stored in a way that this version cannot read.
    #[error("order {0} is stored in a way that this version cannot read")]
    Unreadable(OrderId),
    /// No answer can be had just now; the same question may be asked again.
    #[error("no answer can be had just now")]
    Unavailable,
}

/// Why the service did not cancel.
#[derive(Clone, Debug, Error)]
pub enum CancelRefused {
    /// The order's own answer.
    #[error(transparent)]
    ByOrder(CancelError),
    /// It was never asked.
    #[error(transparent)]
    ByService(#[from] ServiceError),
}

/// What a listener gets to begin with.
#[derive(Debug)]
pub enum Watched {
    /// The order lives; what comes next is told to the listener.
    Live(Subscribed, OrderSubscription),
    /// The order has ended; this is all there will ever be.
    Ended(Order),
}

/// A subscription, to be ended by [`OrderSubscription::end`].
#[derive(Clone, Debug)]
pub struct OrderSubscription {
    addr: Addr<OrderActor>,
    key: u64,
}

impl OrderSubscription {
    /// Ends the subscription.
    pub fn end(&self) {
        // Full: do_send ignores bounds, one a subscription. Closed: the order has ended; a restarted one finds its
        // listener gone at the next update.
        self.addr.do_send(Unsubscribe(self.key));
    }
}

impl OrderService {
    /// How often an order that slips away is looked for again: it may fall once an attempt, and end.
    const TRIES: usize = 5;
    /// How many orders are loaded at once for listeners that catch up.
    const CATCHING_UP: usize = 4;
    /// How many lists of one owner are read at once. Further ones wait, so that the database has time for others: a page
    /// costs it a hundred times as much as an order.
    const LISTS_AT_ONCE: usize = 2;

    /// A service in front of those actors that waits so long for an answer.
    pub fn new(
        manager: Addr<OrderManager>,
        persistence: Addr<Persistence>,
        router: RestartableAddr<DexRouter>,
        tally: Arc<Mutex<Tally>>,
        channels: Arc<Channels>,
        patience: Duration,
    ) -> Self {
        let catching_up = Arc::new(Semaphore::new(Self::CATCHING_UP));
        Self { manager, persistence, router, tally, channels, catching_up, lists: Arc::default(), patience }
    }

    /// Takes an order in.
    pub async fn submit(
        &self,
        owner: Owner,
        request: Arc<OrderRequest>,
        key: Option<ClientKey>,
    ) -> Result<Submission, SubmitError> {
        // Answered in time by the manager itself. Dropped: a submit that has not begun is not begun, another goes on.
        // Late: a manager that does not come to it. It may still have been taken in, so nobody says that it was not.
        timeout(self.patience, submit(&self.manager, owner, request, key)).await.unwrap_or(Err(SubmitError::Broken))
    }

    /// One order as it is recorded.
    pub async fn order(&self, owner: Owner, id: OrderId) -> Result<Order, ServiceError> {
        for _ in 0..Self::TRIES {
            match self.find(owner, id).await? {
                OrderLocation::Live(addr) => match self.ask(&addr, GetOrder).await {
                    Located::Answered(order) => return Ok(order),
                    Located::Gone => {}
                    Located::Late => return Err(ServiceError::Unavailable),
                },
                OrderLocation::NotLive | OrderLocation::Busy => return self.stored(owner, id).await,
            }
        }
        Err(ServiceError::Unavailable)
    }

    /// Cancels an order: the order as it is cancelled, also if it was already.
    pub async fn cancel(&self, owner: Owner, id: OrderId) -> Result<Order, CancelRefused> {
        for _ in 0..Self::TRIES {
            match self.find(owner, id).await? {
                OrderLocation::Live(addr) => match self.ask(&addr, Cancel).await {
                    Located::Answered(answer) => return answer.map_err(CancelRefused::ByOrder),
                    Located::Gone => {}
                    Located::Late => return Err(ServiceError::Unavailable.into()),
                },
                OrderLocation::Busy => return Err(ServiceError::Unavailable.into()),
                OrderLocation::NotLive => {
                    let order = self.stored(owner, id).await?;
                    return match order.state().status() {
                        crate::domain::lifecycle::Status::Cancelled => Ok(order),
                        status if status.is_final() => {
                            Err(CancelRefused::ByOrder(CancelError::AlreadyEnded(Box::new(order))))
                        }
                        _ => Err(ServiceError::Unavailable.into()),
                    };
                }
            }
        }
        Err(ServiceError::Unavailable.into())
    }

    /// Listens to an order from after that sequence number on.
    pub async fn watch(
        &self,
        owner: Owner,
        id: OrderId,
        to: Subscriber,
        after_seq: u32,
    ) -> Result<Watched, ServiceError> {
        for _ in 0..Self::TRIES {
            match self.find(owner, id).await? {
                OrderLocation::Live(addr) => match self.ask(&addr, Subscribe { to: to.clone(), after_seq }).await {
                    Located::Answered(Ok(subscribed)) => {
                        let key = subscribed.key;
                        return Ok(Watched::Live(subscribed, OrderSubscription { addr, key }));
                    }
                    Located::Answered(Err(_)) | Located::Late => return Err(ServiceError::Unavailable),
                    Located::Gone => {}
                },
                OrderLocation::Busy => return Err(ServiceError::Unavailable),
                OrderLocation::NotLive => {
                    let order = self.stored(owner, id).await?;
                    return if order.state().is_final() {
                        Ok(Watched::Ended(order))
                    } else {
                        Err(ServiceError::Unavailable)
                    };
                }
            }
        }
        Err(ServiceError::Unavailable)
    }

    /// Listens to every order of that owner from here on, until the result is dropped; and how many are open now.
    pub fn follow(&self, owner: Owner, to: Subscriber) -> Result<(Following, usize), TooManySubscribers> {
        let channel = self.channels.of(owner);
        Ok((channel.follow(to)?, channel.open_orders()))
    }

    /// Has a listener told what it has missed of an order. An order that lives tells it itself; one that has ended is
    /// the answer, and what is missed of it stays on the listener's list until it has told that.
    pub async fn tell_missed(&self, owner: Owner, id: OrderId, to: &Subscriber) -> Result<Option<Order>, ServiceError> {
        for _ in 0..Self::TRIES {
            match self.find(owner, id).await? {
                OrderLocation::Live(addr) => match self.ask(&addr, TellMissed(to.clone())).await {
                    Located::Answered(()) => return Ok(None),
                    Located::Gone => {}
                    Located::Late => return Err(ServiceError::Unavailable),
                },
                OrderLocation::Busy => return Err(ServiceError::Unavailable),
                OrderLocation::NotLive => {
                    let turn = timeout(self.patience, self.catching_up.acquire()).await;
                    let Ok(Ok(_turn)) = turn else { return Err(ServiceError::Unavailable) };
                    let order = self.stored(owner, id).await?;
                    return if order.state().is_final() { Ok(Some(order)) } else { Err(ServiceError::Unavailable) };
                }
            }
        }
        Err(ServiceError::Unavailable)
    }

    /// A page of orders, newest first.
    pub async fn list(&self, filter: ListFilter) -> Result<Page, ServiceError> {
        let list = async {
            let turns = self.lists_of(filter.owner);
            let _turn = turns.acquire().await.ok();
            self.persistence.send(ListOrders(filter)).await
        };
        match timeout(self.patience, list).await {
            Ok(Ok(Ok(page))) => Ok(page),
            Ok(Ok(Err(error))) => Err(unanswered(&error)),
            Ok(Err(_)) | Err(_) => Err(ServiceError::Unavailable),
        }
    }

    /// The turns of an owner's lists. Those of owners that ask for none are forgotten.
    fn lists_of(&self, owner: Owner) -> Arc<Semaphore> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = lists.get(&owner) {
            return turns.clone();
        }
        lists.retain(|_, turns| Arc::strong_count(turns) > 1);
        lists.entry(owner).or_insert_with(|| Arc::new(Semaphore::new(Self::LISTS_AT_ONCE))).clone()
    }

    /// What every venue offers now, and which would win.
    pub async fn quote(&self, order: Arc<OrderRequest>) -> Result<RoutingDecision, Failure> {
        let request = QuoteRequest { id: Uuid::now_v7(), round: 1, order };
        let gone = || Failure::new(FailureCode::VenueUnavailable, "the router is being restarted");
        match timeout(self.patience, self.router.get().send(RouteOrder(request))).await {
            Ok(Ok(decision)) => decision,
            Ok(Err(_)) | Err(_) => Err(gone()),
        }
    }

    /// How things stand with the orders.
    pub async fn queue_stats(&self) -> Result<QueueStats, ServiceError> {
        self.known(&self.manager, GetQueueStats).await
    }

    /// What has happened since the start.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the database is.
    pub async fn database_state(&self) -> DatabaseState {
        self.known(&self.persistence, GetDatabaseState).await.unwrap_or_default()
    }

    async fn find(&self, owner: Owner, id: OrderId) -> Result<OrderLocation, ServiceError> {
        self.known(&self.manager, FindOrder { owner, id }).await
    }

    async fn stored(&self, owner: Owner, id: OrderId) -> Result<Order, ServiceError> {
        match self.known(&self.persistence, LoadOrder(id)).await? {
            Ok(Some(StoredOrder { order, .. })) if order.owner == owner => Ok(order),
            // Another's order is as good as none.
            Ok(_) => Err(ServiceError::Unknown(id)),
            // If the owner is unreadable too, the caller may be the owner: "no such order" could be untrue.
            Err(ReadError::UnreadableOrder(order)) => match order.owner {
                Some(other) if other != owner => Err(ServiceError::Unknown(id)),
                _ => Err(ServiceError::Unreadable(id)),
            },
            Err(error) => Err(unanswered(&error)),
        }
    }

    async fn known<A, M>(&self, addr: &Addr<A>, message: M) -> Result<M::Result, ServiceError>
    where
        A: Actor<Context: ToEnvelope<A, M>> + Handler<M>,
        M: Message<Result: Send> + Send + 'static,
    {
        match self.ask(addr, message).await {
            Located::Answered(answer) => Ok(answer),
            Located::Gone | Located::Late => Err(ServiceError::Unavailable),
        }
    }

    async fn ask<A, M>(&self, addr: &Addr<A>, message: M) -> Located<M::Result>
    where
        A: Actor<Context: ToEnvelope<A, M>> + Handler<M>,
        M: Message<Result: Send> + Send + 'static,
    {
        match timeout(self.patience, addr.send(message)).await {
            Ok(Ok(answer)) => Located::Answered(answer),
            Ok(Err(_)) => Located::Gone,
            Err(_) => Located::Late,
        }
    }
}

enum Located<T> {
    Answered(T),
    Gone,
    Late,
}

fn unanswered(error: &ReadError) -> ServiceError {
    tracing::warn!(%error, "a read failed");
    ServiceError::Unavailable
}
