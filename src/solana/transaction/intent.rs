//! What one transaction has to do.

use sha2::{Digest, Sha256};
use solana_address::Address;
use spl_associated_token_account_interface::address::get_associated_token_address_with_program_id;

use crate::domain::amount::BaseUnits;
use crate::domain::id::OrderId;

/// The mint of wrapped SOL. An order for it is an order for SOL.
pub const NATIVE_MINT: Address = Address::from_str_const("So11111111111111111111111111111111111111112");

/// What one transaction has to do: swap one amount for at least another, for one wallet.
///
/// The SOL of an order is native SOL. It passes through a temporary token account that is made, used and closed within
/// the transaction. The wrapped SOL of the wallet is never used: closing that account would unwrap what belongs to other
/// orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapIntent {
    /// The wallet. It pays for everything, signs, and receives the output.
    pub wallet: Address,
    /// The token to sell.
    pub token_in: TokenMint,
    /// The token to buy; another one.
    pub token_out: TokenMint,
    /// The amount to sell.
    pub amount_in: BaseUnits,
    /// The least output, never 0.
    pub min_amount_out: BaseUnits,
    /// The seed of the temporary account, if the swap needs one.
    pub seed: Seed,
    /// What a token account must hold to exist, in lamports.
    pub token_account_rent: u64,
}

impl SwapIntent {
    /// The account that pays.
    pub fn source(&self) -> Address {
        self.account_of(self.token_in)
    }

    /// The account that receives.
    pub fn destination(&self) -> Address {
        self.account_of(self.token_out)
    }

    /// Whether native SOL is sold.
    pub fn sells_native(&self) -> bool {
        self.token_in.is_native()
    }

    /// Whether native SOL is bought.
    pub fn buys_native(&self) -> bool {
        self.token_out.is_native()
    }

    /// Whether the swap needs the temporary account.
    pub fn uses_native(&self) -> bool {
        self.sells_native() || self.buys_native()
    }

    /// The temporary account of native SOL.
    pub fn temporary(&self) -> Address {
        Address::create_with_seed(&self.wallet, self.seed.as_str(), &TokenProgram::Token.id())
            .expect("the seed is short enough, and the owner is not a derived address")
    }

    /// The lamports of the temporary account when it is made.
    pub fn temporary_lamports(&self) -> u64 {
        let sold = if self.sells_native() { self.amount_in.0 } else { 0 };
        self.token_account_rent.saturating_add(sold)
    }

    fn account_of(&self, token: TokenMint) -> Address {
        if token.is_native() {
            return self.temporary();
        }
        associated_account(&self.wallet, token)
    }
}

/// The account in which a wallet holds a token by default.
pub fn associated_account(wallet: &Address, token: TokenMint) -> Address {
    get_associated_token_address_with_program_id(wallet, &token.mint, &token.program.id())
}

/// A token: its mint, and the program that keeps its accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenMint {
    /// The mint.
    pub mint: Address,
    /// The owner of the mint.
    pub program: TokenProgram,
}

impl TokenMint {
    /// Whether it is SOL.
    pub fn is_native(self) -> bool {
        self.mint == NATIVE_MINT
    }
}

/// A program that keeps token accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenProgram {
    /// SPL Token.
    Token,
    /// Token-2022.
    Token2022,
}

impl TokenProgram {
    /// Both programs.
    pub const ALL: [Self; 2] = [Self::Token, Self::Token2022];

    /// The program with that address.
    pub fn from_id(id: Address) -> Option<Self> {
        Self::ALL.into_iter().find(|program| program.id() == id)
    }

    /// The address.
    pub const fn id(self) -> Address {
        match self {
            Self::Token => Address::from_str_const("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"),
            Self::Token2022 => Address::from_str_const("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"),
        }
    }
}

/// The seed of a temporary account: one for each attempt of an order.
///
/// It is a hash, because the chain accepts at most 32 bytes, and because it is public: an address that others can foresee
/// could be occupied by a transfer to it, and then the swap fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed(String);

impl Seed {
    /// The seed of an attempt.
    pub fn of(order_id: OrderId, attempt: u32) -> Self {
        let hash = Sha256::new()
            .chain_update(b"temporary account")
            .chain_update(order_id.0.as_bytes())
            .chain_update(attempt.to_le_bytes())
            .finalize();
        Self(hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The seed as the system program takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use uuid::Uuid;

    use super::*;
    use crate::solana::transaction::testing::{Shape, intent};

    #[test]
    fn each_attempt_of_each_order_has_a_temporary_account_of_its_own() {
        let mut seen = HashSet::new();
        for order in 0..50 {
            for attempt in 1..=5 {
                let seed = Seed::of(OrderId(Uuid::from_u128(order)), attempt);
                assert_eq!(seed.as_str().len(), 32);
                seen.insert(SwapIntent { seed, ..intent(Shape::SellNative) }.temporary());
            }
        }
        assert_eq!(seen.len(), 250);
    }

    #[test]
    fn native_sol_passes_through_the_temporary_account_and_other_tokens_through_the_accounts_of_the_wallet() {
        let sell = intent(Shape::SellNative);
        assert_eq!(sell.source(), sell.temporary());
        assert_eq!(sell.temporary_lamports(), sell.token_account_rent + sell.amount_in.0);
        let buy = intent(Shape::BuyNative);
        assert_eq!(buy.destination(), buy.temporary());
        assert_eq!(buy.temporary_lamports(), buy.token_account_rent);
        assert_eq!(buy.source(), sell.destination(), "both are the wallet's account of the other token");
        let tokens = intent(Shape::Tokens);
        assert!(!tokens.uses_native());
        assert_ne!(tokens.source(), tokens.destination());
    }
}
