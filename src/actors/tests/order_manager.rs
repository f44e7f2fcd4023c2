use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::stubs::{
    Asked, Stubs, after, decision, landed, next, order, recorded, signed, subscriber, unsigned, until_submitted, user,
    waits,
};
use crate::actors::order::{Channels, Subscribe};
use crate::actors::order_manager::{
    Drain, FindOrder, GetQueueStats, ManagerRecipients, OrderLocation, OrderManager, Parts, QueueStats, Recover,
    Submission, SubmitAnswer, SubmitError,
};
use crate::actors::persistence::{LoadOrder, Record, RecordError};
use crate::domain::amount::BaseUnits;
use crate::domain::id::{ClientKey, OrderId, VenueId};
use crate::domain::lifecycle::{OrderEvent, Status};
use crate::domain::order::Order;
use crate::domain::request::OrderRequest;
use crate::domain::request::tests::request;
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::user::Owner;
use crate::runtime::placement::Placement;
use crate::store::{StoredOrder, UnreadableOrder, Written};

/// The order manager and the orders that it starts.
struct Subject {
    stubs: Stubs,
    manager: Addr<OrderManager>,
    recipients: ManagerRecipients,
}

impl Subject {
    fn start<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let stubs = Stubs::start();
        let manager = OrderManager::create(|ctx| {
            OrderManager::new(Parts {
                context: stubs.context_of(ctx.address().into(), settings),
                supervisor: stubs.addr.clone().recipient(),
                channels: Arc::new(Channels::new(10)),
                homes: vec![Placement::CurrentThread],
                latest_dispatches: vec![],
            })
        });
        Self { stubs, recipients: manager.clone().into(), manager }
    }

    fn submit_with_key(&self, owner: Owner, request: OrderRequest, key: Option<&str>) -> JoinHandle<SubmitAnswer> {
        let (recipients, key) = (self.recipients.clone(), key.map(|key| key.parse::<ClientKey>().unwrap()));
        actix::spawn(async move { recipients.submit(owner, Arc::new(request), key).await })
    }

    fn submit(&self, owner: Owner) -> JoinHandle<SubmitAnswer> {
        self.submit_with_key(owner, request(), None)
    }

    /// Submits an order and stores it.
    async fn accepts(&mut self, owner: Owner) -> Order {
        let submitted = self.submit(owner);
        self.stubs.stores("accepted").await;
        submitted.await.unwrap().unwrap().order
    }

    /// Expects a dispatch, and returns the order and the unanswered write.
    async fn dispatches(&mut self) -> (OrderId, Record) {
        let record = self.stubs.write().await;
        assert_eq!(recorded(&record.write).event.name(), "dispatched");
        (record.write.order_id(), record)
    }

    /// Expects the dispatch of that order, and takes it to its sent swap, about which the chain says nothing.
    async fn runs_until_sent(&mut self, id: OrderId) {
        let (dispatched, record) = self.dispatches().await;
        assert_eq!(dispatched, id);
        record.reply.send(Ok(Written::Stored)).unwrap();
        let reply = next!(self.stubs, Asked::RouteOrder(_, reply) => reply);
        reply.send(Ok(decision(&self.stubs.clock))).unwrap();
        self.stubs.stores("routed").await;
        let reply = next!(self.stubs, Asked::BuildSwap(_, reply) => reply);
        reply.send(Ok(unsigned(VenueId::RAYDIUM))).unwrap();
        self.stubs.stores("submitted").await;
        next!(self.stubs, Asked::Send(_) => ());
    }

    /// The stored order is loaded again after its actor broke.
    async fn reloads(&mut self, order: &Order) {
        let (id, reply) = next!(self.stubs, Asked::LoadOrder(LoadOrder(id), reply) => (id, reply));
        assert_eq!(id, order.id);
        reply.send(Ok(Some(StoredOrder { order: order.clone(), live: None }))).unwrap();
    }

    async fn stats(&self) -> QueueStats {
        self.manager.send(GetQueueStats).await.unwrap()
    }

    async fn find(&self, owner: Owner, id: OrderId) -> OrderLocation {
        self.manager.send(FindOrder { owner, id }).await.unwrap()
    }
}

fn break_it(record: Record) {
    record.reply.send(Err(RecordError::Refused("no".into()))).unwrap();
}

