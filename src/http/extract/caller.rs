//! The caller of a request and what it may do. Every route that reads or changes an order takes a [`Caller`].
//!
//! The credential is in `Authorization: Bearer`. For a WebSocket it may also be in `Sec-WebSocket-Protocol: bearer, …`, or
//! be a ticket in the query string. No other credential is accepted in a URL, because URLs end up in logs and histories.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderValue, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use actix_web::{FromRequest, HttpRequest, web};

use crate::api::problem::ProblemCode;
use crate::auth::{Credential, Identity};
use crate::domain::user::{Owner, Scope, UserId};
use crate::http::AppState;
use crate::http::extract::query;
use crate::http::problem::Problem;

/// The WebSocket subprotocol that precedes a token, and the only one that the server selects.
pub(in crate::http) const BEARER_PROTOCOL: &str = "bearer";

/// The sender of a request: a user, or anonymous where authentication is off.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Caller(Option<Identity>);

impl Caller {
    /// The owner of the caller's orders, if the caller has the scope. There is no other way to get an [`Owner`].
    pub(in crate::http) fn may(&self, scope: Scope) -> Result<Owner, Problem> {
        match &self.0 {
            None => Ok(Owner::Shared),
            Some(identity) if identity.scopes.contain(scope) => Ok(Owner::User(identity.user)),
            Some(identity) => Err(missing_scope(scope, identity.credential)),
        }
    }

    /// The caller's identity; an anonymous caller is refused.
    pub(in crate::http) fn identity(&self) -> Result<Identity, Problem> {
        self.0.ok_or_else(|| Problem::new(ProblemCode::Unauthenticated, "this request needs a login"))
    }
}

/// The sender of a WebSocket upgrade, who may also use a ticket or a token among the offered subprotocols.
///
/// It is a separate type so that only the WebSocket routes accept tickets.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct SocketCaller(pub(in crate::http) Caller);

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(authenticate(request))
    }
}

impl FromRequest for SocketCaller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let upgrade = request.headers().get(UPGRADE).map(|value| value.as_bytes());
        let is_upgrade = request.method() == Method::GET
            && upgrade.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
        ready(authenticate_with(request, is_upgrade).map(Self))
    }
}

/// The user of a valid bearer token or API key. The other credentials of a WebSocket are left to its route.
pub(in crate::http) fn user(request: &HttpRequest) -> Option<UserId> {
    let app = request.app_data::<web::Data<AppState>>()?;
    let bearer = bearer(request.headers().get(AUTHORIZATION)?.to_str().ok()?)?;
    app.auth.identify(&bearer).ok().map(|identity| identity.user)
}

enum Credentials {
    Bearer(String),
    Ticket(String),
}

/// Authenticates a request that is not a WebSocket upgrade.
pub(in crate::http) fn authenticate(request: &HttpRequest) -> Result<Caller, Problem> {
    authenticate_with(request, false)
}

fn authenticate_with(request: &HttpRequest, is_upgrade: bool) -> Result<Caller, Problem> {
    let app = request.app_data::<web::Data<AppState>>().expect("every app has its state");
    let identity = match &credentials(request, is_upgrade)? {
        None if app.auth.required() => {
            return Err(Problem::new(
                ProblemCode::Unauthenticated,
                "log in, and send the token as Authorization: Bearer",
            ));
        }
        None => return Ok(Caller(None)),
        Some(Credentials::Bearer(bearer)) => app.auth.identify(bearer),
        Some(Credentials::Ticket(ticket)) => app.auth.redeem(ticket),
    };
    identity.map(|identity| Caller(Some(identity))).map_err(Problem::from)
}

/// The credential of a request. More than one is refused: the choice among them would be arbitrary.
fn credentials(request: &HttpRequest, is_upgrade: bool) -> Result<Option<Credentials>, Problem> {
    let mut all = Vec::new();
    for value in request.headers().get_all(AUTHORIZATION) {
        let bearer = value.to_str().ok().and_then(bearer);
        all.push(Credentials::Bearer(bearer.ok_or_else(|| invalid(why_not_bearer(value)))?));
    }
    refuse_credential_in(request.query_string())?;
    if is_upgrade {
        all.extend(offered_token(request)?.map(Credentials::Bearer));
        let tickets = parameters(request.query_string()).filter(|(name, _)| name == "ticket");
        all.extend(tickets.map(|(_, ticket)| Credentials::Ticket(ticket)));
    }
    if all.len() > 1 {
        return Err(invalid("more than one credential was sent"));
    }
    Ok(all.pop())
}

/// Refuses a query string that contains a token or key.
pub(in crate::http) fn refuse_credential_in(query: &str) -> Result<(), Problem> {
    const CREDENTIALS: [&str; 6] = ["token", "access_token", "accessToken", "jwt", "apiKey", "api_key"];
    match parameters(query).find(|(name, _)| CREDENTIALS.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => Err(Problem::new(
            ProblemCode::CredentialInUrl,
            format!(
                "{name} must not be in a URL, because URLs are logged in many places; send Authorization: Bearer, or open \
                 a browser's WebSocket with a ticket from POST /api/auth/ticket"
            ),
        )),
    }
}

/// The parameters of a query string; none if it is malformed.
fn parameters(query: &str) -> impl Iterator<Item = (String, String)> {
    query::pairs(query).unwrap_or_default().into_iter()
}

/// Why the header has no bearer token.
fn why_not_bearer(header: &HeaderValue) -> &'static str {
    let scheme = header.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    match scheme.eq_ignore_ascii_case(b"basic") {
        true => {
            "Authorization is Basic and must be Bearer; if you did not send it, a proxy in front of this server adds it \
             and must be configured to leave Authorization unchanged"
        }
        false => "Authorization must be: Bearer, a space, and a token",
    }
}

fn bearer(header: &str) -> Option<String> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

/// The token among the offered subprotocols: the one after `bearer`.
fn offered_token(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let headers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    let mut protocols =
        headers.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim);
    if !protocols.any(|protocol| protocol == BEARER_PROTOCOL) {
        return Ok(None);
    }
    let token = protocols.next().filter(|token| !token.is_empty());
    token
        .map(|token| Some(token.to_owned()))
        .ok_or_else(|| invalid("the subprotocol bearer must be followed by a token"))
}

fn missing_scope(scope: Scope, credential: Credential) -> Problem {
    let scope = scope.name();
    let detail = match credential.expires_at {
        None => format!("this API key may not {scope}"),
        Some(_) => format!("this user may not {scope}; the operator can grant it"),
    };
    Problem::new(ProblemCode::MissingScope, detail)
}

fn invalid(detail: &str) -> Problem {
    Problem::new(ProblemCode::InvalidToken, detail)
}
