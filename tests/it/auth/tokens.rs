//! Tokens and tickets: what they open, and when they become invalid.

use std::time::Duration;

use serde_json::json;

use super::{assert_problem, guarded, login};
use crate::support::client::{PASSWORD, order};
use crate::support::machine::{DAY, FakeClock};
use crate::support::os::run_aside;
use crate::support::process::{SWIFT, Server};
use crate::support::wait::{TIMEOUT, until};

#[actix::test]
async fn a_logout_closes_the_sockets_of_its_token_and_no_others() {
    let server = guarded([("orders.rate_limit_per_minute", "1")]);
    let alice = server.client.registered("alice").await;
    let other = server.client.logged_in("alice").await;
    // The second order waits, so it is open as long as this test lasts.
    alice.submit(json!({})).await;
    let id = alice.submit(json!({})).await.order_id();
    let path = format!("/ws/orders/{id}");
    let (ticket, unused) = (alice.ticket().await, alice.ticket().await);
    let mut closing = vec![
        alice.socket(&path).await,
        server.client.socket_with(&path, &["bearer", alice.token()]).await.unwrap(),
        server.client.socket(&format!("{path}?ticket={ticket}")).await,
    ];
    let mut staying = other.socket(&path).await;
    for socket in closing.iter_mut().chain([&mut staying]) {
        assert_eq!(socket.next().await.unwrap()["type"], "order:snapshot");
    }
    assert_eq!(closing[1].protocol.as_deref(), Some("bearer"), "the token is not sent back");
    assert_eq!(alice.post("/api/auth/logout", &json!({})).await.status, 200);
    for mut socket in closing {
        assert_eq!(socket.next().await, Err(Some(4401)));
    }
    assert!(
        server.client.try_socket(&format!("{path}?ticket={unused}")).await.is_err(),
        "a logout revokes the tickets of its token"
    );
    assert!(alice.try_socket(&path).await.is_err());
    assert_eq!(other.cancel(&id).await.status, 200);
    assert_eq!(staying.next().await.unwrap()["status"], "cancelled");
    assert_eq!(staying.next().await, Err(Some(1000)));
}

#[actix::test]
async fn a_socket_is_closed_when_its_token_expires() {
    let server = guarded([("orders.rate_limit_per_minute", "1"), ("auth.token_ttl_ms", "6000")]);
    let alice = server.client.registered("alice").await;
    alice.submit(json!({})).await;
    let id = alice.submit(json!({})).await.order_id();
    let mut socket = alice.socket(&format!("/ws/orders/{id}")).await;
    assert_eq!(socket.next().await.unwrap()["type"], "order:snapshot");
    assert_eq!(socket.next().await, Err(Some(4401)));
    assert_problem(&alice.get("/api/orders").await, 401, "invalid_token");
}

