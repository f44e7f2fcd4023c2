//! What every request passes before its route, and every answer after it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpResponse, ResponseError, web};

use crate::config::{LimitSettings, Settings};
use crate::http::extract::authority::Authority;
use crate::http::extract::caller;
use crate::http::middleware::host_check::{HostCheck, HostRefused, RequestOrigin};
use crate::http::middleware::limits::{Client, ClientLimits, Limiter};
use crate::http::problem::Problem;
use crate::http::routes::health;
use crate::http::server::connections::{ConnectionState, Connections};
use crate::telemetry::metrics::Metrics;

/// A longer path and query is refused with 414.
const MAX_URL: usize = 8 * 1024;

/// Decides who is answered.
pub(in crate::http) struct RequestGuard {
    host_check: HostCheck,
    limits: LimitSettings,
    limiter: Option<Limiter>,
    /// Where the operator's routes are served, if not with all others.
    operator: Option<OperatorRules>,
    metrics: Metrics,
    pub(in crate::http) connections: Arc<Connections>,
}

struct OperatorRules {
    addresses: Vec<SocketAddr>,
    host_check: HostCheck,
}

impl RequestGuard {
    /// A guard for listeners at those addresses, that lets so many connections be open at once. The operator has no
    /// addresses if it is served with all others.
    pub(in crate::http) fn new(
        settings: &Settings,
        clients: Vec<SocketAddr>,
        operator: Vec<SocketAddr>,
        most_connections: usize,
        metrics: Metrics,
    ) -> Self {
        let hosts = |addresses: &[SocketAddr]| addresses.iter().map(SocketAddr::ip).collect();
        let operator = (!operator.is_empty()).then(|| OperatorRules {
            host_check: HostCheck::of_the_operator(settings, hosts(&operator)),
            addresses: operator,
        });
        Self {
            host_check: HostCheck::of_clients(settings, hosts(&clients)),
            limits: settings.limits.clone(),
            limiter: Limiter::new(&settings.limits),
            operator,
            connections: Connections::new(settings.limits.clone(), most_connections, metrics.clone()),
            metrics,
        }
    }

    /// Whose page asks, or why nobody is answered.
    fn open(&self, request: &ServiceRequest) -> Result<RequestOrigin, Problem> {
        let (headers, url) = (request.headers(), request.uri());
        let at = request.app_config().local_addr();
        let operator = self.operator.as_ref().filter(|operator| operator.addresses.contains(&at));
        let host_check = operator.map_or(&self.host_check, |operator| &operator.host_check);
        let named = single(headers, &HOST);
        let host = named.ok_or(HostRefused::Host).and_then(|host| host.ok_or(HostRefused::Host));
        let origin = single(headers, &ORIGIN).ok_or(HostRefused::Origin);
        let judged = match (host, origin) {
            (Ok(host), Ok(origin)) => {
                let target =
                    url.authority().map(|named| host_check.judge_target(url.scheme_str(), named.as_str(), host));
                target.unwrap_or(Ok(())).and_then(|()| host_check.judge(host, origin))
            }
            (Err(refused), _) | (_, Err(refused)) => Err(refused),
        };
        // A monitor asks by whatever name or address it was told, or by none; what it hears is nobody's secret.
        let is_monitor = health::is_probe(request)
            && url.authority().is_none()
            && origin == Ok(None)
            && named.is_some_and(|host| host.is_none_or(|host| host.is_empty() || Authority::parse(host).is_some()));
        let asker = match judged {
            Err(HostRefused::Host) if is_monitor => RequestOrigin::Own,
            judged => judged.map_err(|refused| closed(refused, operator.is_some()))?,
        };
        if url.path_and_query().is_some_and(|asked| asked.as_str().len() > MAX_URL) {
            let detail = format!("path and query must not be longer than {MAX_URL} bytes");
            return Err(Problem::new(StatusCode::URI_TOO_LONG, "url_too_long", detail));
        }
        Ok(asker)
    }

    /// Whether requests that came in at that address are answered by the operator's routes, or by all others.
    ///
    /// The caller is a matched route: a path has many spellings, and each is matched as one of them.
    pub(in crate::http) fn serves(&self, operators: bool, at: SocketAddr) -> bool {
        self.operator.as_ref().is_none_or(|operator| operator.addresses.contains(&at) == operators)
    }

