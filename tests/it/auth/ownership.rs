//! Orders and keys of other users are unknown: every route, tried by every kind of client that has no access.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::client::{Answer, Client, order};
use crate::support::process::{SWIFT, Server};

/// What a route returns or changes.
#[derive(Clone, Copy, PartialEq)]
enum Touches {
    /// The order in its path.
    Order,
    /// The order in its path, on a socket.
    OrderOnSocket,
    /// The order in its query, on a socket.
    OrderInQuery,
    /// The order whose client order id is in the path.
    OrderByName,
    /// The orders named in messages on the socket.
    Socket,
    /// Every order of the caller, which it cancels.
    CancelsOwn,
    /// The API key in its path.
    Key,
    /// Every order or key of the caller.
    Own,
    /// A new order, or the one with the same idempotency key.
    NewOrder,
    /// Nothing of any user.
    Nothing,
    /// Nothing of any user, and without authentication; a body is a name and a password.
    Public,
}

use Touches::{
    CancelsOwn, Key, NewOrder, Nothing, Order, OrderByName, OrderInQuery, OrderOnSocket, Own, Public, Socket,
};

/// Every route. The test below fails where one is missing.
const ROUTES: [(&str, &str, Touches); 38] = [
    ("GET", "/health", Public),
    ("GET", "/api/health", Public),
    ("GET", "/live", Public),
    ("GET", "/api/live", Public),
    ("GET", "/ready", Public),
    ("GET", "/api/ready", Public),
    ("GET", "/api/openapi.json", Public),
    ("GET", "/api/asyncapi.json", Public),
    ("GET", "/api/postman.json", Public),
    ("POST", "/api/auth", Public),
    ("POST", "/api/auth/register", Public),
    ("POST", "/api/auth/login", Public),
    ("POST", "/api/auth/logout", Nothing),
    ("POST", "/api/auth/password", Nothing),
    ("DELETE", "/api/auth/account", Nothing),
    ("GET", "/api/auth/me", Own),
    ("POST", "/api/auth/keys", Nothing),
    ("GET", "/api/auth/keys", Own),
    ("DELETE", "/api/auth/keys/{id}", Key),
    ("POST", "/api/auth/ticket", Nothing),
    ("GET", "/api/quotes", Nothing),
    ("GET", "/api/tokens", Nothing),
    ("GET", "/api/stats", Nothing),
    ("GET", "/api/orders/execute", OrderInQuery),
    ("GET", "/api/orders/by-client-id/{id}", OrderByName),
    ("POST", "/api/orders/cancel", CancelsOwn),
    ("DELETE", "/api/orders", CancelsOwn),
    ("GET", "/api/orders/history", Own),
    ("GET", "/ws", Socket),
    ("POST", "/api/orders/execute", NewOrder),
    ("POST", "/api/orders", NewOrder),
    ("GET", "/api/orders", Own),
    ("GET", "/api/orders/{id}", Order),
    ("DELETE", "/api/orders/{id}", Order),
    ("GET", "/api/orders/{id}/events", Order),
    ("POST", "/api/orders/{id}/cancel", Order),
    ("GET", "/api/orders/{id}/stream", OrderOnSocket),
    ("GET", "/ws/orders/{id}", OrderOnSocket),
];

/// The document is made from the operations that are served.
#[actix::test]
async fn every_served_route_is_in_the_table() {
    let document = Server::start(SWIFT).client.get("/api/openapi.json").await.body;
    let mut served = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            // What only the operator sees is not about orders.
            if operation["security"][0].get("operator").is_none() {
                served.insert((method.to_uppercase(), path.as_str()));
            }
        }
    }
    let listed: BTreeSet<_> = ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), *path)).collect();
    assert_eq!(listed, served);
}

/// A client that tries to read or change what is not its own.
struct Intruder {
    name: &'static str,
    client: Client,
    // Whether the server accepts its requests at all.
    admitted: bool,
}

/// A user with an ended order, a waiting order, and perhaps an API key.
struct Owner {
    name: &'static str,
    client: Client,
    // A token that no other owner sells.
    sells: &'static str,
    orders: Vec<String>,
    api_key: Option<String>,
}

