//! The chain itself: LiteSVM executes, and this module adds what it leaves out: slots, heights, the life of
//! blockhashes, commitments, and the wait between a send and its block.

mod blocks;
mod ledger;
mod options;
mod past;

use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use litesvm::LiteSVM;
use litesvm::types::{FailedTransactionMetadata, SimulatedTransactionInfo};
use solana_account::Account;
use solana_address::Address;
use solana_clock::Clock;
use solana_hash::Hash;
use solana_rent::Rent;
use solana_signature::Signature;
use solana_transaction::versioned::VersionedTransaction;
use solana_transaction_error::TransactionError;

pub use blocks::{Block, VALID_BLOCKS};
pub use ledger::{Change, Landed};
pub use options::{Options, Pace, Program};

use crate::programs;
use crate::setup::Pool;
use crate::tokens::{self, TokenBalance};
use blocks::Blocks;
use ledger::Ledger;
use past::Past;

/// How many sent transactions may wait for a block; the oldest is dropped for a further one.
const MAX_PENDING: usize = 10_000;

/// How many transactions LiteSVM remembers; the last one is looked up at once.
const REMEMBERED: usize = 8;

/// Slots in an epoch.
pub const EPOCH_SLOTS: u64 = 432_000;

/// How final what is asked for must be.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Commitment {
    /// In the newest block, which a fork may still replace.
    Processed,
    /// Voted for by most of the stake.
    Confirmed,
    /// For ever.
    #[default]
    Finalized,
}

/// A local Solana chain.
///
/// Time passes only in [`Chain::catch_up`] and [`Chain::step`], so that whatever happens between two calls happens in
/// one slot.
pub struct Chain {
    options: Options,
    svm: LiteSVM,
    blocks: Blocks,
    past: Past,
    pending: VecDeque<Pending>,
    ledger: Ledger,
    priority_fee: u64,
    pub(crate) pools: Vec<Pool>,
    /// Since when slots have passed by the clock, and the slot of that moment.
    since: (Instant, u64),
}

/// What a transaction would do, or why it would fail.
pub type Simulation = Result<SimulatedTransactionInfo, Box<FailedTransactionMetadata>>;

struct Pending {
    /// The first slot whose block may contain it.
    due: u64,
    transaction: VersionedTransaction,
}

