//! The problems of the operations, as the OpenAPI document shows them.

use actix_web::http::StatusCode;
use serde_json::{Value, json};

use crate::api::problem::ProblemCode;
use crate::http::openapi::examples::example;

/// A problem as a client gets it.
pub(super) fn problem_example(code: ProblemCode) -> Value {
    let title = StatusCode::from_u16(code.status()).ok().and_then(|status| status.canonical_reason());
    let mut problem = json!({
        "type": "about:blank",
        "title": title,
        "status": code.status(),
        "detail": code.meaning(),
        "code": code.name(),
        "retryable": code.retryable(),
        "requestId": "5b0a8f0e-6f3b-4f0e-9d7e-1f6f2a3c4d5e",
    });
    match code {
        ProblemCode::InvalidRequest => {
            problem["detail"] = json!("amountIn: must be greater than 0");
            problem["errors"] = json!([{ "field": "amountIn", "message": "must be greater than 0" }]);
        }
        ProblemCode::TooLate
        | ProblemCode::AlreadyEnded
        | ProblemCode::OutcomeUnknown
        | ProblemCode::OrderUnreadable => {
            problem["orderId"] = example("order")["orderId"].clone();
        }
        _ => {}
    }
    problem
}

/// Problems of any request, before it is routed.
pub(super) const BEFORE_ROUTING: &[ProblemCode] = &[
    ProblemCode::OriginNotAllowed,
    ProblemCode::UrlTooLong,
    ProblemCode::HostNotAllowed,
    ProblemCode::TooManyRequests,
];

/// Problems of a credential that is missing, wrong, or in the URL.
pub(super) const CREDENTIALS: &[ProblemCode] =
    &[ProblemCode::CredentialInUrl, ProblemCode::Unauthenticated, ProblemCode::InvalidToken];

/// Problems of a body, before its fields are read.
pub(super) const BODY: &[ProblemCode] =
    &[ProblemCode::InvalidJson, ProblemCode::BodyTooSlow, ProblemCode::BodyTooLarge, ProblemCode::UnsupportedMediaType];
