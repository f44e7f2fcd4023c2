//! The process ends at each of the [`order_engine::runtime::crash_points`].

use std::time::Duration;

use order_engine::runtime::crash_points::CRASH_POINTS;
use serde_json::json;
use tokio::time::Instant;

use crate::faults::kills::failing;
use crate::support::campaign;
use crate::support::client::concurrently;
use crate::support::crowd::Crowd;
use crate::support::history::History;
use crate::support::process::{SWIFT, Server, shared_postgres};
use crate::support::wait::TIMEOUT;

#[actix::test]
async fn a_crash_at_any_crash_point_loses_no_order_and_causes_no_second_swap() {
    let rounds = campaign::size(20, 1);
    let seed = campaign::seed();
    for (index, (point, _)) in CRASH_POINTS.iter().enumerate() {
        if *point == "store.written" && shared_postgres().is_some() {
            eprintln!("{point}: not reached on PostgreSQL, which writes and commits a batch with one statement");
            continue;
        }
        let crowd = Crowd::new(seed + index as u64);
        let mut server = failing([("simulation.quote_latency_ms", "5"), ("simulation.swap_latency_max_ms", "40")]);
        for round in 0..rounds {
            crash_once(&mut server, &crowd, point, round).await;
        }
        let findings = crowd.check(&server).await;
        eprintln!("{point}: {rounds} crashes, 0 violations in {findings:?}");
    }
}

/// Arms a crash point, trades until the process has ended, and starts it again without the crash point.
async fn crash_once(server: &mut Server, crowd: &std::rc::Rc<Crowd>, point: &str, round: u32) {
    crowd.connect_to(server);
    // Some points are reached once in a process, some only by cancelled or panicking orders, most by every order.
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
    let in_shutdown = ["manager.draining", "persistence.flushing"].contains(&point);
    // The armed process recovers the open orders, which may end it before it listens.
    crowd.start_trades(10);
    crowd.random_pause(30).await;
    server.kill();
    server.set("FAILPOINTS", &armed);
    let mut listens = server.try_restart();
    crowd.connect_to(server);
    if in_shutdown {
        crowd.start_trades(10);
        crowd.random_pause(40).await;
        server.send_sigterm();
    }
    let started = Instant::now();
    while server.ended().is_none() {
        let late = started.elapsed() > TIMEOUT;
        assert!(
            !late,
            "{point}, round {round}: the process never reaches the point, clients are {}",
            crowd.activities()
        );
        // A busy machine does not finish more concurrent orders before the timeout.
        if !in_shutdown && crowd.trading() < 200 {
            crowd.start_trades(3);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        if point == "engine.recovering" && listens {
            // No order was open, so the point was not reached. The pause lets clients submit some.
            crowd.random_pause(300).await;
            server.kill();
            listens = server.try_restart();
            crowd.connect_to(server);
        }
    }
    server.set("FAILPOINTS", "");
    crowd.poison_one_in(0);
    server.restart();
    crowd.connect_to(server);
}

#[actix::test]
async fn a_panic_after_the_commit_is_never_answered_with_not_accepted() {
    // Persistence panics after its commit and before its answers.
    let mut server = Server::start(SWIFT.into_iter().chain([("FAILPOINTS", "persistence.answering=3*off->panic")]));
    let mut history = History::default();
    let keys: Vec<_> = (0..40).map(|number| format!("key-{number}")).collect();
    let posts = keys.iter().map(|key| server.client.try_submit_with_key(key, json!({})));
    for (key, answer) in keys.iter().zip(concurrently(40, posts).await) {
        history.submit_sent(key);
        if let Ok(answer) = answer {
            history.submit_answered(Some(key), &answer);
        }
    }
    assert_eq!(server.wait().code(), Some(70));
    server.set("FAILPOINTS", "");
    server.restart();
    history.check(&server).await;
}
