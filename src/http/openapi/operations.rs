//! Every operation that is served over HTTP.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::api::views::{OrderView, TimelineView};
use crate::http::openapi::examples::example;
use crate::http::openapi::operation::{Operation, SuccessResponse};
use crate::http::openapi::problems::NO_QUOTES;
use crate::http::openapi::requests;
use crate::http::routes::{auth, cancel_all, dry_run, health, orders, quotes, stats, tokens};

/// All of them, in the order in which a reader wants them.
pub(in crate::http) fn all(generator: &mut SchemaGenerator) -> Vec<Operation> {
    let mut all = Vec::new();
    all.extend(of_orders(generator).map(|operation| operation.tagged("orders")));
    all.extend(of_market(generator).map(|operation| operation.tagged("market")));
    all.extend(of_users(generator).map(|operation| operation.tagged("users")));
    all.extend(of_sockets().map(|operation| operation.tagged("sockets")));
    all.extend(of_engine(generator).map(|operation| operation.tagged("engine")));
    all.extend(of_documents().map(|operation| operation.tagged("documents")));
    all
}

/// An answer of that type.
fn answer<T: JsonSchema>(
    generator: &mut SchemaGenerator,
    status: u16,
    means: &'static str,
    name: &'static str,
) -> SuccessResponse {
    SuccessResponse {
        status,
        means,
        schema: generator.subschema_for::<T>().to_value(),
        examples: vec![(name, example(name))],
    }
}

const OF_AN_ORDER: &[(&str, &str, &str)] = &[
    ("getOrder", "id", "/orderId"),
    ("getOrderEvents", "id", "/orderId"),
    ("cancelOrder", "id", "/orderId"),
    ("deleteOrder", "id", "/orderId"),
];

fn of_orders(generator: &mut SchemaGenerator) -> impl Iterator<Item = Operation> {
    let mut submit = |path, id, summary| {
        let mut known = answer::<orders::Submitted>(generator, 200, "known already, or a dry run", "submitted");
        let dry_run = answer::<dry_run::DryRun>(generator, 200, "a dry run", "dryRun");
        known.schema = json!({ "anyOf": [known.schema, dry_run.schema] });
        known.examples.extend(dry_run.examples);
        Operation::new("post", path, id, summary)
            .about(
                "201 is sent after the order is durable. Where the answer is lost, the same key tells a repeat from a \
                 new order.",
            )
            .for_callers()
            .takes(requests::of_submit())
            .takes_body(
                true,
                "OrderRequest",
                &["orderRequest", "otherNames", "everything", "dryRunRequest"].map(|name| (name, example(name))),
            )
            .answers(answer::<orders::Submitted>(generator, 201, "the order is accepted", "submitted"))
            .answers(known)
            .tells(&["location"])
            .leads_to(201, OF_AN_ORDER)
            .refuses(&["invalid_request", "missing_scope", "idempotency_mismatch", "idempotency_key_reused"])
            .refuses(&[
                "too_many_open_orders",
                "too_many_open_orders_of_user",
                "stopping",
                "not_accepted",
                "outcome_unknown",
                "order_unreadable",
            ])
    };
    let submits = [
        submit("/api/orders", "submitOrder", "Submit an order"),
        submit("/api/orders/execute", "executeOrder", "Submit an order, at the path that other clients know"),
    ];
    let mut list = |path, id, summary, example| {
        Operation::new("get", path, id, summary)
            .for_callers()
            .takes(requests::of_list())
            .answers(answer::<orders::PageView>(generator, 200, "newest first", example))
            .refuses(&["invalid_request", "missing_scope", "unavailable"])
    };
    let lists = [
        list("/api/orders", "listOrders", "List one's orders", "page"),
        list("/api/orders/history", "listHistory", "The same list, as other clients know it", "history"),
    ];
    let mut one = |path, id, summary, parameter| {
        Operation::new("get", path, id, summary)
            .for_callers()
            .takes([parameter])
            .answers(answer::<OrderView>(generator, 200, "the order as it stands", "order"))
            .leads_to(200, &OF_AN_ORDER[1..])
            .refuses(&["invalid_request", "missing_scope", "order_not_found", "order_unreadable", "unavailable"])
    };
    let ones = [
        one("/api/orders/{id}", "getOrder", "Get an order", requests::id("order")),
        one(
            "/api/orders/by-client-id/{id}",
            "getOrderByClientId",
            "Get the order of a clientOrderId",
            requests::client_order_id(),
        ),
    ];
    let events = Operation::new("get", "/api/orders/{id}/events", "getOrderEvents", "Get an order's whole timeline")
        .for_callers()
        .takes([requests::id("order")])
        .answers(answer::<TimelineView>(generator, 200, "every step, quote and decision", "timeline"))
        .refuses(&["invalid_request", "missing_scope", "order_not_found", "order_unreadable", "unavailable"]);
    let mut cancel = |method, path, id| {
        Operation::new(method, path, id, "Cancel an order")
            .about("Cancelling a cancelled order is no error; once its swap is signed it is too late.")
            .for_callers()
            .takes([requests::id("order")])
            .takes_no_body()
            .answers(answer::<orders::Cancelled>(generator, 200, "the order is cancelled", "cancelled"))
            .leads_to(200, &OF_AN_ORDER[..2])
            .refuses(&["invalid_request", "missing_scope", "order_not_found"])
            .refuses(&["too_late", "already_ended", "order_unreadable", "unavailable"])
    };
    let cancels =
        [cancel("post", "/api/orders/{id}/cancel", "cancelOrder"), cancel("delete", "/api/orders/{id}", "deleteOrder")];
    let mut cancel_all = |method, path, id| {
        Operation::new(method, path, id, "Cancel all of one's open orders")
            .about("Each order is said what became of; orders submitted after the request has begun are left alone.")
            .for_callers()
            .takes(requests::of_cancel_all())
            .takes_body(false, "CancelFilter", &[("cancelFilter", example("cancelFilter"))])
            .answers(answer::<cancel_all::CancelledAll>(generator, 200, "what became of each", "cancelledAll"))
            .refuses(&["invalid_request", "missing_scope", "unavailable"])
    };
    let cancels_all = [
        cancel_all("post", "/api/orders/cancel", "cancelAllOrders"),
        cancel_all("delete", "/api/orders", "deleteAllOrders"),
    ];
    submits.into_iter().chain(lists).chain(ones).chain([events]).chain(cancels).chain(cancels_all)
}

