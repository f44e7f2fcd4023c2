//! A transport that a test scripts.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::{Rpc, RpcError, Transport};

type Answer = Box<dyn FnMut(&str, &Value) -> Result<Value, RpcError> + Send>;

/// Answers each call by a function of its method and parameters.
struct Script(Mutex<Answer>);

#[async_trait]
impl Transport for Script {
    async fn call(&self, method: &'static str, params: Value) -> Result<Box<RawValue>, RpcError> {
        let answer = (self.0.lock().unwrap())(method, &params)?;
        Ok(to_raw_value(&answer).unwrap())
    }
}

/// A client whose calls are answered by that function.
pub(crate) fn scripted(answer: impl FnMut(&str, &Value) -> Result<Value, RpcError> + Send + 'static) -> Rpc {
    Rpc::new(Arc::new(Script(Mutex::new(Box::new(answer)))))
}
