//! The desk: what HTTP, WebSocket and embedding programs may ask of the actors.
//!
//! An order's actor may end or be restarted between finding it and asking it. The desk asks again, and answers from the
//! store where there is no actor any more, so that nobody else has to know.
//!
//! Whoever asks says for whom: to any other owner an order does not exist.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::prelude::*;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

use super::dex_router::{DexRouter, RouteOrder};
use super::line::Line;
use super::order::{
    Cancel, CancelError, Channels, Following, Inspect, OrderActor, Outlet, Subscribe, Subscribed, TellMissed,
    TooManySubscribers, Unsubscribe,
};
use super::order_manager::{FindOrder, Found, HowThingsStand, OrderManager, Standing, Submission, SubmitError, submit};
use super::persistence::{IsHealthy, ListOrders, LoadOrder, Persistence};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::order::{Order, OrderRequest};
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::routing::Decision;
use crate::domain::tally::Tally;
use crate::domain::user::Owner;
use crate::store::{ListFilter, Page, StoredOrder};
use crate::venue::QuoteRequest;

/// Where everybody outside the actors asks.
#[derive(Clone)]
pub struct Desk {
    manager: Addr<OrderManager>,
    persistence: Addr<Persistence>,
    router: Line<DexRouter>,
    tally: Arc<Mutex<Tally>>,
    channels: Arc<Channels>,
    // Held while an order is loaded for a listener that catches up, so that slow listeners don't keep the database busy.
    catching_up: Arc<Semaphore>,
    patience: Duration,
}

/// Why the desk has no answer.
#[derive(Clone, Debug, Error)]
pub enum DeskError {
    /// There is no such order, or none of that owner.
    #[error("there is no order {0}")]
    Unknown(OrderId),
    /// No answer can be had just now; the same question may be asked again.
    #[error("no answer can be had just now")]
    Unavailable,
}

/// Why the desk did not cancel.
#[derive(Clone, Debug, Error)]
pub enum CancelRefused {
    /// The order's own answer.
    #[error(transparent)]
    ByOrder(CancelError),
    /// It was never asked.
    #[error(transparent)]
    ByDesk(#[from] DeskError),
}

/// What a listener gets to begin with.
#[derive(Debug)]
pub enum Watch {
    /// The order lives; what comes next is told to the listener.
    Live(Subscribed, Listening),
    /// The order has ended; this is all there will ever be.
    Ended(Order),
}

/// A subscription, to be ended by [`Listening::end`].
#[derive(Clone, Debug)]
pub struct Listening {
    addr: Addr<OrderActor>,
    key: u64,
}

impl Listening {
    /// Ends the subscription.
    pub fn end(&self) {
        // Full: do_send ignores bounds, one a subscription. Closed: the order has ended; a restarted one finds its
        // listener gone at the next update.
        self.addr.do_send(Unsubscribe(self.key));
    }
}

impl Desk {
    /// How often an order that slips away is looked for again: it may fall once an attempt, and end.
    const TRIES: usize = 5;
    /// How many orders are loaded at once for listeners that catch up.
    const CATCHING_UP: usize = 4;

