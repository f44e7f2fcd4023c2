//! Checks every request before its route, and completes the headers of every response.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderMap, HeaderName, ORIGIN};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, ResponseError, web};

use crate::api::problem::ProblemCode;
use crate::config::{LimitSettings, Settings};
use crate::http::extract::authority::Authority;
use crate::http::extract::caller;
use crate::http::middleware::host_check::{HostCheck, HostRefused, RequestOrigin};
use crate::http::middleware::limits::{ClientLimits, Limiter};
use crate::http::middleware::response_headers;
use crate::http::problem::Problem;
use crate::http::routes::health;
use crate::http::server::client::Client;
use crate::http::server::connection::Connection;
use crate::http::server::connections::Connections;
use crate::http::server::proxies::{Proxies, Source};
use crate::telemetry::metrics::Metrics;

/// A longer path and query is refused with 414.
const MAX_URL: usize = 8 * 1024;

/// Decides which requests reach their route.
pub(in crate::http) struct RequestGuard {
    host_check: HostCheck,
    limits: LimitSettings,
    limiter: Option<Limiter>,
    proxies: Proxies,
    /// `None` if the operator's routes are served together with all others.
    operator: Option<OperatorRules>,
    metrics: Metrics,
    pub(in crate::http) connections: Arc<Connections>,
}

struct OperatorRules {
    addresses: Vec<SocketAddr>,
    host_check: HostCheck,
}

impl RequestGuard {
    /// A guard for listeners at those addresses and at most `max_connections`. `operator` is empty if the operator's routes
    /// are served together with all others.
    pub(in crate::http) fn new(
        settings: &Settings,
        clients: Vec<SocketAddr>,
        operator: Vec<SocketAddr>,
        max_connections: usize,
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
            proxies: Proxies::new(&settings.server),
            operator,
            connections: Connections::new(
                settings.limits.clone(),
                Proxies::new(&settings.server),
                max_connections,
                metrics.clone(),
            ),
            metrics,
        }
    }

    /// Checks the host, the origin and the length of a request. Returns which page sent it.
    fn check(&self, request: &ServiceRequest) -> Result<RequestOrigin, Problem> {
        let (headers, url) = (request.headers(), request.uri());
        let listener = request.app_config().local_addr();
        let operator = self.operator.as_ref().filter(|operator| operator.addresses.contains(&listener));
        let host_check = operator.map_or(&self.host_check, |operator| &operator.host_check);
        let given_host = single(headers, &HOST);
        let host = given_host.ok_or(HostRefused::Host).and_then(|host| host.ok_or(HostRefused::Host));
        let origin = single(headers, &ORIGIN).ok_or(HostRefused::Origin);
        let checked = match (host, origin) {
            (Ok(host), Ok(origin)) => {
                let target =
                    url.authority().map(|named| host_check.check_target(url.scheme_str(), named.as_str(), host));
                target.unwrap_or(Ok(())).and_then(|()| host_check.check(host, origin))
            }
            (Err(refused), _) | (_, Err(refused)) => Err(refused),
        };
        // A health probe may use any host name or address, or an empty one: its answer is not secret.
        let is_probe = health::is_probe(request)
            && url.authority().is_none()
            && origin == Ok(None)
            && given_host
                .is_some_and(|host| host.is_none_or(|host| host.is_empty() || Authority::parse(host).is_some()));
        let request_origin = match checked {
            Err(HostRefused::Host) if is_probe => RequestOrigin::Own,
            checked => checked.map_err(|refused| refusal(refused, operator.is_some()))?,
        };
        if url.path_and_query().is_some_and(|given| given.as_str().len() > MAX_URL) {
            let detail = format!("path and query must not be longer than {MAX_URL} bytes");
            return Err(Problem::new(ProblemCode::UrlTooLong, detail));
        }
        Ok(request_origin)
    }

    /// Whether a route is served at that listener: `is_operator` says whether it is one of the operator's routes.
    ///
    /// It is asked by the matched route and not by path: a path has many spellings, and a route matches them all.
    pub(in crate::http) fn serves(&self, is_operator: bool, listener: SocketAddr) -> bool {
        self.operator.as_ref().is_none_or(|operator| operator.addresses.contains(&listener) == is_operator)
    }

    /// Counts a request: the client's remaining limit, or the error with its wait; `None` if the client is not limited.
    fn count(&self, request: &ServiceRequest) -> Option<Result<ClientLimits, ClientLimits>> {
        let limiter = self.limiter.as_ref()?;
        let source = self.source(request.request())?;
        source.is_limited(&self.limits).then(|| {
            let user = caller::user(request.request());
            limiter.admit(user.map_or_else(|| Client::at(source.address), Client::User))
        })
    }

    /// Where a request comes from; `None` if its connection has no address.
    pub(in crate::http) fn source(&self, request: &HttpRequest) -> Option<Source> {
        Some(self.proxies.source(request.peer_addr()?.ip(), request.headers()))
    }

    /// Counts a WebSocket message from that source, with the same limit as requests.
    pub(in crate::http) fn admit_message(&self, client: Client, from: Option<Source>) -> Result<(), Problem> {
        match (&self.limiter, from) {
            (Some(limiter), Some(source)) if source.is_limited(&self.limits) => limiter
                .admit(client)
                .map(drop)
                .map_err(too_many)
                .inspect_err(|problem| self.metrics.refused(problem.code())),
            _ => Ok(()),
        }
    }
}

