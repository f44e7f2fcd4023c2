//! Never an eleventh running, never a 101st dispatch within any sixty seconds, none lost.

use chrono::{DateTime, TimeDelta, Utc};
use order_engine::domain::lifecycle::Status;
use order_engine::domain::order::{OrderRequest, Priority, RecordedEvent};
use order_engine::{Engine, Settings};
use serde_json::{Value, json};

use crate::support::client::at_once;
use crate::support::embedded::{request, settings};
use crate::support::memory_store::MemoryStore;
use crate::support::process::Server;

/// When an order began to hold a slot and when it gave it back.
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

/// An engine on paused time.
async fn on_this_thread(settings: &Settings) -> Engine {
    let engine = Engine::builder(settings.clone()).store(MemoryStore::new()).without_http().on_this_thread();
    engine.start().await.unwrap()
}

#[actix::test]
async fn a_burst_keeps_every_limit_and_loses_nothing() {
    tokio::time::pause();
    let settings = settings([]);
    let engine = on_this_thread(&settings).await;
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
async fn waiting_priorities_are_dispatched_four_two_one() {
    tokio::time::pause();
    let settings = settings([("orders.max_concurrent", "1"), ("orders.rate_limit_per_minute", "0")]);
    let engine = on_this_thread(&settings).await;
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
    // The first found nobody else waiting. After it come three rounds of seven in which all three wait.
    let share = |wanted| dispatched[1..22].iter().filter(|(_, priority)| *priority == wanted).count();
    assert_eq!((share(Priority::High), share(Priority::Normal), share(Priority::Low)), (12, 6, 3));
}

#[actix::test]
async fn a_burst_that_is_killed_in_the_middle_keeps_the_limits_too() {
    let mut server = Server::start([]);
    let answers = at_once(32, (0..150).map(|_| server.client.submit(json!({})))).await;
    assert!(answers.iter().all(|answer| answer.status == 201));
    server.client.until(&answers[30].order_id(), |order| order["status"] == "submitted").await;
    server.kill();
    server.restart();
    let (mut runs, mut dispatches) = (Vec::new(), Vec::new());
    for answer in &answers {
        let id = answer.order_id();
        assert_eq!(server.client.until_ended(&id).await["status"], "confirmed");
        let mut began = None;
        for event in server.client.events(&id).await {
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
    assert_eq!(server.ledger().iter().filter(|entry| entry["outcome"] == "landed").count(), 150);
    server.assert_no_second_swap();
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}
