//! The choice between venues: pure, and explained in a sentence.

use std::collections::VecDeque;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::amount::{BaseUnits, ImpactLimit, percent};
use crate::domain::id::VenueId;
use crate::domain::order::OrderRequest;
use crate::domain::quote::Quote;
use crate::domain::retry::{Failure, FailureCode};

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

/// A venue that gave no quote that serves, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailable {
    /// The venue.
    pub venue: VenueId,
    /// What went wrong.
    pub failure: Failure,
}

/// Which venue gets the order, what all of them said, and why it was this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingDecision {
    /// The quotes that serve, the winner's first.
    pub quotes: Vec<Quote>,
    /// The venues that gave none, or one that was set aside.
    pub unavailable: Vec<Unavailable>,
    /// Why the first quote won, in one sentence.
    pub reason: String,
}

impl RoutingDecision {
    /// The quote that won.
    pub fn winner(&self) -> &Quote {
        self.quotes.first().expect("a decision is made only where there is a quote")
    }
}

/// Whether an order may be swapped on that quote, or why not.
///
/// `limit` is the engine's limit of the price impact, for orders that do not say their own.
pub fn check(request: &OrderRequest, limit: ImpactLimit, quote: &Quote) -> Result<(), Failure> {
    let (venue, token) = (quote.venue, &request.token_out);
    if quote.amount_out.0 == 0 {
        let reason = format!("{venue} pays nothing for so small an amount");
        return Err(Failure::new(FailureCode::NoLiquidity, reason));
    }
    let limit = request.max_price_impact.unwrap_or(limit);
    if !limit.allows(quote.price_impact) {
        let reason = format!(
            "at {venue} this trade would move the price by {} %, and at most {} % is allowed (maxPriceImpact)",
            percent(quote.price_impact),
            limit.percent()
        );
        return Err(Failure::new(FailureCode::PriceImpactTooHigh, reason));
    }
    match request.min_amount_out {
        Some(minimum) if quote.amount_out < minimum => {
            let reason = format!(
                "{venue} offers {} {token}, the order wants at least {}",
                quote.amount_out.to_decimal(token.decimals),
                minimum.to_decimal(token.decimals)
            );
            Err(Failure::new(FailureCode::BelowMinimum, reason))
        }
        _ => Ok(()),
    }
}

/// Ranks what the venues answered and chooses the first, or says why none can be chosen.
///
/// A quote that does not serve is set aside for one that does. `limit` is the engine's limit of the price impact, for
/// orders that do not say their own. `quotes` come in the order they arrived; `reliability` says what share of its
/// promises a venue has kept.
pub fn decide(
    request: &OrderRequest,
    limit: ImpactLimit,
    answers: Vec<Quote>,
    mut unavailable: Vec<Unavailable>,
    reliability: impl Fn(VenueId) -> Decimal,
) -> Result<RoutingDecision, Failure> {
    let mut quotes = Vec::with_capacity(answers.len());
    let mut set_aside = Vec::new();
    for quote in answers {
        match check(request, limit, &quote) {
            Ok(()) => quotes.push(quote),
            Err(failure) => set_aside.push((quote, failure)),
        }
    }
    if quotes.is_empty()
        && let Some(failure) = best_of(&set_aside)
    {
        return Err(failure);
    }
    unavailable.extend(set_aside.into_iter().map(|(quote, failure)| Unavailable { venue: quote.venue, failure }));
    match request.strategy {
        Strategy::BestPrice => quotes.sort_by_key(best_price),
        Strategy::Speed => {}
        Strategy::Reliability => {
            quotes.sort_by(|a, b| {
                reliability(b.venue).cmp(&reliability(a.venue)).then_with(|| best_price(a).cmp(&best_price(b)))
            });
        }
    }
    if quotes.is_empty() {
        return Err(no_quote(&unavailable));
    }
    let reason = explain(request, &quotes, &unavailable, reliability);
    Ok(RoutingDecision { quotes, unavailable, reason })
}

/// Sorts the most output first, and among equals the venue that is configured first.
fn best_price(quote: &Quote) -> (std::cmp::Reverse<BaseUnits>, VenueId) {
    (std::cmp::Reverse(quote.amount_out), quote.venue)
}

