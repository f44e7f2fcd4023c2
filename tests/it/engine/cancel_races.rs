//! Cancels against executions: one outcome each, and what is cancelled has never been swapped.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::support::client::at_once;
use crate::support::crowd::{full, seed};
use crate::support::history::History;
use crate::support::process::{SWIFT, Server};

/// The longest wait before a cancel, in microseconds: about as long as an order takes.
const LIFE: u64 = 60_000;

#[actix::test]
async fn a_cancel_against_an_execution_has_one_outcome_and_a_cancelled_order_was_never_swapped() {
    let races = if full() { 10_000 } else { 300 };
    let waits = [
        ("simulation.quote_latency_ms", "15"),
        ("simulation.swap_latency_min_ms", "0"),
        ("simulation.swap_latency_max_ms", "30"),
        ("simulation.failure_rate", "0.1"),
    ];
    let server = Server::start(SWIFT.into_iter().chain(waits));
    let mut rng = SmallRng::seed_from_u64(seed());
    let race = |wait: Duration, over_a_socket: bool| {
        let client = server.client.clone();
        async move {
            let submitted = client.submit(json!({})).await;
            let id = submitted.order_id();
            // At which moment the cancel comes is what this is about.
            tokio::time::sleep(wait).await;
            if over_a_socket {
                let mut socket = client.socket("/ws").await;
                let told = socket.ask(json!({ "type": "cancel", "orderId": id })).await;
                let status = if told["type"] == "order:cancelled" { 200 } else { 409 };
                let answer = crate::support::client::Answer { status, headers: Vec::new(), body: told };
                return (submitted, id, answer);
            }
            let answer = client.post(&format!("/api/orders/{id}/cancel"), &json!({})).await;
            (submitted, id, answer)
        }
    };
    let draws: Vec<_> =
        (0..races).map(|_| (Duration::from_micros(rng.random_range(0..LIFE)), rng.random_range(0..4) == 0)).collect();
    let raced = at_once(50, draws.into_iter().map(|(wait, over_a_socket)| race(wait, over_a_socket))).await;
    let mut history = History::default();
    for (submitted, id, answer) in &raced {
        assert!(matches!(answer.status, 200 | 409), "{answer:?}");
        history.answered(None, submitted);
        history.cancel_answered(id, answer);
    }
    let findings = history.check(&server).await;
    eprintln!("{findings:?}");
    assert_eq!(findings.orders, races);
    assert!(findings.cancelled > 0 && findings.confirmed > 0, "the races were no races: {findings:?}");
    let landed: Vec<_> = server.ledger().into_iter().filter(|entry| entry["outcome"] == "landed").collect();
    assert_eq!(landed.len(), findings.confirmed);
    server.assert_no_second_swap();
}
