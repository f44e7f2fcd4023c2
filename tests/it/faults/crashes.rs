//! One kill, or one fault of the chain: no order is lost, and none is swapped twice.

use std::time::{Duration, Instant};

use crate::support::postgres::Postgres;
use crate::support::process::{SWIFT, Server};
use crate::support::wait::assert_deadline_kept;

#[actix::test]
async fn ten_running_orders_survive_a_kill_and_none_is_swapped_twice() {
    running_orders_survive_a_kill(Server::start([])).await;
}

#[actix::test]
async fn ten_running_orders_on_postgres_survive_a_kill_and_none_is_swapped_twice() {
    let postgres = Postgres::start();
    running_orders_survive_a_kill(Server::start_on(&postgres.url(), [])).await;
}

async fn running_orders_survive_a_kill(mut server: Server) {
    let ids = server.client.submit_many(10).await;
    for id in &ids {
        server.client.until(id, |order| order["status"] != "pending").await;
    }
    server.kill();
    let start = Instant::now();
    server.restart();
    server.client.until_all_confirmed(&ids).await;
    // The slowest quote and swap, and five seconds.
    let deadline = Duration::from_millis(200 + 3_000 + 5_000);
    assert_deadline_kept(deadline, start.elapsed(), "recovering ten orders");
    for id in &ids {
        server.client.follow(id).await.assert_gapless();
    }
    assert_eq!(server.landed_swaps(), 10);
    server.assert_no_second_swap();
}

#[actix::test]
async fn kills_at_different_times_leave_every_history_gapless() {
    let mut server = Server::start(SWIFT);
    server.set("simulation.quote_latency_ms", "20");
    server.set("simulation.swap_latency_min_ms", "20");
    server.set("simulation.swap_latency_max_ms", "60");
    server.kill();
    server.restart();
    let mut ids = Vec::new();
    for round in 0..8u64 {
        ids.extend(server.client.submit_many(20).await);
        // The moment of the kill is what is tested; each round has another one.
        tokio::time::sleep(Duration::from_millis(round * 15)).await;
        server.kill();
        server.restart();
    }
    for id in &ids {
        server.client.until_confirmed(id).await;
        server.client.follow(id).await.assert_gapless();
    }
    server.assert_no_second_swap();
    let landed = server.landed_swaps();
    assert_eq!(landed, ids.len());
}

#[actix::test]
async fn lost_answers_after_landing_cause_no_second_swap() {
    let server = Server::start(SWIFT.into_iter().chain([("simulation.lost_answer_rate", "1")]));
    let ids = server.client.submit_many(200).await;
    server.client.until_all_confirmed(&ids).await;
    assert_eq!(server.ledger().len(), ids.len());
    server.assert_no_second_swap();
}

#[actix::test]
async fn dropped_swaps_are_signed_again_only_after_they_expired() {
    let settings = [
        ("simulation.drop_rate", "0.3"),
        ("simulation.block_ms", "10"),
        ("simulation.valid_blocks", "30"),
        ("chain.resend_ms", "50"),
        ("orders.max_attempts", "20"),
    ];
    let server = Server::start(SWIFT.into_iter().chain(settings));
    let ids = server.client.submit_many(40).await;
    server.client.until_all_confirmed(&ids).await;
    server.assert_no_second_swap();
    assert!(server.ledger().iter().any(|entry| entry["outcome"] == "expired"), "no swap was dropped");
}
