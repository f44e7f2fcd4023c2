//! Simulated venues: Raydium and Meteora with pools of their own.
//!
//! Prices come from the token list. The two venues differ by 2 to 5 %, and which one is better changes from quote to
//! quote. A pool is a constant product with `DEPTH_USD` on each side, so large trades have a price impact.

use std::sync::Arc;

use async_trait::async_trait;
use ed25519_dalek::{Signer, SigningKey};
use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};

use crate::chain::Chain;
use crate::config::SimulationSettings;
use crate::domain::amount::BaseUnits;
use crate::domain::id::VenueId;
use crate::domain::moment::Uptime;
use crate::domain::quote::{Quote, price};
use crate::domain::request::OrderRequest;
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::swap::{Signature, SignedSwap, Swap};
use crate::domain::token::{Token, TokenList};
use crate::runtime::clock::Clock;
use crate::simulation::rng::SimulationRng;
use crate::simulation::transaction::{Instruction, encode};
use crate::venue::{QuoteRequest, SwapRequest, Venue};

/// The value of each side of a simulated pool, in US dollars.
const DEPTH_USD: i64 = 50_000_000;
/// The assumed price of a mint outside the token list, in US dollars.
const UNKNOWN_USD: Decimal = Decimal::ONE;

// The purposes of the draws, see `SimulationRng::draws`. `FAULT` is followed by one number per venue.
const PRICE: u64 = 1;
const FAULT: u64 = 16;

/// A simulated venue.
pub struct SimulatedVenue {
    id: VenueId,
    settings: SimulationSettings,
    tokens: Arc<TokenList>,
    rng: SimulationRng,
    clock: Clock,
    chain: Arc<dyn Chain>,
    wallet: Arc<SigningKey>,
}

impl SimulatedVenue {
    /// Creates a venue that signs with that wallet for that chain.
    pub fn new(
        id: VenueId,
        settings: SimulationSettings,
        tokens: Arc<TokenList>,
        rng: SimulationRng,
        clock: Clock,
        chain: Arc<dyn Chain>,
        wallet: Arc<SigningKey>,
    ) -> Self {
        Self { id, settings, tokens, rng, clock, chain, wallet }
    }

    /// The fee in millionths of the output: 0.25 % at Raydium, 0.30 % at Meteora.
    const fn fee_ppm(&self) -> u64 {
        match self.id {
            VenueId::Raydium => 2_500,
            VenueId::Meteora => 3_000,
        }
    }

    fn usd(&self, token: &Token) -> Decimal {
        self.tokens.known(&token.mint).map_or(UNKNOWN_USD, |known| known.simulated_usd)
    }

    /// The price of this venue relative to the token list, in millionths: half the drawn spread above or below it.
    ///
    /// The spread is at most 4.8 %, so that the venues never differ by more than 5 % after fees.
    fn price_ppm(&self, request: &QuoteRequest) -> u64 {
        let mut draws = self.rng.draws(PRICE, request.id, request.round);
        let half = draws.between(20_000, 48_000) / 2;
        let raydium_is_better = draws.between(0, 1) == 1;
        if raydium_is_better == (self.id == VenueId::Raydium) { 1_000_000 + half } else { 1_000_000 - half }
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
            || Failure::new(FailureCode::NoLiquidity, format!("{} has no liquidity for this size", self.id));
        let (gross, price_impact) = self.trade(order, self.price_ppm(request)).ok_or_else(too_large)?;
        // Rounded up, as a pool does.
        let fee = (u128::from(gross.0) * u128::from(self.fee_ppm())).div_ceil(1_000_000);
        let fee = BaseUnits(u64::try_from(fee).map_err(|_| too_large())?);
        let amount_out = BaseUnits(gross.0 - fee.0);
        if amount_out.0 == 0 {
            return Err(Failure::new(
                FailureCode::NoLiquidity,
                format!("{} pays nothing for such a small amount", self.id),
            ));
        }
        Ok(Quote {
            venue: self.id,
            amount_out,
            fee,
            price: price(order.amount_in, &order.token_in, amount_out, &order.token_out),
            price_impact,
            latency_ms: self.clock.elapsed_ms(started),
            quoted_at: self.clock.now(),
        })
    }
}

#[async_trait]
impl Venue for SimulatedVenue {
    fn id(&self) -> VenueId {
        self.id
    }

    async fn quote(&self, request: QuoteRequest) -> Result<Quote, Failure> {
        let started = self.clock.uptime();
        if self.settings.venues_silent.contains(&self.id) {
            std::future::pending::<()>().await;
        }
        if !self.settings.quote_latency.is_zero() {
            tokio::time::sleep(self.settings.quote_latency).await;
        }
        let fails = self
            .settings
            .venue_failure_rate
            .holds(self.rng.draws(FAULT + self.id as u64, request.id, request.round).millionths());
        if fails || self.settings.venues_down.contains(&self.id) {
            return Err(Failure::new(FailureCode::VenueUnavailable, format!("{} refused to quote", self.id)));
        }
        self.offer(&request, started)
    }

