//! The accounts of a pool.

use solana_address::Address;

use super::quote::Rates;
use crate::venue::pool::{Account, Accounts, Direction, PoolError, TOKEN_PROGRAM, Unsupported};

const POOL_DISCRIMINATOR: [u8; 8] = [0xf7, 0xed, 0xe3, 0xf5, 0xd7, 0xc3, 0xde, 0x46];
const POOL_LENGTH: usize = 637;
const CONFIG_DISCRIMINATOR: [u8; 8] = [0xda, 0xf4, 0x21, 0x68, 0xcb, 0xcb, 0x2b, 0x6f];
const CONFIG_LENGTH: usize = 236;
/// The bit of the status that stops swaps.
const SWAP_DISABLED: u8 = 4;

/// The account of the pool.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: Address,
    pub(super) vaults: [Address; 2],
    pub(super) mints: [Address; 2],
    pub(super) observation: Address,
    pub(super) swaps_enabled: bool,
    /// The time from which on swaps are allowed, in seconds since 1970.
    pub(super) open_time: u64,
    /// The part of each vault that is owed to the protocol, the fund and the creator, and is no liquidity.
    pub(super) owed: [u64; 2],
    /// Where the fee of the creator is taken from, if there is one.
    creator_fee: Option<CreatorFee>,
}

#[derive(Clone, Copy, Debug)]
enum CreatorFee {
    OnInput,
    OnTokenA,
    OnTokenB,
}

impl State {
    pub(super) fn decode(program: Address, address: Address, account: &Account) -> Result<Self, PoolError> {
        let fields = account
            .fields(program, POOL_DISCRIMINATOR, POOL_LENGTH)
            .ok_or(PoolError::WrongAccount { address, expected: "a pool of Raydium CPMM" })?;
        if [232, 264].map(|at| fields.address(at)) != [TOKEN_PROGRAM; 2] {
            return Err(Unsupported::TokenProgram.into());
        }
        let creator_fee = match (fields.u8(390), fields.u8(389)) {
            (0, _) => None,
            (1, 0) => Some(CreatorFee::OnInput),
            (1, 1) => Some(CreatorFee::OnTokenA),
            (1, 2) => Some(CreatorFee::OnTokenB),
            (1, side) => return Err(unknown("the side of the creator fee", side)),
            (enabled, _) => return Err(unknown("the switch of the creator fee", enabled)),
        };
        // The protocol, the fund and the creator.
        let owed = |parts: [usize; 3]| {
            let sum: u128 = parts.into_iter().map(|at| u128::from(fields.u64(at))).sum();
            u64::try_from(sum).map_err(|_| PoolError::Empty)
        };
        Ok(Self {
            config: fields.address(8),
            vaults: [fields.address(72), fields.address(104)],
            mints: [fields.address(168), fields.address(200)],
            observation: fields.address(296),
            swaps_enabled: fields.u8(329) & SWAP_DISABLED == 0,
            open_time: fields.u64(373),
            owed: [owed([341, 357, 397])?, owed([349, 365, 405])?],
            creator_fee,
        })
    }

    /// The rates of a swap in that direction.
    pub(super) fn rates(&self, config: &Config, direction: Direction) -> Rates {
        let creator = config.creator_fee_rate;
        let (creator_on_input, creator_on_output) = match (self.creator_fee, direction) {
            (None, _) => (0, 0),
            (Some(CreatorFee::OnInput), _)
            | (Some(CreatorFee::OnTokenA), Direction::AToB)
            | (Some(CreatorFee::OnTokenB), Direction::BToA) => (creator, 0),
            (Some(CreatorFee::OnTokenA | CreatorFee::OnTokenB), _) => (0, creator),
        };
        Rates {
            on_input: u128::from(config.trade_fee_rate) + u128::from(creator_on_input),
            on_output: creator_on_output,
        }
    }
}

/// The fee rates that many pools share, in millionths.
pub(super) struct Config {
    trade_fee_rate: u64,
    creator_fee_rate: u64,
}

impl Config {
    pub(super) fn decode(program: Address, address: Address, accounts: &Accounts) -> Result<Self, PoolError> {
        let expected = "a configuration of Raydium CPMM";
        let fields = accounts
            .existing(address, expected)?
            .fields(program, CONFIG_DISCRIMINATOR, CONFIG_LENGTH)
            .ok_or(PoolError::WrongAccount { address, expected })?;
        Ok(Self { trade_fee_rate: fields.u64(12), creator_fee_rate: fields.u64(108) })
    }
}

fn unknown(field: &'static str, value: u8) -> PoolError {
    Unsupported::Unknown { field, value: value.into() }.into()
}
