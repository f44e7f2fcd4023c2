//! Every error that a route can answer with, under its stable code.

use actix_web::http::StatusCode;
use serde_json::{Value, json};

/// A kind of error: its code, the status it comes with, whether the same request may succeed later, and what it means.
pub(in crate::http) struct ProblemKind {
    pub(in crate::http) code: &'static str,
    pub(in crate::http) status: u16,
    retryable: bool,
    meaning: &'static str,
}

impl ProblemKind {
    /// The kind of that code.
    pub(in crate::http) fn of(code: &str) -> &'static Self {
        KINDS.iter().find(|kind| kind.code == code).unwrap_or_else(|| panic!("{code} is no kind of error"))
    }

    /// An error of this kind as a client gets it.
    pub(in crate::http) fn example(&self) -> Value {
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
                problem["orderId"] = crate::http::openapi::examples::example("order")["orderId"].clone()
            }
            _ => {}
        }
        problem
    }
}

/// What every request may meet before its route.
pub(in crate::http) const AT_THE_DOOR: &[&str] =
    &["origin_not_allowed", "url_too_long", "host_not_allowed", "too_many_requests"];

/// What whoever sends a wrong credential meets, or none where one is wanted.
pub(in crate::http) const NOT_LET_IN: &[&str] = &["credential_in_url", "unauthenticated", "invalid_token"];

/// What a body meets that is not JSON, too large or too slow.
pub(in crate::http) const BODY: &[&str] =
    &["invalid_json", "body_too_slow", "body_too_large", "unsupported_media_type"];

/// Why no venue quotes.
pub(in crate::http) const NO_QUOTES: &[&str] = &[
    "venue_unavailable",
    "below_minimum",
    "build_failed",
    "slippage_exceeded",
    "swap_rejected",
    "swap_expired",
    "internal",
    "no_liquidity",
    "unsupported_pool",
    "price_impact_too_high",
    "insufficient_funds",
    "timeout",
];

const fn kind(code: &'static str, status: u16, meaning: &'static str) -> ProblemKind {
    ProblemKind { code, status, retryable: false, meaning }
}

const fn later(code: &'static str, status: u16, meaning: &'static str) -> ProblemKind {
    ProblemKind { code, status, retryable: true, meaning }
}

const KINDS: &[ProblemKind] = &[
    kind("invalid_request", 400, "one or more fields are wrong; errors names them all"),
    kind("invalid_json", 400, "the body is not a JSON object"),
    kind("credential_in_url", 400, "a token or key must not stand in a URL"),
    kind("no_websocket", 400, "this path is a WebSocket, and the request does not ask for one"),
    kind("unauthenticated", 401, "log in, and send the token as Authorization: Bearer"),
    kind("invalid_token", 401, "the token, API key or ticket is not valid, or not any more"),
    kind("invalid_credentials", 401, "no user has this name and password"),
    kind("missing_scope", 403, "this API key may not do that"),
    kind("login_required", 403, "an API key cannot do this; log in with name and password"),
    kind("registration_closed", 403, "new accounts are not made here"),
    kind("origin_not_allowed", 403, "pages of that origin may not speak to this server"),
    kind("order_not_found", 404, "there is no such order, or it is somebody else's"),
    kind("key_not_found", 404, "there is no such API key, or it is somebody else's"),
    kind("no_such_route", 404, "nothing is served there"),
    kind("body_too_slow", 408, "the body did not arrive in time"),
    kind("too_late", 409, "its swap is signed and may land at any moment; no further attempt will be made"),
    kind("already_ended", 409, "the order has ended"),
    kind("username_taken", 409, "somebody has this name already"),
    kind("too_many_keys", 409, "no more API keys can be had; revoke one"),
    kind("body_too_large", 413, "the body is larger than 65536 bytes"),
    kind("url_too_long", 414, "path and query are longer than 8192 bytes"),
    kind("unsupported_media_type", 415, "the body must be application/json in UTF-8, and not compressed"),
    kind("host_not_allowed", 421, "this server does not go by the name in Host"),
    kind("idempotency_mismatch", 422, "Idempotency-Key and clientOrderId disagree"),
    kind("idempotency_key_reused", 422, "this key was used for another order"),
    later("too_many_requests", 429, "more requests than one client may make"),
    later("too_many_attempts", 429, "too many failed attempts by this name or from this address"),
    later("too_many_tickets", 429, "too many tickets are open and unused"),
    later("too_many_open_orders_of_user", 429, "this user has as many open orders as one may have; nothing was stored"),
    later("too_many_sockets", 429, "this client has as many sockets open as it may have"),
    later("unavailable", 503, "no answer can be had just now"),
    later("busy", 503, "too many passwords wait to be checked"),
    later("too_many_open_orders", 503, "as many orders are open as may be; nothing was stored"),
    later("stopping", 503, "the engine is stopping; nothing was stored"),
    later("not_accepted", 503, "the order could not be stored, and never will be"),
    later(
        "outcome_unknown",
        503,
        "it is not known yet whether the order was stored: ask for it, or repeat with the key",
    ),
    later("venue_unavailable", 503, "no venue answered with a quote"),
    later("below_minimum", 503, "the best quote is below minAmountOut"),
    later("build_failed", 503, "no venue could build the swap"),
    later("slippage_exceeded", 503, "the chain refused to pay less than the floor"),
    later("swap_rejected", 503, "the chain rejected the swap"),
    later("swap_expired", 503, "the swap provably never landed"),
    later("internal", 503, "the engine stumbled over this"),
    kind(
        "order_unreadable",
        503,
        "the order is stored in a way that this version cannot read; its operator has to repair it",
    ),
    kind("no_liquidity", 503, "no venue trades this pair in this size"),
    kind("unsupported_pool", 503, "the pools of this pair are of a kind that is not traded"),
    kind("price_impact_too_high", 503, "the trade would move the price by more than is allowed"),
    kind("insufficient_funds", 503, "the wallet does not hold the input"),
    kind("timeout", 503, "no answer came in time"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Every `StatusCode::X, "code"` in the sources below a folder.
    fn made(folder: &Path, found: &mut BTreeSet<(u16, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                made(&path, found);
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
    fn every_error_that_a_route_makes_is_told_with_its_status() {
        let mut found = BTreeSet::new();
        made(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"), &mut found);
        // Those of a method that no operation has, and of a socket, of which the other document tells.
        let elsewhere = ["method_not_allowed", "rate_limited", "already_subscribed", "too_many_subscriptions"];
        found.retain(|(_, code)| !elsewhere.contains(&code.as_str()));
        let told: BTreeSet<_> = KINDS.iter().map(|kind| (kind.status, kind.code.to_owned())).collect();
        let untold: Vec<_> = found.difference(&told).collect();
        assert!(untold.is_empty() && found.len() > 20, "{untold:?} of {found:?}");
    }
}
