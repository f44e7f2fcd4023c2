//! `/api/stats`, `/health` and `/metrics` publish the same figures.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::process::{SWIFT, Server};
use crate::support::wait::{TIMEOUT, until, until_some};

/// The samples of `/metrics` that are whole numbers, by name and labels.
async fn metrics(server: &Server) -> BTreeMap<String, u64> {
    let text = server.client.get("/metrics").await.body;
    let samples = text.as_str().unwrap().lines().filter_map(|line| line.rsplit_once(' '));
    samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// The sum of the samples whose name and labels begin with `start` and contain `label`.
fn sum(metrics: &BTreeMap<String, u64>, start: &str, label: &str) -> u64 {
    metrics.iter().filter(|(name, _)| name.starts_with(start) && name.contains(label)).map(|(_, value)| value).sum()
}

/// The answer of `/api/stats`, once that number of orders holds a slot.
async fn settled(server: &Server, running: u64) -> Value {
    until_some("the orders that ended return their slots", async || {
        let stats = server.client.get("/api/stats").await.body;
        (stats["running"] == running).then_some(stats)
    })
    .await
}

/// Compares every figure that more than one of the three answers has.
async fn assert_same_figures(server: &Server, running: u64) -> Value {
    let stats = settled(server, running).await;
    let health = server.client.get("/health").await.body;
    let metrics = metrics(server).await;
    let same = |published: &Value, metric: u64, what: &str| {
        assert_eq!(published.as_u64(), Some(metric), "{what}: {stats} {health} {metrics:#?}");
    };

    for (state, in_stats, in_health) in [
        ("open", "open", "openOrders"),
        ("running", "running", "runningOrders"),
        ("queued", "queueDepth", "queuedOrders"),
        ("stuck", "stuck", "stuckOrders"),
    ] {
        let metric = metrics[&format!("order_engine_orders{{state=\"{state}\"}}")];
        same(&stats[in_stats], metric, in_stats);
        same(&health[in_health], metric, in_health);
    }
    same(&health["unreadableOrders"], metrics["order_engine_orders_unreadable"], "unreadableOrders");
    same(&health["sockets"], metrics["order_engine_sockets"], "sockets");

    for status in ["confirmed", "failed", "cancelled"] {
        let ended = sum(&metrics, "order_engine_orders_ended_total{", &format!("status=\"{status}\""));
        same(&stats["orders"][status], ended, status);
    }

    let failures = "order_engine_attempts_failed_total{code=\"";
    let failures =
        metrics.iter().filter_map(|(name, count)| Some((name.strip_prefix(failures)?.strip_suffix("\"}")?, *count)));
    let published = stats["errors"].as_object().unwrap().iter();
    let published = published.map(|(code, count)| (code.as_str(), count.as_u64().unwrap()));
    assert_eq!(published.collect::<BTreeMap<_, _>>(), failures.collect::<BTreeMap<_, _>>());

    for stage in ["pending", "routing", "building", "submitted"] {
        let metric = metrics[&format!("order_engine_stage_seconds_count{{status=\"{stage}\"}}")];
        same(&stats["stages"][stage]["count"], metric, stage);
    }
    let (before, uptime) = (stats["uptimeSeconds"].as_u64().unwrap(), metrics["order_engine_uptime_seconds"]);
    assert!((before..=before + TIMEOUT.as_secs()).contains(&uptime), "{before} {uptime}");
    stats
}

#[actix::test]
async fn stats_health_and_metrics_agree_on_every_figure() {
    let server = Server::start(SWIFT.into_iter().chain([("orders.max_attempts", "3")]));
    for fields in [json!({}), json!({}), json!({ "minAmountOut": "1000000" }), json!({})] {
        let id = server.client.submit(fields).await.order_id();
        server.client.until_ended(&id).await;
    }
    let stats = assert_same_figures(&server, 0).await;
    assert_eq!((&stats["orders"]["confirmed"], &stats["orders"]["failed"]), (&json!(3), &json!(1)));
    // Two attempts that were retried, and the last one.
    assert_eq!(stats["errors"], json!({ "below_minimum": 3 }));
    assert_eq!((&stats["stages"]["pending"]["count"], &stats["stages"]["routing"]["count"]), (&json!(6), &json!(3)));
}

#[actix::test]
async fn stats_health_and_metrics_agree_on_cancelled_and_recovered_orders() {
    let mut server = Server::start([("orders.max_concurrent", "1"), ("simulation.quote_latency_ms", "600000")]);
    let first = server.client.submit(json!({})).await.order_id();
    server.client.until(&first, |order| order["status"] == "routing").await;
    let second = server.client.submit(json!({})).await.order_id();
    let third = server.client.submit(json!({})).await.order_id();
    for id in [&first, &second] {
        assert_eq!(server.client.cancel(id).await.status, 200);
    }
    // It gets the slot of the first. Until then the figures may change between two reads.
    server.client.until(&third, |order| order["status"] == "routing").await;
    let stats = assert_same_figures(&server, 1).await;
    assert_eq!((&stats["orders"]["cancelled"], &stats["open"]), (&json!(2), &json!(1)));
    server.kill();
    server.restart();
    // It is stored as `routing`, goes back to `pending`, and gets its slot again.
    let routes = async || {
        let events = server.client.events(&third).await;
        events.iter().filter(|event| event["status"] == "routing").count() == 2
    };
    until("the recovered order has a slot", routes).await;
    let stats = assert_same_figures(&server, 1).await;
    assert_eq!((&stats["orders"]["cancelled"], &stats["open"]), (&json!(0), &json!(1)));
}
