//! Probes: whether the process works, whether it should get requests, and its state in figures.

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::{HttpResponse, web};
use chrono::TimeDelta;
use schemars::JsonSchema;
use serde::Serialize;

use crate::actors::order_manager::QueueStats;
use crate::actors::persistence::DatabaseState;
use crate::http::AppState;
use crate::http::operation::{Access, Operation, get};
use crate::redis::Cluster;
use crate::telemetry::logs;

// Each probe has two paths.
const HEALTH: [&str; 2] = ["/health", "/api/health"];
const LIVE: [&str; 2] = ["/live", "/api/live"];
const READY: [&str; 2] = ["/ready", "/api/ready"];

/// Whether a request is a probe. Probes are answered for any name in `Host`.
pub(in crate::http) fn is_probe(request: &ServiceRequest) -> bool {
    let mut paths = [HEALTH, LIVE, READY].into_iter().flatten();
    [Method::GET, Method::HEAD].contains(request.method()) && paths.any(|path| path == request.path())
}

pub(super) fn operations() -> Vec<Operation> {
    let [health_root, health_api] = HEALTH.map(|path| {
        get(path, Access::Public, health).answers::<Health>(200, "the state, also if it is unavailable", "health")
    });
    let [live_root, live_api] = LIVE.map(|path| {
        get(path, Access::Public, live).answers::<LiveView>(200, "the process works", "live").answers::<LiveView>(
            503,
            "the process has to be restarted",
            "notLive",
        )
    });
    let [ready_root, ready_api] = READY.map(|path| {
        get(path, Access::Public, ready)
            .answers::<ReadyView>(200, "the engine takes requests", "ready")
            .answers::<ReadyView>(503, "the engine takes no requests at the moment", "notReady")
    });
    vec![
        health_root.named("getHealth", "Get the state of the engine"),
        health_api.named("getApiHealth", "Get the state of the engine"),
        live_root.named("getLive", "Whether the process works"),
        live_api.named("getApiLive", "Whether the process works"),
        ready_root.named("getReady", "Whether the engine takes requests"),
        ready_api.named("getApiReady", "Whether the engine takes requests"),
    ]
}

/// The cause is only in the log, because it may name other machines.
const FATAL: &str = "the engine cannot continue; the log names the cause";

const STATUSES: [&str; 3] = ["ok", "degraded", "unavailable"];

/// Whether the process works.
#[derive(Serialize, JsonSchema)]
struct LiveView {
    live: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<[&'static str; 1]>,
}

/// Whether the engine should get requests.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ReadyView {
    ready: bool,
    #[schemars(extend("enum" = STATUSES))]
    status: &'static str,
    reasons: Vec<String>,
    stuck_orders: Option<usize>,
    /// Stored orders that this version cannot read.
    unreadable_orders: usize,
    /// The age of the oldest order that waits for a slot; null if none waits.
    oldest_waiting_seconds: Option<u64>,
}

/// The state of the engine.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Health {
    #[schemars(extend("enum" = STATUSES))]
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    open_orders: Option<usize>,
    running_orders: Option<usize>,
    queued_orders: Option<usize>,
    stuck_orders: Option<usize>,
    /// Stored orders that this version cannot read.
    unreadable_orders: usize,
    /// The age of the oldest order that waits for a slot; null if none waits.
    oldest_waiting_seconds: Option<u64>,
    sockets: usize,
    /// Announcements that did not reach Redis since the start; null if no Redis is configured.
    dropped_announcements: Option<u64>,
    reasons: Vec<String>,
}

/// `503` means that the process has to be restarted.
async fn live(app: web::Data<AppState>) -> HttpResponse {
    match &*app.fatal.borrow() {
        None => HttpResponse::Ok().json(LiveView { live: true, reasons: None }),
        Some(_) => HttpResponse::ServiceUnavailable().json(LiveView { live: false, reasons: Some([FATAL]) }),
    }
}