impl Chain {
    /// A chain with the token programs, both swap programs, and no other accounts.
    pub fn new(options: Options) -> Result<Self, litesvm::error::LiteSVMError> {
        let mut svm = fresh();
        svm.set_sysvar(&Rent { lamports_per_byte: options.lamports_per_byte, ..Rent::default() });
        let unix_time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs());
        let mut blocks = Blocks::new(
            litesvm::MAINNET_DEFAULT_SLOT,
            i64::try_from(unix_time).unwrap_or(i64::MAX),
            options.slot_time.as_nanos(),
            options.skipped,
        );
        svm.set_sysvar(&clock(blocks.last()));
        programs::load(&mut svm, &options)?;
        // Every commitment has a block with a fresh hash from the beginning.
        for _ in 0..options.finalized_after.max(options.confirmed_after) + 10 {
            blocks.pass_slot();
        }
        let since = (Instant::now(), blocks.slot());
        Ok(Self {
            options,
            svm,
            blocks,
            past: Past::default(),
            pending: VecDeque::new(),
            ledger: Ledger::default(),
            priority_fee: 0,
            pools: Vec::new(),
            since,
        })
    }

    /// The settings it was started with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Lets the slots pass that the clock says have passed. Does nothing if slots pass by hand.
    pub fn catch_up(&mut self) {
        if self.options.pace == Pace::ByHand {
            return;
        }
        let (since, slot) = self.since;
        let passed = since.elapsed().as_nanos() / self.options.slot_time.as_nanos().max(1);
        let due = slot + u64::try_from(passed).unwrap_or(u64::MAX);
        while self.blocks.slot() < due {
            self.step(1);
        }
    }

    /// Changes between the clock and the hand; the slot stays.
    pub fn set_pace(&mut self, pace: Pace) {
        self.catch_up();
        self.options.pace = pace;
        self.since = (Instant::now(), self.blocks.slot());
    }

    /// Lets slots pass. Their blocks contain the transactions that wait.
    pub fn step(&mut self, slots: u64) {
        for _ in 0..slots {
            if let Some(block) = self.blocks.pass_slot() {
                self.fill(block);
            }
        }
    }

    /// Lets slots pass until a transaction with this blockhash can no longer land and that is finalized.
    pub fn step_past(&mut self, last_valid_height: u64) {
        while self.block(Commitment::Finalized, u64::MAX).height <= last_valid_height {
            self.step(1);
        }
    }

    /// The newest block of a commitment, for an observer who knows the slots up to `tip`.
    pub fn block(&self, commitment: Commitment, tip: u64) -> Block {
        let newest = self.blocks.last().slot.min(tip);
        self.blocks.at(newest.saturating_sub(self.distance(commitment)))
    }

    /// How many slots behind the newest block a commitment is.
    fn distance(&self, commitment: Commitment) -> u64 {
        match commitment {
            Commitment::Processed => 0,
            Commitment::Confirmed => self.options.confirmed_after,
            Commitment::Finalized => self.options.finalized_after,
        }
    }

    /// The commitment that a block has reached, for an observer who knows the slots up to `tip`.
    pub fn commitment_of(&self, slot: u64, tip: u64) -> Commitment {
        let reached = |commitment| slot <= self.block(commitment, tip).slot;
        if reached(Commitment::Finalized) {
            Commitment::Finalized
        } else if reached(Commitment::Confirmed) {
            Commitment::Confirmed
        } else {
            Commitment::Processed
        }
    }

    /// The blocks, for what only they know.
    pub(crate) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// The last height at which a transaction with this blockhash can land; `None` if it no longer can.
    pub fn last_valid_height(&self, blockhash: &Hash) -> Option<u64> {
        self.blocks.last_valid_height(blockhash, self.blocks.last())
    }

    /// Takes a transaction into the queue for a block, at the earliest the next one after `delay` slots. The same
    /// transaction may be taken any number of times; it lands once.
    pub fn send(&mut self, transaction: VersionedTransaction, delay: u64) {
        if self.pending.len() == MAX_PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(Pending { due: self.blocks.slot() + 1 + delay, transaction });
    }

    /// Executes the transactions that are due in a block.
    fn fill(&mut self, block: Block) {
        let (due, waiting): (VecDeque<_>, _) =
            std::mem::take(&mut self.pending).into_iter().partition(|pending| pending.due <= block.slot);
        self.pending = waiting;
        if due.is_empty() {
            return;
        }
        self.past.keep(block.slot, &self.svm);
        self.svm.set_sysvar(&clock(block));
        for pending in due {
            if let Some(landed) = self.execute(pending.transaction, block) {
                self.ledger.add(landed);
            }
        }
    }

    /// Executes one transaction; `None` if a leader would not put it into a block.
    fn execute(&mut self, transaction: VersionedTransaction, block: Block) -> Option<Landed> {
        let signature = *transaction.signatures.first()?;
        let known = self.ledger.get(&signature).is_some();
        let is_valid = self.blocks.last_valid_height(transaction.message.recent_blockhash(), block).is_some();
        if known || !is_valid || !is_signed(&transaction) {
            return None;
        }
        let accounts = transaction.message.static_account_keys().to_vec();
        let before = (self.lamports(&accounts), self.token_balances(&accounts));
        let result = self.svm.send_transaction(transaction.clone());
        // LiteSVM remembers exactly those that may be in a block.
        self.svm.get_transaction(&signature)?;
        let (error, meta) = match result {
            Ok(meta) => (None, meta),
            Err(FailedTransactionMetadata { err, meta }) => (Some(err), meta),
        };
        Some(Landed {
            slot: block.slot,
            unix_time: block.unix_time,
            transaction,
            error,
            meta,
            lamports: Change { before: before.0, after: self.lamports(&accounts) },
            tokens: Change { before: before.1, after: self.token_balances(&accounts) },
        })
    }

    fn lamports(&self, accounts: &[Address]) -> Vec<u64> {
        accounts.iter().map(|address| self.svm.get_balance(address).unwrap_or(0)).collect()
    }

    fn token_balances(&self, accounts: &[Address]) -> Vec<TokenBalance> {
        let balance = |(account_index, address): (usize, &Address)| {
            let account = self.svm.get_account(address)?;
            let holding = tokens::holding(&account)?;
            let decimals = tokens::decimals(&self.svm.get_account(&holding.mint)?)?;
            Some(TokenBalance { account_index, holding, decimals, program: account.owner })
        };
        accounts.iter().enumerate().filter_map(balance).collect()
    }

    /// What a transaction would do in the block after this one.
    pub fn simulate(&self, transaction: VersionedTransaction, block: Block) -> Simulation {
        let refused = |err| Box::new(FailedTransactionMetadata { err, meta: Default::default() });
        if self.blocks.last_valid_height(transaction.message.recent_blockhash(), block).is_none() {
            return Err(refused(TransactionError::BlockhashNotFound));
        }
        let landed = transaction.signatures.first().and_then(|signature| self.ledger.get(signature));
        if landed.is_some_and(|landed| landed.slot <= block.slot) {
            return Err(refused(TransactionError::AlreadyProcessed));
        }
        let mut svm = self.past.state_at(block.slot).unwrap_or(&self.svm).clone();
        svm.set_sysvar(&clock(block));
        Ok(svm.simulate_transaction(transaction)?)
    }

    /// An account at the end of a block.
    pub fn account(&self, address: &Address, block: Block) -> Option<Account> {
        let mut account = self.past.state_at(block.slot).unwrap_or(&self.svm).get_account(address)?;
        if *address == solana_clock::sysvar::ID {
            account.data = wincode::serialize(&clock(block)).expect("a clock has 40 bytes");
        }
        Some(account)
    }

    /// The accounts of a program at the end of a block.
    pub fn program_accounts(&self, program: &Address, block: Block) -> Vec<(Address, Account)> {
        self.past.state_at(block.slot).unwrap_or(&self.svm).get_program_accounts(program)
    }

    /// Places an account. It counts as having always been there: it is visible at every commitment at once.
    pub fn set_account(&mut self, address: Address, account: Account) {
        let placed = self.past.set_account(address, &account).and_then(|()| self.svm.set_account(address, account));
        placed.expect("a placed account is no sysvar and no program");
    }

    /// The least lamports of an account of this length.
    pub fn rent(&self, length: usize) -> u64 {
        self.svm.minimum_balance_for_rent_exemption(length)
    }

    /// The landed transactions, oldest first.
    pub fn landed(&self) -> &[Landed] {
        self.ledger.all()
    }

    /// The landed transaction with this signature.
    pub fn find(&self, signature: &Signature) -> Option<&Landed> {
        self.ledger.get(signature)
    }

    /// Makes every blockhash up to now invalid at once, and produces a block with a valid one.
    pub fn roll_blockhashes(&mut self) {
        self.blocks.roll();
        let slot = self.blocks.last().slot;
        while self.blocks.last().slot == slot {
            self.step(1);
        }
    }

    /// Replaces the last slots by a fork without transactions: what they changed is undone, and may land again. Returns
    /// the number of transactions that are gone. Slots whose accounts are no longer known stay.
    pub fn roll_back(&mut self, slots: u64) -> usize {
        let kept = self.blocks.last().slot.saturating_sub(slots);
        let before = self.ledger.all().len();
        if let Some(svm) = self.past.go_back_to(kept) {
            self.svm = with_history(svm);
            self.ledger.forget_after(kept);
        }
        self.blocks.replace_after(kept);
        before - self.ledger.all().len()
    }

    /// What `getRecentPrioritizationFees` answers, in micro-lamports per unit.
    pub fn priority_fee(&self) -> u64 {
        self.priority_fee
    }

    /// Sets what `getRecentPrioritizationFees` answers.
    pub fn set_priority_fee(&mut self, micro_lamports: u64) {
        self.priority_fee = micro_lamports;
    }
}

/// LiteSVM with the programs that every cluster has. Loading them takes long without optimisation, so that each chain
/// starts from a copy.
fn fresh() -> LiteSVM {
    static LOADED: LazyLock<Mutex<LiteSVM>> =
        // Signatures and blockhashes are verified here instead.
        LazyLock::new(|| Mutex::new(LiteSVM::new().with_sigverify(false).with_blockhash_check(false)));
    with_history(LOADED.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// A copy of a LiteSVM without transactions remembers none, unless it is told to.
fn with_history(svm: LiteSVM) -> LiteSVM {
    svm.with_transaction_history(REMEMBERED)
}

/// Whether every signature is there and valid.
pub fn is_signed(transaction: &VersionedTransaction) -> bool {
    transaction.sanitize().is_ok() && transaction.verify_with_results().iter().all(|valid| *valid)
}

fn clock(block: Block) -> Clock {
    Clock {
        slot: block.slot,
        epoch: block.slot / EPOCH_SLOTS,
        epoch_start_timestamp: block.unix_time,
        leader_schedule_epoch: block.slot / EPOCH_SLOTS + 1,
        unix_timestamp: block.unix_time,
    }
}
