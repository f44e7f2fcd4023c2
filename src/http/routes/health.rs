//! Probes, each with its reasons: is it alive, should it get work, and how is it.

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::{HttpResponse, web};
use chrono::TimeDelta;
use schemars::JsonSchema;
use serde::Serialize;

use crate::actors::order_manager::QueueStats;
use crate::actors::persistence::DatabaseState;
use crate::http::AppState;
use crate::redis::Cluster;
use crate::telemetry::logs;

/// Whether a request is a monitor's: it is answered whatever name it asks by.
pub(in crate::http) fn is_probe(request: &ServiceRequest) -> bool {
    const PATHS: [&str; 6] = ["/live", "/ready", "/health", "/api/live", "/api/ready", "/api/health"];
    [Method::GET, Method::HEAD].contains(request.method()) && PATHS.contains(&request.path())
}

/// The cause may name other machines; that is for the log, which has it.
const CANNOT_GO_ON: &str = "the engine cannot go on; its log says why";

const STATUSES: [&str; 3] = ["ok", "degraded", "unavailable"];

/// Whether the process can go on.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct LiveView {
    live: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<[&'static str; 1]>,
}

/// Whether it should get work.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct ReadyView {
    ready: bool,
    #[schemars(extend("enum" = STATUSES))]
    status: &'static str,
    reasons: Vec<String>,
    stuck_orders: Option<usize>,
    /// Orders that were found to be stored in a way that this version cannot read.
    unreadable_orders: usize,
    /// The age of the oldest order that waits for a slot; nothing where none waits.
    oldest_waiting_seconds: Option<u64>,
}

/// How the engine is, in figures.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Health {
    #[schemars(extend("enum" = STATUSES))]
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    open_orders: Option<usize>,
    running_orders: Option<usize>,
    queued_orders: Option<usize>,
    stuck_orders: Option<usize>,
    /// Orders that were found to be stored in a way that this version cannot read.
    unreadable_orders: usize,
    /// The age of the oldest order that waits for a slot; nothing where none waits.
    oldest_waiting_seconds: Option<u64>,
    sockets: usize,
    /// Announcements that did not reach Redis since the start; nothing where there is none.
    dropped_announcements: Option<u64>,
    reasons: Vec<String>,
}

/// Whether the process can go on; `503` means: start it again.
pub(in crate::http) async fn live(app: web::Data<AppState>) -> HttpResponse {
    match &*app.fatal.borrow() {
        None => HttpResponse::Ok().json(LiveView { live: true, reasons: None }),
        Some(_) => HttpResponse::ServiceUnavailable().json(LiveView { live: false, reasons: Some([CANNOT_GO_ON]) }),
    }
}

/// Whether it should get work; `503` means: not now.
pub(in crate::http) async fn ready(app: web::Data<AppState>) -> HttpResponse {
    let (health, ready) = look(&app).await;
    let mut response = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    let Health { status, reasons, stuck_orders, unreadable_orders, oldest_waiting_seconds, .. } = health;
    response.json(ReadyView { ready, status, reasons, stuck_orders, unreadable_orders, oldest_waiting_seconds })
}

/// How it is, in figures; always `200`.
pub(in crate::http) async fn health(app: web::Data<AppState>) -> HttpResponse {
    HttpResponse::Ok().json(look(&app).await.0)
}

/// How things stand with the orders, where that can be said, and with the database.
pub(in crate::http) async fn state(app: &AppState) -> (Option<QueueStats>, DatabaseState) {
    (app.service.queue_stats().await.ok(), app.service.database_state().await)
}

async fn look(app: &AppState) -> (Health, bool) {
    let (queue_stats, database) = state(app).await;
    let mut blocking = Vec::new();
    match queue_stats {
        None => blocking.push("the order manager does not answer".to_owned()),
        Some(queue_stats) if !queue_stats.admitting => blocking.push("the engine is stopping".to_owned()),
        Some(_) => {}
    }
    if !database.takes_writes {
        blocking.push("the database cannot be reached".to_owned());
    }
    if app.fatal.borrow().is_some() {
        blocking.push(CANNOT_GO_ON.to_owned());
    }
    let ready = blocking.is_empty();
    let mut reasons = blocking;
    // A stuck swap needs a person, but no other engine could do better: it does not turn work away.
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
    // Orders wait for their chain and lose nothing.
    reasons.extend(app.chain.trouble());
    // Redis holds no truth: without it everything goes on.
    reasons.extend(app.cluster.as_ref().and_then(Cluster::trouble));
    let health = Health {
        status: if reasons.is_empty() {
            "ok"
        } else if ready {
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
