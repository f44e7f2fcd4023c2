//! The documents (OpenAPI, AsyncAPI, Postman, `/docs`) against what is served.

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client, order};
use crate::support::os::free_address;
use crate::support::process::{SWIFT, Server};
use crate::support::socket::Socket;

#[actix::test]
async fn every_document_is_served_and_the_docs_page_loads_nothing_from_other_servers() {
    let server = Server::start(SWIFT);
    for (path, name, version) in [
        ("/api/openapi.json", "openapi", "3.1.0"),
        ("/docs/openapi.json", "openapi", "3.1.0"),
        ("/api/asyncapi.json", "asyncapi", "3.0.0"),
    ] {
        let answer = server.client.get(path).await;
        assert_eq!((answer.status, &answer.body[name]), (200, &json!(version)), "{path}");
    }
    let postman = server.client.get("/api/postman.json").await;
    assert!(postman.body["info"]["schema"].as_str().unwrap().contains("v2.1.0"));
    let page = server.client.get("/docs").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").unwrap().contains("script-src 'self';"));
    let html = page.body.as_str().unwrap();
    let files: Vec<_> = html.split('"').filter(|text| text.starts_with("docs/")).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        assert_eq!(server.client.get(&format!("/{file}")).await.status, 200, "{file}");
    }
    assert_eq!(server.client.get("/docs/other.js").await.body["code"], "no_such_route");
}

#[actix::test]
async fn the_docs_page_and_the_metrics_require_the_operators_token_also_from_a_browser() {
    let server = Server::start(SWIFT.into_iter().chain([("metrics.token", "a-token-of-the-operator")]));
    // Any username, with the token as the password.
    let (right, wrong) = ("Basic YW55b25lOmEtdG9rZW4tb2YtdGhlLW9wZXJhdG9y", "Basic YW55b25lOndyb25n");
    for path in ["/docs", "/docs/start.js", "/metrics"] {
        let wrong = server.client.get_with(path, &[("authorization", wrong)]).await;
        assert_eq!(wrong.status, 401, "{path}");
        let right = server.client.get_with(path, &[("authorization", right)]).await;
        assert_eq!(right.status, 200, "{path}");
        assert_eq!(right.header("www-authenticate"), None, "{path}");
        let refused = server.client.get(path).await;
        assert_eq!((refused.status, &refused.body["code"]), (401, &json!("unauthenticated")), "{path}");
        let challenges = refused.headers.iter().filter(|(name, _)| name == "www-authenticate");
        let schemes: Vec<_> = challenges.map(|(_, value)| value.split(' ').next().unwrap()).collect();
        assert_eq!(schemes, ["Bearer", "Basic"], "{path}");
        assert_eq!(server.client.with("a-token-of-the-operator").get(path).await.status, 200, "{path}");
    }
    assert_eq!(server.client.get("/api/openapi.json").await.status, 200);
}

/// The page sends the first example of a body, and of each parameter what it has filled in.
#[actix::test]
async fn an_example_is_accepted_as_the_page_sends_it() {
    let server = Server::start(SWIFT);
    let document = server.client.get("/api/openapi.json").await.body;
    let alice = server.client.registered("bob").await;
    for (path, method, status) in [
        ("/api/orders", "post", 201),
        ("/api/orders/execute", "post", 201),
        ("/api/quotes", "get", 200),
        ("/api/auth/register", "post", 201),
        ("/api/auth/login", "post", 200),
        ("/api/auth/keys", "post", 201),
        ("/api/orders/cancel", "post", 200),
    ] {
        let operation = &document["paths"][path][method];
        assert!(operation.is_object(), "{method} {path}");
        let filled = operation["parameters"].as_array().into_iter().flatten().filter_map(|parameter| {
            Some(format!("{}={}", parameter["name"].as_str()?, parameter["example"].as_str()?))
        });
        let query = filled.collect::<Vec<_>>().join("&");
        let examples = operation["requestBody"]["content"]["application/json"]["examples"].as_object();
        let body = examples.and_then(|examples| examples.values().next()).map(|example| example["value"].clone());
        let url = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let answer = match body {
            Some(body) => alice.post(&url, &body).await,
            None => alice.get(&url).await,
        };
        assert_eq!(answer.status, status, "{method} {url}: {answer:?}");
    }
}

