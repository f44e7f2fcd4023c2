//! The engine: starts every part in order, and stops them in the one order that loses nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::prelude::*;
use ed25519_dalek::SigningKey;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::actors::dex_router::{DexRouter, Venues};
use crate::actors::order::{ANNOUNCED_EVERY, Announce, Channels, OrderUpdate, Subscriber};
use crate::actors::order_manager::{self, Drain, OrderManager, Recover, Submission, SubmitError};
use crate::actors::persistence::{Flush, LoadDispatches, LoadUnfinished, Persistence};
use crate::actors::restartable_addr::RestartableAddr;
use crate::actors::supervisor::{Child, GiveUp, SuperviseChild, Supervisor};
use crate::actors::venue::VenueActor;
use crate::api::views;
use crate::auth::{Auth, AuthStartError};
use crate::chain::Chain;
use crate::config::{LedgerPlace, SecretPlace, Settings};
use crate::domain::id::{ClientKey, OrderId, VenueId};
use crate::domain::order::{Order, OrderRequest, RecordedEvent};
use crate::domain::tally::Tally;
use crate::domain::user::Owner;
use crate::http::ws::sessions::{Sessions, watchdog};
use crate::http::{self, AppState, Listeners};
use crate::redis::{Cluster, Renderers};
use crate::runtime::clock::Clock;
use crate::runtime::crash_points::crash_point;
use crate::runtime::placement::Placement;
use crate::service::orders::{OrderService, OrderSubscription, ServiceError, Watched};
use crate::service::quote_cache::QuoteCache;
use crate::simulation::chain::{Ledger, LedgerError, SimulatedChain};
use crate::simulation::rng::SimulationRng;
use crate::simulation::venue::SimulatedVenue;
use crate::store::lock::{EngineLock, LockError};
use crate::store::users::UserStore;
use crate::store::{OrderStore, SeaStore, Unfinished, UnfinishedFrom};
use crate::telemetry::metrics::Metrics;
use crate::venue::Venue;

/// A running engine. Dropping it stops it too, without waiting.
pub struct Engine {
    service: OrderService,
    home: Placement,
    address: Option<SocketAddr>,
    fatal: watch::Receiver<Option<String>>,
    stop: Option<oneshot::Sender<oneshot::Sender<()>>>,
}

/// Why the engine did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Another engine uses the database, or its URL names none.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file that is kept beside the database is the database itself.
    #[error("{key}: {path:?} is the database")]
    SameFile {
        /// The setting that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The simulated chain's ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The database cannot be opened or read.
    #[error("the database cannot be used: {0}")]
    Database(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The host and the port, as the settings have them.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Others than this machine's users could reach it, and it would ask nobody who they are.
    #[error(
        "server.host: whoever reaches {0} may trade, for auth.required is false; set it to true, or serve --insecure"
    )]
    Open(String),
    /// Nobody's tokens or keys can be judged.
    #[error(transparent)]
    Auth(#[from] AuthStartError),
    /// A part died before the engine stood.
    #[error("a part of the engine died at its start")]
    Broken,
}

/// What an engine is made of where it is not the usual: for programs and tests that bring their own.
#[derive(Clone, Default)]
pub struct Parts {
    /// Everything on the thread of whoever starts the engine, and on its (perhaps paused) time.
    pub here: bool,
    /// Serve neither HTTP nor WebSocket.
    pub without_http: bool,
    /// The durable truth, instead of the database of the settings; there are no users then.
    pub store: Option<Arc<dyn OrderStore>>,
    /// The chain, instead of the simulated one.
    pub chain: Option<Arc<dyn Chain>>,
    /// The venues, instead of the simulated ones.
    pub venues: Option<Vec<Arc<dyn Venue>>>,
}

