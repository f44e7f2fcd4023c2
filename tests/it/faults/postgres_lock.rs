//! The lock that allows one engine for each PostgreSQL database.

use std::time::Instant;

use serde_json::json;

use crate::faults::postgres_load::{Load, RESUME_DEADLINE, check};
use crate::support::os::run;
use crate::support::postgres::Postgres;
use crate::support::process::{SWIFT, Server};
use crate::support::wait::{assert_deadline_kept, until};

#[actix_web::test]
async fn a_second_engine_on_the_same_postgres_is_refused_with_the_holder() {
    let postgres = Postgres::start();
    let server = Server::start_on(&postgres.url(), SWIFT);
    let pid = postgres.sql("SELECT pid FROM pg_locks WHERE locktype = 'advisory'");
    let second = run(&mut server.command(&["serve"]));
    assert_eq!(second.code, Some(75), "{second:?}");
    for part in ["another engine uses this database", &format!("backend {pid}"), "process", "from 127.0.0.1"] {
        assert!(second.stderr.contains(part), "{part:?} is missing in {second:?}");
    }
    assert_eq!(server.client.submit(json!({})).await.status, 201);
}

#[actix_web::test]
async fn a_suspended_engine_exits_when_another_took_its_lock() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("shared.ledger");
    let engine = || {
        let mut server = Server::stopped(SWIFT);
        server.set("DATABASE_URL", &postgres.url());
        server.set("simulation.ledger", ledger.to_str().unwrap());
        server.set("simulation.quote_latency_ms", "100");
        server.restart();
        server
    };
    let mut first = engine();
    let load = Load::start(&first.client);
    load.until_more(201, 50).await;
    // It is suspended under load, and PostgreSQL ends the connection of its lock.
    first.freeze();
    load.abort();
    // Waits until it has ended, for until then the lock is held.
    postgres.sql("SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE locktype = 'advisory'");
    let second = engine();
    first.thaw();
    assert_eq!(first.wait().code(), Some(70));
    let orders = second.client.all_orders().await;
    assert!(orders.len() >= 50, "only {} orders", orders.len());
    for order in &orders {
        let id = order["orderId"].as_str().unwrap();
        second.client.until_confirmed(id).await;
        second.client.follow(id).await.assert_gapless();
    }
    let landed = second.ledger().iter().filter(|entry| entry["outcome"] == "landed").count();
    assert_eq!(landed, orders.len(), "as many swaps as orders");
    second.assert_no_second_swap();
}

#[actix_web::test]
async fn a_lock_whose_connection_breaks_is_taken_again_without_a_refused_submit() {
    let postgres = Postgres::start();
    let server = Server::start_on(&postgres.url(), SWIFT);
    let holder = || postgres.sql("SELECT pid FROM pg_locks WHERE locktype = 'advisory'");
    let before = holder();
    postgres.sql(&format!("SELECT pg_terminate_backend({before})"));
    let start = Instant::now();
    until("the lock was taken again", async || {
        assert_eq!(server.client.submit(json!({})).await.status, 201);
        let now = holder();
        !now.is_empty() && now != before
    })
    .await;
    assert_deadline_kept(RESUME_DEADLINE, start.elapsed(), "taking the lock again");
    check(&server, &[]).await;
}
