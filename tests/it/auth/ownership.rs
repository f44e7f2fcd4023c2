//! Somebody else's order does not exist: every route, asked by everybody who has nothing to see there.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::client::{Answer, Client, PASSWORD, order};
use crate::support::process::{SWIFT, Server};

/// What a route gives away, or changes.
#[derive(Clone, Copy, PartialEq)]
enum Touches {
    /// The order in its path.
    Order,
    /// The order in its path, on a socket.
    OrderOnSocket,
    /// The order in its query, on a socket.
    OrderInQuery,
    /// The order that has the name in its path.
    OrderByName,
    /// Whatever is said on the socket.
    Socket,
    /// Everything of the caller's, which it ends.
    CancelsOwn,
    /// The API key in its path.
    Key,
    /// Everything of the caller's.
    Own,
    /// A new order, and the one that was made with the same key.
    NewOrder,
    /// Nothing of anybody's.
    Nothing,
    /// Nothing of anybody's, and nobody has to be somebody; what is posted there is a name and a password.
    Public,
}

use Touches::{
    CancelsOwn, Key, NewOrder, Nothing, Order, OrderByName, OrderInQuery, OrderOnSocket, Own, Public, Socket,
};

/// Every route. One that is missing here fails the test below it.
const ROUTES: [(&str, &str, Touches); 36] = [
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

#[test]
fn every_route_that_is_served_is_in_the_table() {
    let source = include_str!("../../../src/http/mod.rs");
    let mut served = BTreeSet::new();
    // A route is a line: its path, and then its methods.
    for route in source.lines().filter_map(|line| line.trim().strip_prefix("at(\"")) {
        let (path, methods) = route.split_once('"').unwrap();
        for method in ["get", "post", "put", "patch", "delete", "head"] {
            if methods.contains(&format!(".{method}(")) {
                served.insert((method.to_uppercase(), path));
            }
        }
    }
    let listed: BTreeSet<_> = ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), *path)).collect();
    assert_eq!(listed, served);
}

/// Somebody who asks, and whether the server takes them for anybody at all.
struct Asker {
    name: &'static str,
    client: Client,
    admitted: bool,
}

/// Whose orders and keys there are, one order waiting and one ended.
struct Owner {
    name: &'static str,
    client: Client,
    // A token that nobody else sells.
    sells: &'static str,
    orders: Vec<String>,
    api_key: Option<String>,
}

impl Owner {
    /// The name that their waiting order has for them.
    fn own_name(name: &str) -> String {
        format!("{name}s-own")
    }

    async fn settle(name: &'static str, client: Client, sells: &'static str, with_key: bool) -> Self {
        let fields = json!({ "tokenIn": sells, "tokenOut": "JUP", "amountIn": "1.25" });
        let ended = client.submit(fields.clone()).await.order_id();
        assert_eq!(client.post(&format!("/api/orders/{ended}/cancel"), &json!({})).await.status, 200);
        let mut named = fields;
        named["clientOrderId"] = json!(Self::own_name(name));
        let waiting = client.submit(named).await.order_id();
        let api_key = match with_key {
            true => {
                client.post("/api/auth/keys", &json!({ "name": name })).await.body["id"].as_str().map(str::to_owned)
            }
            false => None,
        };
        Self { name, client, sells, orders: vec![ended, waiting], api_key }
    }

    /// What is theirs and shows up in there.
    fn leak(&self, told: &Value) -> Option<&String> {
        let told = told.to_string();
        self.orders.iter().chain(&self.api_key).find(|id| told.contains(*id))
    }

    /// Everything that there is to know of theirs, as they see it.
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

/// An answer without what differs from one request to the next.
fn told(answer: &Answer, id: &str) -> (u16, String) {
    let mut body = answer.body.clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("requestId");
    }
    (answer.status, body.to_string().replace(id, "ID"))
}

async fn ask(client: &Client, method: &str, path: &str, body: &Value) -> Answer {
    match method {
        "POST" => client.post(path, body).await,
        _ => client.send(method, path, &[], String::new()).await.unwrap(),
    }
}