/// `503` means that the engine should get no requests at the moment.
async fn ready(app: web::Data<AppState>) -> HttpResponse {
    let (health, ready) = check(&app).await;
    let mut response = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    let Health { status, reasons, stuck_orders, unreadable_orders, oldest_waiting_seconds, .. } = health;
    response.json(ReadyView { ready, status, reasons, stuck_orders, unreadable_orders, oldest_waiting_seconds })
}

/// Always `200`.
async fn health(app: web::Data<AppState>) -> HttpResponse {
    HttpResponse::Ok().json(check(&app).await.0)
}

/// The state of the order manager, if it answers, and of the database.
pub(super) async fn state(app: &AppState) -> (Option<QueueStats>, DatabaseState) {
    (app.service.queue_stats().await.ok(), app.service.database_state().await)
}

/// The state, and whether the engine should get requests.
async fn check(app: &AppState) -> (Health, bool) {
    let (queue_stats, database) = state(app).await;
    let mut blocking = Vec::new();
    match queue_stats {
        None => blocking.push("the order manager does not answer".to_owned()),
        Some(queue_stats) if !queue_stats.admitting => blocking.push("the engine is shutting down".to_owned()),
        Some(_) => {}
    }
    if !database.takes_writes {
        let trouble = database.trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
        blocking.push(format!("the database cannot be reached{trouble}"));
    }
    let suspended = queue_stats.is_some_and(|queue_stats| queue_stats.suspended);
    if suspended {
        blocking.push("restored from a backup; dispatching is suspended until the operator decides".to_owned());
    }
    if app.fatal.borrow().is_some() {
        blocking.push(FATAL.to_owned());
    }
    let ready = blocking.is_empty();
    // A restored engine answers every read.
    let available = ready || (suspended && blocking.len() == 1);
    let mut reasons = blocking;
    // A stuck swap needs an operator. Another engine could not do better, so the engine stays ready.
    if let Some(queue_stats) = queue_stats
        && queue_stats.stuck > 0
    {
        reasons.push(format!("{} orders are stuck", queue_stats.stuck));
    }
    if database.unreadable_orders > 0 {
        reasons.push(format!("{} orders cannot be read; the log names them", database.unreadable_orders));
    }
    if queue_stats.is_some_and(|queue_stats| queue_stats.held_up) {
        reasons.push("nothing is dispatched: too many swaps are undecided".to_owned());
    }
    if let Some((step, ago)) = queue_stats.and_then(|queue_stats| queue_stats.clock_step) {
        let (by, direction) = if step.by < TimeDelta::zero() { (-step.by, "back") } else { (step.by, "ahead") };
        reasons.push(format!("the clock was set {direction} by {} s, {} s ago", by.num_seconds(), ago.as_secs()));
    }
    reasons.extend(logs::trouble());
    // Orders wait until the chain answers again.
    reasons.extend(app.chain.trouble());
    // Orders do not depend on Redis.
    reasons.extend(app.cluster.as_ref().and_then(Cluster::trouble));
    let health = Health {
        status: if reasons.is_empty() {
            "ok"
        } else if available {
            "degraded"
        } else {
            "unavailable"
        },
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: app.started.elapsed().as_secs(),
        open_orders: queue_stats.map(|queue_stats| queue_stats.open),
        running_orders: queue_stats.map(|queue_stats| queue_stats.running),
        queued_orders: queue_stats.map(|queue_stats| queue_stats.queued),
        stuck_orders: queue_stats.map(|queue_stats| queue_stats.stuck),
        unreadable_orders: database.unreadable_orders,
        oldest_waiting_seconds: queue_stats.and_then(|queue_stats| queue_stats.oldest_waiting).map(|age| age.as_secs()),
        sockets: app.sessions.len(),
        dropped_announcements: app.cluster.as_ref().map(Cluster::dropped),
        reasons,
    };
    (health, ready)
}
