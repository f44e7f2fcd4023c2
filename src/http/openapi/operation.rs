//! One operation as an object of the OpenAPI document.

use std::collections::BTreeMap;

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use crate::api::problem::ProblemCode;
use crate::http::openapi::examples::{example, summary};
use crate::http::openapi::problems::{self, problem_example};
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
        let content = json!({ "schema": reference(schema), "examples": numbered(examples) });
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
    let mut problems: BTreeMap<u16, Vec<ProblemCode>> = BTreeMap::new();
    for code in problems_of(operation) {
        let codes = problems.entry(code.status()).or_default();
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    let mut responses: Map<_, _> =
        problems.iter().map(|(status, codes)| (status.to_string(), problem_response(*status, codes))).collect();
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
fn problems_of(operation: &Operation) -> Vec<ProblemCode> {
    let of_access: &[&[ProblemCode]] = match operation.access {
        Access::Public => &[],
        Access::Scope(_) => &[problems::CREDENTIALS, &[ProblemCode::MissingScope]],
        Access::User => &[problems::CREDENTIALS],
        Access::Login => &[problems::CREDENTIALS, &[ProblemCode::LoginRequired]],
        Access::Operator => &[&[ProblemCode::Unauthenticated]],
    };
    let of_query: &[ProblemCode] =
        if operation.is_api() { &[ProblemCode::InvalidRequest, ProblemCode::CredentialInUrl] } else { &[] };
    let of_body: &[ProblemCode] = match operation.body {
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
fn problem_response(status: u16, codes: &[ProblemCode]) -> Value {
    let names: Vec<_> = codes.iter().map(|code| code.name()).collect();
    let examples = codes.iter().map(|code| (code.name().to_owned(), json!({ "value": problem_example(*code) })));
    let further: &[&str] = match status {
        401 => &["www-authenticate"],
        429 => &["retry-after", "ratelimit", "ratelimit-policy"],
        503 if codes.contains(&ProblemCode::OutcomeUnknown) => &["retry-after", "location"],
        503 => &["retry-after"],
        _ => &[],
    };
    let schema = json!({
        "allOf": [reference("Problem")],
        "properties": { "status": { "const": status }, "code": { "enum": names } },
    });
    json!({
        "description": names.join(", "),
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

/// The examples of a request body. Names are sorted, so numbers keep the order, in which the page shows the first one.
fn numbered(examples: &[&str]) -> Value {
    let numbered = examples.iter().zip(1..).map(|(&name, number)| {
        let mut object = json!({ "value": example(name) });
        if let Some(summary) = summary(name) {
            object["summary"] = json!(summary);
        }
        (format!("{number}-{name}"), object)
    });
    Value::Object(numbered.collect())
}

fn named(examples: &[&str]) -> Value {
    Value::Object(examples.iter().map(|&name| (name.to_owned(), json!({ "value": example(name) }))).collect())
}
