//! The JSON-RPC client: typed calls over a [`Transport`].

mod answers;
mod backoff;
mod http;
mod node;
#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
mod tests;
mod transport;
mod url;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use solana_address::Address;
use solana_hash::Hash;

pub use self::answers::{
    At, CalledInstruction, Commitment, EpochInfo, LandedTransaction, LatestBlockhash, Meta, PrioritizationFee,
    ProgramAccount, SignatureStatus, SignedMessage, SignedTransaction, Simulation, TokenAmount, TokenBalance,
    TransactionError, program_of,
};
pub use self::http::HttpTransport;
pub use self::transport::{RpcError, Transport};
pub use self::url::{EndpointUrl, NotAnEndpoint};
use crate::domain::swap::Signature;
use crate::solana::node::AccountData;

/// The most accounts of one call of [`Rpc::multiple_accounts`].
pub const MAX_ACCOUNTS: usize = 100;

/// The most signatures of one call of [`Rpc::signature_statuses`].
pub const MAX_SIGNATURES: usize = 256;

/// The typed calls to one endpoint, or to several with failover.
#[derive(Clone)]
pub struct Rpc(Arc<dyn Transport>);

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rpc")
    }
}

/// What a simulation checks, and what it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimulationMode {
    /// The signature is checked, and the bytes are executed exactly as they are.
    Exact,
    /// A recent blockhash takes the place of that of the message, and the signature is not checked.
    ReplacedBlockhash,
}

/// A filter of [`Rpc::program_accounts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountFilter {
    /// The length of the data.
    Length(u64),
    /// Bytes at an offset of the data.
    Bytes(u64, Vec<u8>),
}