impl Owner {
    /// The client order id of the waiting order.
    fn client_order_id(name: &str) -> String {
        format!("{name}s-own")
    }

    async fn with_orders(name: &'static str, client: Client, sells: &'static str, with_key: bool) -> Self {
        let fields = json!({ "tokenIn": sells, "tokenOut": "JUP", "amountIn": "1.25" });
        let ended = client.submit(fields.clone()).await.order_id();
        assert_eq!(client.cancel(&ended).await.status, 200);
        let mut named = fields;
        named["clientOrderId"] = json!(Self::client_order_id(name));
        let waiting = client.submit(named).await.order_id();
        let api_key = match with_key {
            true => Some(client.post("/api/auth/keys", &json!({ "name": name })).await.text("id").to_owned()),
            false => None,
        };
        Self { name, client, sells, orders: vec![ended, waiting], api_key }
    }

    /// The first id of this owner that a body contains.
    fn leak(&self, body: &Value) -> Option<&String> {
        let body = body.to_string();
        self.orders.iter().chain(&self.api_key).find(|id| body.contains(*id))
    }

    /// The events of the orders, and the keys, as the owner sees them.
    async fn everything(&self) -> String {
        let mut all = Vec::new();
        for id in &self.orders {
            all.push(self.client.get(&format!("/api/orders/{id}/events")).await.body);
        }
        if self.api_key.is_some() {
            all.push(self.client.get("/api/auth/keys").await.body);
        }
        Value::from(all).to_string()
    }
}

/// An answer without the fields that differ between requests.
fn comparable(answer: &Answer, id: &str) -> (u16, String) {
    let mut body = answer.body.clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("requestId");
    }
    (answer.status, body.to_string().replace(id, "ID"))
}

async fn request(client: &Client, method: &str, path: &str, body: &Value) -> Answer {
    match method {
        "POST" => client.post(path, body).await,
        _ => client.request(method, path, &[], "").await,
    }
}

