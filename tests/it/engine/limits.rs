//! Limits of dispatch: at most 10 running orders, and at most 100 dispatches in every 60 seconds.

use chrono::{DateTime, TimeDelta, Utc};
use order_engine::domain::lifecycle::Status;
use order_engine::domain::order::RecordedEvent;
use order_engine::domain::request::{OrderRequest, Priority};
use serde_json::Value;

use crate::support::embedded::{request, settings, start_on_paused_time};
use crate::support::process::Server;

/// The time at which an order got its slot, and the time at which it gave the slot back.
type Run = (DateTime<Utc>, DateTime<Utc>);

#[track_caller]
fn assert_within_limits(runs: &[Run], dispatches: &[DateTime<Utc>]) {
    for (start, _) in runs {
        let beside = runs.iter().filter(|(other_start, other_end)| other_start <= start && start < other_end).count();
        assert!(beside <= 10, "{beside} orders ran at {start}");
    }
    for first in dispatches {
        let within =
            dispatches.iter().filter(|stamp| *first <= **stamp && **stamp <= *first + TimeDelta::seconds(60)).count();
        assert!(within <= 100, "{within} dispatches within a minute from {first}");
    }
}

#[actix::test]
async fn a_burst_stays_within_every_limit_and_loses_no_order() {
    let settings = settings([]);
    let engine = start_on_paused_time(&settings).await;
    let mut subscriptions = Vec::new();
    for _ in 0..150 {
        let order = engine.submit(request(&settings), None).await.unwrap().order;
        subscriptions.push(engine.subscribe(order.id).await.unwrap());
    }
    let (mut runs, mut dispatches) = (Vec::new(), Vec::new());
    for mut subscription in subscriptions {
        let mut steps: Vec<std::sync::Arc<RecordedEvent>> = Vec::new();
        while let Some(step) = subscription.next().await {
            steps.push(step);
        }
        let statuses: Vec<_> = steps.iter().map(|step| step.status).collect();
        assert_eq!(
            statuses,
            [Status::Pending, Status::Routing, Status::Building, Status::Submitted, Status::Confirmed]
        );
        runs.push((steps[1].at, steps[4].at));
        dispatches.push(steps[1].at);
    }
    assert_within_limits(&runs, &dispatches);
    assert_eq!(dispatches.len(), 150);
}

#[actix::test]
async fn waiting_priorities_share_the_dispatches_4_to_2_to_1() {
    let settings = settings([("orders.max_concurrent", "1"), ("orders.rate_limit_per_minute", "0")]);
    let engine = start_on_paused_time(&settings).await;
    let mut orders = Vec::new();
    for number in 0..43 {
        let priority = [Priority::Low, Priority::Normal, Priority::High][number % 3];
        let order = engine.submit(OrderRequest { priority, ..request(&settings) }, None).await.unwrap().order;
        orders.push((priority, engine.subscribe(order.id).await.unwrap()));
    }
    let mut dispatched = Vec::new();
    for (priority, mut subscription) in orders {
        while let Some(step) = subscription.next().await {
            if step.status == Status::Routing {
                dispatched.push((step.at, priority));
            }
        }
    }
    dispatched.sort_by_key(|(at, _)| *at);
    // The first order is dispatched before any other waits. Then all three priorities wait in three rounds of seven.
    let share = |wanted| dispatched[1..22].iter().filter(|(_, priority)| *priority == wanted).count();
    assert_eq!((share(Priority::High), share(Priority::Normal), share(Priority::Low)), (12, 6, 3));
}

#[actix::test]
async fn a_burst_with_a_kill_in_the_middle_stays_within_the_limits() {
    let mut server = Server::start([]);
    let ids = server.client.submit_many(150).await;
    server.client.until(&ids[30], |order| order["status"] == "submitted").await;
    server.kill();
    server.restart();
    let (mut runs, mut dispatches) = (Vec::new(), Vec::new());
    for id in &ids {
        server.client.until_confirmed(id).await;
        let mut began = None;
        for event in server.client.events(id).await {
            let at = time(&event["timestamp"]);
            match event["status"].as_str().unwrap() {
                "routing" => {
                    dispatches.push(at);
                    began = Some(at);
                }
                "pending" | "confirmed" => runs.extend(began.take().map(|began| (began, at))),
                _ => {}
            }
        }
    }
    assert_within_limits(&runs, &dispatches);
    assert_eq!(server.landed_swaps(), 150);
    server.assert_no_second_swap();
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}
