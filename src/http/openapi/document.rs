//! The OpenAPI document.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::config::PublicUrl;
use crate::http::openapi::{operation, requests};
use crate::http::operation::{Group, operations};
use crate::http::problem::ProblemDetails;

const DESCRIPTION: &str = "Executes swap orders on Solana DEXes. An order is accepted when it is durable; then it is \
                           routed to the best venue and swapped exactly once, and each step is published. Amounts are \
                           decimal strings. Times are RFC 3339 in UTC. Errors are RFC 9457 problems with a stable \
                           `code`. A path that is not served answers 404 `no_such_route`; a method that a path does \
                           not have answers 405 `method_not_allowed` with `Allow`. If requests are rate limited, every \
                           answer has the headers RateLimit and RateLimit-Policy. The messages of the WebSockets are \
                           described by /api/asyncapi.json.";

/// The document of these operations, for a server with that public URL.
pub(super) fn document(groups: &[Group], public_url: Option<&PublicUrl>) -> Value {
    let mut generator = generator();
    let mut paths = Map::new();
    for (position, operation) in operations(groups).iter().enumerate() {
        let item = paths.entry(operation.path).or_insert_with(|| json!({}));
        let mut object = operation::object(operation, &mut generator);
        // The paths are sorted by name, so the page needs another order to show what is tried first.
        object["x-position"] = json!(position);
        item[operation.method.as_str().to_ascii_lowercase()] = object;
    }
    generator.subschema_for::<ProblemDetails>();
    let mut schemas = generator.take_definitions(true);
    schemas.extend(requests::schemas());
    let tags = groups.iter().map(|group| json!({ "name": group.tag, "description": group.description }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "order-engine",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": servers(public_url),
        "tags": tags.collect::<Value>(),
        "paths": paths,
        "components": { "schemas": schemas, "headers": headers(), "securitySchemes": security() },
    })
}

/// The public URL, and the server from which the document was read.
fn servers(public_url: Option<&PublicUrl>) -> Value {
    let urls = public_url.map(PublicUrl::to_string).into_iter().chain(["/".to_owned()]);
    urls.map(|url| json!({ "url": url })).collect()
}

/// A generator for the schemas of answers, as they are serialized.
pub(super) fn generator() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.with(|settings| settings.definitions_path = "/components/schemas".into()).into_generator()
}

fn headers() -> Value {
    json!({
        "x-request-id": {
            "description": "Identifies the request in answers and logs: its own x-request-id, if that is valid.",
            "required": true,
            "schema": { "type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$" },
        },
        "location": {
            "description": "The path of the order.",
            "schema": { "type": "string", "pattern": "^/api/orders/[0-9a-f-]{36}$" },
        },
        "retry-after": {
            "description": "Seconds after which the same request may succeed.",
            "schema": { "type": "integer", "minimum": 1 },
        },
        "ratelimit": {
            "description": "The requests left (r), and the seconds until there are more (t).",
            "schema": { "type": "string" },
            "example": "\"requests\";r=0;t=1",
        },
        "ratelimit-policy": {
            "description": "The requests allowed at once (q), and the seconds until all of them are allowed again (w).",
            "schema": { "type": "string" },
            "example": "\"requests\";q=1000;w=2",
        },
        "www-authenticate": { "description": "The accepted authentication schemes.", "schema": { "type": "string" } },
        "cache-control": { "description": "Whether the answer may be kept.", "schema": { "type": "string" } },
    })
}

fn security() -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The token of a login, or an API key (`oek_…`). The scope is the one that the user, and an API key, needs.",
        },
        "operator": {
            "type": "http",
            "scheme": "bearer",
            "description": "The setting metrics.token. A browser sends it as the password of any username.",
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::routes::GROUPS;

    #[test]
    fn every_operation_is_in_the_document_once() {
        let document = document(&GROUPS, None);
        let mut in_document: Vec<_> =
            documented(&document).map(|(path, method, _)| (path.clone(), method.to_uppercase())).collect();
        let mut served: Vec<_> = operations(&GROUPS)
            .into_iter()
            .map(|operation| (operation.path.to_owned(), operation.method.to_string()))
            .collect();
        served.sort();
        in_document.sort();
        assert_eq!(served, in_document);
    }

    #[test]
    fn a_submit_comes_first_and_nothing_is_cancelled_before_the_reads() {
        let document = document(&GROUPS, None);
        let mut orders: Vec<_> = documented(&document)
            .filter(|(_, _, object)| object["tags"][0] == "orders")
            .map(|(.., object)| object)
            .collect();
        orders.sort_by_key(|object| object["x-position"].as_u64());
        let names: Vec<_> = orders.iter().map(|object| object["operationId"].as_str().unwrap()).collect();
        assert_eq!((document["tags"][0]["name"].as_str(), names[0]), (Some("orders"), "submitOrder"));
        let position = |name: &str| names.iter().position(|known| *known == name).unwrap();
        for read in ["getOrder", "getOrderEvents", "listOrders"] {
            for destructive in ["cancelOrder", "deleteOrder", "cancelAllOrders", "deleteAllOrders"] {
                assert!(position(read) < position(destructive), "{names:?}");
            }
        }
    }

    #[test]
    fn the_first_example_of_a_submit_is_an_order_and_a_dry_run_is_marked() {
        let document = document(&GROUPS, None);
        let examples =
            &document["paths"]["/api/orders"]["post"]["requestBody"]["content"]["application/json"]["examples"];
        let examples: Vec<_> = examples.as_object().unwrap().values().collect();
        assert_eq!(examples[0]["summary"], "An order");
        for example in examples {
            let is_dry = example["value"]["dryRun"] == true;
            assert_eq!(is_dry, example["summary"].as_str().unwrap().starts_with("A dry run"), "{example}");
        }
    }

    #[test]
    fn every_operation_has_a_unique_name_and_every_link_leads_to_one() {
        let document = document(&GROUPS, None);
        let names: Vec<_> =
            documented(&document).map(|(_, _, object)| object["operationId"].as_str().unwrap()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        for (path, _, object) in documented(&document) {
            assert_ne!(object["summary"], "", "{path}");
            for answer in object["responses"].as_object().unwrap().values() {
                for link in answer["links"].as_object().into_iter().flat_map(|links| links.values()) {
                    assert!(names.contains(&link["operationId"].as_str().unwrap()), "{path} {link}");
                }
            }
        }
    }

    #[test]
    fn every_example_is_valid_for_its_schema() {
        let document = document(&GROUPS, None);
        let mut checked = 0;
        for (path, method, object) in documented(&document) {
            let answers = object["responses"].as_object().unwrap().values();
            for content in answers.chain([&object["requestBody"]]).filter_map(|body| body["content"].as_object()) {
                for content in content.values() {
                    for (name, example) in content["examples"].as_object().into_iter().flatten() {
                        let schema = validator(&content["schema"], &document);
                        let errors: Vec<_> =
                            schema.iter_errors(&example["value"]).map(|error| error.to_string()).collect();
                        assert!(errors.is_empty(), "{method} {path} {name}: {errors:?}");
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked > 300, "{checked}");
    }

    fn documented(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
        let paths = document["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(move |(method, object)| (path, method, object))
        })
    }

    /// A validator of a schema, with the schemas that it refers to.
    fn validator(schema: &Value, document: &Value) -> jsonschema::Validator {
        let mut schema = schema.clone();
        schema["components"] = document["components"].clone();
        jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
    }
}