    /// A desk in front of those actors that waits so long for an answer.
    pub fn new(
        manager: Addr<OrderManager>,
        persistence: Addr<Persistence>,
        router: Line<DexRouter>,
        tally: Arc<Mutex<Tally>>,
        channels: Arc<Channels>,
        patience: Duration,
    ) -> Self {
        let catching_up = Arc::new(Semaphore::new(Self::CATCHING_UP));
        Self { manager, persistence, router, tally, channels, catching_up, patience }
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
    pub async fn order(&self, owner: Owner, id: OrderId) -> Result<Order, DeskError> {
        for _ in 0..Self::TRIES {
            match self.find(owner, id).await? {
                Found::Live(addr) => match self.ask(&addr, Inspect).await {
                    Asked::Answered(order) => return Ok(order),
                    Asked::Gone => {}
                    Asked::Late => return Err(DeskError::Unavailable),
                },
                Found::NotLive | Found::Busy => return self.stored(owner, id).await,
            }
        }
        Err(DeskError::Unavailable)
    }

    /// Cancels an order: the order as it is cancelled, also if it was already.
    pub async fn cancel(&self, owner: Owner, id: OrderId) -> Result<Order, CancelRefused> {
        for _ in 0..Self::TRIES {
            match self.find(owner, id).await? {
                Found::Live(addr) => match self.ask(&addr, Cancel).await {
                    Asked::Answered(answer) => return answer.map_err(CancelRefused::ByOrder),
                    Asked::Gone => {}
                    Asked::Late => return Err(DeskError::Unavailable.into()),
                },
                Found::Busy => return Err(DeskError::Unavailable.into()),
                Found::NotLive => {
                    let order = self.stored(owner, id).await?;
                    return match order.state().status() {
                        crate::domain::lifecycle::Status::Cancelled => Ok(order),
                        status if status.is_final() => {
                            Err(CancelRefused::ByOrder(CancelError::AlreadyEnded(Box::new(order))))
                        }
                        _ => Err(DeskError::Unavailable.into()),
                    };
                }
            }
        }
        Err(DeskError::Unavailable.into())
    }

    /// Listens to an order from after that sequence number on.
    pub async fn watch(&self, owner: Owner, id: OrderId, to: Outlet, after_seq: u32) -> Result<Watch, DeskError> {
        for _ in 0..Self::TRIES {
            match self.find(owner, id).await? {
                Found::Live(addr) => match self.ask(&addr, Subscribe { to: to.clone(), after_seq }).await {
                    Asked::Answered(Ok(subscribed)) => {
                        let key = subscribed.key;
                        return Ok(Watch::Live(subscribed, Listening { addr, key }));
                    }
                    Asked::Answered(Err(_)) | Asked::Late => return Err(DeskError::Unavailable),
                    Asked::Gone => {}
                },
                Found::Busy => return Err(DeskError::Unavailable),
                Found::NotLive => {
                    let order = self.stored(owner, id).await?;
                    return if order.state().is_final() {
                        Ok(Watch::Ended(order))
                    } else {
                        Err(DeskError::Unavailable)
                    };
                }
            }
        }
        Err(DeskError::Unavailable)
    }

    /// Listens to every order of that owner from here on, until the result is dropped; and how many are open now.
    pub fn follow(&self, owner: Owner, to: Outlet) -> Result<(Following, usize), TooManySubscribers> {
        let channel = self.channels.of(owner);
        Ok((channel.follow(to)?, channel.open_orders()))
    }

    /// Has a listener told what it has missed of an order. An order that lives tells it itself; one that has ended is
    /// the answer, and what is missed of it stays on the listener's list until it has told that.
    pub async fn tell_missed(&self, owner: Owner, id: OrderId, to: &Outlet) -> Result<Option<Order>, DeskError> {
        for _ in 0..Self::TRIES {
            match self.find(owner, id).await? {
                Found::Live(addr) => match self.ask(&addr, TellMissed(to.clone())).await {
                    Asked::Answered(()) => return Ok(None),
                    Asked::Gone => {}
                    Asked::Late => return Err(DeskError::Unavailable),
                },
                Found::Busy => return Err(DeskError::Unavailable),
                Found::NotLive => {
                    let turn = timeout(self.patience, self.catching_up.acquire()).await;
                    let Ok(Ok(_turn)) = turn else { return Err(DeskError::Unavailable) };
                    let order = self.stored(owner, id).await?;
                    return if order.state().is_final() { Ok(Some(order)) } else { Err(DeskError::Unavailable) };
                }
            }
        }
        Err(DeskError::Unavailable)
    }

    /// A page of orders, newest first.
    pub async fn list(&self, filter: ListFilter) -> Result<Page, DeskError> {
        match timeout(self.patience, self.persistence.send(ListOrders(filter))).await {
            Ok(Ok(Ok(page))) => Ok(page),
            Ok(Ok(Err(error))) => Err(unreadable(&error)),
            Ok(Err(_)) | Err(_) => Err(DeskError::Unavailable),
        }
    }

    /// What every venue offers now, and which would win.
    pub async fn quote(&self, order: Arc<OrderRequest>) -> Result<Decision, Failure> {
        let request = QuoteRequest { id: Uuid::now_v7(), round: 1, order };
        let gone = || Failure::new(FailureCode::VenueUnavailable, "the router is being restarted");
        match timeout(self.patience, self.router.get().send(RouteOrder(request))).await {
            Ok(Ok(decision)) => decision,
            Ok(Err(_)) | Err(_) => Err(gone()),
        }
    }

    /// How things stand with the orders.
    pub async fn standing(&self) -> Result<Standing, DeskError> {
        self.known(&self.manager, HowThingsStand).await
    }

    /// What has happened since the start.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the database takes writes.
    pub async fn database_is_healthy(&self) -> bool {
        self.known(&self.persistence, IsHealthy).await.unwrap_or(false)
    }

    async fn find(&self, owner: Owner, id: OrderId) -> Result<Found, DeskError> {
        self.known(&self.manager, FindOrder { owner, id }).await
    }

    async fn stored(&self, owner: Owner, id: OrderId) -> Result<Order, DeskError> {
        match self.known(&self.persistence, LoadOrder(id)).await? {
            Ok(Some(StoredOrder { order, .. })) if order.owner == owner => Ok(order),
            // Another's order is as good as none.
            Ok(_) => Err(DeskError::Unknown(id)),
            Err(error) => Err(unreadable(&error)),
        }
    }

    async fn known<A, M>(&self, addr: &Addr<A>, message: M) -> Result<M::Result, DeskError>
    where
        A: Actor<Context: ToEnvelope<A, M>> + Handler<M>,
        M: Message<Result: Send> + Send + 'static,
    {
        match self.ask(addr, message).await {
            Asked::Answered(answer) => Ok(answer),
            Asked::Gone | Asked::Late => Err(DeskError::Unavailable),
        }
    }

    async fn ask<A, M>(&self, addr: &Addr<A>, message: M) -> Asked<M::Result>
    where
        A: Actor<Context: ToEnvelope<A, M>> + Handler<M>,
        M: Message<Result: Send> + Send + 'static,
    {
        match timeout(self.patience, addr.send(message)).await {
            Ok(Ok(answer)) => Asked::Answered(answer),
            Ok(Err(_)) => Asked::Gone,
            Err(_) => Asked::Late,
        }
    }
}

enum Asked<T> {
    Answered(T),
    Gone,
    Late,
}

fn unreadable(error: &crate::store::ReadError) -> DeskError {
    tracing::warn!(%error, "a read failed");
    DeskError::Unavailable
}