impl Engine {
    /// Starts an engine on threads of its own, from any program.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        Self::start_with(settings, Parts::default()).await
    }

    /// As [`Engine::start`], with some parts of the caller's.
    pub async fn start_with(settings: Settings, parts: Parts) -> Result<Self, StartError> {
        let (started, engine) = oneshot::channel();
        let run = move || {
            System::new().block_on(async move {
                let (stopped, wait) = oneshot::channel();
                let engine = Running::start(settings, parts).await.map(|running| running.into_engine(stopped));
                let failed = engine.is_err();
                // Nobody waits any more: then the engine is dropped with the answer, and stops.
                let _ = started.send(engine);
                if !failed {
                    let _ = wait.await;
                }
            });
        };
        std::thread::Builder::new().name("order-engine".to_owned()).spawn(run).map_err(|_| StartError::Broken)?;
        engine.await.unwrap_or(Err(StartError::Broken))
    }

    /// Starts an engine in the actix `System` this runs in.
    pub async fn start_here(settings: Settings) -> Result<Self, StartError> {
        Self::start_here_with(settings, Parts::default()).await
    }

    /// As [`Engine::start_here`], with some parts of the caller's.
    pub async fn start_here_with(settings: Settings, parts: Parts) -> Result<Self, StartError> {
        let (stopped, _) = oneshot::channel();
        // Boxed, for a start is large and its caller need not carry it.
        Box::pin(Running::start(settings, parts)).await.map(|running| running.into_engine(stopped))
    }

    /// Where HTTP and WebSocket are served; `None` without them.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Takes an order in that belongs to no user; it is durable when this answers.
    pub async fn submit(&self, request: OrderRequest, key: Option<ClientKey>) -> Result<Submission, SubmitError> {
        self.service.submit(Owner::Shared, Arc::new(request), key).await
    }

    /// Everything else that can be asked, and for whom: one order, lists, cancels, quotes.
    pub fn service(&self) -> &OrderService {
        &self.service
    }

    /// Listens to an order that belongs to no user, from its beginning to its end.
    pub async fn subscribe(&self, id: OrderId) -> Result<Subscription, ServiceError> {
        let (sender, steps) = mpsc::channel(Subscription::CAPACITY);
        let listener = self.home.start(move |_| UpdateForwarder { steps: sender });
        match self.service.watch(Owner::Shared, id, Subscriber::new(listener.recipient(), 1), 0).await? {
            Watched::Live(subscribed, listening) => Ok(Subscription {
                history: subscribed.history.into(),
                steps: Some(steps),
                told: 0,
                listening: Some(listening),
            }),
            Watched::Ended(order) => {
                Ok(Subscription { history: order.history().to_vec().into(), steps: None, told: 0, listening: None })
            }
        }
    }

    /// Resolves with the cause once the engine cannot go on; for ever pending while it can.
    pub async fn finished(&self) -> String {
        let mut fatal = self.fatal.clone();
        match fatal.wait_for(Option::is_some).await {
            Ok(cause) => cause.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops the engine: running orders may finish within the settings' time, all others are parked; nothing is lost.
    pub async fn shutdown(mut self) {
        let (done, stopped) = oneshot::channel();
        if let Some(stop) = self.stop.take()
            && stop.send(done).is_ok()
        {
            let _ = stopped.await;
        }
    }
}

/// What was recorded of one order, step by step, to its end.
#[derive(Debug)]
pub struct Subscription {
    history: std::collections::VecDeque<Arc<RecordedEvent>>,
    steps: Option<mpsc::Receiver<Arc<RecordedEvent>>>,
    told: u32,
    listening: Option<OrderSubscription>,
}

impl Subscription {
    const CAPACITY: usize = 256;

    /// The next step; `None` after the last one, and where the listener fell more than 256 steps behind.
    pub async fn next(&mut self) -> Option<Arc<RecordedEvent>> {
        loop {
            let step = match self.history.pop_front() {
                Some(step) => step,
                None => self.steps.as_mut()?.recv().await?,
            };
            if step.seq > self.told {
                self.told = step.seq;
                if step.status.is_final() {
                    self.steps = None;
                }
                return Some(step);
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.end();
        }
    }
}

/// Carries updates from an order's actor to a [`Subscription`].
struct UpdateForwarder {
    steps: mpsc::Sender<Arc<RecordedEvent>>,
}

impl Actor for UpdateForwarder {
    type Context = Context<Self>;
}

impl Handler<OrderUpdate> for UpdateForwarder {
    type Result = ();

    fn handle(&mut self, update: OrderUpdate, ctx: &mut Self::Context) {
        // Full or closed: the subscription ends, and its owner sees the end.
        let kept = match update {
            OrderUpdate::Step { step, .. } => self.steps.try_send(step).is_ok(),
            OrderUpdate::Behind => false,
        };
        if !kept {
            ctx.stop();
        }
    }
}

/// All parts of an engine, on the thread that stops them.
struct Running {
    settings: Arc<Settings>,
    service: OrderService,
    manager: Addr<OrderManager>,
    persistence: Addr<Persistence>,
    store: Arc<dyn OrderStore>,
    cluster: Option<Cluster>,
    arbiters: Vec<Arbiter>,
    home: Placement,
    database_home: Placement,
    server: Option<actix_web::dev::ServerHandle>,
    watchdog: Option<tokio::task::JoinHandle<()>>,
    sessions: Arc<Sessions>,
    address: Option<SocketAddr>,
    fatal: watch::Receiver<Option<String>>,
    // None where the caller brought the store: whose it is, the caller knows.
    _lock: Option<Arc<EngineLock>>,
}

impl Running {
    async fn start(settings: Settings, parts: Parts) -> Result<Self, StartError> {
        let settings = Arc::new(settings);
        let clock = if parts.here { Clock::runtime() } else { Clock::System };
        let mut arbiters = Vec::new();
        let mut place = || match parts.here {
            true => Placement::Here,
            false => {
                let arbiter = Arbiter::new();
                let placement = Placement::On(arbiter.handle());
                arbiters.push(arbiter);
                placement
            }
        };
        let database_home = place();
        let lock = match parts.store {
            Some(_) => None,
            None => Some(take_lock(&settings, &database_home).await?),
        };
        if let Some(lock) = &lock {
            keep_apart(&settings, lock)?;
        }
        let listeners = match parts.without_http {
            true => None,
            false if settings.is_open_to_strangers() => return Err(StartError::Open(settings.server.host.to_string())),
            false => {
                Some(Listeners::bind(&settings).map_err(|(address, source)| StartError::Listen { address, source })?)
            }
        };
        let home = place();
        let order_homes: Vec<_> = match settings.orders.threads {
            // Beside the manager, who starts them.
            0 => vec![Placement::Here],
            threads => (0..threads).map(|_| place()).collect(),
        };
        let cluster_home = settings.redis.url.is_some().then(&mut place);

        let metrics = Metrics::default();
        let (fatal_sender, fatal) = watch::channel(None);
        let supervisor = home.start(move |_| Supervisor::new(clock, fatal_sender));
        if let Some(lock) = &lock {
            let (lost, supervisor) = (lock.lost(), supervisor.clone());
            actix::spawn(async move {
                // Full: do_send ignores bounds, once a life. Closed: then the engine is going down anyway.
                supervisor.do_send(GiveUp(lost.await));
            });
        }
        let (store, users): (Arc<dyn OrderStore>, Option<Arc<dyn UserStore>>) = match parts.store {
            Some(store) => (store, None),
            None => {
                let store = open_store(&settings, &lock, &database_home).await?;
                (store.clone(), Some(store))
            }
        };
        let auth = {
            let (settings, patience) = (settings.auth.clone(), settings.server.request_timeout);
            Arc::new(Auth::start(settings, clock, patience, users, database_home.clone()).await?)
        };
        let persistence = {
            let (store, batch, supervisor) = (store.clone(), settings.database.batch, supervisor.clone());
            let metrics = metrics.clone();
            database_home.start(move |_| Persistence::new(store, batch, supervisor, metrics))
        };
        let rng = SimulationRng::new(settings.simulation.seed);
        let chain = match parts.chain {
            Some(chain) => chain,
            None => simulated_chain(&settings, rng, clock)?,
        };
        let adapters = parts.venues.unwrap_or_else(|| simulated_venues(&settings, rng, clock, &chain));
        let venues = start_venues(adapters, &home, &supervisor);
        let router = start_router(&venues, &settings, &home, &supervisor);

        let cluster = match cluster_home {
            Some(home) => start_cluster(&settings, &home).await?,
            None => None,
        };
        // Numbers are given before a dispatch is recorded, so some that were recorded early may carry late ones.
        let wanted = u64::from(settings.orders.rate_limit_per_minute).saturating_mul(2).max(1);
        let latest_dispatches = ask(&persistence, LoadDispatches(wanted)).await?;
        let tally = Arc::new(Mutex::new(Tally::default()));
        let channels = Arc::new(Channels::new(settings.orders.max_subscribers));
        let manager = {
            let parts = order_manager::Parts {
                settings: settings.clone(),
                clock,
                persistence: persistence.clone(),
                supervisor: supervisor.clone(),
                router: router.clone(),
                venues,
                chain: chain.clone(),
                announce: cluster.clone().map(announcing),
                tally: tally.clone(),
                metrics: metrics.clone(),
                channels: channels.clone(),
                homes: order_homes,
                latest_dispatches,
            };
            home.start(move |_| OrderManager::new(parts))
        };
        recover(&persistence, &manager).await?;

        let patience = settings.server.request_timeout;
        let service = OrderService::new(manager.clone(), persistence.clone(), router, tally, channels, patience);
        let sessions = Arc::new(Sessions::default());
        let mut running = Self {
            settings: settings.clone(),
            service: service.clone(),
            manager,
            persistence,
            store,
            cluster: cluster.clone(),
            arbiters,
            home,
            database_home,
            server: None,
            watchdog: None,
            sessions: sessions.clone(),
            address: None,
            fatal: fatal.clone(),
            _lock: lock,
        };
        if let Some(listeners) = listeners {
            let address = listeners.address();
            let app = AppState {
                service,
                auth,
                settings: settings.clone(),
                sessions: sessions.clone(),
                quote_cache: QuoteCache::new(settings.redis.quote_ttl, cluster.clone()),
                cluster,
                chain,
                metrics,
                fatal,
                started: Instant::now(),
            };
            let server = http::serve(listeners, app)
                .map_err(|source| StartError::Listen { address: address.to_string(), source })?;
            running.server = Some(server.handle());
            running.address = Some(address);
            actix::spawn(server);
            running.watchdog = Some(actix::spawn(watchdog(sessions, settings.ws.stall_timeout)));
        }
        Ok(running)
    }

    /// Hands out the engine, and stops it when that is asked or the handle is gone.
    fn into_engine(self, stopped: oneshot::Sender<()>) -> Engine {
        let (stop, asked) = oneshot::channel::<oneshot::Sender<()>>();
        let engine = Engine {
            service: self.service.clone(),
            home: self.home.clone(),
            address: self.address,
            fatal: self.fatal.clone(),
            stop: Some(stop),
        };
        actix::spawn(async move {
            let done = asked.await;
            self.stop().await;
            if let Ok(done) = done {
                let _ = done.send(());
            }
            let _ = stopped.send(());
        });
        engine
    }

    /// The one shutdown sequence. Each step has its deadline, and what it leaves undone is durable where it stands.
    async fn stop(mut self) {
        const STEP: Duration = Duration::from_secs(5);
        let patience = self.settings.server.shutdown_timeout;
        // No more orders in or out from here; those that run have until the deadline, beside the sockets' goodbye.
        let drained = self.manager.send(Drain(patience));
        self.sessions.send_away();
        if let Some(server) = &self.server {
            let _ = timeout(STEP, server.stop(true)).await;
        }
        if timeout(patience + STEP, drained).await.is_err() {
            tracing::warn!("some orders did not park in time; they are taken up at the next start");
        }
        if timeout(STEP, self.persistence.send(Flush)).await.is_err() {
            tracing::warn!("not everything could be written; it is taken up at the next start");
        }
        if let Some(cluster) = &self.cluster {
            let _ = timeout(STEP, cluster.flush()).await;
        }
        if let Some(watchdog) = &self.watchdog {
            watchdog.abort();
        }
        let store = self.store.clone();
        let closed = self.database_home.run(async move { store.close().await });
        if timeout(STEP, closed).await.is_err() {
            // The file may still be open, and its lock must not be given back before it is closed.
            tracing::warn!("the database was not closed in time; its lock is kept until the process ends");
            std::mem::forget(self._lock.clone());
        }
        for arbiter in self.arbiters.drain(..).rev() {
            arbiter.stop();
            // Joining blocks, and an arbiter can only stop while this thread goes on.
            let joined = tokio::task::spawn_blocking(move || arbiter.join());
            if timeout(STEP, joined).await.is_err() {
                tracing::warn!("a thread did not end in time");
            }
        }
    }
}

async fn take_lock(settings: &Arc<Settings>, home: &Placement) -> Result<Arc<EngineLock>, StartError> {
    let settings = settings.clone();
    match home.run(async move { EngineLock::acquire(&settings.database).await }).await {
        Some(Ok(lock)) => Ok(Arc::new(lock)),
        Some(Err(LockError::Database(error))) => Err(StartError::Database(error)),
        Some(Err(error)) => Err(error.into()),
        None => Err(StartError::Broken),
    }
}

/// Refuses settings by which the database would also be written as something else.
fn keep_apart(settings: &Settings, lock: &EngineLock) -> Result<(), StartError> {
    let ledger = match &settings.simulation.ledger {
        LedgerPlace::File(path) => Some(("simulation.ledger", path)),
        LedgerPlace::Memory => None,
    };
    let secret = match &settings.auth.secret {
        SecretPlace::File(path) => Some(("auth.secret_file", path)),
        SecretPlace::Given(_) | SecretPlace::Memory => None,
    };
    match ledger.into_iter().chain(secret).find(|(_, path)| lock.covers(path)) {
        Some((key, path)) => Err(StartError::SameFile { key, path: path.clone() }),
        None => Ok(()),
    }
}

async fn open_store(
    settings: &Arc<Settings>,
    lock: &Option<Arc<EngineLock>>,
    home: &Placement,
) -> Result<Arc<SeaStore>, StartError> {
    let (settings, lock) = (settings.clone(), lock.clone());
    let open = async move {
        match lock {
            Some(lock) => SeaStore::open_locked(&settings.database, &lock).await,
            None => SeaStore::open(&settings.database).await,
        }
    };
    match home.run(open).await {
        Some(Ok(store)) => Ok(Arc::new(store)),
        Some(Err(error)) => Err(StartError::Database(error.to_string())),
        None => Err(StartError::Broken),
    }
}

// What is announced of a waiting order outlives a missed turn or two.
const _: () = assert!(crate::redis::OPEN_TTL.as_secs() >= 3 * ANNOUNCED_EVERY.as_secs());

async fn start_cluster(settings: &Settings, home: &Placement) -> Result<Option<Cluster>, StartError> {
    let redis = settings.redis.clone();
    let Some(url) = redis.url.clone() else { return Ok(None) };
    let voice = Renderers { update: views::update_text, status: views::status_text, price: views::price_text };
    home.run(async move { Cluster::start(&url, redis, voice).await }).await.map(Some).ok_or(StartError::Broken)
}

fn announcing(cluster: Cluster) -> Announce {
    Arc::new(move |order: &Order, fresh: &[Arc<RecordedEvent>]| cluster.announce(order, fresh))
}

fn simulated_chain(settings: &Settings, rng: SimulationRng, clock: Clock) -> Result<Arc<dyn Chain>, LedgerError> {
    let simulation = &settings.simulation;
    let ledger = match &simulation.ledger {
        LedgerPlace::Memory => Ledger::in_memory(clock.read(), simulation.block),
        LedgerPlace::File(path) => Ledger::open(path, clock.read(), simulation.block)?,
    };
    Ok(Arc::new(SimulatedChain::new(simulation.clone(), rng, clock, ledger)))
}

fn simulated_venues(
    settings: &Settings,
    rng: SimulationRng,
    clock: Clock,
    chain: &Arc<dyn Chain>,
) -> Vec<Arc<dyn Venue>> {
    tracing::info!(seed = rng.seed(), "venues and chain are simulated");
    // A wallet for the simulation only: there is nothing to spend, so nothing to keep.
    let wallet = Arc::new(SigningKey::from_bytes(&rand::random()));
    let venue = |id| {
        let simulation = settings.simulation.clone();
        let venue =
            SimulatedVenue::new(id, simulation, settings.tokens.clone(), rng, clock, chain.clone(), wallet.clone());
        Arc::new(venue) as Arc<dyn Venue>
    };
    VenueId::ALL.into_iter().map(venue).collect()
}

fn start_venues(adapters: Vec<Arc<dyn Venue>>, home: &Placement, supervisor: &Addr<Supervisor>) -> Venues {
    let mut venues = BTreeMap::new();
    for adapter in adapters {
        let id = adapter.id();
        let (home, told) = (home.clone(), supervisor.clone());
        let start = move || {
            let (adapter, told) = (adapter.clone(), told.clone());
            home.start(move |_| VenueActor::new(adapter, told))
        };
        let restartable_addr = RestartableAddr::new(start());
        let again = restartable_addr.clone();
        // Full: do_send ignores bounds. Closed: the engine has just failed to start.
        supervisor.do_send(SuperviseChild { child: Child::Venue(id), restart: Box::new(move || again.set(start())) });
        venues.insert(id, restartable_addr);
    }
    venues
}

fn start_router(
    venues: &Venues,
    settings: &Settings,
    home: &Placement,
    supervisor: &Addr<Supervisor>,
) -> RestartableAddr<DexRouter> {
    let (deadline, max_price_impact) = (settings.routing_timeout, settings.orders.max_price_impact);
    let (venues, home, told) = (venues.clone(), home.clone(), supervisor.clone());
    let start = move || {
        let (venues, told) = (venues.clone(), told.clone());
        home.start(move |_| DexRouter::new(venues, deadline, max_price_impact, told))
    };
    let restartable_addr = RestartableAddr::new(start());
    let again = restartable_addr.clone();
    // As for the venues.
    supervisor.do_send(SuperviseChild { child: Child::Router, restart: Box::new(move || again.set(start())) });
    restartable_addr
}

/// Hands every unfinished order to the manager, oldest first.
async fn recover(persistence: &Addr<Persistence>, manager: &Addr<OrderManager>) -> Result<(), StartError> {
    const PAGE: u64 = 1_000;
    let (mut next, mut recovered) = (Some(UnfinishedFrom::default()), 0);
    while let Some(from) = next {
        let unfinished = ask(persistence, LoadUnfinished { from, limit: PAGE }).await?;
        crash_point("engine.recovering");
        next = unfinished.next;
        let Unfinished { orders, unreadable, .. } = unfinished;
        recovered += orders.len();
        manager.send(Recover { orders, unreadable }).await.map_err(|_| StartError::Broken)?;
    }
    if recovered > 0 {
        tracing::info!(orders = recovered, "unfinished orders are taken up");
    }
    Ok(())
}

async fn ask<M, T>(persistence: &Addr<Persistence>, message: M) -> Result<T, StartError>
where
    M: Message<Result = Result<T, crate::store::ReadError>> + Send + 'static,
    T: Send + 'static,
    Persistence: Handler<M>,
{
    match persistence.send(message).await {
        Ok(answer) => answer.map_err(|error| StartError::Database(error.to_string())),
        Err(_) => Err(StartError::Broken),
    }
}
