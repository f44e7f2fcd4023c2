//! A simulated venue with a pool of its own. [`super::venues`] lists the venues.
//!
//! Prices come from the token list. The best and the worst venue differ by 2 to 5 %, and which one is the best changes
//! from quote to quote. A pool is a constant product with `DEPTH_USD` on each side, so large trades have a price impact.

use std::sync::Arc;

use async_trait::async_trait;
use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};

use crate::config::SimulationSettings;
use crate::domain::amount::BaseUnits;
use crate::domain::id::VenueId;
use crate::domain::moment::Uptime;
use crate::domain::quote::{Quote, price};
use crate::domain::request::OrderRequest;
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::swap::UnsignedSwap;
use crate::domain::token::{Token, TokenList};
use crate::runtime::clock::Clock;
use crate::simulation::rng::SimulationRng;
use crate::simulation::transaction::unsigned;
use crate::simulation::venues::VenueProfile;
use crate::venue::{QuoteRequest, SwapRequest, Venue};

/// The value of each side of a simulated pool, in US dollars.
const DEPTH_USD: i64 = 50_000_000;
/// The assumed price of a mint outside the token list, in US dollars.
const UNKNOWN_USD: Decimal = Decimal::ONE;

// The purposes of the draws, see `SimulationRng::draws`. `FAULT` is the purpose of the first venue, `FAULT + 1` that of
// the second, and so on.
const PRICE: u64 = 1;
const FAULT: u64 = 16;

/// A simulated venue.
pub struct SimulatedVenue {
    profile: VenueProfile,
    place: u64,
    venues: u64,
    market: Arc<SimulatedMarket>,
}

/// What the simulated venues have in common.
pub struct SimulatedMarket {
    /// The settings.
    pub settings: SimulationSettings,
    /// The tokens and their prices.
    pub tokens: Arc<TokenList>,
    /// The source of all draws.
    pub rng: SimulationRng,
    /// The clock.
    pub clock: Clock,
}

impl SimulatedVenue {
    /// Creates the venues of a market, one for each profile.
    pub fn all(profiles: &[VenueProfile], market: SimulatedMarket) -> Vec<Self> {
        let (venues, market) = (profiles.len() as u64, Arc::new(market));
        let venue =
            |(place, profile): (u64, &VenueProfile)| Self { profile: *profile, place, venues, market: market.clone() };
        (0..).zip(profiles).map(venue).collect()
    }

    fn usd(&self, token: &Token) -> Decimal {
        self.market.tokens.known(&token.mint).map_or(UNKNOWN_USD, |known| known.simulated_usd)
    }

    /// The price of this venue relative to the token list, in millionths: the best venue is half the drawn spread above
    /// it, the worst one half the spread below it, and the others are at equal distances between them.
    ///
    /// The spread is at most 4.8 %, so that the venues never differ by more than 5 % after fees.
    fn price_ppm(&self, request: &QuoteRequest) -> u64 {
        let mut draws = self.market.rng.draws(PRICE, request.id, request.round);
        let half = draws.between(20_000, 48_000) / 2;
        let last = self.venues - 1;
        let best = last - draws.between(0, last);
        // 0 for the best venue, `last` for the worst.
        let rank = (self.place + self.venues - best) % self.venues;
        1_000_000 + half - 2 * half * rank / last.max(1)
    }

    /// The gross output, rounded down, and the price impact, rounded up, from the constant product of the pool. `None` if
    /// the exact result overflows.
    fn trade(&self, order: &OrderRequest, price_ppm: u64) -> Option<(BaseUnits, Decimal)> {
        let value = order.amount_in.to_decimal(order.token_in.decimals).checked_mul(self.usd(&order.token_in))?;
        let depth = Decimal::from(DEPTH_USD);
        let impact = value.checked_div(depth.checked_add(value)?)?;
        let paid = value.checked_mul(Decimal::ONE.checked_sub(impact)?)?.checked_mul(Decimal::from(price_ppm))?;
        let units = paid
            .checked_div(self.usd(&order.token_out))?
            .checked_div(Decimal::from(1_000_000))?
            .checked_mul(Decimal::from(10u64.checked_pow(order.token_out.decimals.into())?))?
            .floor()
            .to_u64()?;
        // A limit has six decimals too, so an impact above the limit must not be rounded down to it.
        let impact = impact.round_dp_with_strategy(6, RoundingStrategy::AwayFromZero).normalize();
        Some((BaseUnits(units), impact))
    }

