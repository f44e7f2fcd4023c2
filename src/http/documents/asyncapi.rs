//! The AsyncAPI document.

use serde_json::{Value, json};

/// The whole document.
pub(super) fn document() -> Value {
    json!({ "asyncapi": "3.0.0" })
}
