//! The preview of an order: the quotes it would get now. Nothing is stored, and no idempotency key is used.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::quote::{FailureView, QuoteView, UnavailableView};
use crate::domain::id::VenueId;
use crate::domain::request::OrderRequest;
use crate::domain::retry::Failure;
use crate::domain::routing::RoutingDecision;
use crate::http::warnings::warnings;

/// The expected result of an order.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct DryRun {
    success: bool,
    dry_run: bool,
    summary: String,
    token_in: String,
    token_out: String,
    amount_in: Decimal,
    #[schemars(with = "Decimal")]
    slippage: String,
    dex_used: Option<VenueId>,
    expected_amount_out: Option<Decimal>,
    expected_price: Option<Decimal>,
    /// The minimum output that the swap would enforce.
    min_amount_out: Option<Decimal>,
    fee: Option<Decimal>,
    price_impact: Option<Decimal>,
    reason: Option<String>,
    quotes: Vec<QuoteView>,
    unavailable: Vec<UnavailableView>,
    /// Risks of the order.
    warnings: Vec<String>,
    error: Option<FailureView>,
}

impl DryRun {
    /// The preview of an order for which routing has this result.
    pub(in crate::http) fn of(order: &OrderRequest, routed: &Result<RoutingDecision, Failure>) -> Self {
        let out = |units: crate::domain::amount::BaseUnits| units.to_decimal(order.token_out.decimals);
        let amount_in = order.amount_in.to_decimal(order.token_in.decimals);
        let mut view = Self {
            success: routed.is_ok(),
            dry_run: true,
            summary: String::new(),
            token_in: order.token_in.to_string(),
            token_out: order.token_out.to_string(),
            amount_in,
            slippage: order.slippage.to_string(),
            dex_used: None,
            expected_amount_out: None,
            expected_price: None,
            min_amount_out: None,
            fee: None,
            price_impact: None,
            reason: None,
            quotes: Vec::new(),
            unavailable: Vec::new(),
            warnings: warnings(order, routed.as_ref().ok().map(RoutingDecision::winner)),
            error: None,
        };
        match routed {
            Ok(decision) => {
                let winner = decision.winner();
                let (expected, fee, floor) =
                    (out(winner.amount_out), out(winner.fee), out(order.floor(winner.amount_out)));
                view.summary = format!(
                    "{amount_in} {} would buy about {expected} {} at {} after a fee of {fee}, and at least {floor}",
                    order.token_in, order.token_out, winner.venue
                );
                view.dex_used = Some(winner.venue);
                view.expected_amount_out = Some(expected);
                view.expected_price = Some(winner.price);
                view.min_amount_out = Some(floor);
                view.fee = Some(fee);
                view.price_impact = Some(winner.price_impact);
                view.reason = Some(decision.reason.clone());
                view.quotes = QuoteView::of_decision(order, decision);
                view.unavailable = decision.unavailable.iter().map(UnavailableView::of).collect();
            }
            Err(failure) => {
                let then =
                    if failure.code.retryable() { "the first attempt would fail" } else { "the order would fail" };
                view.summary = format!("{then}: {}", failure.message);
                view.error = Some(FailureView::of(failure));
            }
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::domain::amount::BaseUnits;
    use crate::domain::quote::Quote;
    use crate::domain::request::tests::request;
    use crate::domain::retry::FailureCode;

    #[test]
    fn the_summary_is_one_sentence() {
        let quote = Quote {
            venue: VenueId::METEORA,
            amount_out: BaseUnits(150_000_000),
            fee: BaseUnits(450_000),
            price: Decimal::from(150),
            price_impact: Decimal::ZERO,
            latency_ms: 1,
            quoted_at: DateTime::UNIX_EPOCH,
        };
        let decision =
            RoutingDecision { quotes: vec![quote], unavailable: vec![], reason: "the only quote".to_owned() };
        let view = DryRun::of(&request(), &Ok(decision));
        assert_eq!(view.summary, "1 SOL would buy about 150 USDC at meteora after a fee of 0.45, and at least 148.5");
        assert!(view.success && view.error.is_none());
        let dry = Failure::new(FailureCode::NoLiquidity, "raydium has no liquidity for this size");
        let view = DryRun::of(&request(), &Err(dry));
        assert_eq!(view.summary, "the order would fail: raydium has no liquidity for this size");
        assert!(!view.success);
    }
}
