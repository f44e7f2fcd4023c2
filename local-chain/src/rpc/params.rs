//! The parameters of requests.

use std::str::FromStr;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use solana_address::Address;
use solana_hash::Hash;
use solana_signature::Signature;

use super::error::RpcError;
use crate::Commitment;

/// The parameters of one request, by their places.
pub struct Params(pub Vec<Value>);

/// The last parameter of most methods. Each method reads its own fields and ignores the others, as real nodes do.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    pub commitment: Option<String>,
    pub preflight_commitment: Option<String>,
    pub min_context_slot: Option<u64>,
    pub encoding: Option<String>,
    pub data_slice: Option<DataSlice>,
    pub filters: Option<Vec<Filter>>,
    pub with_context: bool,
    pub search_transaction_history: bool,
    pub sig_verify: bool,
    pub replace_recent_blockhash: bool,
    pub inner_instructions: bool,
    pub accounts: Option<SimulatedAccounts>,
    pub skip_preflight: bool,
    pub max_supported_transaction_version: Option<u8>,
}

/// A part of the data of an account.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct DataSlice {
    pub offset: usize,
    pub length: usize,
}

/// Which accounts of a program are wanted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Filter {
    Memcmp(Memcmp),
    DataSize(usize),
    TokenAccountState,
}

/// Bytes at an offset.
#[derive(Debug, Deserialize)]
pub struct Memcmp {
    pub offset: usize,
    pub bytes: String,
    pub encoding: Option<String>,
}

/// The accounts whose state after a simulation is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SimulatedAccounts {
    pub encoding: Option<String>,
    pub addresses: Vec<String>,
}

impl Params {
    /// The config at a place; the default if it was left out.
    pub fn config(&self, index: usize) -> Result<Config, RpcError> {
        match self.0.get(index) {
            None | Some(Value::Null) => Ok(Config::default()),
            Some(value) => parse(value),
        }
    }

    /// A number.
    pub fn number(&self, index: usize) -> Result<u64, RpcError> {
        parse(self.required(index)?)
    }

    /// A text.
    pub fn text(&self, index: usize) -> Result<String, RpcError> {
        parse(self.required(index)?)
    }

    /// An address.
    pub fn address(&self, index: usize) -> Result<Address, RpcError> {
        address(&self.text(index)?)
    }

    /// A list of addresses; empty if it was left out.
    pub fn addresses(&self, index: usize) -> Result<Vec<Address>, RpcError> {
        self.texts(index)?.iter().map(|text| address(text)).collect()
    }

    /// A signature.
    pub fn signature(&self, index: usize) -> Result<Signature, RpcError> {
        signature(&self.text(index)?)
    }

    /// A list of signatures.
    pub fn signatures(&self, index: usize) -> Result<Vec<Signature>, RpcError> {
        self.texts(index)?.iter().map(|text| signature(text)).collect()
    }

    /// A blockhash.
    pub fn hash(&self, index: usize) -> Result<Hash, RpcError> {
        Hash::from_str(&self.text(index)?).map_err(|error| RpcError::invalid_params(format!("Invalid param: {error}")))
    }

    fn texts(&self, index: usize) -> Result<Vec<String>, RpcError> {
        self.0.get(index).map_or(Ok(Vec::new()), parse)
    }

    fn required(&self, index: usize) -> Result<&Value, RpcError> {
        self.0.get(index).ok_or_else(|| {
            RpcError::invalid_params(format!("Invalid params: invalid length {index}, expected more parameters."))
        })
    }
}

impl Config {
    /// The commitment that is asked for.
    pub fn commitment(&self) -> Result<Commitment, RpcError> {
        commitment(self.commitment.as_deref())
    }
}

/// A commitment by its name; finalized if none is named.
pub fn commitment(name: Option<&str>) -> Result<Commitment, RpcError> {
    match name {
        None | Some("finalized") => Ok(Commitment::Finalized),
        Some("confirmed") => Ok(Commitment::Confirmed),
        Some("processed") => Ok(Commitment::Processed),
        Some(other) => Err(RpcError::invalid_params(format!(
            "Invalid params: unknown variant `{other}`, expected one of `processed`, `confirmed`, `finalized`."
        ))),
    }
}

/// An address in base58.
pub fn address(text: &str) -> Result<Address, RpcError> {
    Address::from_str(text).map_err(|_| RpcError::invalid_params("Invalid param: Invalid"))
}

fn signature(text: &str) -> Result<Signature, RpcError> {
    Signature::from_str(text).map_err(|_| RpcError::invalid_params("Invalid param: Invalid"))
}

fn parse<T: DeserializeOwned>(value: &Value) -> Result<T, RpcError> {
    T::deserialize(value).map_err(|error| RpcError::invalid_params(format!("Invalid params: {error}.")))
}
