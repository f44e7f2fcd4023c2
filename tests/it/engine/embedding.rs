//! The engine as a library, inside a program that embeds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use order_engine::Engine;
use order_engine::domain::amount::BaseUnits;
use order_engine::domain::id::VenueId;
use order_engine::domain::lifecycle::Status;
use order_engine::domain::quote::Quote;
use order_engine::domain::request::OrderRequest;
use order_engine::domain::retry::{Failure, FailureCode};
use order_engine::domain::swap::SignedSwap;
use order_engine::domain::user::Owner;
use order_engine::engine::StartError;
use order_engine::store::OrderStore;
use order_engine::venue::{QuoteRequest, SwapRequest, Venue};

use crate::support::embedded::{request, settings};
use crate::support::memory_store::MemoryStore;

#[tokio::test]
async fn two_engines_run_inside_one_tokio_program() {
    let settings = settings([("simulation.swap_latency_min_ms", "0"), ("simulation.swap_latency_max_ms", "0")]);
    let (one, other) = (Engine::start(settings.clone()).await.unwrap(), Engine::start(settings.clone()).await.unwrap());
    assert_ne!(one.address(), other.address());
    for engine in [&one, &other] {
        let order = engine.submit(request(&settings), None).await.unwrap().order;
        let mut events = engine.subscribe(order.id).await.unwrap();
        let mut statuses = Vec::new();
        while let Some(event) = events.next().await {
            statuses.push(event.status.name());
        }
        assert_eq!(statuses, ["pending", "routing", "building", "submitted", "confirmed"]);
    }
    one.shutdown().await;
    other.shutdown().await;
}

#[actix::test]
async fn an_engine_runs_in_the_actix_system_of_its_host() {
    let settings = settings([]);
    let engine = Engine::builder(settings.clone()).without_http().on_this_thread().start().await.unwrap();
    let order = engine.submit(request(&settings), None).await.unwrap().order;
    assert_eq!(engine.service().order(Owner::Shared, order.id).await.unwrap().id, order.id);
    let request: Arc<OrderRequest> = order.request;
    assert_eq!(request.amount_in, BaseUnits(1_500_000_000));
    engine.shutdown().await;
}

/// A venue without liquidity, which counts how often it is asked.
#[derive(Default)]
struct EmptyVenue(AtomicU32);

#[async_trait]
impl Venue for EmptyVenue {
    fn id(&self) -> VenueId {
        VenueId::named("meteora")
    }

    async fn quote(&self, _: QuoteRequest) -> Result<Quote, Failure> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(Failure::new(FailureCode::NoLiquidity, "the pool is empty"))
    }

    async fn build(&self, _: SwapRequest) -> Result<SignedSwap, Failure> {
        unreachable!("this venue never quotes")
    }
}

#[actix::test]
async fn two_venues_with_one_id_are_refused_at_the_start() {
    let venue = || Arc::new(EmptyVenue::default());
    let builder = Engine::builder(settings([])).venues(vec![venue(), venue()]).without_http().on_this_thread();
    let error = builder.start().await.err().unwrap();
    assert!(matches!(error, StartError::DuplicateVenue(id) if id.name() == "meteora"), "{error}");
}

#[actix::test]
async fn a_setting_for_a_venue_that_does_not_exist_is_refused_at_the_start() {
    for key in ["simulation.venues_down", "simulation.venues_silent"] {
        let builder = Engine::builder(settings([(key, "meteora,orca")])).without_http().on_this_thread();
        let error = builder.start().await.err().unwrap().to_string();
        assert_eq!(error, format!("{key}: there is no simulated venue orca, only raydium, meteora"));
    }
}

#[actix::test]
async fn an_engine_asks_the_venues_and_uses_the_store_of_its_host() {
    tokio::time::pause();
    let (settings, store, venue) = (settings([]), MemoryStore::new(), Arc::new(EmptyVenue::default()));
    let builder = Engine::builder(settings.clone()).store(store.clone()).venues(vec![venue.clone()]).without_http();
    let engine = builder.on_this_thread().start().await.unwrap();
    let id = engine.submit(request(&settings), None).await.unwrap().order.id;
    let mut events = engine.subscribe(id).await.unwrap();
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event);
    }
    assert_eq!(last.unwrap().status, Status::Failed);
    assert!(venue.0.load(Ordering::Relaxed) > 0);
    assert_eq!(store.order(id).await.unwrap().unwrap().order.state().status(), Status::Failed);
}