    /// What the client has left after this request, or how long it has to wait; `None` where nobody counts.
    fn count(&self, request: &ServiceRequest) -> Option<Result<ClientLimits, ClientLimits>> {
        let limiter = self.limiter.as_ref()?;
        let address = request.peer_addr()?.ip();
        self.limits.cover(address).then(|| {
            let user = caller::user(request.request());
            limiter.admit(user.map_or_else(|| Client::at(address), Client::User))
        })
    }

    /// Lets in a message of a socket from that address: it counts as a request does.
    pub(in crate::http) fn admit_message(&self, client: Client, from: Option<IpAddr>) -> Result<(), Problem> {
        match (&self.limiter, from) {
            (Some(limiter), Some(address)) if self.limits.cover(address) => limiter
                .admit(client)
                .map(drop)
                .map_err(too_many)
                .inspect_err(|problem| self.metrics.refused(problem.code())),
            _ => Ok(()),
        }
    }
}

/// Answers a request, or refuses it, and sees to what every answer says.
pub(in crate::http) async fn keep(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, actix_web::Error> {
    let guard = request.app_data::<web::Data<RequestGuard>>().expect("every app has its guard").clone();
    let connection = request.conn_data::<Arc<ConnectionState>>().cloned();
    if let Some(connection) = &connection {
        connection.begin();
        if HttpMessage::chunked(&request).unwrap_or(true) {
            connection.begin_body();
        }
    }
    let counted = guard.count(&request);
    let asker = match counted {
        Some(Err(allowance)) => Err(too_many(allowance)),
        _ => guard.open(&request),
    };
    let origin = match asker {
        Ok(RequestOrigin::Foreign) => request.headers().get(ORIGIN).cloned(),
        _ => None,
    };
    let mut response = match asker {
        Ok(_) if origin.is_some() && is_preflight(&request) => request.into_response(preflight()).map_into_right_body(),
        Ok(_) => next.call(request).await?.map_into_left_body(),
        Err(problem) => {
            guard.metrics.refused(problem.code());
            request.into_response(problem.error_response()).map_into_right_body()
        }
    };
    match &connection {
        Some(connection) if response.status() == StatusCode::SWITCHING_PROTOCOLS => connection.hand_over(),
        Some(connection) => {
            if connection.is_over() {
                response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
            }
            connection.end();
        }
        None => {}
    }
    let headers = response.headers_mut();
    harden(headers);
    if let Some(Ok(allowance) | Err(allowance)) = counted {
        allowance.tell(headers);
    }
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
    Ok(response)
}

fn closed(refused: HostRefused, is_operator: bool) -> Problem {
    match refused {
        HostRefused::Host if is_operator => Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host_not_allowed",
            "this server does not go by the name in Host; put it into metrics.bind or server.allowed_hosts, or set \
             metrics.token, with which any name will do",
        ),
        HostRefused::Host => Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host_not_allowed",
            "this server does not go by the name in Host; server.allowed_hosts lists the names it goes by",
        ),
        HostRefused::Origin => Problem::new(
            StatusCode::FORBIDDEN,
            "origin_not_allowed",
            "pages of that origin may not speak to this server; server.allowed_origins lists those that may",
        ),
    }
}

fn too_many(allowance: ClientLimits) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "more requests than one client may make")
        .retry_after(allowance.seconds())
}

/// A header that may stand once: its text, if it is there; `None` where it is there twice, or is no text.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Option<&'a str>> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (None, _) => Some(None),
        (Some(value), None) => value.to_str().ok().map(Some),
        (Some(_), Some(_)) => None,
    }
}

fn is_preflight(request: &ServiceRequest) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

const EXPOSED: HeaderValue =
    HeaderValue::from_static("location, ratelimit, ratelimit-policy, retry-after, x-request-id");

/// Tells a browser what pages of an allowed origin may ask; for how long it may remember that, in seconds.
fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, idempotency-key, x-request-id"))
        .insert_header((ACCESS_CONTROL_MAX_AGE, "600"))
        .finish()
}

/// What no answer may be used for: to be taken for something else, kept, framed, or to load anything from elsewhere.
fn harden(headers: &mut HeaderMap) {
    const STATIC: fn(&'static str) -> HeaderValue = HeaderValue::from_static;
    let is_page = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, STATIC("nosniff"));
    headers.insert(REFERRER_POLICY, STATIC("no-referrer"));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, STATIC("no-store"));
    }
    if is_page {
        headers.insert(X_FRAME_OPTIONS, STATIC("DENY"));
    }
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, STATIC(if is_page { PAGE_POLICY } else { DATA_POLICY }));
    }
}

/// Data is nothing that could load or run anything.
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// A page loads from this server alone, runs nothing that stands in it, and speaks to this server alone.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                           font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";
