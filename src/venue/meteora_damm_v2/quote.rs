//! The arithmetic of a swap, with every rounding in favour of the pool.

use ruint::aliases::U256;

use super::fee;
use crate::venue::pool::{Direction, PoolError, Trade};

/// The impact is in millionths.
const MILLION: u32 = 1_000_000;

/// Where the price comes from.
#[derive(Debug)]
pub(super) enum Curve {
    /// Liquidity, not 0, in one range of prices. Prices are those of token A in token B; their square roots and the
    /// liquidity are fixed-point numbers with 64 binary places.
    Range { liquidity: u128, sqrt_price: u128, sqrt_min: u128, sqrt_max: u128 },
    /// A constant product of the reserves of A and B.
    Product { reserves: [u64; 2] },
}

/// The result of a swap of exactly that input, at that fee rate in billionths.
pub(super) fn exact_in(
    curve: &Curve,
    rate: u64,
    fee_on_input: bool,
    direction: Direction,
    amount_in: u64,
) -> Result<Trade, PoolError> {
    let [rate_on_input, rate_on_output] = if fee_on_input { [rate, 0] } else { [0, rate] };
    let fee_on_input = share(amount_in, rate_on_input);
    let net_in = amount_in - fee_on_input;
    if net_in == 0 {
        return Err(PoolError::TooSmall);
    }
    let (gross_out, impact) = curve.output(direction, net_in, amount_in)?;
    let fee_on_output = share(gross_out, rate_on_output);
    let amount_out = gross_out - fee_on_output;
    if amount_out == 0 {
        return Err(PoolError::TooSmall);
    }
    Ok(Trade { amount_out, fee_on_input, fee_on_output, impact_millionths: impact })
}

impl Curve {
    /// The output before fees, and the price impact in millionths.
    fn output(&self, direction: Direction, net_in: u64, amount_in: u64) -> Result<(u64, u32), PoolError> {
        match *self {
            Self::Range { sqrt_price: 0, .. } => Err(PoolError::Empty),
            Self::Range { liquidity, sqrt_price, sqrt_min, sqrt_max } => {
                let [liquidity, sqrt_price, sqrt_min, sqrt_max] =
                    [liquidity, sqrt_price, sqrt_min, sqrt_max].map(U256::from);
                match direction {
                    Direction::AToB => sell_a(liquidity, sqrt_price, sqrt_min, U256::from(net_in)),
                    Direction::BToA => sell_b(liquidity, sqrt_price, sqrt_max, U256::from(net_in)),
                }
            }
            Self::Product { reserves } => {
                let [reserve_in, reserve_out] = direction.of(reserves);
                if reserve_in == 0 || reserve_out == 0 {
                    return Err(PoolError::Empty);
                }
                // The program counts the whole input in 64 bits.
                reserve_in.checked_add(amount_in).ok_or(PoolError::OutOfRange)?;
                let [reserve_in, reserve_out, net_in] = [reserve_in, reserve_out, net_in].map(U256::from);
                let reserve_after = reserve_in + net_in;
                Ok((units(net_in * reserve_out / reserve_after)?, millionths(net_in, reserve_after)))
            }
        }
    }
}

// No product of the following exceeds 256 bits: each has two factors of 128 bits, or one of 128 and one of 64.

/// The price falls. The impact is that of the mean price, which is the product of the square roots before and after.
fn sell_a(liquidity: U256, sqrt_before: U256, sqrt_min: U256, net_in: U256) -> Result<(u64, u32), PoolError> {
    let sqrt_after = (liquidity * sqrt_before).div_ceil(liquidity + net_in * sqrt_before);
    if sqrt_after < sqrt_min {
        return Err(PoolError::OutOfRange);
    }
    let fall = sqrt_before - sqrt_after;
    let gross_out = (liquidity * fall) >> 128usize;
    Ok((units(gross_out)?, millionths(fall, sqrt_before)))
}

/// The price rises.
fn sell_b(liquidity: U256, sqrt_before: U256, sqrt_max: U256, net_in: U256) -> Result<(u64, u32), PoolError> {
    let rise = (net_in << 128usize) / liquidity;
    let sqrt_after = sqrt_before + rise;
    if sqrt_after > sqrt_max {
        return Err(PoolError::OutOfRange);
    }
    let gross_out = liquidity * rise / (sqrt_before * sqrt_after);
    Ok((units(gross_out)?, millionths(rise, sqrt_after)))
}

/// The share of an amount at a rate below one, rounded up.
fn share(amount: u64, rate: u64) -> u64 {
    let share = (u128::from(amount) * u128::from(rate)).div_ceil(fee::ONE.into());
    u64::try_from(share).expect("a share is at most the amount")
}

/// A part of a whole in millionths, rounded up.
fn millionths(part: U256, whole: U256) -> u32 {
    let fraction = (part * U256::from(MILLION)).div_ceil(whole);
    u32::try_from(fraction).expect("a part is at most the whole")
}

fn units(amount: U256) -> Result<u64, PoolError> {
    u64::try_from(amount).map_err(|_| PoolError::OutOfRange)
}
