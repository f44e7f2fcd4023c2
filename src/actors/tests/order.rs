use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use async_trait::async_trait;

use super::stubs::{
    Asked, ChainReply, Reply, Stubs, VENUES, after, decision, expired_at, landed, next, order, quote, recorded, signed,
    subscriber, unsigned, until_submitted, waits,
};
use crate::actors::dex_router::RouteOrder;
use crate::actors::order::{
    Cancel, CancelError, Channel, Channels, Exit, OrderActor, RequestSlot, SlotGranted, StopOrder, Subscribe,
    Subscribers, TooManySubscribers,
};
use crate::actors::persistence::RecordError;
use crate::actors::venue::{BuildSwap, GetQuote};
use crate::chain::ChainError;
use crate::domain::amount::BaseUnits;
use crate::domain::id::VenueId;
use crate::domain::lifecycle::{OrderEvent, Status};
use crate::domain::order::{Order, RecordedEvent};
use crate::domain::quote::Quote;
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::swap::{Outcome, PublicKey, Signature, SignedSwap, UnsignedSwap};
use crate::signer::{SignError, Signer};
use crate::simulation::signer::SimulatedSigner;
use crate::store::Written;

const A_WHILE: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3_600);

/// The settings of most tests: those of `config/default.toml`.
const DEFAULTS: [(&str, &str); 0] = [];

/// One order's actor.
struct Subject {
    stubs: Stubs,
    order: Addr<OrderActor>,
    channel: Arc<Channel>,
}

impl Subject {
    /// A new order.
    fn start<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let stubs = Stubs::start();
        let order = order(&stubs.clock);
        Self::resume(stubs, order, None, settings)
    }

    /// An order as an earlier actor left it.
    fn resume<'a>(
        stubs: Stubs,
        order: Order,
        live: Option<SignedSwap>,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let channel = Channels::new(10).of(order.owner);
        let context = stubs.context(settings);
        let order = OrderActor::new(order, live, Subscribers::default(), channel.clone(), context).start();
        Self { stubs, order, channel }
    }

    /// An order with a live swap that a previous actor has recorded.
    fn resume_submitted() -> Self {
        let stubs = Stubs::start();
        let submitted = after(order(&stubs.clock), until_submitted(&stubs.clock), &stubs.clock);
        Self::resume(stubs, submitted, Some(signed(VenueId::RAYDIUM)), DEFAULTS)
    }

    /// Expects a request for a slot, and returns how long the order waits before it joins the queue.
    async fn requests_slot(&mut self) -> Duration {
        next!(self.stubs, Asked::RequestSlot(RequestSlot { wait, .. }) => wait)
    }

    fn grant_slot(&self) {
        self.order.do_send(SlotGranted { now: self.stubs.clock.read(), number: 1 });
    }

    /// Expects a request for a slot, grants it, and stores the dispatch. Returns the wait.
    async fn starts_attempt(&mut self) -> Duration {
        let wait = self.requests_slot().await;
        self.grant_slot();
        self.stubs.stores("dispatched").await;
        wait
    }

    async fn routes(&mut self) -> Reply<RouteOrder> {
        next!(self.stubs, Asked::RouteOrder(_, reply) => reply)
    }

    /// Expects the question to the router, and answers that Raydium is better than Meteora.
    async fn is_routed(&mut self) {
        self.routes().await.send(Ok(decision(&self.stubs.clock))).unwrap();
        self.stubs.stores("routed").await;
    }

    async fn builds(&mut self, venue: VenueId) -> Reply<BuildSwap> {
        let (request, reply) = next!(self.stubs, Asked::BuildSwap(BuildSwap(request), reply) => (request, reply));
        assert_eq!(request.quote.venue, venue);
        reply
    }

    /// The attempt from its slot to the signed swap, whose write is next.
    async fn until_signed(&mut self) -> Duration {
        let wait = self.starts_attempt().await;
        self.is_routed().await;
        self.builds(VenueId::RAYDIUM).await.send(Ok(unsigned(VenueId::RAYDIUM))).unwrap();
        wait
    }

    /// The attempt from its slot to the sent swap, whose first look at the chain is next.
    async fn until_sent(&mut self) -> Duration {
        let wait = self.until_signed().await;
        self.stubs.stores("submitted").await;
        self.sends().await;
        wait
    }

    async fn sends(&mut self) {
        next!(self.stubs, Asked::Send(_) => ());
    }

    async fn watches(&mut self) -> ChainReply {
        next!(self.stubs, Asked::Watch(_, reply) => reply)
    }

    async fn reports_swap(&mut self, landed: bool) {
        let ended = next!(self.stubs, Asked::SwapEnded(ended) => ended);
        assert_eq!((ended.venue, ended.landed), (VenueId::RAYDIUM, landed));
    }

    async fn exits(&mut self) -> Exit {
        next!(self.stubs, Asked::OrderExited(exited) => exited.exit)
    }
}

