//! The tokens that an order can name by symbol.

use actix_web::web;
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::token::KnownToken;
use crate::domain::user::Scope;
use crate::http::AppState;
use crate::http::extract::caller::Caller;
use crate::http::operation::{Operation, READ, get};
use crate::http::problem::Problem;

/// The known tokens.
#[derive(Serialize, JsonSchema)]
struct Tokens {
    tokens: Vec<TokenView>,
}

/// A known token.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Token")]
struct TokenView {
    symbol: Option<String>,
    mint: String,
    decimals: u8,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        get("/api/tokens", READ, tokens)
            .named("getTokens", "List the tokens that an order can name by symbol")
            .answers::<Tokens>(200, "the token list", "tokens"),
    ]
}

async fn tokens(app: web::Data<AppState>, caller: Caller) -> Result<web::Json<Tokens>, Problem> {
    caller.may(Scope::Read)?;
    let view = |KnownToken { token, .. }: &KnownToken| TokenView {
        symbol: token.symbol.as_deref().map(str::to_owned),
        mint: token.mint.to_string(),
        decimals: token.decimals,
    };
    Ok(web::Json(Tokens { tokens: app.tokens().iter().map(view).collect() }))
}
