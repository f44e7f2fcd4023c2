//! The instruction `swap_base_input`.

use solana_instruction::{AccountMeta, Instruction};

use super::CpmmPool;
use crate::venue::pool::{ExactIn, Swap, TOKEN_PROGRAM};

pub(super) const FORM: ExactIn = ExactIn {
    discriminator: [0x8f, 0xbe, 0x5a, 0xda, 0xc4, 0x1e, 0x33, 0xde],
    accounts: 13,
    pool: 3,
    user: 0,
    source: 4,
    destination: 5,
};

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
    Instruction { program_id: pool.program, accounts, data: FORM.data(swap) }
}
