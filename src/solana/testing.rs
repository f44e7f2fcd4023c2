//! A node in the hands of a test: what it knows, and what it says wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use solana_hash::Hash;

use crate::domain::swap::Signature;
use crate::solana::rpc::script::scripted;
use crate::solana::rpc::{Rpc, RpcError};

/// The cluster of the tests.
pub(crate) const CLUSTER: Hash = Hash::new_from_array([1; 32]);

/// A node that a test changes while others ask it.
#[derive(Clone)]
pub(crate) struct TestNode(Arc<Mutex<State>>);

/// The state of a node.
pub(crate) struct State {
    pub(crate) genesis: Hash,
    /// The slot and the height of its newest finalized block.
    pub(crate) slot: u64,
    pub(crate) height: u64,
    /// Whether it answers slots for heights, everywhere.
    pub(crate) answers_slots: bool,
    /// How many slots the statuses are ahead of the finalized block.
    pub(crate) ahead: i64,
    pub(crate) first_available: u64,
    pub(crate) blockhash_valid: bool,
    pub(crate) keeps_history: bool,
    pub(crate) answers: bool,
    pub(crate) statuses: HashMap<String, Value>,
    pub(crate) transactions: HashMap<String, Value>,
    /// The methods and parameters of the calls.
    pub(crate) calls: Vec<(String, Value)>,
}

impl TestNode {
    /// An honest node.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            genesis: CLUSTER,
            slot: 9_000_000,
            height: 5_000_000,
            answers_slots: false,
            ahead: 32,
            first_available: 0,
            blockhash_valid: true,
            keeps_history: true,
            answers: true,
            statuses: HashMap::new(),
            transactions: HashMap::new(),
            calls: Vec::new(),
        })))
    }

    /// Its state, to read and to change.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A client of this node.
    pub(crate) fn rpc(&self) -> Rpc {
        let node = self.clone();
        scripted(move |method, params| node.state().answer(method, params))
    }

    /// How many calls of that method there were.
    pub(crate) fn calls(&self, method: &str) -> usize {
        self.state().calls.iter().filter(|(called, _)| called == method).count()
    }

    /// Lets blocks become final, one a slot.
    pub(crate) fn advance(&self, blocks: u64) {
        let mut state = self.state();
        state.slot += blocks;
        state.height += blocks;
    }

    /// Lets a transaction land with that error.
    pub(crate) fn lands(&self, signature: Signature, err: Value, commitment: &str, transaction: Value) {
        let mut state = self.state();
        let status = json!({ "slot": state.slot, "err": err, "confirmationStatus": commitment });
        state.statuses.insert(signature.to_string(), status);
        state.transactions.insert(signature.to_string(), transaction);
    }
}

impl State {
    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, RpcError> {
        self.calls.push((method.to_owned(), params.clone()));
        if !self.answers {
            return Err(RpcError::NoAnswer("it is switched off"));
        }
        let height = if self.answers_slots { self.slot } else { self.height };
        let with_context = |slot: u64, value: Value| json!({ "context": { "slot": slot }, "value": value });
        Ok(match method {
            "getGenesisHash" => json!(self.genesis.to_string()),
            "getEpochInfo" => json!({ "absoluteSlot": self.slot, "blockHeight": height }),
            "getBlockHeight" => json!(height),
            "getFirstAvailableBlock" => json!(self.first_available),
            "getLatestBlockhash" => {
                let value = json!({ "blockhash": CLUSTER.to_string(), "lastValidBlockHeight": height + 150 });
                with_context(self.slot, value)
            }
            "isBlockhashValid" => with_context(self.slot, json!(self.blockhash_valid)),
            "getSignatureStatuses" if !self.keeps_history => return Err(RpcError::NoHistory),
            "getSignatureStatuses" => {
                let signatures = params[0].as_array().unwrap();
                let status = |signature: &Value| self.statuses.get(signature.as_str().unwrap()).cloned();
                let statuses = signatures.iter().map(|signature| status(signature).unwrap_or_default()).collect();
                with_context(self.slot.checked_add_signed(self.ahead).unwrap(), statuses)
            }
            "getTransaction" => self.transactions.get(params[0].as_str().unwrap()).cloned().unwrap_or_default(),
            "sendTransaction" => json!("1".repeat(64)),
            other => panic!("unexpected call of {other}"),
        })
    }
}
