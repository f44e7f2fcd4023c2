//! The AsyncAPI document: the messages of the WebSockets, in both directions.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::api::update::{SnapshotView, UpdateView};
use crate::config::PublicUrl;
use crate::http::openapi::document as openapi_document;
use crate::http::openapi::examples::example;
use crate::http::openapi::operation::reference;
use crate::http::openapi::requests;
use crate::http::routes::dry_run::DryRun;
use crate::http::routes::sockets;
use crate::http::ws::reply::{ChannelReply, ErrorReply, OrderReply, OrderSnapshot};

const DESCRIPTION: &str = "Close codes: 1000 the order has ended, or the socket was idle; 1001 the engine shuts down; \
                           1002 a WebSocket protocol error; 1007 a text message is not UTF-8; 1008 too many invalid \
                           messages, or too many frames; 1009 a message is too large; 1013 the engine cannot answer \
                           at the moment; 4401 the login has ended; 4404 the order is unknown; 4408 the client is too \
                           slow or silent, and can reconnect with afterSeq; 4503 the order cannot be read. A client \
                           authenticates with `Authorization: Bearer`, with the WebSocket protocols `bearer` and a \
                           token, or with a ticket in the query.";

/// The whole document, for a server with that public URL.
pub(super) fn document(public_url: Option<&PublicUrl>) -> Value {
    let url = public_url.map_or_else(|| "ws://127.0.0.1:3000".to_owned(), PublicUrl::socket_origin);
    let (protocol, host) = url.split_once("://").expect("a URL has a scheme");
    let mut generator = openapi_document::generator();
    let sent = sent(&mut generator);
    let received = received();
    let names = |messages: &Map<String, Value>| messages.keys().cloned().collect::<Vec<_>>();
    let (sent_names, received_names) = (names(&sent), names(&received));
    let of_one_order = ["orderSnapshot".to_owned(), "orderUpdate".to_owned()];
    let both = [sent_names.as_slice(), received_names.as_slice()].concat();
    let mut messages = sent;
    messages.extend(received);
    let mut schemas = generator.take_definitions(true);
    schemas.extend(requests::schemas());
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "order-engine sockets",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": env!("CARGO_PKG_LICENSE") },
        },
        "defaultContentType": "application/json",
        "servers": { "here": { "host": host, "protocol": protocol } },
        "channels": {
            "orders": channel(sockets::MANY, "Many orders, which the client chooses by messages.", &both),
            "order": channel(sockets::ONE, "One order, to its end.", &of_one_order),
            "stream": channel(sockets::STREAM, "One order, at an alternative path.", &of_one_order),
            "execute": channel(sockets::EXECUTE, "The order of ?orderId=.", &of_one_order),
        },
        "operations": {
            "ask": operation("receive", "orders", &received_names),
            "tell": operation("send", "orders", &sent_names),
            "tellOrder": operation("send", "order", &of_one_order),
            "tellStream": operation("send", "stream", &of_one_order),
            "tellExecute": operation("send", "execute", &of_one_order),
        },
        "components": { "messages": messages, "schemas": schemas },
    })
}

fn channel(address: &str, description: &str, messages: &[String]) -> Value {
    let messages =
        messages.iter().map(|name| (name.clone(), json!({ "$ref": format!("#/components/messages/{name}") })));
    let query = requests::of_socket(!address.contains("{id}"));
    let query = query.iter().map(|parameter| {
        let name = parameter["name"].as_str().unwrap_or_default().to_owned();
        (name, parameter["schema"].clone())
    });
    let query = Value::Object(query.collect());
    let mut channel = json!({
        "address": address,
        "description": description,
        "messages": Value::Object(messages.collect()),
        "bindings": { "ws": { "method": "GET", "query": { "type": "object", "properties": query } } },
    });
    if address.contains("{id}") {
        channel["parameters"] = json!({ "id": { "description": "The id of the order." } });
    }
    channel
}

fn operation(action: &str, channel: &str, messages: &[String]) -> Value {
    let messages: Vec<_> =
        messages.iter().map(|name| json!({ "$ref": format!("#/channels/{channel}/messages/{name}") })).collect();
    json!({ "action": action, "channel": { "$ref": format!("#/channels/{channel}") }, "messages": messages })
}

