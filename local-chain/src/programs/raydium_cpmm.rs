//! A stand-in for `swap_base_input` of Raydium's constant product program, and the layout of its accounts.

use ruint::aliases::U256;
use solana_address::{Address, address};
use solana_program_runtime::invoke_context::InvokeContext;
use solana_program_runtime::stable_log::program_data;

use super::anchor::*;
use crate::tokens::TOKEN_PROGRAM;

/// The address of the program on mainnet.
pub const PROGRAM: Address = address!("CPMMoo8L3F4NbTegBCKVNunggL7H1ZpdTHKxQB5qKP1C");
/// The discriminator of `swap_base_input`.
pub const SWAP_BASE_INPUT: [u8; 8] = [0x8f, 0xbe, 0x5a, 0xda, 0xc4, 0x1e, 0x33, 0xde];

const AUTHORITY_SEED: &[u8] = b"vault_and_lp_mint_auth_seed";
pub(crate) const POOL: [u8; 8] = [0xf7, 0xed, 0xe3, 0xf5, 0xd7, 0xc3, 0xde, 0x46];
pub(crate) const CONFIG: [u8; 8] = [0xda, 0xf4, 0x21, 0x68, 0xcb, 0xcb, 0x2b, 0x6f];
pub(crate) const OBSERVATION: [u8; 8] = [0x7a, 0xae, 0xc5, 0x35, 0x81, 0x09, 0xa5, 0x84];
const SWAP_EVENT: [u8; 8] = [0x40, 0xc6, 0xcd, 0xe8, 0x26, 0x08, 0x71, 0xe2];

const NOT_APPROVED: Refusal = Refusal(6000, "NotApproved");
const EXCEEDED_SLIPPAGE: Refusal = Refusal(6005, "ExceededSlippage");
const ZERO_TRADING_TOKENS: Refusal = Refusal(6006, "ZeroTradingTokens");
const NOT_SUPPORTED_MINT: Refusal = Refusal(6007, "NotSupportMint");
const INVALID_VAULT: Refusal = Refusal(6008, "InvalidVault");
const MATH_OVERFLOW: Refusal = Refusal(6011, "MathOverflow");
const INSUFFICIENT_VAULT: Refusal = Refusal(6012, "InsufficientVault");

/// Where the fields of a pool are.
pub(crate) mod pool {
    pub const LENGTH: usize = 637;
    pub const CONFIG: usize = 8;
    pub const CREATOR: usize = 40;
    pub const VAULTS: [usize; 2] = [72, 104];
    pub const LP_MINT: usize = 136;
    pub const MINTS: [usize; 2] = [168, 200];
    pub const TOKEN_PROGRAMS: [usize; 2] = [232, 264];
    pub const OBSERVATION: usize = 296;
    pub const AUTHORITY_BUMP: usize = 328;
    pub const STATUS: usize = 329;
    pub const LP_DECIMALS: usize = 330;
    pub const DECIMALS: [usize; 2] = [331, 332];
    pub const LP_SUPPLY: usize = 333;
    pub const PROTOCOL_FEES: [usize; 2] = [341, 349];
    pub const FUND_FEES: [usize; 2] = [357, 365];
    pub const OPEN_TIME: usize = 373;
    pub const RECENT_EPOCH: usize = 381;
    pub const CREATOR_FEE_ON: usize = 389;
    pub const HAS_CREATOR_FEE: usize = 390;
    pub const CREATOR_FEES: [usize; 2] = [397, 405];
}

/// Where the fields of a config are.
pub(crate) mod config {
    pub const LENGTH: usize = 236;
    pub const BUMP: usize = 8;
    pub const INDEX: usize = 10;
    pub const TRADE_FEE: usize = 12;
    pub const PROTOCOL_FEE: usize = 20;
    pub const FUND_FEE: usize = 28;
    pub const CREATOR_FEE: usize = 108;
}

/// The bytes of the account with the past prices.
pub(crate) const OBSERVATION_LENGTH: usize = 4_075;

