//! The seam of the pool kinds. A pool is decoded from its account, quoted and swapped through by pure functions: bytes
//! and integers in, values out, without network, clock or wallet.
//!
//! 1. [`PoolKinds::decode`] finds the kind by the owner of the account and decodes the pool.
//! 2. [`Pool::accounts_to_fetch`] lists what one `getMultipleAccounts` must contain. Only accounts of one slot give an
//!    exact quote.
//! 3. [`Pool::quote`] computes what the program will pay, to the last unit. It may answer [`PoolError::NotLoaded`]:
//!    then all accounts are fetched again in one call, with those added.
//! 4. [`Pool::instruction`] builds the swap, and [`Pool::read`] reads it back.

mod accounts;
mod error;
mod exact_in;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::fmt;

use rust_decimal::Decimal;
use solana_address::Address;
use solana_instruction::Instruction;

pub use self::accounts::{Account, Accounts, CLOCK, Clock, Fields, TOKEN_PROGRAM};
pub use self::error::{Opening, PoolError, Unsupported};
pub use self::exact_in::{ExactIn, Trade};
use crate::domain::amount::BaseUnits;

/// The pools of one program.
pub trait PoolKind: Send + Sync {
    /// The name in logs and metrics.
    fn name(&self) -> &'static str;

    /// The program that owns the pools.
    fn program(&self) -> Address;

    /// The pool of that account.
    fn decode(&self, address: Address, account: &Account) -> Result<Box<dyn Pool>, PoolError>;

    /// The pool that an instruction names, if it has the form of a swap of this kind. What the instruction does, only
    /// [`Pool::read`] tells.
    fn pool_of(&self, instruction: &Instruction) -> Option<Address>;
}

/// A pool of two tokens, A and B, as it was in one slot.
pub trait Pool: fmt::Debug + Send + Sync {
    /// The address.
    fn address(&self) -> Address;

    /// The mints of the tokens A and B.
    fn mints(&self) -> [Address; 2];

    /// The accounts that a quote needs besides the pool and the clock, in a fixed order.
    fn accounts_needed(&self, direction: Direction) -> Vec<Address>;

    /// What the program pays for that input, given the accounts of the slot of this pool.
    fn quote(&self, accounts: &Accounts, direction: Direction, amount_in: BaseUnits) -> Result<Quoted, PoolError>;

    /// The instruction that swaps.
    fn instruction(&self, swap: &Swap) -> Instruction;

    /// What an instruction does, if it is exactly a swap through this pool: each account, flag and byte of it.
    ///
    /// `mint_in` is the mint of the token account that pays. The caller must know it: some programs derive the
    /// direction from it, and then the instruction does not contain it.
    fn read(&self, instruction: &Instruction, mint_in: Address) -> Option<Swap>;

    /// The direction in which a token is sold, if it is one of the two.
    fn direction(&self, mint_in: Address) -> Option<Direction> {
        Direction::ALL.into_iter().find(|direction| direction.of(self.mints())[0] == mint_in)
    }

    /// All accounts of a quote, to be fetched in one call: the pool, the clock, and the accounts needed.
    fn accounts_to_fetch(&self, direction: Direction) -> Vec<Address> {
        [self.address(), CLOCK].into_iter().chain(self.accounts_needed(direction)).collect()
    }
}

/// The known kinds.
pub struct PoolKinds(Vec<Box<dyn PoolKind>>);

impl PoolKinds {
    /// A list of kinds with different programs.
    pub fn new(kinds: Vec<Box<dyn PoolKind>>) -> Self {
        Self(kinds)
    }

    /// The pool at that address. Its account is taken from the accounts that a quote will use, so that both are of one
    /// slot.
    ///
    /// The owner decides the kind: different programs use the same discriminators.
    pub fn decode(&self, address: Address, accounts: &Accounts) -> Result<Box<dyn Pool>, PoolError> {
        let account = accounts.existing(address, "a pool")?;
        let kind = self.0.iter().find(|kind| kind.program() == account.owner);
        kind.ok_or(Unsupported::Program(account.owner))?.decode(address, account)
    }

    /// The pool that an instruction names, if it has the form of a swap of any kind.
    pub fn pool_of(&self, instruction: &Instruction) -> Option<Address> {
        self.0.iter().find_map(|kind| kind.pool_of(instruction))
    }
}

/// The direction of a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Token A is sold, token B is bought.
    AToB,
    /// Token B is sold, token A is bought.
    BToA,
}

impl Direction {
    /// Both directions.
    pub const ALL: [Self; 2] = [Self::AToB, Self::BToA];

    /// A pair of the tokens A and B as the pair of input and output.
    pub fn of<T>(self, [a, b]: [T; 2]) -> [T; 2] {
        match self {
            Self::AToB => [a, b],
            Self::BToA => [b, a],
        }
    }
}

/// The exact result of a swap in the state of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// The input, including the fee on it.
    pub amount_in: BaseUnits,
    /// What the wallet receives, after all fees; never 0.
    pub amount_out: BaseUnits,
    /// The fee that is taken from the input, in the input token.
    pub fee_on_input: BaseUnits,
    /// The fee that is taken from the output, in the output token.
    pub fee_on_output: BaseUnits,
    /// How far the price of this trade, without fees, is below the price of the pool, as a fraction of six decimals,
    /// rounded up.
    pub price_impact: Decimal,
    /// The accounts of ticks or bins that the swap crosses, in walking order. Empty for kinds without them.
    pub crossed: Vec<Address>,
}

impl Quoted {
    /// All fees in the output token: the fee on the input is valued at the price of this trade. Rounded up.
    pub fn fee_in_output(&self) -> BaseUnits {
        let net_in = u128::from(self.amount_in.0.saturating_sub(self.fee_on_input.0)).max(1);
        let gross_out = u128::from(self.amount_out.0) + u128::from(self.fee_on_output.0);
        let valued = u128::from(self.fee_on_input.0).saturating_mul(gross_out).div_ceil(net_in);
        let fee = valued.saturating_add(self.fee_on_output.0.into());
        BaseUnits(u64::try_from(fee).unwrap_or(u64::MAX))
    }
}

/// What an instruction is built for, and what is read from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// The direction.
    pub direction: Direction,
    /// The exact input.
    pub amount_in: BaseUnits,
    /// The program refuses to pay less.
    pub min_amount_out: BaseUnits,
    /// The owner of `source`, who signs.
    pub user: Address,
    /// The token account of the user that pays.
    pub source: Address,
    /// The token account that receives.
    pub destination: Address,
    /// [`Quoted::crossed`].
    pub crossed: Vec<Address>,
}

/// A fraction of at most one, with six decimals and rounded up, from its millionths.
pub fn millionths(value: u32) -> Decimal {
    Decimal::new(value.into(), 6).normalize()
}
