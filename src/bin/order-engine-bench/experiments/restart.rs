//! How long a start takes to resume many unfinished orders.

use std::time::Instant;

use serde_json::Value;

use crate::BenchError;
use crate::engine::Engine;
use crate::load::{self, Connection, LoadEnd, hammer};
use crate::plan::{CONNECTIONS, Figures, HELD_BACK, Plan};
use crate::statistics::micros;

pub(super) async fn restart(plan: &Plan) -> Result<Figures, BenchError> {
    let mut engine = Engine::start(plan, &HELD_BACK).await?;
    let orders = 100_000 / plan.share;
    hammer(engine.address, CONNECTIONS, load::post(engine.address), LoadEnd::Requests(orders)).await?;
    let start = Instant::now();
    engine.restart(&HELD_BACK)?;
    let mut connection = Connection::open(engine.address).await?;
    let (_, body) = connection.ask(&load::get(engine.address, "/health")).await?;
    let took = start.elapsed();
    let health: Value = serde_json::from_slice(&body)?;
    // One order per minute may have run in between.
    if health["openOrders"].as_u64().unwrap_or_default() + 5 < orders {
        return Err(format!("the engine has not resumed all its orders: {health}").into());
    }
    engine.finish(None).await?;
    Ok(vec![("restart: start to owning 100,000 unfinished orders", "ms", micros(took) / 1_000)])
}
