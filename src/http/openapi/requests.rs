//! Schemas of request bodies and parameters, which [`crate::http::extract`] parses.

use serde_json::{Map, Value, json};

use crate::domain::id::ClientKey;
use crate::domain::lifecycle::Status;
use crate::domain::request::OrderKind;
use crate::domain::user::Scope;
use crate::http::openapi::operation::reference;
use crate::http::openapi::page;

/// The schemas of request bodies, by name.
pub(super) fn schemas() -> Map<String, Value> {
    let Value::Object(schemas) = json!({
        "Amount": {
            "description": "An exact amount in whole tokens: a decimal string, or a number, used digit by digit.",
            "anyOf": [
                { "type": "string", "pattern": NUMBER, "maxLength": 128 },
                { "type": "number", "exclusiveMinimum": 0 },
            ],
            "examples": ["1.5", 1.5],
        },
        "OrderRequest": {
            "description": "An order. `amount` is an alternative name of `amountIn`, `orderType` of `type`, and \
                            `slippageBps` is `slippage` in another unit; only one of each pair is allowed. A null \
                            field counts as absent, except `dryRun`. Unknown fields are refused.",
            "type": "object",
            "properties": {
                "type": { "type": ["string", "null"], "enum": kinds_or_null(), "default": OrderKind::default().name() },
                "orderType": { "type": ["string", "null"], "enum": kinds_or_null() },
                "tokenIn": token("The token to sell", "SOL"),
                "tokenOut": token("The token to buy", "USDC"),
                "amountIn": nullable("Amount", "The amount to sell."),
                "amount": nullable("Amount", "An alternative name of amountIn."),
                "minAmountOut": nullable("Amount", "The minimum output of every attempt, independent of quotes."),
                "slippage": slippage(),
                "maxPriceImpact": {
                    "description": "The maximum price impact of the order, as a fraction with at most six decimals. \
                                    The default is the setting orders.max_price_impact.",
                    "anyOf": [
                        { "type": "number", "minimum": 0.000001, "maximum": 1 },
                        { "type": "string", "pattern": NUMBER },
                        { "type": "null" },
                    ],
                },
                "slippageBps": {
                    "description": "The slippage in basis points (hundredths of a percent).",
                    "anyOf": [
                        { "type": "integer", "minimum": 1, "maximum": 5000 },
                        { "type": "string", "pattern": "^\\+?[0-9]+$" },
                        { "type": "null" },
                    ],
                },
                "priority": {
                    "type": ["string", "null"],
                    "enum": ["low", "normal", "high", null],
                    "default": "normal",
                },
                "routing": {
                    "description": "How the venue is chosen.",
                    "type": ["string", "null"],
                    "enum": ["best_price", "speed", "reliability", null],
                    "default": "best_price",
                },
                "clientOrderId": {
                    "description": "An id that the client chooses. A submit with the same id returns the same order.",
                    "anyOf": [client_key(), { "type": "number" }, { "type": "null" }],
                },
                "dryRun": {
                    "description": "Return the expected result only. Nothing is stored.",
                    "type": "boolean",
                    "default": false,
                },
            },
            "required": ["tokenIn", "tokenOut"],
            "anyOf": [{ "required": ["amountIn"] }, { "required": ["amount"] }],
            "additionalProperties": false,
        },
        "CancelFilter": {
            "description": "Which open orders to cancel; without a filter, all. null and the empty string are \
                            refused.",
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
                    "description": "Letters, digits and any of _ - . @ +. A number is used as its text.",
                    "anyOf": [{ "type": "string", "pattern": "^[A-Za-z0-9_.@+-]{3,64}$" }, { "type": "number" }],
                },
                "password": password("The password"),
            },
            "required": ["username", "password"],
            "additionalProperties": false,
        },
        "PasswordChange": {
            "type": "object",
            "properties": {
                "oldPassword": password("The present password"),
                "newPassword": password("The next password, which must be another one"),
            },
            "required": ["oldPassword", "newPassword"],
            "additionalProperties": false,
        },
        "Confirmation": {
            "type": "object",
            "properties": { "password": password("The password of the user") },
            "required": ["password"],
            "additionalProperties": false,
        },
        "NewKeyRequest": {
            "type": "object",
            "properties": {
                "name": {
                    "description": "The name of the key, without control characters. A number is used as its text.",
                    "anyOf": [{ "type": "string", "minLength": 1, "maxLength": 64 }, { "type": "number" }],
                },
                "scopes": {
                    "description": "The scopes of the key, which its user must have. The default is read and trade, as \
                                    far as the user has them.",
                    "type": "array",
                    "minItems": 1,
                    "items": { "enum": Scope::ALL },
                },
            },
            "required": ["name"],
            "additionalProperties": false,
        },
    }) else {
        unreachable!("the literal is an object")
    };
    schemas
}

/// A decimal number.
const NUMBER: &str = r"^\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$";

