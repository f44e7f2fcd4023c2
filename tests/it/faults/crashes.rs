//! The process killed in the middle: nothing lost, nothing swapped twice.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::at_once;
use crate::support::process::{SWIFT, Server};

#[actix::test]
async fn ten_orders_in_flight_survive_a_kill_and_none_is_swapped_twice() {
    let mut server = Server::start([]);
    let ids: Vec<_> = at_once(10, (0..10).map(|_| server.client.submit(json!({}))))
        .await
        .iter()
        .map(|answer| answer.order_id())
        .collect();
    for id in &ids {
        server.client.until(id, |order| order["status"] != "pending").await;
    }
    server.kill();
    let started = Instant::now();
    server.restart();
    for id in &ids {
        assert_eq!(server.client.until_ended(id).await["status"], "confirmed");
    }
    // Quotes and swap at their slowest, and five seconds.
    assert!(started.elapsed() < Duration::from_millis(200 + 3_000 + 5_000), "{:?}", started.elapsed());
    assert_eq!(server.ledger().iter().filter(|entry| entry["outcome"] == "landed").count(), 10);
    server.assert_no_second_swap();
}

#[actix::test]
async fn orders_killed_at_many_moments_all_end_with_whole_stories() {
    let mut server = Server::start(SWIFT);
    server.set("simulation.quote_latency_ms", "20");
    server.set("simulation.swap_latency_min_ms", "20");
    server.set("simulation.swap_latency_max_ms", "60");
    server.kill();
    server.restart();
    let mut ids = Vec::new();
    for round in 0..8u64 {
        let answers = at_once(20, (0..20).map(|_| server.client.submit(json!({})))).await;
        ids.extend(answers.iter().map(|answer| answer.order_id()));
        // Each round is killed at another moment of the orders' lives.
        tokio::time::sleep(Duration::from_millis(round * 15)).await;
        server.kill();
        server.restart();
    }
    for id in &ids {
        assert_eq!(server.client.until_ended(id).await["status"], "confirmed");
        server.client.follow(id).await.assert_gapless();
    }
    server.assert_no_second_swap();
    let landed = server.ledger().iter().filter(|entry| entry["outcome"] == "landed").count();
    assert_eq!(landed, ids.len());
}

#[actix::test]
async fn a_lost_answer_after_landing_never_leads_to_a_second_swap() {
    let server = Server::start(SWIFT.into_iter().chain([("simulation.lost_answer_rate", "1")]));
    let ids: Vec<_> = at_once(50, (0..200).map(|_| server.client.submit(json!({}))))
        .await
        .iter()
        .map(|answer| answer.order_id())
        .collect();
    for id in &ids {
        assert_eq!(server.client.until_ended(id).await["status"], "confirmed");
    }
    assert_eq!(server.ledger().len(), ids.len());
    server.assert_no_second_swap();
}

#[actix::test]
async fn a_dropped_swap_is_signed_anew_only_after_its_blocks_went_by() {
    let settings = [
        ("simulation.drop_rate", "0.3"),
        ("simulation.block_ms", "10"),
        ("simulation.valid_blocks", "30"),
        ("chain.resend_ms", "50"),
        ("orders.max_attempts", "20"),
    ];
    let server = Server::start(SWIFT.into_iter().chain(settings));
    let ids: Vec<_> = at_once(20, (0..40).map(|_| server.client.submit(json!({}))))
        .await
        .iter()
        .map(|answer| answer.order_id())
        .collect();
    for id in &ids {
        assert_eq!(server.client.until_ended(id).await["status"], "confirmed");
    }
    server.assert_no_second_swap();
    assert!(server.ledger().iter().any(|entry| entry["outcome"] == "expired"), "no swap was dropped");
}

#[actix::test]
async fn a_second_engine_on_the_same_database_is_refused_and_names_the_holder() {
    let server = Server::start([]);
    let output = server.command(&["serve"]).stderr(std::process::Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(75));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("another engine uses this database: process"),
        "{output:?}"
    );
}

#[actix::test]
async fn wrong_settings_stop_the_start_and_are_all_named() {
    let server = Server::start([]);
    let output = server
        .command(&["serve"])
        .env("PORT", "99999")
        .env("MAX_CONCURRENT_ORDERS", "many")
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("server.port") && said.contains("orders.max_concurrent"), "{said}");
}

#[actix::test]
async fn an_engine_whose_output_nobody_reads_runs_all_the_same() {
    let other = Server::start(SWIFT);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut engine = other
        .command(&["serve"])
        .env("DATABASE_URL", "sqlite::memory:")
        .env("ORDER_ENGINE__SIMULATION__LEDGER", "memory")
        .env("PORT", port.to_string())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(engine.stdout.take());
    let client = crate::support::client::Client::of(&format!("http://127.0.0.1:{port}"));
    while client.send("GET", "/health", &[], String::new()).await.is_err() {
        assert!(engine.try_wait().unwrap().is_none(), "the engine has ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let id = client.submit(json!({})).await.order_id();
    assert_eq!(client.until_ended(&id).await["status"], "confirmed");
    assert!(std::process::Command::new("kill").arg(engine.id().to_string()).status().unwrap().success());
    assert_eq!(engine.wait().unwrap().code(), Some(0));
}
