//! What both programs get from the Anchor framework: how they read accounts, and with which codes they refuse them.

use solana_account::Account;
use solana_address::Address;
use solana_instruction::Instruction;
use solana_instruction::error::InstructionError;
use solana_program_runtime::invoke_context::InvokeContext;
use solana_program_runtime::stable_log::program_log;

use crate::tokens::{self, Holding};

/// Anchor's own errors.
pub const NO_INSTRUCTION: Refusal = Refusal(100, "InstructionMissing");
pub const UNKNOWN_INSTRUCTION: Refusal = Refusal(101, "InstructionFallbackNotFound");
pub const BAD_ARGUMENTS: Refusal = Refusal(102, "InstructionDidNotDeserialize");
pub const NOT_WRITABLE: Refusal = Refusal(2000, "ConstraintMut");
pub const WRONG_RELATION: Refusal = Refusal(2001, "ConstraintHasOne");
pub const BROKEN_CONSTRAINT: Refusal = Refusal(2003, "ConstraintRaw");
pub const WRONG_SEEDS: Refusal = Refusal(2006, "ConstraintSeeds");
pub const WRONG_ADDRESS: Refusal = Refusal(2012, "ConstraintAddress");
pub const NOT_POSITIVE: Refusal = Refusal(2505, "RequireGtViolated");
pub const NO_DISCRIMINATOR: Refusal = Refusal(3001, "AccountDiscriminatorNotFound");
pub const WRONG_DISCRIMINATOR: Refusal = Refusal(3002, "AccountDiscriminatorMismatch");
pub const TOO_FEW_ACCOUNTS: Refusal = Refusal(3005, "AccountNotEnoughKeys");
pub const NOT_MUTABLE: Refusal = Refusal(3006, "AccountNotMutable");
pub const WRONG_OWNER: Refusal = Refusal(3007, "AccountOwnedByWrongProgram");
pub const WRONG_PROGRAM: Refusal = Refusal(3008, "InvalidProgramId");
pub const NOT_A_SIGNER: Refusal = Refusal(3010, "AccountNotSigner");
pub const NOT_INITIALIZED: Refusal = Refusal(3012, "AccountNotInitialized");

/// Why a program fails an instruction: its code and its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal(pub u32, pub &'static str);

