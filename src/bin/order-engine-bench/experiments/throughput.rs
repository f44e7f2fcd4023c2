//! How many orders the engine accepts, and how many it executes, per second.

use std::time::{Duration, Instant};

use crate::BenchError;
use crate::engine::Engine;
use crate::load::{self, LoadEnd, hammer};
use crate::plan::{CONNECTIONS, Figures, HELD_BACK, Plan, UNLIMITED};
use crate::statistics::{per_second, percentile};

/// Durable accepts, while execution is held back.
pub(super) async fn accept(plan: &Plan) -> Result<Figures, BenchError> {
    let engine = Engine::start(plan, &HELD_BACK).await?;
    let length = Duration::from_secs(10) / u32::try_from(plan.share.min(10))?;
    let start = Instant::now();
    let mut took = hammer(engine.address, CONNECTIONS, load::post(engine.address), LoadEnd::Elapsed(length)).await?;
    let rate = per_second(took.len() as u64, start.elapsed());
    engine.finish(None).await?;
    Ok(vec![
        ("accept: durable orders a second, 128 connections", "/s", rate),
        ("accept: p50", "us", percentile(&mut took, 50)),
        ("accept: p99", "us", percentile(&mut took, 99)),
    ])
}

/// Orders from their POST to `confirmed`, without simulated waits.
pub(super) async fn lifecycle(plan: &Plan) -> Result<Figures, BenchError> {
    let engine = Engine::start(plan, &UNLIMITED).await?;
    let store = engine.store().await?;
    let orders = 20_000 / plan.share;
    let start = Instant::now();
    hammer(engine.address, CONNECTIONS, load::post(engine.address), LoadEnd::Requests(orders)).await?;
    engine.until_ended(&store, orders).await?;
    let rate = per_second(orders, start.elapsed());
    engine.finish(Some(store)).await?;
    Ok(vec![("lifecycle: orders a second to confirmed", "/s", rate)])
}