    fn offer(&self, request: &QuoteRequest, started: Uptime) -> Result<Quote, Failure> {
        let order = &*request.order;
        let too_large =
            || Failure::new(FailureCode::NoLiquidity, format!("{} has no liquidity for this size", self.profile.id));
        let (gross, price_impact) = self.trade(order, self.price_ppm(request)).ok_or_else(too_large)?;
        // Rounded up, as a pool does.
        let fee = (u128::from(gross.0) * u128::from(self.profile.fee_ppm)).div_ceil(1_000_000);
        let fee = BaseUnits(u64::try_from(fee).map_err(|_| too_large())?);
        let amount_out = BaseUnits(gross.0 - fee.0);
        if amount_out.0 == 0 {
            return Err(Failure::new(
                FailureCode::NoLiquidity,
                format!("{} pays nothing for such a small amount", self.profile.id),
            ));
        }
        Ok(Quote {
            venue: self.profile.id,
            amount_out,
            fee,
            price: price(order.amount_in, &order.token_in, amount_out, &order.token_out),
            price_impact,
            latency_ms: self.market.clock.elapsed_ms(started),
            quoted_at: self.market.clock.now(),
        })
    }
}

#[async_trait]
impl Venue for SimulatedVenue {
    fn id(&self) -> VenueId {
        self.profile.id
    }

    async fn quote(&self, request: QuoteRequest) -> Result<Quote, Failure> {
        let started = self.market.clock.uptime();
        let SimulatedMarket { settings, rng, .. } = &*self.market;
        let id = self.profile.id;
        if settings.venues_silent.contains(&id) {
            std::future::pending::<()>().await;
        }
        if !settings.quote_latency.is_zero() {
            tokio::time::sleep(settings.quote_latency).await;
        }
        let drawn = rng.draws(FAULT + self.place, request.id, request.round).millionths();
        if settings.venue_failure_rate.holds(drawn) || settings.venues_down.contains(&id) {
            return Err(Failure::new(FailureCode::VenueUnavailable, format!("{id} refused to quote")));
        }
        self.offer(&request, started)
    }

