//! The process ended at every moment that [`order_engine::runtime::crash_points`] names, and what may not be said when it dies.

use std::time::Duration;

use order_engine::runtime::crash_points::CRASH_POINTS;
use serde_json::json;
use tokio::time::Instant;

use crate::faults::kills::rough;
use crate::support::client::{at_once, order};
use crate::support::crowd::{Crowd, full, seed};
use crate::support::history::History;
use crate::support::process::{PATIENCE, SWIFT, Server, postgres_for_all};

#[actix::test]
async fn an_engine_that_crashes_at_any_named_moment_loses_nothing_and_swaps_nothing_twice() {
    let rounds = if full() { 20 } else { 1 };
    let seed = seed();
    for (index, (point, _)) in CRASH_POINTS.iter().enumerate() {
        if *point == "store.written" && postgres_for_all().is_some() {
            eprintln!("{point}: does not come on PostgreSQL, where a group is written and committed by one statement");
            continue;
        }
        let crowd = Crowd::new(seed + index as u64);
        let mut server = rough([("simulation.quote_latency_ms", "5"), ("simulation.swap_latency_max_ms", "40")]);
        for round in 0..rounds {
            crash_once(&mut server, &crowd, point, round).await;
        }
        let findings = crowd.check(&server).await;
        eprintln!("{point}: {rounds} crashes, 0 violations in {findings:?}");
    }
}

/// Arms a crash point, trades until the process is gone, and starts it again unarmed.
async fn crash_once(server: &mut Server, crowd: &std::rc::Rc<Crowd>, point: &str, round: u32) {
    crowd.meet(server);
    // Some moments come once a process, some only to orders that are cancelled or broken, most to every order.
    let hits = match point {
        "manager.draining" | "persistence.flushing" | "engine.recovering" => 0,
        "order.cancelling" | "manager.reloading" | "manager.reloaded" => crowd.draw(3),
        _ => crowd.draw(12),
    };
    let mut armed = format!("{point}={hits}*off->return");
    if point.starts_with("manager.reload") {
        armed.push_str(";order=2*off->20*panic->off");
        crowd.poison_one_in(2);
    }
    let at_the_stop = ["manager.draining", "persistence.flushing"].contains(&point);
    // What stands open when the armed process starts is taken up by it, and may end it before it says where it listens.
    crowd.trade(10);
    crowd.some_moment(30).await;
    server.kill();
    server.set("FAILPOINTS", &armed);
    let mut stands = server.try_restart();
    crowd.meet(server);
    if at_the_stop {
        crowd.trade(10);
        crowd.some_moment(40).await;
        server.ask_to_stop();
    }
    let started = Instant::now();
    while server.ended().is_none() {
        let late = started.elapsed() > PATIENCE;
        assert!(!late, "{point}, round {round}: the process never came to that moment, clients are {}", crowd.doing());
        // More than that at once, and a busy machine is not done with them before patience is.
        if !at_the_stop && crowd.trading() < 200 {
            crowd.trade(3);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        if point == "engine.recovering" && stands {
            // Nothing was open. In no time at all nobody gets an order in either, and so it would go on.
            crowd.some_moment(300).await;
            server.kill();
            stands = server.try_restart();
            crowd.meet(server);
        }
    }
    server.set("FAILPOINTS", "");
    crowd.poison_one_in(0);
    server.restart();
    crowd.meet(server);
}

#[actix::test]
async fn a_client_is_never_told_that_nothing_is_stored_of_an_order_that_is() {
    // Persistence panics between its commit and its answers.
    let mut server = Server::start(SWIFT.into_iter().chain([("FAILPOINTS", "persistence.answering=3*off->panic")]));
    let mut history = History::default();
    let keys: Vec<_> = (0..40).map(|number| format!("key-{number}")).collect();
    let posts = keys.iter().map(|key| {
        let client = server.client.clone();
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        async move { client.send("POST", "/api/orders", &headers, order(json!({})).to_string()).await }
    });
    for (key, answer) in keys.iter().zip(at_once(40, posts).await) {
        history.asked(key);
        if let Ok(answer) = answer {
            history.answered(Some(key), &answer);
        }
    }
    assert_eq!(server.wait().code(), Some(70));
    server.set("FAILPOINTS", "");
    server.restart();
    history.check(&server).await;
}
