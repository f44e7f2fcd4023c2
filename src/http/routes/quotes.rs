//! Quotes of all venues for one swap, and the best of them.

use std::sync::Arc;

use actix_web::{HttpRequest, web};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::problem::ProblemCode;
use crate::api::quote::{QuoteView, UnavailableView};
use crate::domain::id::VenueId;
use crate::domain::retry::FailureCode;
use crate::domain::user::Scope;
use crate::http::AppState;
use crate::http::extract::caller::Caller;
use crate::http::extract::order::parse_quote;
use crate::http::openapi::requests;
use crate::http::operation::{Operation, READ, get};
use crate::http::problem::Problem;

/// The quotes of the venues.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Quotes {
    token_in: String,
    token_out: String,
    amount_in: Decimal,
    best: VenueId,
    reason: String,
    quotes: Vec<QuoteView>,
    unavailable: Vec<UnavailableView>,
    /// Whether the quotes are from the cache. Orders never use cached quotes.
    cached: bool,
    age_ms: u64,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        get("/api/quotes", READ, quotes)
            .named("getQuotes", "Get a quote of every venue")
            .described("The best quote comes first, with the reason why it is the best. Orders never use these quotes.")
            .takes(requests::of_quotes())
            .answers::<Quotes>(200, "the quotes", "quotes")
            .problems(FailureCode::ALL.map(ProblemCode::Failure)),
    ]
}

async fn quotes(request: HttpRequest, app: web::Data<AppState>, caller: Caller) -> Result<web::Json<Quotes>, Problem> {
    caller.may(Scope::Read)?;
    let order = Arc::new(parse_quote(request.query_string(), app.tokens())?);
    let (service, asked) = (app.service.clone(), order.clone());
    let preview = app.quote_cache.get(&order, async move { service.quote(asked).await }).await.map_err(|failure| {
        let problem = Problem::new(ProblemCode::Failure(failure.code), failure.message);
        if failure.code.retryable() { problem.retry_after(1) } else { problem }
    })?;
    let decision = &*preview.decision;
    Ok(web::Json(Quotes {
        token_in: order.token_in.to_string(),
        token_out: order.token_out.to_string(),
        amount_in: order.amount_in.to_decimal(order.token_in.decimals),
        best: decision.winner().venue,
        quotes: QuoteView::of_decision(&order, decision),
        unavailable: decision.unavailable.iter().map(UnavailableView::of).collect(),
        reason: decision.reason.clone(),
        cached: preview.cached,
        age_ms: u64::try_from(preview.age().as_millis()).unwrap_or(u64::MAX),
    }))
}