fn rejected() -> Result<Option<Outcome>, ChainError> {
    let failure = Failure::new(FailureCode::SwapRejected, "rejected");
    Ok(Some(Outcome::Rejected { failure, slot: 90 }))
}

#[actix::test]
async fn a_swap_is_sent_after_its_record_and_the_order_ends_after_the_last_record() {
    let mut subject = Subject::start(DEFAULTS);
    subject.until_signed().await;
    let submitted = subject.stubs.write().await;
    subject.stubs.nothing_for(A_WHILE).await;
    submitted.reply.send(Ok(Written::Stored)).unwrap();
    subject.sends().await;
    subject.watches().await.send(landed()).unwrap();
    subject.reports_swap(true).await;
    let confirmed = subject.stubs.write().await;
    assert_eq!(recorded(&confirmed.write).status, Status::Confirmed);
    subject.stubs.nothing_for(A_WHILE).await;
    confirmed.reply.send(Ok(Written::Stored)).unwrap();
    assert_eq!(subject.exits().await, Exit::Ended);
}

#[actix::test]
async fn a_rejected_swap_is_retried_with_growing_waits_and_fails_once_after_the_last_attempt() {
    let mut subject = Subject::start(DEFAULTS);
    let mut waits = Vec::new();
    for attempt in 1..=3 {
        waits.push(subject.until_sent().await.as_millis());
        subject.watches().await.send(rejected()).unwrap();
        subject.reports_swap(false).await;
        if attempt < 3 {
            assert_eq!(subject.stubs.stores("attempt_failed").await.attempt, attempt + 1);
        }
    }
    assert_eq!(subject.stubs.stores("failed").await.retry_count, 3);
    assert_eq!(subject.exits().await, Exit::Ended);
    // One and two seconds, with a fifth of jitter.
    assert!(waits[0] == 0 && (800..=1_200).contains(&waits[1]) && (1_600..=2_400).contains(&waits[2]), "{waits:?}");
}

#[actix::test]
async fn a_permanent_failure_is_not_retried() {
    let mut subject = Subject::start(DEFAULTS);
    subject.starts_attempt().await;
    subject.routes().await.send(Err(Failure::new(FailureCode::NoLiquidity, "no pool"))).unwrap();
    assert_eq!(subject.stubs.stores("failed").await.retry_count, 1);
    assert_eq!(subject.exits().await, Exit::Ended);
}

#[actix::test]
async fn a_router_that_does_not_answer_fails_the_attempt() {
    let mut subject = Subject::start(DEFAULTS);
    subject.starts_attempt().await;
    let _silent = subject.routes().await;
    let failed = subject.stubs.stores("attempt_failed").await;
    let OrderEvent::AttemptFailed { failure, .. } = &failed.event else { unreachable!() };
    assert_eq!(failure.code, FailureCode::VenueUnavailable);
}

#[actix::test]
async fn the_next_best_venue_builds_the_swap_that_the_best_one_cannot() {
    let mut subject = Subject::start(DEFAULTS);
    subject.starts_attempt().await;
    subject.is_routed().await;
    let failure = Failure::new(FailureCode::BuildFailed, "the pool has moved");
    subject.builds(VenueId::RAYDIUM).await.send(Err(failure)).unwrap();
    subject.builds(VenueId::METEORA).await.send(Ok(unsigned(VenueId::METEORA))).unwrap();
    let submitted = subject.stubs.stores("submitted").await;
    let OrderEvent::Submitted(swap) = &submitted.event else { unreachable!() };
    assert_eq!(swap.venue, VenueId::METEORA);
}

#[actix::test]
async fn a_signer_that_fails_ends_the_attempt_without_the_next_venue() {
    struct Locked;

    #[async_trait]
    impl Signer for Locked {
        fn public_key(&self) -> PublicKey {
            SimulatedSigner::new(&[1; 32]).public_key()
        }

        async fn sign(&self, _: &[u8]) -> Result<Signature, SignError> {
            Err(SignError::Unavailable("the vault is locked".to_owned()))
        }
    }

    let mut stubs = Stubs::start();
    stubs.signer = Arc::new(Locked);
    let accepted = order(&stubs.clock);
    let mut subject = Subject::resume(stubs, accepted, None, DEFAULTS);
    subject.starts_attempt().await;
    subject.is_routed().await;
    subject.builds(VenueId::RAYDIUM).await.send(Ok(unsigned(VenueId::RAYDIUM))).unwrap();
    // The next message is the record, so Meteora is not asked.
    let failed = subject.stubs.stores("attempt_failed").await;
    let OrderEvent::AttemptFailed { failure, .. } = &failed.event else { unreachable!() };
    assert_eq!(*failure, Failure::new(FailureCode::BuildFailed, "the signer is unavailable"));
}