#[actix::test]
async fn the_docs_page_is_served_at_the_operators_address_only() {
    let free = free_address();
    let server = Server::start(SWIFT.into_iter().chain([("metrics.bind", free.to_string().as_str())]));
    let operator = Client::of(&format!("http://{free}"));
    for path in ["/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/openapi.json"] {
        assert_eq!(operator.get(path).await.status, 200, "{path}");
        assert_eq!(server.client.get(path).await.body["code"], "no_such_route", "{path}");
    }
}

#[actix::test]
async fn a_method_that_is_not_allowed_is_answered_with_the_allowed_ones() {
    let server = Server::start(SWIFT);
    let answer = server.client.request("PUT", "/api/orders", &[], "").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST, GET, DELETE, HEAD")));
}

/// Calls every operation with a valid path, and compares each answer with what the document says.
async fn call_every_operation(client: &Client, check: impl Fn(&str, &Value, &Answer)) {
    let document = client.get("/api/openapi.json").await.body;
    let id = uuid::Uuid::now_v7().to_string();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let path = path.replace("{id}", &id).replace("{file}", "start.js");
            let answer = match (method.as_str(), path.as_str()) {
                ("post", _) => client.post(&path, &json!({})).await,
                ("get", "/api/orders/execute") => client.get(&format!("{path}?orderId={id}")).await,
                _ => client.request(&method.to_uppercase(), &path, &[], "").await,
            };
            check(&format!("{method} {path}"), operation, &answer);
        }
    }
}

#[actix::test]
async fn every_operation_requires_the_credential_that_the_document_says() {
    let settings = [("auth.required", "true"), ("metrics.token", "a-token-of-the-operator")];
    let server = Server::start(SWIFT.into_iter().chain(settings));
    call_every_operation(&server.client, |operation, document, answer| {
        assert_eq!(answer.status == 401, document["security"] != json!([]), "{operation}: {answer:?}");
    })
    .await;
}

#[actix::test]
async fn an_api_key_may_do_what_the_document_says_for_its_scope() {
    let server = Server::start(SWIFT);
    let alice = server.client.registered("alice").await;
    for (scope, other) in [("read", "trade"), ("trade", "read")] {
        let key = alice.post("/api/auth/keys", &json!({ "name": scope, "scopes": [scope] })).await.body;
        let client = server.client.with(key["key"].as_str().unwrap());
        call_every_operation(&client, |operation, document, answer| {
            let needs = document["security"][0]["bearer"][0].as_str();
            let refuses_keys = document["responses"]["403"].to_string().contains("login_required");
            assert_eq!(answer.body["code"] == "missing_scope", needs == Some(other), "{operation}: {answer:?}");
            assert_eq!(answer.body["code"] == "login_required", refuses_keys, "{operation}: {answer:?}");
        })
        .await;
    }
}

#[actix::test]
async fn a_dry_run_that_is_neither_true_nor_false_is_refused_also_where_it_is_given_twice() {
    let server = Server::start(SWIFT);
    for (path, field) in [("/api/orders?dryRun=null", true), ("/api/orders?dryRun=true&dryRun=null", false)] {
        let answer = server.client.post(path, &order(json!({ "dryRun": field }))).await;
        assert_eq!((answer.status, &answer.body["errors"][0]["field"]), (400, &json!("dryRun")), "{path}");
    }
}

