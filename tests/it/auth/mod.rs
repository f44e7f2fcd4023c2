//! Authentication and authorization.

mod accounts;
mod api_keys;
mod forged_tokens;
mod ownership;
mod secrets;
mod tokens;

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::process::{SWIFT, Server};

/// An engine that requires authentication.
fn guarded<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Server {
    Server::start(SWIFT.into_iter().chain([("auth.required", "true")]).chain(settings))
}

/// The body of a login or a registration.
fn login(name: &str, password: &str) -> Value {
    json!({ "username": name, "password": password })
}

/// Fails unless the answer is that problem, with `WWW-Authenticate` exactly where the status is 401.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, code: &str) {
    answer.assert_problem(status, code);
    assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{answer:?}");
}
