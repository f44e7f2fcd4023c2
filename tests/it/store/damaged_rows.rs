//! Rows that cannot be read: the order or key they belong to is set aside, and everything else goes on.

use sea_orm::{ConnectionTrait, Database, DatabaseConnection};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::databases::Postgres;
use crate::support::process::{SWIFT, Server};

/// Swaps stay undecided, and an order whose first attempt failed waits.
const STANDSTILL: [(&str, &str); 5] = [
    ("simulation.swap_latency_min_ms", "600000"),
    ("simulation.swap_latency_max_ms", "600000"),
    ("simulation.valid_blocks", "10000000"),
    ("orders.backoff_initial_ms", "600000"),
    ("chain.alarm_ms", "600000"),
];

/// Where an order stands when a row of it is damaged.
#[derive(Clone, Copy, Debug)]
enum Stands {
    /// It waits for its next attempt.
    Open,
    /// Its swap may land.
    Live,
    /// It was cancelled.
    Ended,
}

/// What is done to an order's rows; `{id}` is its id as the database writes it.
const DAMAGES: [(Stands, &str); 11] = [
    (Stands::Open, r#"UPDATE orders SET request = '{"tokenIn":' WHERE id = {id}"#),
    (Stands::Open, "UPDATE order_events SET data = 'nothing' WHERE order_id = {id} AND seq = 2"),
    (Stands::Open, "DELETE FROM order_events WHERE order_id = {id}"),
    (Stands::Open, "UPDATE order_events SET status = 'failed' WHERE order_id = {id} AND seq = 1"),
    (Stands::Live, "UPDATE orders SET request = '[]' WHERE id = {id}"),
    (Stands::Live, "DELETE FROM transactions WHERE order_id = {id}"),
    (Stands::Live, "DELETE FROM order_events WHERE order_id = {id} AND status = 'submitted'"),
    (Stands::Live, "DELETE FROM order_events WHERE order_id = {id} AND seq > 1"),
    (Stands::Ended, "UPDATE order_events SET data = '{}' WHERE order_id = {id} AND seq = 2"),
    (Stands::Ended, "UPDATE orders SET request = '' WHERE id = {id}"),
    (Stands::Ended, "UPDATE orders SET status = 'confirmed' WHERE id = {id}"),
];

/// The same where a column takes values of every type.
const DAMAGES_OF_SQLITE: [(Stands, &str); 5] = [
    (Stands::Open, "UPDATE orders SET created_at = 'yesterday' WHERE id = {id}"),
    (Stands::Open, "UPDATE order_events SET at = 'yesterday' WHERE order_id = {id}"),
    (Stands::Live, "UPDATE transactions SET bytes = 1 WHERE order_id = {id}"),
    (Stands::Ended, "UPDATE order_events SET at = x'00' WHERE order_id = {id}"),
    (Stands::Ended, "UPDATE orders SET ended_at = 'soon' WHERE id = {id}"),
];

async fn database(server: &Server) -> DatabaseConnection {
    Database::connect(server.database_url()).await.unwrap()
}

/// An id as the database writes it.
fn literal(server: &Server, id: &str) -> String {
    if server.database_url().starts_with("sqlite") { format!("x'{}'", id.replace('-', "")) } else { format!("'{id}'") }
}

async fn order_that(client: &Client, stands: Stands, name: &str) -> String {
    let fields = match stands {
        Stands::Live => json!({ "clientOrderId": name }),
        Stands::Open | Stands::Ended => json!({ "clientOrderId": name, "minAmountOut": "1000000" }),
    };
    let id = client.submit(fields).await.order_id();
    match stands {
        Stands::Live => drop(client.until(&id, |order| order["status"] == "submitted").await),
        Stands::Open | Stands::Ended => drop(client.until(&id, |order| order["retryCount"] == 1).await),
    }
    if let Stands::Ended = stands {
        assert_eq!(client.post(&format!("/api/orders/{id}/cancel"), &json!({})).await.status, 200);
    }
    id
}

fn assert_unreadable(answer: &crate::support::client::Answer, id: Option<&str>, what: &str) {
    assert_eq!((answer.status, &answer.body["code"]), (503, &json!("order_unreadable")), "{what}: {}", answer.body);
    if let Some(id) = id {
        assert_eq!(answer.body["orderId"], id, "{what}");
    }
}

async fn an_unreadable_order_stops_nothing_but_itself(mut server: Server) {
    let is_sqlite = server.database_url().starts_with("sqlite");
    let damages: Vec<_> = DAMAGES.into_iter().chain(DAMAGES_OF_SQLITE.into_iter().filter(|_| is_sqlite)).collect();
    let (owner, other) = (server.client.registered("owner").await, server.client.registered("other").await);
    let (mut damaged, mut open, mut live) = (Vec::new(), 0, Vec::new());
    for (number, (stands, damage)) in damages.into_iter().enumerate() {
        let name = format!("damaged-{number}");
        damaged.push((order_that(&owner, stands, &name).await, name, damage));
        open += usize::from(!matches!(stands, Stands::Ended));
        live.extend(matches!(stands, Stands::Live).then(|| format!("damaged-{number}")));
    }
    let good = order_that(&owner, Stands::Open, "good").await;
    server.kill();
    let log = server.file("log");
    server.log_to(&log);
    let database = database(&server).await;
    for (id, _, damage) in &damaged {
        let damage = damage.replace("{id}", &literal(&server, id));
        assert!(database.execute_unprepared(&damage).await.unwrap().rows_affected() > 0, "{damage}");
    }
    database.close().await.unwrap();
    server.restart();
    let (owner, other) = (server.client.with(owner.bearer()), server.client.with(other.bearer()));

    for (id, name, what) in &damaged {
        let path = format!("/api/orders/{id}");
        assert_unreadable(&owner.get(&path).await, Some(id), what);
        assert_unreadable(&owner.get(&format!("{path}/events")).await, Some(id), what);
        assert_unreadable(&owner.post(&format!("{path}/cancel"), &json!({})).await, Some(id), what);
        assert_unreadable(&owner.get(&format!("/api/orders/by-client-id/{name}")).await, Some(id), what);
        assert_unreadable(&owner.submit(json!({ "clientOrderId": name })).await, Some(id), what);
        assert_eq!(owner.follow(id).await.close, Some(4503), "{what}");
        assert_eq!(other.get(&path).await.body["code"], "order_not_found", "{what}");
        assert_eq!(other.follow(id).await.close, Some(4404), "{what}");
        assert_eq!(server.client.get(&path).await.status, 404, "{what}");
    }
    let mut socket = owner.socket("/ws").await;
    let answer = socket.ask(json!({ "type": "subscribe", "orderId": damaged[0].0 })).await;
    assert_eq!(answer["code"], "order_unreadable", "{answer}");

    let page = owner.get("/api/orders?limit=100").await;
    assert_eq!(page.body["orders"].as_array().unwrap().len(), 1, "{}", page.body);
    let mut named: Vec<_> = page.body["unreadable"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    named.sort_unstable();
    let mut ids: Vec<_> = damaged.iter().map(|(id, ..)| id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(named, ids);
    assert_eq!(other.get("/api/orders").await.body, json!({ "orders": [], "nextCursor": null }));
    // However small the pages are.
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = owner.get(&format!("/api/orders?limit=2{cursor}")).await.body;
        for field in ["orders", "unreadable"] {
            found.extend(page[field].as_array().into_iter().flatten().cloned());
        }
        let Value::String(next) = &page["nextCursor"] else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(found.len(), damaged.len() + 1);

    let ready = server.client.get("/ready").await;
    assert_eq!((ready.status, &ready.body["status"]), (200, &json!("degraded")), "{}", ready.body);
    assert_eq!(ready.body["unreadableOrders"], damaged.len());
    assert_eq!(ready.body["stuckOrders"], open, "{}", ready.body);
    let log = std::fs::read_to_string(&log).unwrap();
    for (id, name, what) in &damaged {
        let line = log.lines().find(|line| line.contains(id.as_str()) && line.contains("set aside"));
        let line = line.unwrap_or_else(|| panic!("{what}: the log does not name the order"));
        assert_eq!(line.contains("may_be_live=true"), live.contains(name), "{what}: {line}");
    }
    let metrics = server.client.get("/metrics").await.body;
    let measured = format!("order_engine_orders_unreadable {}\n", damaged.len());
    assert!(metrics.as_str().unwrap().contains(&measured), "{metrics}");

    // Everything else goes on: what was there, and what comes.
    assert_eq!(owner.get(&format!("/api/orders/{good}")).await.body["status"], "pending");
    let all = owner.post("/api/orders/cancel", &json!({})).await.body;
    let outcome = |result: &Value, is: &str| result["outcome"] == is;
    let results = all["results"].as_array().unwrap();
    assert_eq!(all["cancelled"], 1, "{all}");
    assert!(results.iter().any(|result| outcome(result, "unreadable")), "{all}");
    let id = owner.submit(json!({})).await.order_id();
    owner.until(&id, |order| order["status"] == "submitted").await;
    server.assert_no_second_swap();
}

#[actix_web::test]
async fn an_unreadable_order_stops_neither_the_start_nor_anybody_elses_pages_on_sqlite() {
    an_unreadable_order_stops_nothing_but_itself(Server::start(SWIFT.into_iter().chain(STANDSTILL))).await;
}

#[actix_web::test]
async fn an_unreadable_order_stops_neither_the_start_nor_anybody_elses_pages_on_postgresql() {
    let postgres = Postgres::start();
    let mut server = Server::idle(SWIFT.into_iter().chain(STANDSTILL));
    server.set("DATABASE_URL", &postgres.url());
    server.restart();
    an_unreadable_order_stops_nothing_but_itself(server).await;
}

#[actix_web::test]
async fn orders_whose_ids_cannot_be_read_hide_no_other_order() {
    let mut server = Server::start(SWIFT.into_iter().chain(STANDSTILL));
    let id = order_that(&server.client, Stands::Open, "good").await;
    let key = order_that(&server.client, Stands::Open, "key").await;
    server.kill();
    let database = database(&server).await;
    let columns = "type, status, token_in, token_out, request, created_at, ended_at";
    for damaged in ["'no id'", "x'00'", "x'ff00'", "x'ffffffffffffffffffffffffffffffffffff'"] {
        let copy = format!("INSERT INTO orders (id, {columns}) SELECT {damaged}, {columns} FROM orders LIMIT 1");
        database.execute_unprepared(&copy).await.unwrap();
    }
    let keys = "PRAGMA foreign_keys = OFF; UPDATE idempotency_keys SET order_id = 'no id' WHERE key = 'key'";
    database.execute_unprepared(keys).await.unwrap();
    database.close().await.unwrap();
    server.restart();
    let ready = server.client.get("/ready").await.body;
    assert_eq!((&ready["status"], &ready["unreadableOrders"]), (&json!("degraded"), &json!(4)), "{ready}");
    let page = server.client.get("/api/orders").await;
    let ids: Vec<_> = page.body["orders"].as_array().unwrap().iter().map(|order| order["orderId"].clone()).collect();
    assert_eq!(ids, [json!(key), json!(id)]);
    assert_eq!(server.client.get(&format!("/api/orders/{id}")).await.body["status"], "pending");
    // A key whose order is not known is taken all the same: nothing is bought twice.
    assert_unreadable(&server.client.submit(json!({ "clientOrderId": "key" })).await, None, "a damaged key");
    assert_eq!(server.client.submit(json!({ "clientOrderId": "new" })).await.status, 201);
}

#[actix_web::test]
async fn an_unreadable_order_is_there_again_once_it_is_repaired() {
    let mut server = Server::start(SWIFT.into_iter().chain(STANDSTILL));
    let id = order_that(&server.client, Stands::Ended, "damaged").await;
    let database = database(&server).await;
    let damage = format!("UPDATE orders SET request = '' WHERE id = {}", literal(&server, &id));
    database.execute_unprepared(&damage).await.unwrap();
    assert_unreadable(&server.client.get(&format!("/api/orders/{id}")).await, Some(&id), "it was readable before");
    assert_eq!(server.client.get("/ready").await.body["unreadableOrders"], 1);
    // Repaired, it is there again, and the engine says so without a restart.
    let other = order_that(&server.client, Stands::Open, "other").await;
    let repair = format!(
        "UPDATE orders SET request = (SELECT request FROM orders WHERE id = {}) WHERE id = {}",
        literal(&server, &other),
        literal(&server, &id)
    );
    database.execute_unprepared(&repair).await.unwrap();
    assert_eq!(server.client.get(&format!("/api/orders/{id}")).await.body["status"], "cancelled");
    assert_eq!(server.client.get("/ready").await.body["unreadableOrders"], 0);
    assert!(server.terminate().success());
}

#[actix_web::test]
async fn a_dispatch_that_cannot_be_read_counts_as_one_of_just_now() {
    let settings = [("orders.rate_limit_per_minute", "2")];
    let mut server = Server::start(SWIFT.into_iter().chain(settings));
    for _ in 0..2 {
        let id = server.client.submit(json!({})).await.order_id();
        server.client.until_ended(&id).await;
    }
    server.kill();
    let database = database(&server).await;
    database.execute_unprepared("UPDATE order_events SET data = '{', at = 'then' WHERE dispatch = 2").await.unwrap();
    database
        .execute_unprepared("UPDATE order_events SET at = '2001-01-01T00:00:00+00:00' WHERE dispatch = 1")
        .await
        .unwrap();
    database.close().await.unwrap();
    server.restart();
    // Two dispatches a minute, and both were within the last one as far as anybody can tell.
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until(&id, |order| order["status"] == "pending").await;
    let stats = server.client.get("/api/stats").await.body;
    assert_eq!(stats["queueDepth"], 1, "{stats}");
}

#[actix_web::test]
async fn a_key_that_cannot_be_read_opens_nothing_and_shuts_nobody_out() {
    let mut server = Server::start(SWIFT);
    let user = server.client.registered("user").await;
    let mut keys = Vec::new();
    for name in ["damaged", "good"] {
        let made = user.post("/api/auth/keys", &json!({ "name": name, "scopes": ["read"] })).await;
        assert_eq!(made.status, 201, "{}", made.body);
        keys.push(made.body["key"].as_str().unwrap().to_owned());
    }
    server.kill();
    let database = database(&server).await;
    database.execute_unprepared("UPDATE api_keys SET scopes = 'everything' WHERE name = 'damaged'").await.unwrap();
    database.execute_unprepared("INSERT INTO revoked_tokens (id, expires_at) VALUES (x'00', 'never')").await.unwrap();
    database.close().await.unwrap();
    server.restart();
    assert_eq!(server.client.with(&keys[0]).get("/api/orders").await.status, 401);
    assert_eq!(server.client.with(&keys[1]).get("/api/orders").await.status, 200);
    let listed = server.client.with(user.bearer()).get("/api/auth/keys").await;
    assert_eq!(listed.body["keys"].as_array().unwrap().len(), 1, "{}", listed.body);
}
