//! The errors of the JSON-RPC interface, with the codes and words of real nodes.

use serde_json::{Value, json};

/// An error of the JSON-RPC interface.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcError {
    code: i32,
    message: String,
    data: Option<Value>,
}

impl RpcError {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The body is no JSON.
    pub fn not_json() -> Self {
        Self::new(-32700, "Parse error")
    }

    /// The body is no request.
    pub fn invalid_request(message: &str) -> Self {
        Self::new(-32600, message)
    }

    /// There is no such method.
    pub fn unknown_method() -> Self {
        Self::new(-32601, "Method not found")
    }

    /// A parameter is missing or wrong.
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    /// The simulation before a send failed.
    pub fn preflight_failure(message: &str, simulation: Value) -> Self {
        let message = format!("Transaction simulation failed: {message}");
        Self { data: Some(simulation), ..Self::new(-32002, message) }
    }

    /// A signature is missing or wrong.
    pub fn wrong_signature() -> Self {
        Self::new(-32003, "Transaction signature verification failure")
    }

    /// There is no such block yet.
    pub fn block_not_available(slot: u64) -> Self {
        Self::new(-32004, format!("Block not available for slot {slot}"))
    }

    /// The node is behind the cluster.
    pub fn unhealthy(slots_behind: u64) -> Self {
        let data = Some(json!({ "numSlotsBehind": slots_behind }));
        Self { data, ..Self::new(-32005, format!("Node is behind by {slots_behind} slots")) }
    }

    /// The slot has no block.
    pub fn slot_skipped(slot: u64) -> Self {
        let message = format!("Slot {slot} was skipped, or missing due to ledger jump to recent snapshot");
        Self::new(-32007, message)
    }

    /// The node does not keep old transactions.
    pub fn no_history() -> Self {
        Self::new(-32011, "Transaction history is not available from this node")
    }

    /// The client did not say that it understands this version.
    pub fn unsupported_version(version: u8) -> Self {
        let message = format!(
            "Transaction version ({version}) is not supported by the requesting client. Please try the request again \
             with the following configuration parameter: \"maxSupportedTransactionVersion\": {version}"
        );
        Self::new(-32015, message)
    }

    /// The node does not know the slot that the client wants at least.
    pub fn behind_minimum(slot: u64) -> Self {
        let data = Some(json!({ "contextSlot": slot }));
        Self { data, ..Self::new(-32016, "Minimum context slot has not been reached") }
    }

    /// As the `error` of an answer.
    pub fn to_json(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        error
    }
}
