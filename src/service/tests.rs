//! The order service with stubs for every actor, on paused time.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::actors::order::{CancelError, Channels, OrderActor, Subscribers};
use crate::actors::order_manager::{OrderLocation, SubmitError};
use crate::actors::persistence::LoadOrder;
use crate::actors::restartable_addr::RestartableAddr;
use crate::actors::tests::stubs::{Asked, Reply, Stubs, after, next, order, subscriber, user};
use crate::domain::id::OrderId;
use crate::domain::lifecycle::{OrderEvent, Status};
use crate::domain::order::Order;
use crate::domain::request::tests::request;
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::user::Owner;
use crate::runtime::environment::Environment;
use crate::service::new_order::NewOrder;
use crate::service::orders::{CancelRefused, OrderService, ServiceError};
use crate::store::{ListFilter, Page, ReadError, StoredOrder, UnreadableOrder};

const TIMEOUT: Duration = Duration::from_secs(5);

struct Subject {
    stubs: Stubs,
    service: OrderService,
}

impl Subject {
    fn start() -> Self {
        let stubs = Stubs::start();
        let (manager, persistence) = (stubs.addr.clone().into(), stubs.addr.clone().into());
        let (router, channels) = (RestartableAddr::new(stubs.addr.clone()), Arc::new(Channels::new(10)));
        let service = OrderService::new(manager, persistence, router, channels, Environment::runtime(), TIMEOUT);
        Self { stubs, service }
    }

    /// Asks the service in a task of its own.
    fn ask<T: 'static, F>(&self, question: impl FnOnce(OrderService) -> F) -> JoinHandle<T>
    where
        F: Future<Output = T> + 'static,
    {
        actix::spawn(question(self.service.clone()))
    }

    fn order(&self, owner: Owner, id: OrderId) -> JoinHandle<Result<Order, ServiceError>> {
        self.ask(move |service| async move { service.order(owner, id).await })
    }

    fn cancel(&self, id: OrderId) -> JoinHandle<Result<Order, CancelRefused>> {
        self.ask(move |service| async move { service.cancel(Owner::Shared, id).await })
    }

    /// The manager answers where the order is.
    async fn finds(&mut self, location: OrderLocation) {
        next!(self.stubs, Asked::FindOrder(_, reply) => reply).send(location).unwrap();
    }

    async fn loads(&mut self) -> Reply<LoadOrder> {
        next!(self.stubs, Asked::LoadOrder(_, reply) => reply)
    }

    /// The manager does not know the order, and the store has it.
    async fn has_stored(&mut self, order: &Order) {
        self.finds(OrderLocation::NotLive).await;
        self.loads().await.send(Ok(Some(StoredOrder { order: order.clone(), live: None }))).unwrap();
    }

    fn ended(&self, event: OrderEvent) -> Order {
        after(order(&self.stubs.clock), [event], &self.stubs.clock)
    }

    /// The address of an actor that has stopped.
    async fn stopped_actor(&mut self) -> Addr<OrderActor> {
        let ended = self.ended(OrderEvent::Cancelled(None));
        let channel = Channels::new(10).of(ended.owner);
        let context = self.stubs.context([]);
        let actor = OrderActor::new(ended, None, Subscribers::default(), channel, context).start();
        next!(self.stubs, Asked::OrderExited(_) => ());
        actor
    }
}

fn failed() -> OrderEvent {
    OrderEvent::Failed(Failure::new(FailureCode::Timeout, "too late"))
}