/// The messages to clients, by name.
fn sent(generator: &mut SchemaGenerator) -> Map<String, Value> {
    let order_id = example("order")["orderId"].clone();
    let about = json!({ "orderId": order_id });
    let channel = json!({ "channel": "orders", "openOrders": 3 });
    let submitted = example("submitted")["order"].clone();
    let submitted =
        json!({ "orderId": order_id, "status": "pending", "created": true, "warnings": [], "order": submitted });
    let cancelled = json!({ "orderId": order_id, "status": "cancelled", "order": example("cancelled")["order"] });
    let wrong = json!({ "code": "invalid_request", "message": "orderId: must be a UUID", "retryable": false,
        "errors": [{ "field": "orderId", "message": "must be a UUID" }] });
    let followed = json!({ "anyOf": [schema::<OrderReply>(generator), schema::<ChannelReply>(generator)] });
    let mut messages = Map::new();
    for (name, summary, schema, example) in [
        ("orderSnapshot", "The history of an order", schema::<SnapshotView>(generator), example("snapshot")),
        ("orderUpdate", "An event of an order", schema::<UpdateView>(generator), example("update")),
    ] {
        messages.insert(name.to_owned(), message(name, summary, schema, &example));
    }
    for (name, r#type, summary, what, example) in [
        ("subscribed", "subscribed", "A subscription to one or all orders has started", followed.clone(), channel),
        ("unsubscribed", "unsubscribed", "A subscription has ended", followed, about),
        ("pong", "pong", "The answer to a ping", json!({}), json!({})),
        ("orderSubmitted", "order:submitted", "The order is accepted", schema::<OrderSnapshot>(generator), submitted),
        ("orderDryRun", "order:dry_run", "The result of a dry run", schema::<DryRun>(generator), example("dryRun")),
        ("orderCancelled", "order:cancelled", "The order is cancelled", schema::<OrderSnapshot>(generator), cancelled),
        ("error", "error", "The request failed", schema::<ErrorReply<'_>>(generator), wrong),
    ] {
        let payload = json!({
            "allOf": [what],
            "properties": { "type": { "const": r#type }, "requestId": request_id() },
            "required": ["type"],
        });
        let mut example = example;
        (example["type"], example["requestId"]) = (json!(r#type), json!(7));
        messages.insert(name.to_owned(), message(name, summary, payload, &example));
    }
    messages
}

/// The messages from clients, by name.
fn received() -> Map<String, Value> {
    let order_id = json!({ "type": "string", "format": "uuid" });
    let channel = json!({ "enum": ["orders"] });
    let after_seq = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX, "default": 0 });
    let key = requests::client_key();
    let id = example("order")["orderId"].clone();
    let one_of = json!([{ "required": ["orderId"] }, { "required": ["channel"] }]);
    let mut messages = Map::new();
    for (r#type, summary, mut properties, rule, mut example) in [
        (
            "subscribe",
            "Subscribe to an order, or to all orders of the caller",
            json!({ "orderId": order_id, "afterSeq": after_seq, "channel": channel }),
            json!({ "oneOf": one_of, "dependentRequired": { "afterSeq": ["orderId"] } }),
            json!({ "orderId": id, "afterSeq": 2 }),
        ),
        (
            "unsubscribe",
            "End a subscription",
            json!({ "orderId": order_id, "channel": channel }),
            json!({ "oneOf": one_of }),
            json!({ "channel": "orders" }),
        ),
        ("ping", "Show that the client is alive", json!({}), json!({}), json!({})),
        (
            "submit",
            "Submit an order",
            json!({ "order": reference("OrderRequest"), "idempotencyKey": key }),
            json!({ "required": ["order"] }),
            json!({ "order": example("orderRequest"), "idempotencyKey": "bot-7-000123" }),
        ),
        (
            "cancel",
            "Cancel an order",
            json!({ "orderId": order_id }),
            json!({ "required": ["orderId"] }),
            json!({ "orderId": id }),
        ),
    ] {
        (properties["type"], properties["requestId"]) = (json!({ "const": r#type }), request_id());
        (example["type"], example["requestId"]) = (json!(r#type), json!(7));
        let payload = json!({
            "type": "object",
            "properties": properties,
            "required": ["type"],
            "allOf": [rule],
            "additionalProperties": false,
        });
        messages.insert(r#type.to_owned(), message(r#type, summary, payload, &example));
    }
    messages
}

/// The id of a message, which its answer repeats.
fn request_id() -> Value {
    json!({
        "description": "An id that the client chooses. The answer repeats it.",
        "anyOf": [{ "type": "string", "maxLength": 128 }, { "type": "number" }],
    })
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn message(name: &str, summary: &str, payload: Value, example: &Value) -> Value {
    json!({ "name": name, "summary": summary, "payload": payload, "examples": [{ "payload": example }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_valid_for_its_schema() {
        let document = document(None);
        for (name, message) in document["components"]["messages"].as_object().unwrap() {
            let mut payload = message["payload"].clone();
            payload["components"] = document["components"].clone();
            let schema = jsonschema::options().should_validate_formats(true).build(&payload).unwrap();
            let example = &message["examples"][0]["payload"];
            let errors: Vec<_> = schema.iter_errors(example).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{name}: {errors:?}");
        }
    }
}
