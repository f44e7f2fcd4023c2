//! Why a landed swap failed, and whether another attempt can succeed.

use solana_address::{Address, address};

use crate::domain::retry::{Failure, FailureCode};
use crate::solana::rpc::{LandedTransaction, TransactionError, program_of};

/// A swap that landed and failed: the fee is paid, nothing was swapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainFailure {
    /// The slot of the transaction.
    pub slot: u64,
    /// The fee that was paid, in lamports.
    pub fee: u64,
    /// The instruction that failed; `None` if the transaction failed as a whole.
    pub instruction: Option<u8>,
    /// The program that failed. It may have been called by the program of the instruction.
    pub program: Option<Address>,
    /// The name of the error: what an Anchor program logs, or what the runtime says.
    pub name: Option<String>,
    /// The number that the program gave. Numbers change between versions of a program, names do not.
    pub number: Option<u32>,
}

/// An error of a program that the engine knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownError {
    /// The program. The same name and number mean other things elsewhere.
    pub program: Address,
    /// The name in the logs of the program, if it logs one.
    pub name: Option<&'static str>,
    /// The number, if it means the same in each version of the program.
    pub number: Option<u32>,
    /// What it means.
    pub code: FailureCode,
}

/// The errors of the token programs and the system program.
pub fn known_errors() -> Vec<KnownError> {
    // An account holds less than a transfer takes: less of a token, or of lamports.
    [
        address!("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"),
        address!("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"),
        address!("11111111111111111111111111111111"),
    ]
    .map(|program| KnownError { program, name: None, number: Some(1), code: FailureCode::InsufficientFunds })
    .into()
}

/// The errors of the swap programs when they would pay less than the floor. The programs have other addresses on other
/// clusters.
pub fn slippage_errors(raydium_cpmm: Address, meteora_damm_v2: Address) -> [KnownError; 2] {
    let slippage = |program, number| KnownError {
        program,
        name: Some("ExceededSlippage"),
        number: Some(number),
        code: FailureCode::SlippageExceeded,
    };
    [slippage(raydium_cpmm, 6005), slippage(meteora_damm_v2, 6002)]
}

impl ChainFailure {
    /// The failure of the order's attempt.
    ///
    /// An unknown error is retryable: the next attempt asks for new quotes, and attempts are counted.
    pub fn to_failure(&self, known: &[KnownError]) -> Failure {
        Failure::new(self.code(known), self.to_string())
    }

    fn code(&self, known: &[KnownError]) -> FailureCode {
        let Some(program) = self.program else {
            return match self.name.as_deref() {
                Some("InsufficientFundsForFee" | "InsufficientFundsForRent" | "AccountNotFound") => {
                    FailureCode::InsufficientFunds
                }
                _ => FailureCode::SwapRejected,
            };
        };
        let of_program = known.iter().filter(|error| error.program == program);
        // The number counts only where no name is known: a named error may have had another number before.
        let (mut by_name, mut by_number) = (None, None);
        for error in of_program {
            if error.name.is_some() && error.name == self.name.as_deref() {
                by_name = Some(error.code);
            }
            if error.number.is_some() && error.number == self.number {
                by_number = Some(error.code);
            }
        }
        let has_name = self.number.is_some() && self.name.is_some();
        by_name.or(if has_name { None } else { by_number }).unwrap_or(FailureCode::SwapRejected)
    }
}

impl std::fmt::Display for ChainFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the swap failed on the chain in slot {}", self.slot)?;
        if let Some(instruction) = self.instruction {
            write!(f, ", in instruction {instruction}")?;
        }
        if let Some(program) = self.program {
            write!(f, " of program {program}")?;
        }
        match (&self.name, self.number) {
            (Some(name), Some(number)) => write!(f, ": {name} ({number})")?,
            (Some(name), None) => write!(f, ": {name}")?,
            (None, Some(number)) => write!(f, ": error {number}")?,
            (None, None) => {}
        }
        write!(f, "; it cost a fee of {} lamports", self.fee)
    }
}

