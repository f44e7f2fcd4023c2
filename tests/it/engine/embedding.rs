//! The engine as a library, inside a program that embeds it.

use std::sync::Arc;

use order_engine::Engine;
use order_engine::domain::amount::BaseUnits;
use order_engine::domain::order::OrderRequest;
use order_engine::domain::user::Owner;

use crate::support::embedded::{request, settings};

#[tokio::test]
async fn two_engines_run_inside_one_tokio_program() {
    let settings = settings([("simulation.swap_latency_min_ms", "0"), ("simulation.swap_latency_max_ms", "0")]);
    let (one, other) = (Engine::start(settings.clone()).await.unwrap(), Engine::start(settings.clone()).await.unwrap());
    assert_ne!(one.address(), other.address());
    for engine in [&one, &other] {
        let order = engine.submit(request(&settings), None).await.unwrap().order;
        let mut steps = engine.subscribe(order.id).await.unwrap();
        let mut statuses = Vec::new();
        while let Some(step) = steps.next().await {
            statuses.push(step.status.name());
        }
        assert_eq!(statuses, ["pending", "routing", "building", "submitted", "confirmed"]);
    }
    one.shutdown().await;
    other.shutdown().await;
}

#[actix::test]
async fn an_engine_runs_in_the_actix_system_of_its_host() {
    let settings = settings([]);
    let engine = Engine::builder(settings.clone()).without_http().on_this_thread().start().await.unwrap();
    let order = engine.submit(request(&settings), None).await.unwrap().order;
    assert_eq!(engine.service().order(Owner::Shared, order.id).await.unwrap().id, order.id);
    let request: Arc<OrderRequest> = order.request;
    assert_eq!(request.amount_in, BaseUnits(1_500_000_000));
    engine.shutdown().await;
}
