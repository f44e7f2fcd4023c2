//! One idempotency key makes one order: for repeats, for concurrent submits and after a restart.

use serde_json::{Value, json};

use crate::support::client::{Answer, concurrently};
use crate::support::postgres::Postgres;
use crate::support::process::{SWIFT, Server};

#[actix::test]
async fn twenty_keys_submitted_fifty_times_concurrently_make_twenty_orders() {
    let mut server = Server::start(SWIFT);
    let posts = (0..1_000).map(|number| {
        let client = server.client.clone();
        let key = format!("key-{}", number % 20);
        async move {
            // On a slow machine the database may answer too late. Then the outcome is unknown, and the client repeats.
            loop {
                let answer = client.submit_with_key(&key, json!({})).await;
                if answer.code() != "outcome_unknown" {
                    return answer;
                }
            }
        }
    });
    let answers = concurrently(100, posts).await;
    let mut ids = Vec::new();
    for key in 0..20 {
        let of_key: Vec<&Answer> = answers.iter().skip(key).step_by(20).collect();
        let unexpected = of_key.iter().find(|answer| !matches!(answer.status, 200 | 201));
        assert!(unexpected.is_none(), "{unexpected:?}");
        // None, if the answer to the first was that its outcome is unknown.
        assert!(of_key.iter().filter(|answer| answer.status == 201).count() <= 1);
        let id = of_key[0].order_id();
        assert!(of_key.iter().all(|answer| answer.order_id() == id));
        ids.push(id);
    }
    assert_eq!(server.client.submit_with_key("key-0", json!({ "amountIn": "2" })).await.status, 422);
    for id in &ids {
        server.client.until_ended(id).await;
    }
    server.kill();
    server.restart();
    for (key, id) in ids.iter().enumerate() {
        let again = server.client.submit_with_key(&format!("key-{key}"), json!({})).await;
        assert_eq!((again.status, &again.order_id()), (200, id));
    }
    let other = server.client.submit_with_key("key-0", json!({ "amountIn": "2" })).await;
    assert_eq!((other.status, &other.body["code"]), (422, &json!("idempotency_key_reused")));
    assert_eq!(server.client.get("/api/orders?limit=200").await.body["orders"].as_array().unwrap().len(), 20);
    server.assert_no_second_swap();
}

#[actix::test]
async fn another_spelling_of_the_same_order_is_the_same_order() {
    let server = Server::start(SWIFT);
    let first = server.client.submit_with_key("spelling", json!({ "amountIn": "1.50" })).await;
    let same = json!({ "amountIn": 1.5, "slippage": "0.01", "tokenIn": "So11111111111111111111111111111111111111112" });
    let again = server.client.submit_with_key("spelling", same).await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.order_id(), again.order_id());
}

#[actix::test]
async fn a_client_order_id_is_a_key_too_and_must_agree_with_the_header() {
    let server = Server::start(SWIFT);
    let first = server.client.submit(json!({ "clientOrderId": "mine-1" })).await;
    let again = server.client.submit(json!({ "clientOrderId": "mine-1" })).await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(
        server.client.submit_with_key("mine-1", json!({ "clientOrderId": "mine-1" })).await.order_id(),
        first.order_id()
    );
    let disagreeing = server.client.submit_with_key("mine-2", json!({ "clientOrderId": "mine-1" })).await;
    assert_eq!((disagreeing.status, &disagreeing.body["code"]), (422, &json!("idempotency_mismatch")));
}

#[actix::test]
async fn a_repeated_key_is_answered_also_where_no_new_order_is_admitted() {
    let server = Server::start([("orders.max_open", "1")]);
    let first = server.client.submit_with_key("only", json!({})).await;
    let refused = server.client.submit_with_key("another", json!({})).await;
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("too_many_open_orders")));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(server.client.submit_with_key("only", json!({})).await.order_id(), first.order_id());
}

#[actix::test]
async fn one_key_submitted_concurrently_on_postgres_makes_one_order_and_no_error() {
    // On PostgreSQL two commits may run concurrently, so that the second one finds the key of the first.
    let postgres = Postgres::start();
    let server = Server::start(SWIFT.into_iter().chain([("database.url", postgres.url().as_str())]));
    for round in 0..60 {
        let key = format!("key-{round}");
        let answers = concurrently(8, (0..8).map(|_| server.client.submit_with_key(&key, json!({})))).await;
        let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort();
        assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 201], "round {round}: {answers:?}");
        assert!(answers.iter().all(|answer| answer.order_id() == answers[0].order_id()));
    }
}

#[actix::test]
async fn an_order_keeps_the_price_impact_limit_of_its_acceptance_and_its_key_after_the_setting_has_changed() {
    // Venues that do not answer keep the order open over the restart.
    let silent = [("simulation.quote_latency_ms", "600000"), ("routing.timeout_ms", "600000")];
    let mut server = Server::start(SWIFT.into_iter().chain(silent));
    // This amount moves the price by more than 1 % and by less than 10 %.
    let large = json!({ "amountIn": "20000", "clientOrderId": "before" });
    let before = server.client.submit(large.clone()).await.order_id();
    server.kill();
    server.set("orders.max_price_impact", "0.01");
    server.set("simulation.quote_latency_ms", "0");
    server.restart();
    let again = server.client.submit(large.clone()).await;
    assert_eq!((again.status, again.order_id()), (200, before.clone()));
    let order = server.client.until_confirmed(&before).await;
    assert_eq!(order["maxPriceImpact"], Value::Null);
    let after = server.client.submit(json!({ "amountIn": "20000" })).await.order_id();
    let order = server.client.until_ended(&after).await;
    assert_eq!(order["error"]["code"], "price_impact_too_high", "{order}");
    // A limit that the client names is part of the request, also one that equals the setting.
    let mut named = large;
    named["maxPriceImpact"] = json!("0.1");
    server.client.submit(named).await.assert_problem(422, "idempotency_key_reused");
}
