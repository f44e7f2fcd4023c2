//! Wallets, mints and token accounts.

use solana_account::Account;
use solana_address::Address;
use spl_associated_token_account_interface::address::get_associated_token_address_with_program_id;

use super::SOL;
use crate::Chain;
use crate::tokens::{self, ACCOUNT_LENGTH, MINT_LENGTH, TOKEN_2022_PROGRAM, TOKEN_PROGRAM};

/// The fee that a Token-2022 mint takes from each transfer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TransferFee {
    /// The share, of ten thousand.
    pub basis_points: u16,
    /// The most that one transfer costs, in base units.
    pub maximum: u64,
}

/// Where a wallet holds a token by default.
pub fn associated_account(owner: &Address, mint: &Address, token_program: &Address) -> Address {
    get_associated_token_address_with_program_id(owner, mint, token_program)
}

impl Chain {
    /// Sets the balance of a wallet.
    pub fn set_lamports(&mut self, wallet: Address, lamports: u64) {
        self.set_account(wallet, Account { lamports, rent_epoch: u64::MAX, ..Account::default() });
    }

    /// Places a mint of the SPL Token program. It has no authority: its tokens are placed too.
    pub fn add_mint(&mut self, mint: Address, decimals: u8) {
        self.add_mint_of(TOKEN_PROGRAM, mint, mint_data(decimals));
    }

    /// Places a mint of Token-2022 whose transfers cost a fee.
    pub fn add_mint_with_transfer_fee(&mut self, mint: Address, decimals: u8, fee: TransferFee) {
        let mut data = mint_data(decimals);
        data.resize(ACCOUNT_LENGTH, 0);
        data.push(1);
        data.extend([1, 0, 108, 0]);
        data.extend([0; 64 + 8]);
        for _older_and_newer in 0..2 {
            data.extend(0_u64.to_le_bytes());
            data.extend(fee.maximum.to_le_bytes());
            data.extend(fee.basis_points.to_le_bytes());
        }
        self.add_mint_of(TOKEN_2022_PROGRAM, mint, data);
    }

    fn add_mint_of(&mut self, owner: Address, mint: Address, data: Vec<u8>) {
        let lamports = self.rent(data.len());
        self.set_account(mint, Account { lamports, data, owner, executable: false, rent_epoch: u64::MAX });
    }

    /// The token program of a mint that is on the chain.
    pub fn token_program(&self, mint: &Address) -> Address {
        let mint = self.account(mint, self.block(crate::Commitment::Processed, u64::MAX));
        mint.map_or(TOKEN_PROGRAM, |mint| mint.owner)
    }

    /// Sets how much of a token a wallet holds in its associated account, and returns that account.
    pub fn set_tokens(&mut self, owner: &Address, mint: &Address, amount: u64) -> Address {
        let account = associated_account(owner, mint, &self.token_program(mint));
        self.set_token_account(account, owner, mint, amount);
        account
    }

    /// Places a token account at an address.
    pub fn set_token_account(&mut self, address: Address, owner: &Address, mint: &Address, amount: u64) {
        let program = self.token_program(mint);
        let mut data = vec![0; ACCOUNT_LENGTH];
        data[..32].copy_from_slice(&mint.to_bytes());
        data[32..64].copy_from_slice(&owner.to_bytes());
        data[64..72].copy_from_slice(&amount.to_le_bytes());
        data[108] = 1;
        if program == TOKEN_2022_PROGRAM {
            // The owner cannot be changed, and no fee is withheld yet.
            data.extend([2, 7, 0, 0, 0, 2, 0, 8, 0]);
            data.extend([0; 8]);
        }
        let mut lamports = self.rent(data.len());
        if *mint == SOL {
            data[109] = 1;
            data[113..121].copy_from_slice(&lamports.to_le_bytes());
            lamports += amount;
        }
        self.set_account(address, Account { lamports, data, owner: program, executable: false, rent_epoch: u64::MAX });
    }

    /// How much a token account holds in the newest block; 0 if it does not exist.
    pub fn token_amount(&self, account: &Address) -> u64 {
        let account = self.account(account, self.block(crate::Commitment::Processed, u64::MAX));
        account.and_then(|account| tokens::holding(&account)).map_or(0, |holding| holding.amount)
    }
}

fn mint_data(decimals: u8) -> Vec<u8> {
    let mut data = vec![0; MINT_LENGTH];
    data[44] = decimals;
    data[45] = 1;
    data
}
