//! How much a landed swap paid.

use crate::domain::amount::BaseUnits;
use crate::solana::rpc::{LandedTransaction, Meta, TokenBalance};

/// The token program whose transfers have no fee: what leaves one account arrives at the other.
const SPL_TOKEN: &str = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA";

/// What the fee payer of a landed transaction received of a token; `None` if that cannot be read.
///
/// It is what the payer's accounts of that token gained. An account that the transaction closed has no balance after
/// it: then it is what the only account that paid the token lost, which is the vault of the pool. With a transfer fee
/// the payer receives less than a vault loses, so this holds for the original token program only.
pub fn received(landed: &LandedTransaction, mint: &str) -> Option<BaseUnits> {
    let payer = landed.transaction.message.account_keys.first()?;
    let changes = changes(landed.meta.as_ref()?, mint)?;
    let mut gained = 0;
    for change in changes.iter().filter(|change| change.owner == payer) {
        gained += change.after.unwrap_or_default().saturating_sub(change.before);
    }
    if gained == 0 {
        let mut paying = changes.iter().filter(|change| change.owner != payer && change.lost() > 0);
        let vault = paying.next()?;
        if paying.next().is_some() || vault.program != SPL_TOKEN {
            return None;
        }
        gained = vault.lost();
    }
    (gained > 0).then_some(BaseUnits(gained))
}

/// The change of one token account.
struct Change<'a> {
    owner: &'a str,
    program: &'a str,
    before: u64,
    /// `None` if the transaction closed it.
    after: Option<u64>,
}

impl Change<'_> {
    fn lost(&self) -> u64 {
        self.before.saturating_sub(self.after.unwrap_or(self.before))
    }
}

/// The changes of the token accounts of a mint; `None` if the endpoint does not say all of them.
fn changes<'a>(meta: &'a Meta, mint: &str) -> Option<Vec<Change<'a>>> {
    let (before, after) = (meta.pre_token_balances.as_deref()?, meta.post_token_balances.as_deref()?);
    let of_mint = |balances: &'a [TokenBalance]| {
        let mint = mint.to_owned();
        balances.iter().filter(move |balance| balance.mint == mint)
    };
    let amount_in = |balances: &[TokenBalance], index: usize| {
        let balance = balances.iter().find(|balance| balance.account_index == index);
        balance.map(|balance| balance.ui_token_amount.amount)
    };
    let is_new = |balance: &&TokenBalance| amount_in(before, balance.account_index).is_none();
    of_mint(before)
        .chain(of_mint(after).filter(is_new))
        .map(|balance| {
            Some(Change {
                owner: balance.owner.as_deref()?,
                program: balance.program_id.as_deref()?,
                before: amount_in(before, balance.account_index).unwrap_or_default(),
                after: amount_in(after, balance.account_index),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const PAYER: &str = "AKnL4NNf3DGWZJS6cPknBuEGnVsV4A4m5tgebLHaRSZ9";
    const POOL: &str = "GpMZbSM2GgvTKHJirzeGfMFoaZ8UR2X7F4v8vHTvxFbL";
    const USDC: &str = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v";
    const WSOL: &str = "So11111111111111111111111111111111111111112";
    const TOKEN_2022: &str = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb";

    fn balance(index: usize, mint: &str, owner: &str, amount: u64) -> Value {
        json!({
            "accountIndex": index, "mint": mint, "owner": owner, "programId": SPL_TOKEN,
            "uiTokenAmount": { "amount": amount.to_string(), "decimals": 6, "uiAmount": null, "uiAmountString": "0" },
        })
    }

    fn landed(before: Value, after: Value) -> LandedTransaction {
        let answer = json!({
            "slot": 7, "blockTime": 1,
            "meta": { "err": null, "fee": 5_000, "preTokenBalances": before, "postTokenBalances": after },
            "transaction": {
                "signatures": ["1".repeat(64)],
                "message": { "accountKeys": [PAYER, POOL], "instructions": [] },
            },
        });
        serde_json::from_value(answer).unwrap()
    }

    #[test]
    fn the_output_is_what_the_accounts_of_the_payer_gained() {
        let before = json!([balance(1, USDC, PAYER, 5), balance(2, USDC, POOL, 1_000), balance(3, WSOL, POOL, 10)]);
        let after = json!([balance(1, USDC, PAYER, 105), balance(2, USDC, POOL, 900), balance(3, WSOL, POOL, 20)]);
        assert_eq!(received(&landed(before, after), USDC), Some(BaseUnits(100)));
    }

    #[test]
    fn an_account_that_the_swap_created_begins_with_nothing() {
        let before = json!([balance(2, USDC, POOL, 1_000)]);
        // A fee of the token: the payer receives less than the vault lost.
        let after = json!([balance(1, USDC, PAYER, 97), balance(2, USDC, POOL, 900)]);
        assert_eq!(received(&landed(before, after), USDC), Some(BaseUnits(97)));
    }

    #[test]
    fn without_a_balance_of_the_payer_the_output_is_what_the_vault_lost() {
        let before = json!([balance(2, USDC, POOL, 1_000), balance(3, WSOL, POOL, 50)]);
        let after = json!([balance(2, USDC, POOL, 1_100), balance(3, WSOL, POOL, 20)]);
        assert_eq!(received(&landed(before, after), WSOL), Some(BaseUnits(30)));
    }

    #[test]
    fn an_output_that_is_not_certain_is_not_read() {
        let vault = |amount| balance(3, WSOL, POOL, amount);
        let with = |key: &str, value: Value| {
            let mut balance = vault(50);
            balance[key] = value;
            json!([balance])
        };
        for (case, before, after) in [
            ("nothing changed", json!([vault(50)]), json!([vault(50)])),
            ("the token is not there", json!([]), json!([])),
            (
                "two accounts paid",
                json!([vault(50), balance(4, WSOL, USDC, 9)]),
                json!([vault(20), balance(4, WSOL, USDC, 1)]),
            ),
            ("the endpoint says no owner", with("owner", Value::Null), json!([vault(20)])),
            ("the endpoint says no program", with("programId", Value::Null), json!([vault(20)])),
            ("the token may have a fee", with("programId", json!(TOKEN_2022)), json!([vault(20)])),
            ("the vault is closed", json!([vault(50)]), json!([])),
            ("the endpoint says no balances", Value::Null, Value::Null),
        ] {
            assert_eq!(received(&landed(before, after), WSOL), None, "{case}");
        }
    }
}
