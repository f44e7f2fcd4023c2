//! Pools of Raydium's constant product program, placed in the layout of the real program.

use solana_account::Account;
use solana_address::Address;

use super::{Pool, PoolKind};
use crate::Chain;
use crate::programs::raydium_cpmm::{CONFIG, OBSERVATION, OBSERVATION_LENGTH, POOL, PROGRAM, authority, config, pool};

/// The fees of a pool, in millionths.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RaydiumCpmmTerms {
    /// Pools with the same index share their rates; two pools of the same tokens need different ones.
    pub config_index: u16,
    /// Of each input.
    pub trade_fee: u64,
    /// Of the trade fee.
    pub protocol_fee: u64,
    /// Of the trade fee.
    pub fund_fee: u64,
    /// Of the input or the output, if there is a side.
    pub creator_fee: u64,
    /// 0: of each input, 1: only in the first token, 2: only in the second one; `None` takes none.
    pub creator_fee_on: Option<u8>,
    /// From when on the pool swaps, in seconds since 1970.
    pub open_time: u64,
}

impl Default for RaydiumCpmmTerms {
    fn default() -> Self {
        Self {
            config_index: 0,
            trade_fee: 2_500,
            protocol_fee: 120_000,
            fund_fee: 40_000,
            creator_fee: 0,
            creator_fee_on: None,
            open_time: 0,
        }
    }
}

impl Chain {
    /// Places a pool with these reserves; the mints must be on the chain. The pool orders its tokens by their
    /// addresses.
    pub fn add_raydium_cpmm_pool(&mut self, reserves: [(Address, u64); 2], terms: RaydiumCpmmTerms) -> Pool {
        let mut reserves = reserves;
        reserves.sort_by_key(|(mint, _)| *mint);
        let mints = reserves.map(|(mint, _)| mint);
        let token_programs = mints.map(|mint| self.token_program(&mint));
        let derive = |seeds: &[&[u8]]| Address::find_program_address(seeds, &PROGRAM);

        let (config_address, config_bump) = derive(&[b"amm_config", &terms.config_index.to_be_bytes()]);
        let (address, _) = derive(&[b"pool", config_address.as_ref(), mints[0].as_ref(), mints[1].as_ref()]);
        let vaults = mints.map(|mint| derive(&[b"pool_vault", address.as_ref(), mint.as_ref()]).0);
        let (lp_mint, _) = derive(&[b"pool_lp_mint", address.as_ref()]);
        let (observation, _) = derive(&[b"observation", address.as_ref()]);
        let (authority, authority_bump) = authority();

        let mut data = Layout::new(&CONFIG, config::LENGTH);
        data.put(config::BUMP, &[config_bump]);
        data.put(config::INDEX, &terms.config_index.to_le_bytes());
        data.put(config::TRADE_FEE, &terms.trade_fee.to_le_bytes());
        data.put(config::PROTOCOL_FEE, &terms.protocol_fee.to_le_bytes());
        data.put(config::FUND_FEE, &terms.fund_fee.to_le_bytes());
        data.put(config::CREATOR_FEE, &terms.creator_fee.to_le_bytes());
        self.set_state(config_address, &PROGRAM, data);

        let mut data = Layout::new(&POOL, pool::LENGTH);
        data.put(pool::CONFIG, config_address.as_ref());
        data.put(pool::CREATOR, authority.as_ref());
        data.put(pool::LP_MINT, lp_mint.as_ref());
        data.put(pool::OBSERVATION, observation.as_ref());
        data.put(pool::AUTHORITY_BUMP, &[authority_bump]);
        data.put(pool::LP_DECIMALS, &[9]);
        data.put(pool::LP_SUPPLY, &1_000_000_000_u64.to_le_bytes());
        data.put(pool::OPEN_TIME, &terms.open_time.to_le_bytes());
        data.put(pool::CREATOR_FEE_ON, &[terms.creator_fee_on.unwrap_or(0)]);
        data.put(pool::HAS_CREATOR_FEE, &[u8::from(terms.creator_fee_on.is_some())]);
        for side in 0..2 {
            data.put(pool::VAULTS[side], vaults[side].as_ref());
            data.put(pool::MINTS[side], mints[side].as_ref());
            data.put(pool::TOKEN_PROGRAMS[side], token_programs[side].as_ref());
            data.put(pool::DECIMALS[side], &[self.decimals(&mints[side])]);
            self.set_token_account(vaults[side], &authority, &mints[side], reserves[side].1);
        }
        self.set_state(address, &PROGRAM, data);

        let mut data = Layout::new(&OBSERVATION, OBSERVATION_LENGTH);
        data.put(8, &[1]);
        data.put(11, address.as_ref());
        self.set_state(observation, &PROGRAM, data);

        let kind = PoolKind::RaydiumCpmm { config: config_address, observation };
        self.add_pool(Pool { kind, address, mints, vaults, token_programs })
    }

    /// Places an account of a program.
    pub(super) fn set_state(&mut self, address: Address, program: &Address, layout: Layout) {
        let account = Account {
            lamports: self.rent(layout.0.len()),
            data: layout.0,
            owner: *program,
            executable: false,
            rent_epoch: u64::MAX,
        };
        self.set_account(address, account);
    }
}

/// The bytes of an account of a program.
pub(super) struct Layout(Vec<u8>);

impl Layout {
    /// Zeros after a discriminator.
    pub(super) fn new(discriminator: &[u8; 8], length: usize) -> Self {
        let mut data = vec![0; length];
        data[..8].copy_from_slice(discriminator);
        Self(data)
    }

    /// Writes a field.
    pub(super) fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}
