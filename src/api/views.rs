//! Orders, updates and quotes as clients see them: camelCase names, amounts as decimal strings, times in RFC 3339.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::amount::BaseUnits;
use crate::domain::id::{OrderId, VenueId};
use crate::domain::lifecycle::{OrderEvent, Status};
use crate::domain::order::{Order, RecordedEvent};
use crate::domain::quote::{Quote, price};
use crate::domain::request::{OrderRequest, Priority, Strategy};
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::routing::{RoutingDecision, Unavailable};
use crate::domain::swap::Signature;

/// An order.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of the public contract")]
#[schemars(rename = "Order")]
pub struct OrderView {
    pub order_id: OrderId,
    #[schemars(extend("enum" = ["market"]))]
    pub r#type: &'static str,
    pub status: Status,
    pub token_in: String,
    pub token_out: String,
    pub amount_in: Decimal,
    pub amount_out: Option<Decimal>,
    pub min_amount_out: Option<Decimal>,
    #[schemars(with = "Decimal")]
    pub slippage: String,
    /// The limit of the request; null if the limit of the engine applies.
    #[schemars(with = "Option<Decimal>")]
    pub max_price_impact: Option<String>,
    pub expected_price: Option<Decimal>,
    pub executed_price: Option<Decimal>,
    pub dex_used: Option<VenueId>,
    pub quotes: Vec<QuoteView>,
    pub tx_hash: Option<String>,
    pub attempt: u32,
    pub retry_count: u32,
    pub error: Option<ErrorView>,
    #[schemars(with = "Option<DateTime<Utc>>")]
    pub next_retry_at: Option<String>,
    pub priority: Priority,
    pub routing: Strategy,
    pub client_order_id: Option<String>,
    #[schemars(with = "DateTime<Utc>")]
    pub created_at: String,
    #[schemars(with = "DateTime<Utc>")]
    pub updated_at: String,
    #[schemars(with = "Option<DateTime<Utc>>")]
    pub completed_at: Option<String>,
    pub seq: u32,
}

impl OrderView {
    /// The current view of an order: its history, folded into one value.
    pub fn of(order: &Order) -> Self {
        let request = &*order.request;
        let last = order.last();
        let mut view = Self {
            order_id: order.id,
            r#type: "market",
            status: last.status,
            token_in: request.token_in.to_string(),
            token_out: request.token_out.to_string(),
            amount_in: request.amount_in.to_decimal(request.token_in.decimals),
            amount_out: None,
            min_amount_out: request.min_amount_out.map(|minimum| out(request, minimum)),
            slippage: request.slippage.to_string(),
            max_price_impact: request.max_price_impact.map(|limit| limit.to_string()),
            expected_price: None,
            executed_price: None,
            dex_used: None,
            quotes: Vec::new(),
            tx_hash: None,
            attempt: last.attempt,
            retry_count: last.retry_count,
            error: None,
            next_retry_at: None,
            priority: request.priority,
            routing: request.strategy,
            client_order_id: request.client_order_id.as_ref().map(|id| id.as_str().to_owned()),
            created_at: time(order.created_at()),
            updated_at: time(last.at),
            completed_at: last.status.is_final().then(|| time(last.at)),
            seq: last.seq,
        };
        for step in order.history() {
            let update = UpdateView::of(order.id, request, step);
            // A new attempt replaces the quotes and the swap of the previous one.
            if step.status == Status::Routing {
                (view.expected_price, view.dex_used, view.tx_hash) = (None, None, None);
                view.quotes.clear();
            }
            if let OrderEvent::Routed(decision) = &step.event {
                view.expected_price = Some(decision.winner().price);
            }
            view.quotes = update.quotes.unwrap_or(view.quotes);
            view.dex_used = update.dex_used.or(view.dex_used);
            view.tx_hash = update.tx_hash.or(view.tx_hash);
            view.executed_price = update.executed_price.or(view.executed_price);
            view.amount_out = update.amount_out.or(view.amount_out);
            view.error = update.error.or(view.error);
            view.next_retry_at = update.next_retry_at;
        }
        if last.status == Status::Confirmed {
            view.error = None;
        }
        view
    }
}

/// One event of an order. A field is present if the event determines it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of the public contract")]
#[schemars(rename = "OrderUpdate")]
pub struct UpdateView {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["order:update"]))]
    pub r#type: Option<&'static str>,
    pub order_id: OrderId,
    pub seq: u32,
    pub status: Status,
    #[schemars(with = "DateTime<Utc>")]
    pub timestamp: String,
    pub attempt: u32,
    pub retry_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dex_used: Option<VenueId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotes: Option<Vec<QuoteView>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unavailable: Vec<UnavailableView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_amount_out: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executed_price: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_out: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DateTime<Utc>>")]
    pub next_retry_at: Option<String>,
    /// The time until the next event, in milliseconds; only in timelines, and not for the last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
}

