//! A stand-in for `swap` of Meteora's DAMM v2 program, and the layout of its pools.
//!
//! It knows pools of SPL tokens with a constant range of prices (collect fee modes 0 and 1) and scheduled fees. The
//! dynamic part of a fee follows the stored accumulator, which the stand-in does not move.

use ruint::aliases::{U256, U512};
use solana_address::{Address, address};
use solana_instruction::error::InstructionError;
use solana_program_runtime::invoke_context::InvokeContext;

use super::anchor::*;

/// The address of the program, on mainnet and on devnet.
pub const PROGRAM: Address = address!("cpamdpZCGKUy5JxQXB4dcpGPiikHawvSWAd6mEn1sGG");
/// The authority of every vault.
pub const POOL_AUTHORITY: Address = address!("HLnpSz9h2S4hiLQ43rnSD9XkcUThA7B8hQMKmDaiTLcC");
/// The address that signs the events of the program.
pub const EVENT_AUTHORITY: Address = address!("3rmHSu74h1ZcmAisVcWerTCiRDQbUrBKmcwptYGjHfet");
/// The discriminator of `swap`.
pub const SWAP: [u8; 8] = [0xf8, 0xc6, 0x9e, 0x91, 0xe1, 0x75, 0x87, 0xc8];
/// The square roots of the lowest and the highest price, as Q64.64.
pub const SQRT_PRICES: [u128; 2] = [4_295_048_016, 79_226_673_521_066_979_257_578_248_091];

pub(crate) const POOL: [u8; 8] = [0xf1, 0x9a, 0x6d, 0x04, 0x11, 0xb1, 0x6d, 0xbc];
const AUTHORITY_SEED: &[u8] = b"pool_authority";

const EXCEEDED_SLIPPAGE: Refusal = Refusal(6002, "ExceededSlippage");
const POOL_DISABLED: Refusal = Refusal(6003, "PoolDisabled");
const AMOUNT_IS_ZERO: Refusal = Refusal(6006, "AmountIsZero");
const PRICE_RANGE_VIOLATION: Refusal = Refusal(6015, "PriceRangeViolation");

/// Where the fields of a pool are.
pub(crate) mod pool {
    pub const LENGTH: usize = 1_112;
    pub const CLIFF_FEE: usize = 8;
    pub const FEE_MODE: usize = 16;
    pub const PERIODS: usize = 22;
    pub const PERIOD_LENGTH: usize = 24;
    pub const REDUCTION: usize = 32;
    pub const PROTOCOL_FEE_PERCENT: usize = 48;
    pub const HAS_DYNAMIC_FEE: usize = 56;
    pub const VARIABLE_FEE_CONTROL: usize = 68;
    pub const BIN_STEP: usize = 72;
    pub const VOLATILITY_ACCUMULATOR: usize = 120;
    pub const MINTS: [usize; 2] = [168, 200];
    pub const VAULTS: [usize; 2] = [232, 264];
    pub const LIQUIDITY: usize = 360;
    pub const PROTOCOL_FEES: [usize; 2] = [392, 400];
    pub const SQRT_MIN_PRICE: usize = 424;
    pub const SQRT_MAX_PRICE: usize = 440;
    pub const SQRT_PRICE: usize = 456;
    pub const ACTIVATION_POINT: usize = 472;
    pub const ACTIVATION_TYPE: usize = 480;
    pub const STATUS: usize = 481;
    pub const TOKEN_FLAGS: [usize; 2] = [482, 483];
    pub const COLLECT_FEE_MODE: usize = 484;
    pub const FEE_VERSION: usize = 486;
    pub const FEES_PER_LIQUIDITY: [usize; 2] = [488, 520];
    pub const CREATOR: usize = 648;
}

mod entry {
    use solana_program_runtime::declare_process_instruction;

    // The units are about those of the real program.
    declare_process_instruction!(StandIn, 24_000, |context| {
        let result = super::process(context);
        super::finish(context, result)
    });
}
pub(super) use entry::StandIn;

