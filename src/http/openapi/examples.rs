//! Examples of requests and answers. A test validates each against its schema.

use std::sync::LazyLock;

use serde_json::Value;

static EXAMPLES: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("examples.json")).expect("the examples are JSON"));

/// The example with this name.
pub(super) fn example(name: &str) -> Value {
    EXAMPLES.get(name).unwrap_or_else(|| panic!("there is no example {name}")).clone()
}

/// What an example of a request shows, where its operation has several.
pub(super) fn summary(name: &str) -> Option<&'static str> {
    match name {
        "orderRequest" => Some("An order"),
        "otherNames" => Some("The same order, by the alternative names of the fields"),
        "everything" => Some("An order with every field"),
        "dryRunRequest" => Some("A dry run: the expected result, and nothing is stored"),
        _ => None,
    }
}
