//! The port below the typed client: one call, one answer. Tests script it.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

/// Carries calls to an endpoint. Each call ends within a deadline, and each answer has a bound.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Calls a method and returns its result as JSON.
    async fn call(&self, method: &'static str, params: Value) -> Result<Box<RawValue>, RpcError>;
}

/// Why a call has no result. The texts name no URL.
///
/// After a call that changes something, such as a send, an error proves nothing: it may have been carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RpcError {
    /// No answer arrived.
    #[error("no answer: {0}")]
    NoAnswer(&'static str),
    /// The endpoint limits the rate of calls, or is behind its cluster. Until then it is not called.
    #[error("the endpoint is busy for {} ms", .wait.as_millis())]
    Busy {
        /// The time until the next call.
        wait: Duration,
    },
    /// The endpoint does not keep old transactions.
    #[error("the endpoint has no transaction history")]
    NoHistory,
    /// The endpoint answered with an error. Its message is not shown: some endpoints repeat the key in it.
    #[error("the endpoint answered with error {code}")]
    Refused {
        /// The JSON-RPC code.
        code: i64,
        /// The start of its message.
        message: String,
    },
    /// The endpoint answered with an HTTP status that is not a success.
    #[error("the endpoint answered with status {0}")]
    Status(u16),
    /// The answer could not be read.
    #[error("the answer cannot be used: {0}")]
    Unreadable(&'static str),
    /// There is no admitted endpoint to call.
    #[error("no endpoint is admitted")]
    NoEndpoint,
}

impl RpcError {
    /// Whether another endpoint may answer the same call.
    pub fn is_of_endpoint(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::NoEndpoint)
    }
}