fn process(context: &mut InvokeContext) -> Result<(), Failure> {
    let call = Call::read(context)?;
    call.require_instruction(&SWAP)?;
    log(context, "Instruction: Swap");
    let (amount_in, minimum_out) = call.amounts()?;

    let authority = call.account(0)?;
    let state = call.account(1)?;
    state.require_state(&call.program, &POOL, pool::LENGTH)?;
    let (user_in, held_in) = call.token_account(2)?;
    let (user_out, _) = call.token_account(3)?;
    let vaults = [call.token_account(4)?.0, call.token_account(5)?.0];
    let mints = [call.mint(6)?, call.mint(7)?];
    let payer = call.account(8)?;
    payer.require_signer()?;
    let programs = [call.token_program(9)?, call.token_program(10)?];
    // Without a referral, the program itself stands in its place. The stand-in pays no referrals.
    let referral = call.account(11)?;
    require(referral.key == call.program, if referral.is_writable { WRONG_OWNER } else { NOT_MUTABLE })?;
    let event_authority = call.account(12)?;
    // The real program does not compare the last account, which it needs to call itself.
    call.account(13)?;

    require(authority.key == POOL_AUTHORITY, WRONG_ADDRESS)?;
    for account in [state, user_in, user_out, vaults[0], vaults[1]] {
        account.require_writable()?;
    }
    for side in 0..2 {
        require(vaults[side].key == state.address(pool::VAULTS[side])?, WRONG_RELATION)?;
        require(mints[side].key == state.address(pool::MINTS[side])?, WRONG_RELATION)?;
    }
    require(event_authority.key == EVENT_AUTHORITY, WRONG_SEEDS)?;

    let clock = context.environment_config.sysvar_cache().get_clock()?;
    let now = match state.account.data[pool::ACTIVATION_TYPE] {
        0 => clock.slot,
        _ => u64::try_from(clock.unix_timestamp).unwrap_or(0),
    };
    let is_enabled = state.account.data[pool::STATUS] == 0 && now >= state.u64(pool::ACTIVATION_POINT)?;
    require(is_enabled, POOL_DISABLED)?;
    require(amount_in > 0, AMOUNT_IS_ZERO)?;

    let a_to_b = held_in.mint == mints[0].key;
    let (input, output) = if a_to_b { (0, 1) } else { (1, 0) };
    let Some(swap) = Swap::of(&state.account.data, a_to_b, now) else {
        log(context, "the stand-in does not know pools of this kind");
        return Err(InstructionError::InvalidAccountData.into());
    };
    let filled = swap.fill(amount_in).ok_or(PRICE_RANGE_VIOLATION)?;
    require(filled.out >= minimum_out, EXCEEDED_SLIPPAGE)?;

    let mut data = state.account.data.clone();
    let fee_side = if swap.fee_on_input { input } else { output };
    filled.book(&mut data, fee_side, swap.liquidity).ok_or(InstructionError::ArithmeticOverflow)?;

    Transfer {
        from: user_in,
        mint: mints[input],
        to: vaults[input],
        authority: payer,
        token_program: programs[input],
        amount: amount_in,
        seeds: &[],
    }
    .execute(context)?;
    let (_, bump) = Address::find_program_address(&[AUTHORITY_SEED], &call.program);
    Transfer {
        from: vaults[output],
        mint: mints[output],
        to: user_out,
        authority,
        token_program: programs[output],
        amount: filled.out,
        seeds: &[AUTHORITY_SEED, &[bump]],
    }
    .execute(context)?;
    Ok(write(context, 1, &data)?)
}

/// What a swap needs to know of its pool.
struct Swap {
    a_to_b: bool,
    fee_on_input: bool,
    /// The share of the fee, of a billion.
    fee_rate: u64,
    liquidity: u128,
    sqrt_price: u128,
    sqrt_min_price: u128,
    sqrt_max_price: u128,
}

#[derive(Debug, Eq, PartialEq)]
struct Filled {
    out: u64,
    fee: u64,
    sqrt_price: u128,
}

const BILLION: u64 = 1_000_000_000;

