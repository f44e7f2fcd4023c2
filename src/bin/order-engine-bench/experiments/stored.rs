//! Orders that are stored directly, without the engine.

use std::sync::Arc;

use order_engine::Settings;
use order_engine::domain::amount::BaseUnits;
use order_engine::domain::fraction::Slippage;
use order_engine::domain::request::{OrderRequest, Priority, Strategy};
use order_engine::domain::token::TokenList;

use crate::BenchError;

/// The built-in token list.
pub(super) fn tokens() -> Result<Arc<TokenList>, BenchError> {
    Ok(Settings::with::<String, String>([])?.tokens)
}

/// A market order that sells `token_in` for `token_out`.
pub(super) fn request(tokens: &TokenList, token_in: &str, token_out: &str) -> Result<Arc<OrderRequest>, BenchError> {
    Ok(Arc::new(OrderRequest {
        token_in: tokens.resolve(token_in)?,
        token_out: tokens.resolve(token_out)?,
        amount_in: BaseUnits(1_500_000_000),
        slippage: Slippage::DEFAULT,
        min_amount_out: None,
        max_price_impact: None,
        priority: Priority::Normal,
        strategy: Strategy::BestPrice,
        client_order_id: None,
    }))
}
