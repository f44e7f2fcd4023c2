//! Steps of the wall clock, while the engine runs and between two starts: waits and limits do not depend on it.

use serde_json::json;

use crate::support::client::Answer;
use crate::support::machine::{DAY, FakeClock};
use crate::support::process::{SWIFT, Server};

/// An engine with a wall clock that can be stepped.
fn engine<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> (Server, FakeClock) {
    let clock = FakeClock::new();
    let mut server = Server::stopped(SWIFT.into_iter().chain(settings));
    server.use_clock(&clock);
    server.restart();
    (server, clock)
}

async fn confirm(server: &Server) {
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until_confirmed(&id).await;
}

/// Waits until `/ready` reports a step of the clock.
async fn until_reported(server: &Server, reason: &str) {
    server.client.until_ready(reason, |ready| ready.body["reasons"].to_string().contains(reason)).await;
}

/// Waits until an order has waited for two seconds by `/ready`.
async fn until_waiting(server: &Server) {
    let waits = |ready: &Answer| ready.body["oldestWaitingSeconds"].as_u64().is_some_and(|age| age >= 2);
    server.client.until_ready("an order that waits", waits).await;
}

#[actix::test]
async fn a_clock_that_was_ahead_for_some_time_does_not_stop_the_dispatches() {
    let (mut server, clock) = engine([]);
    clock.set(DAY);
    until_reported(&server, "the clock was set ahead by 8").await;
    confirm(&server).await;
    clock.set(0);
    until_reported(&server, "the clock was set back by 8").await;
    confirm(&server).await;
    assert_eq!(server.client.metric("order_engine_clock_steps_total").await, 2);
    // Nor after a restart, though the last recorded dispatches are in the future.
    server.kill();
    server.restart();
    confirm(&server).await;
}

#[actix::test]
async fn a_clock_step_ahead_times_out_no_waiting_order() {
    let (mut server, clock) = engine([("orders.rate_limit_per_minute", "1")]);
    confirm(&server).await;
    let id = server.client.submit(json!({})).await.order_id();
    for (seconds, direction) in [(DAY, "ahead"), (-3_600, "back"), (DAY, "ahead")] {
        clock.set(seconds);
        until_reported(&server, direction).await;
        assert_eq!(server.client.order(&id).await["status"], "pending");
    }
    // Nor if the clock is wrong when the engine starts.
    server.kill();
    server.restart();
    until_waiting(&server).await;
    assert_eq!(server.client.order(&id).await["status"], "pending");
}

#[actix::test]
async fn a_clock_step_before_a_restart_does_not_empty_the_rate_window() {
    for seconds in [DAY, -DAY, 120] {
        let (mut server, clock) = engine([("orders.rate_limit_per_minute", "2")]);
        confirm(&server).await;
        confirm(&server).await;
        server.kill();
        clock.set(seconds);
        server.restart();
        let id = server.client.submit(json!({})).await.order_id();
        // The order waits for the rate limit, which another step does not change.
        clock.set(seconds + 61);
        until_waiting(&server).await;
        let order = server.client.order(&id).await;
        assert_eq!(order["status"], "pending", "the clock was set by {seconds} s");
    }
}

#[actix::test]
async fn a_clock_set_back_does_not_delay_a_retry() {
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
