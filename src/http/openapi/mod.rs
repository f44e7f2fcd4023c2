//! What this server takes and answers, told to programs: OpenAPI and Postman for HTTP, AsyncAPI for the sockets, and
//! told to people by a [`page`].
//!
//! The answers' schemas come from the very types that are answered with, and a test sees to it that what is served and
//! what is told are the same paths.

mod asyncapi;
mod document;
mod examples;
mod operation;
mod operations;
pub(in crate::http) mod page;
mod postman;
mod problems;
mod requests;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use serde_json::Value;

static OPENAPI: LazyLock<Value> = LazyLock::new(document::document);
static OPENAPI_TEXT: LazyLock<String> = LazyLock::new(|| OPENAPI.to_string());
static ASYNCAPI_TEXT: LazyLock<String> = LazyLock::new(|| asyncapi::document().to_string());
static POSTMAN_TEXT: LazyLock<String> = LazyLock::new(|| postman::collection(&OPENAPI).to_string());

/// What is taken and answered over HTTP.
pub(in crate::http) async fn openapi() -> HttpResponse {
    document(&OPENAPI_TEXT)
}

/// What is said on sockets.
pub(in crate::http) async fn asyncapi() -> HttpResponse {
    document(&ASYNCAPI_TEXT)
}

/// The HTTP routes as requests to try, for Postman and its like.
pub(in crate::http) async fn postman() -> HttpResponse {
    document(&POSTMAN_TEXT)
}

fn document(text: &'static str) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").insert_header((CACHE_CONTROL, "no-cache")).body(text)
}
