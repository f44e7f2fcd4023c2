//! The transactions that landed.

use std::collections::HashMap;

use litesvm::types::TransactionMetadata;
use solana_address::Address;
use solana_signature::Signature;
use solana_transaction::versioned::VersionedTransaction;
use solana_transaction_error::TransactionError;

use crate::tokens::TokenBalance;

/// A transaction in a block. It may have failed: then it changed nothing but the balance of its payer.
#[derive(Clone, Debug)]
pub struct Landed {
    /// The slot of its block.
    pub slot: u64,
    /// The time of its block, in seconds since 1970.
    pub unix_time: i64,
    /// What was sent.
    pub transaction: VersionedTransaction,
    /// Why it failed, if it did.
    pub error: Option<TransactionError>,
    /// Logs, inner instructions, units and the fee.
    pub meta: TransactionMetadata,
    /// The balances of its accounts before and after.
    pub lamports: Change<Vec<u64>>,
    /// The token balances of its accounts before and after.
    pub tokens: Change<Vec<TokenBalance>>,
}

/// A value before and after a transaction.
#[derive(Clone, Debug)]
pub struct Change<T> {
    /// Before it.
    pub before: T,
    /// After it.
    pub after: T,
}

impl Landed {
    /// Its first signature, which names it.
    pub fn signature(&self) -> Signature {
        self.transaction.signatures[0]
    }

    /// Who paid its fee.
    pub fn payer(&self) -> Address {
        self.transaction.message.static_account_keys()[0]
    }
}

/// The landed transactions, oldest first.
#[derive(Debug, Default)]
pub struct Ledger {
    landed: Vec<Landed>,
    by_signature: HashMap<Signature, usize>,
}

impl Ledger {
    /// Adds a transaction of the newest block.
    pub fn add(&mut self, landed: Landed) {
        self.by_signature.insert(landed.signature(), self.landed.len());
        self.landed.push(landed);
    }

    /// The transaction with this signature.
    pub fn get(&self, signature: &Signature) -> Option<&Landed> {
        self.by_signature.get(signature).map(|index| &self.landed[*index])
    }

    /// All of them, oldest first.
    pub fn all(&self) -> &[Landed] {
        &self.landed
    }

    /// Removes the transactions after a slot.
    pub fn forget_after(&mut self, slot: u64) {
        let kept = self.landed.partition_point(|landed| landed.slot <= slot);
        for landed in self.landed.drain(kept..) {
            self.by_signature.remove(&landed.signature());
        }
    }
}