/// The middleware: refuses a request or passes it on, and completes the headers of the response.
pub(in crate::http) async fn handle(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, actix_web::Error> {
    let guard = request.app_data::<web::Data<RequestGuard>>().expect("every app has its guard").clone();
    let connection = request.conn_data::<Arc<Connection>>().cloned();
    if let Some(connection) = &connection {
        connection.begin_request(HttpMessage::chunked(&request).unwrap_or(true));
    }
    if let Some(source) = guard.source(request.request()) {
        tracing::Span::current().record("client", tracing::field::display(source.address));
    }
    let limits = guard.count(&request);
    let checked = match limits {
        Some(Err(limits)) => Err(too_many(limits)),
        _ => guard.check(&request),
    };
    let origin = match checked {
        Ok(RequestOrigin::Foreign) => request.headers().get(ORIGIN).cloned(),
        _ => None,
    };
    let mut response = match checked {
        Ok(_) if origin.is_some() && is_preflight(&request) => {
            request.into_response(response_headers::preflight()).map_into_right_body()
        }
        Ok(_) => next.call(request).await?.map_into_left_body(),
        Err(problem) => {
            guard.metrics.refused(problem.code());
            request.into_response(problem.error_response()).map_into_right_body()
        }
    };
    match &connection {
        Some(connection) if response.status() == StatusCode::SWITCHING_PROTOCOLS => connection.hand_over(),
        Some(connection) if connection.end_request() => {
            response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        _ => {}
    }
    let headers = response.headers_mut();
    response_headers::harden(headers);
    if let Some(Ok(limits) | Err(limits)) = limits {
        limits.write_to(headers);
    }
    if let Some(origin) = origin {
        response_headers::allow_origin(headers, origin);
    }
    Ok(response)
}

fn refusal(refused: HostRefused, is_operator: bool) -> Problem {
    match refused {
        HostRefused::Host if is_operator => Problem::new(
            ProblemCode::HostNotAllowed,
            "Host is not a name of this server; add it to metrics.bind or server.allowed_hosts, or set metrics.token, \
             which allows any name",
        ),
        HostRefused::Host => Problem::new(
            ProblemCode::HostNotAllowed,
            "Host is not a name of this server; server.public_url and server.allowed_hosts have its names",
        ),
        HostRefused::Origin => Problem::new(
            ProblemCode::OriginNotAllowed,
            "pages of this origin may not use this server; server.public_url and server.allowed_origins have the origins \
             that may",
        ),
    }
}

fn too_many(limits: ClientLimits) -> Problem {
    Problem::new(ProblemCode::TooManyRequests, "the client has reached its request limit").retry_after(limits.seconds())
}

/// The text of a header that may occur once: `Some(None)` if it is absent, `None` if it occurs twice or is not text.
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
