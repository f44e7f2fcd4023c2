//! Raydium CPMM: pools with a constant product.
//!
//! A quote needs the pool, its configuration and its two vaults.

mod instruction;
mod quote;
mod state;
#[cfg(test)]
mod tests;

use solana_address::Address;
use solana_instruction::Instruction;

use self::instruction::FORM;
use self::state::{Config, State};
use crate::domain::amount::BaseUnits;
use crate::venue::pool::{Account, Accounts, CLOCK, Direction, Opening, Pool, PoolError, PoolKind, Quoted, Swap};

/// The pools of one deployment of Raydium CPMM.
pub struct RaydiumCpmm {
    program: Address,
    authority: Address,
}

impl RaydiumCpmm {
    /// The program on mainnet.
    pub const MAINNET: Address = Address::from_str_const("CPMMoo8L3F4NbTegBCKVNunggL7H1ZpdTHKxQB5qKP1C");
    /// The program on devnet.
    pub const DEVNET: Address = Address::from_str_const("DRaycpLY18LhpbydsBWbVJtxpNv9oXPgjRSfpF2bWpYb");

    /// The pools of that program.
    pub fn new(program: Address) -> Self {
        let (authority, _) = Address::find_program_address(&[b"vault_and_lp_mint_auth_seed"], &program);
        Self { program, authority }
    }
}

impl PoolKind for RaydiumCpmm {
    fn name(&self) -> &'static str {
        "raydium_cpmm"
    }

    fn program(&self) -> Address {
        self.program
    }

    fn decode(&self, address: Address, account: &Account) -> Result<Box<dyn Pool>, PoolError> {
        let state = State::decode(self.program, address, account)?;
        Ok(Box::new(CpmmPool { program: self.program, authority: self.authority, address, state }))
    }

    fn pool_of(&self, instruction: &Instruction) -> Option<Address> {
        (instruction.program_id == self.program).then(|| FORM.pool_of(instruction)).flatten()
    }
}

/// A pool.
#[derive(Debug)]
struct CpmmPool {
    program: Address,
    authority: Address,
    address: Address,
    state: State,
}

impl Pool for CpmmPool {
    fn address(&self) -> Address {
        self.address
    }

    fn mints(&self) -> [Address; 2] {
        self.state.mints
    }

    fn accounts_needed(&self, _: Direction) -> Vec<Address> {
        let [vault_a, vault_b] = self.state.vaults;
        vec![self.state.config, vault_a, vault_b]
    }

    fn quote(&self, accounts: &Accounts, direction: Direction, amount_in: BaseUnits) -> Result<Quoted, PoolError> {
        let (state, [vault_a, vault_b]) = (&self.state, self.state.vaults);
        // All that is missing is reported at once.
        accounts.load([CLOCK, state.config, vault_a, vault_b])?;
        let config = Config::decode(self.program, state.config, accounts)?;
        if !state.swaps_enabled {
            return Err(PoolError::Disabled);
        }
        if accounts.clock()?.unix_time < state.open_time {
            return Err(PoolError::NotOpen(Opening::UnixTime(state.open_time)));
        }
        let balance = |vault, mint| accounts.vault_balance(vault, mint, self.authority);
        let balances = [balance(vault_a, state.mints[0])?, balance(vault_b, state.mints[1])?];
        let [balance_in, balance_out] = direction.of(balances);
        let [owed_in, owed_out] = direction.of(state.owed);
        let reserve = |balance: u64, owed| balance.checked_sub(owed).filter(|rest| *rest > 0).ok_or(PoolError::Empty);
        let reserves = [reserve(balance_in, owed_in)?, reserve(balance_out, owed_out)?];
        let trade = quote::exact_in(state.rates(&config, direction), reserves, amount_in.0)?;
        // A token account cannot hold more.
        balance_in.checked_add(amount_in.0).ok_or(PoolError::OutOfRange)?;
        Ok(trade.quoted(amount_in))
    }

    fn instruction(&self, swap: &Swap) -> Instruction {
        instruction::swap(self, swap)
    }

    fn read(&self, instruction: &Instruction, mint_in: Address) -> Option<Swap> {
        FORM.read(self, instruction, mint_in)
    }
}
