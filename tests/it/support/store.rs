//! The store under test: on a SQLite file and on a PostgreSQL of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::Actor;
use chrono::{DateTime, TimeDelta, Utc};
use order_engine::Settings;
use order_engine::actors::persistence::{Persistence, PersistenceRecipients};
use order_engine::actors::supervisor::Supervisor;
use order_engine::config::DatabaseSettings;
use order_engine::domain::amount::BaseUnits;
use order_engine::domain::id::{ClientKey, OrderId, VenueId};
use order_engine::domain::lifecycle::OrderEvent;
use order_engine::domain::order::Order;
use order_engine::domain::quote::Quote;
use order_engine::domain::request::OrderRequest;
use order_engine::domain::retry::{Failure, FailureCode};
use order_engine::domain::routing::RoutingDecision;
use order_engine::domain::swap::{Fill, Signature, SignedSwap, Swap};
use order_engine::domain::user::{Owner, UserId};
use order_engine::runtime::clock::Clock;
use order_engine::store::{ListFilter, OrderStore, SeaStore, StoredOrder, Write, Written};
use order_engine::telemetry::metrics::Metrics;
use sea_orm::{Database, DatabaseConnection};
use uuid::Uuid;

use crate::support::embedded;
use crate::support::postgres::Postgres;

/// A store on one of the two databases, with an empty schema.
pub struct Backend {
    pub name: &'static str,
    pub settings: DatabaseSettings,
    pub store: Arc<SeaStore>,
}

impl Backend {
    pub async fn open(name: &'static str, url: &str) -> Self {
        let settings = Settings::with([("database.url", url)]).unwrap().database;
        let store = Arc::new(SeaStore::open(&settings).await.unwrap());
        Self { name, settings, store }
    }

    /// A connection that does not belong to the store.
    pub async fn connect(&self) -> DatabaseConnection {
        Database::connect(self.settings.url.expose()).await.unwrap()
    }

    /// Commits writes as one batch, and fails unless each is stored.
    pub async fn commit(&self, writes: &[Write]) {
        let written = self.store.commit(writes).await.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        assert_eq!(written, vec![Written::Stored; writes.len()], "{}", self.name);
    }

    /// Stores a new order.
    pub async fn accept(&self, order: &Order) {
        self.commit(&[Write::accept(Uuid::new_v4(), order.clone(), order.request.client_order_id.clone())]).await;
    }

    pub async fn order(&self, id: OrderId) -> StoredOrder {
        self.store.order(id).await.unwrap().unwrap_or_else(|| panic!("{}: no order {id}", self.name))
    }

    pub async fn list(&self, filter: ListFilter) -> Vec<OrderId> {
        self.store.list(&filter).await.unwrap().orders.into_iter().map(|order| order.id).collect()
    }
}

/// Runs a test on both databases.
pub async fn on_both(test: impl AsyncFn(&Backend)) {
    let folder = tempfile::tempdir().unwrap();
    let file = sqlite(folder.path());
    let postgres = Postgres::start();
    for (name, url) in [("SQLite", file), ("PostgreSQL", postgres.url())] {
        let backend = Backend::open(name, &url).await;
        println!("on {name}");
        test(&backend).await;
        backend.store.close().await;
    }
}

fn sqlite(folder: &Path) -> String {
    format!("sqlite://{}?mode=rwc", folder.join("orders.db").display())
}

/// The time of every test: with microseconds, which a column of milliseconds would round.
pub fn base_time() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_767_225_599_999_999).unwrap()
}

pub fn request() -> OrderRequest {
    embedded::request(&embedded::settings([]))
}

pub fn key(text: &str) -> ClientKey {
    text.parse().unwrap()
}

pub fn user() -> Owner {
    Owner::User(UserId(Uuid::now_v7()))
}

pub fn order_for(owner: Owner) -> Order {
    let mut order = order();
    order.owner = owner;
    order
}