impl Swap {
    /// `None` for a pool that the stand-in does not know.
    fn of(data: &[u8], a_to_b: bool, now: u64) -> Option<Self> {
        let fee_mode = data[pool::COLLECT_FEE_MODE];
        // A token of Token-2022 may take a fee from each transfer.
        let is_plain = pool::TOKEN_FLAGS.iter().all(|flag| data[*flag] == 0);
        if fee_mode > 1 || !is_plain {
            return None;
        }
        let rate = base_rate(data, now)?.checked_add(dynamic_rate(data)?)?;
        let highest = if data[pool::FEE_VERSION] == 0 { 500_000_000 } else { 990_000_000 };
        Some(Self {
            a_to_b,
            fee_on_input: fee_mode == 1 && !a_to_b,
            fee_rate: rate.min(highest),
            liquidity: u128_at(data, pool::LIQUIDITY),
            sqrt_price: u128_at(data, pool::SQRT_PRICE),
            sqrt_min_price: u128_at(data, pool::SQRT_MIN_PRICE),
            sqrt_max_price: u128_at(data, pool::SQRT_MAX_PRICE),
        })
    }

    /// What an input buys; `None` if the price would leave the range of the pool.
    fn fill(&self, amount_in: u64) -> Option<Filled> {
        let net = if self.fee_on_input { amount_in.checked_sub(self.fee(amount_in)?)? } else { amount_in };
        let [net, liquidity, price] = [U512::from(net), U512::from(self.liquidity), U512::from(self.sqrt_price)];
        let after = if self.a_to_b {
            let divisor = liquidity + net * price;
            if divisor.is_zero() {
                return None;
            }
            (liquidity * price).div_ceil(divisor)
        } else {
            price + (net << 128_usize).checked_div(liquidity)?
        };
        let after = u128::try_from(after).ok()?;
        if after < self.sqrt_min_price || after > self.sqrt_max_price {
            return None;
        }
        let wide = U512::from(after);
        let gross = if self.a_to_b {
            (liquidity * (price - wide)) >> 128_usize
        } else {
            (liquidity * (wide - price)) / (price * wide)
        };
        let gross: u64 = gross.try_into().ok()?;
        let (out, fee) = if self.fee_on_input {
            (gross, self.fee(amount_in)?)
        } else {
            let fee = self.fee(gross)?;
            (gross.checked_sub(fee)?, fee)
        };
        Some(Filled { out, fee, sqrt_price: after })
    }

    fn fee(&self, amount: u64) -> Option<u64> {
        u64::try_from((u128::from(amount) * u128::from(self.fee_rate)).div_ceil(u128::from(BILLION))).ok()
    }
}

impl Filled {
    /// Writes the new price, and the fee to where its parts belong.
    fn book(&self, data: &mut [u8], fee_side: usize, liquidity: u128) -> Option<()> {
        data[pool::SQRT_PRICE..pool::SQRT_PRICE + 16].copy_from_slice(&self.sqrt_price.to_le_bytes());
        let percent = u128::from(data[pool::PROTOCOL_FEE_PERCENT]);
        let protocol = u64::try_from(u128::from(self.fee) * percent / 100).ok()?;
        let offset = pool::PROTOCOL_FEES[fee_side];
        let booked = u64_at(data, offset).checked_add(protocol)?;
        data[offset..offset + 8].copy_from_slice(&booked.to_le_bytes());
        let offset = pool::FEES_PER_LIQUIDITY[fee_side];
        let for_liquidity = U256::from(self.fee - protocol) << 128_usize;
        let per_liquidity = U256::from_le_slice(&data[offset..offset + 32])
            .checked_add(for_liquidity.checked_div(U256::from(liquidity))?)?;
        data[offset..offset + 32].copy_from_slice(&per_liquidity.to_le_bytes::<32>());
        Some(())
    }
}

