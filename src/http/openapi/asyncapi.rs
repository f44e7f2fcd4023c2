//! The AsyncAPI document: what is said on the sockets, in both directions.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::api::views::{SnapshotView, UpdateView};
use crate::http::openapi::document as openapi_document;
use crate::http::openapi::examples::example;
use crate::http::openapi::operation::reference;
use crate::http::openapi::requests;
use crate::http::routes::dry_run::DryRun;
use crate::http::ws::frame::{ChannelReply, ErrorReply, OrderReply, OrderSnapshot};

const DESCRIPTION: &str = "A socket is closed with 1000 when the order has ended or nothing was followed for long, 1001 \
                           when the engine stops, 1002 for what is no WebSocket, 1008 for too many messages that mean \
                           nothing, 1009 for a message that is too large, 1013 when no answer can be had just now, \
                           4401 when the login is over, 4404 for an unknown order, 4503 for an order that cannot be \
                           read, and 4408 for a client that is too slow or silent: it comes back with afterSeq. \
                           Sockets are let in by Authorization: Bearer, by the protocols `bearer` and a token, or by a ticket.";

/// The whole document.
pub(in crate::http) fn document() -> Value {
    let mut generator = openapi_document::generator();
    let told = told(&mut generator);
    let said = said();
    let names = |messages: &Map<String, Value>| messages.keys().cloned().collect::<Vec<_>>();
    let (told_names, said_names) = (names(&told), names(&said));
    let of_one_order = ["orderSnapshot".to_owned(), "orderUpdate".to_owned()];
    let both = [told_names.as_slice(), said_names.as_slice()].concat();
    let mut messages = told;
    messages.extend(said);
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
        "servers": { "here": { "host": "127.0.0.1:3000", "protocol": "ws" } },
        "channels": {
            "orders": channel("/ws", "Many orders: the client says which.", &both),
            "order": channel("/ws/orders/{id}", "One order, to its end.", &of_one_order),
            "stream": channel("/api/orders/{id}/stream", "The same, as other clients know it.", &of_one_order),
            "execute": channel("/api/orders/execute", "The order of ?orderId=.", &of_one_order),
        },
        "operations": {
            "ask": operation("receive", "orders", &said_names),
            "tell": operation("send", "orders", &told_names),
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
    let mut channel = json!({
        "address": address,
        "description": description,
        "messages": Value::Object(messages.collect()),
        "bindings": { "ws": { "method": "GET", "query": { "type": "object", "properties": Value::Object(query.collect()) } } },
    });
    if address.contains("{id}") {
        channel["parameters"] = json!({ "id": { "description": "The order's id." } });
    }
    channel
}

fn operation(action: &str, channel: &str, messages: &[String]) -> Value {
    let messages: Vec<_> =
        messages.iter().map(|name| json!({ "$ref": format!("#/channels/{channel}/messages/{name}") })).collect();
    json!({ "action": action, "channel": { "$ref": format!("#/channels/{channel}") }, "messages": messages })
}

/// What clients are told, by name.
fn told(generator: &mut SchemaGenerator) -> Map<String, Value> {
    let order_id = example("order")["orderId"].clone();
    let about = json!({ "orderId": order_id });
    let channel = json!({ "channel": "orders", "openOrders": 3 });
    let whole = json!({ "orderId": order_id, "status": "pending", "created": true, "warnings": [], "order": example("submitted")["order"] });
    let cancelled = json!({ "orderId": order_id, "status": "cancelled", "order": example("cancelled")["order"] });
    let wrong = json!({ "code": "invalid_request", "message": "orderId: must be a UUID", "retryable": false,
        "errors": [{ "field": "orderId", "message": "must be a UUID" }] });
    let followed = json!({ "anyOf": [schema::<OrderReply>(generator), schema::<ChannelReply>(generator)] });
    let mut messages = Map::new();
    for (name, summary, schema, example) in [
        ("orderSnapshot", "The story so far", schema::<SnapshotView>(generator), example("snapshot")),
        ("orderUpdate", "A step", schema::<UpdateView>(generator), example("update")),
    ] {
        messages.insert(name.to_owned(), message(name, summary, schema, &example));
    }
    for (name, r#type, summary, what, example) in [
        ("subscribed", "subscribed", "An order, or all of them, is followed from now on", followed.clone(), channel),
        ("unsubscribed", "unsubscribed", "It is not followed any more", followed, about),
        ("pong", "pong", "The answer to a ping", json!({}), json!({})),
        ("orderSubmitted", "order:submitted", "An order is accepted", schema::<OrderSnapshot>(generator), whole),
        ("orderDryRun", "order:dry_run", "What would happen", schema::<DryRun>(generator), example("dryRun")),
        ("orderCancelled", "order:cancelled", "An order is cancelled", schema::<OrderSnapshot>(generator), cancelled),
        ("error", "error", "What was asked for cannot be", schema::<ErrorReply<'_>>(generator), wrong),
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

/// What clients say, by name.
fn said() -> Map<String, Value> {
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
            "Follow an order, or all of one's own",
            json!({ "orderId": order_id, "afterSeq": after_seq, "channel": channel }),
            json!({ "oneOf": one_of, "dependentRequired": { "afterSeq": ["orderId"] } }),
            json!({ "orderId": id, "afterSeq": 2 }),
        ),
        (
            "unsubscribe",
            "Follow it no longer",
            json!({ "orderId": order_id, "channel": channel }),
            json!({ "oneOf": one_of }),
            json!({ "channel": "orders" }),
        ),
        ("ping", "Say something", json!({}), json!({}), json!({})),
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

/// The client's own name for a message, which its answer carries.
fn request_id() -> Value {
    json!({
        "description": "The client's own name for its message; the answer carries it.",
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
    fn every_example_is_as_its_schema_says() {
        let document = document();
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
