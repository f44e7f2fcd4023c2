//! Swaps of an exact input: the form of the instruction, and the result.
//!
//! The data of the instruction are a discriminator of 8 bytes, the input, and the least output.

use solana_address::Address;
use solana_instruction::Instruction;

use super::{Pool, Quoted, Swap, millionths};
use crate::domain::amount::BaseUnits;

/// The form of a program's instruction: its discriminator, and the places of the accounts that tell what it does.
pub struct ExactIn {
    /// The first bytes of the data.
    pub discriminator: [u8; 8],
    /// The number of accounts.
    pub accounts: usize,
    /// The place of the pool.
    pub pool: usize,
    /// The place of the owner of `source`.
    pub user: usize,
    /// The place of the token account that pays.
    pub source: usize,
    /// The place of the token account that receives.
    pub destination: usize,
}

impl ExactIn {
    /// The data of a swap.
    pub fn data(&self, swap: &Swap) -> Vec<u8> {
        [self.discriminator, swap.amount_in.0.to_le_bytes(), swap.min_amount_out.0.to_le_bytes()].concat()
    }

    /// The pool that an instruction names, if it has this form.
    pub fn pool_of(&self, instruction: &Instruction) -> Option<Address> {
        self.amounts(&instruction.data)?;
        (instruction.accounts.len() == self.accounts).then(|| instruction.accounts[self.pool].pubkey)
    }

    /// [`Pool::read`]: reads the parts that vary, builds the instruction from them, and compares the whole.
    pub fn read(&self, pool: &dyn Pool, instruction: &Instruction, mint_in: Address) -> Option<Swap> {
        let (amount_in, min_amount_out) = self.amounts(&instruction.data)?;
        let account = |place: usize| instruction.accounts.get(place).map(|account| account.pubkey);
        let read = Swap {
            direction: pool.direction(mint_in)?,
            amount_in,
            min_amount_out,
            user: account(self.user)?,
            source: account(self.source)?,
            destination: account(self.destination)?,
            crossed: Vec::new(),
        };
        (pool.instruction(&read) == *instruction).then_some(read)
    }

    /// The input and the least output, if the data has exactly this form.
    fn amounts(&self, data: &[u8]) -> Option<(BaseUnits, BaseUnits)> {
        let (amounts, rest) = data.strip_prefix(&self.discriminator)?.as_chunks::<8>();
        let units = |bytes: [u8; 8]| BaseUnits(u64::from_le_bytes(bytes));
        match (amounts, rest) {
            ([amount_in, least], []) => Some((units(*amount_in), units(*least))),
            _ => None,
        }
    }
}

/// The result of a swap of an exact input, in base units.
#[derive(Debug, PartialEq, Eq)]
pub struct Trade {
    /// The output after all fees.
    pub amount_out: u64,
    /// The fee that is taken from the input.
    pub fee_on_input: u64,
    /// The fee that is taken from the output.
    pub fee_on_output: u64,
    /// The price impact without fees, in millionths.
    pub impact_millionths: u32,
}

impl Trade {
    /// The quote, of a kind of pool without ticks and bins.
    pub fn quoted(self, amount_in: BaseUnits) -> Quoted {
        Quoted {
            amount_in,
            amount_out: BaseUnits(self.amount_out),
            fee_on_input: BaseUnits(self.fee_on_input),
            fee_on_output: BaseUnits(self.fee_on_output),
            price_impact: millionths(self.impact_millionths),
            crossed: Vec::new(),
        }
    }
}
