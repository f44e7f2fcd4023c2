//! The compute budget of a transaction, and the fee that follows from it.

/// What the chain charges for the one signature, in lamports.
pub const SIGNATURE_FEE: u64 = 5_000;

/// The most units that a transaction may use.
const MAX_UNITS: u32 = 1_400_000;
const MICRO: u128 = 1_000_000;

/// What a transaction may compute, and what the wallet offers for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The limit of compute units. The fee is for the limit, not for what is used.
    pub units: u32,
    /// The price of a unit, in millionths of a lamport.
    pub price: u64,
}

impl Budget {
    /// The budget of the simulation that shows how many units the swap needs.
    pub const DRAFT: Self = Self { units: MAX_UNITS, price: 0 };

    /// The whole fee in lamports, as the chain charges it, also if the swap fails.
    pub fn fee(self) -> u64 {
        let priority = (u128::from(self.units) * u128::from(self.price)).div_ceil(MICRO);
        SIGNATURE_FEE.saturating_add(u64::try_from(priority).unwrap_or(u64::MAX))
    }
}

/// What the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeLimits {
    /// The least price of a unit, in millionths of a lamport.
    pub min_price: u64,
    /// The most that one transaction may cost in all, in lamports; at least [`SIGNATURE_FEE`].
    pub max_fee: u64,
}

/// The budget of a swap that used that many units in a simulation.
///
/// The price is that of recent transactions on the same accounts, doubled with each attempt, because an attempt that
/// expired offered too little. The limits of the operator hold for every attempt.
pub fn budget(used_units: u64, recent_prices: &[u64], attempt: u32, limits: FeeLimits) -> Budget {
    let units = units(used_units);
    let doubled = 1u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX);
    let price = usual_price(recent_prices).max(limits.min_price).saturating_mul(doubled);
    Budget { units, price: price.min(max_price(units, limits.max_fee)) }
}

/// A fifth more than was used, because the pool may have changed until the swap lands.
fn units(used: u64) -> u32 {
    let with_reserve = used.saturating_mul(6).div_ceil(5).max(1);
    u32::try_from(with_reserve).unwrap_or(MAX_UNITS).min(MAX_UNITS)
}

/// The price that three of four recent transactions did not exceed; 0 without any.
fn usual_price(recent: &[u64]) -> u64 {
    let mut prices = recent.to_vec();
    prices.sort_unstable();
    let place = (prices.len() * 3).div_ceil(4).saturating_sub(1);
    prices.get(place).copied().unwrap_or(0)
}

/// The highest price with which the fee stays within the limit.
fn max_price(units: u32, max_fee: u64) -> u64 {
    let priority = max_fee.saturating_sub(SIGNATURE_FEE);
    u64::try_from(u128::from(priority) * MICRO / u128::from(units)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: FeeLimits = FeeLimits { min_price: 100, max_fee: 100_000 };

    #[test]
    fn the_fee_is_for_the_signature_and_for_the_limit_of_units_rounded_up() {
        assert_eq!(Budget { units: 200_000, price: 1_000 }.fee(), 5_200);
        assert_eq!(Budget { units: 1, price: 1 }.fee(), 5_001);
        assert_eq!(Budget { units: 0, price: u64::MAX }.fee(), 5_000);
        assert_eq!(Budget::DRAFT.fee(), 5_000);
    }

    #[test]
    fn the_limit_is_a_fifth_above_the_use_and_within_what_the_chain_allows() {
        let units = |used| budget(used, &[], 1, LIMITS).units;
        assert_eq!(units(54_268), 65_122);
        assert_eq!(units(1_400_000), MAX_UNITS);
        assert_eq!(units(u64::MAX), MAX_UNITS);
    }

    #[test]
    fn the_price_follows_recent_transactions_and_doubles_with_each_attempt_up_to_the_limit() {
        let price = |recent: &[u64], attempt| budget(100_000, recent, attempt, LIMITS).price;
        assert_eq!(price(&[4_000, 1_000, 3_000, 2_000], 1), 3_000);
        assert_eq!(price(&[9_000, 8_000, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000], 1), 6_000);
        assert_eq!(price(&[5], 1), 100, "the least price");
        assert_eq!(price(&[], 1), 100);
        assert_eq!(price(&[1_000], 2), 2_000);
        assert_eq!(price(&[1_000], 3), 4_000);
        assert_eq!(budget(100_000, &[u64::MAX], 1, LIMITS).fee(), LIMITS.max_fee);
        assert_eq!(budget(100_000, &[1_000], 90, LIMITS).fee(), LIMITS.max_fee);
    }

    proptest! {
        #[test]
        fn no_transaction_costs_more_than_the_limit(
            used: u64,
            recent in proptest::collection::vec(any::<u64>(), 0..160),
            attempt: u32,
            min_price: u64,
            max_fee in SIGNATURE_FEE..,
        ) {
            let budget = budget(used, &recent, attempt, FeeLimits { min_price, max_fee });
            prop_assert!(budget.fee() <= max_fee);
        }
    }
}
