//! The tokens that may be named by symbol.

use actix_web::web;
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::token::KnownToken;
use crate::domain::user::Scope;
use crate::http::AppState;
use crate::http::extract::caller::Caller;
use crate::http::problem::Problem;

/// The tokens.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Tokens {
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

pub(in crate::http) async fn tokens(app: web::Data<AppState>, caller: Caller) -> Result<web::Json<Tokens>, Problem> {
    caller.may(Scope::Read)?;
    let view = |KnownToken { token, .. }: &KnownToken| TokenView {
        symbol: token.symbol.as_deref().map(str::to_owned),
        mint: token.mint.to_string(),
        decimals: token.decimals,
    };
    Ok(web::Json(Tokens { tokens: app.tokens().iter().map(view).collect() }))
}
