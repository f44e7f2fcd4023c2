//! The engine as a library, inside a program that embeds it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use order_engine::Engine;
use order_engine::actors::order_manager::SubmitError;
use order_engine::domain::amount::BaseUnits;
use order_engine::domain::id::VenueId;
use order_engine::domain::lifecycle::{OrderEvent, Status};
use order_engine::domain::quote::{Quote, price};
use order_engine::domain::request::OrderRequest;
use order_engine::domain::retry::{Failure, FailureCode};
use order_engine::domain::swap::{PublicKey, Signature, UnsignedSwap};
use order_engine::domain::user::Owner;
use order_engine::engine::StartError;
use order_engine::runtime::clock::Clock;
use order_engine::runtime::environment::Environment;
use order_engine::signer::{SignError, Signer};
use order_engine::simulation::rng::SimulationRng;
use order_engine::simulation::signer::SimulatedSigner;
use order_engine::simulation::transaction::unsigned;
use order_engine::simulation::venue::{SimulatedMarket, SimulatedVenue};
use order_engine::simulation::venues::VENUES;
use order_engine::store::OrderStore;
use order_engine::venue::{QuoteRequest, SwapRequest, Venue};

use crate::support::embedded::{request, settings, start_on_paused_time};
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

    async fn build(&self, _: SwapRequest) -> Result<UnsignedSwap, Failure> {
        unreachable!("this venue never quotes")
    }
}

/// A third venue, which pays more than the others.
struct Orca;

#[async_trait]
impl Venue for Orca {
    fn id(&self) -> VenueId {
        VenueId::named("orca")
    }

    async fn quote(&self, request: QuoteRequest) -> Result<Quote, Failure> {
        let order = &request.order;
        let amount_out = BaseUnits(1_000_000_000);
        Ok(Quote {
            venue: self.id(),
            amount_out,
            fee: BaseUnits(0),
            price: price(order.amount_in, &order.token_in, amount_out, &order.token_out),
            price_impact: 0.into(),
            latency_ms: 0,
            quoted_at: Clock::System.now(),
        })
    }

    async fn build(&self, request: SwapRequest) -> Result<UnsignedSwap, Failure> {
        Ok(unsigned(&request))
    }
}

/// Signs with the wallet of the simulation, and keeps what it signed.
struct Recording {
    wallet: SimulatedSigner,
    signed: Mutex<Vec<(Vec<u8>, Signature)>>,
}

#[async_trait]
impl Signer for Recording {
    fn public_key(&self) -> PublicKey {
        self.wallet.public_key()
    }

    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let signature = self.wallet.sign(message).await?;
        self.signed.lock().unwrap().push((message.to_vec(), signature));
        Ok(signature)
    }
}

#[tokio::test]
async fn a_third_venue_wins_and_its_swap_is_signed_once_by_the_signer_of_the_engine() {
    let settings = settings([
        ("simulation.swap_latency_min_ms", "0"),
        ("simulation.swap_latency_max_ms", "0"),
        ("simulation.drift_ppm", "0"),
    ]);
    let rng = SimulationRng::new(1, &Environment::system().random);
    let market = SimulatedMarket {
        settings: settings.simulation.clone(),
        tokens: settings.tokens.clone(),
        rng,
        clock: Clock::System,
    };
    let simulated = SimulatedVenue::all(&VENUES, market).into_iter().map(|venue| Arc::new(venue) as Arc<dyn Venue>);
    let signer = Arc::new(Recording { wallet: SimulatedSigner::new(&[7; 32]), signed: Mutex::default() });
    let venues = simulated.chain([Arc::new(Orca) as Arc<dyn Venue>]).collect();
    let builder = Engine::builder(settings.clone()).venues(venues).signer(signer.clone());
    let engine = builder.store(MemoryStore::new()).without_http().start().await.unwrap();

    let id = engine.submit(request(&settings), None).await.unwrap().order.id;
    let mut events = engine.subscribe(id).await.unwrap();
    let (mut venues, mut swap, mut filled) = (Vec::new(), None, None);
    while let Some(event) = events.next().await {
        match &event.event {
            OrderEvent::Routed(decision) => venues = decision.quotes.iter().map(|quote| quote.venue).collect(),
            OrderEvent::Submitted(submitted) => swap = Some(submitted.clone()),
            OrderEvent::Confirmed { fill, .. } => filled = Some(fill.amount_out),
            _ => {}
        }
    }
    let swap = swap.unwrap();
    assert_eq!((venues.len(), venues[0].name(), swap.venue.name()), (3, "orca", "orca"));
    assert_eq!(filled, Some(BaseUnits(1_000_000_000)));
    let signed = signer.signed.lock().unwrap().clone();
    let [(message, signature)] = &signed[..] else { panic!("not signed once") };
    assert_eq!(*signature, swap.signature);
    assert!(signer.public_key().verifies(message, swap.signature));
    engine.shutdown().await;
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

#[actix::test]
async fn a_client_order_id_of_an_embedding_program_is_an_idempotency_key() {
    let settings = settings([]);
    let engine = start_on_paused_time(&settings).await;
    let named = |id: &str| OrderRequest { client_order_id: Some(id.parse().unwrap()), ..request(&settings) };
    let first = engine.submit(named("mine"), None).await.unwrap();
    let repeated = engine.submit(named("mine"), None).await.unwrap();
    assert_eq!((first.created, repeated.created), (true, false));
    assert_eq!(first.order.id, repeated.order.id);
    let other_key = Some("other".parse().unwrap());
    assert_eq!(engine.submit(named("mine"), other_key).await.unwrap_err(), SubmitError::KeyMismatch);
}
