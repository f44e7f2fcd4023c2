//! Every problem that an operation can answer with, by its stable code.

use actix_web::http::StatusCode;
use serde_json::{Value, json};

use crate::domain::retry::FailureCode;
use crate::http::openapi::examples::example;

/// A kind of problem: its code, its status, whether the same request may succeed later, and what it means.
pub(super) struct ProblemKind {
    pub(super) code: &'static str,
    pub(super) status: u16,
    retryable: bool,
    meaning: &'static str,
}

impl ProblemKind {
    /// The kind with this code.
    pub(super) fn of(code: &str) -> &'static Self {
        let mut kinds = KINDS.iter().chain(FAILURES);
        kinds.find(|kind| kind.code == code).unwrap_or_else(|| panic!("{code} is not the code of a problem"))
    }

    /// A problem of this kind as a client gets it.
    pub(super) fn example(&self) -> Value {
        let title = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let mut problem = json!({
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "detail": self.meaning,
            "code": self.code,
            "retryable": self.retryable,
            "requestId": "5b0a8f0e-6f3b-4f0e-9d7e-1f6f2a3c4d5e",
        });
        match self.code {
            "invalid_request" => {
                problem["detail"] = json!("amountIn: must be greater than 0");
                problem["errors"] = json!([{ "field": "amountIn", "message": "must be greater than 0" }]);
            }
            "too_late" | "already_ended" | "outcome_unknown" | "order_unreadable" => {
                problem["orderId"] = example("order")["orderId"].clone();
            }
            _ => {}
        }
        problem
    }
}

/// Problems of any request, before it is routed.
pub(super) const BEFORE_ROUTING: &[&str] =
    &["origin_not_allowed", "url_too_long", "host_not_allowed", "too_many_requests"];

/// Problems of a credential that is missing, wrong, or in the URL.
pub(super) const CREDENTIALS: &[&str] = &["credential_in_url", "unauthenticated", "invalid_token"];

/// Problems of a body, before its fields are read.
pub(super) const BODY: &[&str] = &["invalid_json", "body_too_slow", "body_too_large", "unsupported_media_type"];

/// The failures of a quote, as codes of problems.
pub(in crate::http) fn failures() -> impl Iterator<Item = &'static str> {
    FAILURES.iter().map(|kind| kind.code)
}

const fn kind(code: &'static str, status: u16, meaning: &'static str) -> ProblemKind {
    ProblemKind { code, status, retryable: false, meaning }
}

const fn retryable(code: &'static str, status: u16, meaning: &'static str) -> ProblemKind {
    ProblemKind { code, status, retryable: true, meaning }
}

const fn failure(code: FailureCode, meaning: &'static str) -> ProblemKind {
    ProblemKind { code: code.name(), status: 503, retryable: code.retryable(), meaning }
}

const FAILURES: &[ProblemKind] = &[
    failure(FailureCode::VenueUnavailable, "no venue answered with a quote"),
    failure(FailureCode::BelowMinimum, "the best quote is below minAmountOut"),
    failure(FailureCode::BuildFailed, "no venue could build the swap"),
    failure(FailureCode::SlippageExceeded, "the swap would have paid less than its minimum output"),
    failure(FailureCode::SwapRejected, "the chain rejected the swap"),
    failure(FailureCode::SwapExpired, "the swap expired and provably never landed"),
    failure(FailureCode::Internal, "internal error"),
    failure(FailureCode::NoLiquidity, "no venue trades this pair in this size"),
    failure(FailureCode::UnsupportedPool, "the pools of this pair are of a type that is not supported"),
    failure(FailureCode::PriceImpactTooHigh, "the trade would move the price by more than is allowed"),
    failure(FailureCode::InsufficientFunds, "the wallet does not hold the input amount"),
    failure(FailureCode::Timeout, "no answer within the time limit"),
];

