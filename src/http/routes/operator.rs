//! What only whoever runs the engine has to see: for who has its token, or at an address of its own; without either for
//! whoever is served at all.

use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::http::AppState;
use crate::http::extract::caller;
use crate::http::middleware::guard::RequestGuard;
use crate::http::openapi::page;
use crate::http::problem::Problem;
use crate::http::route::{Endpoint, at};
use crate::http::routes::health;
use crate::redis::Cluster;
use crate::telemetry::logs;
use crate::telemetry::metrics::QueueStats;

const METRICS: &str = "/metrics";

const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer");

/// A browser asks its user, who gives the token as the password of any name.
const CHALLENGE_OF_A_PAGE: HeaderValue = HeaderValue::from_static("Bearer, Basic realm=\"operator\"");

pub(in crate::http) fn served() -> Vec<Endpoint> {
    let served = [at(METRICS).get(metrics), at(page::PATH).get(docs), at("/docs/{file}").get(docs_file)];
    served.map(Endpoint::for_operators).into()
}

/// Everything that is counted, as Prometheus text.
async fn metrics(request: HttpRequest, app: web::Data<AppState>, guard: web::Data<RequestGuard>) -> HttpResponse {
    if let Some(refused) = no_measures(&request, &app) {
        return refused;
    }
    let (orders, database) = health::state(&app).await;
    let standing = QueueStats {
        open_orders: orders.map(|orders| orders.open),
        running_orders: orders.map(|orders| orders.running),
        queued_orders: orders.map(|orders| orders.queued),
        stuck_orders: orders.map(|orders| orders.stuck),
        oldest_waiting: orders.and_then(|orders| orders.oldest_waiting).unwrap_or_default(),
        clock_steps: orders.map_or(0, |orders| orders.clock_steps),
        database_up: database.takes_writes,
        unreadable_orders: database.unreadable_orders,
        redis_up: app.cluster.as_ref().map(|cluster| cluster.trouble().is_none()),
        dropped_announcements: app.cluster.as_ref().map(Cluster::dropped),
        sockets: app.sessions.len(),
        sockets_shut: app.sessions.shut(),
        connections: guard.connections.len(),
        connections_shut: guard.connections.shut(),
        dropped_log_lines: logs::dropped_lines(),
        uptime: app.started.elapsed(),
    };
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(app.metrics.text(&standing))
}

/// The page that shows what may be asked.
async fn docs(request: HttpRequest, app: web::Data<AppState>) -> HttpResponse {
    no_sight(&request, &app, CHALLENGE_OF_A_PAGE).unwrap_or_else(page::page)
}

/// What that page loads.
async fn docs_file(request: HttpRequest, app: web::Data<AppState>, file: web::Path<String>) -> HttpResponse {
    no_sight(&request, &app, CHALLENGE_OF_A_PAGE).unwrap_or_else(|| page::file(&request, &file))
}

/// The refusal, where the metrics are not for the caller. They say more than the page: where there are users, one has to
/// be one.
fn no_measures(request: &HttpRequest, app: &AppState) -> Option<HttpResponse> {
    let settings = &app.settings.metrics;
    let is_open = settings.token.is_some() || settings.bind.is_some() || !app.auth.required();
    if is_open || caller::user(request).is_some() {
        return no_sight(request, app, CHALLENGE);
    }
    Some(refused("log in, and send the token as Authorization: Bearer", CHALLENGE))
}

/// The refusal, where what is here is not for the caller.
fn no_sight(request: &HttpRequest, app: &AppState, challenge: HeaderValue) -> Option<HttpResponse> {
    let token = app.settings.metrics.token.as_ref()?;
    let given = request.headers().get(AUTHORIZATION).and_then(given);
    if given.is_some_and(|given| given.ct_eq(token.expose().as_bytes()).into()) {
        return None;
    }
    Some(refused("metrics.token is wanted as a bearer token, or as the password of any name", challenge))
}

fn refused(detail: &str, challenge: HeaderValue) -> HttpResponse {
    let mut refused = Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail).error_response();
    refused.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    refused
}

/// The token in a header, or what could be it.
fn given(header: &HeaderValue) -> Option<Vec<u8>> {
    let header = header.as_bytes();
    if let Some(token) = header.strip_prefix(b"Bearer ") {
        return Some(token.to_vec());
    }
    let pair = STANDARD.decode(header.strip_prefix(b"Basic ")?).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_taken_as_a_bearer_token_or_as_a_password() {
        let of =
            |text: &str| given(&HeaderValue::from_str(text).unwrap()).map(|token| String::from_utf8(token).unwrap());
        assert_eq!(of("Bearer s3cret").as_deref(), Some("s3cret"));
        assert_eq!(of(&format!("Basic {}", STANDARD.encode("me:s3:cret"))).as_deref(), Some("s3:cret"));
        for nothing in ["", "s3cret", "Basic", "Basic !", "Basic c2VjcmV0", "Digest x"] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
    }
}