/// The authority of every vault, and its bump.
pub fn authority() -> (Address, u8) {
    Address::find_program_address(&[AUTHORITY_SEED], &PROGRAM)
}

mod entry {
    use solana_program_runtime::declare_process_instruction;

    // The units are about those of the real program.
    declare_process_instruction!(StandIn, 20_000, |context| {
        let result = super::process(context);
        super::finish(context, result)
    });
}
pub(super) use entry::StandIn;

fn process(context: &mut InvokeContext) -> Result<(), Failure> {
    let call = Call::read(context)?;
    call.require_instruction(&SWAP_BASE_INPUT)?;
    log(context, "Instruction: SwapBaseInput");
    let (amount_in, minimum_out) = call.amounts()?;

    let payer = call.account(0)?;
    payer.require_signer()?;
    let authority = call.account(1)?;
    let config = call.account(2)?;
    config.require_initialized()?;
    config.require_state(&call.program, &CONFIG, config::LENGTH)?;
    let state = call.account(3)?;
    state.require_state(&call.program, &POOL, pool::LENGTH)?;
    let (user_in, _) = call.token_account(4)?;
    let (user_out, _) = call.token_account(5)?;
    let (vault_in, held_in) = call.token_account(6)?;
    let (vault_out, held_out) = call.token_account(7)?;
    let program_in = call.token_program(8)?;
    let program_out = call.token_program(9)?;
    let mint_in = call.mint(10)?;
    let mint_out = call.mint(11)?;
    let observation = call.account(12)?;
    observation.require_state(&call.program, &OBSERVATION, OBSERVATION_LENGTH)?;

    require(authority.key == self::authority().0, WRONG_SEEDS)?;
    require(config.key == state.address(pool::CONFIG)?, WRONG_ADDRESS)?;
    for account in [state, user_in, user_out] {
        account.require_writable()?;
    }
    let vaults = [state.address(pool::VAULTS[0])?, state.address(pool::VAULTS[1])?];
    for vault in [vault_in, vault_out] {
        vault.require_writable()?;
        require(vaults.contains(&vault.key), BROKEN_CONSTRAINT)?;
    }
    require(mint_in.key == held_in.mint, WRONG_ADDRESS)?;
    require(mint_out.key == held_out.mint, WRONG_ADDRESS)?;
    observation.require_writable()?;
    require(observation.key == state.address(pool::OBSERVATION)?, WRONG_ADDRESS)?;

    let clock = context.environment_config.sysvar_cache().get_clock()?;
    let open_time = state.u64(pool::OPEN_TIME)?;
    let is_open = u64::try_from(clock.unix_timestamp).is_ok_and(|now| now >= open_time);
    require(is_open && state.account.data[pool::STATUS] & 4 == 0, NOT_APPROVED)?;
    // A transfer fee would have to be taken into account.
    let is_plain = [mint_in, mint_out].iter().all(|mint| mint.account.owner == TOKEN_PROGRAM);
    require(is_plain, NOT_SUPPORTED_MINT)?;
    require(amount_in > 0, NOT_POSITIVE)?;
    let input = vaults.iter().position(|vault| *vault == vault_in.key).ok_or(INVALID_VAULT)?;
    let output = 1 - input;
    require(vault_out.key == vaults[output], INVALID_VAULT)?;

    let mut changed = Fees::of(state)?;
    let swap = Swap {
        reserve_in: held_in.amount.checked_sub(changed.of_side(input)?).ok_or(INSUFFICIENT_VAULT)?,
        reserve_out: held_out.amount.checked_sub(changed.of_side(output)?).ok_or(INSUFFICIENT_VAULT)?,
        rates: Rates {
            trade: config.u64(config::TRADE_FEE)?,
            protocol: config.u64(config::PROTOCOL_FEE)?,
            fund: config.u64(config::FUND_FEE)?,
            creator: if state.account.data[pool::HAS_CREATOR_FEE] != 0 { config.u64(config::CREATOR_FEE)? } else { 0 },
        },
        creator_fee_on_input: match state.account.data[pool::CREATOR_FEE_ON] {
            0 => true,
            1 => input == 0,
            _ => input == 1,
        },
    };
    let filled = swap.fill(amount_in).ok_or(ZERO_TRADING_TOKENS)?;
    require(filled.out > 0, NOT_POSITIVE)?;
    require(filled.out >= minimum_out, EXCEEDED_SLIPPAGE)?;

    let creator_side = if swap.creator_fee_on_input { input } else { output };
    changed.protocol[input] = changed.protocol[input].checked_add(filled.protocol_fee).ok_or(MATH_OVERFLOW)?;
    changed.fund[input] = changed.fund[input].checked_add(filled.fund_fee).ok_or(MATH_OVERFLOW)?;
    changed.creator[creator_side] =
        changed.creator[creator_side].checked_add(filled.creator_fee).ok_or(MATH_OVERFLOW)?;
    program_data(
        &context.get_log_collector(),
        &[&event(state.key, &swap, amount_in, &filled, [mint_in.key, mint_out.key])],
    );

    Transfer {
        from: user_in,
        mint: mint_in,
        to: vault_in,
        authority: payer,
        token_program: program_in,
        amount: amount_in,
        seeds: &[],
    }
    .execute(context)?;
    Transfer {
        from: vault_out,
        mint: mint_out,
        to: user_out,
        authority,
        token_program: program_out,
        amount: filled.out,
        seeds: &[AUTHORITY_SEED, &[state.account.data[pool::AUTHORITY_BUMP]]],
    }
    .execute(context)?;

    let mut data = state.account.data.clone();
    changed.write(&mut data);
    data[pool::RECENT_EPOCH..pool::RECENT_EPOCH + 8].copy_from_slice(&clock.epoch.to_le_bytes());
    Ok(write(context, 3, &data)?)
}