/// How an instruction of a stand-in fails.
pub enum Failure {
    /// With a code of its own.
    Refused(Refusal),
    /// With an error of the runtime or of a program that it called.
    Runtime(InstructionError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<InstructionError> for Failure {
    fn from(error: InstructionError) -> Self {
        Self::Runtime(error)
    }
}

/// Writes what Anchor logs of a failure, and turns it into the error of the instruction.
pub fn finish(context: &InvokeContext, result: Result<(), Failure>) -> Result<(), InstructionError> {
    result.map_err(|failure| match failure {
        Failure::Runtime(error) => error,
        Failure::Refused(Refusal(number, name)) => {
            log(
                context,
                &format!("AnchorError occurred. Error Code: {name}. Error Number: {number}. Error Message: {name}."),
            );
            InstructionError::Custom(number)
        }
    })
}

/// Writes a line into the log of the transaction.
pub fn log(context: &InvokeContext, message: &str) {
    program_log(&context.get_log_collector(), message);
}

/// The instruction that is executed: its data, and copies of its accounts.
pub struct Call {
    pub program: Address,
    pub data: Vec<u8>,
    pub accounts: Vec<Passed>,
}

/// An account as it was passed to an instruction.
pub struct Passed {
    pub key: Address,
    pub is_signer: bool,
    pub is_writable: bool,
    pub account: Account,
}

impl Call {
    /// Reads the current instruction.
    pub fn read(context: &InvokeContext) -> Result<Self, InstructionError> {
        let instruction = context.transaction_context.get_current_instruction_context()?;
        let mut accounts = Vec::new();
        for index in 0..instruction.get_number_of_instruction_accounts() {
            let passed = instruction.try_borrow_instruction_account(index)?;
            accounts.push(Passed {
                key: *passed.get_key(),
                is_signer: passed.is_signer(),
                is_writable: passed.is_writable(),
                account: Account {
                    lamports: passed.get_lamports(),
                    data: passed.get_data().to_vec(),
                    owner: *passed.get_owner(),
                    executable: false,
                    rent_epoch: u64::MAX,
                },
            });
        }
        let program = *instruction.get_program_key()?;
        Ok(Self { program, data: instruction.get_instruction_data().to_vec(), accounts })
    }

    /// Requires an instruction, by its discriminator.
    pub fn require_instruction(&self, discriminator: &[u8; 8]) -> Result<(), Refusal> {
        let found = self.data.get(..8).ok_or(NO_INSTRUCTION)?;
        require(found == discriminator, UNKNOWN_INSTRUCTION)
    }

    /// An account, by its place. Anchor reads and checks one after the other, and misses an account only then.
    pub fn account(&self, index: usize) -> Result<&Passed, Refusal> {
        self.accounts.get(index).ok_or(TOO_FEW_ACCOUNTS)
    }

    /// A token account, by its place, and what it holds.
    pub fn token_account(&self, index: usize) -> Result<(&Passed, Holding), Failure> {
        let account = self.account(index)?;
        Ok((account, account.holding()?))
    }

    /// A mint, by its place.
    pub fn mint(&self, index: usize) -> Result<&Passed, Failure> {
        let mint = self.account(index)?;
        mint.decimals()?;
        Ok(mint)
    }

    /// One of the token programs, by its place.
    pub fn token_program(&self, index: usize) -> Result<&Passed, Failure> {
        let program = self.account(index)?;
        require(tokens::is_of_token_program(&program.key), WRONG_PROGRAM)?;
        Ok(program)
    }

    /// The two amounts behind the discriminator of both swap instructions.
    pub fn amounts(&self) -> Result<(u64, u64), Refusal> {
        let amount = |offset| tokens::u64_at(&self.data, offset).ok_or(BAD_ARGUMENTS);
        Ok((amount(8)?, amount(16)?))
    }
}

impl Passed {
    /// Requires an account of the program that starts with this discriminator and has this length.
    pub fn require_state(&self, program: &Address, discriminator: &[u8; 8], length: usize) -> Result<(), Failure> {
        require(self.account.owner == *program, WRONG_OWNER)?;
        let found = self.account.data.get(..8).ok_or(NO_DISCRIMINATOR)?;
        require(found == discriminator, WRONG_DISCRIMINATOR)?;
        if self.account.data.len() < length { Err(InstructionError::AccountDataTooSmall.into()) } else { Ok(()) }
    }

    /// Requires an account that exists.
    pub fn require_initialized(&self) -> Result<(), Refusal> {
        let is_missing = self.account.owner == Address::default() && self.account.lamports == 0;
        require(!is_missing, NOT_INITIALIZED)
    }

    /// Requires a signature.
    pub fn require_signer(&self) -> Result<(), Refusal> {
        require(self.is_signer, NOT_A_SIGNER)
    }

    /// Requires a token account.
    pub fn holding(&self) -> Result<Holding, Failure> {
        self.require_initialized()?;
        require(tokens::is_of_token_program(&self.account.owner), WRONG_OWNER)?;
        Ok(tokens::holding(&self.account).ok_or(InstructionError::InvalidAccountData)?)
    }

    /// Requires a mint; its decimals.
    pub fn decimals(&self) -> Result<u8, Failure> {
        self.require_initialized()?;
        require(tokens::is_of_token_program(&self.account.owner), WRONG_OWNER)?;
        Ok(tokens::decimals(&self.account).ok_or(InstructionError::InvalidAccountData)?)
    }

    /// Requires that the account was passed writable.
    pub fn require_writable(&self) -> Result<(), Refusal> {
        require(self.is_writable, NOT_WRITABLE)
    }

    /// Reads a number of the account.
    pub fn u64(&self, offset: usize) -> Result<u64, Failure> {
        Ok(tokens::u64_at(&self.account.data, offset).ok_or(InstructionError::AccountDataTooSmall)?)
    }

    /// Reads an address of the account.
    pub fn address(&self, offset: usize) -> Result<Address, Failure> {
        Ok(tokens::address_at(&self.account.data, offset).ok_or(InstructionError::AccountDataTooSmall)?)
    }
}

/// Fails with a refusal unless the condition holds.
pub fn require(condition: bool, otherwise: Refusal) -> Result<(), Refusal> {
    if condition { Ok(()) } else { Err(otherwise) }
}

/// A transfer between two token accounts, signed by a user or by an address of the program.
pub struct Transfer<'a> {
    pub from: &'a Passed,
    pub mint: &'a Passed,
    pub to: &'a Passed,
    pub authority: &'a Passed,
    pub token_program: &'a Passed,
    pub amount: u64,
    /// The seeds of the authority, if it is an address of the program.
    pub seeds: &'a [&'a [u8]],
}

impl Transfer<'_> {
    /// Calls the token program.
    pub fn execute(&self, context: &mut InvokeContext) -> Result<(), Failure> {
        let decimals = self.mint.decimals()?;
        let mut instruction: Instruction = spl_token_interface::instruction::transfer_checked(
            &tokens::TOKEN_PROGRAM,
            &self.from.key,
            &self.mint.key,
            &self.to.key,
            &self.authority.key,
            &[],
            self.amount,
            decimals,
        )
        .map_err(|_| InstructionError::InvalidArgument)?;
        // Both token programs understand it.
        instruction.program_id = self.token_program.key;
        let signers: &[&[&[u8]]] = if self.seeds.is_empty() { &[] } else { &[self.seeds] };
        Ok(context.native_invoke_signed(instruction, signers)?)
    }
}

/// Replaces the data of an account.
pub fn write(context: &InvokeContext, index: u16, data: &[u8]) -> Result<(), InstructionError> {
    let instruction = context.transaction_context.get_current_instruction_context()?;
    instruction.try_borrow_instruction_account(index)?.set_data_from_slice(data)
}
