//! The OpenAPI document.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::http::openapi::operations;
use crate::http::openapi::requests;
use crate::http::problem;

const DESCRIPTION: &str = "Orders for swaps on Solana DEXes: an order is accepted once it is durable, routed to the \
                           venue that suits it best, swapped exactly once, and told of step by step. Amounts are \
                           decimal strings, times RFC 3339 in UTC, errors RFC 9457 with a stable `code`: also \
                           where nothing is served (404, no_such_route), and where a path does not take a method \
                           (405, method_not_allowed, with Allow). Where requests are limited, every answer tells what is \
                           left. What the sockets say stands in /api/asyncapi.json.";

/// The whole document.
pub(in crate::http) fn document() -> Value {
    let mut generator = generator();
    let mut paths = Map::new();
    for operation in operations::all(&mut generator) {
        let (path, method) = (operation.path, operation.method);
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method] = operation.told();
    }
    generator.subschema_for::<problem::ProblemDetails>();
    let mut schemas = generator.take_definitions(true);
    schemas.extend(requests::schemas());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "order-engine",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "orders", "description": "Submit, follow and cancel orders." },
            { "name": "market", "description": "What could be traded, and for what." },
            { "name": "users", "description": "Who asks." },
            { "name": "sockets", "description": "Upgrades to WebSocket." },
            { "name": "engine", "description": "How the engine is." },
            { "name": "documents", "description": "What you read here." },
        ],
        "paths": paths,
        "components": { "schemas": schemas, "headers": headers(), "securitySchemes": security() },
    })
}

/// Makes schemas of what is answered, as it is written.
pub(in crate::http) fn generator() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.with(|settings| settings.definitions_path = "/components/schemas".into()).into_generator()
}

fn headers() -> Value {
    json!({
        "x-request-id": {
            "description": "Names the request in answers and logs: the client's own, where it sent a decent one.",
            "required": true,
            "schema": { "type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$" },
        },
        "location": {
            "description": "Where the order is asked for.",
            "schema": { "type": "string", "pattern": "^/api/orders/[0-9a-f-]{36}$" },
        },
        "retry-after": {
            "description": "So many seconds later the same request may succeed.",
            "schema": { "type": "integer", "minimum": 1 },
        },
        "ratelimit": {
            "description": "What is left, and in how many seconds there is more.",
            "schema": { "type": "string" },
            "example": "\"requests\";r=0;t=1",
        },
        "ratelimit-policy": {
            "description": "How many requests may be made at once, and within how many seconds all are there again.",
            "schema": { "type": "string" },
            "example": "\"requests\";q=1000;w=2",
        },
        "www-authenticate": { "description": "How to say who one is.", "schema": { "type": "string" } },
        "cache-control": { "description": "Who may keep the answer.", "schema": { "type": "string" } },
    })
}

fn security() -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The token of a login, or an API key (`oek_…`).",
        },
        "operator": {
            "type": "http",
            "scheme": "bearer",
            "description": "The setting metrics.token; a browser gives it as the password of any name.",
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::served;

    #[test]
    fn what_is_served_and_what_is_told_are_the_same() {
        let served: BTreeSet<_> = served()
            .iter()
            .flat_map(|at| at.methods().iter().map(|method| format!("{method} {}", at.path())).collect::<Vec<_>>())
            .collect();
        let document = document();
        let told: BTreeSet<_> =
            operations(&document).map(|(path, method, _)| format!("{} {path}", method.to_uppercase())).collect();
        assert_eq!(served, told);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_every_link_leads_to_one() {
        let document = document();
        let names: Vec<_> = operations(&document).map(|(_, _, told)| told["operationId"].as_str().unwrap()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        for (path, _, told) in operations(&document) {
            for answer in told["responses"].as_object().unwrap().values() {
                for link in answer["links"].as_object().into_iter().flat_map(|links| links.values()) {
                    assert!(names.contains(&link["operationId"].as_str().unwrap()), "{path} {link}");
                }
            }
        }
    }

    #[test]
    fn every_example_is_as_its_schema_says() {
        let document = document();
        let mut looked_at = 0;
        for (path, method, told) in operations(&document) {
            let answers = told["responses"].as_object().unwrap().values();
            for content in answers.chain([&told["requestBody"]]).filter_map(|told| told["content"].as_object()) {
                for content in content.values() {
                    for (name, example) in content["examples"].as_object().into_iter().flatten() {
                        let schema = whole(&content["schema"], &document);
                        let errors: Vec<_> =
                            schema.iter_errors(&example["value"]).map(|error| error.to_string()).collect();
                        assert!(errors.is_empty(), "{method} {path} {name}: {errors:?}");
                        looked_at += 1;
                    }
                }
            }
        }
        assert!(looked_at > 300, "{looked_at}");
    }

    fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
        let paths = document["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(method, told)| (path, method, told)))
    }

    /// A schema with all that it refers to.
    fn whole(schema: &Value, document: &Value) -> jsonschema::Validator {
        let mut schema = schema.clone();
        schema["components"] = document["components"].clone();
        jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
    }
}