#[actix::test]
async fn instructions_that_the_chain_cannot_use_leave_the_swap_to_the_next_venue() {
    let mut subject = Subject::start(DEFAULTS);
    subject.starts_attempt().await;
    subject.is_routed().await;
    let unusable = UnsignedSwap { instructions: Arc::from([]), ..unsigned(VenueId::RAYDIUM) };
    subject.builds(VenueId::RAYDIUM).await.send(Ok(unusable)).unwrap();
    subject.builds(VenueId::METEORA).await.send(Ok(unsigned(VenueId::METEORA))).unwrap();
    let submitted = subject.stubs.stores("submitted").await;
    let OrderEvent::Submitted(swap) = &submitted.event else { unreachable!() };
    assert_eq!(swap.venue, VenueId::METEORA);
}

#[actix::test]
async fn a_quote_that_is_too_old_is_requested_again_and_checked_again() {
    let mut subject = Subject::start([("orders.max_attempts", "1")]);
    subject.starts_attempt().await;
    let routed = {
        subject.routes().await.send(Ok(decision(&subject.stubs.clock))).unwrap();
        subject.stubs.write().await
    };
    subject.stubs.nothing_for(A_WHILE).await;
    routed.reply.send(Ok(Written::Stored)).unwrap();
    for venue in VENUES {
        let reply = next!(subject.stubs, Asked::GetQuote(GetQuote(_), reply) => reply);
        let quote = quote(venue, &subject.stubs.clock);
        reply.send(Ok(Quote { amount_out: BaseUnits(0), ..quote })).unwrap();
    }
    let failed = subject.stubs.stores("failed").await;
    let OrderEvent::Failed(failure) = &failed.event else { unreachable!() };
    assert_eq!(failure.code, FailureCode::NoLiquidity);
}

#[actix::test]
async fn an_order_that_waits_is_cancelled_and_the_cancel_is_answered_after_its_record() {
    let mut subject = Subject::start(DEFAULTS);
    subject.requests_slot().await;
    let mut cancel = Box::pin(subject.order.send(Cancel));
    assert!(waits(&mut cancel).await);
    let cancelled = subject.stubs.write().await;
    subject.stubs.nothing_for(A_WHILE).await;
    assert!(waits(&mut cancel).await);
    cancelled.reply.send(Ok(Written::Stored)).unwrap();
    assert_eq!(cancel.await.unwrap().unwrap().last().status, Status::Cancelled);
    assert_eq!(subject.exits().await, Exit::Ended);
}

#[actix::test]
async fn a_cancel_while_a_swap_may_land_is_too_late_and_granted_when_the_swap_does_not_land() {
    let mut subject = Subject::start(DEFAULTS);
    subject.until_sent().await;
    let _abandoned = subject.watches().await;
    let cancel = subject.order.send(Cancel);
    subject.stubs.stores("cancel_requested").await;
    assert!(matches!(cancel.await.unwrap(), Err(CancelError::TooLate(_))));
    // A second cancel changes nothing.
    assert!(matches!(subject.order.send(Cancel).await.unwrap(), Err(CancelError::TooLate(_))));
    loop {
        match subject.stubs.next().await {
            Asked::Watch(_, reply) => drop(reply.send(expired_at(101))),
            Asked::SwapEnded(ended) => break assert!(!ended.landed),
            other => panic!("{other:?}"),
        }
    }
    let cancelled = subject.stubs.stores("cancelled").await;
    let OrderEvent::Cancelled(Some(failure)) = &cancelled.event else { panic!("{cancelled:?}") };
    assert_eq!(failure.code, FailureCode::SwapExpired);
    assert_eq!(subject.exits().await, Exit::Ended);
}

#[actix::test]
async fn a_cancel_during_the_record_of_a_swap_is_decided_after_that_record() {
    let mut subject = Subject::start(DEFAULTS);
    subject.until_signed().await;
    let submitted = subject.stubs.write().await;
    let cancel = subject.order.send(Cancel);
    subject.stubs.nothing_for(A_WHILE).await;
    submitted.reply.send(Ok(Written::Stored)).unwrap();
    subject.stubs.stores("cancel_requested").await;
    assert!(matches!(cancel.await.unwrap(), Err(CancelError::TooLate(_))));
}