/// Sends every command about the owner's orders on a socket for many orders; the number of requests.
async fn intrude_on_socket(intruder: &Intruder, owner: &Owner, what: &str) -> u32 {
    let unknown = uuid::Uuid::now_v7().to_string();
    let mut socket = intruder.client.socket("/ws").await;
    let mut requests = 0;
    for r#type in ["subscribe", "cancel", "unsubscribe"] {
        let mut answers = Vec::new();
        for id in owner.orders.iter().chain([&unknown]) {
            let mut answer = socket.ask(json!({ "type": r#type, "orderId": id })).await;
            answer.as_object_mut().unwrap().remove("requestId");
            answers.push(answer.to_string().replace(id, "ID"));
            requests += 1;
        }
        assert!(answers.iter().all(|answer| *answer == answers[2]), "{what}: {answers:?}");
    }
    let channel = socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await;
    assert_eq!(channel["type"], "subscribed", "{what}: {channel}");
    let new = owner.client.submit(json!({})).await.order_id();
    assert_eq!(owner.client.cancel(&new).await.status, 200);
    let own = intruder.client.submit(json!({})).await.order_id();
    // The update of its own order shows that the channel works; no update of the owner's order arrived before.
    loop {
        let update = socket.next().await.unwrap();
        assert_eq!(owner.leak(&update), None, "{what}: {update}");
        assert_ne!(update["orderId"], json!(new), "{what}: {update}");
        if update["orderId"] == json!(own) {
            return requests + 1;
        }
    }
}

/// Requests what belongs to the owner on one route, and fails unless it is answered as unknown; the number of requests.
async fn intrude(intruder: &Intruder, owner: &Owner, (method, path, touches): (&str, &str, Touches)) -> u32 {
    let unknown = uuid::Uuid::now_v7().to_string();
    let what = format!("{} requests {method} {path} of {}", intruder.name, owner.name);
    let nothing = json!({});
    let about = |id: &str| match touches {
        OrderInQuery => format!("{path}?orderId={id}"),
        _ => path.replace("{id}", id),
    };
    let is_socket = matches!(touches, OrderOnSocket | OrderInQuery | Socket);
    let mut requests = 0;
    if !intruder.admitted && touches != Public {
        let answer = request(&intruder.client, method, &about(&owner.orders[0]), &order(json!({}))).await;
        assert_eq!((answer.status, answer.body["code"].as_str()), (401, Some("unauthenticated")), "{what}: {answer:?}");
        requests += 1;
        if is_socket {
            assert!(intruder.client.try_socket(&about(&owner.orders[0])).await.is_err(), "{what}");
            requests += 1;
        }
        return requests;
    }
    match touches {
        Socket => requests += intrude_on_socket(intruder, owner, &what).await,
        OrderByName => {
            // The intruder may have an order with that client order id.
            let answer = request(&intruder.client, method, &about(&Owner::client_order_id(owner.name)), &nothing).await;
            assert!(matches!(answer.status, 200 | 404), "{what}: {answer:?}");
            assert_eq!(owner.leak(&answer.body), None, "{what}: {answer:?}");
            requests += 1;
        }
        CancelsOwn => {
            let answer = request(&intruder.client, method, &format!("{path}?tokenIn={}", owner.sells), &nothing).await;
            assert_eq!((answer.status, &answer.body["cancelled"]), (200, &json!(0)), "{what}: {answer:?}");
            assert_eq!(owner.leak(&answer.body), None, "{what}: {answer:?}");
            requests += 1;
        }
        Order | OrderOnSocket | OrderInQuery => {
            for id in &owner.orders {
                let foreign = request(&intruder.client, method, &about(id), &nothing).await;
                let none = request(&intruder.client, method, &about(&unknown), &nothing).await;
                assert_eq!(comparable(&foreign, id), comparable(&none, &unknown), "{what}");
                assert_eq!(foreign.status, if touches == Order { 404 } else { 400 }, "{what}: {foreign:?}");
                requests += 1;
                if is_socket {
                    let history = intruder.client.socket(&about(id)).await.until_closed().await;
                    assert!(history.steps.is_empty() && history.close == Some(4404), "{what}: {history:?}");
                    requests += 1;
                }
            }
        }
        Key => {
            if let Some(id) = &owner.api_key {
                let foreign = request(&intruder.client, method, &about(id), &nothing).await;
                let none = request(&intruder.client, method, &about(&unknown), &nothing).await;
                assert_eq!(comparable(&foreign, id), comparable(&none, &unknown), "{what}");
                // An API key manages no account, not even its own.
                assert!(matches!(foreign.status, 401 | 403 | 404), "{what}: {foreign:?}");
                requests += 1;
            }
        }
        Own => {
            let named = format!("?clientOrderId={}", Owner::client_order_id(owner.name));
            let filters = ["", "?status=pending", "?status=cancelled", "?tokenIn=SOL", &named];
            let filters = if path.starts_with("/api/orders") { &filters[..] } else { &filters[..1] };
            for filter in filters {
                let answer = request(&intruder.client, method, &format!("{path}{filter}"), &nothing).await;
                assert_eq!(owner.leak(&answer.body), None, "{what}: {answer:?}");
                requests += 1;
            }
        }
        NewOrder => {
            // A shared client order id would be answered 422, or with the owner's order.
            let fields = json!({ "amountIn": "9.75", "clientOrderId": Owner::client_order_id(owner.name) });
            let answer = request(&intruder.client, method, path, &order(fields)).await;
            assert!(matches!(answer.status, 200 | 201), "{what}: {answer:?}");
            assert!(!owner.orders.contains(&answer.order_id()), "{what}: {answer:?}");
            requests += 1;
        }
        Nothing | Public => {
            let path = if path == "/api/quotes" { "/api/quotes?tokenIn=SOL&tokenOut=USDC&amountIn=1" } else { path };
            // A logout is left out: it would end the intruder's token.
            if !path.ends_with("/logout") {
                let body = match touches {
                    Public => json!({ "username": "alice", "password": "not their password" }),
                    _ => json!({ "name": "another" }),
                };
                let answer = request(&intruder.client, method, path, &body).await;
                assert!(answer.status < 500, "{what}: {answer:?}");
                let is_login = method == "POST" && touches == Public;
                assert!(!is_login || matches!(answer.status, 401 | 409), "{what}: {answer:?}");
                assert_eq!(owner.leak(&answer.body), None, "{what}: {answer:?}");
                requests += 1;
            }
        }
    }
    requests
}

#[actix::test]
async fn no_route_shows_the_orders_of_another_user() {
    let mut requests = 0;
    for required in [true, false] {
        let required_text = required.to_string();
        // Every order waits except the first, which is dispatched immediately.
        let settings = [
            ("auth.required", required_text.as_str()),
            ("auth.attempts_per_name", "1000"),
            ("auth.attempts_per_address", "1000"),
            ("orders.rate_limit_per_minute", "1"),
        ];
        let server = Server::start(SWIFT.into_iter().chain(settings));
        let (alice, bob) = (server.client.registered("alice").await, server.client.registered("bob").await);
        let first = alice.submit(json!({ "amountIn": "0.5" })).await.order_id();
        alice.until(&first, |order| order["status"] != "pending").await;
        let bobs_key = bob.post("/api/auth/keys", &json!({ "name": "bobs" })).await;
        let bobs_key = bob.with(bobs_key.text("key"));
        let intruder = |name, client: &Client, admitted| Intruder { name, client: client.clone(), admitted };
        let (as_alice, as_bob) = (intruder("alice", &alice, true), intruder("bob", &bob, true));
        let as_key = intruder("bob's key", &bobs_key, true);
        let as_anonymous = intruder("anonymous", &server.client, !required);

        let alices = Owner::with_orders("alice", alice.clone(), "BONK", true).await;
        let bobs = Owner::with_orders("bob", bob.clone(), "RAY", true).await;
        let mut pairs = vec![(&as_bob, &alices), (&as_key, &alices), (&as_anonymous, &alices), (&as_alice, &bobs)];
        let shared;
        if !required {
            shared = Owner::with_orders("anonymous", server.client.clone(), "MSOL", false).await;
            pairs.extend([(&as_alice, &shared), (&as_bob, &shared), (&as_key, &shared)]);
        }
        for (intruder, owner) in pairs {
            let before = owner.everything().await;
            for route in ROUTES {
                requests += intrude(intruder, owner, route).await;
            }
            assert_eq!(owner.everything().await, before, "{} changed something of {}", intruder.name, owner.name);
            assert_eq!(owner.client.get(&format!("/api/orders/{}", owner.orders[1])).await.body["status"], "pending");
        }
        server.client.logged_in("alice").await;
    }
    println!("{requests} requests, no answer shows an order of another user");
}

#[actix::test]
async fn orders_and_client_order_ids_belong_to_their_user_also_after_a_kill() {
    let mut server = Server::start(SWIFT.into_iter().chain([("orders.rate_limit_per_minute", "1")]));
    let (alice, bob) = (server.client.registered("alice").await, server.client.registered("bob").await);
    let named = json!({ "clientOrderId": "mine" });
    let mut ids = Vec::new();
    for client in [&alice, &bob, &server.client] {
        let answer = client.submit(named.clone()).await;
        assert_eq!(answer.status, 201, "one client order id, three users: {answer:?}");
        ids.push(answer.order_id());
    }
    for _ in 0..2 {
        let (alice, bob) = (server.client.with(alice.token()), server.client.with(bob.token()));
        for (place, client) in [&alice, &bob, &server.client].into_iter().enumerate() {
            let again = client.submit(named.clone()).await;
            assert_eq!((again.status, &again.order_id()), (200, &ids[place]));
            for (other, id) in ids.iter().enumerate() {
                let expected = if other == place { 200 } else { 404 };
                assert_eq!(client.get(&format!("/api/orders/{id}")).await.status, expected);
            }
            assert_eq!(client.get("/api/orders").await.body["orders"].as_array().unwrap().len(), 1);
        }
        server.kill();
        server.restart();
    }
}
