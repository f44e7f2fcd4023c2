//! A wall clock that somebody sets, in a running engine and between two starts: waits and limits go by other clocks.

use serde_json::{Value, json};

use crate::support::machine::FakeClock;
use crate::support::process::{PATIENCE, SWIFT, Server};

const DAY: i64 = 86_400;

/// An engine with those settings whose wall clock is set at will.
fn engine<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> (Server, FakeClock) {
    let clock = FakeClock::new();
    let mut server = Server::idle(SWIFT.into_iter().chain(settings));
    server.use_clock(&clock);
    server.restart();
    (server, clock)
}

async fn confirm(server: &Server) {
    let id = server.client.submit(json!({})).await.order_id();
    assert_eq!(server.client.until_ended(&id).await["status"], "confirmed");
}

/// Waits until `/ready` satisfies the condition.
async fn until_ready(server: &Server, what: &str, condition: impl Fn(&Value) -> bool) {
    let look = async {
        while !condition(&server.client.get("/ready").await.body) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("/ready never says {what}"));
}

fn says(ready: &Value, what: &str) -> bool {
    ready["reasons"].to_string().contains(what)
}

#[actix::test]
async fn a_clock_that_was_ahead_for_a_moment_does_not_stop_the_dispatches() {
    let (mut server, clock) = engine([]);
    clock.set(DAY);
    until_ready(&server, "the step", |ready| says(ready, "the clock was set ahead by 8")).await;
    confirm(&server).await;
    clock.set(0);
    until_ready(&server, "the step back", |ready| says(ready, "the clock was set back by 8")).await;
    confirm(&server).await;
    let metrics = server.client.get("/metrics").await;
    let steps =
        metrics.body.as_str().unwrap().lines().find_map(|line| line.strip_prefix("order_engine_clock_steps_total "));
    assert_eq!(steps, Some("2"));
    // Nor over a restart, though the last recorded dispatches lie in the future.
    server.kill();
    server.restart();
    confirm(&server).await;
}

#[actix::test]
async fn a_clock_that_jumps_ahead_fails_no_order_that_waits() {
    let (mut server, clock) = engine([("orders.rate_limit_per_minute", "1")]);
    confirm(&server).await;
    let id = server.client.submit(json!({})).await.order_id();
    for (seconds, direction) in [(DAY, "ahead"), (-3_600, "back"), (DAY, "ahead")] {
        clock.set(seconds);
        until_ready(&server, direction, |ready| says(ready, direction)).await;
        assert_eq!(server.client.get(&format!("/api/orders/{id}")).await.body["status"], "pending");
    }
    // Also where the clock is wrong when the engine starts.
    server.kill();
    server.restart();
    until_ready(&server, "how long it waits", |ready| {
        ready["oldestWaitingSeconds"].as_u64().is_some_and(|age| age >= 2)
    })
    .await;
    assert_eq!(server.client.get(&format!("/api/orders/{id}")).await.body["status"], "pending");
}

#[actix::test]
async fn a_step_of_the_clock_before_a_restart_does_not_empty_the_rate_window() {
    for seconds in [DAY, -DAY, 120] {
        let (mut server, clock) = engine([("orders.rate_limit_per_minute", "2")]);
        confirm(&server).await;
        confirm(&server).await;
        server.kill();
        clock.set(seconds);
        server.restart();
        let id = server.client.submit(json!({})).await.order_id();
        // It waits for its place, which another step does not give it.
        clock.set(seconds + 61);
        until_ready(&server, "how long it waits", |ready| {
            ready["oldestWaitingSeconds"].as_u64().is_some_and(|age| age >= 2)
        })
        .await;
        let order = server.client.get(&format!("/api/orders/{id}")).await.body;
        assert_eq!(order["status"], "pending", "the clock was set by {seconds} s");
    }
}

#[actix::test]
async fn a_retry_waits_no_longer_because_the_clock_was_set_back() {
    let settings =
        [("simulation.venue_failure_rate", "1"), ("orders.backoff_initial_ms", "1000"), ("orders.max_attempts", "2")];
    let (mut server, clock) = engine(settings);
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until(&id, |order| order["retryCount"] == 1).await;
    clock.set(-DAY);
    server.kill();
    server.restart();
    let order = server.client.until_ended(&id).await;
    assert_eq!((&order["status"], &order["attempt"]), (&json!("failed"), &json!(2)), "{order}");
}
