//! Accounts: registration, login, and the limits of login attempts.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{assert_problem, guarded, login};
use crate::support::campaign;
use crate::support::client::{Client, PASSWORD, concurrently};
use crate::support::postgres::Postgres;
use crate::support::wait::until;

#[actix::test]
async fn the_first_post_creates_the_account_and_the_next_logs_in() {
    let server = guarded([]);
    let made = server.client.post("/api/auth", &login("Alice", PASSWORD)).await;
    assert_eq!((made.status, &made.body["success"], &made.body["username"]), (201, &json!(true), &json!("Alice")));
    assert_eq!(made.header("cache-control"), Some("no-store"));
    for path in ["/api/auth", "/api/auth/login"] {
        let again = server.client.post(path, &login("aLICE", PASSWORD)).await;
        assert_eq!((again.status, &again.body["userId"]), (200, &made.body["userId"]));
        assert_eq!(again.body["username"], "Alice");
        let alice = server.client.with(again.body["token"].as_str().unwrap());
        let me = alice.get("/api/auth/me").await;
        assert_eq!((&me.body["userId"], &me.body["expiresAt"]), (&made.body["userId"], &again.body["expiresAt"]));
        assert_problem(
            &server.client.post(path, &login("alice", "correct house battery")).await,
            401,
            "invalid_credentials",
        );
    }
    assert_problem(&server.client.post("/api/auth/register", &login("ALICE", PASSWORD)).await, 409, "username_taken");
    assert_problem(&server.client.get("/api/auth/me").await, 401, "unauthenticated");
}

#[actix::test]
async fn accounts_keys_and_revocations_survive_a_kill() {
    let mut server = guarded([]);
    let alice = server.client.registered("alice").await;
    let logged_out = server.client.logged_in("alice").await;
    assert_eq!(logged_out.post("/api/auth/logout", &json!({})).await.status, 200);
    let key = async |name: &str| alice.post("/api/auth/keys", &json!({ "name": name })).await.body;
    let (kept, revoked) = (key("kept").await, key("revoked").await);
    let path = format!("/api/auth/keys/{}", revoked["id"].as_str().unwrap());
    assert_eq!(alice.delete(&path).await.status, 200);
    for _ in 0..2 {
        let with = |bearer: &Value| server.client.with(bearer.as_str().unwrap());
        assert_eq!(server.client.with(alice.token()).get("/api/auth/me").await.status, 200);
        assert_eq!(with(&kept["key"]).get("/api/orders").await.status, 200);
        assert_problem(&server.client.with(logged_out.token()).get("/api/orders").await, 401, "invalid_token");
        assert_problem(&with(&revoked["key"]).get("/api/orders").await, 401, "invalid_token");
        server.kill();
        server.restart();
    }
}

#[actix::test]
async fn of_many_concurrent_registrations_of_one_name_one_succeeds() {
    let server = guarded([]);
    let names = ["alice", "ALICE", "Alice", "aLiCe"];
    let made = concurrently(
        16,
        (0..16).map(|number| {
            let body = login(names[number % names.len()], PASSWORD);
            async { server.client.post("/api/auth/register", &{ body }).await }
        }),
    )
    .await;
    assert_eq!(made.iter().filter(|answer| answer.status == 201).count(), 1, "{made:?}");
    assert!(made.iter().all(|answer| [201, 409].contains(&answer.status)), "{made:?}");
}

#[actix::test]
async fn with_closed_registration_an_unknown_name_is_answered_like_a_wrong_password() {
    let mut server = guarded([]);
    server.client.registered("alice").await;
    server.kill();
    server.set("auth.registration", "closed");
    server.restart();
    for path in ["/api/auth", "/api/auth/login"] {
        for name in ["alice", "unknown"] {
            assert_problem(&server.client.post(path, &login(name, "wrong password")).await, 401, "invalid_credentials");
        }
        assert_eq!(server.client.post(path, &login("alice", PASSWORD)).await.status, 200);
    }
    assert_problem(
        &server.client.post("/api/auth/register", &login("bob", PASSWORD)).await,
        403,
        "registration_closed",
    );
}