#[actix::test]
async fn a_cancel_during_the_last_record_is_answered_with_the_end() {
    let mut subject = Subject::start(DEFAULTS);
    subject.until_sent().await;
    subject.watches().await.send(landed()).unwrap();
    subject.reports_swap(true).await;
    let confirmed = subject.stubs.write().await;
    let cancel = subject.order.send(Cancel);
    subject.stubs.nothing_for(A_WHILE).await;
    confirmed.reply.send(Ok(Written::Stored)).unwrap();
    let answer = cancel.await.unwrap();
    let Err(CancelError::AlreadyEnded(order)) = answer else { panic!("{answer:?}") };
    assert_eq!(order.last().status, Status::Confirmed);
}

#[actix::test]
async fn an_order_fails_at_its_deadline_while_it_waits() {
    let mut subject = Subject::start(DEFAULTS);
    let started = tokio::time::Instant::now();
    subject.requests_slot().await;
    let failed = subject.stubs.stores("failed").await;
    let OrderEvent::Failed(failure) = &failed.event else { unreachable!() };
    assert_eq!((failure.code, failed.retry_count), (FailureCode::Timeout, 0));
    assert_eq!(started.elapsed().as_secs(), 600);
    assert_eq!(subject.exits().await, Exit::Ended);
}

#[actix::test]
async fn an_undecided_swap_is_sent_again_and_never_followed_by_a_second_one() {
    let mut subject = Subject::start(DEFAULTS);
    subject.until_sent().await;
    let (mut sent, mut stuck) = (1, 0);
    let started = tokio::time::Instant::now();
    // Far beyond the order's deadline.
    while started.elapsed() < HOUR {
        match subject.stubs.next().await {
            Asked::Watch(_, reply) if sent % 2 == 0 => drop(reply.send(Err(ChainError("no answer".into())))),
            Asked::Watch(_, reply) => {
                tokio::time::sleep(Duration::from_secs(2)).await;
                drop(reply.send(expired_at(100)));
            }
            Asked::Send(_) => sent += 1,
            Asked::SwapStuck(_) => stuck += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(sent > 100 && stuck == 1, "sent {sent} times, {stuck} alarms");
}

#[actix::test]
async fn the_verdict_of_an_abandoned_look_at_the_chain_is_dropped_and_the_chain_is_asked_again() {
    let mut subject = Subject::start(DEFAULTS);
    subject.until_sent().await;
    let verdict = subject.watches().await;
    let cancel = subject.order.send(Cancel);
    let requested = subject.stubs.write().await;
    // The chain decides while the cancel is being recorded.
    verdict.send(landed()).unwrap();
    subject.stubs.nothing_for(A_WHILE).await;
    requested.reply.send(Ok(Written::Stored)).unwrap();
    subject.watches().await.send(landed()).unwrap();
    subject.reports_swap(true).await;
    subject.stubs.stores("confirmed").await;
    assert!(matches!(cancel.await.unwrap(), Err(CancelError::TooLate(_))));
}

#[actix::test]
async fn a_late_routing_decision_of_a_cancelled_order_is_dropped() {
    let mut subject = Subject::start(DEFAULTS);
    subject.starts_attempt().await;
    let late = subject.routes().await;
    let cancel = subject.order.send(Cancel);
    let cancelled = subject.stubs.write().await;
    let _ = late.send(Ok(decision(&subject.stubs.clock)));
    subject.stubs.nothing_for(Duration::from_secs(1)).await;
    cancelled.reply.send(Ok(Written::Stored)).unwrap();
    assert!(cancel.await.unwrap().is_ok());
    assert_eq!(subject.exits().await, Exit::Ended);
}

#[actix::test]
async fn a_slot_that_is_granted_during_a_cancel_starts_nothing() {
    let mut subject = Subject::start(DEFAULTS);
    subject.requests_slot().await;
    let cancel = subject.order.send(Cancel);
    let cancelled = subject.stubs.write().await;
    subject.grant_slot();
    subject.stubs.nothing_for(A_WHILE).await;
    cancelled.reply.send(Ok(Written::Stored)).unwrap();
    assert!(cancel.await.unwrap().is_ok());
    assert_eq!(subject.exits().await, Exit::Ended);
}

#[actix::test]
async fn a_stopped_order_parks_after_the_write_in_flight() {
    let mut subject = Subject::start(DEFAULTS);
    subject.until_signed().await;
    let submitted = subject.stubs.write().await;
    subject.order.do_send(StopOrder);
    subject.stubs.nothing_for(A_WHILE).await;
    submitted.reply.send(Ok(Written::Stored)).unwrap();
    // The swap is recorded and not sent: the next start asks the chain first.
    assert_eq!(subject.exits().await, Exit::Parked);
}

#[actix::test]
async fn a_restarted_order_asks_the_chain_before_it_sends_its_swap_again() {
    let mut subject = Subject::resume_submitted();
    subject.watches().await.send(Ok(None)).unwrap();
    subject.sends().await;
    subject.watches().await.send(landed()).unwrap();
    subject.reports_swap(true).await;
    subject.stubs.stores("confirmed").await;
}

#[actix::test]
async fn a_restarted_order_without_a_signed_swap_starts_its_attempt_over() {
    let stubs = Stubs::start();
    let routing = after(order(&stubs.clock), [OrderEvent::Dispatched], &stubs.clock);
    let mut subject = Subject::resume(stubs, routing, None, DEFAULTS);
    let interrupted = subject.stubs.stores("interrupted").await;
    assert_eq!((interrupted.attempt, interrupted.retry_count), (1, 0));
    assert_eq!(subject.requests_slot().await, Duration::ZERO);
}

#[actix::test]
async fn a_write_that_is_refused_breaks_the_actor_and_is_not_shown() {
    let mut subject = Subject::start(DEFAULTS);
    let (to, mut updates) = subscriber();
    subject.order.send(Subscribe { to, after_seq: 0 }).await.unwrap().unwrap();
    subject.requests_slot().await;
    subject.grant_slot();
    let dispatched = subject.stubs.write().await;
    dispatched.reply.send(Err(RecordError::Refused("no".into()))).unwrap();
    assert_eq!(subject.exits().await, Exit::Broken);
    assert!(updates.try_recv().is_err(), "nothing was recorded");
}

#[actix::test]
async fn an_order_parks_when_persistence_has_stopped() {
    let mut subject = Subject::start(DEFAULTS);
    subject.requests_slot().await;
    subject.grant_slot();
    drop(subject.stubs.write().await);
    assert_eq!(subject.exits().await, Exit::Parked);
}

#[actix::test]
async fn a_subscriber_gets_the_history_and_then_each_event_once_it_is_recorded() {
    let mut subject = Subject::start(DEFAULTS);
    let (to, mut updates) = subscriber();
    let subscribed = subject.order.send(Subscribe { to, after_seq: 0 }).await.unwrap().unwrap();
    let history: Vec<_> = subscribed.history.iter().map(|step: &Arc<RecordedEvent>| step.seq).collect();
    assert_eq!((history, subscribed.status), (vec![1], Status::Pending));
    subject.requests_slot().await;
    subject.grant_slot();
    let dispatched = subject.stubs.write().await;
    subject.stubs.nothing_for(A_WHILE).await;
    assert!(updates.try_recv().is_err(), "it is not recorded yet");
    dispatched.reply.send(Ok(Written::Stored)).unwrap();
    subject.is_routed().await;
    assert_eq!(updates.recv().await, Some((2, "dispatched")));
    assert_eq!(updates.recv().await, Some((3, "routed")));
}

#[actix::test]
async fn a_follower_gets_each_event_once_also_if_it_subscribed() {
    let mut subject = Subject::start(DEFAULTS);
    let ((follower, mut followed), (both, mut updates)) = (subscriber(), subscriber());
    subject.requests_slot().await;
    let _following = [follower, both.clone()].map(|to| subject.channel.follow(to).unwrap());
    subject.order.send(Subscribe { to: both, after_seq: 0 }).await.unwrap().unwrap();
    subject.grant_slot();
    subject.stubs.stores("dispatched").await;
    subject.is_routed().await;
    let _silent = subject.builds(VenueId::RAYDIUM).await;
    subject.stubs.nothing_for(Duration::from_millis(1)).await;
    for updates in [&mut followed, &mut updates] {
        let received: Vec<_> = std::iter::from_fn(|| updates.try_recv().ok()).collect();
        assert_eq!(received, [(2, "dispatched"), (3, "routed")]);
    }
}

#[actix::test]
async fn an_order_has_a_limited_number_of_subscribers() {
    let subject = Subject::start([("orders.max_subscribers", "1")]);
    let ((first, _updates), (second, _)) = (subscriber(), subscriber());
    assert!(subject.order.send(Subscribe { to: first.clone(), after_seq: 0 }).await.unwrap().is_ok());
    let refused = subject.order.send(Subscribe { to: second, after_seq: 0 }).await.unwrap();
    assert_eq!(refused.unwrap_err(), TooManySubscribers);
}
