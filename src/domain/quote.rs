//! The quote of a venue.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::domain::amount::BaseUnits;
use crate::domain::id::VenueId;
use crate::domain::moment::{Now, Stamp};
use crate::domain::token::Token;

/// The quote of one venue for one swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quote {
    /// The venue.
    pub venue: VenueId,
    /// The output after the fee of the venue. Venues are compared by it.
    pub amount_out: BaseUnits,
    /// The fee of the venue, in the output token.
    pub fee: BaseUnits,
    /// Output tokens per input token, after the fee.
    pub price: Decimal,
    /// The price impact of the trade, as a fraction; rounded up if it is not exact.
    pub price_impact: Decimal,
    /// The response time of the venue, in milliseconds.
    pub latency_ms: u32,
    /// The time of the answer.
    pub quoted_at: DateTime<Utc>,
}

impl Quote {
    /// Whether the quote is recent enough to build a swap on. `decided` is the time of the routing decision.
    ///
    /// The time since the decision is measured by the uptime. The time before it is known only by the wall clock: if that
    /// clock was set back in between, the quote counts as too old and the venue is asked again.
    pub fn is_fresh(&self, decided: Stamp, now: Now, max_age: Duration) -> bool {
        (decided.at - self.quoted_at).to_std().is_ok_and(|before| before + decided.age(now) <= max_age)
    }
}

/// Output tokens per input token, rounded to 15 significant digits; 0 if the input is 0.
///
/// A price is for display only. Payments and checks use base units.
pub fn price(amount_in: BaseUnits, token_in: &Token, amount_out: BaseUnits, token_out: &Token) -> Decimal {
    amount_out
        .to_decimal(token_out.decimals)
        .checked_div(amount_in.to_decimal(token_in.decimals))
        .and_then(|ratio| ratio.round_sf(15))
        .unwrap_or_default()
        .normalize()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use uuid::Uuid;

    use super::*;
    use crate::domain::amount::BaseUnits;
    use crate::domain::moment::{Moment, Uptime};

    #[test]
    fn a_quote_does_not_become_fresh_when_the_clock_is_set_back() {
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let now = |wall, uptime: i64| Now {
            at: at(wall),
            moment: Moment { boot: Uuid::from_u128(1), uptime: Uptime(uptime * 1_000_000) },
        };
        let quote = Quote {
            venue: VenueId::RAYDIUM,
            amount_out: BaseUnits(1),
            fee: BaseUnits(0),
            price: Decimal::ONE,
            price_impact: Decimal::ZERO,
            latency_ms: 1,
            quoted_at: at(1_000),
        };
        let (decided, limit) = (Stamp::from(now(1_001, 50)), Duration::from_secs(5));
        assert!(quote.is_fresh(decided, now(1_005, 54), limit));
        assert!(!quote.is_fresh(decided, now(1_006, 55), limit));
        assert!(!quote.is_fresh(decided, now(0, 55), limit), "set back");
        assert!(quote.is_fresh(decided, now(9_999, 54), limit), "set ahead");
        assert!(!quote.is_fresh(Stamp::from(now(900, 50)), now(900, 50), limit), "set back in between");
    }
}
