//! One operation of the OpenAPI document, put together in plain words.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::http::openapi::problems::{AT_THE_DOOR, NOT_LET_IN, ProblemKind};

/// What one method of one path takes and answers.
pub(in crate::http) struct Operation {
    pub(in crate::http) method: &'static str,
    pub(in crate::http) path: &'static str,
    tag: &'static str,
    id: &'static str,
    summary: &'static str,
    description: Option<&'static str>,
    security: Value,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Value>,
    refusals: Vec<&'static str>,
}

/// What a good answer says.
pub(in crate::http) struct SuccessResponse {
    pub(in crate::http) status: u16,
    pub(in crate::http) means: &'static str,
    pub(in crate::http) schema: Value,
    pub(in crate::http) examples: Vec<(&'static str, Value)>,
}

impl Operation {
    pub(in crate::http) fn new(
        method: &'static str,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            path,
            tag: "",
            id,
            summary,
            description: None,
            security: json!([]),
            parameters: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
            refusals: AT_THE_DOOR.to_vec(),
        }
        .refuses_strange_parameters()
    }

    /// What takes no parameters in the query refuses them, as what takes some refuses all others.
    fn refuses_strange_parameters(self) -> Self {
        if self.path.starts_with("/api/") { self.refuses(&["invalid_request", "credential_in_url"]) } else { self }
    }

    pub(in crate::http) fn tagged(mut self, tag: &'static str) -> Self {
        self.tag = tag;
        self
    }

    pub(in crate::http) fn about(mut self, description: &'static str) -> Self {
        self.description = Some(description);
        self
    }

    /// Callers say who they are where the server wants it (`auth.required`).
    pub(in crate::http) fn for_callers(mut self) -> Self {
        self.security = json!([{ "bearer": [] }, {}]);
        self.refuses(NOT_LET_IN)
    }

    /// Callers say who they are, everywhere.
    pub(in crate::http) fn for_users(mut self) -> Self {
        self.security = json!([{ "bearer": [] }]);
        self.refuses(NOT_LET_IN)
    }

    /// Whoever runs the engine has the token, where there is one.
    pub(in crate::http) fn for_operators(mut self) -> Self {
        self.security = json!([{ "operator": [] }, {}]);
        self.refuses(&["unauthenticated"])
    }

    pub(in crate::http) fn takes(mut self, parameters: impl IntoIterator<Item = Value>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    pub(in crate::http) fn takes_body(mut self, required: bool, schema: &str, examples: &[(&str, Value)]) -> Self {
        let content = json!({ "schema": reference(schema), "examples": named(examples) });
        self.body = Some(json!({ "required": required, "content": { "application/json": content } }));
        self.refuses(crate::http::openapi::problems::BODY)
    }

    /// No body, or an object without fields.
    pub(in crate::http) fn takes_no_body(self) -> Self {
        self.refuses(crate::http::openapi::problems::BODY)
    }

    pub(in crate::http) fn answers(self, answer: SuccessResponse) -> Self {
        let content = json!({ "schema": answer.schema, "examples": named(&answer.examples) });
        self.answers_with(answer.status, answer.means, json!({ "application/json": content }))
    }

    /// A good answer that is no JSON.
    pub(in crate::http) fn answers_with(mut self, status: u16, means: &'static str, content: Value) -> Self {
        let mut answer = json!({ "description": means, "headers": headers(&["x-request-id"]) });
        if content != json!({}) {
            answer["content"] = content;
        }
        self.answers.insert(status, answer);
        self
    }

    /// Good answers carry those headers too.
    pub(in crate::http) fn tells(mut self, names: &[&'static str]) -> Self {
        for answer in self.answers.values_mut() {
            for name in names {
                answer["headers"][*name] = header(name);
            }
        }
        self
    }

    /// From that answer it goes on to other operations: the name of each, and where its parameter stands in the answer.
    pub(in crate::http) fn leads_to(
        mut self,
        status: u16,
        links: &[(&'static str, &'static str, &'static str)],
    ) -> Self {
        let answer = self.answers.get_mut(&status).expect("the answer is told before what follows from it");
        let links = links.iter().map(|(id, parameter, place)| {
            let link = json!({ "operationId": id, "parameters": { *parameter: format!("$response.body#{place}") } });
            ((*id).to_owned(), link)
        });
        answer["links"] = Value::Object(links.collect());
        self
    }

    pub(in crate::http) fn refuses(mut self, codes: &[&'static str]) -> Self {
        for code in codes {
            if !self.refusals.contains(code) {
                self.refusals.push(code);
            }
        }
        self
    }

    /// As it stands in the document.
    pub(in crate::http) fn told(self) -> Value {
        let mut kinds: BTreeMap<u16, Vec<&ProblemKind>> = BTreeMap::new();
        for code in &self.refusals {
            let kind = ProblemKind::of(code);
            kinds.entry(kind.status).or_default().push(kind);
        }
        let mut responses = Map::new();
        for (status, kinds) in kinds {
            // A probe tells the same status in its own words.
            if !self.answers.contains_key(&status) {
                responses.insert(status.to_string(), refusal(status, &kinds));
            }
        }
        responses.extend(self.answers.into_iter().map(|(status, answer)| (status.to_string(), answer)));
        let mut told = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "security": self.security,
            "responses": responses,
        });
        if let Some(description) = self.description {
            told["description"] = json!(description);
        }
        if !self.parameters.is_empty() {
            told["parameters"] = json!(self.parameters);
        }
        if let Some(body) = self.body {
            told["requestBody"] = body;
        }
        told
    }
}

/// All errors of one status.
fn refusal(status: u16, kinds: &[&ProblemKind]) -> Value {
    let codes: Vec<_> = kinds.iter().map(|kind| kind.code).collect();
    let examples = kinds.iter().map(|kind| (kind.code.to_owned(), json!({ "value": kind.example() })));
    let own = match status {
        401 => headers(&["x-request-id", "www-authenticate"]),
        429 => headers(&["x-request-id", "retry-after", "ratelimit", "ratelimit-policy"]),
        503 if codes.contains(&"outcome_unknown") => headers(&["x-request-id", "retry-after", "location"]),
        503 => headers(&["x-request-id", "retry-after"]),
        _ => headers(&["x-request-id"]),
    };
    let schema = json!({
        "allOf": [reference("Problem")],
        "properties": { "status": { "const": status }, "code": { "enum": codes } },
    });
    json!({
        "description": codes.join(", "),
        "headers": own,
        "content": { "application/problem+json": { "schema": schema, "examples": Value::Object(examples.collect()) } },
    })
}

/// A schema by its name.
pub(in crate::http) fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn headers(names: &[&str]) -> Value {
    Value::Object(names.iter().map(|name| ((*name).to_owned(), header(name))).collect())
}

fn header(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

fn named(examples: &[(&str, Value)]) -> Value {
    Value::Object(examples.iter().map(|(name, value)| ((*name).to_owned(), json!({ "value": value }))).collect())
}
