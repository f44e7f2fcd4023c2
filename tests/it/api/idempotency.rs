//! One key, one order: however often, however at once, and after a restart.

use serde_json::{Value, json};

use crate::support::client::{Answer, Client, at_once, order};
use crate::support::databases::Postgres;
use crate::support::process::{SWIFT, Server};

async fn post(client: &Client, key: &str, fields: Value) -> Answer {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    client.send("POST", "/api/orders", &headers, order(fields).to_string()).await.unwrap()
}

#[actix::test]
async fn twenty_keys_posted_fifty_times_at_once_make_twenty_orders() {
    let mut server = Server::start(SWIFT);
    let posts = (0..1_000).map(|number| {
        let client = server.client.clone();
        async move { post(&client, &format!("key-{}", number % 20), json!({})).await }
    });
    let answers = at_once(100, posts).await;
    let mut ids = Vec::new();
    for key in 0..20 {
        let of_key: Vec<&Answer> = answers.iter().skip(key).step_by(20).collect();
        let strange = of_key.iter().find(|answer| !matches!(answer.status, 200 | 201));
        assert!(strange.is_none(), "{strange:?}");
        assert_eq!(of_key.iter().filter(|answer| answer.status == 201).count(), 1);
        assert_eq!(of_key.iter().filter(|answer| answer.status == 200).count(), 49);
        let id = of_key[0].order_id();
        assert!(of_key.iter().all(|answer| answer.order_id() == id));
        ids.push(id);
    }
    assert_eq!(post(&server.client, "key-0", json!({ "amountIn": "2" })).await.status, 422);
    for id in &ids {
        server.client.until_ended(id).await;
    }
    server.kill();
    server.restart();
    for (key, id) in ids.iter().enumerate() {
        let again = post(&server.client, &format!("key-{key}"), json!({})).await;
        assert_eq!((again.status, &again.order_id()), (200, id));
    }
    let other = post(&server.client, "key-0", json!({ "amountIn": "2" })).await;
    assert_eq!((other.status, &other.body["code"]), (422, &json!("idempotency_key_reused")));
    assert_eq!(server.client.get("/api/orders?limit=200").await.body["orders"].as_array().unwrap().len(), 20);
    server.assert_no_second_swap();
}

#[actix::test]
async fn another_spelling_of_the_same_order_is_the_same_order() {
    let server = Server::start(SWIFT);
    let first = post(&server.client, "spelling", json!({ "amountIn": "1.50" })).await;
    let again = post(
        &server.client,
        "spelling",
        json!({ "amountIn": 1.5, "slippage": "0.01", "tokenIn": "So11111111111111111111111111111111111111112" }),
    )
    .await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.order_id(), again.order_id());
}

#[actix::test]
async fn a_client_order_id_is_a_key_too_and_may_not_disagree() {
    let server = Server::start(SWIFT);
    let first = server.client.submit(json!({ "clientOrderId": "mine-1" })).await;
    let again = server.client.submit(json!({ "clientOrderId": "mine-1" })).await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(post(&server.client, "mine-1", json!({ "clientOrderId": "mine-1" })).await.order_id(), first.order_id());
    let disagreeing = post(&server.client, "mine-2", json!({ "clientOrderId": "mine-1" })).await;
    assert_eq!((disagreeing.status, &disagreeing.body["code"]), (422, &json!("idempotency_mismatch")));
}

#[actix::test]
async fn a_repeated_key_is_answered_even_when_the_house_is_full() {
    let server = Server::start([("orders.max_open", "1")]);
    let first = post(&server.client, "only", json!({})).await;
    let refused = post(&server.client, "another", json!({})).await;
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("too_many_open_orders")));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(post(&server.client, "only", json!({})).await.order_id(), first.order_id());
}

#[actix::test]
async fn one_key_posted_at_once_on_postgres_is_one_order_and_never_an_error() {
    // Two commits may be under way at once there, and the second of two accepts with one key meets the first one's row.
    let postgres = Postgres::start();
    let server = Server::start(SWIFT.into_iter().chain([("database.url", postgres.url().as_str())]));
    for round in 0..60 {
        let key = format!("key-{round}");
        let answers = at_once(8, (0..8).map(|_| post(&server.client, &key, json!({})))).await;
        let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort();
        assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 201], "round {round}: {answers:?}");
        assert!(answers.iter().all(|answer| answer.order_id() == answers[0].order_id()));
    }
}