    async fn build(&self, request: SwapRequest) -> Result<UnsignedSwap, Failure> {
        Ok(unsigned(&request))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::OrderId;
    use crate::domain::request::tests::request;
    use crate::domain::token::KnownToken;
    use crate::runtime::environment::Environment;
    use crate::simulation::samples::settings;
    use crate::simulation::venues::{METEORA, RAYDIUM, VENUES};

    fn venue(profile: VenueProfile, settings: SimulationSettings) -> SimulatedVenue {
        venues(&VENUES, settings).into_iter().find(|venue| venue.id() == profile.id).unwrap()
    }

    fn venues(profiles: &[VenueProfile], settings: SimulationSettings) -> Vec<SimulatedVenue> {
        let (rng, clock) = (SimulationRng::new(settings.seed, &Environment::system().random), Clock::runtime());
        let request = request();
        let tokens = vec![
            KnownToken { token: request.token_in, simulated_usd: Decimal::from(150) },
            KnownToken { token: request.token_out, simulated_usd: Decimal::ONE },
        ];
        let tokens = Arc::new(TokenList::new(tokens, 9).unwrap());
        SimulatedVenue::all(profiles, SimulatedMarket { settings, tokens, rng, clock })
    }

    fn quote_request(id: u128, amount_in: u64) -> QuoteRequest {
        let order = OrderRequest { amount_in: BaseUnits(amount_in), ..request() };
        QuoteRequest { id: Uuid::from_u128(id), round: 1, order: Arc::new(order) }
    }

    const ONE_SOL: u64 = 1_000_000_000;

    #[tokio::test]
    async fn the_venues_differ_by_at_most_five_percent_and_either_can_be_better() {
        let (raydium, meteora) = (venue(RAYDIUM, settings()), venue(METEORA, settings()));
        let mut raydium_wins = 0;
        for id in 0..200 {
            let one = raydium.quote(quote_request(id, ONE_SOL)).await.unwrap().amount_out.0;
            let other = meteora.quote(quote_request(id, ONE_SOL)).await.unwrap().amount_out.0;
            assert!(one.abs_diff(other) * 20 <= one.max(other), "{one} and {other}");
            raydium_wins += u32::from(one > other);
        }
        assert!((50..150).contains(&raydium_wins), "{raydium_wins}");
    }

    #[test]
    fn with_two_venues_a_seed_gives_the_prices_of_the_first_version() {
        let (raydium, meteora) = (venue(RAYDIUM, settings()), venue(METEORA, settings()));
        for id in 0..100 {
            let request = quote_request(id, ONE_SOL);
            let mut draws = raydium.market.rng.draws(PRICE, request.id, request.round);
            let half = draws.between(20_000, 48_000) / 2;
            let raydium_is_better = draws.between(0, 1) == 1;
            let (above, below) = (1_000_000 + half, 1_000_000 - half);
            let prices = if raydium_is_better { (above, below) } else { (below, above) };
            assert_eq!((raydium.price_ppm(&request), meteora.price_ppm(&request)), prices);
        }
    }

    #[tokio::test]
    async fn each_of_three_venues_is_the_best_at_times_and_all_stay_within_five_percent() {
        let orca = VenueProfile { id: VenueId::named("orca"), fee_ppm: 2_000 };
        let three = venues(&[RAYDIUM, METEORA, orca], settings());
        let mut wins = [0; 3];
        for id in 0..300 {
            let mut outputs = Vec::new();
            for venue in &three {
                outputs.push(venue.quote(quote_request(id, ONE_SOL)).await.unwrap().amount_out.0);
            }
            let (best, worst) = (*outputs.iter().max().unwrap(), *outputs.iter().min().unwrap());
            assert!((best - worst) * 20 <= best, "{outputs:?}");
            wins[outputs.iter().position(|output| *output == best).unwrap()] += 1;
        }
        assert!(wins.iter().all(|wins| (50..150).contains(wins)), "{wins:?}");
    }

    #[tokio::test]
    async fn a_venue_that_is_alone_quotes() {
        let alone = venues(&[METEORA], settings());
        assert!(alone[0].quote(quote_request(1, ONE_SOL)).await.unwrap().amount_out.0 > 0);
    }

    #[tokio::test]
    async fn the_same_request_gets_the_same_price_again() {
        let (one, other) = (venue(RAYDIUM, settings()), venue(RAYDIUM, settings()));
        for id in 0..20 {
            let (first, second) = (one.quote(quote_request(id, ONE_SOL)), other.quote(quote_request(id, ONE_SOL)));
            assert_eq!(first.await.unwrap().amount_out, second.await.unwrap().amount_out);
        }
    }

    #[tokio::test]
    async fn a_larger_trade_has_a_larger_price_impact() {
        let venue = venue(RAYDIUM, settings());
        let mut last = Decimal::ZERO;
        for amount in [ONE_SOL, 1_000 * ONE_SOL, 1_000_000 * ONE_SOL] {
            let impact = venue.quote(quote_request(1, amount)).await.unwrap().price_impact;
            assert!(impact > last && impact < Decimal::ONE, "{amount}: {impact}");
            last = impact;
        }
    }

    #[tokio::test]
    async fn a_built_swap_has_the_floor_of_its_quote() {
        let venue = venue(METEORA, settings());
        let quote = venue.quote(quote_request(1, ONE_SOL)).await.unwrap();
        let order = Arc::new(request());
        let (quoted_out, floor) = (quote.amount_out, order.floor(quote.amount_out));
        let swap_request = SwapRequest { order_id: OrderId(Uuid::from_u128(1)), attempt: 2, order, quote };
        let built = venue.build(swap_request).await.unwrap();
        assert_eq!((built.venue, built.quoted_out, built.min_amount_out), (METEORA.id, quoted_out, floor));
    }

    #[tokio::test]
    async fn a_venue_that_is_down_refuses_to_quote() {
        let down = venue(RAYDIUM, SimulationSettings { venues_down: vec![RAYDIUM.id], ..settings() });
        let failure = down.quote(quote_request(1, ONE_SOL)).await.unwrap_err();
        assert_eq!(failure.code, FailureCode::VenueUnavailable);
    }
}
