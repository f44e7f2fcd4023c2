//! The port to a node: what is asked of the chain while a swap is prepared.

use async_trait::async_trait;
use solana_address::Address;
use solana_hash::Hash;
use thiserror::Error;

/// A node of the cluster, or several of them. No call has an effect on the chain. The caller sets the deadline.
#[async_trait]
pub trait Node: Send + Sync + 'static {
    /// A blockhash of the commitment `confirmed`: one that is never forked away keeps a swap from expiring at once.
    async fn latest_blockhash(&self) -> Result<Lifetime, NodeError>;

    /// The accounts at those addresses, all at one slot; `None` for one that does not exist.
    async fn accounts(&self, addresses: &[Address]) -> Result<Vec<Option<AccountData>>, NodeError>;

    /// What an account of that length must hold, in lamports.
    async fn rent(&self, length: usize) -> Result<u64, NodeError>;

    /// The prices of a compute unit that recent transactions on these accounts paid, in millionths of a lamport.
    async fn recent_prices(&self, writable: &[Address]) -> Result<Vec<u64>, NodeError>;

    /// Executes a transaction without effect, with a recent blockhash and without a check of its signature.
    async fn simulate(&self, transaction: &[u8]) -> Result<Simulated, NodeError>;
}

/// A blockhash, and how long a transaction with it can land.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// The blockhash.
    pub blockhash: Hash,
    /// The last height at which it is accepted.
    pub last_valid_block_height: u64,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountData {
    /// Its SOL.
    pub lamports: u64,
    /// The program that owns it.
    pub owner: Address,
    /// Its data.
    pub data: Vec<u8>,
}

/// The result of a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    /// The compute units that were used.
    pub units: u64,
    /// Why the transaction would fail, as public text; `None` if it would succeed.
    pub error: Option<String>,
}

/// A node gave no usable answer. The text is public.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NodeError(pub String);
