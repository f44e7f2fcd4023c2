//! Changes of passwords: what they end, and what they leave alone.

use serde_json::{Value, json};

use super::{assert_problem, guarded, hold_changes, login};
use crate::support::client::{Answer, Client, JSON, PASSWORD, concurrently};
use crate::support::postgres::Postgres;
use crate::support::process::Server;
use crate::support::wait::until;

const NEXT: &str = "incorrect horse battery";

fn change(old: &str, new: &str) -> Value {
    json!({ "oldPassword": old, "newPassword": new })
}

async fn log_in(server: &Server, password: &str) -> Answer {
    server.client.post("/api/auth/login", &login("alice", password)).await
}

#[actix::test]
async fn a_new_password_ends_every_token_and_socket_and_survives_a_kill() {
    let postgres = Postgres::start();
    let url = postgres.url();
    for mut server in [guarded([]), guarded([("database.url", url.as_str())])] {
        let alice = server.client.registered("alice").await;
        let elsewhere = server.client.logged_in("alice").await;
        let bob = server.client.registered("bob").await;
        let key = alice.post("/api/auth/keys", &json!({ "name": "bot" })).await.text("key").to_owned();
        let unused = elsewhere.ticket().await;
        let ticket = elsewhere.ticket().await;
        let mut closing = [
            alice.socket("/ws").await,
            elsewhere.socket("/ws").await,
            server.client.socket(&format!("/ws?ticket={ticket}")).await,
        ];
        let mut staying = [server.client.with(&key).socket("/ws").await, bob.socket("/ws").await];

        let changed = alice.post("/api/auth/password", &change(PASSWORD, NEXT)).await;
        assert_eq!((changed.status, changed.text("username")), (200, "alice"));
        // The next request of the process already finds the old tokens ended.
        for old in [&alice, &elsewhere] {
            assert_problem(&old.get("/api/orders").await, 401, "invalid_token");
        }
        let token = changed.text("token").to_owned();
        assert_eq!(server.client.with(&token).get("/api/orders").await.status, 200);
        for socket in &mut closing {
            assert_eq!(socket.next().await, Err(Some(4401)));
        }
        assert!(server.client.try_socket(&format!("/ws?ticket={unused}")).await.is_err(), "a ticket ends too");
        for socket in &mut staying {
            assert_eq!(socket.ask(json!({ "type": "ping" })).await["type"], "pong");
        }
        for _ in 0..2 {
            assert_problem(&log_in(&server, PASSWORD).await, 401, "invalid_credentials");
            assert_eq!(log_in(&server, NEXT).await.status, 200);
            for (bearer, status) in [(alice.token(), 401), (elsewhere.token(), 401), (&token, 200), (&key, 200)] {
                assert_eq!(server.client.with(bearer).get("/api/orders").await.status, status);
            }
            server.kill();
            server.restart();
        }
    }
}

#[actix::test]
async fn a_wrong_old_password_changes_nothing_and_counts_like_a_failed_login() {
    let server = guarded([("auth.attempts_per_name", "3")]);
    let alice = server.client.registered("alice").await;
    let delete = async |password: &str| {
        let body = json!({ "password": password }).to_string();
        alice.request("DELETE", "/api/auth/account", &[JSON], body).await
    };
    assert_problem(&alice.post("/api/auth/password", &change("wrong password", NEXT)).await, 403, "wrong_password");
    assert_problem(&delete("wrong password").await, 403, "wrong_password");
    assert_problem(&log_in(&server, "wrong password").await, 401, "invalid_credentials");
    // The three failures are the limit for all three ways to try a password.
    assert_problem(&alice.post("/api/auth/password", &change(PASSWORD, NEXT)).await, 429, "too_many_attempts");
    assert_problem(&delete(PASSWORD).await, 429, "too_many_attempts");
    assert_problem(&log_in(&server, PASSWORD).await, 429, "too_many_attempts");
    assert_eq!(alice.get("/api/auth/me").await.body["username"], "alice", "the token is still valid");
    let same = alice.post("/api/auth/password", &change(PASSWORD, PASSWORD)).await;
    assert_problem(&same, 400, "invalid_request");
}

#[actix::test]
async fn an_api_key_changes_no_password_and_deletes_no_account() {
    let server = guarded([]);
    let alice = server.client.registered("alice").await;
    let key = alice.post("/api/auth/keys", &json!({ "name": "bot" })).await;
    let key = server.client.with(key.text("key"));
    assert_problem(&key.post("/api/auth/password", &change(PASSWORD, NEXT)).await, 403, "login_required");
    let body = json!({ "password": PASSWORD }).to_string();
    assert_problem(&key.request("DELETE", "/api/auth/account", &[JSON], body).await, 403, "login_required");
    assert_problem(&server.client.post("/api/auth/password", &change(PASSWORD, NEXT)).await, 401, "unauthenticated");
    assert_eq!(log_in(&server, PASSWORD).await.status, 200);
}

#[actix::test]
async fn no_login_beside_a_password_change_gives_a_token_that_survives_it() {
    const LOGINS: usize = 40;
    let limits =
        [("auth.attempts_per_name", "1000"), ("auth.attempts_per_address", "1000"), ("auth.hashes_at_once", "4")];
    let postgres = Postgres::start();
    let url = postgres.url();
    for server in [guarded(limits), guarded(limits.into_iter().chain([("database.url", url.as_str())]))] {
        let alice = server.client.registered("alice").await;
        let logins = concurrently(LOGINS, (0..LOGINS).map(|_| log_in(&server, PASSWORD)));
        let body = change(PASSWORD, NEXT);
        let changes = concurrently(4, (0..4).map(|_| alice.post("/api/auth/password", &body)));
        let (logins, changes) = futures_util::future::join(logins, changes).await;
        let of_status = |answers: &[Answer], status| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!(of_status(&changes, 200), 1, "of concurrent changes one succeeds: {changes:?}");
        println!("{} of {LOGINS} logins were before the change", of_status(&logins, 200));
        for answer in logins {
            assert!([200, 401].contains(&answer.status), "{answer:?}");
            if answer.status == 200 {
                let old = server.client.with(answer.text("token"));
                assert_problem(&old.get("/api/orders").await, 401, "invalid_token");
            }
        }
        let changed = changes.iter().find(|answer| answer.status == 200).unwrap();
        assert_eq!(server.client.with(changed.text("token")).get("/api/orders").await.status, 200);
    }
}

#[actix::test]
async fn a_password_change_that_was_not_answered_takes_effect_as_a_whole_or_not_at_all() {
    let postgres = Postgres::start();
    let url = postgres.url();
    let server = guarded([("database.url", url.as_str()), ("server.request_timeout_ms", "2000")]);
    let alice = server.client.registered("alice").await;
    // The change waits for this lock, and the answer does not wait for the change.
    let lock = hold_changes(&url).await;
    assert_problem(&alice.post("/api/auth/password", &change(PASSWORD, NEXT)).await, 503, "unavailable");
    assert_eq!(alice.get("/api/orders").await.status, 200, "the token is valid until the change is stored");
    // The answer of this change is lost: the engine learns of it from the database.
    lock.rollback().await.unwrap();
    postgres
        .sql("UPDATE users SET token_version = token_version + 1, revision = (SELECT max(revision) + 1 FROM users)");
    let is_out = async |client: &Client| client.get("/api/orders").await.status == 401;
    until("the old token was refused", async || is_out(&alice).await).await;
    assert_eq!(log_in(&server, PASSWORD).await.status, 200);
}