fn of_market(generator: &mut SchemaGenerator) -> impl Iterator<Item = Operation> {
    let quotes = Operation::new("get", "/api/quotes", "getQuotes", "Ask every venue for a quote")
        .about("Side by side, the best first, and why it is the best. Orders never use these quotes.")
        .for_callers()
        .takes(requests::of_quotes())
        .answers(answer::<quotes::Quotes>(generator, 200, "each venue's offer", "quotes"))
        .refuses(&["invalid_request", "missing_scope"])
        .refuses(NO_QUOTES);
    let tokens = Operation::new("get", "/api/tokens", "getTokens", "The tokens that may be named by symbol")
        .answers(answer::<tokens::Tokens>(generator, 200, "the token list", "tokens"));
    [quotes, tokens].into_iter()
}

fn of_users(generator: &mut SchemaGenerator) -> impl Iterator<Item = Operation> {
    let mut login = |path, id, summary, statuses: &[(u16, &'static str)], refusals| {
        let operation = Operation::new("post", path, id, summary)
            .takes_body(true, "Credentials", &[("credentials", example("credentials"))])
            .refuses(&["invalid_request", "too_many_attempts", "busy", "unavailable"])
            .refuses(refusals);
        let answers =
            statuses.iter().map(|(status, means)| answer::<auth::LoginView<'_>>(generator, *status, means, "login"));
        answers.fold(operation, Operation::answers).tells(&["cache-control"])
    };
    let (made, known) = ((201, "the account is made"), (200, "welcome back"));
    let logins = [
        login(
            "/api/auth",
            "enter",
            "Log in, or make the account where there is none",
            &[made, known],
            &["invalid_credentials", "registration_closed"],
        ),
        login("/api/auth/register", "register", "Make an account", &[made], &["username_taken", "registration_closed"]),
        login("/api/auth/login", "logIn", "Log in", &[known], &["invalid_credentials"]),
    ];
    let others = [
        Operation::new("post", "/api/auth/logout", "logOut", "Make the token worthless")
            .about("The sockets that were opened with it are closed.")
            .for_users()
            .takes_no_body()
            .answers(answer::<auth::OkView>(generator, 200, "the token is worth nothing any more", "done"))
            .refuses(&["login_required", "unavailable"]),
        Operation::new("get", "/api/auth/me", "getMe", "Who asks")
            .for_users()
            .answers(answer::<auth::UserView<'_>>(generator, 200, "the user and what the credential may do", "user"))
            .refuses(&["unavailable"]),
        Operation::new("post", "/api/auth/keys", "createKey", "Make an API key")
            .for_users()
            .takes_body(true, "NewKeyRequest", &[("newKeyRequest", example("newKeyRequest"))])
            .answers(answer::<auth::NewKeyView<'_>>(generator, 201, "the key, which is never told again", "newKey"))
            .tells(&["cache-control"])
            .leads_to(201, &[("revokeKey", "id", "/id")])
            .refuses(&["invalid_request", "login_required", "too_many_keys", "unavailable"]),
        Operation::new("get", "/api/auth/keys", "listKeys", "List one's API keys")
            .for_users()
            .answers(answer::<auth::KeysView<'_>>(
                generator,
                200,
                "the keys, without what makes them worth something",
                "keys",
            ))
            .refuses(&["login_required", "unavailable"]),
        Operation::new("delete", "/api/auth/keys/{id}", "revokeKey", "Revoke an API key")
            .for_users()
            .takes([requests::id("key")])
            .takes_no_body()
            .answers(answer::<auth::OkView>(generator, 200, "the key is worth nothing any more", "done"))
            .refuses(&["invalid_request", "login_required", "key_not_found", "unavailable"]),
        Operation::new("post", "/api/auth/ticket", "createTicket", "Make a ticket that opens one socket")
            .about("For browsers, which cannot send a header with an upgrade: `?ticket=`, within 30 seconds.")
            .for_users()
            .takes_no_body()
            .answers(answer::<auth::TicketView<'_>>(generator, 201, "the ticket", "ticket"))
            .tells(&["cache-control"])
            .refuses(&["too_many_tickets", "unavailable"]),
    ];
    logins.into_iter().chain(others)
}

fn of_sockets() -> impl Iterator<Item = Operation> {
    let socket = |path, id, summary, parameters: Vec<Value>| {
        Operation::new("get", path, id, summary)
            .about("What is said on the socket stands in /api/asyncapi.json.")
            .for_callers()
            .takes(parameters)
            .answers_with(101, "the connection is a WebSocket from here on", json!({}))
            .refuses(&["invalid_request", "no_websocket", "missing_scope", "too_many_sockets"])
    };
    let of_path = |path, id, summary| {
        socket(path, id, summary, [vec![requests::id("order")], requests::of_socket(true)].concat())
    };
    [
        socket("/ws", "openSocket", "Follow and submit many orders", requests::of_socket(true)),
        of_path("/ws/orders/{id}", "followOrder", "Follow an order to its end"),
        of_path("/api/orders/{id}/stream", "streamOrder", "Follow an order, at the path that other clients know"),
        socket(
            "/api/orders/execute",
            "followOrderByQuery",
            "Follow the order of ?orderId=, as other clients do",
            requests::of_socket(true),
        ),
    ]
    .into_iter()
}

fn of_engine(generator: &mut SchemaGenerator) -> impl Iterator<Item = Operation> {
    let stats = Operation::new("get", "/api/stats", "getStats", "Figures since the start")
        .for_callers()
        .answers(answer::<stats::Stats>(generator, 200, "the figures", "stats"))
        .refuses(&["missing_scope", "unavailable"]);
    let mut health = |path, id| {
        Operation::new("get", path, id, "How the engine is").answers(answer::<health::Health>(
            generator,
            200,
            "in figures, always",
            "health",
        ))
    };
    let healths = [health("/health", "getHealth"), health("/api/health", "getApiHealth")];
    let mut live = |path, id| {
        Operation::new("get", path, id, "Whether the process can go on")
            .answers(answer::<health::LiveView>(generator, 200, "it can", "live"))
            .answers(answer::<health::LiveView>(generator, 503, "start it again", "notLive"))
    };
    let lives = [live("/live", "getLive"), live("/api/live", "getApiLive")];
    let mut ready = |path, id| {
        Operation::new("get", path, id, "Whether the engine should get work")
            .answers(answer::<health::ReadyView>(generator, 200, "it should", "ready"))
            .answers(answer::<health::ReadyView>(generator, 503, "not now", "notReady"))
    };
    let readies = [ready("/ready", "getReady"), ready("/api/ready", "getApiReady")];
    let text = json!({ "application/openmetrics-text": { "schema": { "type": "string" } } });
    let metrics = Operation::new("get", "/metrics", "getMetrics", "Everything that is counted, for Prometheus")
        .for_operators()
        .answers_with(200, "OpenMetrics text", text);
    [stats].into_iter().chain(healths).chain(lives).chain(readies).chain([metrics])
}

fn of_documents() -> impl Iterator<Item = Operation> {
    let document = |path, id, summary| {
        let content = json!({ "application/json": { "schema": { "type": "object" } } });
        Operation::new("get", path, id, summary).answers_with(200, "the document", content)
    };
    let any = json!({ "schema": {} });
    let files = json!({ "text/css": any, "text/javascript": any, "application/json": any });
    [
        document("/api/openapi.json", "getOpenApi", "This document"),
        document("/api/asyncapi.json", "getAsyncApi", "What is said on the sockets, as AsyncAPI"),
        document("/api/postman.json", "getPostman", "The routes as a collection for Postman"),
        Operation::new("get", "/docs", "getDocs", "This document for people").for_operators().answers_with(
            200,
            "a page",
            json!({ "text/html": { "schema": { "type": "string" } } }),
        ),
        Operation::new("get", "/docs/{file}", "getDocsFile", "What that page loads")
            .for_operators()
            .takes([requests::file()])
            .answers_with(200, "a file", files)
            .refuses(&["no_such_route"]),
    ]
    .into_iter()
}
