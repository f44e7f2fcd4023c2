//! Whether the wallet can pay for a transaction.

use thiserror::Error;

use super::intent::SwapIntent;
use crate::domain::amount::BaseUnits;

/// What the wallet holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Funds {
    /// Its SOL.
    pub lamports: u64,
    /// The token to sell, in the account of the wallet. Not used if SOL is sold.
    pub tokens: u64,
}

/// What accounts must hold to exist, in lamports. The chain is asked for these values, because they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rents {
    /// The wallet itself.
    pub wallet: u64,
    /// The account of the token to buy, if the transaction makes it; otherwise 0.
    pub output_account: u64,
}

/// The wallet cannot pay for the swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the wallet can sell at most {} base units of the token, and needs {missing_lamports} lamports more for fees and accounts", .could_sell.0)]
pub struct InsufficientFunds {
    /// The most that it could sell now, in base units of the token to sell; 0 if it lacks lamports for fees or accounts.
    pub could_sell: BaseUnits,
    /// The lamports that it lacks for fees and accounts, apart from what is sold.
    pub missing_lamports: u64,
}

/// Compares the wallet with what the transaction takes from it at any moment.
///
/// The temporary account is paid while the transaction runs, and comes back at its end, when the wallet must hold its own
/// minimum. So the wallet needs the larger of both.
pub fn check_funds(intent: &SwapIntent, funds: Funds, rents: Rents, fee: u64) -> Result<(), InsufficientFunds> {
    let temporary = if intent.uses_native() { intent.token_account_rent } else { 0 };
    let overhead = fee.saturating_add(rents.output_account).saturating_add(temporary.max(rents.wallet));
    let missing_lamports = overhead.saturating_sub(funds.lamports);
    let held = if intent.sells_native() { funds.lamports.saturating_sub(overhead) } else { funds.tokens };
    let could_sell = BaseUnits(if missing_lamports > 0 { 0 } else { held });
    if could_sell < intent.amount_in { Err(InsufficientFunds { could_sell, missing_lamports }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solana::transaction::testing::{Shape, intent};

    const RENTS: Rents = Rents { wallet: 650_000, output_account: 1_488_440 };
    const FEE: u64 = 10_000;

    fn checked(shape: Shape, lamports: u64, tokens: u64, rents: Rents) -> Result<(), InsufficientFunds> {
        let intent = SwapIntent { token_account_rent: 1_488_440, amount_in: BaseUnits(1_000_000), ..intent(shape) };
        check_funds(&intent, Funds { lamports, tokens }, rents, FEE)
    }

    fn insufficient(could_sell: u64, missing_lamports: u64) -> Result<(), InsufficientFunds> {
        Err(InsufficientFunds { could_sell: BaseUnits(could_sell), missing_lamports })
    }

    #[test]
    fn a_wallet_that_sells_sol_keeps_enough_for_the_fee_and_both_accounts() {
        let needed = 1_000_000 + FEE + 2 * 1_488_440;
        let sells = |lamports, rents| checked(Shape::SellNative, lamports, 0, rents);
        assert_eq!(sells(needed, RENTS), Ok(()));
        assert_eq!(sells(needed - 1, RENTS), insufficient(999_999, 0));
        assert_eq!(sells(FEE + 1_488_440, RENTS), insufficient(0, 1_488_440));
        // The account of the output exists.
        let rents = Rents { output_account: 0, ..RENTS };
        assert_eq!(sells(needed - 1_488_440, rents), Ok(()));
        assert_eq!(sells(needed - 1_488_441, rents), insufficient(999_999, 0));
        assert_eq!(sells(0, Rents { output_account: u64::MAX, ..RENTS }), insufficient(0, u64::MAX));
    }

    #[test]
    fn a_wallet_that_buys_sol_needs_the_tokens_and_lamports_for_the_temporary_account() {
        let buys = |lamports, tokens| checked(Shape::BuyNative, lamports, tokens, Rents { output_account: 0, ..RENTS });
        assert_eq!(buys(FEE + 1_488_440, 1_000_000), Ok(()));
        assert_eq!(buys(FEE + 1_488_440, 999_999), insufficient(999_999, 0));
        assert_eq!(buys(FEE + 1_488_439, 1_000_000), insufficient(0, 1));
    }

    #[test]
    fn a_wallet_that_swaps_tokens_keeps_its_own_minimum() {
        let swaps = |lamports| checked(Shape::Tokens, lamports, 1_000_000, Rents { output_account: 0, ..RENTS });
        assert_eq!(swaps(FEE + 650_000), Ok(()));
        assert_eq!(swaps(FEE + 649_999), insufficient(0, 1));
    }
}
