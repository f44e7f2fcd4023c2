//! The JSON-RPC interface of a Solana node: what the engine asks of one, with the answers and errors of real nodes.

mod accounts;
mod blocks;
mod encoding;
mod error;
mod params;
mod transactions;

use serde_json::{Value, json};

use crate::faults::{Faults, Heights};
use crate::{Block, Chain, Commitment};
pub use error::RpcError;
use params::{Config, Params};

/// A node that answers: the chain as one endpoint sees it.
pub struct Node<'a> {
    pub chain: &'a mut Chain,
    pub faults: &'a mut Faults,
    /// The newest slot that the endpoint knows.
    pub tip: u64,
}

type Answer = Result<Value, RpcError>;

impl Node<'_> {
    /// Answers a request, or a batch of requests.
    pub fn answer(&mut self, body: &[u8]) -> Value {
        match serde_json::from_slice(body) {
            Err(_) => envelope(Value::Null, Err(RpcError::not_json())),
            Ok(Value::Array(requests)) => requests.into_iter().map(|request| self.answer_one(request)).collect(),
            Ok(request) => self.answer_one(request),
        }
    }

    fn answer_one(&mut self, mut request: Value) -> Value {
        let id = request["id"].take();
        let result = match (request["method"].take(), request["params"].take()) {
            (Value::String(method), Value::Array(params)) => self.call(&method, &Params(params)),
            (Value::String(method), Value::Null) => self.call(&method, &Params(Vec::new())),
            (Value::String(_), _) => Err(RpcError::invalid_params("`params` should be an array")),
            _ => Err(RpcError::invalid_request("Invalid request")),
        };
        envelope(id, result)
    }

    fn call(&mut self, method: &str, params: &Params) -> Answer {
        match method {
            "getAccountInfo" => self.get_account_info(params),
            "getBalance" => self.get_balance(params),
            "getBlockHeight" => self.get_block_height(params),
            "getBlockTime" => self.get_block_time(params),
            "getEpochInfo" => self.get_epoch_info(params),
            "getFirstAvailableBlock" => self.get_first_available_block(),
            "getGenesisHash" => self.get_genesis_hash(),
            "getHealth" => self.get_health(),
            "getLatestBlockhash" => self.get_latest_blockhash(params),
            "getMinimumBalanceForRentExemption" => self.get_minimum_balance(params),
            "getMultipleAccounts" => self.get_multiple_accounts(params),
            "getProgramAccounts" => self.get_program_accounts(params),
            "getRecentPrioritizationFees" => self.get_recent_prioritization_fees(params),
            "getSignatureStatuses" => self.get_signature_statuses(params),
            "getSlot" => self.get_slot(params),
            "getTokenAccountBalance" => self.get_token_account_balance(params),
            "getTransaction" => self.get_transaction(params),
            "getVersion" => Ok(json!({ "solana-core": VERSION, "feature-set": 0 })),
            "isBlockhashValid" => self.is_blockhash_valid(params),
            "sendTransaction" => self.send_transaction(params),
            "simulateTransaction" => self.simulate_transaction(params),
            _ => Err(RpcError::unknown_method()),
        }
    }

    /// The block that a request is answered from.
    fn block(&self, config: &Config) -> Result<Block, RpcError> {
        self.block_of(config.commitment()?, config)
    }

    fn block_of(&self, commitment: Commitment, config: &Config) -> Result<Block, RpcError> {
        let block = self.chain.block(commitment, self.tip);
        if config.min_context_slot.is_some_and(|least| block.slot < least) {
            return Err(RpcError::behind_minimum(block.slot));
        }
        Ok(block)
    }

    /// A height, or the slot if the endpoint answers slots for heights here.
    fn height(&self, block: Block, height: u64, wrong_from: Heights) -> u64 {
        let wrong = match self.faults.heights {
            Heights::Truthful => false,
            Heights::SlotsInBlockHeight => wrong_from == Heights::SlotsInBlockHeight,
            Heights::SlotsInEpochInfo => wrong_from != Heights::SlotsEverywhere,
            Heights::SlotsEverywhere => true,
        };
        if wrong { height + (block.slot - block.height) } else { height }
    }
}

/// The version that the nodes claim to have.
const VERSION: &str = "4.2.2";

fn envelope(id: Value, result: Answer) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "result": result, "id": id }),
        Err(error) => json!({ "jsonrpc": "2.0", "error": error.to_json(), "id": id }),
    }
}

/// A value with the slot that it was read at.
fn with_context(block: Block, value: Value) -> Value {
    json!({ "context": { "slot": block.slot, "apiVersion": VERSION }, "value": value })
}
