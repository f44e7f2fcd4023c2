//! The arithmetic of a swap: a constant product, with every rounding in favour of the pool.

use crate::venue::pool::{PoolError, Trade, Unsupported};

/// The rates are in millionths.
const ONE: u128 = 1_000_000;

/// The fee rates of a swap, in millionths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) on_input: u128,
    pub(super) on_output: u64,
}

/// The result of a swap of exactly that input. The reserves of the input and the output are not 0.
pub(super) fn exact_in(rates: Rates, reserves: [u64; 2], amount_in: u64) -> Result<Trade, PoolError> {
    let [reserve_in, reserve_out] = reserves.map(u128::from);
    let rate_on_output = u128::from(rates.on_output);
    if let Some(rate) = [rates.on_input, rate_on_output].into_iter().find(|rate| *rate >= ONE) {
        let value = u64::try_from(rate).unwrap_or(u64::MAX);
        return Err(Unsupported::Unknown { field: "the fee rate in millionths", value }.into());
    }
    let fee_on_input = share(amount_in, rates.on_input);
    let net_in = u128::from(amount_in - fee_on_input);
    let reserve_after = reserve_in + net_in;
    let gross_out = net_in * reserve_out / reserve_after;
    let gross_out = u64::try_from(gross_out).expect("an output is at most the reserve");
    let fee_on_output = share(gross_out, rate_on_output);
    let amount_out = gross_out - fee_on_output;
    if amount_out == 0 {
        return Err(PoolError::TooSmall);
    }
    let impact = (net_in * ONE).div_ceil(reserve_after);
    Ok(Trade {
        amount_out,
        fee_on_input,
        fee_on_output,
        impact_millionths: u32::try_from(impact).expect("an impact is at most one"),
    })
}

/// The share of an amount at a rate below one, rounded up.
fn share(amount: u64, rate: u128) -> u64 {
    let share = (u128::from(amount) * rate).div_ceil(ONE);
    u64::try_from(share).expect("a share is at most the amount")
}