fn password(what: &str) -> Value {
    json!({
        "description": format!("{what}: 8 to 256 bytes. A number is used as its text."),
        "anyOf": [
            { "type": "string", "minLength": 2, "maxLength": 256, "format": "password" },
            { "type": "number" },
        ],
    })
}

fn token(what: &str, example: &str) -> Value {
    json!({
        "description": format!("{what}: a known symbol, or a mint address (base58 of 32 bytes)."),
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "examples": [example],
    })
}

fn nullable(schema: &str, description: &str) -> Value {
    json!({ "description": description, "anyOf": [reference(schema), { "type": "null" }] })
}

fn kinds_or_null() -> Vec<Option<&'static str>> {
    OrderKind::NAMES.into_iter().map(Some).chain([None]).collect()
}

fn slippage() -> Value {
    json!({
        "description": "The accepted loss against the quote, as a fraction with at most six decimals.",
        "anyOf": [
            { "type": "number", "minimum": 0.0001, "maximum": 0.5 },
            { "type": "string", "pattern": NUMBER },
            { "type": "null" },
        ],
        "default": "0.01",
    })
}

/// An id that the client chooses.
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

/// A required parameter, and the value that the page fills in.
fn required(mut parameter: Value, example: &str) -> Value {
    parameter["required"] = json!(true);
    parameter["example"] = json!(example);
    parameter
}

/// The parameter `id` in a path.
pub(in crate::http) fn id(of: &str) -> Value {
    parameter("path", "id", &format!("The id of the {of}."), json!({ "type": "string", "format": "uuid" }))
}

/// The parameter `id` in a path, if it is a `clientOrderId`.
pub(in crate::http) fn client_order_id() -> Value {
    parameter("path", "id", "The clientOrderId of the order.", client_key())
}

/// The parameter `file` in a path.
pub(in crate::http) fn file() -> Value {
    let names = [&["start.js", "openapi.json"], page::LOADED.map(|file| file.name).as_slice()].concat();
    parameter("path", "file", "The name of a file that the page loads.", json!({ "type": "string", "enum": names }))
}

/// The parameters of a submit.
pub(in crate::http) fn of_submit() -> [Value; 2] {
    [
        parameter(
            "header",
            "Idempotency-Key",
            "An id that the client chooses. A submit with the same key answers 200 with the same order. Keys are kept \
             for at least 24 hours. If clientOrderId is present too, both must be equal.",
            client_key(),
        ),
        query("dryRun", "The same as the field dryRun.", json!({ "type": "boolean" })),
    ]
}

/// The parameters of a list.
pub(in crate::http) fn of_list() -> Vec<Value> {
    let statuses = Status::ALL.map(Status::name);
    vec![
        query("status", "Only orders with this status.", json!({ "type": "string", "enum": statuses })),
        query("type", "Only orders of this type.", json!({ "type": "string", "enum": OrderKind::NAMES })),
        query("tokenIn", "Only orders that sell this token.", token("The token to sell", "SOL")),
        query("tokenOut", "Only orders that buy this token.", token("The token to buy", "USDC")),
        query("clientOrderId", "Only the order with this clientOrderId.", client_key()),
        query(
            "from",
            "Only orders accepted at or after this time.",
            json!({ "type": "string", "format": "date-time" }),
        ),
        query("to", "Only orders accepted before this time.", json!({ "type": "string", "format": "date-time" })),
        query("cursor", "The nextCursor of the previous page.", json!({ "type": "string", "format": "uuid" })),
        query("limit", "The page size.", json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 })),
    ]
}

/// The parameters of a cancel of all orders.
pub(in crate::http) fn of_cancel_all() -> [Value; 3] {
    [
        query("status", "Only orders with this status.", json!({ "type": "string", "enum": unfinished() })),
        query("tokenIn", "Only orders that sell this token.", token("The token to sell", "SOL")),
        query("tokenOut", "Only orders that buy this token.", token("The token to buy", "USDC")),
    ]
}

/// The parameters of a quote.
pub(in crate::http) fn of_quotes() -> [Value; 3] {
    let amount = json!({ "type": "string", "pattern": NUMBER, "examples": ["1.5"] });
    [
        required(query("tokenIn", "The token to sell.", token("The token to sell", "SOL")), "SOL"),
        required(query("tokenOut", "The token to buy.", token("The token to buy", "USDC")), "USDC"),
        required(query("amountIn", "The amount to sell. amount is an alternative name.", amount), "1.5"),
    ]
}

/// The parameters of a WebSocket.
pub(in crate::http) fn of_socket(order_in_query: bool) -> Vec<Value> {
    let order_id = query("orderId", "The order to follow.", json!({ "type": "string", "format": "uuid" }));
    let mut parameters = vec![
        query(
            "afterSeq",
            "Leave out the events up to this seq.",
            json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        ),
        query("ticket", "A ticket of POST /api/auth/ticket. Only for an upgrade.", json!({ "type": "string" })),
    ];
    if order_in_query {
        parameters.push(order_id);
    }
    parameters
}
