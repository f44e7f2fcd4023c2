//! Authentication and authorization.

mod accounts;
mod api_keys;
mod deletion;
mod forged_tokens;
mod login_log;
mod managed_users;
mod ownership;
mod passwords;
mod secrets;
mod tokens;

use std::io::{Seek, Write};

use sea_orm::{ConnectionTrait, Database, DatabaseTransaction, TransactionTrait};
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::os::{Finished, run_aside};
use crate::support::process::{SWIFT, Server};

/// An engine that requires authentication.
fn guarded<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Server {
    Server::start(SWIFT.into_iter().chain([("auth.required", "true")]).chain(settings))
}

/// The body of a login or a registration.
fn login(name: &str, password: &str) -> Value {
    json!({ "username": name, "password": password })
}

/// Runs `order-engine users` on the database of an engine, with that standard input.
async fn users(server: &Server, arguments: &[&str], input: &str) -> Finished {
    let mut stdin = tempfile::tempfile().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    stdin.rewind().unwrap();
    let mut command = server.command(&[&["users"], arguments].concat());
    command.stdin(stdin);
    run_aside(command).await
}

/// Holds up every change of an account on a PostgreSQL until the transaction ends: it has the lock of these changes.
async fn hold_changes(url: &str) -> DatabaseTransaction {
    let transaction = Database::connect(url).await.unwrap().begin().await.unwrap();
    transaction.execute_unprepared("SELECT pg_advisory_xact_lock(8030591472427692914)").await.unwrap();
    transaction
}

/// Fails unless the answer is that problem, with `WWW-Authenticate` exactly where the status is 401.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, code: &str) {
    answer.assert_problem(status, code);
    assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{answer:?}");
}
