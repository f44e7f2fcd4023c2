//! The instruction `swap`. The program takes the direction from the mints of the accounts of the user.

use solana_instruction::{AccountMeta, Instruction};

use super::DammV2Pool;
use crate::venue::pool::{ExactIn, Swap, TOKEN_PROGRAM};

pub(super) const FORM: ExactIn = ExactIn {
    discriminator: [0xf8, 0xc6, 0x9e, 0x91, 0xe1, 0x75, 0x87, 0xc8],
    accounts: 14,
    pool: 1,
    user: 8,
    source: 2,
    destination: 3,
};

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
    Instruction { program_id: pool.program, accounts, data: FORM.data(swap) }
}
