//! Embeds the engine: submits an order and follows it to its end.
//!
//! Run it with `cargo run --example embed`. It keeps everything in memory and needs no server.

use order_engine::domain::amount::BaseUnits;
use order_engine::domain::request::OrderRequest;
use order_engine::{Engine, Settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::with([("database.url", "sqlite::memory:"), ("simulation.ledger", "memory")])?;
    let (sol, usdc) = (settings.tokens.resolve("SOL")?, settings.tokens.resolve("USDC")?);
    let engine = Engine::builder(settings).without_http().start().await?;

    // 1.5 SOL, which has 9 decimals. The order is durable when `submit` returns.
    let order = OrderRequest::market(sol, usdc, BaseUnits(1_500_000_000));
    let submission = engine.submit(order, None).await?;

    let mut events = engine.subscribe(submission.order.id).await?;
    while let Some(event) = events.next().await {
        println!("{} {}", event.seq, event.status);
    }
    engine.shutdown().await;
    Ok(())
}