/// A conversation in which every message of the document occurs, each valid by its schema.
#[actix::test]
async fn every_socket_message_is_in_the_asyncapi_document_and_valid_by_its_schema() {
    let server = Server::start(SWIFT);
    let talk = &mut Conversation::of(&server).await;
    let submitted = talk.ask("submit", json!({ "order": order(json!({})), "idempotencyKey": "one" })).await;
    let id = &submitted["orderId"];
    server.client.until_ended(id.as_str().unwrap()).await;
    talk.ask("submit", json!({ "order": order(json!({ "dryRun": true })) })).await;
    talk.ask("subscribe", json!({ "orderId": id, "afterSeq": 1 })).await;
    talk.until("order:snapshot").await;
    talk.ask("unsubscribe", json!({ "orderId": id })).await;
    talk.ask("cancel", json!({ "orderId": id })).await;
    talk.ask("cancel", json!({ "orderId": uuid::Uuid::now_v7() })).await;
    talk.ask("ping", json!({})).await;
    talk.ask("subscribe", json!({ "channel": "orders" })).await;
    server.client.submit(json!({})).await;
    talk.until("order:update").await;
    talk.ask("unsubscribe", json!({ "channel": "orders" })).await;
    talk.send_an_unknown_type().await;

    // An order that can be cancelled, because the only slot is taken.
    let busy = Server::start([("orders.max_concurrent", "1"), ("simulation.quote_latency_ms", "600000")]);
    busy.client.submit(json!({})).await;
    let waiting = busy.client.submit(json!({})).await.order_id();
    let mut other = Conversation::of(&busy).await;
    other.ask("cancel", json!({ "orderId": waiting })).await;

    talk.seen.append(&mut other.seen);
    assert_eq!(talk.seen, talk.known);
}

/// A socket for many orders that checks every message against the document.
struct Conversation {
    socket: Socket,
    document: Value,
    /// The types of all messages of the document.
    known: BTreeSet<String>,
    /// The types of the messages that were sent or received so far.
    seen: BTreeSet<String>,
}

impl Conversation {
    async fn of(server: &Server) -> Self {
        let document = server.client.get("/api/asyncapi.json").await.body;
        let messages = document["components"]["messages"].as_object().unwrap();
        let known = messages.values().map(|message| message["examples"][0]["payload"]["type"].as_str().unwrap());
        let known = known.map(str::to_owned).collect();
        Self { socket: server.client.socket("/ws").await, document, known, seen: BTreeSet::new() }
    }

    async fn ask(&mut self, r#type: &str, mut message: Value) -> Value {
        let request_id = json!(uuid::Uuid::new_v4().to_string());
        (message["type"], message["requestId"]) = (json!(r#type), request_id.clone());
        self.check(&message);
        self.socket.send(&message).await;
        self.receive(|received| received["requestId"] == request_id).await
    }

    async fn until(&mut self, r#type: &str) {
        self.receive(|received| received["type"] == r#type).await;
    }

    async fn send_an_unknown_type(&mut self) {
        self.socket.send(&json!({ "type": "dance" })).await;
        self.until("error").await;
    }

    async fn receive(&mut self, condition: impl Fn(&Value) -> bool) -> Value {
        loop {
            let received = self.socket.next().await.unwrap();
            self.check(&received);
            if condition(&received) {
                return received;
            }
        }
    }

    /// Fails unless the document has a message of that type whose schema is satisfied.
    #[track_caller]
    fn check(&mut self, message: &Value) {
        let r#type = message["type"].as_str().unwrap();
        let messages = self.document["components"]["messages"].as_object().unwrap();
        let known = messages.values().find(|known| known["examples"][0]["payload"]["type"] == r#type);
        let known = known.unwrap_or_else(|| panic!("the document does not know {message}"));
        let errors: Vec<_> = self.schema(known).iter_errors(message).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{message}: {errors:?}");
        self.seen.insert(r#type.to_owned());
    }

    fn schema(&self, message: &Value) -> Validator {
        let mut payload = message["payload"].clone();
        payload["components"] = self.document["components"].clone();
        jsonschema::options().should_validate_formats(true).build(&payload).unwrap()
    }
}
