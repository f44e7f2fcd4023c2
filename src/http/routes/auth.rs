//! Accounts over HTTP: log in and out, API keys, tickets for sockets.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, rt, web};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::auth::{AuthError, Identity, Login};
use crate::domain::secret::Secret;
use crate::domain::user::{ApiKey, KeyId, Scope, UserId};
use crate::http::AppState;
use crate::http::extract::body::{self, Credentials, NewKey};
use crate::http::extract::caller::Caller;
use crate::http::problem::Problem;

/// A login: the token is sent as `Authorization: Bearer`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Login")]
pub(in crate::http) struct LoginView<'a> {
    success: bool,
    user_id: UserId,
    username: &'a str,
    token: &'a str,
    expires_at: DateTime<Utc>,
}

/// Who asks.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "User")]
pub(in crate::http) struct UserView<'a> {
    user_id: UserId,
    username: &'a str,
    created_at: DateTime<Utc>,
    scopes: Vec<Scope>,
    /// When the token that was sent expires; an API key does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
}

/// What is known of an API key.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ApiKey")]
struct KeyView<'a> {
    id: KeyId,
    name: &'a str,
    scopes: Vec<Scope>,
    prefix: &'a str,
    created_at: DateTime<Utc>,
}

/// A new API key.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewApiKey")]
pub(in crate::http) struct NewKeyView<'a> {
    success: bool,
    /// The key itself: told once.
    key: &'a str,
    #[serde(flatten)]
    about: KeyView<'a>,
}

/// One's API keys.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ApiKeys")]
pub(in crate::http) struct KeysView<'a> {
    keys: Vec<KeyView<'a>>,
}

/// A ticket: opens one socket.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Ticket")]
pub(in crate::http) struct TicketView<'a> {
    success: bool,
    ticket: &'a str,
    expires_at: DateTime<Utc>,
}

/// It is done.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct OkView {
    success: bool,
}

impl<'a> KeyView<'a> {
    fn of(key: &'a ApiKey) -> Self {
        Self {
            id: key.id,
            name: &key.name,
            scopes: key.scopes.iter().collect(),
            prefix: &key.prefix,
            created_at: key.created_at,
        }
    }
}

/// Logs in, or makes the account where there is none.
pub(in crate::http) async fn enter(
    request: HttpRequest,
    app: web::Data<AppState>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let Credentials { name, password } = credentials(&request, payload).await?;
    Ok(logged_in(&app.auth.enter(name, password, address(&request)).await?))
}

pub(in crate::http) async fn register(
    request: HttpRequest,
    app: web::Data<AppState>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let Credentials { name, password } = credentials(&request, payload).await?;
    Ok(logged_in(&app.auth.register(name, password, address(&request)).await?))
}

pub(in crate::http) async fn log_in(
    request: HttpRequest,
    app: web::Data<AppState>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let Credentials { name, password } = credentials(&request, payload).await?;
    Ok(logged_in(&app.auth.log_in(name, password, address(&request)).await?))
}

pub(in crate::http) async fn me(app: web::Data<AppState>, caller: Caller) -> Result<HttpResponse, Problem> {
    let Identity { user, scopes, credential } = caller.identity()?;
    let user = app.auth.user(user).await?;
    Ok(HttpResponse::Ok().json(UserView {
        user_id: user.id,
        username: user.name.as_str(),
        created_at: user.created_at,
        scopes: scopes.iter().collect(),
        expires_at: credential.expires_at,
    }))
}

/// Makes the token worthless, and closes the sockets that were opened with it.
pub(in crate::http) async fn log_out(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let (credential, expires_at) = token_of(caller.identity()?)?;
    body::read_nothing(&request, payload).await?;
    to_the_end(async move {
        app.auth.revoke_token(credential, expires_at).await?;
        app.sessions.sign_out(credential);
        Ok(())
    })
    .await?;
    Ok(HttpResponse::Ok().json(OkView { success: true }))
}

pub(in crate::http) async fn create_key(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let identity = caller.identity()?;
    token_of(identity)?;
    let NewKey { name, scopes } = body::parse_new_key(&body::read(&request, payload).await?)?;
    let (key, text) = to_the_end(async move { app.auth.create_key(identity.user, name, scopes).await }).await?;
    let view = NewKeyView { success: true, key: text.expose(), about: KeyView::of(&key) };
    Ok(secret_answer(StatusCode::CREATED).json(view))
}

