//! One user's many orders beside other users' few.

use serde_json::{Value, json};

use crate::support::client::{Client, at_once};
use crate::support::crowd::full;
use crate::support::process::{SWIFT, Server};

async fn submit_all(client: &Client, orders: usize) -> Vec<String> {
    at_once(16, (0..orders).map(|_| async { client.submit(json!({})).await.order_id() })).await
}

/// When an order ended, as it is told.
async fn ended_at(client: &Client, id: &str) -> String {
    let order = client.until_ended(id).await;
    assert_eq!(order["status"], "confirmed", "{order}");
    order["completedAt"].as_str().unwrap().to_owned()
}

#[actix::test]
async fn one_user_with_many_orders_does_not_make_the_others_wait_for_them() {
    let (many, others, few) = if full() { (10_000, 99, 10) } else { (600, 10, 5) };
    let mut server = Server::idle(SWIFT.into_iter().chain([
        ("orders.max_open", "20000"),
        ("orders.max_open_per_user", "10000"),
        ("orders.max_concurrent", "10"),
        ("simulation.swap_latency_min_ms", "20"),
        ("simulation.swap_latency_max_ms", "30"),
        ("auth.attempts_per_address", "1000"),
    ]));
    server.restart();
    let greedy = server.client.registered("greedy").await;
    let mut modest = Vec::new();
    for number in 0..others {
        modest.push(server.client.registered(&format!("modest{number}")).await);
    }
    // First alone, for the measure.
    let round = async || {
        let begun = chrono::Utc::now();
        let waits = at_once(
            others,
            modest.iter().map(|client| async {
                let ids = submit_all(client, few).await;
                let mut last = String::new();
                for id in ids {
                    last = last.max(ended_at(client, &id).await);
                }
                last
            }),
        )
        .await;
        let last = waits.into_iter().max().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        last - begun
    };
    let alone = round().await;
    let burden = submit_all(&greedy, many).await;
    let beside = round().await;
    println!("\nalone {alone}, beside {many} orders of one user {beside}");
    // In a short run a few orders decide, and other tests run meanwhile.
    assert!(!full() || beside <= alone * 2, "alone {alone}, beside {many} orders of one user {beside}");
    // The others' last order has ended, and most of the many still wait: they were not served first.
    let mut waiting = 0;
    for id in burden.iter().step_by(many / 100) {
        let order: Value = greedy.get(&format!("/api/orders/{id}")).await.body;
        waiting += usize::from(order["status"] == "pending");
    }
    assert!(waiting >= 50, "only {waiting} of 100 looked at still wait");
    let ready = server.client.get("/ready").await.body;
    assert!(ready["oldestWaitingSeconds"].is_u64(), "{ready}");
}

#[actix::test]
async fn a_user_with_as_many_open_orders_as_one_may_have_is_refused_and_nobody_else_is() {
    let server = Server::start(SWIFT.into_iter().chain([
        ("orders.max_open", "8"),
        ("orders.max_open_per_user", "3"),
        ("orders.rate_limit_per_minute", "1"),
    ]));
    let (alice, bob) = (server.client.registered("alice").await, server.client.registered("bob").await);
    // One is dispatched and ends; then as many as may be are open.
    let first = alice.submit(json!({})).await.order_id();
    alice.until_ended(&first).await;
    let mut last = None;
    for _ in 0..3 {
        let answer = alice.submit(json!({ "clientOrderId": format!("alice-{}", uuid::Uuid::new_v4()) })).await;
        assert_eq!(answer.status, 201);
        last = Some(answer);
    }
    let refused = alice.submit(json!({})).await;
    assert_eq!((refused.status, &refused.body["code"]), (429, &json!("too_many_open_orders_of_user")), "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    // A repeat is answered all the same.
    let known = last.unwrap().body["order"]["clientOrderId"].clone();
    assert_eq!(alice.submit(json!({ "clientOrderId": known })).await.status, 200);
    assert_eq!(bob.submit(json!({})).await.status, 201);
    // Orders without a user have the limit of all.
    for _ in 0..4 {
        assert_eq!(server.client.submit(json!({})).await.status, 201);
    }
    assert_eq!(server.client.submit(json!({})).await.status, 503);
    // An order that is cancelled makes room for another.
    let id = alice.get("/api/orders?status=pending").await.body["orders"][0]["orderId"].as_str().unwrap().to_owned();
    assert_eq!(alice.post(&format!("/api/orders/{id}/cancel"), &json!({})).await.status, 200);
    assert_eq!(alice.submit(json!({})).await.status, 201);
}

#[actix::test]
async fn a_swap_that_is_undecided_for_long_does_not_keep_others_from_their_turn() {
    let settings = [
        ("orders.max_concurrent", "1"),
        ("chain.alarm_ms", "300"),
        ("simulation.swap_latency_min_ms", "6000"),
        ("simulation.swap_latency_max_ms", "6000"),
        ("simulation.valid_blocks", "1000"),
    ];
    let mut server = Server::start(SWIFT.into_iter().chain(settings));
    let stuck = server.client.submit(json!({})).await.order_id();
    server.client.until(&stuck, |order| order["status"] == "submitted").await;
    let next = server.client.submit(json!({})).await.order_id();
    server.client.until(&next, |order| order["status"] == "submitted").await;
    // Nor after a restart, where both swaps are still undecided.
    server.kill();
    server.restart();
    let third = server.client.submit(json!({})).await.order_id();
    server.client.until(&third, |order| order["status"] == "submitted").await;
    for id in [stuck, next, third] {
        assert_eq!(server.client.until_ended(&id).await["status"], "confirmed");
    }
    server.assert_no_second_swap();
}
