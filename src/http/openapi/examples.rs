//! Examples of requests and answers. A test validates each against its schema.

use std::sync::LazyLock;

use serde_json::Value;

static EXAMPLES: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("examples.json")).expect("the examples are JSON"));

/// The example with this name.
pub(super) fn example(name: &str) -> Value {
    EXAMPLES.get(name).unwrap_or_else(|| panic!("there is no example {name}")).clone()
}
