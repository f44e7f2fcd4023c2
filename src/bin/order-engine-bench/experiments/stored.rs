//! Orders that are stored directly, without the engine.

use std::sync::Arc;

use order_engine::Settings;
use order_engine::domain::amount::BaseUnits;
use order_engine::domain::request::OrderRequest;
use order_engine::domain::token::TokenList;

use crate::BenchError;

/// The built-in token list.
pub(super) fn tokens() -> Result<Arc<TokenList>, BenchError> {
    Ok(Settings::with::<String, String>([])?.tokens)
}

/// A market order that sells `token_in` for `token_out`.
pub(super) fn request(tokens: &TokenList, token_in: &str, token_out: &str) -> Result<Arc<OrderRequest>, BenchError> {
    let (token_in, token_out) = (tokens.resolve(token_in)?, tokens.resolve(token_out)?);
    Ok(Arc::new(OrderRequest::market(token_in, token_out, BaseUnits(1_500_000_000))))
}