/// Why the best of the quotes that were set aside does not serve; `None` where none of them pays anything.
///
/// One that may serve at the next attempt speaks for all, whatever the others lack.
fn best_of(set_aside: &[(Quote, Failure)]) -> Option<Failure> {
    set_aside
        .iter()
        .filter(|(quote, _)| quote.amount_out.0 > 0)
        .min_by_key(|(quote, failure)| (!failure.code.retryable(), best_price(quote)))
        .map(|(_, failure)| failure.clone())
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
            (_, false) => {
                format!("{} alone gave a quote that serves, {out} {token} ({})", winner.venue, others.join(", "))
            }
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

    const TENTH: ImpactLimit = ImpactLimit::TENTH;

    fn moving(venue: VenueId, amount_out: u64, impact: &str) -> Quote {
        Quote { price_impact: impact.parse().unwrap(), ..quote(venue, amount_out) }
    }

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
        let decision = decide(&request, TENTH, quotes, vec![], reliability).unwrap();
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
            decide(&request(), TENTH, vec![quote(VenueId::Meteora, 5_000_000)], vec![silent], |_| Decimal::ONE)
                .unwrap();
        assert_eq!(decision.reason, "meteora alone gave a quote that serves, 5 USDC (raydium: venue_unavailable)");
    }

    #[test]
    fn a_best_quote_below_the_minimum_is_a_retryable_failure() {
        let request = OrderRequest { min_amount_out: Some(BaseUnits(101)), ..request() };
        let failure =
            decide(&request, TENTH, vec![quote(VenueId::Raydium, 100)], vec![], |_| Decimal::ONE).unwrap_err();
        assert_eq!(failure.code, FailureCode::BelowMinimum);
        assert!(failure.code.retryable());
    }

    #[test]
    fn a_trade_that_moves_the_price_too_far_fails_for_good() {
        let fails = |request: &OrderRequest, quotes, unavailable| {
            let failure = decide(request, TENTH, quotes, unavailable, |_| Decimal::ONE).unwrap_err();
            (failure.code, failure.message)
        };
        let too_far = || moving(VenueId::Raydium, 100, "0.999667");
        let (code, message) = fails(&request(), vec![too_far()], vec![]);
        assert!(code == FailureCode::PriceImpactTooHigh && !code.retryable());
        assert!(message.contains("99.9667 %") && message.contains("at most 10 %"), "{message}");
        // A venue that is away changes nothing about the quote that there is.
        let away =
            Unavailable { venue: VenueId::Meteora, failure: Failure::new(FailureCode::VenueUnavailable, "away") };
        assert_eq!(fails(&request(), vec![too_far()], vec![away]).0, FailureCode::PriceImpactTooHigh);
        // What is within bounds, but below the minimum, may be enough at the next attempt.
        let request = OrderRequest { min_amount_out: Some(BaseUnits(50)), ..request() };
        let little = quote(VenueId::Meteora, 49);
        assert_eq!(fails(&request, vec![too_far(), little], vec![]).0, FailureCode::BelowMinimum);
    }

    #[test]
    fn a_venue_whose_quote_does_not_serve_is_set_aside_for_one_whose_does() {
        let decided = |request: &OrderRequest, quotes| {
            let decision = decide(request, TENTH, quotes, vec![], |_| Decimal::ONE).unwrap();
            (decision.winner().venue, decision.unavailable[0].failure.code, decision.reason)
        };
        let quotes = || vec![moving(VenueId::Raydium, 300, "0.100001"), moving(VenueId::Meteora, 200, "0.1")];
        for strategy in [Strategy::BestPrice, Strategy::Speed, Strategy::Reliability] {
            let request = OrderRequest { strategy, ..request() };
            let (venue, code, reason) = decided(&request, quotes());
            assert_eq!((venue, code), (VenueId::Meteora, FailureCode::PriceImpactTooHigh));
            assert_eq!(reason, "meteora alone gave a quote that serves, 0.0002 USDC (raydium: price_impact_too_high)");
            let enough = OrderRequest { min_amount_out: Some(BaseUnits(200)), ..request };
            let quotes = vec![quote(VenueId::Raydium, 199), quote(VenueId::Meteora, 200)];
            let (venue, code, _) = decided(&enough, quotes);
            assert_eq!((venue, code), (VenueId::Meteora, FailureCode::BelowMinimum));
        }
    }

    #[test]
    fn an_orders_own_limit_of_the_price_impact_is_the_one_that_counts() {
        let quotes = || vec![moving(VenueId::Raydium, 100, "0.5")];
        let decided = |limit: &str| {
            let request = OrderRequest { max_price_impact: Some(ImpactLimit::parse(limit).unwrap()), ..request() };
            decide(&request, TENTH, quotes(), vec![], |_| Decimal::ONE).map(|_| ()).map_err(|failure| failure.code)
        };
        assert_eq!(decided("0.5"), Ok(()));
        assert_eq!(decided("1"), Ok(()));
        assert_eq!(decided("0.499999"), Err(FailureCode::PriceImpactTooHigh));
    }

    #[test]
    fn a_quote_that_pays_nothing_is_no_liquidity_for_good() {
        let quotes = vec![quote(VenueId::Raydium, 0), quote(VenueId::Meteora, 0)];
        let failure = decide(&request(), TENTH, quotes, vec![], |_| Decimal::ONE).unwrap_err();
        assert_eq!(failure.code, FailureCode::NoLiquidity);
    }

    #[test]
    fn no_quote_is_permanent_only_if_every_venue_says_so_for_good() {
        let none = |venue, code| Unavailable { venue, failure: Failure::new(code, "said so") };
        let fails = |unavailable| decide(&request(), TENTH, vec![], unavailable, |_| Decimal::ONE).unwrap_err().code;
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
