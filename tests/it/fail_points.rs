//! The process ended at every moment that [`order_engine::faults`] names, and what may not be said when it dies.

use std::time::Duration;

use order_engine::faults::CRASH_POINTS;
use tokio::time::Instant;

use crate::crowd::{Crowd, full, seed};
use crate::faults::rough;
use crate::process::PATIENCE;

#[actix::test]
async fn an_engine_that_crashes_at_any_named_moment_loses_nothing_and_swaps_nothing_twice() {
    let rounds = if full() { 20 } else { 1 };
    let seed = seed();
    for (index, (point, _)) in CRASH_POINTS.iter().enumerate() {
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
async fn crash_once(server: &mut crate::process::Server, crowd: &std::rc::Rc<Crowd>, point: &str, round: u32) {
    crowd.meet(server);
    // Some moments come once a process, some only to orders that are cancelled or broken, most to every order.
    let hits = match point {
        "manager.draining" | "persistence.flushing" | "engine.recovering" => 0,
        "order.cancelling" | "manager.mending" | "manager.mended" => crowd.draw(3),
        _ => crowd.draw(12),
    };
    let mut armed = format!("{point}={hits}*off->return");
    if point.starts_with("manager.mend") {
        armed.push_str(";order=2*off->20*panic->off");
        crowd.poison_one_in(2);
    }
    let stopped = ["manager.draining", "persistence.flushing"].contains(&point);
    // What stands open when the armed process starts is taken up by it.
    crowd.trade(10);
    crowd.some_moment(30).await;
    server.kill();
    server.set("FAILPOINTS", &armed);
    if point == "engine.recovering" {
        crowd.trade(1);
        server.spawn();
    } else {
        server.restart();
        crowd.meet(server);
    }
    let started = Instant::now();
    let mut asked = false;
    while server.ended().is_none() {
        assert!(started.elapsed() < PATIENCE, "{point}, round {round}: the process never came to that moment");
        if stopped && !std::mem::replace(&mut asked, true) {
            crowd.trade(10);
            crowd.some_moment(40).await;
            server.ask_to_stop();
        } else if !stopped && point != "engine.recovering" {
            crowd.trade(3);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.set("FAILPOINTS", "");
    crowd.poison_one_in(0);
    server.restart();
    crowd.meet(server);
}