const KINDS: &[ProblemKind] = &[
    kind("invalid_request", 400, "one or more fields are invalid; errors lists them"),
    kind("invalid_json", 400, "the body is not a JSON object"),
    kind("credential_in_url", 400, "a token or API key must not be in a URL"),
    kind("no_websocket", 400, "this path is a WebSocket, and the request is not an upgrade"),
    kind("unauthenticated", 401, "log in, and send the token as Authorization: Bearer"),
    kind("invalid_token", 401, "the token, API key or ticket is not valid, or has expired"),
    kind("invalid_credentials", 401, "no user has this name and password"),
    kind("missing_scope", 403, "this API key does not have the scope"),
    kind("login_required", 403, "an API key cannot do this; log in with name and password"),
    kind("registration_closed", 403, "this server does not create new accounts"),
    kind("origin_not_allowed", 403, "pages of this origin may not call this server"),
    kind("order_not_found", 404, "there is no such order, or it belongs to another user"),
    kind("key_not_found", 404, "there is no such API key, or it belongs to another user"),
    kind("no_such_route", 404, "nothing is served at this path"),
    kind("body_too_slow", 408, "the body did not arrive in time"),
    kind("too_late", 409, "the swap is signed and may land at any moment; no further attempt will be made"),
    kind("already_ended", 409, "the order has ended"),
    kind("username_taken", 409, "this username is taken"),
    kind("too_many_keys", 409, "this user has the maximum number of API keys; revoke one"),
    kind("body_too_large", 413, "the body is larger than 65536 bytes"),
    kind("url_too_long", 414, "path and query are longer than 8192 bytes"),
    kind("unsupported_media_type", 415, "the body must be application/json in UTF-8, and not compressed"),
    kind("host_not_allowed", 421, "the name in Host is not a name of this server"),
    kind("idempotency_mismatch", 422, "Idempotency-Key and clientOrderId are different"),
    kind("idempotency_key_reused", 422, "this key was used for a different order"),
    retryable("too_many_requests", 429, "the client exceeds its rate limit"),
    retryable("too_many_attempts", 429, "too many failed logins with this name or from this address"),
    retryable("too_many_tickets", 429, "too many unused tickets are open"),
    retryable(
        "too_many_open_orders_of_user",
        429,
        "this user has the maximum number of open orders; nothing was stored",
    ),
    retryable("too_many_sockets", 429, "this client has the maximum number of open sockets"),
    retryable("unavailable", 503, "the engine cannot answer at the moment"),
    retryable("busy", 503, "too many password checks are waiting"),
    retryable("too_many_open_orders", 503, "the engine has the maximum number of open orders; nothing was stored"),
    retryable("stopping", 503, "the engine is shutting down; nothing was stored"),
    retryable("not_accepted", 503, "the order could not be stored, and will not be"),
    retryable(
        "outcome_unknown",
        503,
        "it is not known yet whether the order was stored: get it, or submit it again with the same key",
    ),
    kind("order_unreadable", 503, "this version cannot read the stored order; the operator has to repair it"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Every `StatusCode::X, "code"` in the sources of a folder.
    fn problems_in(folder: &Path, found: &mut BTreeSet<(u16, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                problems_in(&path, found);
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            for rest in source.split("StatusCode::").skip(1) {
                let end = rest.find(|letter: char| !letter.is_ascii_uppercase() && letter != '_').unwrap_or(rest.len());
                let code = rest[end..].trim_start_matches(|letter: char| letter == ',' || letter.is_whitespace());
                let Some((code, _)) = code.strip_prefix('"').and_then(|code| code.split_once('"')) else { continue };
                let status = (100..600).filter_map(|status| StatusCode::from_u16(status).ok());
                let named = |status: &StatusCode| {
                    let reason = status.canonical_reason().unwrap_or_default();
                    reason.to_uppercase().replace([' ', '-'], "_") == rest[..end]
                };
                let is_code =
                    !code.is_empty() && code.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
                if let Some(status) = status.into_iter().find(named).filter(|_| is_code) {
                    found.insert((status.as_u16(), code.to_owned()));
                }
            }
        }
    }

    #[test]
    fn every_problem_that_the_sources_create_is_documented_with_its_status() {
        let mut found = BTreeSet::new();
        problems_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"), &mut found);
        // Problems of a method that no operation has, and of a WebSocket, which the AsyncAPI document describes.
        let undocumented = ["method_not_allowed", "rate_limited", "already_subscribed", "too_many_subscriptions"];
        found.retain(|(_, code)| !undocumented.contains(&code.as_str()));
        let documented: BTreeSet<_> =
            KINDS.iter().chain(FAILURES).map(|kind| (kind.status, kind.code.to_owned())).collect();
        let missing: Vec<_> = found.difference(&documented).collect();
        assert!(missing.is_empty() && found.len() > 20, "{missing:?} of {found:?}");
    }
}
