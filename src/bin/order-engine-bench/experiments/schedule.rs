//! How close the engine comes to the ideal schedule: every slot in use while orders wait.

use std::collections::HashMap;
use std::time::Duration;

use order_engine::domain::id::OrderId;
use order_engine::domain::lifecycle::OrderEvent;
use order_engine::simulation::ledger::Ledger;
use order_engine::store::{ListFilter, OrderStore};

use crate::BenchError;
use crate::engine::Engine;
use crate::load::{self, LoadEnd, hammer};
use crate::plan::{CONNECTIONS, Figures, Plan};
use crate::statistics::{greedy_schedule, micros};

/// Default waits, against the ideal schedule of the same waits.
pub(super) async fn schedule(plan: &Plan) -> Result<Figures, BenchError> {
    const SLOTS: usize = 1_000;
    const QUOTE: Duration = Duration::from_millis(200);
    let slots = SLOTS / usize::try_from(plan.share)?;
    let width = slots.to_string();
    let settings = [
        ("orders.max_open", "100000000"),
        ("orders.rate_limit_per_minute", "0"),
        ("orders.max_concurrent", width.as_str()),
        ("simulation.ledger", "bench.ledger"),
    ];
    let engine = Engine::start(plan, &settings).await?;
    let store = engine.store().await?;
    let orders = 5_000 / plan.share;
    hammer(engine.address, CONNECTIONS, load::post(engine.address), LoadEnd::Requests(orders)).await?;
    engine.until_ended(&store, orders).await?;
    // Each order with its first dispatch and its end, oldest first.
    let mut runs = Vec::new();
    let mut before = None;
    loop {
        let page = store.list(&ListFilter { before, limit: 500, ..ListFilter::default() }).await?;
        before = page.next;
        runs.extend(page.orders.iter().filter_map(|order| {
            let began = order.history().iter().find(|step| matches!(step.event, OrderEvent::Dispatched))?.at;
            Some((order.id, began, order.last().at))
        }));
        if before.is_none() {
            break;
        }
    }
    runs.sort_by_key(|(id, ..)| *id);
    let ledger = Ledger::read(&engine.ledger())?;
    let waits: HashMap<OrderId, Duration> = ledger
        .entries()
        .iter()
        .filter_map(|entry| Some((entry.order_id, (entry.planned.due_at()? - entry.accepted_at).to_std().ok()?)))
        .collect();
    let ideal = greedy_schedule(slots, runs.iter().filter_map(|(id, ..)| Some(QUOTE + *waits.get(id)?)));
    let first = runs.iter().map(|(_, began, _)| *began).min().ok_or("no order ran")?;
    let last = runs.iter().map(|(.., ended)| *ended).max().ok_or("no order ran")?;
    let queue_empty = runs.iter().map(|(_, began, _)| *began).max().ok_or("no order ran")?;
    let took = (last - first).to_std()?;
    let busy: Duration =
        runs.iter().map(|(_, began, ended)| (*ended.min(&queue_empty) - *began).to_std().unwrap_or_default()).sum();
    let offered = (queue_empty - first).to_std()? * u32::try_from(slots)?;
    engine.finish(Some(store)).await?;
    Ok(vec![
        ("schedule: time taken, of the ideal greedy schedule", "‰", micros(took) * 1_000 / micros(ideal).max(1)),
        ("schedule: slots in use until the queue was empty", "‰", micros(busy) * 1_000 / micros(offered).max(1)),
    ])
}
