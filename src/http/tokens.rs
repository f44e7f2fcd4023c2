//! The tokens that may be named by symbol.

use actix_web::web;
use schemars::JsonSchema;
use serde::Serialize;

use super::AppState;
use super::caller::Caller;
use super::problem::Problem;
use crate::domain::token::KnownToken;
use crate::domain::user::Scope;

/// The tokens.
#[derive(Serialize, JsonSchema)]
pub(super) struct Tokens {
    tokens: Vec<TokenView>,
}

/// A token.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Token")]
struct TokenView {
    symbol: Option<String>,
    mint: String,
    decimals: u8,
}

pub(super) async fn tokens(app: web::Data<AppState>, caller: Caller) -> Result<web::Json<Tokens>, Problem> {
    caller.may(Scope::Read)?;
    let view = |KnownToken { token, .. }: &KnownToken| TokenView {
        symbol: token.symbol.as_deref().map(str::to_owned),
        mint: token.mint.to_string(),
        decimals: token.decimals,
    };
    Ok(web::Json(Tokens { tokens: app.tokens().iter().map(view).collect() }))
}
