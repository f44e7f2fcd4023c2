//! Rows that cannot be read: their order or key is set aside, and everything else goes on.

use sea_orm::{ConnectionTrait, Database, DatabaseConnection};
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::postgres::Postgres;
use crate::support::process::{SWIFT, Server};

/// Settings under which swaps stay unsettled, and an order whose first attempt failed waits.
const UNSETTLED: [(&str, &str); 5] = [
    ("simulation.swap_latency_min_ms", "600000"),
    ("simulation.swap_latency_max_ms", "600000"),
    ("simulation.valid_blocks", "10000000"),
    ("orders.backoff_initial_ms", "600000"),
    ("chain.alarm_ms", "600000"),
];

/// The state of an order when one of its rows is damaged.
#[derive(Clone, Copy, Debug)]
enum State {
    /// It waits for its next attempt.
    Open,
    /// Its swap may land.
    Live,
    /// It was cancelled.
    Ended,
}

/// The damage to an order's rows; `{id}` is its id as an SQL literal.
const DAMAGES: [(State, &str); 16] = [
    (State::Open, r#"UPDATE orders SET request = '{"tokenIn":' WHERE id = {id}"#),
    (State::Open, "UPDATE order_events SET data = 'nothing' WHERE order_id = {id} AND seq = 2"),
    (State::Open, "DELETE FROM order_events WHERE order_id = {id}"),
    (State::Open, "UPDATE order_events SET status = 'failed' WHERE order_id = {id} AND seq = 1"),
    // A later version wrote these.
    (State::Open, "UPDATE orders SET type = 'limit' WHERE id = {id}"),
    (State::Open, r#"UPDATE orders SET request = replace(request, '"v":1', '"v":2') WHERE id = {id}"#),
    (State::Live, r#"UPDATE order_events SET data = replace(data, '"v":1', '"v":2') WHERE order_id = {id}"#),
    (State::Live, "UPDATE orders SET request = '[]' WHERE id = {id}"),
    (State::Live, "DELETE FROM transactions WHERE order_id = {id}"),
    (State::Live, "DELETE FROM order_events WHERE order_id = {id} AND status = 'submitted'"),
    (State::Live, "DELETE FROM order_events WHERE order_id = {id} AND seq > 1"),
    (State::Ended, "UPDATE order_events SET data = '{}' WHERE order_id = {id} AND seq = 2"),
    (State::Ended, "UPDATE orders SET request = '' WHERE id = {id}"),
    (State::Ended, r#"UPDATE orders SET request = replace(request, '"decimals":9', '"decimals":200') WHERE id = {id}"#),
    (State::Ended, "UPDATE orders SET status = 'confirmed' WHERE id = {id}"),
    (State::Ended, "UPDATE orders SET status = 'lost' WHERE id = {id}"),
];

/// Damage that only SQLite allows, because its columns accept values of every type.
const DAMAGES_OF_SQLITE: [(State, &str); 5] = [
    (State::Open, "UPDATE orders SET created_at = 'yesterday' WHERE id = {id}"),
    (State::Open, "UPDATE order_events SET at = 'yesterday' WHERE order_id = {id}"),
    (State::Live, "UPDATE transactions SET bytes = 1 WHERE order_id = {id}"),
    (State::Ended, "UPDATE order_events SET at = x'00' WHERE order_id = {id}"),
    (State::Ended, "UPDATE orders SET ended_at = 'soon' WHERE id = {id}"),
];

async fn database(server: &Server) -> DatabaseConnection {
    Database::connect(server.database_url()).await.unwrap()
}

/// An id as an SQL literal.
fn literal(server: &Server, id: &str) -> String {
    if server.database_url().starts_with("sqlite") { format!("x'{}'", id.replace('-', "")) } else { format!("'{id}'") }
}

async fn order_in(client: &Client, state: State, name: &str) -> String {
    let fields = match state {
        State::Live => json!({ "clientOrderId": name }),
        State::Open | State::Ended => json!({ "clientOrderId": name, "minAmountOut": "1000000" }),
    };
    let id = client.submit(fields).await.order_id();
    match state {
        State::Live => drop(client.until(&id, |order| order["status"] == "submitted").await),
        State::Open | State::Ended => drop(client.until(&id, |order| order["retryCount"] == 1).await),
    }
    if let State::Ended = state {
        assert_eq!(client.cancel(&id).await.status, 200);
    }
    id
}

fn assert_unreadable(answer: &Answer, id: Option<&str>, what: &str) {
    assert_eq!((answer.status, answer.code()), (503, "order_unreadable"), "{what}: {}", answer.body);
    if let Some(id) = id {
        assert_eq!(answer.body["orderId"], id, "{what}");
    }
}

async fn check_unreadable_orders(mut server: Server) {
    let is_sqlite = server.database_url().starts_with("sqlite");
    let damages: Vec<_> = DAMAGES.into_iter().chain(DAMAGES_OF_SQLITE.into_iter().filter(|_| is_sqlite)).collect();
    let (owner, other) = (server.client.registered("owner").await, server.client.registered("other").await);
    let (mut damaged, mut open, mut live) = (Vec::new(), 0, Vec::new());
    for (number, (state, damage)) in damages.into_iter().enumerate() {
        let name = format!("damaged-{number}");
        damaged.push((order_in(&owner, state, &name).await, name, damage));
        open += usize::from(!matches!(state, State::Ended));
        live.extend(matches!(state, State::Live).then(|| format!("damaged-{number}")));
    }
    let good = order_in(&owner, State::Open, "good").await;
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
    let (owner, other) = (server.client.with(owner.token()), server.client.with(other.token()));

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
    // Small pages show all of them too.
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

    // Other orders go on, old ones and new ones.
    assert_eq!(owner.order(&good).await["status"], "pending");
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
async fn unreadable_orders_stop_neither_the_start_nor_other_orders_on_sqlite() {
    check_unreadable_orders(Server::start(SWIFT.into_iter().chain(UNSETTLED))).await;
}

#[actix_web::test]
async fn unreadable_orders_stop_neither_the_start_nor_other_orders_on_postgresql() {
    let postgres = Postgres::start();
    check_unreadable_orders(Server::start_on(&postgres.url(), SWIFT.into_iter().chain(UNSETTLED))).await;
}

#[actix_web::test]
async fn rows_with_unreadable_ids_hide_no_other_order() {
    let mut server = Server::start(SWIFT.into_iter().chain(UNSETTLED));
    let id = order_in(&server.client, State::Open, "good").await;
    let key = order_in(&server.client, State::Open, "key").await;
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
    assert_eq!(server.client.order(&id).await["status"], "pending");
    // A key whose order cannot be read still counts as used, so that no order is made twice.
    assert_unreadable(&server.client.submit(json!({ "clientOrderId": "key" })).await, None, "a damaged key");
    assert_eq!(server.client.submit(json!({ "clientOrderId": "new" })).await.status, 201);
}

#[actix_web::test]
async fn a_repaired_order_is_readable_again_without_a_restart() {
    let mut server = Server::start(SWIFT.into_iter().chain(UNSETTLED));
    let id = order_in(&server.client, State::Ended, "damaged").await;
    let database = database(&server).await;
    let damage = format!("UPDATE orders SET request = '' WHERE id = {}", literal(&server, &id));
    database.execute_unprepared(&damage).await.unwrap();
    assert_unreadable(&server.client.get(&format!("/api/orders/{id}")).await, Some(&id), "after the damage");
    assert_eq!(server.client.get("/ready").await.body["unreadableOrders"], 1);
    let other = order_in(&server.client, State::Open, "other").await;
    let repair = format!(
        "UPDATE orders SET request = (SELECT request FROM orders WHERE id = {}) WHERE id = {}",
        literal(&server, &other),
        literal(&server, &id)
    );
    database.execute_unprepared(&repair).await.unwrap();
    assert_eq!(server.client.order(&id).await["status"], "cancelled");
    assert_eq!(server.client.get("/ready").await.body["unreadableOrders"], 0);
    assert!(server.terminate().success());
}

#[actix_web::test]
async fn an_unreadable_dispatch_counts_as_a_recent_one() {
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
    // The limit is two dispatches a minute, and both may have been within the last minute.
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until(&id, |order| order["status"] == "pending").await;
    let stats = server.client.get("/api/stats").await.body;
    assert_eq!(stats["queueDepth"], 1, "{stats}");
}

#[actix_web::test]
async fn an_unreadable_api_key_is_refused_and_the_others_work() {
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
    let listed = server.client.with(user.token()).get("/api/auth/keys").await;
    assert_eq!(listed.body["keys"].as_array().unwrap().len(), 1, "{}", listed.body);
}
