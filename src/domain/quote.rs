//! What a venue offers.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::amount::BaseUnits;
use super::id::VenueId;
use super::token::Token;

/// One venue's offer for one swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quote {
    /// Who offers.
    pub venue: VenueId,
    /// The output after the venue's fee: the figure by which venues are compared.
    pub amount_out: BaseUnits,
    /// The venue's fee, in the output token.
    pub fee: BaseUnits,
    /// Output tokens for one input token, after the fee.
    pub price: Decimal,
    /// The share by which this trade moves the price against itself, as a fraction; rounded up where it is rounded.
    pub price_impact: Decimal,
    /// How long the venue took to answer, in milliseconds.
    pub latency_ms: u32,
    /// When the venue answered.
    pub quoted_at: DateTime<Utc>,
}

impl Quote {
    /// Whether it is still young enough to build a swap on.
    pub fn is_fresh(&self, now: DateTime<Utc>, max_age: Duration) -> bool {
        let max_age = TimeDelta::from_std(max_age).unwrap_or(TimeDelta::MAX);
        now - self.quoted_at <= max_age
    }
}

/// Output tokens for one input token, to 15 significant digits; 0 where the input is 0.
///
/// A price is a ratio shown to people. Nothing is ever paid or checked by it: that is done in base units.
pub fn price(amount_in: BaseUnits, token_in: &Token, amount_out: BaseUnits, token_out: &Token) -> Decimal {
    amount_out
        .to_decimal(token_out.decimals)
        .checked_div(amount_in.to_decimal(token_in.decimals))
        .and_then(|ratio| ratio.round_sf(15))
        .unwrap_or_default()
        .normalize()
}
