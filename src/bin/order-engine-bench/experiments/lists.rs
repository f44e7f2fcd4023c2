//! How long lists and single orders take, with few and with many orders stored.

use std::sync::Arc;

use chrono::Utc;
use order_engine::domain::id::OrderId;
use order_engine::domain::lifecycle::OrderEvent;
use order_engine::domain::order::Order;
use order_engine::domain::user::Owner;
use order_engine::store::{OrderStore, Write};

use super::stored::{request, tokens};
use crate::BenchError;
use crate::engine::Engine;
use crate::load::{self, LoadEnd, hammer};
use crate::plan::{Figures, Plan, UNLIMITED};
use crate::statistics::percentile;

/// A page and a single order, with 1,000 and with 1,000,000 orders stored.
pub(super) async fn lists(plan: &Plan) -> Result<Figures, BenchError> {
    let mut figures = Vec::new();
    let names = [
        ("lists: a page p99, 1,000 orders stored", "lists: get one p99, 1,000 orders stored"),
        ("lists: a page p99, 1,000,000 orders stored", "lists: get one p99, 1,000,000 orders stored"),
    ];
    let engine = Engine::start(plan, &UNLIMITED).await?;
    let store = engine.store().await?;
    let mut stored = 0;
    for (orders, (page_name, one_name)) in [1_000, 1_000_000 / plan.share].into_iter().zip(names) {
        let known = fill(&store, orders - stored).await?;
        stored = orders;
        // Measures the number of stored orders, not the effect of having stored them within a minute.
        engine.tidy_up().await?;
        let mut pages = hammer(
            engine.address,
            1,
            load::get(engine.address, "/api/orders?limit=50"),
            LoadEnd::Requests(2_000 / plan.share),
        )
        .await?;
        figures.push((page_name, "us", percentile(&mut pages, 99)));
        let mut ones = hammer(
            engine.address,
            1,
            load::get(engine.address, &format!("/api/orders/{known}")),
            LoadEnd::Requests(5_000 / plan.share),
        )
        .await?;
        figures.push((one_name, "us", percentile(&mut ones, 99)));
    }
    engine.finish(Some(store)).await?;
    Ok(figures)
}

/// Stores cancelled orders and returns the id of the last one.
async fn fill(store: &impl OrderStore, orders: u64) -> Result<OrderId, BenchError> {
    const BATCH: u64 = 1_000;
    let tokens = tokens()?;
    let request = request(&tokens, "SOL", "USDC")?;
    let mut known = None;
    for first in (0..orders).step_by(usize::try_from(BATCH)?) {
        let fresh: Vec<_> = (first..orders.min(first + BATCH))
            .map(|_| Order::accept(None, OrderId(uuid::Uuid::now_v7()), Owner::Shared, request.clone(), Utc::now()))
            .collect();
        known = fresh.last().map(|order| order.id).or(known);
        let steps = fresh.iter().map(|order| {
            order
                .propose(OrderEvent::Cancelled(None), Utc::now())
                .map(|step| Write::step(uuid::Uuid::new_v4(), order, Arc::new(step), None))
        });
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        store
            .commit(
                &fresh.iter().map(|order| Write::accept(uuid::Uuid::new_v4(), order.clone(), None)).collect::<Vec<_>>(),
            )
            .await?;
        store.commit(&steps).await?;
    }
    known.ok_or_else(|| "no order was stored".into())
}