impl Rpc {
    /// A client over that transport.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self(transport)
    }

    /// The hash that identifies the cluster.
    pub async fn genesis_hash(&self) -> Result<Hash, RpcError> {
        #[derive(Deserialize)]
        struct Genesis(#[serde(deserialize_with = "answers::base58")] Hash);
        self.call::<Genesis>("getGenesisHash", json!([])).await.map(|genesis| genesis.0)
    }

    /// The slot and the height of the newest block.
    pub async fn epoch_info(&self, commitment: Commitment) -> Result<EpochInfo, RpcError> {
        self.call("getEpochInfo", json!([at(commitment)])).await
    }

    /// The height of the newest block.
    pub async fn block_height(&self, commitment: Commitment) -> Result<u64, RpcError> {
        self.call("getBlockHeight", json!([at(commitment)])).await
    }

    /// The slot of the oldest block that the endpoint has.
    pub async fn first_available_block(&self) -> Result<u64, RpcError> {
        self.call("getFirstAvailableBlock", json!([])).await
    }

    /// The newest blockhash.
    pub async fn latest_blockhash(&self, commitment: Commitment) -> Result<At<LatestBlockhash>, RpcError> {
        self.call("getLatestBlockhash", json!([at(commitment)])).await
    }

    /// Whether a transaction with that blockhash can still land.
    pub async fn is_blockhash_valid(&self, blockhash: &Hash, commitment: Commitment) -> Result<At<bool>, RpcError> {
        self.call("isBlockhashValid", json!([blockhash.to_string(), at(commitment)])).await
    }

    /// What the endpoint knows of at most [`MAX_SIGNATURES`] signatures, old ones included.
    pub async fn signature_statuses(
        &self,
        signatures: &[Signature],
    ) -> Result<At<Vec<Option<SignatureStatus>>>, RpcError> {
        let texts: Vec<_> = signatures.iter().map(Signature::to_string).collect();
        let params = json!([texts, { "searchTransactionHistory": true }]);
        let statuses: At<Vec<_>> = self.call("getSignatureStatuses", params).await?;
        complete(statuses, signatures.len())
    }

    /// At most [`MAX_ACCOUNTS`] accounts at one slot; `None` for each that does not exist.
    pub async fn multiple_accounts(
        &self,
        addresses: &[Address],
        commitment: Commitment,
    ) -> Result<At<Vec<Option<AccountData>>>, RpcError> {
        let params = json!([texts(addresses), { "encoding": "base64", "commitment": commitment.name() }]);
        let answer: At<Vec<Option<answers::Account>>> = self.call("getMultipleAccounts", params).await?;
        let accounts = answer.value.into_iter().map(|account| account.map(AccountData::from)).collect();
        complete(At { slot: answer.slot, value: accounts }, addresses.len())
    }

    /// The accounts of a program. For discovery only: endpoints answer it slowly or not at all.
    pub async fn program_accounts(
        &self,
        program: &Address,
        filters: &[AccountFilter],
        commitment: Commitment,
    ) -> Result<Vec<ProgramAccount>, RpcError> {
        let filters: Vec<_> = filters.iter().map(AccountFilter::to_json).collect();
        let config = json!({ "encoding": "base64", "commitment": commitment.name(), "filters": filters });
        self.call("getProgramAccounts", json!([program.to_string(), config])).await
    }

    /// The lamports of an account.
    pub async fn balance(&self, address: &Address, commitment: Commitment) -> Result<At<u64>, RpcError> {
        self.call("getBalance", json!([address.to_string(), at(commitment)])).await
    }

    /// The lamports that an account with that many bytes must hold.
    pub async fn minimum_balance_for_rent_exemption(&self, length: usize) -> Result<u64, RpcError> {
        self.call("getMinimumBalanceForRentExemption", json!([length])).await
    }

    /// The prices that were recently paid for transactions that write to these accounts.
    pub async fn recent_prioritization_fees(&self, writable: &[Address]) -> Result<Vec<PrioritizationFee>, RpcError> {
        self.call("getRecentPrioritizationFees", json!([texts(writable)])).await
    }

    /// Executes a transaction without effect.
    pub async fn simulate_transaction(
        &self,
        bytes: &[u8],
        mode: SimulationMode,
        commitment: Commitment,
    ) -> Result<At<Simulation>, RpcError> {
        let config = json!({
            "encoding": "base64",
            "commitment": commitment.name(),
            "sigVerify": mode == SimulationMode::Exact,
            "replaceRecentBlockhash": mode == SimulationMode::ReplacedBlockhash,
        });
        self.call("simulateTransaction", json!([BASE64.encode(bytes), config])).await
    }

    /// Hands a signed transaction to the endpoint, without a check and without resends of its own.
    ///
    /// After an error the outcome is unknown.
    pub async fn send_transaction(&self, bytes: &[u8]) -> Result<Signature, RpcError> {
        let config = json!({ "encoding": "base64", "skipPreflight": true, "maxRetries": 0 });
        self.call("sendTransaction", json!([BASE64.encode(bytes), config])).await
    }

    /// A landed transaction; `None` if the endpoint does not know it at that commitment.
    pub async fn transaction(
        &self,
        signature: Signature,
        commitment: Commitment,
    ) -> Result<Option<LandedTransaction>, RpcError> {
        let config =
            json!({ "encoding": "json", "commitment": commitment.name(), "maxSupportedTransactionVersion": 1 });
        self.call("getTransaction", json!([signature.to_string(), config])).await
    }

    /// One call, without a type.
    pub async fn raw(&self, method: &'static str, params: Value) -> Result<Box<RawValue>, RpcError> {
        self.0.call(method, params).await
    }

    async fn call<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<T, RpcError> {
        let result = self.raw(method, params).await?;
        serde_json::from_str(result.get()).map_err(|error| {
            tracing::debug!(method, %error, "an answer has another form than expected");
            RpcError::Unreadable("it has another form than expected")
        })
    }
}

impl AccountFilter {
    fn to_json(&self) -> Value {
        match self {
            Self::Length(length) => json!({ "dataSize": length }),
            Self::Bytes(offset, bytes) => {
                json!({ "memcmp": { "offset": offset, "bytes": BASE64.encode(bytes), "encoding": "base64" } })
            }
        }
    }
}

fn at(commitment: Commitment) -> Value {
    json!({ "commitment": commitment.name() })
}

fn texts(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(Address::to_string).collect()
}

/// The list, if it has one item for each that was asked for.
fn complete<T>(list: At<Vec<T>>, asked: usize) -> Result<At<Vec<T>>, RpcError> {
    if list.value.len() == asked { Ok(list) } else { Err(RpcError::Unreadable("it has another number of items")) }
}
