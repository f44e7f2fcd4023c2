//! The JSON texts that are published: updates, and on Redis also the status of an order and new quotes.

use rust_decimal::Decimal;
use serde::Serialize;

use crate::api::format::time;
use crate::api::quote::QuoteView;
use crate::api::update::UpdateView;
use crate::domain::id::OrderId;
use crate::domain::lifecycle::Status;
use crate::domain::order::RecordedEvent;
use crate::domain::quote::Quote;
use crate::domain::request::OrderRequest;
use crate::domain::swap::Signature;

/// An update as JSON text, for subscribers and for Redis.
pub fn update_text(order_id: OrderId, request: &OrderRequest, step: &RecordedEvent) -> String {
    text(&UpdateView::update(order_id, request, step))
}

/// The status of an order, as it is stored in Redis.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusView {
    status: Status,
    seq: u32,
    attempt: u32,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tx_hash: Option<String>,
}

/// The status of an order as JSON text, after its last event. `signature` is that of its swap.
pub fn status_text(last: &RecordedEvent, signature: Option<Signature>) -> String {
    text(&StatusView {
        status: last.status,
        seq: last.seq,
        attempt: last.attempt,
        timestamp: time(last.at),
        tx_hash: signature.map(|signature| signature.to_string()),
    })
}

/// A new quote, as it is published on Redis.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PriceView {
    r#type: &'static str,
    token_in: String,
    token_out: String,
    amount_in: Decimal,
    timestamp: String,
    #[serde(flatten)]
    quote: QuoteView,
}

/// A new quote for a request as JSON text.
pub fn price_text(request: &OrderRequest, quote: &Quote) -> String {
    text(&PriceView {
        r#type: "price:update",
        token_in: request.token_in.to_string(),
        token_out: request.token_out.to_string(),
        amount_in: request.amount_in.to_decimal(request.token_in.decimals),
        timestamp: time(quote.quoted_at),
        quote: QuoteView::of(request, quote),
    })
}

fn text(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("a message holds only strings and numbers")
}
