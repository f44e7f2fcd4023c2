//! What is measured, and under which settings.

use std::sync::Arc;
use std::time::{Duration, Instant};

use awc::ws::Frame;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use order_engine::Settings;
use order_engine::domain::amount::{BaseUnits, Slippage};
use order_engine::domain::id::OrderId;
use order_engine::domain::lifecycle::OrderEvent;
use order_engine::domain::order::{Order, OrderRequest, Priority};
use order_engine::domain::routing::Strategy;
use order_engine::domain::user::Owner;
use order_engine::simulation::ledger::Ledger;
use order_engine::store::{ListFilter, OrderStore, Write};
use serde_json::Value;

use super::Experiment;
use super::engine::Engine;
use super::load::{self, Connection, LoadEnd, ORDER, hammer};
use super::statistics::{greedy_schedule, micros, per_second, percentile};
use crate::cli::exit::CommandError;

const CONNECTIONS: usize = 128;

/// Where and how large.
pub(super) struct ExperimentPlan {
    pub(super) database_url: Option<String>,
    /// Sizes are divided by this.
    pub(super) share: u64,
}

pub(super) type Figures = Vec<(&'static str, &'static str, u64)>;

/// No order is refused, and none runs: accepts alone are measured.
const HELD_BACK: [(&str, &str); 4] = [
    ("orders.max_open", "100000000"),
    ("orders.rate_limit_per_minute", "1"),
    ("orders.timeout_ms", "86400000"),
    ("simulation.ledger", "memory"),
];

/// No order waits for anything but the engine itself.
pub(super) const SWIFT: [(&str, &str); 7] = [
    ("orders.max_open", "100000000"),
    ("orders.rate_limit_per_minute", "0"),
    ("orders.max_concurrent", "1000"),
    ("simulation.quote_latency_ms", "0"),
    ("simulation.swap_latency_min_ms", "0"),
    ("simulation.swap_latency_max_ms", "0"),
    ("simulation.ledger", "memory"),
];

pub(super) async fn run(experiment: Experiment, plan: &ExperimentPlan) -> Result<Figures, CommandError> {
    match experiment {
        Experiment::Accept => accept(plan).await,
        Experiment::Lifecycle => lifecycle(plan).await,
        Experiment::Alone => alone(plan).await,
        Experiment::Fanout => fanout(plan).await,
        Experiment::Memory => memory(plan).await,
        Experiment::Schedule => schedule(plan).await,
        Experiment::Restart => restart(plan).await,
        Experiment::Lists => lists(plan).await,
        Experiment::Filters => super::filters::filters(plan).await,
    }
}