    async fn build(&self, request: SwapRequest) -> Result<SignedSwap, Failure> {
        let height = self
            .chain
            .block_height()
            .await
            .map_err(|error| Failure::new(FailureCode::BuildFailed, error.to_string()))?;
        let min_amount_out = request.order.floor(request.quote.amount_out);
        let last_valid_block_height = height + self.settings.valid_blocks;
        let instruction = Instruction {
            order_id: request.order_id,
            attempt: request.attempt,
            venue: self.id,
            token_in: request.order.token_in.mint.clone(),
            token_out: request.order.token_out.mint.clone(),
            amount_in: request.order.amount_in,
            quoted_out: request.quote.amount_out,
            min_amount_out,
            last_valid_block_height,
        };
        let message = instruction.to_bytes();
        let signature = Signature(self.wallet.sign(&message).to_bytes());
        Ok(SignedSwap {
            swap: Swap {
                venue: self.id,
                signature,
                last_valid_block_height,
                quoted_out: request.quote.amount_out,
                min_amount_out,
            },
            bytes: encode(signature, &message),
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::OrderId;
    use crate::domain::request::tests::request;
    use crate::domain::token::KnownToken;
    use crate::simulation::chain::SimulatedChain;
    use crate::simulation::ledger::Ledger;
    use crate::simulation::samples::settings;

    fn venue(id: VenueId, settings: SimulationSettings) -> SimulatedVenue {
        let (rng, clock) = (
            SimulationRng::new(settings.seed, &crate::runtime::environment::Environment::system().random),
            Clock::runtime(),
        );
        let ledger = Ledger::in_memory(clock.read(), settings.block);
        let chain = SimulatedChain::new(settings.clone(), rng, clock, ledger);
        let request = request();
        let tokens = vec![
            KnownToken { token: request.token_in, simulated_usd: Decimal::from(150) },
            KnownToken { token: request.token_out, simulated_usd: Decimal::ONE },
        ];
        let tokens = Arc::new(TokenList::new(tokens, 9).unwrap());
        let wallet = Arc::new(SigningKey::from_bytes(&[1; 32]));
        SimulatedVenue::new(id, settings, tokens, rng, clock, Arc::new(chain), wallet)
    }

    fn quote_request(id: u128, amount_in: u64) -> QuoteRequest {
        let order = OrderRequest { amount_in: BaseUnits(amount_in), ..request() };
        QuoteRequest { id: Uuid::from_u128(id), round: 1, order: Arc::new(order) }
    }

    const ONE_SOL: u64 = 1_000_000_000;

    #[tokio::test]
    async fn the_venues_differ_by_at_most_five_percent_and_either_can_be_better() {
        let (raydium, meteora) = (venue(VenueId::Raydium, settings()), venue(VenueId::Meteora, settings()));
        let mut raydium_wins = 0;
        for id in 0..200 {
            let one = raydium.quote(quote_request(id, ONE_SOL)).await.unwrap().amount_out.0;
            let other = meteora.quote(quote_request(id, ONE_SOL)).await.unwrap().amount_out.0;
            assert!(one.abs_diff(other) * 20 <= one.max(other), "{one} and {other}");
            raydium_wins += u32::from(one > other);
        }
        assert!((50..150).contains(&raydium_wins), "{raydium_wins}");
    }

    #[tokio::test]
    async fn the_same_request_gets_the_same_price_again() {
        let (one, other) = (venue(VenueId::Raydium, settings()), venue(VenueId::Raydium, settings()));
        for id in 0..20 {
            let (first, second) = (one.quote(quote_request(id, ONE_SOL)), other.quote(quote_request(id, ONE_SOL)));
            assert_eq!(first.await.unwrap().amount_out, second.await.unwrap().amount_out);
        }
    }

    #[tokio::test]
    async fn a_larger_trade_has_a_larger_price_impact() {
        let venue = venue(VenueId::Raydium, settings());
        let mut last = Decimal::ZERO;
        for amount in [ONE_SOL, 1_000 * ONE_SOL, 1_000_000 * ONE_SOL] {
            let impact = venue.quote(quote_request(1, amount)).await.unwrap().price_impact;
            assert!(impact > last && impact < Decimal::ONE, "{amount}: {impact}");
            last = impact;
        }
    }

    #[tokio::test]
    async fn a_built_swap_has_the_floor_of_its_quote_and_the_message_that_is_signed() {
        let venue = venue(VenueId::Meteora, settings());
        let quote = venue.quote(quote_request(1, ONE_SOL)).await.unwrap();
        let order = Arc::new(request());
        let floor = order.floor(quote.amount_out);
        let swap_request = SwapRequest { order_id: OrderId(Uuid::from_u128(1)), attempt: 2, order, quote };
        let signed = venue.build(swap_request).await.unwrap();
        let (signature, instruction) = crate::simulation::transaction::decode(&signed.bytes).unwrap();
        assert_eq!((signature, instruction.attempt), (signed.swap.signature, 2));
        assert_eq!((signed.swap.min_amount_out, instruction.min_amount_out), (floor, floor));
        assert_eq!(signed.swap.last_valid_block_height, instruction.last_valid_block_height);
    }

    #[tokio::test]
    async fn a_venue_that_is_down_refuses_to_quote() {
        let down = venue(VenueId::Raydium, SimulationSettings { venues_down: vec![VenueId::Raydium], ..settings() });
        let failure = down.quote(quote_request(1, ONE_SOL)).await.unwrap_err();
        assert_eq!(failure.code, FailureCode::VenueUnavailable);
    }
}
