//! Accounts over HTTP: login and logout, tickets for WebSockets.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::{HttpRequest, HttpResponse, rt, web};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use tracing::Instrument;
use uuid::Uuid;

use crate::api::problem::ProblemCode;
use crate::auth::{AuthError, Identity, Login, LoginFailure};
use crate::domain::secret::Secret;
use crate::domain::user::{Scope, UserId, Username};
use crate::http::AppState;
use crate::http::extract::account::{Credentials, parse_credentials};
use crate::http::extract::body;
use crate::http::extract::caller::Caller;
use crate::http::middleware::guard::RequestGuard;
use crate::http::middleware::request_id;
use crate::http::operation::{Access, Body, Operation, get, post};
use crate::http::problem::Problem;

/// A login. The client sends the token as `Authorization: Bearer`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Login")]
pub(super) struct LoginView<'a> {
    success: bool,
    user_id: UserId,
    username: &'a str,
    token: &'a str,
    expires_at: DateTime<Utc>,
}

/// The caller.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "User")]
struct UserView<'a> {
    user_id: UserId,
    username: &'a str,
    created_at: DateTime<Utc>,
    scopes: Vec<Scope>,
    /// When the token of this request expires; absent for an API key, which does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
}

/// A ticket, which opens one WebSocket.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Ticket")]
struct TicketView<'a> {
    success: bool,
    ticket: &'a str,
    expires_at: DateTime<Utc>,
}

/// Success without further data.
#[derive(Serialize, JsonSchema)]
pub(super) struct OkView {
    pub(super) success: bool,
}

pub(super) fn operations() -> Vec<Operation> {
    let logins = [
        post("/api/auth", Access::Public, enter)
            .named("enter", "Log in; create the account if it does not exist")
            .answers::<LoginView<'_>>(201, "the account is created", "login")
            .answers::<LoginView<'_>>(200, "logged in", "login")
            .problems([ProblemCode::InvalidCredentials, ProblemCode::AccountDisabled])
            .problems([ProblemCode::RegistrationClosed]),
        post("/api/auth/register", Access::Public, register)
            .named("register", "Create an account")
            .answers::<LoginView<'_>>(201, "the account is created", "login")
            .problems([ProblemCode::UsernameTaken, ProblemCode::RegistrationClosed]),
        post("/api/auth/login", Access::Public, log_in)
            .named("logIn", "Log in")
            .answers::<LoginView<'_>>(200, "logged in", "login")
            .problems([ProblemCode::InvalidCredentials, ProblemCode::AccountDisabled]),
    ];
    let others = [
        post("/api/auth/logout", Access::Login, log_out)
            .named("logOut", "Revoke the login token")
            .described("WebSockets that were opened with the token are closed.")
            .body(Body::Empty)
            .answers::<OkView>(200, "the token is revoked", "done"),
        get("/api/auth/me", Access::User, me).named("getMe", "Get the caller").answers::<UserView<'_>>(
            200,
            "the user, and the scopes of the credential",
            "user",
        ),
        post("/api/auth/ticket", Access::User, ticket)
            .named("createTicket", "Create a ticket, which opens one WebSocket")
            .described(
                "For browsers, which cannot send a header with an upgrade: open the WebSocket with `?ticket=` \
                        within 30 seconds.",
            )
            .body(Body::Empty)
            .answers::<TicketView<'_>>(201, "the ticket", "ticket")
            .problems([ProblemCode::TooManyTickets]),
    ];
    let logins = logins.into_iter().map(|operation| {
        operation
            .body(Body::Json { required: true, schema: "Credentials", examples: &["credentials"] })
            .problems([ProblemCode::TooManyAttempts, ProblemCode::Busy])
    });
    logins.chain(others).map(|operation| operation.problems([ProblemCode::Unavailable])).collect()
}

/// Logs in, or creates the account if it does not exist.
async fn enter(request: HttpRequest, app: web::Data<AppState>, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let Credentials { name, password } = credentials(&request, payload).await?;
    let from = address(&request);
    let login = app.auth.enter(name.clone(), password, from).await;
    Ok(logged_in(&login.inspect_err(|error| log_failed_login(&name, from, error))?))
}

async fn register(
    request: HttpRequest,
    app: web::Data<AppState>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let Credentials { name, password } = credentials(&request, payload).await?;
    Ok(logged_in(&app.auth.register(name, password, address(&request)).await?))
}

async fn log_in(
    request: HttpRequest,
    app: web::Data<AppState>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let Credentials { name, password } = credentials(&request, payload).await?;
    let from = address(&request);
    let login = app.auth.log_in(name.clone(), password, from).await;
    Ok(logged_in(&login.inspect_err(|error| log_failed_login(&name, from, error))?))
}

