//! Simulated venues: Raydium and Meteora with pools of their own.
//!
//! Prices come from the token list. The two venues differ by 2 to 5 %, and which one is better changes from quote to
//! quote. A pool is a constant product with `DEPTH_USD` on each side, so large trades have a price impact.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use ed25519_dalek::{Signer, SigningKey};
use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};

use crate::chain::Chain;
use crate::config::SimulationSettings;
use crate::domain::amount::BaseUnits;
use crate::domain::id::VenueId;
use crate::domain::quote::{Quote, price};
use crate::domain::request::OrderRequest;
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::swap::{Signature, SignedSwap, Swap};
use crate::domain::token::{Token, TokenList};
use crate::runtime::clock::{Clock, elapsed_ms};
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

    fn offer(&self, request: &QuoteRequest, started: Instant) -> Result<Quote, Failure> {
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
            latency_ms: elapsed_ms(started),
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
        let started = Instant::now();
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
