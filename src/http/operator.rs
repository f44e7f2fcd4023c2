//! What only whoever runs the engine has to see: for who has its token, or at an address of its own; without either for
//! whoever is served at all.

use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use subtle::ConstantTimeEq;

use super::Face;
use super::caller;
use super::guard::Guard;
use super::health;
use super::problem::Problem;
use crate::cluster::Cluster;
use crate::metrics::Standing;

const METRICS: &str = "/metrics";

/// Whether a path is one of the operator's: those that an address of its own serves, and it alone.
pub(super) fn serves(path: &str) -> bool {
    path == METRICS
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(super::at(METRICS).route(web::get().to(metrics)));
}

/// Everything that is counted, as Prometheus text.
async fn metrics(request: HttpRequest, face: web::Data<Face>, guard: web::Data<Guard>) -> HttpResponse {
    if !may_see(&request, &face) {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "this needs a bearer token");
        let mut refused = problem.error_response();
        refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return refused;
    }
    let (orders, database_up) = health::state(&face).await;
    let standing = Standing {
        open_orders: orders.map(|orders| orders.open),
        running_orders: orders.map(|orders| orders.running),
        queued_orders: orders.map(|orders| orders.queued),
        stuck_orders: orders.map(|orders| orders.stuck),
        database_up,
        redis_up: face.cluster.as_ref().map(|cluster| cluster.trouble().is_none()),
        dropped_announcements: face.cluster.as_ref().map(Cluster::dropped),
        sockets: face.sessions.len(),
        sockets_shut: face.sessions.shut(),
        connections: guard.connections.len(),
        connections_shut: guard.connections.shut(),
        uptime: face.started.elapsed(),
    };
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(face.metrics.text(&standing))
}

fn may_see(request: &HttpRequest, face: &Face) -> bool {
    let settings = &face.settings.metrics;
    match &settings.token {
        Some(token) => {
            let given = request.headers().get(AUTHORIZATION);
            let given = given.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
            given.is_some_and(|given| given.ct_eq(token.expose().as_bytes()).into())
        }
        None if settings.bind.is_some() => true,
        None => !face.auth.required() || caller::user(request).is_some(),
    }
}
