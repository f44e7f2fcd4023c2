//! Reading token accounts and mints, of the SPL Token program and of Token-2022.

use solana_account::{Account, ReadableAccount};
use solana_address::{Address, address};

/// The SPL Token program.
pub const TOKEN_PROGRAM: Address = address!("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA");
/// The Token-2022 program.
pub const TOKEN_2022_PROGRAM: Address = address!("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb");

/// The bytes of a mint, and of a token account, without extensions.
pub(crate) const MINT_LENGTH: usize = 82;
pub(crate) const ACCOUNT_LENGTH: usize = 165;

/// What a token account holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Holding {
    /// The mint of its token.
    pub mint: Address,
    /// Who may spend it.
    pub owner: Address,
    /// In base units.
    pub amount: u64,
}

/// A token account of a transaction, as `preTokenBalances` lists it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenBalance {
    /// The place of the account among the accounts of the transaction.
    pub account_index: usize,
    /// What it holds.
    pub holding: Holding,
    /// The decimals of its mint.
    pub decimals: u8,
    /// The program that owns the account.
    pub program: Address,
}

/// Whether an account belongs to one of the two token programs.
pub fn is_of_token_program(owner: &Address) -> bool {
    [TOKEN_PROGRAM, TOKEN_2022_PROGRAM].contains(owner)
}

/// The content of a token account; `None` for any other account.
pub fn holding(account: &Account) -> Option<Holding> {
    let data = account.data();
    let is_account = data.len() == ACCOUNT_LENGTH || data.get(ACCOUNT_LENGTH) == Some(&2);
    let is_initialized = data.get(108).is_some_and(|state| *state != 0);
    if !is_of_token_program(account.owner()) || !is_account || !is_initialized {
        return None;
    }
    Some(Holding { mint: address_at(data, 0)?, owner: address_at(data, 32)?, amount: u64_at(data, 64)? })
}

/// The decimals of a mint; `None` for any other account.
pub fn decimals(mint: &Account) -> Option<u8> {
    let data = mint.data();
    let is_mint = data.len() == MINT_LENGTH || data.get(ACCOUNT_LENGTH) == Some(&1);
    (is_of_token_program(mint.owner()) && is_mint && data[45] == 1).then(|| data[44])
}

pub(crate) fn address_at(data: &[u8], offset: usize) -> Option<Address> {
    let bytes: [u8; 32] = data.get(offset..offset + 32)?.try_into().ok()?;
    Some(Address::new_from_array(bytes))
}

pub(crate) fn u64_at(data: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(data.get(offset..offset + 8)?.try_into().ok()?))
}
