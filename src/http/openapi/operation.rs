//! One operation as an object of the OpenAPI document.

use std::collections::BTreeMap;

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use crate::http::openapi::examples::example;
use crate::http::openapi::problems::{self, ProblemKind};
use crate::http::operation::{Access, Body, Content, Operation, Success};

/// The operation object. Schemas of answers are added to the generator.
pub(super) fn object(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut object = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "security": security(operation.access),
        "responses": responses(operation, generator),
    });
    if let Some(description) = operation.description {
        object["description"] = json!(description);
    }
    if !operation.parameters.is_empty() {
        object["parameters"] = json!(operation.parameters);
    }
    if let Body::Json { required, schema, examples } = operation.body {
        let content = json!({ "schema": reference(schema), "examples": named(examples) });
        object["requestBody"] = json!({ "required": required, "content": { "application/json": content } });
    }
    object
}

/// The credential that a caller needs. `{}` means that a request without one is allowed, depending on the settings.
fn security(access: Access) -> Value {
    match access {
        Access::Public => json!([]),
        Access::Scope(scope) => json!([{ "bearer": [scope.name()] }, {}]),
        Access::User | Access::Login => json!([{ "bearer": [] }]),
        Access::Operator => json!([{ "operator": [] }, {}]),
    }
}

fn responses(operation: &Operation, generator: &mut SchemaGenerator) -> Map<String, Value> {
    let mut kinds: BTreeMap<u16, Vec<&ProblemKind>> = BTreeMap::new();
    for code in problems_of(operation) {
        let kinds = kinds.entry(ProblemKind::of(code).status).or_default();
        if !kinds.iter().any(|kind| kind.code == code) {
            kinds.push(ProblemKind::of(code));
        }
    }
    let mut responses: Map<_, _> =
        kinds.iter().map(|(status, kinds)| (status.to_string(), problem_response(*status, kinds))).collect();
    let mut successes: BTreeMap<u16, Vec<&Success>> = BTreeMap::new();
    for success in &operation.successes {
        successes.entry(success.status).or_default().push(success);
    }
    // These replace a problem of the same status: a probe answers 503 with a body of its own.
    for (status, successes) in successes {
        let response = success_response(operation, status, &successes, generator);
        responses.insert(status.to_string(), response);
    }
    responses
}

/// Every code that the operation may answer with.
fn problems_of(operation: &Operation) -> Vec<&'static str> {
    let of_access: &[&[&'static str]] = match operation.access {
        Access::Public => &[],
        Access::Scope(_) => &[problems::CREDENTIALS, &["missing_scope"]],
        Access::User => &[problems::CREDENTIALS],
        Access::Login => &[problems::CREDENTIALS, &["login_required"]],
        Access::Operator => &[&["unauthenticated"]],
    };
    let of_query: &[&'static str] = if operation.is_api() { &["invalid_request", "credential_in_url"] } else { &[] };
    let of_body: &[&'static str] = match operation.body {
        Body::Ignored => &[],
        Body::Empty | Body::Json { .. } => problems::BODY,
    };
    let of_access = of_access.concat();
    [&of_access[..], problems::BEFORE_ROUTING, of_query, of_body, &operation.problems].concat()
}

fn success_response(
    operation: &Operation,
    status: u16,
    successes: &[&Success],
    generator: &mut SchemaGenerator,
) -> Value {
    let meanings: Vec<_> = successes.iter().map(|success| success.meaning).collect();
    let mut response = json!({
        "description": meanings.join(", or "),
        "headers": headers([&["x-request-id", "cache-control"], operation.headers.as_slice()].concat()),
    });
    let (mut schemas, mut examples) = (Vec::new(), Vec::new());
    for success in successes {
        match &success.content {
            Content::Json { schema, example } => {
                schemas.push(schema(generator));
                examples.push(*example);
            }
            Content::Other(content) => response["content"] = content.clone(),
            Content::None => {}
        }
    }
    if !schemas.is_empty() {
        let schema = if schemas.len() == 1 { schemas.remove(0) } else { json!({ "anyOf": schemas }) };
        response["content"] = json!({ "application/json": { "schema": schema, "examples": named(&examples) } });
    }
    let links: Map<_, _> = operation
        .links
        .iter()
        .filter(|link| link.status == status)
        .map(|link| {
            let parameters = json!({ "id": format!("$response.body#{}", link.id) });
            (link.operation.to_owned(), json!({ "operationId": link.operation, "parameters": parameters }))
        })
        .collect();
    if !links.is_empty() {
        response["links"] = Value::Object(links);
    }
    response
}

/// All problems with one status.
fn problem_response(status: u16, kinds: &[&ProblemKind]) -> Value {
    let codes: Vec<_> = kinds.iter().map(|kind| kind.code).collect();
    let examples = kinds.iter().map(|kind| (kind.code.to_owned(), json!({ "value": kind.example() })));
    let further: &[&str] = match status {
        401 => &["www-authenticate"],
        429 => &["retry-after", "ratelimit", "ratelimit-policy"],
        503 if codes.contains(&"outcome_unknown") => &["retry-after", "location"],
        503 => &["retry-after"],
        _ => &[],
    };
    let schema = json!({
        "allOf": [reference("Problem")],
        "properties": { "status": { "const": status }, "code": { "enum": codes } },
    });
    json!({
        "description": codes.join(", "),
        "headers": headers([&["x-request-id"], further].concat()),
        "content": { "application/problem+json": { "schema": schema, "examples": Value::Object(examples.collect()) } },
    })
}

/// A reference to a schema.
pub(super) fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn headers(names: Vec<&str>) -> Value {
    let header = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    Value::Object(names.into_iter().map(|name| (name.to_owned(), header(name))).collect())
}

fn named(examples: &[&str]) -> Value {
    Value::Object(examples.iter().map(|&name| (name.to_owned(), json!({ "value": example(name) }))).collect())
}