/// A new order of that request, whose id is greater than that of every order created before it at the same time.
pub fn order_of(request: OrderRequest, at: DateTime<Utc>) -> Order {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let mut rest = [0; 10];
    rest[2..].copy_from_slice(&MADE.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    let millis = at.timestamp_millis().try_into().unwrap();
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &rest).into_uuid();
    Order::accept(None, OrderId(id), Owner::Shared, Arc::new(request), at)
}

pub fn order() -> Order {
    order_of(request(), base_time())
}

fn quote(venue: VenueId, amount_out: u64, price: &str) -> Quote {
    Quote {
        venue,
        amount_out: BaseUnits(amount_out),
        fee: BaseUnits(amount_out / 400),
        price: price.parse().unwrap(),
        price_impact: "0.000000000000000001".parse().unwrap(),
        latency_ms: 198,
        quoted_at: base_time(),
    }
}

pub fn routed(amount_out: u64) -> OrderEvent {
    OrderEvent::Routed(Arc::new(RoutingDecision {
        quotes: vec![
            quote(VenueId::named("meteora"), amount_out, "152.318200000000001"),
            quote(VenueId::named("raydium"), amount_out / 2, "0.000000000000001"),
        ],
        unavailable: Vec::new(),
        reason: "meteora pays more; \"quotes\" and ünïcödé are kept".into(),
    }))
}

/// A signed swap with a new signature and new bytes.
pub fn signed(quoted_out: u64) -> SignedSwap {
    let mut signature = [0; 64];
    signature[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    let swap = Swap {
        venue: VenueId::named("meteora"),
        signature: Signature(signature),
        last_valid_block_height: 350_000_150,
        quoted_out: BaseUnits(quoted_out),
        min_amount_out: BaseUnits(quoted_out),
    };
    SignedSwap { swap, bytes: signature.iter().copied().chain(0..=255).collect() }
}

/// The write of the next event of an order, which is applied to the order as well.
pub fn next(order: &mut Order, event: OrderEvent, signed: Option<&SignedSwap>) -> Write {
    let later = order.last().at + TimeDelta::microseconds(1);
    let recorded = Arc::new(order.propose(event, later).unwrap());
    let write = match recorded.event {
        OrderEvent::Dispatched => {
            Write::dispatch(Uuid::new_v4(), order, recorded.clone(), recorded.at.timestamp_micros())
        }
        _ => Write::step(Uuid::new_v4(), order, recorded.clone(), signed),
    };
    order.apply(recorded).unwrap();
    write
}

/// The writes from `pending` to a live swap.
pub fn to_submitted(order: &mut Order, signed: &SignedSwap) -> Vec<Write> {
    vec![
        next(order, OrderEvent::Dispatched, None),
        next(order, routed(1_000), None),
        next(order, OrderEvent::Submitted(Arc::new(signed.swap.clone())), Some(signed)),
    ]
}

pub fn landed(signed: &SignedSwap, amount_out: u64) -> OrderEvent {
    let fill = Fill { amount_out: BaseUnits(amount_out), slot: 350_000_100, fee: BaseUnits(5_000) };
    OrderEvent::Confirmed { swap: Arc::new(signed.swap.clone()), fill }
}

pub fn failure(code: FailureCode) -> Failure {
    Failure::new(code, "because")
}

/// Commits each write as its own batch.
pub async fn commit_each(backend: &Backend, writes: Vec<Write>) {
    for write in writes {
        backend.commit(&[write]).await;
    }
}

#[track_caller]
pub fn assert_same(stored: &Order, order: &Order) {
    assert_eq!(stored.id, order.id);
    assert_eq!(stored.request, order.request);
    assert_eq!(stored.history(), order.history());
    assert_eq!(stored.state(), order.state());
}

/// A Persistence on that store that commits each write separately, two concurrently where the store allows it.
pub fn persistence(backend: &Backend) -> PersistenceRecipients {
    persistence_with(backend, 1)
}

pub fn persistence_with(backend: &Backend, batch: usize) -> PersistenceRecipients {
    let (fatal, _) = tokio::sync::watch::channel(None);
    let supervisor = Supervisor::new(Clock::System, fatal).start().recipient();
    Persistence::new(backend.store.clone(), batch, supervisor, Metrics::default()).start().into()
}
