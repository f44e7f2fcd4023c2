//! What clients send: the schemas of bodies and parameters, which [`crate::http::extract::body`] parses.

use serde_json::{Map, Value, json};

use crate::domain::id::ClientKey;
use crate::domain::lifecycle::Status;
use crate::http::openapi::operation::reference;
use crate::http::openapi::page;

/// The schemas of everything that is sent in a body, by name.
pub(in crate::http) fn schemas() -> Map<String, Value> {
    let Value::Object(schemas) = json!({
        "Amount": {
            "description": "An amount in whole tokens, exact: a decimal string, or a number, which is taken as it is written.",
            "anyOf": [
                { "type": "string", "pattern": NUMBER, "maxLength": 128 },
                { "type": "number", "exclusiveMinimum": 0 },
            ],
            "examples": ["1.5", 1.5],
        },
        "OrderRequest": {
            "description": "An order as it is asked for. `amount` is another name for `amountIn`, `orderType` for \
                            `type`, `slippageBps` another way to say `slippage`; of two names one may be given. A \
                            field that is null is as good as absent, except for `dryRun`; one that is not listed is \
                            refused.",
            "type": "object",
            "properties": {
                "type": { "type": ["string", "null"], "enum": ["market", null], "default": "market" },
                "orderType": { "type": ["string", "null"], "enum": ["market", null] },
                "tokenIn": token("What is sold"),
                "tokenOut": token("What is bought"),
                "amountIn": nullable("Amount", "How much is sold."),
                "amount": nullable("Amount", "Another name for amountIn."),
                "minAmountOut": nullable("Amount", "The least output over all attempts, whatever the quotes say."),
                "slippage": slippage(),
                "maxPriceImpact": {
                    "description": "The most by which the order may move the price against itself, as a fraction with at \
                                    most six decimals; the engine's own limit (orders.max_price_impact) where it is not \
                                    said.",
                    "anyOf": [
                        { "type": "number", "minimum": 0.000001, "maximum": 1 },
                        { "type": "string", "pattern": NUMBER },
                        { "type": "null" },
                    ],
                },
                "slippageBps": {
                    "description": "The slippage in hundredths of a percent.",
                    "anyOf": [
                        { "type": "integer", "minimum": 1, "maximum": 5000 },
                        { "type": "string", "pattern": "^\\+?[0-9]+$" },
                        { "type": "null" },
                    ],
                },
                "priority": { "type": ["string", "null"], "enum": ["low", "normal", "high", null], "default": "normal" },
                "routing": {
                    "description": "How the venue is chosen.",
                    "type": ["string", "null"],
                    "enum": ["best_price", "speed", "reliability", null],
                    "default": "best_price",
                },
                "clientOrderId": {
                    "description": "The client's own name for the order; the same name again is the same order.",
                    "anyOf": [client_key(), { "type": "number" }, { "type": "null" }],
                },
                "dryRun": {
                    "description": "Only say what would happen: nothing is stored.",
                    "type": "boolean",
                    "default": false,
                },
            },
            "required": ["tokenIn", "tokenOut"],
            "anyOf": [{ "required": ["amountIn"] }, { "required": ["amount"] }],
            "additionalProperties": false,
        },
        "CancelFilter": {
            "description": "Which orders to cancel; all that are open, where nothing is said. A filter that is named \
                            has a value: null and the empty text are refused.",
            "type": "object",
            "properties": {
                "status": { "type": "string", "enum": unfinished() },
                "tokenIn": { "type": "string", "minLength": 1 },
                "tokenOut": { "type": "string", "minLength": 1 },
            },
            "additionalProperties": false,
        },
        "Credentials": {
            "type": "object",
            "properties": {
                "username": {
                    "description": "Letters, digits and any of _ - . @ +; a number is taken as its text.",
                    "anyOf": [{ "type": "string", "pattern": "^[A-Za-z0-9_.@+-]{3,64}$" }, { "type": "number" }],
                },
                "password": {
                    "description": "8 to 256 bytes; a number is taken as its text.",
                    "anyOf": [
                        { "type": "string", "minLength": 2, "maxLength": 256, "format": "password" },
                        { "type": "number" },
                    ],
                },
            },
            "required": ["username", "password"],
            "additionalProperties": false,
        },
        "NewKeyRequest": {
            "type": "object",
            "properties": {
                "name": {
                    "description": "What it is called; no control characters; a number is taken as its text.",
                    "anyOf": [{ "type": "string", "minLength": 1, "maxLength": 64 }, { "type": "number" }],
                },
                "scopes": {
                    "description": "What it may do; everything, where that is not said.",
                    "type": "array",
                    "minItems": 1,
                    "items": { "enum": ["read", "trade"] },
                },
            },
            "required": ["name"],
            "additionalProperties": false,
        },
    }) else {
        unreachable!("it is written as an object")
    };
    schemas
}

