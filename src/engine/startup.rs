//! The start sequence.
//!
//! What can be refused comes first: the ids of the venues, the lock on the database, then the ports. Unfinished orders are resumed before the
//! first request is served.

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use tokio::sync::watch;

use crate::actors::order::{ANNOUNCED_EVERY, Announce, Channels, OrderContext};
use crate::actors::order_manager::{self, OrderManager};
use crate::actors::persistence::Persistence;
use crate::actors::supervisor::{GiveUp, Supervisor};
use crate::api::publication;
use crate::auth::Auth;
use crate::config::Settings;
use crate::domain::order::{Order, RecordedEvent};
use crate::engine::adapters::{self, Adapters, Market};
use crate::engine::database::{Database, OpenStore};
use crate::engine::error::StartError;
use crate::engine::handle::Engine;
use crate::engine::recovery;
use crate::engine::server::{self, Server};
use crate::engine::shutdown::Running;
use crate::engine::supervised::{start_router, start_venues};
use crate::engine::threads::Threads;
use crate::http::AppState;
use crate::http::ws::sessions::Sessions;
use crate::redis::{Cluster, Renderers};
use crate::runtime::environment::{Environment, Random};
use crate::runtime::placement::Placement;
use crate::service::orders::OrderService;
use crate::service::quote_cache::QuoteCache;
use crate::store::lock::EngineLock;
use crate::telemetry::metrics::Metrics;

/// What to start.
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) adapters: Adapters,
    /// The environment that the caller provides.
    pub(super) environment: Option<Environment>,
    pub(super) with_http: bool,
}

/// Starts an engine. Returns its handle, and the future that stops it when the handle requests that.
pub(super) async fn start(
    Plan { settings, adapters, environment, with_http }: Plan,
    mut threads: Threads,
) -> Result<(Engine, impl Future<Output = ()>), StartError> {
    adapters.check(&settings)?;
    let settings = Arc::new(settings);
    let environment = environment.unwrap_or_else(|| threads.environment());
    let clock = environment.clock;

    let database_thread = threads.start_one();
    let database = Database::claim(adapters.store, &settings, &database_thread).await?;
    let listeners = with_http.then(|| server::listen(&settings)).transpose()?;

    let thread = threads.start_one();
    let order_threads = match settings.orders.threads {
        // The thread of the manager, which starts the order actors.
        0 => vec![Placement::CurrentThread],
        count => (0..count).map(|_| threads.start_one()).collect(),
    };
    let redis_thread = settings.redis.url.is_some().then(|| threads.start_one());

    let metrics = Metrics::default();
    let (fatal_sender, fatal) = watch::channel(None);
    let supervisor = thread.start(move |_| Supervisor::new(clock, fatal_sender));
    if let Some(lock) = database.lock() {
        give_up_without(lock, &supervisor);
    }
    let OpenStore { orders: store, users, restored_from } = database.open(&settings, &database_thread).await?;
    let suspended = restored_from.is_some();
    if let Some(made_at) = restored_from {
        tracing::warn!(
            made_at,
            "the database was restored from a backup: nothing is dispatched until `order-engine restore --resume` or \
             `order-engine restore --cancel-unfinished`"
        );
    }
    let auth = {
        let (settings, timeout) = (settings.auth.clone(), settings.server.request_timeout);
        Arc::new(Auth::start(settings, clock, timeout, users, database_thread.clone()).await?)
    };
    let persistence = {
        let (store, batch, supervisor) = (store.clone(), settings.database.batch, supervisor.clone().recipient());
        let metrics = metrics.clone();
        database_thread.start(move |_| Persistence::new(store, batch, supervisor, metrics))
    };

    let Market { chain, venues, signer } =
        adapters::market(adapters.chain, adapters.venues, adapters.signer, &settings, &environment)?;
    let venues = start_venues(venues, &thread, &supervisor);
    let router = start_router(&venues, &settings, &thread, &supervisor);
    let cluster = match redis_thread {
        Some(thread) => start_cluster(&settings, &thread, environment.random.clone()).await?,
        None => None,
    };

    let channels = Arc::new(Channels::new(settings.orders.max_subscribers));
    let latest_dispatches = recovery::latest_dispatches(&persistence, settings.orders.rate_limit_per_minute).await?;
    let manager = {
        let (supervisor, channels) = (supervisor.recipient(), channels.clone());
        let (settings, environment) = (settings.clone(), environment.clone());
        let (persistence, router) = (persistence.clone().into(), router.clone());
        let (chain, metrics, announce) = (chain.clone(), metrics.clone(), cluster.clone().map(announce));
        thread.start(move |ctx| {
            let manager = ctx.address().into();
            let context = Arc::new(OrderContext {
                settings,
                suspended,
                environment,
                manager,
                persistence,
                router,
                venues,
                chain,
                signer,
                announce,
                metrics,
            });
            OrderManager::new(order_manager::Parts {
                context,
                supervisor,
                channels,
                homes: order_threads,
                latest_dispatches,
            })
        })
    };
    recovery::recover(&persistence, &manager).await?;

    let timeout = settings.server.request_timeout;
    let (asked_manager, asked_persistence) = (manager.clone().into(), persistence.clone().into());
    let service = OrderService::new(asked_manager, asked_persistence, router, channels, environment.clone(), timeout);
    let server = match listeners {
        None => None,
        Some(listeners) => {
            let app = AppState {
                service: service.clone(),
                auth,
                settings: settings.clone(),
                sessions: Arc::new(Sessions::default()),
                quote_cache: QuoteCache::new(settings.redis.quote_ttl, cluster.clone(), clock),
                cluster: cluster.clone(),
                chain,
                metrics,
                fatal: fatal.clone(),
                started: Instant::now(),
            };
            Some(Server::start(listeners, app)?)
        }
    };

    let address = server.as_ref().map(Server::address);
    let drain_timeout = settings.server.shutdown_timeout;
    let running =
        Running { server, manager, persistence, cluster, store, database, database_thread, threads, drain_timeout };
    let (stop, stopped) = running.stop_on_request();
    Ok((Engine { service, thread, address, fatal, stop }, stopped))
}

/// Ends the engine once another process has the lock: that process now owns the orders.
fn give_up_without(lock: &EngineLock, supervisor: &Addr<Supervisor>) {
    let (lost, supervisor) = (lock.lost(), supervisor.clone());
    actix::spawn(async move {
        // `do_send` ignores the mailbox bound; this is sent at most once. A closed mailbox means that the engine stops.
        supervisor.do_send(GiveUp(lost.await));
    });
}

// A published status of a waiting order must survive two missed refreshes.
const _: () = assert!(crate::redis::OPEN_TTL.as_secs() >= 3 * ANNOUNCED_EVERY.as_secs());

async fn start_cluster(settings: &Settings, thread: &Placement, random: Random) -> Result<Option<Cluster>, StartError> {
    let redis = settings.redis.clone();
    let Some(url) = redis.url.clone() else { return Ok(None) };
    let renderers = Renderers {
        update: publication::update_text,
        status: publication::status_text,
        price: publication::price_text,
    };
    thread
        .run(async move { Cluster::start(&url, redis, renderers, random).await })
        .await
        .map(Some)
        .ok_or(StartError::Broken)
}

fn announce(cluster: Cluster) -> Announce {
    Arc::new(move |order: &Order, events: &[Arc<RecordedEvent>]| cluster.announce(order, events))
}
