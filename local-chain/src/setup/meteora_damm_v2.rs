//! Pools of Meteora's DAMM v2 program, placed in the layout of the real program.

use ruint::aliases::U512;
use solana_address::Address;

use super::raydium_cpmm::Layout;
use super::{Pool, PoolKind};
use crate::Chain;
use crate::programs::meteora_damm_v2::{POOL, POOL_AUTHORITY, PROGRAM, SQRT_PRICES, pool};
use crate::tokens::TOKEN_2022_PROGRAM;

/// The fees of a pool, and its price if that does not follow from the reserves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MeteoraDammV2Terms {
    /// Of the output or the input, in billionths.
    pub fee: u64,
    /// Of the fee, in percent.
    pub protocol_fee_percent: u8,
    /// Whether the fee is always in the second token. Otherwise it is in the token that is bought.
    pub fee_only_in_second: bool,
    /// The square root of the price as Q64.64, and the liquidity, if not those of the reserves over the whole range.
    pub sqrt_price_and_liquidity: Option<(u128, u128)>,
    /// From when on the pool swaps, in seconds since 1970.
    pub activation_time: u64,
}

impl Default for MeteoraDammV2Terms {
    fn default() -> Self {
        Self {
            fee: 2_500_000,
            protocol_fee_percent: 20,
            fee_only_in_second: false,
            sqrt_price_and_liquidity: None,
            activation_time: 0,
        }
    }
}

impl Chain {
    /// Places a pool with these reserves, in this order of the tokens; the mints must be on the chain.
    pub fn add_meteora_damm_v2_pool(&mut self, reserves: [(Address, u64); 2], terms: MeteoraDammV2Terms) -> Pool {
        let mints = reserves.map(|(mint, _)| mint);
        let token_programs = mints.map(|mint| self.token_program(&mint));
        let derive = |seeds: &[&[u8]]| Address::find_program_address(seeds, &PROGRAM).0;
        let address = derive(&[b"cpool", mints[0].max(mints[1]).as_ref(), mints[0].min(mints[1]).as_ref()]);
        let vaults = mints.map(|mint| derive(&[b"token_vault", mint.as_ref(), address.as_ref()]));
        let (sqrt_price, liquidity) =
            terms.sqrt_price_and_liquidity.unwrap_or_else(|| full_range(reserves.map(|(_, amount)| amount)));

        let mut data = Layout::new(&POOL, pool::LENGTH);
        data.put(pool::CLIFF_FEE, &terms.fee.to_le_bytes());
        data.put(pool::PROTOCOL_FEE_PERCENT, &[terms.protocol_fee_percent]);
        data.put(pool::LIQUIDITY, &liquidity.to_le_bytes());
        data.put(pool::SQRT_MIN_PRICE, &SQRT_PRICES[0].to_le_bytes());
        data.put(pool::SQRT_MAX_PRICE, &SQRT_PRICES[1].to_le_bytes());
        data.put(pool::SQRT_PRICE, &sqrt_price.to_le_bytes());
        data.put(pool::ACTIVATION_POINT, &terms.activation_time.to_le_bytes());
        data.put(pool::ACTIVATION_TYPE, &[1]);
        data.put(pool::COLLECT_FEE_MODE, &[u8::from(terms.fee_only_in_second)]);
        data.put(pool::FEE_VERSION, &[1]);
        data.put(pool::CREATOR, POOL_AUTHORITY.as_ref());
        for side in 0..2 {
            data.put(pool::VAULTS[side], vaults[side].as_ref());
            data.put(pool::MINTS[side], mints[side].as_ref());
            data.put(pool::TOKEN_FLAGS[side], &[u8::from(token_programs[side] == TOKEN_2022_PROGRAM)]);
            self.set_token_account(vaults[side], &POOL_AUTHORITY, &mints[side], reserves[side].1);
        }
        self.set_state(address, &PROGRAM, data);
        self.add_pool(Pool { kind: PoolKind::MeteoraDammV2, address, mints, vaults, token_programs })
    }
}

/// The square root of the price, and the liquidity, of reserves over the whole range of prices.
fn full_range([first, second]: [u64; 2]) -> (u128, u128) {
    let [first, second] = [U512::from(first), U512::from(second)];
    let sqrt_price = square_root((second << 128_usize) / first.max(U512::from(1)));
    let liquidity = square_root((first * second) << 128_usize);
    (
        sqrt_price.try_into().expect("the root of a number below 2^192 fits"),
        liquidity.try_into().expect("the root of a number below 2^256 fits"),
    )
}

/// The square root, rounded down; by Newton's method from above.
fn square_root(number: U512) -> U512 {
    if number.is_zero() {
        return number;
    }
    let mut root = U512::from(1) << number.bit_len().div_ceil(2);
    loop {
        let next = (root + number / root) >> 1_usize;
        if next >= root {
            return root;
        }
        root = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_root_is_rounded_down() {
        for (number, root) in [(0, 0), (1, 1), (3, 1), (4, 2), (99, 9), (100, 10), (u64::MAX, u64::from(u32::MAX))] {
            assert_eq!(square_root(U512::from(number)), U512::from(root), "{number}");
        }
    }

    #[test]
    fn the_price_and_the_liquidity_follow_from_the_reserves() {
        let (sqrt_price, liquidity) = full_range([1_000_000_000_000, 150_000_000_000]);
        assert_eq!(sqrt_price, 7_144_393_258_922_745_604);
        assert_eq!(liquidity / 1_000_000_000_000, 7_144_393_258_922_745_604);
    }
}