/// A decimal number as text.
const NUMBER: &str = r"^\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$";

fn token(what: &str) -> Value {
    json!({
        "description": format!("{what}: a known symbol, or a mint address (base58 of 32 bytes)."),
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "examples": ["SOL"],
    })
}

fn nullable(schema: &str, description: &str) -> Value {
    json!({ "description": description, "anyOf": [reference(schema), { "type": "null" }] })
}

fn slippage() -> Value {
    json!({
        "description": "How much less than the quote is still accepted, as a fraction with at most six decimals.",
        "anyOf": [
            { "type": "number", "minimum": 0.0001, "maximum": 0.5 },
            { "type": "string", "pattern": NUMBER },
            { "type": "null" },
        ],
        "default": "0.01",
    })
}

/// A client's own name for something.
pub(in crate::http) fn client_key() -> Value {
    json!({ "type": "string", "pattern": "^[!-~]+$", "minLength": 1, "maxLength": ClientKey::MAX_LENGTH })
}

fn unfinished() -> Vec<Value> {
    Status::ALL.into_iter().filter(|status| !status.is_final()).map(|status| json!(status.name())).collect()
}

fn parameter(place: &str, name: &str, description: &str, schema: Value) -> Value {
    json!({ "in": place, "name": name, "required": place == "path", "description": description, "schema": schema })
}

fn query(name: &str, description: &str, schema: Value) -> Value {
    parameter("query", name, description, schema)
}

fn required(mut parameter: Value) -> Value {
    parameter["required"] = json!(true);
    parameter
}

/// The id in a path.
pub(in crate::http) fn id(of: &str) -> Value {
    parameter("path", "id", &format!("The {of}'s id."), json!({ "type": "string", "format": "uuid" }))
}

/// The client's own name for an order in a path.
pub(in crate::http) fn client_order_id() -> Value {
    parameter("path", "id", "The order's clientOrderId.", client_key())
}

/// The file in a path.
pub(in crate::http) fn file() -> Value {
    let names = [&["start.js", "openapi.json"], page::LOADED.as_slice()].concat();
    parameter("path", "file", "A file that the page loads.", json!({ "type": "string", "enum": names }))
}

/// What a submit takes beside its body.
pub(in crate::http) fn of_submit() -> [Value; 2] {
    [
        parameter(
            "header",
            "Idempotency-Key",
            "The request's own name: the same name again is answered with the same order and 200. Kept for 24 hours at \
             least; where clientOrderId is given too, both have to be the same.",
            client_key(),
        ),
        query("dryRun", "As the field of that name.", json!({ "type": "boolean" })),
    ]
}

/// What a list takes.
pub(in crate::http) fn of_list() -> Vec<Value> {
    let statuses = Status::ALL.map(Status::name);
    vec![
        query("status", "Only orders that stand there.", json!({ "type": "string", "enum": statuses })),
        query("type", "Only orders of that type.", json!({ "type": "string", "enum": ["market"] })),
        query("tokenIn", "Only orders that sell it.", token("What is sold")),
        query("tokenOut", "Only orders that buy it.", token("What is bought")),
        query("clientOrderId", "Only the order of that name.", client_key()),
        query("from", "Only orders made then or later.", json!({ "type": "string", "format": "date-time" })),
        query("to", "Only orders made before.", json!({ "type": "string", "format": "date-time" })),
        query("cursor", "The nextCursor of the page before.", json!({ "type": "string", "format": "uuid" })),
        query("limit", "How many at most.", json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 })),
    ]
}

/// What a cancel of all takes beside its body.
pub(in crate::http) fn of_cancel_all() -> [Value; 3] {
    [
        query("status", "Only orders that stand there.", json!({ "type": "string", "enum": unfinished() })),
        query("tokenIn", "Only orders that sell it.", token("What is sold")),
        query("tokenOut", "Only orders that buy it.", token("What is bought")),
    ]
}

/// What a question for quotes takes.
pub(in crate::http) fn of_quotes() -> [Value; 3] {
    let amount = json!({ "type": "string", "pattern": NUMBER, "examples": ["1.5"] });
    [
        required(query("tokenIn", "What would be sold.", token("What would be sold"))),
        required(query("tokenOut", "What would be bought.", token("What would be bought"))),
        required(query("amountIn", "How much would be sold; amount is another name for it.", amount)),
    ]
}

/// What a socket is opened with.
pub(in crate::http) fn of_socket(order_in_query: bool) -> Vec<Value> {
    let order_id = query("orderId", "The order to follow.", json!({ "type": "string", "format": "uuid" }));
    let mut parameters = vec![
        query(
            "afterSeq",
            "Leave out the steps up to that number.",
            json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        ),
        query("ticket", "A ticket of POST /api/auth/ticket; taken with an upgrade alone.", json!({ "type": "string" })),
    ];
    if order_in_query {
        parameters.push(order_id);
    }
    parameters
}