async fn accept(plan: &ExperimentPlan) -> Result<Figures, CommandError> {
    let engine = Engine::start(plan.database_url.as_deref(), &HELD_BACK).await?;
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

async fn lifecycle(plan: &ExperimentPlan) -> Result<Figures, CommandError> {
    let engine = Engine::start(plan.database_url.as_deref(), &SWIFT).await?;
    let store = engine.store().await?;
    let orders = 20_000 / plan.share;
    let start = Instant::now();
    hammer(engine.address, CONNECTIONS, load::post(engine.address), LoadEnd::Requests(orders)).await?;
    engine.until_ended(&store, orders).await?;
    let rate = per_second(orders, start.elapsed());
    engine.finish(Some(store)).await?;
    Ok(vec![("lifecycle: orders a second to confirmed", "/s", rate)])
}

async fn alone(plan: &ExperimentPlan) -> Result<Figures, CommandError> {
    let engine = Engine::start(plan.database_url.as_deref(), &SWIFT).await?;
    let mut connection = Connection::open(engine.address).await?;
    let client = awc::Client::new();
    let (mut accepted, mut confirmed) = (Vec::new(), Vec::new());
    for _ in 0..(500 / plan.share).max(5) {
        let start = Instant::now();
        let (_, body) = connection.ask(&load::post(engine.address)).await?;
        accepted.push(start.elapsed());
        let answer: Value = serde_json::from_slice(&body)?;
        let url = format!("ws://{}{}", engine.address, answer["wsPath"].as_str().ok_or("no wsPath")?);
        let (_, mut socket) = client.ws(url).connect().await.map_err(|error| error.to_string())?;
        while let Some(frame) = socket.next().await {
            if matches!(frame?, Frame::Close(_)) {
                break;
            }
        }
        confirmed.push(start.elapsed());
    }
    engine.finish(None).await?;
    Ok(vec![
        ("alone: accept p50", "us", percentile(&mut accepted, 50)),
        ("alone: submit to confirmed and closed socket p50", "us", percentile(&mut confirmed, 50)),
        ("alone: submit to confirmed and closed socket p99", "us", percentile(&mut confirmed, 99)),
    ])
}

/// Orders come at 1,000 a second and each swap takes a second, so about 1,000 sockets are open at any moment. What is
/// timed is the confirmation: it reaches a socket that has been open for that second.
async fn fanout(plan: &ExperimentPlan) -> Result<Figures, CommandError> {
    let swap = [
        ("simulation.swap_latency_min_ms", "1000"),
        ("simulation.swap_latency_max_ms", "1000"),
        ("orders.max_concurrent", "100000"),
    ];
    let settings: Vec<_> =
        SWIFT.into_iter().filter(|(key, _)| !swap.iter().any(|(other, _)| other == key)).chain(swap).collect();
    let engine = Engine::start(plan.database_url.as_deref(), &settings).await?;
    let address = engine.address;
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let mut followers = Vec::new();
    for _ in 0..(10_000 / plan.share) {
        tick.tick().await;
        followers
            .push(actix_web::rt::spawn(async move { follow_new(address).await.map_err(|error| error.to_string()) }));
    }
    let mut delays = Vec::new();
    for follower in followers {
        delays.push(follower.await??);
    }
    engine.finish(None).await?;
    Ok(vec![
        ("fanout: event to client p50, 1,000 orders/s, 1,000 sockets", "us", percentile(&mut delays, 50)),
        ("fanout: event to client p99, 1,000 orders/s, 1,000 sockets", "us", percentile(&mut delays, 99)),
    ])
}

/// How long after its timestamp the confirmation of a new order was seen.
async fn follow_new(address: std::net::SocketAddr) -> Result<Duration, CommandError> {
    let client = awc::Client::builder().timeout(Duration::from_secs(30)).finish();
    let mut response = client
        .post(format!("http://{address}/api/orders"))
        .content_type("application/json")
        .send_body(ORDER)
        .await
        .map_err(|error| error.to_string())?;
    let answer: Value = response.json().await?;
    let url = format!("ws://{address}{}", answer["wsPath"].as_str().ok_or("no wsPath")?);
    let (_, mut socket) = client.ws(url).connect().await.map_err(|error| error.to_string())?;
    while let Some(frame) = socket.next().await {
        let Frame::Text(text) = frame? else { continue };
        let seen = Utc::now();
        let update: Value = serde_json::from_slice(&text)?;
        if update["type"] == "order:update" && update["status"] == "confirmed" {
            let at: DateTime<Utc> = update["timestamp"].as_str().ok_or("no timestamp")?.parse()?;
            return Ok((seen - at).to_std().unwrap_or_default());
        }
    }
    Err("the socket closed without a confirmation".into())
}

async fn memory(plan: &ExperimentPlan) -> Result<Figures, CommandError> {
    // The wave ends by itself: what has not run within the time fails.
    let settings: Vec<_> = HELD_BACK
        .into_iter()
        .filter(|(key, _)| *key != "orders.timeout_ms")
        .chain([("orders.timeout_ms", "90000")])
        .collect();
    let engine = Engine::start(plan.database_url.as_deref(), &settings).await?;
    let store = engine.store().await?;
    let orders = 100_000 / plan.share;
    let idle = engine.resident_kib()?;
    hammer(engine.address, CONNECTIONS, load::post(engine.address), LoadEnd::Requests(orders)).await?;
    let waiting = engine.resident_kib()?;
    engine.until_ended(&store, orders).await?;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let after = engine.resident_kib()?;
    engine.finish(Some(store)).await?;
    Ok(vec![
        ("memory: idle", "KiB", idle),
        ("memory: per waiting order, of 100,000", "B", waiting.saturating_sub(idle) * 1024 / orders),
        ("memory: 30 s after the wave", "KiB", after),
    ])
}

async fn schedule(plan: &ExperimentPlan) -> Result<Figures, CommandError> {
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
    let engine = Engine::start(plan.database_url.as_deref(), &settings).await?;
    let store = engine.store().await?;
    let orders = 5_000 / plan.share;
    hammer(engine.address, CONNECTIONS, load::post(engine.address), LoadEnd::Requests(orders)).await?;
    engine.until_ended(&store, orders).await?;
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
    let chain = Ledger::read(&engine.ledger())?;
    let waits: std::collections::HashMap<OrderId, Duration> = chain
        .entries()
        .iter()
        .filter_map(|entry| Some((entry.order_id, (entry.planned.due_at()? - entry.accepted_at).to_std().ok()?)))
        .collect();
    let ideal = greedy_schedule(slots, runs.iter().filter_map(|(id, ..)| Some(QUOTE + *waits.get(id)?)));
    let first = runs.iter().map(|(_, began, _)| *began).min().ok_or("nothing ran")?;
    let last = runs.iter().map(|(.., ended)| *ended).max().ok_or("nothing ran")?;
    let queue_empty = runs.iter().map(|(_, began, _)| *began).max().ok_or("nothing ran")?;
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

async fn restart(plan: &ExperimentPlan) -> Result<Figures, CommandError> {
    let mut engine = Engine::start(plan.database_url.as_deref(), &HELD_BACK).await?;
    let orders = 100_000 / plan.share;
    hammer(engine.address, CONNECTIONS, load::post(engine.address), LoadEnd::Requests(orders)).await?;
    let start = Instant::now();
    engine.restart(&HELD_BACK)?;
    let mut connection = Connection::open(engine.address).await?;
    let (_, body) = connection.ask(&load::get(engine.address, "/health")).await?;
    let took = start.elapsed();
    let health: Value = serde_json::from_slice(&body)?;
    // One order a minute may have run meanwhile.
    if health["openOrders"].as_u64().unwrap_or_default() + 5 < orders {
        return Err(format!("the engine stands without all its orders: {health}").into());
    }
    engine.finish(None).await?;
    Ok(vec![("restart: start to owning 100,000 unfinished orders", "ms", micros(took) / 1_000)])
}

async fn lists(plan: &ExperimentPlan) -> Result<Figures, CommandError> {
    let (page, one, id) = ("/api/orders?limit=50", "/api/orders/", 1_000);
    let mut figures = Vec::new();
    let names = [
        ("lists: a page p99, 1,000 orders stored", "lists: get one p99, 1,000 orders stored"),
        ("lists: a page p99, 1,000,000 orders stored", "lists: get one p99, 1,000,000 orders stored"),
    ];
    let engine = Engine::start(plan.database_url.as_deref(), &SWIFT).await?;
    let store = engine.store().await?;
    let mut stored = 0;
    for (orders, (page_name, one_name)) in [id, 1_000_000 / plan.share].into_iter().zip(names) {
        let known = fill(&store, orders - stored).await?;
        stored = orders;
        // What is measured is the number of orders, not the aftermath of storing them all in a minute.
        engine.tidy_up().await?;
        let mut pages =
            hammer(engine.address, 1, load::get(engine.address, page), LoadEnd::Requests(2_000 / plan.share)).await?;
        figures.push((page_name, "us", percentile(&mut pages, 99)));
        let mut ones = hammer(
            engine.address,
            1,
            load::get(engine.address, &format!("{one}{known}")),
            LoadEnd::Requests(5_000 / plan.share),
        )
        .await?;
        figures.push((one_name, "us", percentile(&mut ones, 99)));
    }
    engine.finish(Some(store)).await?;
    Ok(figures)
}

/// Stores so many ended orders, and names one of them.
async fn fill(store: &impl OrderStore, orders: u64) -> Result<OrderId, CommandError> {
    const BATCH: u64 = 1_000;
    let tokens = Settings::with::<String, String>([])?.tokens;
    let request = Arc::new(OrderRequest {
        token_in: tokens.resolve("SOL")?,
        token_out: tokens.resolve("USDC")?,
        amount_in: BaseUnits(1_500_000_000),
        slippage: Slippage::DEFAULT,
        min_amount_out: None,
        max_price_impact: None,
        priority: Priority::Normal,
        strategy: Strategy::BestPrice,
        client_order_id: None,
    });
    let mut known = None;
    for first in (0..orders).step_by(usize::try_from(BATCH)?) {
        let fresh: Vec<_> = (first..orders.min(first + BATCH))
            .map(|_| Order::accept(OrderId(uuid::Uuid::now_v7()), Owner::Shared, request.clone(), Utc::now()))
            .collect();
        known = fresh.last().map(|order| order.id).or(known);
        let steps = fresh.iter().map(|order| {
            order.propose(OrderEvent::Cancelled(None), Utc::now()).map(|step| Write::step(order, Arc::new(step), None))
        });
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        store.commit(&fresh.iter().map(|order| Write::accept(order.clone(), None)).collect::<Vec<_>>()).await?;
        store.commit(&steps).await?;
    }
    known.ok_or_else(|| "nothing was stored".into())
}
