//! The firewall: the last check before a signature.
//!
//! A signed message may be executed, whatever it does. So the finished bytes are decoded again and compared with what was
//! ordered, without the code that built them. They must be equal in everything but the budget, which has a limit:
//! each instruction in its place, each account and its access, each amount. Anything more, less or different is refused.

mod decoded;
#[cfg(test)]
mod mutations;
mod pools;
#[cfg(test)]
pub(crate) mod tests;

use solana_address::Address;
use solana_hash::Hash;
use solana_instruction::Instruction;
use thiserror::Error;

use self::decoded::{Access, Decoded, Step};
pub use self::pools::KnownPools;
use crate::domain::amount::BaseUnits;
use crate::solana::transaction::{Budget, NATIVE_MINT, SwapIntent, TokenProgram};

const COMPUTE_BUDGET: Address = Address::from_str_const("ComputeBudget111111111111111111111111111111");
const SYSTEM: Address = Address::from_str_const("11111111111111111111111111111111");
const ASSOCIATED_ACCOUNTS: Address = Address::from_str_const("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL");

/// Reads the swap instructions of the venues' programs.
pub trait SwapReader: Send + Sync {
    /// What an instruction does, if it is exactly a swap of a known pool: each account, its access, and each byte.
    ///
    /// `mint_in` is the token of the account that pays; some programs derive the direction from it.
    fn read(&self, instruction: &Instruction, mint_in: Address) -> Option<DecodedSwap>;
}

/// What a swap instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodedSwap {
    /// The wallet that allows the payment.
    pub user: Address,
    /// The token account that pays.
    pub source: Address,
    /// The token account that receives.
    pub destination: Address,
    /// The token that is received.
    pub mint_out: Address,
    /// The amount that is sold.
    pub amount_in: BaseUnits,
    /// The least output.
    pub min_amount_out: BaseUnits,
}

/// What a message must be.
pub struct Expected<'a> {
    /// What was ordered.
    pub intent: &'a SwapIntent,
    /// The blockhash whose last valid block height will be recorded. With another one the swap could land after it counts
    /// as expired.
    pub blockhash: Hash,
    /// The most that the transaction may cost, in lamports.
    pub max_fee: u64,
}

/// Why a message is not signed. The texts are for the log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The bytes are not a message of version 0 in its one encoding, or the chain would not accept them.
    #[error("the bytes are not a message that the chain accepts: {0}")]
    Malformed(&'static str),
    /// Another account pays.
    #[error("{0} pays")]
    Payer(Address),
    /// More than the wallet have to sign.
    #[error("it needs {0} signatures")]
    Signatures(u8),
    /// Accounts come from a table that can be changed after the check.
    #[error("it uses a lookup table")]
    LookupTable,
    /// The blockhash is not the one that was fetched.
    #[error("its blockhash is {0}")]
    Blockhash(Hash),
    /// An account has no use.
    #[error("the account {0} has no use")]
    UnusedAccount(Address),
    /// An instruction is missing or another than the expected one.
    #[error("instruction {place} is not {expected}")]
    Instruction {
        /// Its place, from 0.
        place: usize,
        /// What was expected there.
        expected: &'static str,
    },
    /// There are further instructions.
    #[error("instruction {0} is one too many")]
    Further(usize),
    /// The swap is not the ordered one.
    #[error("the swap is {0:?}")]
    Swap(Box<DecodedSwap>),
    /// The fee is above its limit.
    #[error("the fee of {fee} lamports is above {max}")]
    Fee {
        /// The fee.
        fee: u64,
        /// Its limit.
        max: u64,
    },
}

/// Refuses every message that does not do exactly what was ordered.
pub fn inspect(message: &[u8], expected: &Expected<'_>, reader: &dyn SwapReader) -> Result<(), Refusal> {
    let intent = expected.intent;
    let decoded = Decoded::of(message)?;
    if decoded.payer != intent.wallet {
        return Err(Refusal::Payer(decoded.payer));
    }
    if decoded.blockhash != expected.blockhash {
        return Err(Refusal::Blockhash(decoded.blockhash));
    }
    let mut steps = Steps { steps: &decoded.steps, place: 0 };
    let units = u32::from_le_bytes(steps.budget(2, "the limit of compute units")?);
    let price = u64::from_le_bytes(steps.budget(3, "the price of a compute unit")?);
    if intent.uses_native() {
        steps.open_temporary(intent)?;
    }
    if !intent.buys_native() {
        steps.create_output_account(intent)?;
    }
    steps.swap(intent, reader)?;
    if intent.uses_native() {
        steps.close_temporary(intent)?;
    }
    steps.end()?;
    let fee = Budget { units, price }.fee();
    if fee > expected.max_fee {
        return Err(Refusal::Fee { fee, max: expected.max_fee });
    }
    Ok(())
}

