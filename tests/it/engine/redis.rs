//! Redis without faults: announcements, status keys and shared previews.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::announcements::{Subscriber, ask, connect};
use crate::support::client::concurrently;
use crate::support::process::{SWIFT, Server};
use crate::support::redis::Redis;
use crate::support::wait::until_some;

const ALL_STATUSES: [&str; 5] = ["pending", "routing", "building", "submitted", "confirmed"];

const PREVIEW: &str = "/api/quotes?tokenIn=SOL&tokenOut=USDC&amountIn=1.5";

/// An engine that uses a Redis.
fn engine(redis: &Redis, more: &[(&str, &str)]) -> Server {
    let redis = redis.settings();
    let redis = redis.iter().map(|(key, value)| (*key, value.as_str()));
    Server::start(SWIFT.into_iter().chain(redis).chain(more.iter().copied()))
}

#[actix::test]
async fn every_step_is_announced_as_on_the_socket_and_every_price_is_announced() {
    let redis = Redis::start();
    let server = engine(&redis, &[]);
    let mut subscriber = Subscriber::to(&redis.url()).await;
    let id = server.client.submit(json!({})).await.order_id();
    let received = subscriber.until_ended(&id).await;
    let mut steps = server.client.follow(&id).await.steps;
    steps.iter_mut().for_each(|step| step["type"] = json!("order:update"));
    assert_eq!(received["orders"], steps);
    assert_eq!(received[&format!("orders:{id}")], steps);
    let statuses: Vec<_> = steps.iter().map(|step| step["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ALL_STATUSES);
    let sol_usdc = "prices:So11111111111111111111111111111111111111112:EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v";
    let prices = &received[sol_usdc];
    assert_eq!(prices.len(), 2);
    for (price, quote) in prices.iter().zip(steps[2]["quotes"].as_array().unwrap()) {
        assert_eq!(
            (&price["type"], &price["tokenIn"], &price["amountIn"]),
            (&json!("price:update"), &json!("SOL"), &json!("1.5"))
        );
        assert_eq!((&price["dex"], &price["price"]), (&quote["dex"], &quote["price"]));
    }
}

#[actix::test]
async fn two_hundred_orders_are_announced_without_a_gap_or_a_repeat() {
    let redis = Redis::start();
    let server = engine(&redis, &[]);
    let mut subscriber = Subscriber::to(&redis.url()).await;
    let ids = server.client.submit_many(200).await;
    let mut received = BTreeMap::<String, Vec<Value>>::new();
    while received.values().flatten().filter(|step| step["status"] == "confirmed").count() < ids.len() {
        let (channel, step) = subscriber.next().await;
        if channel == "orders" {
            received.entry(step["orderId"].as_str().unwrap().to_owned()).or_default().push(step);
        }
    }
    for id in &ids {
        let seqs: Vec<_> = received[id].iter().map(|step| step["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, [1, 2, 3, 4, 5]);
    }
    assert_eq!(server.client.get("/health").await.body["droppedAnnouncements"], 0);
}

#[actix::test]
async fn a_restarted_order_is_announced_without_a_gap_or_a_repeat() {
    let redis = Redis::start();
    let server = engine(&redis, &[("FAILPOINTS", "order=1*panic->2*off->1*panic->off")]);
    let mut subscriber = Subscriber::to(&redis.url()).await;
    let id = server.client.submit(json!({ "clientOrderId": "poison" })).await.order_id();
    let received = subscriber.until_ended(&id).await;
    let history = server.client.follow(&id).await;
    assert!(history.steps.len() > ALL_STATUSES.len(), "the order never panicked: {history:?}");
    let seqs: Vec<_> = received["orders"].iter().map(|step| step["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, history.seqs());
}

#[actix::test]
async fn a_stopping_engine_announces_every_step_before_it_exits() {
    let redis = Redis::start();
    let slow_swaps = [("simulation.swap_latency_min_ms", "1000"), ("simulation.swap_latency_max_ms", "1000")];
    let mut server = engine(&redis, &slow_swaps);
    let mut subscriber = Subscriber::to(&redis.url()).await;
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until(&id, |order| order["status"] == "submitted").await;
    let stopped = actix_web::web::block(move || server.terminate());
    assert!(stopped.await.unwrap().success());
    assert_eq!(subscriber.until_ended(&id).await["orders"].len(), ALL_STATUSES.len());
}

#[actix::test]
async fn the_keys_of_an_order_hold_its_status_and_expire_after_its_end() {
    let redis = Redis::start();
    let server =
        engine(&redis, &[("simulation.swap_latency_min_ms", "1500"), ("simulation.swap_latency_max_ms", "1500")]);
    let id = server.client.submit(json!({})).await.order_id();
    let connection = connect(&redis.url()).await;
    let (status, active) = (format!("order:{id}:status"), format!("order:{id}:active"));
    let stored = async |expected: &str| {
        let mut connection = connection.clone();
        until_some(&format!("the key held {expected}"), async || {
            let text: Option<String> = ask(&mut connection, &format!("GET {status}")).await;
            let value = text.map(|text| serde_json::from_str::<Value>(&text).unwrap());
            value.filter(|value| value["status"] == expected)
        })
        .await
    };
    let mut asking = connection.clone();
    let submitted = stored("submitted").await;
    let step = server.client.events(&id).await[3].clone();
    for field in ["status", "seq", "attempt", "timestamp", "txHash"] {
        assert_eq!(submitted[field], step[field], "{submitted}");
    }
    assert_eq!(ask::<String>(&mut asking, &format!("GET {active}")).await, "1");
    for key in [&status, &active] {
        // After a crash of the engine the keys expire within a minute.
        let left: i64 = ask(&mut asking, &format!("PTTL {key}")).await;
        assert!((10_001..=60_000).contains(&left), "{key} expires in {left} ms");
    }
    let confirmed = stored("confirmed").await;
    assert_eq!((&confirmed["seq"], &confirmed["txHash"]), (&json!(5), &submitted["txHash"]));
    assert!(!ask::<bool>(&mut asking, &format!("EXISTS {active}")).await);
    let left: i64 = ask(&mut asking, &format!("PTTL {status}")).await;
    assert!((1..=10_000).contains(&left), "{status} expires in {left} ms");
}

#[actix::test]
async fn fifty_concurrent_identical_previews_request_one_quote_from_each_venue() {
    let redis = Redis::start();
    let slow_venues = [("simulation.quote_latency_ms", "300"), ("redis.quote_ttl_ms", "2000")];
    let server = engine(&redis, &slow_venues);
    let mut subscriber = Subscriber::to(&redis.url()).await;
    let answers = concurrently(50, (0..50).map(|_| server.client.get(PREVIEW))).await;
    for answer in &answers {
        assert_eq!((answer.status, quotes(&answer.body)), (200, quotes(&answers[0].body)));
    }
    // Each request to a venue has another number and so another price, which a second request would show.
    assert!(answers.iter().any(|answer| answer.body["cached"] == false));
    let again = server.client.get(PREVIEW).await.body;
    assert_eq!((&again["cached"], quotes(&again)), (&json!(true), quotes(&answers[0].body)));
    assert!(again["ageMs"].as_u64().unwrap() < 2_000, "{again}");
    let other = server.client.get(&format!("{PREVIEW}1")).await.body;
    assert_eq!(other["cached"], false);

    let neighbour = engine(&redis, &slow_venues);
    let shared = neighbour.client.get(PREVIEW).await.body;
    let fresh = if shared["cached"] == true {
        assert_eq!(quotes(&shared), quotes(&answers[0].body));
        until_some("the shared preview had expired", async || {
            let answer = server.client.get(PREVIEW).await.body;
            assert!(answer["cached"] == false || answer["ageMs"].as_u64().unwrap() < 2_100, "{answer}");
            (answer["cached"] == false).then_some(answer)
        })
        .await
    } else {
        // The preview had expired before the neighbour listened.
        shared
    };
    assert_ne!(quotes(&fresh), quotes(&answers[0].body));
    // Two venues, requested three times: for the fifty previews, for the other amount, and after the expiry.
    let mut prices = Vec::new();
    while prices.last().is_none_or(|price: &Value| price["price"] != fresh["quotes"][1]["price"]) {
        let (channel, price) = subscriber.next().await;
        assert!(channel.starts_with("prices:"), "{channel}");
        prices.push(price);
    }
    assert_eq!(prices.len(), 6, "{prices:?}");
}

#[actix::test]
async fn previews_are_shared_without_redis_too_and_no_order_uses_their_quotes() {
    let server = Server::start(SWIFT.into_iter().chain([("simulation.quote_latency_ms", "300")]));
    let answers = concurrently(50, (0..50).map(|_| server.client.get(PREVIEW))).await;
    for answer in &answers {
        assert_eq!((answer.status, quotes(&answer.body)), (200, quotes(&answers[0].body)));
    }
    let id = server.client.submit(json!({})).await.order_id();
    let history = server.client.follow(&id).await;
    assert_ne!(history.steps[2]["quotes"], answers[0].body["quotes"]);
    assert_eq!(server.client.get("/ready").await.body["status"], "ok");
}

/// The quotes and the reason of a preview, without its age.
fn quotes(answer: &Value) -> (&Value, &Value) {
    (&answer["quotes"], &answer["reason"])
}