/// The failure of a landed transaction; `None` if it succeeded or the endpoint does not say.
pub fn chain_failure(landed: &LandedTransaction) -> Option<ChainFailure> {
    let meta = landed.meta.as_ref()?;
    let failure =
        ChainFailure { slot: landed.slot, fee: meta.fee, instruction: None, program: None, name: None, number: None };
    Some(match meta.err.as_ref()? {
        TransactionError::Whole(name) => ChainFailure { name: Some(name.clone()), ..failure },
        TransactionError::Instruction { index, number, name } => {
            let logged = failing_program(meta.log_messages.as_deref().unwrap_or_default());
            // Without logs the program of the instruction is taken, which may only have passed the error on.
            let program = logged.as_ref().map(|logged| logged.program);
            let of_runtime = number.is_none().then(|| name.clone());
            ChainFailure {
                instruction: Some(*index),
                program: program.or_else(|| program_of(&landed.transaction.message, *index)),
                name: logged.and_then(|logged| logged.name).or(of_runtime),
                number: *number,
                ..failure
            }
        }
    })
}

/// A program that logged its failure.
struct Logged {
    program: Address,
    name: Option<String>,
}

/// The program that failed first, which is the innermost one: a program that calls it fails after it.
fn failing_program(logs: &[String]) -> Option<Logged> {
    let mut calls: Vec<(&str, Option<String>)> = Vec::new();
    for line in logs {
        let Some(event) = line.strip_prefix("Program ") else { continue };
        if let Some(text) = event.strip_prefix("log: ") {
            if let (Some(name), Some((_, current))) = (error_name(text), calls.last_mut()) {
                *current = Some(name);
            }
            continue;
        }
        let Some((program, what)) = event.split_once(' ') else { continue };
        if what.starts_with("invoke [") {
            calls.push((program, None));
        } else if what == "success" {
            calls.pop();
        } else if what.starts_with("failed") {
            let name = calls.pop().filter(|(called, _)| *called == program).and_then(|(_, name)| name);
            return Some(Logged { program: program.parse().ok()?, name });
        }
    }
    None
}

