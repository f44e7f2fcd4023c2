//! Brings a venue of its own to the engine: one that sells USDC for SOL at a fixed price.
//!
//! Run it with `cargo run --example own_venue`. A venue quotes and builds swaps; the engine signs, records, sends and
//! confirms.

use std::sync::Arc;

use async_trait::async_trait;
use order_engine::domain::amount::BaseUnits;
use order_engine::domain::id::VenueId;
use order_engine::domain::lifecycle::OrderEvent;
use order_engine::domain::quote::{Quote, price};
use order_engine::domain::request::OrderRequest;
use order_engine::domain::retry::{Failure, FailureCode};
use order_engine::domain::swap::UnsignedSwap;
use order_engine::runtime::clock::Clock;
use order_engine::simulation::transaction::unsigned;
use order_engine::venue::{QuoteRequest, SwapRequest, Venue};
use order_engine::{Engine, Settings};
use rust_decimal::Decimal;

const ID: VenueId = VenueId::named("fixed-price");

struct FixedPrice {
    usdc_per_sol: u64,
}

#[async_trait]
impl Venue for FixedPrice {
    fn id(&self) -> VenueId {
        ID
    }

    async fn quote(&self, request: QuoteRequest) -> Result<Quote, Failure> {
        let asked = Clock::System.uptime();
        let order = &request.order;
        if (order.token_in.symbol.as_deref(), order.token_out.symbol.as_deref()) != (Some("SOL"), Some("USDC")) {
            return Err(Failure::new(FailureCode::NoLiquidity, "this venue only sells USDC for SOL"));
        }
        // SOL has 9 decimals and USDC has 6: divide by 1,000. The rest stays with the venue.
        let amount_out = u128::from(order.amount_in.0) * u128::from(self.usdc_per_sol) / 1_000;
        let amount_out = u64::try_from(amount_out)
            .map_err(|_| Failure::new(FailureCode::NoLiquidity, "the amount is too large for this venue"))?;
        Ok(Quote {
            venue: self.id(),
            amount_out: BaseUnits(amount_out),
            fee: BaseUnits(0),
            price: price(order.amount_in, &order.token_in, BaseUnits(amount_out), &order.token_out),
            price_impact: Decimal::ZERO,
            latency_ms: Clock::System.elapsed_ms(asked),
            quoted_at: Clock::System.now(),
        })
    }

    async fn build(&self, request: SwapRequest) -> Result<UnsignedSwap, Failure> {
        // The chain is simulated, so the instructions are those of the simulation.
        Ok(unsigned(&request))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Without drift, a swap lands at exactly the quoted price.
    let settings = Settings::with([
        ("database.url", "sqlite::memory:"),
        ("simulation.ledger", "memory"),
        ("simulation.drift_ppm", "0"),
    ])?;
    let tokens = settings.tokens.clone();

    let venue = Arc::new(FixedPrice { usdc_per_sol: 150 });
    let engine = Engine::builder(settings).venues(vec![venue]).without_http().start().await?;
    let order = OrderRequest::market(tokens.resolve("SOL")?, tokens.resolve("USDC")?, BaseUnits(2_000_000_000));
    let submission = engine.submit(order, None).await?;
    let mut events = engine.subscribe(submission.order.id).await?;
    while let Some(event) = events.next().await {
        match &event.event {
            OrderEvent::Routed(decision) => println!("{}: {}", event.status, decision.reason),
            OrderEvent::Confirmed { fill, .. } => {
                println!("{}: {} USDC", event.status, fill.amount_out.to_decimal(6).normalize());
            }
            _ => println!("{}", event.status),
        }
    }
    engine.shutdown().await;
    Ok(())
}
