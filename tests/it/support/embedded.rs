//! The engine embedded in the test's own process.

use order_engine::domain::amount::BaseUnits;
use order_engine::domain::fraction::Slippage;
use order_engine::domain::request::{OrderKind, OrderRequest, Priority, Strategy};
use order_engine::{Engine, Settings};

use crate::support::memory_store::MemoryStore;

/// Settings over the defaults, with everything in memory.
pub fn settings<'a>(overrides: impl IntoIterator<Item = (&'a str, &'a str)>) -> Settings {
    let memory = [("database.url", "sqlite::memory:"), ("simulation.ledger", "memory"), ("server.port", "0")];
    Settings::with(memory.into_iter().chain(overrides)).unwrap()
}

/// An order of tokens that every token list has.
pub fn request(settings: &Settings) -> OrderRequest {
    OrderRequest {
        kind: OrderKind::Market,
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

/// Starts an engine on paused time: every actor on the calling thread, a store in memory, no HTTP. An hour passes in
/// milliseconds.
pub async fn start_on_paused_time(settings: &Settings) -> Engine {
    tokio::time::pause();
    let builder = Engine::builder(settings.clone()).store(MemoryStore::new()).without_http().on_this_thread();
    builder.start().await.unwrap()
}