/// The name in `… Error Code: Name. Error Number: …`, as Anchor programs log it.
fn error_name(text: &str) -> Option<String> {
    const LONGEST: usize = 64;
    let (_, rest) = text.split_once("Error Code: ")?;
    let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).take(LONGEST).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const CPMM: &str = "CPMMoo8L3F4NbTegBCKVNunggL7H1ZpdTHKxQB5qKP1C";
    const DAMM: &str = "cpamdpZCGKUy5JxQXB4dcpGPiikHawvSWAd6mEn1sGG";
    const TOKEN: &str = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA";

    fn errors() -> Vec<KnownError> {
        let slippage = slippage_errors(CPMM.parse().unwrap(), DAMM.parse().unwrap());
        known_errors().into_iter().chain(slippage).collect()
    }

    fn failure(program: &str, err: Value, logs: Value) -> ChainFailure {
        let answer = json!({
            "slot": 77,
            "meta": { "err": err, "fee": 5_010, "logMessages": logs },
            "transaction": {
                "signatures": ["1".repeat(64)],
                "message": {
                    "accountKeys": ["AKnL4NNf3DGWZJS6cPknBuEGnVsV4A4m5tgebLHaRSZ9", program],
                    "instructions": [{ "programIdIndex": 0 }, { "programIdIndex": 1 }],
                },
            },
        });
        chain_failure(&serde_json::from_value(answer).unwrap()).unwrap()
    }

    fn custom(number: u32) -> Value {
        json!({ "InstructionError": [1, { "Custom": number }] })
    }

    fn anchor(program: &str, name: &str, number: u32) -> Value {
        json!([
            "Program ComputeBudget111111111111111111111111111111 invoke [1]",
            "Program ComputeBudget111111111111111111111111111111 success",
            format!("Program {program} invoke [1]"),
            "Program log: Instruction: SwapBaseInput",
            format!("Program log: AnchorError thrown in swap.rs:1. Error Code: {name}. Error Number: {number}."),
            format!("Program {program} consumed 30000 of 200000 compute units"),
            format!("Program {program} failed: custom program error: {number:#x}"),
        ])
    }

    #[test]
    fn a_failure_has_its_slot_fee_instruction_program_name_and_number() {
        let failure = failure(CPMM, custom(6005), anchor(CPMM, "ExceededSlippage", 6005));
        let expected = ChainFailure {
            slot: 77,
            fee: 5_010,
            instruction: Some(1),
            program: Some(CPMM.parse().unwrap()),
            name: Some("ExceededSlippage".into()),
            number: Some(6005),
        };
        assert_eq!(failure, expected);
        assert_eq!(
            failure.to_string(),
            "the swap failed on the chain in slot 77, in instruction 1 of program \
             CPMMoo8L3F4NbTegBCKVNunggL7H1ZpdTHKxQB5qKP1C: ExceededSlippage (6005); it cost a fee of 5010 lamports"
        );
    }

    #[test]
    fn an_error_is_classified_by_its_program_and_its_name_and_by_its_number_only_without_a_name() {
        use FailureCode::{InsufficientFunds, SlippageExceeded, SwapRejected};
        let code = |program, err, logs| failure(program, err, logs).to_failure(&errors()).code;
        for (case, found, expected) in [
            ("by name", code(CPMM, custom(6005), anchor(CPMM, "ExceededSlippage", 6005)), SlippageExceeded),
            ("renumbered", code(CPMM, custom(6099), anchor(CPMM, "ExceededSlippage", 6099)), SlippageExceeded),
            ("number taken over", code(CPMM, custom(6005), anchor(CPMM, "EmptySupply", 6005)), SwapRejected),
            ("number of another program", code(CPMM, custom(6002), Value::Null), SwapRejected),
            ("by number", code(CPMM, custom(6005), Value::Null), SlippageExceeded),
            ("by number of the other", code(DAMM, custom(6002), json!(["Log truncated"])), SlippageExceeded),
            (
                "of the runtime",
                code(CPMM, json!({ "InstructionError": [1, "MissingAccount"] }), json!([])),
                SwapRejected,
            ),
            ("of the whole", code(CPMM, json!("InsufficientFundsForFee"), json!([])), InsufficientFunds),
            (
                "with data",
                code(CPMM, json!({ "InsufficientFundsForRent": { "account_index": 2 } }), json!([])),
                InsufficientFunds,
            ),
            ("unknown", code(CPMM, json!(["?"]), json!([])), SwapRejected),
        ] {
            assert_eq!(found, expected, "{case}");
        }
    }

    #[test]
    fn the_innermost_program_that_failed_is_the_one_that_is_classified() {
        let logs = json!([
            format!("Program {CPMM} invoke [1]"),
            format!("Program {TOKEN} invoke [2]"),
            format!("Program {TOKEN} success"),
            format!("Program {TOKEN} invoke [2]"),
            "Program log: Error: insufficient funds",
            format!("Program {TOKEN} failed: custom program error: 0x1"),
            format!("Program {CPMM} failed: custom program error: 0x1"),
        ]);
        let failure = failure(CPMM, custom(1), logs);
        assert_eq!(failure.program, Some(TOKEN.parse().unwrap()));
        assert_eq!(failure.to_failure(&errors()).code, FailureCode::InsufficientFunds);
    }

    #[test]
    fn a_program_cannot_fake_the_failure_of_another_in_its_log() {
        let logs = json!([
            format!("Program {CPMM} invoke [1]"),
            format!("Program log: Program {TOKEN} failed: custom program error: 0x1"),
            format!("Program {CPMM} failed: custom program error: 0x1"),
        ]);
        assert_eq!(failure(CPMM, custom(1), logs).program, Some(CPMM.parse().unwrap()));
    }
}
