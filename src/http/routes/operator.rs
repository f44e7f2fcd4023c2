//! What only the operator needs: the metrics, and the check that protects them and the page at `/docs`.
//!
//! With `metrics.token` they require that token. With `metrics.bind` they are served at an address of their own.
//! Without either, `/docs` is public, and the metrics are for every caller that the API accepts.

use actix_web::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::api::problem::ProblemCode;
use crate::http::AppState;
use crate::http::extract::caller;
use crate::http::middleware::guard::RequestGuard;
use crate::http::operation::{Access, Content, Operation, get};
use crate::http::problem::Problem;
use crate::http::routes::health;
use crate::redis::Cluster;
use crate::telemetry::logs;
use crate::telemetry::metrics::Snapshot;

/// For a program.
const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"operator\"");

/// Lets a browser ask for the token, which is the password of any username.
const BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"operator\", charset=\"UTF-8\"");

pub(super) fn operations() -> Vec<Operation> {
    let text = json!({ "application/openmetrics-text": { "schema": { "type": "string" } } });
    vec![
        get("/metrics", Access::Operator, metrics).named("getMetrics", "Get the metrics, for Prometheus").answers_with(
            200,
            "the metrics as OpenMetrics text",
            Content::Other(text),
        ),
    ]
}

async fn metrics(request: HttpRequest, app: web::Data<AppState>, guard: web::Data<RequestGuard>) -> HttpResponse {
    if let Some(refused) = refuse_metrics(&request, &app) {
        return refused;
    }
    let (orders, database) = health::state(&app).await;
    let snapshot = Snapshot {
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
        .body(app.metrics.text(&snapshot))
}

/// The refusal if the caller may not see the page at `/docs`.
pub(super) fn refuse_page(request: &HttpRequest, app: &AppState) -> Option<HttpResponse> {
    check_token(request, app)
}

/// The refusal if the caller may not see the metrics. They reveal more than the page, so with `auth.required` the
/// caller must be a user or the operator.
fn refuse_metrics(request: &HttpRequest, app: &AppState) -> Option<HttpResponse> {
    let settings = &app.settings.metrics;
    let is_open = settings.token.is_some() || settings.bind.is_some() || !app.auth.required();
    if is_open || caller::user(request).is_some() {
        return check_token(request, app);
    }
    let login = Problem::new(ProblemCode::Unauthenticated, "log in, and send the token as Authorization: Bearer");
    Some(login.error_response())
}

/// The refusal if `metrics.token` is set and the request does not have it.
fn check_token(request: &HttpRequest, app: &AppState) -> Option<HttpResponse> {
    let expected = app.settings.metrics.token.as_ref()?;
    let given = request.headers().get(AUTHORIZATION).and_then(token);
    if given.is_some_and(|given| given.ct_eq(expected.expose().as_bytes()).into()) {
        return None;
    }
    let detail = "send metrics.token as a bearer token, or as the password of any username";
    let mut refused = Problem::new(ProblemCode::Unauthenticated, detail).error_response();
    // Two headers: some browsers read only the first scheme of a header.
    refused.headers_mut().insert(WWW_AUTHENTICATE, BEARER);
    refused.headers_mut().append(WWW_AUTHENTICATE, BASIC);
    Some(refused)
}

/// The bearer token or the Basic password in a header.
fn token(header: &HeaderValue) -> Option<Vec<u8>> {
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
    fn the_token_is_a_bearer_token_or_a_password() {
        let of =
            |text: &str| token(&HeaderValue::from_str(text).unwrap()).map(|token| String::from_utf8(token).unwrap());
        assert_eq!(of("Bearer s3cret").as_deref(), Some("s3cret"));
        assert_eq!(of(&format!("Basic {}", STANDARD.encode("me:s3:cret"))).as_deref(), Some("s3:cret"));
        for nothing in ["", "s3cret", "Basic", "Basic !", "Basic c2VjcmV0", "Digest x"] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
    }
}
