//! API keys: their scopes, their number, and their revocation.

use serde_json::{Value, json};

use super::{assert_problem, guarded};
use crate::support::client::concurrently;
use crate::support::postgres::Postgres;

#[actix::test]
async fn a_key_can_do_what_its_scopes_allow_and_never_manage_the_account() {
    let server = guarded([]);
    let alice = server.client.registered("alice").await;
    let key = async |scopes: Value| {
        let made = alice.post("/api/auth/keys", &json!({ "name": "bot", "scopes": scopes })).await;
        assert_eq!((made.status, made.header("cache-control")), (201, Some("no-store")));
        server.client.with(made.body["key"].as_str().unwrap())
    };
    let (reads, trades) = (key(json!(["read"])).await, key(json!(["trade"])).await);
    let id = trades.submit(json!({})).await.order_id();
    let order = format!("/api/orders/{id}");
    for path in [&order, &format!("{order}/events"), "/api/orders", "/api/quotes?tokenIn=SOL&tokenOut=USDC&amountIn=1"]
    {
        assert_eq!(reads.get(path).await.status, 200, "{path}");
        assert_problem(&trades.get(path).await, 403, "missing_scope");
    }
    assert!(reads.try_socket(&format!("/ws/orders/{id}")).await.is_ok());
    assert!(trades.try_socket(&format!("/ws/orders/{id}")).await.is_err());
    assert_problem(&reads.submit(json!({})).await, 403, "missing_scope");
    assert_problem(&reads.post(&format!("{order}/cancel"), &json!({})).await, 403, "missing_scope");
    for key in [&reads, &trades] {
        assert_problem(&key.post("/api/auth/keys", &json!({ "name": "more" })).await, 403, "login_required");
        assert_problem(&key.get("/api/auth/keys").await, 403, "login_required");
        assert_problem(&key.post("/api/auth/logout", &json!({})).await, 403, "login_required");
        assert_eq!(key.get("/api/auth/me").await.body["username"], "alice");
    }
    let keys = alice.get("/api/auth/keys").await.body["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 2);
    assert!(keys[0]["key"].is_null() && reads.token().starts_with(keys[0]["prefix"].as_str().unwrap()), "{keys:?}");
    // A ticket has the scopes of the key that requested it.
    let ticket = trades.ticket().await;
    assert!(server.client.try_socket(&format!("/ws/orders/{id}?ticket={ticket}")).await.is_err());
    // A key of another user is unknown.
    let bob = server.client.registered("bob").await;
    let path = format!("/api/auth/keys/{}", keys[0]["id"].as_str().unwrap());
    assert_problem(&bob.delete(&path).await, 404, "key_not_found");
    assert_eq!(reads.get("/api/orders").await.status, 200);
}

#[actix::test]
async fn a_revoked_key_closes_its_sockets_also_if_an_earlier_revocation_was_not_answered() {
    let postgres = Postgres::start();
    let url = postgres.url();
    let server = guarded([("orders.rate_limit_per_minute", "1"), ("database.url", url.as_str())]);
    let alice = server.client.registered("alice").await;
    alice.submit(json!({})).await;
    let id = alice.submit(json!({})).await.order_id();
    for lost_answer in [false, true] {
        let key = alice.post("/api/auth/keys", &json!({ "name": "bot" })).await.body;
        let bot = server.client.with(key["key"].as_str().unwrap());
        let mut socket = bot.socket(&format!("/ws/orders/{id}")).await;
        assert_eq!(socket.next().await.unwrap()["type"], "order:snapshot");
        if lost_answer {
            // The row of an earlier revocation that timed out and was committed nevertheless.
            postgres.sql("UPDATE api_keys SET revoked_at = now()");
        }
        let path = format!("/api/auth/keys/{}", key["id"].as_str().unwrap());
        let revoke = async || alice.delete(&path).await;
        assert_eq!(revoke().await.status, 200);
        assert_problem(&bot.get("/api/orders").await, 401, "invalid_token");
        assert_eq!(socket.next().await, Err(Some(4401)));
        assert_problem(&revoke().await, 404, "key_not_found");
    }
}

#[actix::test]
async fn of_400_concurrent_key_requests_50_succeed() {
    let postgres = Postgres::start();
    let url = postgres.url();
    for server in [guarded([]), guarded([("database.url", url.as_str())])] {
        let alice = server.client.registered("alice").await;
        let make = async || alice.post("/api/auth/keys", &json!({ "name": "bot" })).await;
        let made = concurrently(100, (0..400).map(|_| make())).await;
        for answer in &made {
            let refused = (answer.status, answer.body["code"].as_str()) == (409, Some("too_many_keys"));
            assert!(answer.status == 201 || refused, "{answer:?}");
        }
        assert_eq!(made.iter().filter(|answer| answer.status == 201).count(), 50);
        let keys = alice.get("/api/auth/keys").await.body["keys"].as_array().unwrap().clone();
        assert_eq!(keys.len(), 50);
        let path = format!("/api/auth/keys/{}", keys[0]["id"].as_str().unwrap());
        assert_eq!(alice.delete(&path).await.status, 200);
        let refill = concurrently(10, (0..10).map(|_| make())).await;
        assert_eq!(refill.iter().filter(|answer| answer.status == 201).count(), 1);
    }
}
