//! The answers of endpoints as typed values. What the engine does not use is left out.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use solana_address::Address;
use solana_hash::Hash;

use crate::domain::swap::Signature;
use crate::solana::node::AccountData;

/// How sure the cluster is of a block. A later commitment includes the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Commitment {
    /// The endpoint has executed it. It may be on a fork that is dropped.
    Processed,
    /// Two thirds of the stake have voted for it.
    Confirmed,
    /// It cannot be dropped.
    Finalized,
}

impl Commitment {
    /// The name in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Processed => "processed",
            Self::Confirmed => "confirmed",
            Self::Finalized => "finalized",
        }
    }
}

/// A value with the slot at which the endpoint read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The slot.
    pub slot: u64,
    /// The value.
    pub value: T,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Context {
            slot: u64,
        }
        #[derive(Deserialize)]
        struct WithContext<T> {
            context: Context,
            value: T,
        }
        let answer = WithContext::deserialize(deserializer)?;
        Ok(Self { slot: answer.context.slot, value: answer.value })
    }
}

/// The slot and the height of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EpochInfo {
    /// The slot. Slots without a block count.
    pub absolute_slot: u64,
    /// The number of blocks before it. Slots without a block do not count.
    pub block_height: u64,
}

/// A recent blockhash and its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LatestBlockhash {
    /// The blockhash.
    #[serde(deserialize_with = "base58")]
    pub blockhash: Hash,
    /// The last block height at which a transaction with it can land.
    pub last_valid_block_height: u64,
}

/// What an endpoint knows of a signature.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignatureStatus {
    /// The slot of the transaction.
    pub slot: u64,
    /// Why it failed; `None` if it succeeded.
    pub err: Option<TransactionError>,
    /// How sure the cluster is. An endpoint that does not say so has not confirmed anything.
    #[serde(default)]
    confirmation_status: Option<Commitment>,
}

impl SignatureStatus {
    /// A status.
    pub fn new(slot: u64, err: Option<TransactionError>, commitment: Commitment) -> Self {
        Self { slot, err, confirmation_status: Some(commitment) }
    }

    /// How sure the cluster is.
    pub fn commitment(&self) -> Commitment {
        self.confirmation_status.unwrap_or(Commitment::Processed)
    }
}

/// Why a transaction failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionError {
    /// An instruction failed.
    Instruction {
        /// Its index.
        index: u8,
        /// The number that a program gave, if one did.
        number: Option<u32>,
        /// The name of the error; `Custom` if a program gave a number.
        name: String,
    },
    /// The transaction failed as a whole: the name of the error.
    Whole(String),
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instruction { index, number: Some(number), .. } => {
                write!(f, "instruction {index} fails with error {number} of its program")
            }
            Self::Instruction { index, number: None, name } => write!(f, "instruction {index} fails: {name}"),
            Self::Whole(name) => f.write_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for TransactionError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // An error of an unknown form is an error nevertheless.
        let value = Value::deserialize(deserializer)?;
        let instruction = value.get("InstructionError").and_then(|error| <(u8, Value)>::deserialize(error).ok());
        Ok(match instruction {
            Some((index, error)) => {
                let number = error.get("Custom").and_then(Value::as_u64);
                let number = number.and_then(|number| u32::try_from(number).ok());
                Self::Instruction { index, number, name: variant(&error) }
            }
            None => Self::Whole(variant(&value)),
        })
    }
}

/// The name of a variant, with or without data.
fn variant(value: &Value) -> String {
    let name = match value {
        Value::String(name) => Some(name.as_str()),
        Value::Object(object) => object.keys().next().map(String::as_str),
        _ => None,
    };
    name.unwrap_or("unknown").to_owned()
}

/// An account of a program.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ProgramAccount {
    /// Its address.
    #[serde(deserialize_with = "base58")]
    pub pubkey: Address,
    /// The account.
    #[serde(deserialize_with = "account")]
    pub account: AccountData,
}

/// The price of compute units that was paid in a slot, in millionths of a lamport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrioritizationFee {
    /// The slot.
    pub slot: u64,
    /// The lowest price with which a transaction landed.
    pub prioritization_fee: u64,
}

/// The result of a simulated transaction.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Simulation {
    /// Why it failed; `None` if it succeeded.
    pub err: Option<TransactionError>,
    /// The lines that the programs logged.
    pub logs: Option<Vec<String>>,
    /// The compute units that it used.
    pub units_consumed: Option<u64>,
}

/// A landed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LandedTransaction {
    /// Its slot.
    pub slot: u64,
    /// What it did. Endpoints may lack it.
    pub meta: Option<Meta>,
    /// What was signed.
    pub transaction: SignedTransaction,
}

/// What a landed transaction did.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Why it failed; `None` if it succeeded.
    pub err: Option<TransactionError>,
    /// The fee in lamports.
    pub fee: u64,
    /// The token accounts before it. Endpoints may lack them.
    pub pre_token_balances: Option<Vec<TokenBalance>>,
    /// The token accounts after it, without those that it closed.
    pub post_token_balances: Option<Vec<TokenBalance>>,
    /// The lines that the programs logged.
    pub log_messages: Option<Vec<String>>,
}

/// The balance of a token account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenBalance {
    /// The index of the account in the transaction.
    pub account_index: usize,
    /// The mint of the token.
    pub mint: String,
    /// The wallet that owns the account.
    pub owner: Option<String>,
    /// The token program of the account.
    pub program_id: Option<String>,
    /// The balance.
    pub ui_token_amount: TokenAmount,
}

/// An amount of a token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TokenAmount {
    /// The base units as text.
    #[serde(deserialize_with = "base_units")]
    pub amount: u64,
}

/// The signed parts of a landed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SignedTransaction {
    /// The signatures. The first one is that of the fee payer.
    pub signatures: Vec<Signature>,
    /// The message.
    pub message: SignedMessage,
}

/// The message of a landed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedMessage {
    /// The accounts. The first one is the fee payer.
    pub account_keys: Vec<String>,
    /// The instructions.
    pub instructions: Vec<CalledInstruction>,
}

/// An instruction of a landed transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CalledInstruction {
    /// The index of its program among the accounts.
    pub program_id_index: usize,
}

/// The program that an instruction calls.
pub fn program_of(message: &SignedMessage, instruction: u8) -> Option<Address> {
    let called = message.instructions.get(usize::from(instruction))?;
    message.account_keys.get(called.program_id_index)?.parse().ok()
}

pub(super) fn base58<'de, T: std::str::FromStr, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(|_| D::Error::custom("not the base58 of 32 bytes"))
}

fn base_units<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(|_| D::Error::custom("not an amount of base units"))
}

/// An account in the encoding `base64`.
#[derive(Deserialize)]
pub(super) struct Account {
    lamports: u64,
    #[serde(deserialize_with = "base58")]
    owner: Address,
    #[serde(deserialize_with = "base64_data")]
    data: Vec<u8>,
}

impl From<Account> for AccountData {
    fn from(account: Account) -> Self {
        Self { lamports: account.lamports, owner: account.owner, data: account.data }
    }
}

fn account<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AccountData, D::Error> {
    Account::deserialize(deserializer).map(Into::into)
}

fn base64_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let (data, encoding) = <(String, String)>::deserialize(deserializer)?;
    if encoding != "base64" {
        return Err(D::Error::custom("not in base64"));
    }
    BASE64.decode(data).map_err(|_| D::Error::custom("not in base64"))
}
