//! Fairness: the many orders of one user and the few orders of others.

use serde_json::{Value, json};

use crate::support::campaign;
use crate::support::client::{Client, concurrently};
use crate::support::process::{SWIFT, Server};

/// The time of an order's end, as the API shows it.
async fn ended_at(client: &Client, id: &str) -> String {
    let order = client.until_ended(id).await;
    assert_eq!(order["status"], "confirmed", "{order}");
    order["completedAt"].as_str().unwrap().to_owned()
}

#[actix::test]
async fn many_orders_of_one_user_do_not_delay_the_orders_of_others() {
    let (many, others, few) = campaign::size((10_000, 99, 10), (600, 10, 5));
    let mut server = Server::stopped(SWIFT.into_iter().chain([
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
    // First without the many orders, for comparison.
    let round = async || {
        let begun = chrono::Utc::now();
        let waits = concurrently(
            others,
            modest.iter().map(|client| async {
                let ids = client.submit_many(few).await;
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
    let many_ids = greedy.submit_many(many).await;
    let beside = round().await;
    println!("\nalone {alone}, beside {many} orders of one user {beside}");
    // A short run has few measurements, and other tests run meanwhile.
    assert!(!campaign::is_full() || beside <= alone * 2, "alone {alone}, beside {many} orders of one user {beside}");
    // The others' last order has ended, and most of the many still wait.
    let mut waiting = 0;
    for id in many_ids.iter().step_by(many / 100) {
        let order: Value = greedy.order(id).await;
        waiting += usize::from(order["status"] == "pending");
    }
    assert!(waiting >= 50, "only {waiting} of 100 checked orders still wait");
    let ready = server.client.get("/ready").await.body;
    assert!(ready["oldestWaitingSeconds"].is_u64(), "{ready}");
}

#[actix::test]
async fn a_user_at_the_limit_of_open_orders_is_refused_and_others_are_not() {
    let server = Server::start(SWIFT.into_iter().chain([
        ("orders.max_open", "8"),
        ("orders.max_open_per_user", "3"),
        ("orders.rate_limit_per_minute", "1"),
    ]));
    let (alice, bob) = (server.client.registered("alice").await, server.client.registered("bob").await);
    // The first order is dispatched and ends; the next three stay open, which is the limit.
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
    // A repeat is still answered.
    let known = last.unwrap().body["order"]["clientOrderId"].clone();
    assert_eq!(alice.submit(json!({ "clientOrderId": known })).await.status, 200);
    assert_eq!(bob.submit(json!({})).await.status, 201);
    // Orders without a user have only the limit of all open orders.
    for _ in 0..4 {
        assert_eq!(server.client.submit(json!({})).await.status, 201);
    }
    assert_eq!(server.client.submit(json!({})).await.status, 503);
    // A cancelled order frees a place.
    let id = alice.get("/api/orders?status=pending").await.body["orders"][0]["orderId"].as_str().unwrap().to_owned();
    assert_eq!(alice.cancel(&id).await.status, 200);
    assert_eq!(alice.submit(json!({})).await.status, 201);
}

#[actix::test]
async fn a_swap_that_stays_unsettled_does_not_block_other_orders() {
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
    // Nor after a restart, when both swaps are still unsettled.
    server.kill();
    server.restart();
    let third = server.client.submit(json!({})).await.order_id();
    server.client.until(&third, |order| order["status"] == "submitted").await;
    for id in [stuck, next, third] {
        server.client.until_confirmed(&id).await;
    }
    server.assert_no_second_swap();
}
