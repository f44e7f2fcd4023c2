//! The library as a program embeds it, here on paused time: an hour passes in a moment.

use std::sync::Arc;

use order_engine::domain::amount::{BaseUnits, Slippage};
use order_engine::domain::order::{OrderRequest, Priority};
use order_engine::domain::routing::Strategy;
use order_engine::domain::user::Owner;
use order_engine::{Engine, Settings};

/// Settings over the defaults, with everything in memory.
pub fn settings<'a>(overrides: impl IntoIterator<Item = (&'a str, &'a str)>) -> Settings {
    let memory = [("database.url", "sqlite::memory:"), ("simulation.ledger", "memory"), ("server.port", "0")];
    Settings::with(memory.into_iter().chain(overrides)).unwrap()
}

/// A plain order of the tokens that every list knows.
pub fn request(settings: &Settings) -> OrderRequest {
    OrderRequest {
        token_in: settings.tokens.resolve("SOL").unwrap(),
        token_out: settings.tokens.resolve("USDC").unwrap(),
        amount_in: BaseUnits(1_500_000_000),
        slippage: Slippage::DEFAULT,
        min_amount_out: None,
        max_price_impact: None,
        priority: Priority::Normal,
        strategy: Strategy::BestPrice,
        client_order_id: None,
    }
}

#[tokio::test]
async fn an_engine_runs_inside_a_tokio_program_and_beside_another() {
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
