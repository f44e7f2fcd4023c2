//! The events of an order as subscribers see them.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::format::{output, time};
use crate::api::quote::{FailureView, QuoteView, UnavailableView};
use crate::domain::id::{OrderId, VenueId};
use crate::domain::lifecycle::{OrderEvent, Status};
use crate::domain::order::RecordedEvent;
use crate::domain::quote::price;
use crate::domain::request::OrderRequest;

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
    pub error: Option<FailureView>,
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
            OrderEvent::Accepted(_) | OrderEvent::Dispatched | OrderEvent::Cancelled(None) => {}
            OrderEvent::Routed(decision) => {
                view.dex_used = Some(decision.winner().venue);
                view.quotes = Some(QuoteView::of_decision(request, decision));
                view.unavailable = decision.unavailable.iter().map(UnavailableView::of).collect();
                view.reason = Some(decision.reason.clone());
            }
            OrderEvent::Submitted(swap) => {
                view.dex_used = Some(swap.venue);
                view.tx_hash = Some(swap.signature.to_string());
                view.min_amount_out = Some(output(request, swap.min_amount_out));
            }
            OrderEvent::Confirmed { swap, fill } => {
                view.dex_used = Some(swap.venue);
                view.tx_hash = Some(swap.signature.to_string());
                view.amount_out = Some(output(request, fill.amount_out));
                view.executed_price =
                    Some(price(request.amount_in, &request.token_in, fill.amount_out, &request.token_out));
            }
            OrderEvent::AttemptFailed { failure, retry_at } => {
                view.error = Some(FailureView::of(failure));
                view.next_retry_at = Some(time(*retry_at));
            }
            OrderEvent::Interrupted => {
                view.reason = Some("the engine was interrupted before a swap was signed".to_owned())
            }
            OrderEvent::Failed(failure) | OrderEvent::Cancelled(Some(failure)) => {
                view.error = Some(FailureView::of(failure))
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