#[actix::test]
async fn a_submit_that_the_manager_does_not_answer_ends_with_the_request_timeout() {
    let mut subject = Subject::start();
    let started = Instant::now();
    let submit =
        |service: OrderService| async move { service.submit(user(1), NewOrder::new(request(), None).unwrap()).await };
    let submitted = subject.ask(submit);
    let asked = next!(subject.stubs, Asked::SubmitOrder(submit) => submit);
    assert_eq!(asked.owner, user(1));
    assert_eq!(submitted.await.unwrap().unwrap_err(), SubmitError::Broken);
    assert_eq!(started.elapsed().as_secs(), TIMEOUT.as_secs());
    // A manager that has stopped is noticed immediately.
    let submitted = subject.ask(submit);
    drop(next!(subject.stubs, Asked::SubmitOrder(submit) => submit));
    let started = Instant::now();
    assert_eq!(submitted.await.unwrap().unwrap_err(), SubmitError::Broken);
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[actix::test]
async fn an_order_of_another_owner_looks_like_one_that_does_not_exist() {
    let mut subject = Subject::start();
    let foreign = order(&subject.stubs.clock);
    let asked = subject.order(user(1), foreign.id);
    subject.has_stored(&foreign).await;
    assert!(matches!(asked.await.unwrap(), Err(ServiceError::Unknown(id)) if id == foreign.id));
    let asked = subject.order(user(1), foreign.id);
    subject.finds(OrderLocation::NotLive).await;
    subject.loads().await.send(Ok(None)).unwrap();
    assert!(matches!(asked.await.unwrap(), Err(ServiceError::Unknown(id)) if id == foreign.id));
}

#[actix::test]
async fn an_order_that_cannot_be_read_is_reported_so_unless_it_is_of_another_owner() {
    let mut subject = Subject::start();
    let id = order(&subject.stubs.clock).id;
    for (owner, is_reported) in [(Some(user(1)), true), (None, true), (Some(user(2)), false)] {
        let asked = subject.order(user(1), id);
        subject.finds(OrderLocation::NotLive).await;
        let unreadable = UnreadableOrder { id, owner, may_be_live: false, reason: "damaged".into() };
        subject.loads().await.send(Err(ReadError::UnreadableOrder(Box::new(unreadable)))).unwrap();
        let answer = asked.await.unwrap().unwrap_err();
        assert_eq!(matches!(answer, ServiceError::Unreadable(_)), is_reported, "{owner:?}");
        assert_eq!(matches!(answer, ServiceError::Unknown(_)), !is_reported, "{owner:?}");
    }
}

#[actix::test]
async fn an_order_whose_actor_stops_between_two_questions_is_read_from_the_store() {
    let mut subject = Subject::start();
    let stopped = subject.stopped_actor().await;
    let ended = subject.ended(failed());
    let asked = subject.order(Owner::Shared, ended.id);
    subject.finds(OrderLocation::Live(stopped)).await;
    subject.has_stored(&ended).await;
    assert_eq!(asked.await.unwrap().unwrap().last().status, Status::Failed);
}

#[actix::test]
async fn an_order_whose_actor_keeps_stopping_is_unavailable() {
    let mut subject = Subject::start();
    let stopped = subject.stopped_actor().await;
    let asked = subject.cancel(order(&subject.stubs.clock).id);
    for _ in 0..5 {
        subject.finds(OrderLocation::Live(stopped.clone())).await;
    }
    assert!(matches!(asked.await.unwrap(), Err(CancelRefused::ByService(ServiceError::Unavailable))));
}

#[actix::test]
async fn a_manager_that_does_not_answer_makes_an_order_unavailable_after_the_request_timeout() {
    let mut subject = Subject::start();
    let asked = subject.order(Owner::Shared, order(&subject.stubs.clock).id);
    let started = Instant::now();
    let _silent = next!(subject.stubs, Asked::FindOrder(_, reply) => reply);
    assert!(matches!(asked.await.unwrap(), Err(ServiceError::Unavailable)));
    assert_eq!(started.elapsed().as_secs(), TIMEOUT.as_secs());
}

#[actix::test]
async fn a_cancel_of_an_order_without_an_actor_is_answered_from_the_store() {
    let mut subject = Subject::start();
    let cancelled = subject.ended(OrderEvent::Cancelled(None));
    let answer = subject.cancel(cancelled.id);
    subject.has_stored(&cancelled).await;
    assert_eq!(answer.await.unwrap().unwrap().id, cancelled.id);
    let failed = subject.ended(failed());
    let answer = subject.cancel(failed.id);
    subject.has_stored(&failed).await;
    let refused = answer.await.unwrap().unwrap_err();
    assert!(matches!(refused, CancelRefused::ByOrder(CancelError::AlreadyEnded(_))), "{refused:?}");
    // It is open in the store, so it is just being started or stopped.
    let open = order(&subject.stubs.clock);
    let answer = subject.cancel(open.id);
    subject.has_stored(&open).await;
    let refused = answer.await.unwrap().unwrap_err();
    assert!(matches!(refused, CancelRefused::ByService(ServiceError::Unavailable)), "{refused:?}");
}

#[actix::test]
async fn two_lists_of_an_owner_are_read_at_once_and_further_ones_wait() {
    let mut subject = Subject::start();
    let list = |owner| {
        let filter = ListFilter { owner, limit: 1, ..ListFilter::default() };
        subject.ask(move |service| async move { service.list(filter).await.map(|page| page.orders.len()) })
    };
    let lists = [list(user(1)), list(user(1)), list(user(1)), list(user(2))];
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.push(next!(subject.stubs, Asked::ListOrders(list, reply) => (list.0.owner, reply)));
    }
    subject.stubs.nothing_for(Duration::from_secs(1)).await;
    assert_eq!(asked.iter().map(|(owner, _)| *owner).collect::<Vec<_>>(), [user(1), user(1), user(2)]);
    asked.remove(0).1.send(Ok(Page::default())).unwrap();
    asked.push(next!(subject.stubs, Asked::ListOrders(list, reply) => (list.0.owner, reply)));
    for (_, reply) in asked {
        reply.send(Ok(Page::default())).unwrap();
    }
    for list in lists {
        assert_eq!(list.await.unwrap().unwrap(), 0);
    }
}

#[actix::test]
async fn four_orders_are_loaded_at_once_for_subscribers_that_catch_up() {
    let mut subject = Subject::start();
    let ended = subject.ended(failed());
    let id = ended.id;
    let (to, _updates) = subscriber();
    let missed: Vec<_> = (0..5)
        .map(|_| {
            let to = to.clone();
            subject.ask(move |service| async move { service.send_missed(Owner::Shared, id, &to).await })
        })
        .collect();
    for _ in 0..5 {
        subject.finds(OrderLocation::NotLive).await;
    }
    let mut loads = Vec::new();
    for _ in 0..4 {
        loads.push(subject.loads().await);
    }
    subject.stubs.nothing_for(Duration::from_secs(1)).await;
    let stored = || Ok(Some(StoredOrder { order: ended.clone(), live: None }));
    loads.remove(0).send(stored()).unwrap();
    loads.push(subject.loads().await);
    for load in loads {
        load.send(stored()).unwrap();
    }
    for missed in missed {
        assert_eq!(missed.await.unwrap().unwrap().unwrap().id, id);
    }
}