impl UpdateView {
    /// An event in a timeline or a snapshot, without a type.
    pub fn of(order_id: OrderId, request: &OrderRequest, step: &RecordedEvent) -> Self {
        let mut view = Self {
            r#type: None,
            order_id,
            seq: step.seq,
            status: step.status,
            timestamp: time(step.at),
            attempt: step.attempt,
            retry_count: step.retry_count,
            dex_used: None,
            quotes: None,
            unavailable: Vec::new(),
            reason: None,
            min_amount_out: None,
            tx_hash: None,
            executed_price: None,
            amount_out: None,
            error: None,
            next_retry_at: None,
            duration_ms: None,
        };
        match &step.event {
            OrderEvent::Accepted | OrderEvent::Dispatched | OrderEvent::Cancelled(None) => {}
            OrderEvent::Routed(decision) => {
                view.dex_used = Some(decision.winner().venue);
                view.quotes = Some(quotes(request, decision));
                view.unavailable = decision.unavailable.iter().map(UnavailableView::of).collect();
                view.reason = Some(decision.reason.clone());
            }
            OrderEvent::Submitted(swap) => {
                view.dex_used = Some(swap.venue);
                view.tx_hash = Some(swap.signature.to_string());
                view.min_amount_out = Some(out(request, swap.min_amount_out));
            }
            OrderEvent::Confirmed { swap, fill } => {
                view.dex_used = Some(swap.venue);
                view.tx_hash = Some(swap.signature.to_string());
                view.amount_out = Some(out(request, fill.amount_out));
                view.executed_price =
                    Some(price(request.amount_in, &request.token_in, fill.amount_out, &request.token_out));
            }
            OrderEvent::AttemptFailed { failure, retry_at } => {
                view.error = Some(ErrorView::of(failure));
                view.next_retry_at = Some(time(*retry_at));
            }
            OrderEvent::Interrupted => {
                view.reason = Some("the engine was interrupted before a swap was signed".to_owned())
            }
            OrderEvent::Failed(failure) | OrderEvent::Cancelled(Some(failure)) => {
                view.error = Some(ErrorView::of(failure))
            }
            OrderEvent::CancelRequested => {
                view.reason = Some(
                    "a cancel was requested after the swap was signed; no further attempt will be made".to_owned(),
                );
            }
        }
        view
    }

    /// An event as subscribers receive it.
    pub fn update(order_id: OrderId, request: &OrderRequest, step: &RecordedEvent) -> Self {
        Self { r#type: Some("order:update"), ..Self::of(order_id, request, step) }
    }
}

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

/// The first message to a subscriber: the history so far.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of the public contract")]
#[schemars(rename = "OrderSnapshot")]
pub struct SnapshotView {
    #[schemars(extend("enum" = ["order:snapshot"]))]
    pub r#type: &'static str,
    pub order_id: OrderId,
    pub seq: u32,
    pub status: Status,
    pub events: Vec<UpdateView>,
}

impl SnapshotView {
    /// A snapshot with these events; `seq` and `status` are those of the latest event.
    pub fn of(
        order_id: OrderId,
        request: &OrderRequest,
        seq: u32,
        status: Status,
        history: &[Arc<RecordedEvent>],
    ) -> Self {
        let events = history.iter().map(|step| UpdateView::of(order_id, request, step)).collect();
        Self { r#type: "order:snapshot", order_id, seq, status, events }
    }
}

/// The timeline of an order.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of the public contract")]
#[schemars(rename = "Timeline")]
pub struct TimelineView {
    pub order_id: OrderId,
    pub events: Vec<UpdateView>,
}

impl TimelineView {
    /// All events, each with the time until the next one.
    pub fn of(order: &Order) -> Self {
        let history = order.history();
        let events = history.iter().enumerate().map(|(index, step)| {
            let duration_ms = history.get(index + 1).map(|next| (next.at - step.at).num_milliseconds());
            UpdateView { duration_ms, ..UpdateView::of(order.id, &order.request, step) }
        });
        Self { order_id: order.id, events: events.collect() }
    }
}

/// A quote.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of the public contract")]
#[schemars(rename = "Quote")]
pub struct QuoteView {
    pub dex: VenueId,
    pub amount_out: Decimal,
    pub price: Decimal,
    pub fee: Decimal,
    pub price_impact: Decimal,
    pub latency_ms: u32,
}

impl QuoteView {
    fn of(request: &OrderRequest, quote: &Quote) -> Self {
        Self {
            dex: quote.venue,
            amount_out: out(request, quote.amount_out),
            price: quote.price,
            fee: out(request, quote.fee),
            price_impact: quote.price_impact,
            latency_ms: quote.latency_ms,
        }
    }
}

/// The quotes of a decision, the winner first.
pub fn quotes(request: &OrderRequest, decision: &RoutingDecision) -> Vec<QuoteView> {
    decision.quotes.iter().map(|quote| QuoteView::of(request, quote)).collect()
}

/// A venue without a usable quote.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "the fields are those of the public contract")]
#[schemars(rename = "UnavailableVenue")]
pub struct UnavailableView {
    pub dex: VenueId,
    pub error: ErrorView,
}

impl UnavailableView {
    /// The view of that venue.
    pub fn of(unavailable: &Unavailable) -> Self {
        Self { dex: unavailable.venue, error: ErrorView::of(&unavailable.failure) }
    }
}

/// A failure.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "the fields are those of the public contract")]
#[schemars(rename = "Failure")]
pub struct ErrorView {
    #[schemars(with = "FailureCode")]
    pub code: &'static str,
    pub message: String,
    pub retryable: bool,
}

impl ErrorView {
    /// The view of that failure.
    pub fn of(failure: &Failure) -> Self {
        Self { code: failure.code.name(), message: failure.message.clone(), retryable: failure.code.retryable() }
    }
}

fn out(request: &OrderRequest, units: BaseUnits) -> Decimal {
    units.to_decimal(request.token_out.decimals)
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
