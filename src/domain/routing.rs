//! The routing decision: which venue gets an order, as a pure function over the quotes.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::domain::amount::BaseUnits;
use crate::domain::fraction::{ImpactLimit, percent};
use crate::domain::id::VenueId;
use crate::domain::quote::Quote;
use crate::domain::request::{OrderRequest, Strategy};
use crate::domain::retry::{Failure, FailureCode};

/// A venue without a usable quote, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailable {
    /// The venue.
    pub venue: VenueId,
    /// The cause.
    pub failure: Failure,
}

/// The chosen venue, the quotes and failures of all venues, and the reason for the choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingDecision {
    /// The usable quotes, the winner first.
    pub quotes: Vec<Quote>,
    /// The venues without a quote, or with a quote that the order does not allow.
    pub unavailable: Vec<Unavailable>,
    /// Why the first quote won, in one sentence.
    pub reason: String,
}

impl RoutingDecision {
    /// The winning quote.
    pub fn winner(&self) -> &Quote {
        self.quotes.first().expect("a decision has at least one quote")
    }
}

/// Checks whether the order allows a swap on this quote.
///
/// `limit` is the price impact limit of the engine, for orders without their own.
pub fn check(request: &OrderRequest, limit: ImpactLimit, quote: &Quote) -> Result<(), Failure> {
    let (venue, token) = (quote.venue, &request.token_out);
    if quote.amount_out.0 == 0 {
        let reason = format!("{venue} pays nothing for such a small amount");
        return Err(Failure::new(FailureCode::NoLiquidity, reason));
    }
    let limit = request.max_price_impact.unwrap_or(limit);
    if !limit.allows(quote.price_impact) {
        let reason = format!(
            "at {venue} this trade would move the price by {} %; at most {} % is allowed (maxPriceImpact)",
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

/// Ranks the usable quotes by the strategy of the order; the first one wins. Fails if no quote is usable.
///
/// `venues` is the venue order: on a tie the earlier venue wins. `quotes` are in order of arrival. `limit` is the price
/// impact limit of the engine, for orders without their own. `reliability` returns the recent success rate of a venue, from 0 to 1.
pub fn decide(
    request: &OrderRequest,
    limit: ImpactLimit,
    venues: &[VenueId],
    quotes: Vec<Quote>,
    mut unavailable: Vec<Unavailable>,
    reliability: impl Fn(VenueId) -> Decimal,
) -> Result<RoutingDecision, Failure> {
    let mut usable = Vec::with_capacity(quotes.len());
    let mut refused = Vec::new();
    for quote in quotes {
        match check(request, limit, &quote) {
            Ok(()) => usable.push(quote),
            Err(failure) => refused.push((quote, failure)),
        }
    }
    if usable.is_empty()
        && let Some(failure) = best_refused(&refused, venues)
    {
        return Err(failure);
    }
    unavailable.extend(refused.into_iter().map(|(quote, failure)| Unavailable { venue: quote.venue, failure }));
    match request.strategy {
        Strategy::BestPrice => usable.sort_by_key(|quote| best_price(quote, venues)),
        Strategy::Speed => {}
        Strategy::Reliability => {
            usable.sort_by(|a, b| {
                reliability(b.venue)
                    .cmp(&reliability(a.venue))
                    .then_with(|| best_price(a, venues).cmp(&best_price(b, venues)))
            });
        }
    }
    if usable.is_empty() {
        return Err(no_quote(&unavailable));
    }
    let reason = explain(request, &usable, &unavailable, reliability);
    Ok(RoutingDecision { quotes: usable, unavailable, reason })
}

/// Sort key: the largest output first, on a tie the venue that comes first in the venue order.
fn best_price(quote: &Quote, venues: &[VenueId]) -> (std::cmp::Reverse<BaseUnits>, usize) {
    let place = venues.iter().position(|venue| *venue == quote.venue).unwrap_or(usize::MAX);
    (std::cmp::Reverse(quote.amount_out), place)
}

/// The failure of the best refused quote; `None` if no quote pays anything.
///
/// A retryable failure comes first: the quote of that venue may be usable in the next attempt.
fn best_refused(refused: &[(Quote, Failure)], venues: &[VenueId]) -> Option<Failure> {
    refused
        .iter()
        .filter(|(quote, _)| quote.amount_out.0 > 0)
        .min_by_key(|(quote, failure)| (!failure.code.retryable(), best_price(quote, venues)))
        .map(|(_, failure)| failure.clone())
}

/// The failure of a decision without quotes; permanent only if the failure of every venue is permanent.
fn no_quote(unavailable: &[Unavailable]) -> Failure {
    let messages = || {
        unavailable
            .iter()
            .map(|none| format!("{}: {}", none.venue, none.failure.message))
            .collect::<Vec<_>>()
            .join("; ")
    };
    match unavailable.first() {
        Some(first) if unavailable.iter().all(|none| !none.failure.code.retryable()) => {
            Failure::new(first.failure.code, messages())
        }
        Some(_) => Failure::new(FailureCode::VenueUnavailable, format!("no venue gave a quote ({})", messages())),
        None => Failure::new(FailureCode::VenueUnavailable, "no venue gave a quote"),
    }
}

/// Explains the decision in one sentence. `quotes` are the ranked ones.
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
            (_, true) => format!("{} was the only venue asked and pays {out} {token}", winner.venue),
            (_, false) => {
                format!("{} gave the only usable quote, {out} {token} ({})", winner.venue, others.join(", "))
            }
        };
    };
    match request.strategy {
        Strategy::BestPrice if winner.amount_out == runner_up.amount_out => {
            let (first, second) = (winner.venue, runner_up.venue);
            format!("{first} and {second} both pay {out} {token}; {first} is first in the venue order")
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
            "{} has a recent success rate of {} %, {} of {} %",
            winner.venue,
            (reliability(winner.venue) * Decimal::ONE_HUNDRED).round_dp(0),
            runner_up.venue,
            (reliability(runner_up.venue) * Decimal::ONE_HUNDRED).round_dp(0),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::request::tests::request;
    use chrono::DateTime;

    const TENTH: ImpactLimit = ImpactLimit::TENTH;

    /// A decision between Raydium and Meteora, in this order.
    fn decide(
        request: &OrderRequest,
        limit: ImpactLimit,
        quotes: Vec<Quote>,
        unavailable: Vec<Unavailable>,
        reliability: impl Fn(VenueId) -> Decimal,
    ) -> Result<RoutingDecision, Failure> {
        super::decide(request, limit, &[VenueId::RAYDIUM, VenueId::METEORA], quotes, unavailable, reliability)
    }

    fn quote_with_impact(venue: VenueId, amount_out: u64, impact: &str) -> Quote {
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
        let quotes = vec![quote(VenueId::RAYDIUM, 100_000_000), quote(VenueId::METEORA, 102_000_000)];
        let (venue, reason) = chosen(Strategy::BestPrice, quotes, |_| Decimal::ONE);
        assert_eq!(venue, VenueId::METEORA);
        assert_eq!(reason, "meteora pays 102 USDC after fees, 2 (2.00 %) more than raydium");
    }

    #[test]
    fn a_tie_goes_to_the_venue_configured_first() {
        let quotes = vec![quote(VenueId::METEORA, 100), quote(VenueId::RAYDIUM, 100)];
        assert_eq!(chosen(Strategy::BestPrice, quotes, |_| Decimal::ONE).0, VenueId::RAYDIUM);
    }

    #[test]
    fn speed_takes_the_first_answer_even_if_it_pays_less() {
        let quotes = vec![quote(VenueId::METEORA, 100), quote(VenueId::RAYDIUM, 200)];
        assert_eq!(chosen(Strategy::Speed, quotes, |_| Decimal::ONE).0, VenueId::METEORA);
    }

    #[test]
    fn reliability_takes_the_venue_with_the_higher_success_rate_and_then_the_price() {
        let quotes = || vec![quote(VenueId::RAYDIUM, 100), quote(VenueId::METEORA, 200)];
        let reliable_raydium = |venue| if venue == VenueId::RAYDIUM { Decimal::ONE } else { Decimal::new(9, 1) };
        assert_eq!(chosen(Strategy::Reliability, quotes(), reliable_raydium).0, VenueId::RAYDIUM);
        assert_eq!(chosen(Strategy::Reliability, quotes(), |_| Decimal::ONE).0, VenueId::METEORA);
    }

    #[test]
    fn a_single_quote_wins_and_the_reason_names_the_silent_venue() {
        let silent =
            Unavailable { venue: VenueId::RAYDIUM, failure: Failure::new(FailureCode::VenueUnavailable, "no answer") };
        let decision =
            decide(&request(), TENTH, vec![quote(VenueId::METEORA, 5_000_000)], vec![silent], |_| Decimal::ONE)
                .unwrap();
        assert_eq!(decision.reason, "meteora gave the only usable quote, 5 USDC (raydium: venue_unavailable)");
    }

    #[test]
    fn a_best_quote_below_the_minimum_is_a_retryable_failure() {
        let request = OrderRequest { min_amount_out: Some(BaseUnits(101)), ..request() };
        let failure =
            decide(&request, TENTH, vec![quote(VenueId::RAYDIUM, 100)], vec![], |_| Decimal::ONE).unwrap_err();
        assert_eq!(failure.code, FailureCode::BelowMinimum);
        assert!(failure.code.retryable());
    }

    #[test]
    fn a_price_impact_above_the_limit_is_a_permanent_failure() {
        let fails = |request: &OrderRequest, quotes, unavailable| {
            let failure = decide(request, TENTH, quotes, unavailable, |_| Decimal::ONE).unwrap_err();
            (failure.code, failure.message)
        };
        let too_far = || quote_with_impact(VenueId::RAYDIUM, 100, "0.999667");
        let (code, message) = fails(&request(), vec![too_far()], vec![]);
        assert!(code == FailureCode::PriceImpactTooHigh && !code.retryable());
        assert!(message.contains("99.9667 %") && message.contains("at most 10 %"), "{message}");
        // An unavailable venue does not change the failure of the quote.
        let away =
            Unavailable { venue: VenueId::METEORA, failure: Failure::new(FailureCode::VenueUnavailable, "away") };
        assert_eq!(fails(&request(), vec![too_far()], vec![away]).0, FailureCode::PriceImpactTooHigh);
        // A quote below the minimum may be sufficient in the next attempt.
        let request = OrderRequest { min_amount_out: Some(BaseUnits(50)), ..request() };
        let little = quote(VenueId::METEORA, 49);
        assert_eq!(fails(&request, vec![too_far(), little], vec![]).0, FailureCode::BelowMinimum);
    }

    #[test]
    fn an_unusable_quote_is_passed_over_for_a_usable_one() {
        let decided = |request: &OrderRequest, quotes| {
            let decision = decide(request, TENTH, quotes, vec![], |_| Decimal::ONE).unwrap();
            (decision.winner().venue, decision.unavailable[0].failure.code, decision.reason)
        };
        let quotes = || {
            vec![quote_with_impact(VenueId::RAYDIUM, 300, "0.100001"), quote_with_impact(VenueId::METEORA, 200, "0.1")]
        };
        for strategy in [Strategy::BestPrice, Strategy::Speed, Strategy::Reliability] {
            let request = OrderRequest { strategy, ..request() };
            let (venue, code, reason) = decided(&request, quotes());
            assert_eq!((venue, code), (VenueId::METEORA, FailureCode::PriceImpactTooHigh));
            assert_eq!(reason, "meteora gave the only usable quote, 0.0002 USDC (raydium: price_impact_too_high)");
            let enough = OrderRequest { min_amount_out: Some(BaseUnits(200)), ..request };
            let quotes = vec![quote(VenueId::RAYDIUM, 199), quote(VenueId::METEORA, 200)];
            let (venue, code, _) = decided(&enough, quotes);
            assert_eq!((venue, code), (VenueId::METEORA, FailureCode::BelowMinimum));
        }
    }

    #[test]
    fn the_price_impact_limit_of_the_order_overrides_the_limit_of_the_engine() {
        let quotes = || vec![quote_with_impact(VenueId::RAYDIUM, 100, "0.5")];
        let decided = |limit: &str| {
            let request = OrderRequest { max_price_impact: Some(ImpactLimit::parse(limit).unwrap()), ..request() };
            decide(&request, TENTH, quotes(), vec![], |_| Decimal::ONE).map(|_| ()).map_err(|failure| failure.code)
        };
        assert_eq!(decided("0.5"), Ok(()));
        assert_eq!(decided("1"), Ok(()));
        assert_eq!(decided("0.499999"), Err(FailureCode::PriceImpactTooHigh));
    }

    #[test]
    fn a_quote_that_pays_nothing_is_a_permanent_lack_of_liquidity() {
        let quotes = vec![quote(VenueId::RAYDIUM, 0), quote(VenueId::METEORA, 0)];
        let failure = decide(&request(), TENTH, quotes, vec![], |_| Decimal::ONE).unwrap_err();
        assert_eq!(failure.code, FailureCode::NoLiquidity);
    }

    #[test]
    fn a_lack_of_quotes_is_permanent_only_if_it_is_permanent_at_every_venue() {
        let none = |venue, code| Unavailable { venue, failure: Failure::new(code, "said so") };
        let fails = |unavailable| decide(&request(), TENTH, vec![], unavailable, |_| Decimal::ONE).unwrap_err().code;
        let dry = none(VenueId::RAYDIUM, FailureCode::NoLiquidity);
        assert_eq!(
            fails(vec![dry.clone(), none(VenueId::METEORA, FailureCode::NoLiquidity)]),
            FailureCode::NoLiquidity
        );
        assert_eq!(
            fails(vec![dry, none(VenueId::METEORA, FailureCode::VenueUnavailable)]),
            FailureCode::VenueUnavailable
        );
        assert_eq!(fails(vec![]), FailureCode::VenueUnavailable);
    }
}
