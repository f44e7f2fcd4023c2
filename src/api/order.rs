//! An order and its timeline as clients see them.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::format::{output, time};
use crate::api::quote::{FailureView, QuoteView};
use crate::api::update::UpdateView;
use crate::domain::id::{OrderId, VenueId};
use crate::domain::lifecycle::{OrderEvent, Status};
use crate::domain::order::Order;
use crate::domain::request::{OrderKind, Priority, Strategy};

/// An order.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of the public contract")]
#[schemars(rename = "Order")]
pub struct OrderView {
    pub order_id: OrderId,
    #[schemars(extend("enum" = OrderKind::NAMES))]
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
    pub error: Option<FailureView>,
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
            r#type: request.kind.name(),
            status: last.status,
            token_in: request.token_in.to_string(),
            token_out: request.token_out.to_string(),
            amount_in: request.amount_in.to_decimal(request.token_in.decimals),
            amount_out: None,
            min_amount_out: request.min_amount_out.map(|minimum| output(request, minimum)),
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
