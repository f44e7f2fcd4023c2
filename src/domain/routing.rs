//! The choice between venues: pure, and explained in a sentence.

use std::collections::VecDeque;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::BaseUnits;
use super::id::VenueId;
use super::order::OrderRequest;
use super::quote::Quote;
use super::retry::{Failure, FailureCode};

/// What an order's owner cares about most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The most output after fees; on a tie the earlier venue of [`VenueId::ALL`].
    #[default]
    BestPrice,
    /// The first valid quote.
    Speed,
    /// The venue that most often kept its word lately, then the price.
    Reliability,
}

/// A venue that gave no quote, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailable {
    /// The venue.
    pub venue: VenueId,
    /// What went wrong.
    pub failure: Failure,
}

/// Which venue gets the order, what all of them said, and why it was this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The valid quotes, the winner's first.
    pub quotes: Vec<Quote>,
    /// The venues that gave none.
    pub unavailable: Vec<Unavailable>,
    /// Why the first quote won, in one sentence.
    pub reason: String,
}

impl Decision {
    /// The quote that won.
    pub fn winner(&self) -> &Quote {
        self.quotes.first().expect("a decision is made only where there is a quote")
    }
}

/// Ranks what the venues answered and chooses the first, or says why none can be chosen.
///
/// `quotes` come in the order they arrived; `reliability` says what share of its promises a venue has kept.
pub fn decide(
    request: &OrderRequest,
    mut quotes: Vec<Quote>,
    unavailable: Vec<Unavailable>,
    reliability: impl Fn(VenueId) -> Decimal,
) -> Result<Decision, Failure> {
    quotes.retain(|quote| quote.amount_out.0 > 0);
    match request.strategy {
        Strategy::BestPrice => quotes.sort_by_key(best_price),
        Strategy::Speed => {}
        Strategy::Reliability => {
            quotes.sort_by(|a, b| {
                reliability(b.venue).cmp(&reliability(a.venue)).then_with(|| best_price(a).cmp(&best_price(b)))
            });
        }
    }
    let Some(winner) = quotes.first() else {
        return Err(no_quote(&unavailable));
    };
    if let Some(minimum) = request.min_amount_out
        && winner.amount_out < minimum
    {
        let decimals = request.token_out.decimals;
        return Err(Failure::new(
            FailureCode::BelowMinimum,
            format!(
                "{} offers {} {}, the order wants at least {}",
                winner.venue,
                winner.amount_out.to_decimal(decimals),
                request.token_out,
                minimum.to_decimal(decimals)
            ),
        ));
    }
    let reason = explain(request, &quotes, &unavailable, reliability);
    Ok(Decision { quotes, unavailable, reason })
}

/// Sorts the most output first, and among equals the venue that is configured first.
fn best_price(quote: &Quote) -> (std::cmp::Reverse<BaseUnits>, VenueId) {
    (std::cmp::Reverse(quote.amount_out), quote.venue)
}

/// Nothing to choose from: permanent only where every venue says so for good.
fn no_quote(unavailable: &[Unavailable]) -> Failure {
    let said = || {
        unavailable
            .iter()
            .map(|none| format!("{}: {}", none.venue, none.failure.message))
            .collect::<Vec<_>>()
            .join("; ")
    };
    match unavailable.first() {
        Some(first) if unavailable.iter().all(|none| !none.failure.code.retryable()) => {
            Failure::new(first.failure.code, said())
        }
        Some(_) => Failure::new(FailureCode::VenueUnavailable, format!("no venue gave a quote ({})", said())),
        None => Failure::new(FailureCode::VenueUnavailable, "no venue gave a quote"),
    }
}

fn explain(
    request: &OrderRequest,
    quotes: &[Quote],
    unavailable: &[Unavailable],
    reliability: impl Fn(VenueId) -> Decimal,
) -> String {
    let winner = &quotes[0];
    let decimals = request.token_out.decimals;
    let out = winner.amount_out.to_decimal(decimals);
    let token = &request.token_out;
    let Some(runner_up) = quotes.get(1) else {
        let others: Vec<_> = unavailable.iter().map(|none| format!("{}: {}", none.venue, none.failure.code)).collect();
        return match (request.strategy, others.is_empty()) {
            (Strategy::Speed, true) => format!("{} answered first, with {out} {token}", winner.venue),
            (_, true) => format!("{} alone was asked, and pays {out} {token}", winner.venue),
            (_, false) => format!("{} alone gave a quote, {out} {token} ({})", winner.venue, others.join(", ")),
        };
    };
    match request.strategy {
        Strategy::BestPrice if winner.amount_out == runner_up.amount_out => {
            format!("{} and {} both pay {out} {token}; {} comes first", winner.venue, runner_up.venue, winner.venue)
        }
        Strategy::BestPrice => {
            let more = BaseUnits(winner.amount_out.0 - runner_up.amount_out.0).to_decimal(decimals);
            let percent = more
                .checked_div(runner_up.amount_out.to_decimal(decimals))
                .and_then(|share| share.checked_mul(Decimal::ONE_HUNDRED))
                .unwrap_or_default()
                .round_dp(2);
            format!(
                "{} pays {out} {token} after fees, {more} ({percent} %) more than {}",
                winner.venue, runner_up.venue
            )
        }
        Strategy::Speed => format!("{} answered first, with {out} {token}", winner.venue),
        Strategy::Reliability => format!(
            "{} kept {} % of its recent promises, {} {} %",
            winner.venue,
            (reliability(winner.venue) * Decimal::ONE_HUNDRED).round_dp(0),
            runner_up.venue,
            (reliability(runner_up.venue) * Decimal::ONE_HUNDRED).round_dp(0),
        ),
    }
}