/// Says everything that can be said on a socket for many orders about those of another.
async fn pry_on_socket(asker: &Asker, owner: &Owner, what: &str) -> u32 {
    let unknown = uuid::Uuid::now_v7().to_string();
    let mut socket = asker.client.socket("/ws").await;
    let mut questions = 0;
    for r#type in ["subscribe", "cancel", "unsubscribe"] {
        let mut answers = Vec::new();
        for id in owner.orders.iter().chain([&unknown]) {
            let mut answer = socket.ask(json!({ "type": r#type, "orderId": id })).await;
            answer.as_object_mut().unwrap().remove("requestId");
            answers.push(answer.to_string().replace(id, "ID"));
            questions += 1;
        }
        assert!(answers.iter().all(|answer| *answer == answers[2]), "{what}: {answers:?}");
    }
    let channel = socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await;
    assert_eq!(channel["type"], "subscribed", "{what}: {channel}");
    let fresh = owner.client.submit(json!({})).await.order_id();
    assert_eq!(owner.client.post(&format!("/api/orders/{fresh}/cancel"), &json!({})).await.status, 200);
    let own = asker.client.submit(json!({})).await.order_id();
    // Its own order shows that the channel tells; nothing of the other's came before.
    loop {
        let told = socket.next().await.unwrap();
        assert_eq!(owner.leak(&told), None, "{what}: {told}");
        assert_ne!(told["orderId"], json!(fresh), "{what}: {told}");
        if told["orderId"] == json!(own) {
            return questions + 1;
        }
    }
}

/// Asks one route for what belongs to another; how many questions that were, each answered as if there were nothing.
async fn pry(asker: &Asker, owner: &Owner, (method, path, touches): (&str, &str, Touches)) -> u32 {
    let unknown = uuid::Uuid::now_v7().to_string();
    let what = format!("{} asks {method} {path} of {}", asker.name, owner.name);
    let nothing = json!({});
    let about = |id: &str| match touches {
        OrderInQuery => format!("{path}?orderId={id}"),
        _ => path.replace("{id}", id),
    };
    let is_socket = matches!(touches, OrderOnSocket | OrderInQuery | Socket);
    let mut questions = 0;
    if !asker.admitted && touches != Public {
        let answer = ask(&asker.client, method, &about(&owner.orders[0]), &order(json!({}))).await;
        assert_eq!((answer.status, answer.body["code"].as_str()), (401, Some("unauthenticated")), "{what}: {answer:?}");
        questions += 1;
        if is_socket {
            assert!(asker.client.try_socket(&about(&owner.orders[0])).await.is_err(), "{what}");
            questions += 1;
        }
        return questions;
    }
    match touches {
        Socket => questions += pry_on_socket(asker, owner, &what).await,
        OrderByName => {
            // Where the asker has an order of that name, it is that one.
            let answer = ask(&asker.client, method, &about(&Owner::own_name(owner.name)), &nothing).await;
            assert!(matches!(answer.status, 200 | 404), "{what}: {answer:?}");
            assert_eq!(owner.leak(&answer.body), None, "{what}: {answer:?}");
            questions += 1;
        }
        CancelsOwn => {
            let answer = ask(&asker.client, method, &format!("{path}?tokenIn={}", owner.sells), &nothing).await;
            assert_eq!((answer.status, &answer.body["cancelled"]), (200, &json!(0)), "{what}: {answer:?}");
            assert_eq!(owner.leak(&answer.body), None, "{what}: {answer:?}");
            questions += 1;
        }
        Order | OrderOnSocket | OrderInQuery => {
            for id in &owner.orders {
                let foreign = ask(&asker.client, method, &about(id), &nothing).await;
                let none = ask(&asker.client, method, &about(&unknown), &nothing).await;
                assert_eq!(told(&foreign, id), told(&none, &unknown), "{what}");
                assert_eq!(foreign.status, if touches == Order { 404 } else { 400 }, "{what}: {foreign:?}");
                questions += 1;
                if is_socket {
                    let history = asker.client.socket(&about(id)).await.until_closed().await;
                    assert!(history.steps.is_empty() && history.close == Some(4404), "{what}: {history:?}");
                    questions += 1;
                }
            }
        }
        Key => {
            if let Some(id) = &owner.api_key {
                let foreign = ask(&asker.client, method, &about(id), &nothing).await;
                let none = ask(&asker.client, method, &about(&unknown), &nothing).await;
                assert_eq!(told(&foreign, id), told(&none, &unknown), "{what}");
                // An API key manages no account, its own no more than another's.
                assert!(matches!(foreign.status, 401 | 403 | 404), "{what}: {foreign:?}");
                questions += 1;
            }
        }
        Own => {
            let named = format!("?clientOrderId={}", Owner::own_name(owner.name));
            let filters = ["", "?status=pending", "?status=cancelled", "?tokenIn=SOL", &named];
            let filters = if path.starts_with("/api/orders") { &filters[..] } else { &filters[..1] };
            for filter in filters {
                let answer = ask(&asker.client, method, &format!("{path}{filter}"), &nothing).await;
                assert_eq!(owner.leak(&answer.body), None, "{what}: {answer:?}");
                questions += 1;
            }
        }
        NewOrder => {
            // The same name and another order: it would be 422, or the owner's own order, if the name were shared.
            let fields = json!({ "amountIn": "9.75", "clientOrderId": Owner::own_name(owner.name) });
            let answer = ask(&asker.client, method, path, &order(fields)).await;
            assert!(matches!(answer.status, 200 | 201), "{what}: {answer:?}");
            assert!(!owner.orders.contains(&answer.order_id()), "{what}: {answer:?}");
            questions += 1;
        }
        Nothing | Public => {
            let path = if path == "/api/quotes" { "/api/quotes?tokenIn=SOL&tokenOut=USDC&amountIn=1" } else { path };
            // A logout is left out: it would only end the asker's own part in this.
            if !path.ends_with("/logout") {
                let body = match touches {
                    Public => json!({ "username": "alice", "password": "not their password" }),
                    _ => json!({ "name": "another" }),
                };
                let answer = ask(&asker.client, method, path, &body).await;
                assert!(answer.status < 500, "{what}: {answer:?}");
                let is_login = method == "POST" && touches == Public;
                assert!(!is_login || matches!(answer.status, 401 | 409), "{what}: {answer:?}");
                assert_eq!(owner.leak(&answer.body), None, "{what}: {answer:?}");
                questions += 1;
            }
        }
    }
    questions
}

#[actix::test]
async fn nobody_learns_of_anothers_orders_by_any_route() {
    let mut questions = 0;
    for required in [true, false] {
        let required_text = required.to_string();
        // Every order waits but the first, which is gone at once.
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
        let bobs_key = bob.with(bobs_key.body["key"].as_str().unwrap());
        let asker = |name, client: &Client, admitted| Asker { name, client: client.clone(), admitted };
        let (as_alice, as_bob) = (asker("alice", &alice, true), asker("bob", &bob, true));
        let (as_key, as_nobody) = (asker("bob's key", &bobs_key, true), asker("nobody", &server.client, !required));

        let alices = Owner::settle("alice", alice.clone(), "BONK", true).await;
        let bobs = Owner::settle("bob", bob.clone(), "RAY", true).await;
        let mut pairs = vec![(&as_bob, &alices), (&as_key, &alices), (&as_nobody, &alices), (&as_alice, &bobs)];
        let nobodys;
        if !required {
            nobodys = Owner::settle("nobody", server.client.clone(), "MSOL", false).await;
            pairs.extend([(&as_alice, &nobodys), (&as_bob, &nobodys), (&as_key, &nobodys)]);
        }
        for (asker, owner) in pairs {
            let before = owner.everything().await;
            for route in ROUTES {
                questions += pry(asker, owner, route).await;
            }
            assert_eq!(owner.everything().await, before, "{} changed something of {}", asker.name, owner.name);
            assert_eq!(owner.client.get(&format!("/api/orders/{}", owner.orders[1])).await.body["status"], "pending");
        }
        assert_eq!(
            server.client.post("/api/auth/login", &json!({ "username": "alice", "password": PASSWORD })).await.status,
            200
        );
    }
    println!("{questions} questions, 0 answers that told of another's orders");
}

#[actix::test]
async fn an_order_and_its_key_are_their_owners_after_a_kill_too() {
    let mut server = Server::start(SWIFT.into_iter().chain([("orders.rate_limit_per_minute", "1")]));
    let (alice, bob) = (server.client.registered("alice").await, server.client.registered("bob").await);
    let named = json!({ "clientOrderId": "mine" });
    let mut ids = Vec::new();
    for client in [&alice, &bob, &server.client] {
        let answer = client.submit(named.clone()).await;
        assert_eq!(answer.status, 201, "one name, three orders: {answer:?}");
        ids.push(answer.order_id());
    }
    for _ in 0..2 {
        let (alice, bob) = (server.client.with(alice.bearer()), server.client.with(bob.bearer()));
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
