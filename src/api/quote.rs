//! Quotes and failures as clients see them.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::format::output;
use crate::domain::id::VenueId;
use crate::domain::quote::Quote;
use crate::domain::request::OrderRequest;
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::routing::{RoutingDecision, Unavailable};

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
    pub(super) fn of(request: &OrderRequest, quote: &Quote) -> Self {
        Self {
            dex: quote.venue,
            amount_out: output(request, quote.amount_out),
            price: quote.price,
            fee: output(request, quote.fee),
            price_impact: quote.price_impact,
            latency_ms: quote.latency_ms,
        }
    }

    /// The quotes of a decision, the winner first.
    pub fn of_decision(request: &OrderRequest, decision: &RoutingDecision) -> Vec<Self> {
        decision.quotes.iter().map(|quote| Self::of(request, quote)).collect()
    }
}

/// A venue without a usable quote.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "the fields are those of the public contract")]
#[schemars(rename = "UnavailableVenue")]
pub struct UnavailableView {
    pub dex: VenueId,
    pub error: FailureView,
}

impl UnavailableView {
    /// The view of that venue.
    pub fn of(unavailable: &Unavailable) -> Self {
        Self { dex: unavailable.venue, error: FailureView::of(&unavailable.failure) }
    }
}

/// A failure.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "the fields are those of the public contract")]
#[schemars(rename = "Failure")]
pub struct FailureView {
    #[schemars(with = "FailureCode")]
    pub code: &'static str,
    pub message: String,
    pub retryable: bool,
}

impl FailureView {
    /// The view of that failure.
    pub fn of(failure: &Failure) -> Self {
        Self { code: failure.code.name(), message: failure.message.clone(), retryable: failure.code.retryable() }
    }
}