#[actix::test]
async fn an_order_is_accepted_only_after_it_is_stored() {
    let mut subject = Subject::start([]);
    let mut submitted = subject.submit(Owner::Shared);
    let record = subject.stubs.write().await;
    assert!(waits(&mut submitted).await);
    record.reply.send(Ok(Written::Stored)).unwrap();
    let Submission { order, created } = submitted.await.unwrap().unwrap();
    assert!(created);
    assert_eq!(subject.dispatches().await.0, order.id);
}

#[actix::test]
async fn a_submit_is_answered_within_a_second_and_the_order_runs_once_it_is_stored() {
    let mut subject = Subject::start([]);
    let started = Instant::now();
    let submitted = subject.submit(Owner::Shared);
    let record = subject.stubs.write().await;
    let id = record.write.order_id();
    assert_eq!(submitted.await.unwrap().unwrap_err(), SubmitError::OutcomeUnknown(id));
    assert!(started.elapsed() < Duration::from_secs(1));
    record.reply.send(Ok(Written::Stored)).unwrap();
    assert_eq!(subject.dispatches().await.0, id);
}

#[actix::test]
async fn a_repeat_that_expires_while_the_first_is_undecided_is_told_of_the_first() {
    let mut subject = Subject::start([]);
    let _first = subject.submit_with_key(Owner::Shared, request(), Some("key"));
    let undecided = subject.stubs.write().await;
    let repeat = subject.submit_with_key(Owner::Shared, request(), Some("key"));
    subject.stubs.write().await.reply.send(Err(RecordError::Expired)).unwrap();
    let first = undecided.write.order_id();
    assert_eq!(repeat.await.unwrap().unwrap_err(), SubmitError::OutcomeUnknown(first));
}

#[actix::test]
async fn an_order_that_is_not_stored_leaves_its_place_to_the_next() {
    let mut subject = Subject::start([("orders.max_open", "1")]);
    let expired = subject.submit(Owner::Shared);
    let record = subject.stubs.write().await;
    assert_eq!(subject.submit(Owner::Shared).await.unwrap().unwrap_err(), SubmitError::Full);
    record.reply.send(Err(RecordError::Expired)).unwrap();
    assert_eq!(expired.await.unwrap().unwrap_err(), SubmitError::NotAccepted);
    subject.accepts(Owner::Shared).await;
}

#[actix::test]
async fn a_user_at_its_limit_is_refused_and_the_others_are_not() {
    let mut subject = Subject::start([("orders.max_open_per_user", "1"), ("orders.max_concurrent", "1")]);
    subject.accepts(user(1)).await;
    let _running = subject.dispatches().await;
    assert_eq!(subject.submit(user(1)).await.unwrap().unwrap_err(), SubmitError::UserFull);
    subject.accepts(user(2)).await;
    assert_eq!(subject.stats().await.open, 2);
}

#[actix::test]
async fn a_repeat_of_an_accepted_order_is_answered_although_no_order_is_admitted() {
    let mut subject = Subject::start([("orders.max_open", "1")]);
    let accepted = subject.accepts(Owner::Shared).await;
    let _running = subject.dispatches().await;
    let repeat = subject.submit_with_key(Owner::Shared, request(), Some("key"));
    next!(subject.stubs, Asked::FindKey(_, reply) => reply).send(Ok(Some(accepted.id))).unwrap();
    subject.reloads(&accepted).await;
    let Submission { order, created } = repeat.await.unwrap().unwrap();
    assert_eq!((order.id, created), (accepted.id, false));
    // The same key with another request.
    let other = OrderRequest { min_amount_out: Some(BaseUnits(1)), ..request() };
    let other = subject.submit_with_key(Owner::Shared, other, Some("key"));
    next!(subject.stubs, Asked::FindKey(_, reply) => reply).send(Ok(Some(accepted.id))).unwrap();
    subject.reloads(&accepted).await;
    assert_eq!(other.await.unwrap().unwrap_err(), SubmitError::KeyReused);
}