/// The instructions, one after the other. The layouts are written out here, independent of the libraries that built them.
struct Steps<'a> {
    steps: &'a [Step],
    place: usize,
}

impl Steps<'_> {
    /// The argument of an instruction of the compute budget.
    fn budget<const N: usize>(&mut self, tag: u8, expected: &'static str) -> Result<[u8; N], Refusal> {
        self.next(expected, |step| {
            let (found, argument) = step.data.split_first()?;
            let is_expected = step.program == COMPUTE_BUDGET && step.accounts.is_empty() && *found == tag;
            if is_expected { argument.try_into().ok() } else { None }
        })
    }

    fn open_temporary(&mut self, intent: &SwapIntent) -> Result<(), Refusal> {
        const CREATE_ACCOUNT_WITH_SEED: u32 = 3;
        const TOKEN_ACCOUNT_BYTES: u64 = 165;
        const INITIALIZE_ACCOUNT_3: u8 = 18;
        let (seed, owner) = (intent.seed.as_str(), TokenProgram::Token.id());
        let create = [
            &CREATE_ACCOUNT_WITH_SEED.to_le_bytes()[..],
            intent.wallet.as_array(),
            &u64::try_from(seed.len()).expect("a seed is short").to_le_bytes(),
            seed.as_bytes(),
            &intent.temporary_lamports().to_le_bytes(),
            &TOKEN_ACCOUNT_BYTES.to_le_bytes(),
            owner.as_array(),
        ]
        .concat();
        let accounts = [(intent.wallet, Access::Sign), (intent.temporary(), Access::Write)];
        self.exactly("the creation of the temporary account", SYSTEM, &accounts, &create)?;
        let initialize = [&[INITIALIZE_ACCOUNT_3][..], intent.wallet.as_array()].concat();
        let accounts = [(intent.temporary(), Access::Write), (NATIVE_MINT, Access::Read)];
        self.exactly("the initialisation of the temporary account", owner, &accounts, &initialize)
    }

    fn create_output_account(&mut self, intent: &SwapIntent) -> Result<(), Refusal> {
        const CREATE_IDEMPOTENT: u8 = 1;
        let accounts = [
            (intent.wallet, Access::Sign),
            (intent.destination(), Access::Write),
            (intent.wallet, Access::Sign),
            (intent.token_out.mint, Access::Read),
            (SYSTEM, Access::Read),
            (intent.token_out.program.id(), Access::Read),
        ];
        self.exactly("the creation of the output account", ASSOCIATED_ACCOUNTS, &accounts, &[CREATE_IDEMPOTENT])
    }

    fn swap(&mut self, intent: &SwapIntent, reader: &dyn SwapReader) -> Result<(), Refusal> {
        let swap = self.next("a swap of a known pool", |step| {
            reader.read(&step.instruction(intent.wallet), intent.token_in.mint)
        })?;
        let ordered = DecodedSwap {
            user: intent.wallet,
            source: intent.source(),
            destination: intent.destination(),
            mint_out: intent.token_out.mint,
            amount_in: intent.amount_in,
            min_amount_out: intent.min_amount_out,
        };
        if swap == ordered { Ok(()) } else { Err(Refusal::Swap(Box::new(swap))) }
    }

    fn close_temporary(&mut self, intent: &SwapIntent) -> Result<(), Refusal> {
        const CLOSE_ACCOUNT: u8 = 9;
        let accounts =
            [(intent.temporary(), Access::Write), (intent.wallet, Access::Sign), (intent.wallet, Access::Sign)];
        let program = TokenProgram::Token.id();
        self.exactly("the end of the temporary account", program, &accounts, &[CLOSE_ACCOUNT])
    }

    fn exactly(
        &mut self,
        expected: &'static str,
        program: Address,
        accounts: &[(Address, Access)],
        data: &[u8],
    ) -> Result<(), Refusal> {
        self.next(expected, |step| {
            (step.program == program && step.accounts == accounts && step.data == data).then_some(())
        })
    }

    fn next<T>(&mut self, expected: &'static str, read: impl FnOnce(&Step) -> Option<T>) -> Result<T, Refusal> {
        let place = self.place;
        let read = self.steps.get(place).and_then(read);
        self.place += 1;
        read.ok_or(Refusal::Instruction { place, expected })
    }

    fn end(&self) -> Result<(), Refusal> {
        if self.place == self.steps.len() { Ok(()) } else { Err(Refusal::Further(self.place)) }
    }
}
