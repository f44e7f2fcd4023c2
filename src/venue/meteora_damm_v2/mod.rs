//! Meteora DAMM v2: pools with one price range or a constant product, and with fees that depend on time and volatility.
//!
//! A quote needs the pool alone.

mod fee;
mod instruction;
mod quote;
mod state;
#[cfg(test)]
mod tests;

use solana_address::Address;
use solana_instruction::Instruction;

use self::instruction::FORM;
use self::state::State;
use crate::domain::amount::BaseUnits;
use crate::venue::pool::{Account, Accounts, Direction, Pool, PoolError, PoolKind, Quoted, Swap};

/// The pools of one deployment of Meteora DAMM v2.
pub struct MeteoraDammV2 {
    program: Address,
    authority: Address,
    event_authority: Address,
}

impl MeteoraDammV2 {
    /// The program on mainnet and on devnet.
    pub const PROGRAM: Address = Address::from_str_const("cpamdpZCGKUy5JxQXB4dcpGPiikHawvSWAd6mEn1sGG");

    /// The pools of that program.
    pub fn new(program: Address) -> Self {
        let derived = |seed: &[u8]| Address::find_program_address(&[seed], &program).0;
        Self { program, authority: derived(b"pool_authority"), event_authority: derived(b"__event_authority") }
    }
}

impl PoolKind for MeteoraDammV2 {
    fn name(&self) -> &'static str {
        "meteora_damm_v2"
    }

    fn program(&self) -> Address {
        self.program
    }

    fn decode(&self, address: Address, account: &Account) -> Result<Box<dyn Pool>, PoolError> {
        let state = State::decode(self.program, address, account)?;
        let &Self { program, authority, event_authority } = self;
        Ok(Box::new(DammV2Pool { program, authority, event_authority, address, state }))
    }

    fn pool_of(&self, instruction: &Instruction) -> Option<Address> {
        (instruction.program_id == self.program).then(|| FORM.pool_of(instruction)).flatten()
    }
}

/// A pool.
#[derive(Debug)]
struct DammV2Pool {
    program: Address,
    authority: Address,
    event_authority: Address,
    address: Address,
    state: State,
}

impl Pool for DammV2Pool {
    fn address(&self) -> Address {
        self.address
    }

    fn mints(&self) -> [Address; 2] {
        self.state.mints
    }

    fn accounts_needed(&self, _: Direction) -> Vec<Address> {
        Vec::new()
    }

    fn quote(&self, accounts: &Accounts, direction: Direction, amount_in: BaseUnits) -> Result<Quoted, PoolError> {
        let (state, clock) = (&self.state, accounts.clock()?);
        if !state.enabled {
            return Err(PoolError::Disabled);
        }
        if !state.has_liquidity {
            return Err(PoolError::Empty);
        }
        let rate = state.fee.rate(state.open_for(clock)?)?;
        let trade = quote::exact_in(&state.curve, rate, state.fee_on_input(direction), direction, amount_in.0)?;
        Ok(trade.quoted(amount_in))
    }

    fn instruction(&self, swap: &Swap) -> Instruction {
        instruction::swap(self, swap)
    }

    fn read(&self, instruction: &Instruction, mint_in: Address) -> Option<Swap> {
        FORM.read(self, instruction, mint_in)
    }
}
