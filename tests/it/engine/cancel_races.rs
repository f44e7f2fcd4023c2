//! Cancels that race the execution of their orders: each has one outcome, and no cancelled order is swapped.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::support::campaign;
use crate::support::client::{Answer, concurrently};
use crate::support::history::History;
use crate::support::process::{SWIFT, Server};

/// The longest delay of a cancel, in microseconds: about the duration of an order.
const LIFE: u64 = 60_000;

#[actix::test]
async fn a_cancel_that_races_the_execution_has_one_outcome_and_no_cancelled_order_is_swapped() {
    let races = campaign::size(10_000, 300);
    let waits = [
        ("simulation.quote_latency_ms", "15"),
        ("simulation.swap_latency_min_ms", "0"),
        ("simulation.swap_latency_max_ms", "30"),
        ("simulation.failure_rate", "0.1"),
    ];
    let server = Server::start(SWIFT.into_iter().chain(waits));
    let mut rng = SmallRng::seed_from_u64(campaign::seed());
    let race = |wait: Duration, over_a_socket: bool| {
        let client = server.client.clone();
        async move {
            let submitted = client.submit(json!({})).await;
            let id = submitted.order_id();
            // The moment of the cancel is what is tested.
            tokio::time::sleep(wait).await;
            if over_a_socket {
                let mut socket = client.socket("/ws").await;
                let body = socket.ask(json!({ "type": "cancel", "orderId": id })).await;
                let status = if body["type"] == "order:cancelled" { 200 } else { 409 };
                let answer = Answer { status, headers: Vec::new(), body };
                return (submitted, id, answer);
            }
            let answer = client.cancel(&id).await;
            (submitted, id, answer)
        }
    };
    let draws: Vec<_> =
        (0..races).map(|_| (Duration::from_micros(rng.random_range(0..LIFE)), rng.random_range(0..4) == 0)).collect();
    let raced = concurrently(50, draws.into_iter().map(|(wait, over_a_socket)| race(wait, over_a_socket))).await;
    let mut history = History::default();
    for (submitted, id, answer) in &raced {
        assert!(matches!(answer.status, 200 | 409), "{answer:?}");
        history.submit_answered(None, submitted);
        history.cancel_answered(id, answer);
    }
    let findings = history.check(&server).await;
    eprintln!("{findings:?}");
    assert_eq!(findings.orders, races);
    assert!(findings.cancelled > 0 && findings.confirmed > 0, "one side wins every race: {findings:?}");
    let landed: Vec<_> = server.ledger().into_iter().filter(|entry| entry["outcome"] == "landed").collect();
    assert_eq!(landed.len(), findings.confirmed);
    server.assert_no_second_swap();
}
