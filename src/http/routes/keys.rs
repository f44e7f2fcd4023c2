//! API keys over HTTP.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::problem::ProblemCode;
use crate::domain::user::{ApiKey, KeyId, Scope};
use crate::http::AppState;
use crate::http::extract::account::{NewKey, parse_new_key};
use crate::http::extract::body;
use crate::http::extract::caller::Caller;
use crate::http::openapi::requests;
use crate::http::operation::{Access, Body, Operation, delete, get, post};
use crate::http::problem::Problem;
use crate::http::routes::auth::{LoggedIn, OkView, uncancelled};

/// An API key, without the key itself.
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
struct NewKeyView<'a> {
    success: bool,
    /// The key itself. It is shown only here.
    key: &'a str,
    #[serde(flatten)]
    about: KeyView<'a>,
}

/// The API keys of the caller.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ApiKeys")]
struct KeysView<'a> {
    keys: Vec<KeyView<'a>>,
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

pub(super) fn operations() -> Vec<Operation> {
    let all = [
        post("/api/auth/keys", Access::Login, create_key)
            .named("createKey", "Create an API key")
            .body(Body::Json { required: true, schema: "NewKeyRequest", examples: &["newKeyRequest"] })
            .answers::<NewKeyView<'_>>(201, "the key, which is not shown again", "newKey")
            .links(201, &[("revokeKey", "/id")])
            .problems([ProblemCode::TooManyKeys, ProblemCode::MissingScope]),
        get("/api/auth/keys", Access::Login, keys)
            .named("listKeys", "List the API keys of the caller")
            .answers::<KeysView<'_>>(200, "the keys, without the secret part", "keys"),
        delete("/api/auth/keys/{id}", Access::Login, revoke_key)
            .named("revokeKey", "Revoke an API key")
            .takes([requests::id("key")])
            .body(Body::Empty)
            .answers::<OkView>(200, "the key is revoked", "done")
            .problems([ProblemCode::KeyNotFound]),
    ];
    all.into_iter().map(|operation| operation.problems([ProblemCode::Unavailable])).collect()
}

async fn create_key(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let LoggedIn { user, .. } = LoggedIn::of(caller)?;
    let NewKey { name, scopes } = parse_new_key(&body::read(&request, payload).await?)?;
    let (key, text) = uncancelled(async move { app.auth.create_key(user, name, scopes).await }).await?;
    let view = NewKeyView { success: true, key: text.expose(), about: KeyView::of(&key) };
    Ok(HttpResponse::Created().json(view))
}

async fn keys(app: web::Data<AppState>, caller: Caller) -> Result<HttpResponse, Problem> {
    let LoggedIn { user, .. } = LoggedIn::of(caller)?;
    let keys = app.auth.keys(user).await?;
    Ok(HttpResponse::Ok().json(KeysView { keys: keys.iter().map(KeyView::of).collect() }))
}

async fn revoke_key(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let LoggedIn { user, .. } = LoggedIn::of(caller)?;
    let id: KeyId = id.parse().map_err(|_| Problem::invalid_field("id", "must be a UUID"))?;
    body::read_nothing(&request, payload).await?;
    uncancelled(async move {
        app.auth.revoke_key(user, id).await?;
        app.sign_out_ended();
        Ok(())
    })
    .await?;
    Ok(HttpResponse::Ok().json(OkView { success: true }))
}
