//! The instruction `swap`. The program takes the direction from the mints of the accounts of the user.

use solana_address::Address;
use solana_instruction::{AccountMeta, Instruction};

use super::DammV2Pool;
use crate::venue::pool::{Pool, Swap, TOKEN_PROGRAM, exact_in_amounts, exact_in_data};

const DISCRIMINATOR: [u8; 8] = [0xf8, 0xc6, 0x9e, 0x91, 0xe1, 0x75, 0x87, 0xc8];
const ACCOUNTS: usize = 14;

pub(super) fn swap(pool: &DammV2Pool, swap: &Swap) -> Instruction {
    let state = &pool.state;
    let accounts = vec![
        AccountMeta::new_readonly(pool.authority, false),
        AccountMeta::new(pool.address, false),
        AccountMeta::new(swap.source, false),
        AccountMeta::new(swap.destination, false),
        AccountMeta::new(state.vaults[0], false),
        AccountMeta::new(state.vaults[1], false),
        AccountMeta::new_readonly(state.mints[0], false),
        AccountMeta::new_readonly(state.mints[1], false),
        AccountMeta::new_readonly(swap.user, true),
        AccountMeta::new_readonly(TOKEN_PROGRAM, false),
        AccountMeta::new_readonly(TOKEN_PROGRAM, false),
        // No account for a referral fee: the program stands for none.
        AccountMeta::new_readonly(pool.program, false),
        AccountMeta::new_readonly(pool.event_authority, false),
        AccountMeta::new_readonly(pool.program, false),
    ];
    Instruction { program_id: pool.program, accounts, data: exact_in_data(DISCRIMINATOR, swap) }
}

/// Reads the parts that vary, builds the instruction from them, and compares the whole.
pub(super) fn read(pool: &DammV2Pool, instruction: &Instruction, mint_in: Address) -> Option<Swap> {
    let (amount_in, min_amount_out) = exact_in_amounts(&instruction.data, DISCRIMINATOR)?;
    let account = |place: usize| instruction.accounts.get(place).map(|account| account.pubkey);
    let read = Swap {
        direction: pool.direction(mint_in)?,
        amount_in,
        min_amount_out,
        user: account(8)?,
        source: account(2)?,
        destination: account(3)?,
        crossed: Vec::new(),
    };
    (swap(pool, &read) == *instruction).then_some(read)
}

pub(super) fn pool_of(instruction: &Instruction) -> Option<Address> {
    exact_in_amounts(&instruction.data, DISCRIMINATOR)?;
    (instruction.accounts.len() == ACCOUNTS).then(|| instruction.accounts[1].pubkey)
}
