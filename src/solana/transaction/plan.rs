//! The instructions of a swap, in their order.

use solana_compute_budget_interface::ComputeBudgetInstruction;
use solana_instruction::Instruction;
use solana_system_interface::instruction::create_account_with_seed;
use spl_associated_token_account_interface::instruction::create_associated_token_account_idempotent;
use spl_token_interface::instruction::{close_account, initialize_account3};

use super::budget::Budget;
use super::intent::{NATIVE_MINT, SwapIntent, TokenProgram};

/// The length of a token account, in bytes.
const TOKEN_ACCOUNT_BYTES: u64 = 165;

/// Everything that the transaction does: the budget, the accounts, the swap, and the end of the temporary account.
///
/// Whether an account exists when the transaction lands cannot be known now. So the account of the output is made "if it
/// does not exist", and native SOL gets an account that cannot exist yet.
pub fn plan(intent: &SwapIntent, swap: Instruction, budget: Budget) -> Vec<Instruction> {
    let mut instructions = vec![
        ComputeBudgetInstruction::set_compute_unit_limit(budget.units),
        ComputeBudgetInstruction::set_compute_unit_price(budget.price),
    ];
    if intent.uses_native() {
        instructions.extend(open_temporary(intent));
    }
    if !intent.buys_native() {
        instructions.push(create_output_account(intent));
    }
    instructions.push(swap);
    if intent.uses_native() {
        instructions.push(close_temporary(intent));
    }
    instructions
}

fn open_temporary(intent: &SwapIntent) -> [Instruction; 2] {
    let (account, program) = (intent.temporary(), TokenProgram::Token.id());
    let (wallet, seed) = (&intent.wallet, intent.seed.as_str());
    let lamports = intent.temporary_lamports();
    [
        create_account_with_seed(wallet, &account, wallet, seed, lamports, TOKEN_ACCOUNT_BYTES, &program),
        initialize_account3(&program, &account, &NATIVE_MINT, wallet).expect("it is the token program"),
    ]
}

fn create_output_account(intent: &SwapIntent) -> Instruction {
    let token = intent.token_out;
    create_associated_token_account_idempotent(&intent.wallet, &intent.wallet, &token.mint, &token.program.id())
}

/// What the account holds, and what its existence cost, goes to the wallet as SOL.
fn close_temporary(intent: &SwapIntent) -> Instruction {
    close_account(&TokenProgram::Token.id(), &intent.temporary(), &intent.wallet, &intent.wallet, &[])
        .expect("it is the token program")
}

#[cfg(test)]
mod tests {
    use crate::solana::transaction::testing::{SWAP_PROGRAM, Shape, message, planned};

    fn programs(shape: Shape) -> Vec<String> {
        let named = |id: solana_address::Address| match id.to_string() {
            id if id.starts_with("Compute") => "budget".to_owned(),
            id if id.starts_with("1111") => "system".to_owned(),
            id if id.starts_with("AToken") => "associated".to_owned(),
            id if id.starts_with("Tokenkeg") => "token".to_owned(),
            id if id == SWAP_PROGRAM.to_string() => "swap".to_owned(),
            id => id,
        };
        planned(shape).into_iter().map(|instruction| named(instruction.program_id)).collect()
    }

    #[test]
    fn only_a_swap_of_native_sol_opens_and_closes_the_temporary_account() {
        let sell = ["budget", "budget", "system", "token", "associated", "swap", "token"];
        assert_eq!(programs(Shape::SellNative), sell);
        assert_eq!(programs(Shape::BuyNative), ["budget", "budget", "system", "token", "swap", "token"]);
        assert_eq!(programs(Shape::Tokens), ["budget", "budget", "associated", "swap"]);
        assert_eq!(programs(Shape::Token2022), ["budget", "budget", "associated", "swap"]);
    }

    #[test]
    fn every_shape_fits_into_a_transaction() {
        for shape in Shape::ALL {
            let length = message(shape).len();
            assert!((300..900).contains(&length), "{shape:?}: {length}");
        }
    }
}