pub(in crate::http) async fn keys(app: web::Data<AppState>, caller: Caller) -> Result<HttpResponse, Problem> {
    let identity = caller.identity()?;
    token_of(identity)?;
    let keys = app.auth.keys(identity.user).await?;
    Ok(HttpResponse::Ok().json(KeysView { keys: keys.iter().map(KeyView::of).collect() }))
}

pub(in crate::http) async fn revoke_key(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let identity = caller.identity()?;
    token_of(identity)?;
    let id: KeyId = id.parse().map_err(|_| Problem::invalid_field("id", "must be a UUID"))?;
    body::read_nothing(&request, payload).await?;
    to_the_end(async move {
        app.auth.revoke_key(identity.user, id).await?;
        app.sessions.sign_out(id.0);
        Ok(())
    })
    .await?;
    Ok(HttpResponse::Ok().json(OkView { success: true }))
}

pub(in crate::http) async fn ticket(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let identity = caller.identity()?;
    body::read_nothing(&request, payload).await?;
    let (ticket, expires_at) = app.auth.ticket(identity, address(&request))?;
    let view = TicketView { success: true, ticket: ticket.expose(), expires_at };
    Ok(secret_answer(StatusCode::CREATED).json(view))
}

async fn credentials(request: &HttpRequest, payload: web::Payload) -> Result<Credentials, Problem> {
    body::parse_credentials(&body::read(request, payload).await?)
}

fn logged_in(Login { user, token, expires_at, created }: &Login) -> HttpResponse {
    let token: &Secret = token;
    secret_answer(if *created { StatusCode::CREATED } else { StatusCode::OK }).json(LoginView {
        success: true,
        user_id: user.id,
        username: user.name.as_str(),
        token: token.expose(),
        expires_at: *expires_at,
    })
}

/// An answer that nobody on the way should keep.
fn secret_answer(status: StatusCode) -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header(("cache-control", "no-store"));
    response
}

/// The token behind an identity; an API key may trade for its user, not manage the account.
fn token_of(identity: Identity) -> Result<(uuid::Uuid, DateTime<Utc>), Problem> {
    let credential = identity.credential;
    credential.expires_at.map(|expires_at| (credential.id, expires_at)).ok_or_else(|| {
        Problem::new(
            StatusCode::FORBIDDEN,
            "login_required",
            "an API key cannot do this; log in with name and password",
        )
    })
}

/// Runs to its end what must not stop half way, also where the client has left.
async fn to_the_end<T: 'static>(work: impl Future<Output = Result<T, AuthError>> + 'static) -> Result<T, AuthError> {
    rt::spawn(work).await.unwrap_or(Err(AuthError::Unavailable))
}

fn address(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip())
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let seconds = |wait: std::time::Duration| u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        match error {
            AuthError::InvalidCredential => Self::new(
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                "the token, API key or ticket is not valid, or not any more",
            ),
            AuthError::InvalidLogin => {
                Self::new(StatusCode::UNAUTHORIZED, "invalid_credentials", "no user has this name and password")
            }
            AuthError::TooManyAttempts(wait) => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_attempts",
                "too many failed attempts by this name or from this address",
            )
            .retry_after(seconds(wait)),
            AuthError::NameTaken => Self::new(StatusCode::CONFLICT, "username_taken", "somebody has this name already"),
            AuthError::RegistrationClosed => {
                Self::new(StatusCode::FORBIDDEN, "registration_closed", "new accounts are not made here")
            }
            AuthError::TooManyKeys => {
                Self::new(StatusCode::CONFLICT, "too_many_keys", "no more API keys can be had; revoke one")
            }
            AuthError::TooManyTickets => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tickets", "too many tickets are open and unused")
                    .retry_after(30)
            }
            AuthError::UnknownKey => Self::new(StatusCode::NOT_FOUND, "key_not_found", "there is no such API key"),
            AuthError::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many passwords wait to be checked")
                    .retry_after(1)
            }
            AuthError::Unavailable => Self::unavailable(),
        }
    }
}