#[actix::test]
async fn an_expired_token_cannot_submit_on_an_open_socket() {
    // The watchdog of sockets runs rarely here, so that a message is the first to find the token expired.
    let settings = [("auth.token_ttl_ms", "4000"), ("ws.stall_timeout_ms", "6000000"), ("ws.heartbeat_ms", "60000")];
    let server = guarded(settings);
    let alice = server.client.registered("alice").await;
    let mut socket = alice.socket("/ws").await;
    let mut accepted = 0;
    let submits = async {
        loop {
            socket.send(&json!({ "type": "submit", "order": order(json!({})) })).await;
            match socket.next().await {
                Ok(answer) if answer["type"] == "order:submitted" => accepted += 1,
                Ok(answer) => panic!("{answer}"),
                Err(close) => return close,
            }
            // Keeps within the socket's limit of commands a minute.
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    };
    let close = tokio::time::timeout(TIMEOUT, submits).await.expect("the socket is closed with its token");
    assert_eq!(close, Some(4401));
    assert_problem(&alice.get("/api/orders").await, 401, "invalid_token");
    assert_eq!(server.client.logged_in("alice").await.all_orders().await.len(), accepted);
}

#[actix::test]
async fn a_ticket_opens_one_socket_and_nothing_else() {
    let server = guarded([]);
    let alice = server.client.registered("alice").await;
    let id = alice.submit(json!({})).await.order_id();
    let ticket = alice.ticket().await;
    assert_problem(&server.client.get(&format!("/api/orders/{id}?ticket={ticket}")).await, 401, "unauthenticated");
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket"), ("content-type", "application/json")];
    let submit = format!("/api/orders/execute?ticket={ticket}");
    let answer = server.client.request("POST", &submit, &upgrade, order(json!({})).to_string()).await;
    assert_problem(&answer, 401, "unauthenticated");
    // An upgrade header does not make other routes accept a ticket.
    let routes =
        ["/api/orders", "/api/auth/keys", "/api/auth/me", "/api/tokens", "/api/stats", "/api/quotes", "/metrics"];
    for path in
        routes.map(str::to_owned).into_iter().chain([format!("/api/orders/{id}"), format!("/api/orders/{id}/events")])
    {
        let answer = server.client.request("GET", &format!("{path}?ticket={ticket}"), &upgrade, "").await;
        assert_problem(&answer, 401, "unauthenticated");
        let protocols = format!("bearer, {}", alice.token());
        let offered = [&upgrade[..], &[("sec-websocket-protocol", protocols.as_str())]].concat();
        assert_problem(&server.client.request("GET", &path, &offered, "").await, 401, "unauthenticated");
    }
    let path = format!("/ws/orders/{id}?ticket={ticket}");
    server.client.socket(&path).await.until_closed().await.assert_gapless();
    assert!(server.client.try_socket(&path).await.is_err(), "a ticket is valid once");
    assert!(server.client.try_socket(&format!("/ws/orders/{id}?ticket=made-up")).await.is_err());
}

#[actix::test]
async fn a_credential_in_a_url_is_refused_even_if_it_is_valid() {
    for server in [guarded([]), Server::start(SWIFT)] {
        let alice = server.client.registered("alice").await;
        for name in ["token", "access_token", "apiKey"] {
            let path = format!("/api/orders?{name}={}", alice.token());
            let answer = server.client.get(&path).await;
            assert_eq!((answer.status, &answer.body["code"]), (400, &json!("credential_in_url")));
            assert!(!answer.body.to_string().contains(alice.token()));
        }
        let two = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        let answer = server.client.request("GET", "/api/orders", &two, "").await;
        assert_problem(&answer, 401, "invalid_token");
    }
}

#[actix::test]
async fn an_invalid_credential_is_refused_also_where_none_is_required() {
    let server = Server::start(SWIFT);
    assert_eq!(server.client.get("/api/orders").await.status, 200);
    for authorization in ["Bearer nonsense", "Bearer", "Basic YWxpY2U6cGFzc3dvcmQ=", "oek_1234"] {
        let answer = server.client.try_request("GET", "/api/orders", &[("authorization", authorization)], "").await;
        assert_problem(&answer.unwrap(), 401, "invalid_token");
    }
}

#[actix::test]
async fn client_commands_use_the_token_of_their_option_or_variable() {
    let server = guarded([]);
    let alice = server.client.registered("alice").await;
    let id = alice.submit(json!({})).await.order_id();
    let run = async |token: Option<&str>, arguments: &[&str]| {
        let mut command = server.command(arguments);
        command.env("ORDER_ENGINE_URL", server.client.url());
        command.envs(token.map(|token| ("ORDER_ENGINE_TOKEN", token)));
        run_aside(command).await
    };
    let watch = run(Some(alice.token()), &["watch", &id]).await;
    assert!(watch.code == Some(0) && watch.stdout.contains("confirmed"), "{watch:?}");
    let by_variable = run(Some(alice.token()), &["orders"]).await;
    assert!(by_variable.stdout.contains(&id), "{by_variable:?}");
    let by_option = run(None, &["orders", "--token", alice.token()]).await;
    assert!(by_option.stdout.contains(&id), "{by_option:?}");
    let without = run(None, &["orders"]).await;
    assert!(without.stderr.contains("401 unauthenticated"), "{without:?}");
    let help = run(Some(alice.token()), &["orders", "--help"]).await;
    assert!(!help.stdout.contains(alice.token()), "{help:?}");
}

#[actix::test]
async fn a_logged_out_token_stays_invalid_after_the_clock_was_days_ahead() {
    let mut server = guarded([("auth.token_ttl_ms", "259200000")]);
    let alice = server.client.registered("alice").await;
    assert_eq!(alice.post("/api/auth/logout", &json!({})).await.status, 200);
    let token = alice.token().to_owned();
    server.terminate();
    let clock = FakeClock::new();
    server.use_clock(&clock);
    for ahead in [5, 400] {
        clock.set(ahead * DAY);
        server.restart();
        // A logout deletes the revocations of tokens that have expired by the engine's clock.
        let again = server.client.logged_in("alice").await;
        assert_eq!(again.post("/api/auth/logout", &json!({})).await.status, 200, "{ahead} days");
        server.terminate();
        clock.set(0);
        server.restart();
        assert_problem(&server.client.with(&token).get("/api/orders").await, 401, "invalid_token");
        server.terminate();
    }
}

#[actix::test]
async fn a_clock_set_back_by_seconds_invalidates_no_token() {
    let mut server = guarded([]);
    let alice = server.client.registered("alice").await;
    let (token, clock) = (alice.token().to_owned(), FakeClock::new());
    server.use_clock(&clock);
    for (seconds, status) in [(-20, 200), (-120, 401)] {
        server.terminate();
        clock.set(seconds);
        server.restart();
        assert_eq!(server.client.with(&token).get("/api/auth/me").await.status, status, "{seconds} s");
    }
}

#[actix::test]
async fn a_clock_step_closes_no_socket_and_changes_no_ticket_or_login_limit() {
    let mut server = guarded([("auth.attempts_per_name", "3")]);
    let clock = FakeClock::new();
    server.terminate();
    server.use_clock(&clock);
    server.restart();
    let (alice, _) = (server.client.registered("alice").await, server.client.registered("bob").await);
    let log_in = async || server.client.post("/api/auth/login", &login("bob", PASSWORD)).await;
    for _ in 0..3 {
        let answer = server.client.post("/api/auth/login", &login("bob", "wrong password")).await;
        assert_problem(&answer, 401, "invalid_credentials");
    }
    let mut socket = alice.socket("/ws").await;
    for seconds in [2 * DAY, -3_600, 0] {
        let ticket = alice.ticket().await;
        let status = async || alice.get("/api/auth/me").await.status;
        clock.set(seconds);
        if seconds != 0 {
            until("the engine's clock had stepped", async || status().await == 401).await;
        }
        assert_problem(&log_in().await, 429, "too_many_attempts");
        assert_eq!(socket.ask(json!({ "type": "ping" })).await["type"], "pong", "{seconds} s");
        let mut by_ticket = server.client.socket(&format!("/ws?ticket={ticket}")).await;
        assert_eq!(by_ticket.ask(json!({ "type": "ping" })).await["type"], "pong", "{seconds} s");
        clock.set(0);
        until("the engine's clock was right again", async || status().await == 200).await;
    }
}
