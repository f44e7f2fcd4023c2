//! The instruction `swap_base_input`.

use solana_address::Address;
use solana_instruction::{AccountMeta, Instruction};

use super::CpmmPool;
use crate::venue::pool::{Pool, Swap, TOKEN_PROGRAM, exact_in_amounts, exact_in_data};

const DISCRIMINATOR: [u8; 8] = [0x8f, 0xbe, 0x5a, 0xda, 0xc4, 0x1e, 0x33, 0xde];
const ACCOUNTS: usize = 13;

pub(super) fn swap(pool: &CpmmPool, swap: &Swap) -> Instruction {
    let state = &pool.state;
    let [vault_in, vault_out] = swap.direction.of(state.vaults);
    let [mint_in, mint_out] = swap.direction.of(state.mints);
    let accounts = vec![
        AccountMeta::new_readonly(swap.user, true),
        AccountMeta::new_readonly(pool.authority, false),
        AccountMeta::new_readonly(state.config, false),
        AccountMeta::new(pool.address, false),
        AccountMeta::new(swap.source, false),
        AccountMeta::new(swap.destination, false),
        AccountMeta::new(vault_in, false),
        AccountMeta::new(vault_out, false),
        AccountMeta::new_readonly(TOKEN_PROGRAM, false),
        AccountMeta::new_readonly(TOKEN_PROGRAM, false),
        AccountMeta::new_readonly(mint_in, false),
        AccountMeta::new_readonly(mint_out, false),
        AccountMeta::new(state.observation, false),
    ];
    Instruction { program_id: pool.program, accounts, data: exact_in_data(DISCRIMINATOR, swap) }
}

/// Reads the parts that vary, builds the instruction from them, and compares the whole.
pub(super) fn read(pool: &CpmmPool, instruction: &Instruction, mint_in: Address) -> Option<Swap> {
    let (amount_in, min_amount_out) = exact_in_amounts(&instruction.data, DISCRIMINATOR)?;
    let account = |place: usize| instruction.accounts.get(place).map(|account| account.pubkey);
    let read = Swap {
        direction: pool.direction(mint_in)?,
        amount_in,
        min_amount_out,
        user: account(0)?,
        source: account(4)?,
        destination: account(5)?,
        crossed: Vec::new(),
    };
    (swap(pool, &read) == *instruction).then_some(read)
}

pub(super) fn pool_of(instruction: &Instruction) -> Option<Address> {
    exact_in_amounts(&instruction.data, DISCRIMINATOR)?;
    (instruction.accounts.len() == ACCOUNTS).then(|| instruction.accounts[3].pubkey)
}