#[actix::test]
async fn a_known_and_an_unknown_name_get_the_same_answer() {
    let many = campaign::size(300, 3);
    let server = guarded([("auth.attempts_per_name", "100000"), ("auth.attempts_per_address", "100000")]);
    server.client.registered("alice").await;
    let mut took = [Vec::new(), Vec::new()];
    let mut answers = Vec::new();
    for _ in 0..many {
        for (name, took) in ["alice", "unknown"].into_iter().zip(&mut took) {
            let started = Instant::now();
            let answer = server.client.post("/api/auth/login", &login(name, "wrong password")).await;
            took.push(started.elapsed());
            assert_problem(&answer, 401, "invalid_credentials");
            let mut body = answer.body.clone();
            body.as_object_mut().unwrap().remove("requestId");
            let headers = answer.headers.into_iter().filter(|(name, _)| name != "x-request-id" && name != "date");
            answers.push((body.to_string(), headers.collect::<BTreeSet<_>>()));
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // The times are printed and not asserted, because other load on the machine changes them.
    let [known, unknown]: [Duration; 2] = took.map(|mut took| {
        took.sort();
        took[took.len() / 2]
    });
    println!(
        "{many} logins each, medians: known name {known:?}, unknown name {unknown:?}, difference {:?}",
        known.abs_diff(unknown)
    );
}

#[actix::test]
async fn after_too_many_failed_logins_the_right_password_is_refused_too() {
    let server = guarded([("auth.attempts_per_name", "3"), ("auth.attempts_per_address", "8")]);
    let post = async |name: &str, password: &str| server.client.post("/api/auth/login", &login(name, password)).await;
    server.client.registered("alice").await;
    for _ in 0..5 {
        assert_eq!(post("alice", PASSWORD).await.status, 200, "successful logins do not count");
    }
    for _ in 0..3 {
        assert_problem(&post("alice", "wrong password").await, 401, "invalid_credentials");
    }
    let refused = post("ALICE", PASSWORD).await;
    assert_problem(&refused, 429, "too_many_attempts");
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=900).contains(&wait), "{wait}");
    // This address has used one account, three failures and one refusal.
    for _ in 0..3 {
        assert_problem(&post("unknown", "wrong password").await, 401, "invalid_credentials");
    }
    assert_problem(&post("unknown-too", "wrong password").await, 429, "too_many_attempts");
    assert_problem(
        &server.client.post("/api/auth/register", &login("carol", PASSWORD)).await,
        429,
        "too_many_attempts",
    );
}

#[actix::test]
async fn many_concurrent_logins_are_served_or_answered_busy_and_orders_go_on() {
    // An attempt counts until it has succeeded, so concurrent logins need a limit as high as their number.
    let attempts = [("auth.attempts_per_name", "1000"), ("auth.attempts_per_address", "1000")];
    let server = guarded([("auth.hashes_at_once", "1")].into_iter().chain(attempts));
    let alice = server.client.registered("alice").await;
    let log_in = async || server.client.post("/api/auth/login", &login("alice", PASSWORD)).await;
    let logins = concurrently(200, (0..200).map(|_| log_in()));
    let (answers, order) = futures_util::future::join(logins, alice.submit(json!({}))).await;
    assert_eq!(order.status, 201);
    for answer in &answers {
        let busy = answer.status == 503 && answer.body["code"] == "busy" && answer.header("retry-after").is_some();
        assert!(answer.status == 200 || busy, "{answer:?}");
    }
    assert!(answers.iter().any(|answer| answer.status == 200));
    assert_eq!(log_in().await.status, 200, "successful attempts do not count");
}

#[actix::test]
async fn many_logins_from_one_address_do_not_starve_another() {
    let settings =
        [("auth.hashes_at_once", "1"), ("auth.attempts_per_address", "10000"), ("auth.attempts_per_name", "1000")];
    let server = guarded(settings);
    let accounts: Vec<_> = (0..10).map(|number| format!("greedy{number}")).collect();
    for account in &accounts {
        server.client.registered(account).await;
    }
    server.client.registered("alice").await;
    let alice = Client::of(&format!("http://127.0.0.1:{}", server.client.port()));
    let done = std::cell::Cell::new(false);
    let greedy = concurrently(
        200,
        (0..200).map(|number| {
            let (client, done) = (&server.client, &done);
            let body = login(&accounts[number % accounts.len()], PASSWORD);
            async move {
                while !done.get() {
                    let answer = client.post("/api/auth/login", &body).await;
                    assert!([200, 503].contains(&answer.status), "{answer:?}");
                }
            }
        }),
    );
    let fair = async {
        for _ in 0..10 {
            assert_eq!(alice.post("/api/auth/login", &login("alice", PASSWORD)).await.status, 200);
        }
        done.set(true);
    };
    futures_util::future::join(greedy, fair).await;
}

#[actix::test]
async fn user_queries_on_silent_connections_do_not_block_orders() {
    let postgres = Postgres::start();
    let proxy = postgres.proxy();
    let url = postgres.url_through(&proxy);
    let server = guarded([("database.url", url.as_str()), ("server.request_timeout_ms", "4000")]);
    let mut users = Vec::new();
    // More than the pool has connections for writing.
    for number in 0..8 {
        users.push(server.client.registered(&format!("user{number}")).await);
    }
    proxy.go_silent();
    let log_out = async |user: &Client| user.post("/api/auth/logout", &json!({})).await;
    for answer in concurrently(8, users.iter().map(&log_out)).await {
        assert_problem(&answer, 503, "unavailable");
    }
    proxy.pass_again();
    until("orders were accepted again", async || users[0].submit(json!({})).await.status == 201).await;
    for answer in concurrently(8, users.iter().map(&log_out)).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_problem(&users[0].get("/api/orders").await, 401, "invalid_token");
}