/// The fees that lie in the vaults and do not belong to the pool.
struct Fees {
    protocol: [u64; 2],
    fund: [u64; 2],
    creator: [u64; 2],
}

impl Fees {
    fn of(state: &Passed) -> Result<Self, Failure> {
        let both = |offsets: [usize; 2]| Ok::<_, Failure>([state.u64(offsets[0])?, state.u64(offsets[1])?]);
        Ok(Self {
            protocol: both(pool::PROTOCOL_FEES)?,
            fund: both(pool::FUND_FEES)?,
            creator: both(pool::CREATOR_FEES)?,
        })
    }

    fn of_side(&self, side: usize) -> Result<u64, Refusal> {
        let sum = self.protocol[side].checked_add(self.fund[side]).and_then(|sum| sum.checked_add(self.creator[side]));
        sum.ok_or(MATH_OVERFLOW)
    }

    fn write(&self, data: &mut [u8]) {
        let fields =
            [(pool::PROTOCOL_FEES, self.protocol), (pool::FUND_FEES, self.fund), (pool::CREATOR_FEES, self.creator)];
        for (offsets, values) in fields {
            for (offset, value) in offsets.into_iter().zip(values) {
                data[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
    }
}

/// Shares of a million.
#[derive(Clone, Copy)]
struct Rates {
    trade: u64,
    protocol: u64,
    fund: u64,
    creator: u64,
}

struct Swap {
    reserve_in: u64,
    reserve_out: u64,
    rates: Rates,
    creator_fee_on_input: bool,
}

#[derive(Debug, Eq, PartialEq)]
struct Filled {
    out: u64,
    trade_fee: u64,
    protocol_fee: u64,
    fund_fee: u64,
    creator_fee: u64,
}

impl Swap {
    /// What an input buys; `None` if nothing, or if a number does not fit.
    fn fill(&self, amount_in: u64) -> Option<Filled> {
        let rates = self.rates;
        let on_input = if self.creator_fee_on_input { rates.creator } else { 0 };
        let fee = share_up(amount_in, rates.trade.checked_add(on_input)?)?;
        let net = amount_in.checked_sub(fee)?;
        let (net, reserve_in, reserve_out) =
            (U256::from(net), U256::from(self.reserve_in), U256::from(self.reserve_out));
        let gross: u64 = (net * reserve_out).checked_div(reserve_in + net)?.try_into().ok()?;
        let (out, creator_fee) = if self.creator_fee_on_input {
            (gross, part_of(fee, rates.creator, rates.trade + on_input)?)
        } else {
            let creator_fee = share_up(gross, rates.creator)?;
            (gross.checked_sub(creator_fee)?, creator_fee)
        };
        let trade_fee = if self.creator_fee_on_input { fee - creator_fee } else { fee };
        Some(Filled {
            out,
            trade_fee,
            protocol_fee: part_of(trade_fee, rates.protocol, MILLION)?,
            fund_fee: part_of(trade_fee, rates.fund, MILLION)?,
            creator_fee,
        })
    }
}

const MILLION: u64 = 1_000_000;

/// A share of a million, rounded up.
fn share_up(amount: u64, rate: u64) -> Option<u64> {
    u64::try_from((u128::from(amount) * u128::from(rate)).div_ceil(u128::from(MILLION))).ok()
}

/// `part` of `whole`, rounded down.
fn part_of(amount: u64, part: u64, whole: u64) -> Option<u64> {
    if whole == 0 {
        return Some(0);
    }
    u64::try_from(u128::from(amount) * u128::from(part) / u128::from(whole)).ok()
}

fn event(pool: Address, swap: &Swap, amount_in: u64, filled: &Filled, mints: [Address; 2]) -> Vec<u8> {
    let mut data = SWAP_EVENT.to_vec();
    data.extend(pool.to_bytes());
    for number in [swap.reserve_in, swap.reserve_out, amount_in, filled.out, 0, 0] {
        data.extend(number.to_le_bytes());
    }
    data.push(1);
    mints.iter().for_each(|mint| data.extend(mint.to_bytes()));
    data.extend(filled.trade_fee.to_le_bytes());
    data.extend(filled.creator_fee.to_le_bytes());
    data.push(u8::from(swap.creator_fee_on_input));
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swap(reserve_in: u64, reserve_out: u64, trade: u64, creator: u64, creator_fee_on_input: bool) -> Swap {
        let rates = Rates { trade, protocol: 120_000, fund: 40_000, creator };
        Swap { reserve_in, reserve_out, rates, creator_fee_on_input }
    }

    #[test]
    fn a_sale_pays_what_the_real_program_pays() {
        let filled = swap(1_000_000_000_000, 150_000_000_000, 2_500, 0, true).fill(1_727_222_985).expect("it fills");
        let fees = (filled.trade_fee, filled.protocol_fee, filled.fund_fee);
        assert_eq!((filled.out, fees), (257_991_244, (4_318_058, 518_166, 172_722)));
        let filled = swap(149_742_008_756, 1_001_726_532_097, 2_500, 0, true).fill(307_499_238).expect("it fills");
        assert_eq!((filled.out, filled.trade_fee), (2_047_735_093, 768_749));
    }

    #[test]
    fn a_creator_fee_is_taken_from_the_side_that_the_pool_says() {
        let filled = swap(3_961_074_622, 1_073_879_918, 100, 5_000, true).fill(52_101_250).expect("it fills");
        let fees = (filled.creator_fee, filled.protocol_fee, filled.fund_fee);
        assert_eq!((filled.out, fees), (13_871_513, (260_506, 625, 208)));
        let filled = swap(859_204_339, 1_299_992_612, 20_000, 500, false).fill(18_601_281).expect("it fills");
        let fees = (filled.creator_fee, filled.protocol_fee, filled.fund_fee);
        assert_eq!((filled.out, fees), (26_994_689, (13_505, 44_643, 14_881)));
    }

    #[test]
    fn an_input_that_buys_nothing_has_no_output() {
        assert_eq!(swap(1_000_000, 10, 2_500, 0, true).fill(1).expect("it fits").out, 0);
    }
}