/// How a venue's last promises (quotes and swaps) turned out.
#[derive(Clone, Debug, Default)]
pub struct TrackRecord {
    kept: VecDeque<bool>,
}

impl TrackRecord {
    const LENGTH: usize = 100;

    /// Remembers one more promise, and forgets the oldest beyond a hundred.
    pub fn push(&mut self, kept: bool) {
        if self.kept.len() == Self::LENGTH {
            self.kept.pop_front();
        }
        self.kept.push_back(kept);
    }

    /// The share that was kept; 1 while nothing is known.
    pub fn share(&self) -> Decimal {
        let kept = self.kept.iter().filter(|kept| **kept).count();
        Decimal::from(kept).checked_div(Decimal::from(self.kept.len())).unwrap_or(Decimal::ONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::order::tests::request;
    use chrono::DateTime;

    fn quote(venue: VenueId, amount_out: u64) -> Quote {
        Quote {
            venue,
            amount_out: BaseUnits(amount_out),
            fee: BaseUnits(1),
            price: Decimal::ONE,
            price_impact: Decimal::ZERO,
            latency_ms: 1,
            quoted_at: DateTime::UNIX_EPOCH,
        }
    }

    fn chosen(strategy: Strategy, quotes: Vec<Quote>, reliability: impl Fn(VenueId) -> Decimal) -> (VenueId, String) {
        let request = OrderRequest { strategy, ..request() };
        let decision = decide(&request, quotes, vec![], reliability).unwrap();
        (decision.winner().venue, decision.reason)
    }

    #[test]
    fn the_best_price_after_fees_wins() {
        let quotes = vec![quote(VenueId::Raydium, 100_000_000), quote(VenueId::Meteora, 102_000_000)];
        let (venue, reason) = chosen(Strategy::BestPrice, quotes, |_| Decimal::ONE);
        assert_eq!(venue, VenueId::Meteora);
        assert_eq!(reason, "meteora pays 102 USDC after fees, 2 (2.00 %) more than raydium");
    }

    #[test]
    fn a_tie_goes_to_the_venue_configured_first() {
        let quotes = vec![quote(VenueId::Meteora, 100), quote(VenueId::Raydium, 100)];
        assert_eq!(chosen(Strategy::BestPrice, quotes, |_| Decimal::ONE).0, VenueId::Raydium);
    }

    #[test]
    fn speed_takes_the_first_answer_even_if_it_pays_less() {
        let quotes = vec![quote(VenueId::Meteora, 100), quote(VenueId::Raydium, 200)];
        assert_eq!(chosen(Strategy::Speed, quotes, |_| Decimal::ONE).0, VenueId::Meteora);
    }

    #[test]
    fn reliability_takes_the_steadier_venue_and_then_the_price() {
        let quotes = || vec![quote(VenueId::Raydium, 100), quote(VenueId::Meteora, 200)];
        let steadier_raydium = |venue| if venue == VenueId::Raydium { Decimal::ONE } else { Decimal::new(9, 1) };
        assert_eq!(chosen(Strategy::Reliability, quotes(), steadier_raydium).0, VenueId::Raydium);
        assert_eq!(chosen(Strategy::Reliability, quotes(), |_| Decimal::ONE).0, VenueId::Meteora);
    }

    #[test]
    fn a_lone_quote_serves_and_the_reason_names_the_silent_venue() {
        let silent =
            Unavailable { venue: VenueId::Raydium, failure: Failure::new(FailureCode::VenueUnavailable, "no answer") };
        let decision =
            decide(&request(), vec![quote(VenueId::Meteora, 5_000_000)], vec![silent], |_| Decimal::ONE).unwrap();
        assert_eq!(decision.reason, "meteora alone gave a quote, 5 USDC (raydium: venue_unavailable)");
    }

    #[test]
    fn a_best_quote_below_the_minimum_is_a_retryable_failure() {
        let request = OrderRequest { min_amount_out: Some(BaseUnits(101)), ..request() };
        let failure = decide(&request, vec![quote(VenueId::Raydium, 100)], vec![], |_| Decimal::ONE).unwrap_err();
        assert_eq!(failure.code, FailureCode::BelowMinimum);
        assert!(failure.code.retryable());
    }

    #[test]
    fn no_quote_is_permanent_only_if_every_venue_says_so_for_good() {
        let none = |venue, code| Unavailable { venue, failure: Failure::new(code, "said so") };
        let fails = |unavailable| decide(&request(), vec![], unavailable, |_| Decimal::ONE).unwrap_err().code;
        let dry = none(VenueId::Raydium, FailureCode::NoLiquidity);
        assert_eq!(
            fails(vec![dry.clone(), none(VenueId::Meteora, FailureCode::NoLiquidity)]),
            FailureCode::NoLiquidity
        );
        assert_eq!(
            fails(vec![dry, none(VenueId::Meteora, FailureCode::VenueUnavailable)]),
            FailureCode::VenueUnavailable
        );
        assert_eq!(fails(vec![]), FailureCode::VenueUnavailable);
    }

    #[test]
    fn a_track_record_forgets_what_is_long_past() {
        let mut record = TrackRecord::default();
        assert_eq!(record.share(), Decimal::ONE);
        record.push(false);
        assert_eq!(record.share(), Decimal::ZERO);
        for _ in 0..TrackRecord::LENGTH {
            record.push(true);
        }
        assert_eq!(record.share(), Decimal::ONE);
    }
}
