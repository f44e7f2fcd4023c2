//! An operation of the API: one method at one path.
//!
//! Each operation is one value, written in [`crate::http::routes`]. The server routes by it, and the OpenAPI document
//! and the Postman collection are made from it, so what is served and what is documented cannot differ.

use actix_web::http::Method;
use actix_web::{FromRequest, Handler, Responder, Route, web};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use crate::api::problem::ProblemCode;
use crate::domain::user::Scope;

/// One method at one path: who may call it, the handler, and its description.
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
    /// The handler.
    pub(super) route: Route,
    /// The handler for `HEAD`, which belongs to each `GET` except of a WebSocket.
    pub(super) head: Option<Route>,
    /// Whether a browser may keep the answer if it asks for it again each time (`Cache-Control: no-cache`). Every other
    /// answer must not be kept (`no-store`).
    pub(super) revalidated: bool,
    pub(super) tag: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: Option<&'static str>,
    /// Path, query and header parameters, as in OpenAPI.
    pub(super) parameters: Vec<Value>,
    pub(super) body: Body,
    pub(super) successes: Vec<Success>,
    /// Headers of every success.
    pub(super) headers: Vec<&'static str>,
    pub(super) links: Vec<Link>,
    /// The codes of the problems that this handler answers with, beside those that follow from the other fields.
    pub(super) problems: Vec<ProblemCode>,
}

/// The operations under one tag of the documents.
pub(super) struct Group {
    pub(super) tag: &'static str,
    pub(super) description: &'static str,
    pub(super) operations: fn() -> Vec<Operation>,
}

/// The operations of all groups.
pub(super) fn operations(groups: &[Group]) -> Vec<Operation> {
    let tagged = |group: &Group| {
        let tag = group.tag;
        (group.operations)().into_iter().map(move |operation| Operation { tag, ..operation })
    };
    groups.iter().flat_map(tagged).collect()
}

/// Who may call an operation. The handler enforces it; a test calls every operation and compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everyone. A credential is not read.
    Public,
    /// A user whose credential has this scope. A request without a credential is allowed unless `auth.required` is set.
    Scope(Scope),
    /// A user, by login token or API key.
    User,
    /// A user, by login token. An API key is not enough.
    Login,
    /// The operator. If the operator has an address of its own (`metrics.bind`), it is served only there.
    Operator,
}

/// Access with the scope `read`.
pub(super) const READ: Access = Access::Scope(Scope::Read);

/// Access with the scope `trade`.
pub(super) const TRADE: Access = Access::Scope(Scope::Trade);

/// The body of a request.
pub(super) enum Body {
    /// The handler does not read it.
    Ignored,
    /// Nothing, or an empty JSON object.
    Empty,
    /// A JSON object.
    Json {
        required: bool,
        /// The name of the schema.
        schema: &'static str,
        /// Names of examples.
        examples: &'static [&'static str],
    },
}

/// An answer without a problem.
pub(super) struct Success {
    pub(super) status: u16,
    pub(super) meaning: &'static str,
    pub(super) content: Content,
}

/// The body of an answer.
pub(super) enum Content {
    /// A JSON value, with the name of an example.
    Json { schema: fn(&mut SchemaGenerator) -> Value, example: &'static str },
    /// The `content` of an OpenAPI response.
    Other(Value),
    /// No body.
    None,
}

/// An operation that follows from an answer.
#[derive(Clone, Copy)]
pub(super) struct Link {
    /// The status of the answer.
    pub(super) status: u16,
    /// The `operationId` of the following operation.
    pub(super) operation: &'static str,
    /// The JSON pointer to the field of the answer that is its `id` parameter.
    pub(super) id: &'static str,
}

/// A `GET` operation. `HEAD` is served too; the server leaves out the body.
pub(super) fn get<F, Args>(path: &'static str, access: Access, handler: F) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let head = Some(web::head().to(handler.clone()));
    Operation { head, ..Operation::new(Method::GET, path, access, web::get().to(handler)) }
}

/// A WebSocket: a `GET` without `HEAD`.
pub(super) fn socket<F, Args>(path: &'static str, access: Access, handler: F) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Operation::new(Method::GET, path, access, web::get().to(handler))
}

/// A `POST` operation.
pub(super) fn post<F, Args>(path: &'static str, access: Access, handler: F) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Operation::new(Method::POST, path, access, web::post().to(handler))
}

/// A `DELETE` operation.
pub(super) fn delete<F, Args>(path: &'static str, access: Access, handler: F) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Operation::new(Method::DELETE, path, access, web::delete().to(handler))
}

impl Operation {
    fn new(method: Method, path: &'static str, access: Access, route: Route) -> Self {
        Self {
            method,
            path,
            access,
            route,
            head: None,
            revalidated: false,
            tag: "",
            id: "",
            summary: "",
            description: None,
            parameters: Vec::new(),
            body: Body::Ignored,
            successes: Vec::new(),
            headers: Vec::new(),
            links: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Sets the `operationId` and the summary.
    pub(super) fn named(self, id: &'static str, summary: &'static str) -> Self {
        Self { id, summary, ..self }
    }

    /// Sets the description.
    pub(super) fn described(self, description: &'static str) -> Self {
        Self { description: Some(description), ..self }
    }

    /// Lets a browser keep the answer if it asks for it again each time.
    pub(super) fn revalidated(self) -> Self {
        Self { revalidated: true, ..self }
    }

    /// Adds parameters.
    pub(super) fn takes(mut self, parameters: impl IntoIterator<Item = Value>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    /// Sets the body.
    pub(super) fn body(self, body: Body) -> Self {
        Self { body, ..self }
    }

    /// Adds an answer of type `T`. Two answers with one status are alternatives.
    pub(super) fn answers<T: JsonSchema>(self, status: u16, meaning: &'static str, example: &'static str) -> Self {
        let schema = |generator: &mut SchemaGenerator| generator.subschema_for::<T>().to_value();
        self.answers_with(status, meaning, Content::Json { schema, example })
    }

    /// Adds an answer.
    pub(super) fn answers_with(mut self, status: u16, meaning: &'static str, content: Content) -> Self {
        self.successes.push(Success { status, meaning, content });
        self
    }

    /// Adds a header to every success.
    pub(super) fn header(mut self, name: &'static str) -> Self {
        self.headers.push(name);
        self
    }

    /// Adds links from the answer with that status: `operationId`, and the pointer to its `id`.
    pub(super) fn links(mut self, status: u16, links: &[(&'static str, &'static str)]) -> Self {
        self.links.extend(links.iter().map(|&(operation, id)| Link { status, operation, id }));
        self
    }

    /// Adds problems of the handler.
    pub(super) fn problems(mut self, codes: impl IntoIterator<Item = ProblemCode>) -> Self {
        self.problems.extend(codes);
        self
    }

    /// Whether a request with any query is refused: an operation of the API without query parameters.
    ///
    /// Probes, pages and metrics ignore a query.
    pub(super) fn refuses_any_query(&self) -> bool {
        let takes_query = self.parameters.iter().any(|parameter| parameter["in"] == "query");
        !takes_query && self.is_api()
    }

    /// Whether it belongs to the API: not to the probes, pages and metrics of the operator.
    pub(super) fn is_api(&self) -> bool {
        self.path.starts_with("/api/") || self.path == "/ws" || self.path.starts_with("/ws/")
    }
}
