//! How much memory the engine uses when idle, with many waiting orders, and after these have ended.

use std::time::Duration;

use crate::BenchError;
use crate::engine::Engine;
use crate::load::{self, LoadEnd, hammer};
use crate::plan::{CONNECTIONS, Figures, HELD_BACK, Plan, with};

/// How long after the last order has ended the memory is read again.
const REST: Duration = Duration::from_secs(30);

pub(super) async fn memory(plan: &Plan) -> Result<Figures, BenchError> {
    // All orders end by themselves: those that do not run within this time fail.
    let engine = Engine::start(plan, &with(&HELD_BACK, &[("orders.timeout_ms", "90000")])).await?;
    let store = engine.store().await?;
    let orders = 100_000 / plan.share;
    let idle = engine.resident_kib()?;
    hammer(engine.address, CONNECTIONS, load::post(engine.address), LoadEnd::Requests(orders)).await?;
    let waiting = engine.resident_kib()?;
    engine.until_ended(&store, orders).await?;
    tokio::time::sleep(REST).await;
    let after = engine.resident_kib()?;
    engine.finish(Some(store)).await?;
    Ok(vec![
        ("memory: idle", "KiB", idle),
        ("memory: per waiting order, of 100,000", "B", waiting.saturating_sub(idle) * 1024 / orders),
        ("memory: 30 s after the wave", "KiB", after),
    ])
}
