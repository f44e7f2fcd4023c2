//! The documents of the API: OpenAPI and a Postman collection for HTTP, AsyncAPI for the WebSockets, and a [`page`] that
//! shows the OpenAPI document.
//!
//! OpenAPI is made from [`crate::http::routes`], from which the server is configured too; Postman is made from OpenAPI.
//! The schemas of answers come from the types that are serialized.

mod asyncapi;
mod document;
mod examples;
mod operation;
pub(super) mod page;
mod postman;
mod problems;
pub(super) mod requests;

use std::sync::LazyLock;

use serde_json::Value;

pub(super) use problems::failures;

static OPENAPI: LazyLock<Value> = LazyLock::new(document::document);
static OPENAPI_TEXT: LazyLock<String> = LazyLock::new(|| OPENAPI.to_string());
static ASYNCAPI_TEXT: LazyLock<String> = LazyLock::new(|| asyncapi::document().to_string());
static POSTMAN_TEXT: LazyLock<String> = LazyLock::new(|| postman::collection(&OPENAPI).to_string());

/// The OpenAPI document.
pub(super) fn openapi() -> &'static str {
    &OPENAPI_TEXT
}

/// The AsyncAPI document.
pub(super) fn asyncapi() -> &'static str {
    &ASYNCAPI_TEXT
}

/// The Postman collection.
pub(super) fn postman() -> &'static str {
    &POSTMAN_TEXT
}