async fn me(app: web::Data<AppState>, caller: Caller) -> Result<HttpResponse, Problem> {
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

/// Revokes the token, and closes the WebSockets that were opened with it.
async fn log_out(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let LoggedIn { token, expires_at, .. } = LoggedIn::of(caller)?;
    body::read_nothing(&request, payload).await?;
    uncancelled(async move {
        app.auth.revoke_token(token, expires_at).await?;
        app.sign_out_ended();
        Ok(())
    })
    .await?;
    Ok(HttpResponse::Ok().json(OkView { success: true }))
}

async fn ticket(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let identity = caller.identity()?;
    body::read_nothing(&request, payload).await?;
    let (ticket, expires_at) = app.auth.ticket(identity, address(&request))?;
    let view = TicketView { success: true, ticket: ticket.expose(), expires_at };
    Ok(HttpResponse::Created().json(view))
}

async fn credentials(request: &HttpRequest, payload: web::Payload) -> Result<Credentials, Problem> {
    parse_credentials(&body::read(request, payload).await?)
}

pub(super) fn logged_in(Login { user, token, expires_at, created }: &Login) -> HttpResponse {
    let token: &Secret = token;
    let mut response = if *created { HttpResponse::Created() } else { HttpResponse::Ok() };
    response.json(LoginView {
        success: true,
        user_id: user.id,
        username: user.name.as_str(),
        token: token.expose(),
        expires_at: *expires_at,
    })
}

/// A caller with a login token.
pub(super) struct LoggedIn {
    pub(super) identity: Identity,
    pub(super) user: UserId,
    token: Uuid,
    expires_at: DateTime<Utc>,
}

impl LoggedIn {
    /// Refuses an API key: it cannot manage the account.
    pub(super) fn of(caller: Caller) -> Result<Self, Problem> {
        let identity = caller.identity()?;
        let Identity { user, credential, .. } = identity;
        let Some(expires_at) = credential.expires_at else {
            let detail = "an API key cannot do this; log in with name and password";
            return Err(Problem::new(ProblemCode::LoginRequired, detail));
        };
        Ok(Self { identity, user, token: credential.id, expires_at })
    }
}

/// Runs work to its end, even if the client disconnects, because half of it must not be done.
pub(super) async fn uncancelled<T: 'static>(
    work: impl Future<Output = Result<T, AuthError>> + 'static,
) -> Result<T, AuthError> {
    rt::spawn(work.in_current_span()).await.unwrap_or(Err(AuthError::Unavailable))
}

/// The address for which attempts to log in, and tickets, are counted.
pub(super) fn address(request: &HttpRequest) -> IpAddr {
    let guard = request.app_data::<web::Data<RequestGuard>>().expect("every app has its guard");
    guard.source(request).map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |source| source.address)
}

/// Logs a login that failed for its name or its password. The name is as the client wrote it: it has up to 64 letters,
/// digits and `_-.@+`, which need no escape. The request id is a field, because the span has it only on the level `info`.
fn log_failed_login(name: &Username, client: IpAddr, error: &AuthError) {
    let reason = match error {
        AuthError::InvalidLogin(LoginFailure::UnknownName) => "unknown_name",
        AuthError::InvalidLogin(LoginFailure::WrongPassword) => "wrong_password",
        AuthError::Disabled => "disabled",
        _ => return,
    };
    tracing::warn!(username = name.as_str(), %client, reason, request_id = request_id::current(), "a login failed");
}

/// Logs that a user with a valid token gave a wrong password.
pub(super) fn log_unconfirmed_password(user: UserId, client: IpAddr, error: &AuthError) {
    if *error == AuthError::WrongPassword {
        let (reason, request_id) = ("wrong_password", request_id::current());
        tracing::warn!(user_id = %user, %client, reason, request_id, "a password was not confirmed");
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let code = match error {
            AuthError::InvalidCredential => ProblemCode::InvalidToken,
            AuthError::InvalidLogin(_) => ProblemCode::InvalidCredentials,
            AuthError::Disabled => ProblemCode::AccountDisabled,
            AuthError::WrongPassword => ProblemCode::WrongPassword,
            AuthError::MissingScope(_) => ProblemCode::MissingScope,
            AuthError::OpenOrders(_) => ProblemCode::OpenOrders,
            AuthError::RegistrationClosed => ProblemCode::RegistrationClosed,
            AuthError::UnknownKey => ProblemCode::KeyNotFound,
            AuthError::NameTaken => ProblemCode::UsernameTaken,
            AuthError::TooManyKeys => ProblemCode::TooManyKeys,
            AuthError::TooManyAttempts(_) => ProblemCode::TooManyAttempts,
            AuthError::TooManyTickets => ProblemCode::TooManyTickets,
            AuthError::Busy => ProblemCode::Busy,
            AuthError::Unavailable => return Self::unavailable(),
        };
        let problem = Self::from(code);
        match error {
            AuthError::OpenOrders(open) => {
                Self::new(code, format!("orders of this user are open ({open}): cancel them, or wait for their end"))
            }
            AuthError::MissingScope(missing) if missing.is_empty() => {
                Self::new(code, "this user has no scope that a key can have; the operator can grant one")
            }
            AuthError::MissingScope(missing) => {
                Self::new(code, format!("this user does not have the scope {missing}; the operator can grant it"))
            }
            AuthError::TooManyAttempts(wait) => {
                problem.retry_after(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1))
            }
            AuthError::TooManyTickets => problem.retry_after(30),
            AuthError::Busy => problem.retry_after(1),
            _ => problem,
        }
    }
}