/// The scheduled part of the fee; `None` for a mode that the stand-in does not know.
fn base_rate(data: &[u8], now: u64) -> Option<u64> {
    let cliff = u64_at(data, pool::CLIFF_FEE);
    let (length, reduction) = (u64_at(data, pool::PERIOD_LENGTH), u64_at(data, pool::REDUCTION));
    let most = u64::from(u16::from_le_bytes([data[pool::PERIODS], data[pool::PERIODS + 1]]));
    let passed = now.saturating_sub(u64_at(data, pool::ACTIVATION_POINT));
    let periods = passed.checked_div(length).map_or(0, |periods| periods.min(most));
    match data[pool::FEE_MODE] {
        0 => cliff.checked_sub(reduction.checked_mul(periods)?),
        1 => {
            let one = U256::from(1) << 64_usize;
            let mut base = one - (U256::from(reduction) << 64_usize) / U256::from(10_000);
            let mut factor = one;
            let mut exponent = periods;
            while exponent > 0 {
                if exponent & 1 == 1 {
                    factor = (factor * base) >> 64_usize;
                }
                base = (base * base) >> 64_usize;
                exponent >>= 1;
            }
            ((U256::from(cliff) * factor) >> 64_usize).try_into().ok()
        }
        _ => None,
    }
}

/// The part of the fee that follows the volatility.
fn dynamic_rate(data: &[u8]) -> Option<u64> {
    if data[pool::HAS_DYNAMIC_FEE] == 0 {
        return Some(0);
    }
    let control = u32::from_le_bytes(data[pool::VARIABLE_FEE_CONTROL..pool::VARIABLE_FEE_CONTROL + 4].try_into().ok()?);
    let step = u16::from_le_bytes([data[pool::BIN_STEP], data[pool::BIN_STEP + 1]]);
    let moved = U256::from(u128_at(data, pool::VOLATILITY_ACCUMULATOR)) * U256::from(step);
    (moved * moved * U256::from(control)).div_ceil(U256::from(100_000_000_000u64)).try_into().ok()
}

// A pool has its full length, which `require_state` has checked.
fn u64_at(data: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(data[offset..offset + 8].try_into().expect("8 bytes"))
}

fn u128_at(data: &[u8], offset: usize) -> u128 {
    u128::from_le_bytes(data[offset..offset + 16].try_into().expect("16 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQRT_PRICE: u128 = 7_144_393_258_922_745_856;

    fn swap(a_to_b: bool, fee_on_input: bool, sqrt_price: u128) -> Swap {
        let [sqrt_min_price, sqrt_max_price] = SQRT_PRICES;
        Swap {
            a_to_b,
            fee_on_input,
            fee_rate: 2_500_000,
            liquidity: 7_144_393_258_909_063_866_463_729_745_920,
            sqrt_price,
            sqrt_min_price,
            sqrt_max_price,
        }
    }

    #[test]
    fn a_purchase_pays_what_the_real_program_pays() {
        let first = swap(false, false, SQRT_PRICE).fill(47_813_969).expect("it fills");
        assert_eq!(first, Filled { out: 317_861_571, fee: 796_646, sqrt_price: 7_146_670_604_241_456_491 });
        let second = swap(false, false, first.sqrt_price).fill(89_884_315).expect("it fills");
        assert_eq!(second, Filled { out: 596_992_189, fee: 1_496_222, sqrt_price: 7_150_951_730_202_590_613 });
    }

    #[test]
    fn a_sale_pays_what_the_formula_says() {
        let sale = swap(true, false, SQRT_PRICE).fill(1_000_000_000).expect("it fills");
        assert_eq!(sale, Filled { out: 149_475_523, fee: 374_626, sqrt_price: 7_137_256_002_919_812_376 });
    }

    #[test]
    fn a_fee_on_the_input_is_taken_before_the_swap() {
        let filled = swap(false, true, SQRT_PRICE).fill(224_912_494).expect("it fills");
        assert_eq!((filled.fee, filled.out, filled.sqrt_price), (562_282, 1_493_434_397, 7_155_078_899_871_104_245));
    }

    #[test]
    fn a_swap_that_leaves_the_range_of_prices_is_refused() {
        let narrow = Swap { sqrt_min_price: SQRT_PRICE - 1, ..swap(true, false, SQRT_PRICE) };
        assert_eq!(narrow.fill(1_000_000_000), None);
    }
}