#[actix::test]
async fn users_are_dispatched_in_turn_and_not_in_the_order_of_their_submits() {
    let mut subject = Subject::start([("orders.max_concurrent", "1"), ("orders.max_attempts", "1")]);
    let first = subject.accepts(user(1)).await;
    let mut running = subject.dispatches().await;
    let second = subject.accepts(user(1)).await;
    let third = subject.accepts(user(1)).await;
    let other = subject.accepts(user(2)).await;
    let mut dispatched = vec![running.0];
    for _ in 0..3 {
        running.1.reply.send(Ok(Written::Stored)).unwrap();
        let reply = next!(subject.stubs, Asked::RouteOrder(_, reply) => reply);
        reply.send(Err(Failure::new(FailureCode::NoLiquidity, "no pool"))).unwrap();
        subject.stubs.stores("failed").await;
        running = subject.dispatches().await;
        dispatched.push(running.0);
    }
    // The second order of the first user waited before the other user did.
    assert_eq!(dispatched, [first.id, second.id, other.id, third.id]);
}

#[actix::test]
async fn the_rate_limit_delays_a_dispatch_and_drops_none() {
    let mut subject = Subject::start([("orders.rate_limit_per_minute", "2")]);
    subject.accepts(Owner::Shared).await;
    let _first = subject.dispatches().await;
    subject.accepts(Owner::Shared).await;
    let _second = subject.dispatches().await;
    subject.accepts(Owner::Shared).await;
    subject.stubs.nothing_for(Duration::from_millis(1)).await;
    let started = Instant::now();
    assert_eq!((subject.stats().await.running, subject.stats().await.queued), (2, 1));
    let _third = subject.dispatches().await;
    assert!((59..=61).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[actix::test]
async fn a_broken_order_is_restarted_with_its_subscribers_and_a_failed_attempt() {
    let mut subject = Subject::start([]);
    let accepted = subject.accepts(Owner::Shared).await;
    let (_, record) = subject.dispatches().await;
    let (to, mut updates) = subscriber();
    let OrderLocation::Live(actor) = subject.find(Owner::Shared, accepted.id).await else { panic!("it is open") };
    actor.send(Subscribe { to, after_seq: 1 }).await.unwrap().unwrap();
    break_it(record);
    let (id, reload) = next!(subject.stubs, Asked::LoadOrder(LoadOrder(id), reply) => (id, reply));
    // A caller waits for the next actor, and the order holds no slot.
    let mut found = Box::pin(subject.manager.send(FindOrder { owner: Owner::Shared, id }));
    assert!(waits(&mut found).await);
    assert_eq!((subject.stats().await.open, subject.stats().await.running), (1, 0));
    reload.send(Ok(Some(StoredOrder { order: accepted, live: None }))).unwrap();
    let failed = subject.stubs.stores("attempt_failed").await;
    let OrderEvent::AttemptFailed { failure, .. } = &failed.event else { unreachable!() };
    assert_eq!((failure.code, failed.attempt), (FailureCode::Internal, 2));
    let OrderLocation::Live(next) = found.await.unwrap() else { panic!("it is open again") };
    assert_ne!(next, actor);
    assert_eq!(updates.recv().await, Some((2, "attempt_failed")));
    assert_eq!(subject.dispatches().await.0, id);
}

#[actix::test]
async fn an_order_that_keeps_breaking_is_set_aside_and_the_others_go_on() {
    let mut subject = Subject::start([("orders.max_concurrent", "1"), ("orders.timeout_ms", "86400000")]);
    let broken = subject.accepts(Owner::Shared).await;
    for _ in 0..20 {
        break_it(subject.dispatches().await.1);
        subject.reloads(&broken).await;
        // Its failed attempt cannot be recorded either.
        break_it(subject.stubs.write().await);
    }
    break_it(subject.dispatches().await.1);
    let other = subject.accepts(Owner::Shared).await;
    let (dispatched, _running) = subject.dispatches().await;
    assert_eq!(dispatched, other.id);
    assert!(matches!(subject.find(Owner::Shared, broken.id).await, OrderLocation::Busy));
    assert_eq!((subject.stats().await.stuck, subject.stats().await.running), (1, 1));
}

#[actix::test]
async fn a_swap_that_is_undecided_for_too_long_gives_its_slot_back() {
    let mut subject = Subject::start([("orders.max_concurrent", "1"), ("chain.resend_ms", "3600000")]);
    let stuck = subject.accepts(user(1)).await;
    subject.runs_until_sent(stuck.id).await;
    let chain = next!(subject.stubs, Asked::Watch(_, reply) => reply);
    let waiting = subject.accepts(user(2)).await;
    let started = Instant::now();
    let (dispatched, _running) = subject.dispatches().await;
    assert_eq!(dispatched, waiting.id);
    assert_eq!(started.elapsed().as_secs(), 120);
    assert_eq!((subject.stats().await.stuck, subject.stats().await.running), (1, 1));
    chain.send(landed()).unwrap();
    next!(subject.stubs, Asked::SwapEnded(_) => ());
    subject.stubs.stores("confirmed").await;
    subject.stubs.nothing_for(Duration::from_millis(1)).await;
    assert_eq!((subject.stats().await.stuck, subject.stats().await.open), (0, 1));
}

#[actix::test]
async fn a_recovered_order_with_a_live_swap_holds_a_slot_and_one_that_cannot_be_read_counts_as_stuck() {
    let mut subject = Subject::start([("orders.max_concurrent", "1")]);
    let clock = subject.stubs.clock;
    let live = after(order(&clock), until_submitted(&clock), &clock);
    let unreadable = |may_be_live| {
        let (id, owner) = (OrderId(uuid::Uuid::now_v7()), Some(Owner::Shared));
        UnreadableOrder { id, owner, may_be_live, reason: "damaged".into() }
    };
    let orders = vec![StoredOrder { order: live, live: Some(signed(VenueId::RAYDIUM)) }];
    let unreadable = vec![unreadable(true), unreadable(false)];
    subject.manager.send(Recover { orders, unreadable }).await.unwrap();
    let _chain = next!(subject.stubs, Asked::Watch(_, reply) => reply);
    let QueueStats { open, running, stuck, .. } = subject.stats().await;
    assert_eq!((open, running, stuck), (1, 1, 2));
}

#[actix::test]
async fn an_order_of_another_owner_is_not_found() {
    let mut subject = Subject::start([]);
    let accepted = subject.accepts(user(1)).await;
    assert!(matches!(subject.find(user(1), accepted.id).await, OrderLocation::Live(_)));
    for stranger in [user(2), Owner::Shared] {
        assert!(matches!(subject.find(stranger, accepted.id).await, OrderLocation::NotLive));
    }
}

#[actix::test]
async fn a_drain_parks_what_waits_lets_what_runs_end_and_refuses_what_is_new() {
    let mut subject = Subject::start([("orders.max_concurrent", "1")]);
    let running = subject.accepts(Owner::Shared).await;
    subject.runs_until_sent(running.id).await;
    let chain = next!(subject.stubs, Asked::Watch(_, reply) => reply);
    subject.accepts(Owner::Shared).await;
    let mut drained = Box::pin(subject.manager.send(Drain(Duration::from_secs(2))));
    assert!(waits(&mut drained).await);
    assert_eq!(subject.stats().await.open, 1, "the order that waited is parked");
    assert_eq!(subject.submit(Owner::Shared).await.unwrap().unwrap_err(), SubmitError::Stopping);
    chain.send(landed()).unwrap();
    next!(subject.stubs, Asked::SwapEnded(_) => ());
    let confirmed = subject.stubs.stores("confirmed").await;
    assert_eq!(confirmed.status, Status::Confirmed);
    let started = Instant::now();
    drained.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1), "it does not wait for its deadline");
}

#[actix::test]
async fn a_drain_parks_what_still_runs_at_its_deadline() {
    let mut subject = Subject::start([]);
    let running = subject.accepts(Owner::Shared).await;
    subject.runs_until_sent(running.id).await;
    let _silent = next!(subject.stubs, Asked::Watch(_, reply) => reply);
    let started = Instant::now();
    subject.manager.send(Drain(Duration::from_secs(2))).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 2);
}

#[actix::test]
async fn an_order_that_is_stored_during_a_drain_is_left_to_the_next_start() {
    let mut subject = Subject::start([]);
    let submitted = subject.submit(Owner::Shared);
    let record = subject.stubs.write().await;
    subject.manager.send(Drain(Duration::from_secs(2))).await.unwrap();
    record.reply.send(Ok(Written::Stored)).unwrap();
    assert!(submitted.await.unwrap().unwrap().created);
    subject.stubs.nothing_for(Duration::from_secs(60)).await;
    assert_eq!(subject.stats().await.open, 0);
}
