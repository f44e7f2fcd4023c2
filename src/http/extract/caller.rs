//! Who asks, and what they may: every route that touches an order takes a [`Caller`].
//!
//! A credential is taken from `Authorization: Bearer`, and for a socket also from `Sec-WebSocket-Protocol: bearer, …` or
//! from a ticket in the query. Nothing else in a URL is one: URLs are written down everywhere.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, HeaderValue, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use actix_web::http::{Method, StatusCode};
use actix_web::{FromRequest, HttpRequest, web};

use crate::auth::{Credential, Identity};
use crate::domain::user::{Owner, Scope, UserId};
use crate::http::AppState;
use crate::http::problem::Problem;

/// The protocol that a client offers beside its token, and the only one it is answered with.
pub(in crate::http) const BEARER_PROTOCOL: &str = "bearer";

/// Whoever sent a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Caller(Option<Identity>);

impl Caller {
    /// Whose orders these are, if the caller may do that with them; there is no other way to an owner.
    pub(in crate::http) fn may(&self, scope: Scope) -> Result<Owner, Problem> {
        match &self.0 {
            None => Ok(Owner::Shared),
            Some(identity) if identity.scopes.contain(scope) => Ok(Owner::User(identity.user)),
            Some(_) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "missing_scope",
                format!("this API key may not {}", scope.name()),
            )),
        }
    }

    /// Who it is, where that has to be somebody.
    pub(in crate::http) fn identity(&self) -> Result<Identity, Problem> {
        self.0.ok_or_else(|| unauthorized("unauthenticated", "this needs a login"))
    }

    /// What the caller has proved it by; a socket is closed when it is revoked.
    pub(in crate::http) fn credential(&self) -> Option<Credential> {
        self.0.map(|identity| identity.credential)
    }
}

/// Whoever wants to open a socket: it may also come with a ticket, or with its token among the protocols it offers.
///
/// A type of its own, so that a ticket opens nothing else: only the routes of sockets take it.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct SocketCaller(pub(in crate::http) Caller);

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(of(request))
    }
}

impl FromRequest for SocketCaller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let upgrade = request.headers().get(UPGRADE).map(|value| value.as_bytes());
        let is_upgrade = request.method() == Method::GET
            && upgrade.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
        ready(judged(request, is_upgrade).map(Self))
    }
}

/// Whose requests these are, where a token or key says so; what a socket has besides is left to its route.
pub(in crate::http) fn user(request: &HttpRequest) -> Option<UserId> {
    let app = request.app_data::<web::Data<AppState>>()?;
    let bearer = bearer(request.headers().get(AUTHORIZATION)?.to_str().ok()?)?;
    app.auth.identify(&bearer).ok().map(|identity| identity.user)
}

enum Credentials {
    Bearer(String),
    Ticket(String),
}

/// Who sent a request that opens no socket.
pub(in crate::http) fn of(request: &HttpRequest) -> Result<Caller, Problem> {
    judged(request, false)
}

fn judged(request: &HttpRequest, opens_socket: bool) -> Result<Caller, Problem> {
    let app = request.app_data::<web::Data<AppState>>().expect("every route can reach the face");
    let given = given(request, opens_socket)?;
    let identity = match &given {
        None if app.auth.required() => {
            return Err(unauthorized("unauthenticated", "log in, and send the token as Authorization: Bearer"));
        }
        None => return Ok(Caller(None)),
        Some(Credentials::Bearer(bearer)) => app.auth.identify(bearer),
        Some(Credentials::Ticket(ticket)) => app.auth.redeem(ticket),
    };
    identity.map(|identity| Caller(Some(identity))).map_err(Problem::from)
}

/// The one credential of a request. More than one is a mistake of which nobody should find out who won.
fn given(request: &HttpRequest, opens_socket: bool) -> Result<Option<Credentials>, Problem> {
    let mut all = Vec::new();
    for value in request.headers().get_all(AUTHORIZATION) {
        let bearer = value.to_str().ok().and_then(bearer);
        all.push(Credentials::Bearer(bearer.ok_or_else(|| invalid(no_bearer(value)))?));
    }
    no_credential_in(request.query_string())?;
    if opens_socket {
        all.extend(offered(request)?.map(Credentials::Bearer));
        let tickets = pairs(request.query_string()).into_iter().filter(|(name, _)| name == "ticket");
        all.extend(tickets.map(|(_, ticket)| Credentials::Ticket(ticket)));
    }
    if all.len() > 1 {
        return Err(invalid("more than one credential was sent"));
    }
    Ok(all.pop())
}

/// Refuses a query in which a token or key stands.
pub(in crate::http) fn no_credential_in(query: &str) -> Result<(), Problem> {
    const CREDENTIALS: [&str; 6] = ["token", "access_token", "accessToken", "jwt", "apiKey", "api_key"];
    match pairs(query).into_iter().find(|(name, _)| CREDENTIALS.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "credential_in_url",
            format!(
                "{name} must not stand in a URL, which is written down in many places; send Authorization: Bearer, or \
                 for a browser's socket a ticket of POST /api/auth/ticket"
            ),
        )),
    }
}

fn pairs(query: &str) -> Vec<(String, String)> {
    if query.is_empty() {
        return Vec::new();
    }
    web::Query::from_query(query).map(web::Query::into_inner).unwrap_or_default()
}

/// What is wrong with a header that holds no bearer token.
fn no_bearer(header: &HeaderValue) -> &'static str {
    let scheme = header.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    match scheme.eq_ignore_ascii_case(b"basic") {
        true => {
            "Authorization is Basic, and a Bearer token is wanted; if you sent none, a proxy in front of this server \
             added it and has to be told to leave Authorization alone"
        }
        false => "Authorization must be: Bearer, a space, and a token",
    }
}

fn bearer(header: &str) -> Option<String> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

/// The token among the protocols that a socket offers: the one after `bearer`.
fn offered(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let headers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    let mut protocols =
        headers.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim);
    if !protocols.any(|protocol| protocol == BEARER_PROTOCOL) {
        return Ok(None);
    }
    let token = protocols.next().filter(|token| !token.is_empty());
    token.map(|token| Some(token.to_owned())).ok_or_else(|| invalid("the protocol bearer must be followed by a token"))
}

fn invalid(detail: &str) -> Problem {
    unauthorized("invalid_token", detail)
}

fn unauthorized(code: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, code, detail)
}
