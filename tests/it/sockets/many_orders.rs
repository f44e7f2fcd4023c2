//! The socket for many orders: what it is told, what it answers, and what it does not put up with.

use actix_http::ws::Item;
use awc::ws::Message;
use serde_json::{Value, json};

use crate::support::client::{at_once, order};
use crate::support::process::{PATIENCE, SWIFT, Server};

const UNKNOWN: &str = "01890000-0000-7000-8000-000000000000";

/// An engine whose orders wait, for it runs but the first.
fn standing_still() -> Server {
    Server::start([("orders.rate_limit_per_minute", "1"), ("orders.max_concurrent", "1")])
}

#[actix::test]
async fn many_orders_are_followed_on_one_socket_and_it_stays_open_after_their_ends() {
    let server = Server::start(SWIFT);
    let mut socket = server.client.socket("/ws").await;
    for _ in 0..3 {
        let submitted = server.client.submit(json!({})).await;
        let id = submitted.order_id();
        socket.say(&json!({ "type": "subscribe", "orderId": id, "requestId": 7 })).await;
        assert_eq!(socket.next().await.unwrap(), json!({ "type": "subscribed", "requestId": 7, "orderId": id }));
        let snapshot = socket.next().await.unwrap();
        assert_eq!((&snapshot["type"], &snapshot["orderId"]), (&json!("order:snapshot"), &json!(id)));
        let mut seqs: Vec<u64> =
            snapshot["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        let mut status = snapshot["status"].clone();
        while status != "confirmed" {
            let update = socket.next().await.unwrap();
            assert_eq!(update["type"], "order:update");
            seqs.push(update["seq"].as_u64().unwrap());
            status = update["status"].clone();
        }
        assert_eq!(seqs, [1, 2, 3, 4, 5]);
    }
    assert_eq!(socket.ask(json!({ "type": "ping" })).await["type"], "pong");
}

#[actix::test]
async fn a_subscription_resumes_after_what_the_client_has_had() {
    let server = Server::start(SWIFT);
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until_ended(&id).await;
    let mut socket = server.client.socket(&format!("/ws?orderId={id}&afterSeq=3")).await;
    assert_eq!(socket.next().await.unwrap()["type"], "subscribed");
    let snapshot = socket.next().await.unwrap();
    assert_eq!(snapshot["events"][0]["seq"], 4);
    socket.ask(json!({ "type": "subscribe", "orderId": id, "afterSeq": 4 })).await;
    let snapshot = socket.next().await.unwrap();
    assert_eq!((&snapshot["events"][0]["seq"], snapshot["events"].as_array().unwrap().len()), (&json!(5), 1));
}

#[actix::test]
async fn the_channel_of_all_orders_tells_each_step_of_each_order_once_from_whatever_connection() {
    let server = Server::start(SWIFT);
    let mut socket = server.client.socket("/ws").await;
    let subscribed = socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await;
    assert_eq!((&subscribed["type"], &subscribed["openOrders"]), (&json!("subscribed"), &json!(0)));
    let mut ids: Vec<_> = at_once(20, (0..100).map(|_| server.client.submit(json!({}))))
        .await
        .iter()
        .map(|answer| answer.order_id())
        .collect();
    let own = socket_submit(&server, json!({})).await;
    ids.push(own["orderId"].as_str().unwrap().to_owned());
    socket.assert_all_told(&ids).await;
}

async fn socket_submit(server: &Server, fields: Value) -> Value {
    let mut socket = server.client.socket("/ws").await;
    socket.ask(json!({ "type": "submit", "order": order(fields) })).await
}

#[actix::test]
async fn a_slow_mailbox_loses_nothing_for_a_client_that_reads() {
    // One place: nearly every step is dropped, and asked for again.
    let server = Server::start(SWIFT.into_iter().chain([("ws.mailbox", "1")]));
    let mut socket = server.client.socket("/ws").await;
    socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await;
    let ids: Vec<_> = at_once(50, (0..300).map(|_| server.client.submit(json!({}))))
        .await
        .iter()
        .map(|answer| answer.order_id())
        .collect();
    socket.assert_all_told(&ids).await;
}

#[actix::test]
async fn open_orders_join_the_channel_and_leave_it_again() {
    let server = standing_still();
    let running = server.client.submit(json!({})).await.order_id();
    let ids: Vec<_> = at_once(3, (0..3).map(|_| server.client.submit(json!({}))))
        .await
        .iter()
        .map(|answer| answer.order_id())
        .collect();
    let waiting = &ids[0];
    server.client.until(&running, |order| order["status"] != "pending").await;
    let mut socket = server.client.socket("/ws").await;
    assert!(socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await["openOrders"].as_u64() >= Some(3));
    // Twice, and by name as well: each step is told once all the same.
    let again = socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await;
    assert_eq!((&again["type"], &again["code"]), (&json!("error"), &json!("already_subscribed")));
    socket.ask(json!({ "type": "subscribe", "orderId": waiting })).await;
    socket.ask(json!({ "type": "cancel", "orderId": waiting })).await;
    socket.say(&json!({ "type": "unsubscribe", "channel": "orders", "requestId": "left" })).await;
    let mut told = 0;
    loop {
        let message = socket.next().await.unwrap();
        if message["requestId"] == "left" {
            assert_eq!((&message["type"], &message["channel"]), (&json!("unsubscribed"), &json!("orders")));
            break;
        }
        told += usize::from(message["orderId"] == **waiting && message["status"] == "cancelled");
    }
    // The answer to the cancel is not counted: it was read by then. The update may have come before it.
    assert!(told <= 1, "{told}");
    server.client.post(&format!("/api/orders/{}/cancel", ids[1]), &json!({})).await;
    assert_eq!(socket.ask(json!({ "type": "ping" })).await["type"], "pong");
}

#[actix::test]
async fn an_order_unsubscribed_from_is_not_told_any_more() {
    let server = standing_still();
    server.client.submit(json!({})).await;
    let ids = [server.client.submit(json!({})).await.order_id(), server.client.submit(json!({})).await.order_id()];
    let mut socket = server.client.socket("/ws").await;
    for id in &ids {
        assert_eq!(socket.ask(json!({ "type": "subscribe", "orderId": id })).await["type"], "subscribed");
        assert_eq!(socket.next().await.unwrap()["type"], "order:snapshot");
    }
    let again = socket.ask(json!({ "type": "subscribe", "orderId": ids[0] })).await;
    assert_eq!((&again["type"], &again["code"]), (&json!("error"), &json!("already_subscribed")));
    assert_eq!(socket.ask(json!({ "type": "unsubscribe", "orderId": ids[0] })).await["type"], "unsubscribed");
    for id in &ids {
        server.client.post(&format!("/api/orders/{id}/cancel"), &json!({})).await;
    }
    let told = socket.next().await.unwrap();
    assert_eq!((&told["orderId"], &told["status"]), (&json!(ids[1]), &json!("cancelled")));
}

#[actix::test]
async fn an_order_is_submitted_over_the_socket_as_it_is_over_http() {
    let server = Server::start(SWIFT);
    let mut socket = server.client.socket("/ws").await;
    let submit = json!({ "type": "submit", "order": order(json!({})), "idempotencyKey": "over-the-socket" });
    let first = socket.ask(submit.clone()).await;
    assert_eq!((&first["type"], &first["created"]), (&json!("order:submitted"), &json!(true)));
    assert_eq!(first["order"]["amountIn"], "1.5");
    let repeat = socket.ask(submit).await;
    assert_eq!((&repeat["orderId"], &repeat["created"]), (&first["orderId"], &json!(false)));
    let headers = [("content-type", "application/json"), ("idempotency-key", "over-the-socket")];
    let http = server.client.send("POST", "/api/orders", &headers, order(json!({})).to_string()).await.unwrap();
    assert_eq!((http.status, http.order_id().as_str()), (200, first["orderId"].as_str().unwrap()));
    let other = order(json!({ "amountIn": "2" }));
    let reused = socket.ask(json!({ "type": "submit", "order": other, "idempotencyKey": "over-the-socket" })).await;
    assert_eq!(reused["code"], "idempotency_key_reused");
    let wrong = socket.ask(json!({ "type": "submit", "order": order(json!({ "amountIn": 0, "leverage": 2 })) })).await;
    assert_eq!((&wrong["type"], &wrong["code"]), (&json!("error"), &json!("invalid_request")));
    assert_eq!((&wrong["errors"][0]["field"], &wrong["errors"][1]["field"]), (&json!("amountIn"), &json!("leverage")));
    let dry = socket.ask(json!({ "type": "submit", "order": order(json!({ "dryRun": true })) })).await;
    assert_eq!((&dry["type"], &dry["success"]), (&json!("order:dry_run"), &json!(true)));
    assert_eq!(server.client.get("/api/orders").await.body["orders"].as_array().unwrap().len(), 1);
}

#[actix::test]
async fn an_order_is_cancelled_over_the_socket_or_it_is_said_why_not() {
    let server = standing_still();
    server.client.submit(json!({})).await;
    let id = server.client.submit(json!({})).await.order_id();
    let mut socket = server.client.socket("/ws").await;
    let cancelled = socket.ask(json!({ "type": "cancel", "orderId": id })).await;
    assert_eq!((&cancelled["type"], &cancelled["status"]), (&json!("order:cancelled"), &json!("cancelled")));
    let unknown = socket.ask(json!({ "type": "cancel", "orderId": UNKNOWN })).await;
    assert_eq!((&unknown["code"], &unknown["orderId"]), (&json!("order_not_found"), &json!(UNKNOWN)));
}

#[actix::test]
async fn on_a_socket_too_the_orders_of_others_do_not_exist() {
    let server = Server::start(SWIFT);
    let (alice, bob) = (server.client.registered("alice").await, server.client.registered("bobby").await);
    let mut sockets = [bob.socket("/ws").await, server.client.socket("/ws").await];
    for socket in &mut sockets {
        let subscribed = socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await;
        assert_eq!((&subscribed["type"], &subscribed["openOrders"]), (&json!("subscribed"), &json!(0)));
    }
    let mut own = alice.socket("/ws").await;
    own.ask(json!({ "type": "subscribe", "channel": "orders" })).await;
    let id = alice.submit(json!({ "clientOrderId": "hers" })).await.order_id();
    own.assert_all_told(std::slice::from_ref(&id)).await;
    for socket in &mut sockets {
        for kind in ["subscribe", "cancel"] {
            let foreign = socket.ask(json!({ "type": kind, "orderId": id })).await;
            let unknown = socket.ask(json!({ "type": kind, "orderId": UNKNOWN })).await;
            assert_eq!((&foreign["code"], &unknown["code"]), (&json!("order_not_found"), &json!("order_not_found")));
        }
        // Had anything of the order been told, it would have come before this.
        socket.say(&json!({ "type": "ping" })).await;
        assert_eq!(socket.next().await.unwrap(), json!({ "type": "pong" }));
    }
    assert_eq!(bob.get("/api/orders/by-client-id/hers").await.status, 404);
    let own = bob.submit(json!({ "clientOrderId": "hers" })).await.order_id();
    assert_eq!(bob.get("/api/orders/by-client-id/hers").await.body["orderId"], json!(own));
}

#[actix::test]
async fn a_key_that_may_only_read_follows_and_does_not_trade() {
    let server = Server::start(SWIFT);
    let user = server.client.registered("alice").await;
    let made = user.post("/api/auth/keys", &json!({ "name": "screen", "scopes": ["read"] })).await;
    let reader = user.with(made.body["key"].as_str().unwrap());
    let id = user.submit(json!({})).await.order_id();
    let mut socket = reader.socket("/ws").await;
    assert_eq!(socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await["type"], "subscribed");
    assert_eq!(socket.ask(json!({ "type": "submit", "order": order(json!({})) })).await["code"], "missing_scope");
    assert_eq!(socket.ask(json!({ "type": "cancel", "orderId": id })).await["code"], "missing_scope");
    assert_eq!(reader.send("DELETE", "/api/orders", &[], String::new()).await.unwrap().status, 403);
}

#[actix::test]
async fn each_user_has_sockets_of_their_own_to_open() {
    let server = Server::start([("ws.max_sockets_per_client", "1")]);
    let (alice, bob) = (server.client.registered("alice").await, server.client.registered("bobby").await);
    let _sockets = [alice.socket("/ws").await, bob.socket("/ws").await, server.client.socket("/ws").await];
    for client in [&alice, &bob, &server.client] {
        assert!(client.try_socket("/ws").await.is_err());
    }
}

#[actix::test]
async fn mistakes_are_answered_and_the_socket_goes_on() {
    let server = Server::start(SWIFT);
    let mut socket = server.client.socket("/ws").await;
    for (message, code) in [
        (json!([]), "invalid_json"),
        (json!({ "type": "dance" }), "invalid_request"),
        (json!({ "type": "subscribe" }), "invalid_request"),
        (json!({ "type": "subscribe", "orderId": "x" }), "invalid_request"),
        (json!({ "type": "ping", "surprise": 1 }), "invalid_request"),
        (json!({ "type": "subscribe", "orderId": UNKNOWN }), "order_not_found"),
    ] {
        socket.say(&message).await;
        let told = socket.next().await.unwrap();
        assert_eq!((&told["type"], &told["code"]), (&json!("error"), &json!(code)), "{message}");
    }
    let parts = [Item::FirstText("{\"type\":".into()), Item::Continue("\"pi".into()), Item::Last("ng\"}".into())];
    for part in parts {
        socket.send(Message::Continuation(part)).await;
    }
    assert_eq!(socket.next().await.unwrap(), json!({ "type": "pong" }));
}

#[actix::test]
async fn whoever_sends_too_much_that_means_nothing_is_thrown_out() {
    let server = Server::start([("ws.mistakes_per_minute", "5"), ("ws.commands_per_minute", "8")]);
    let mut socket = server.client.socket("/ws").await;
    for _ in 0..8 {
        assert_eq!(socket.ask(json!({ "type": "ping" })).await["type"], "pong");
    }
    for _ in 0..5 {
        assert_eq!(socket.ask(json!({ "type": "ping" })).await["code"], "rate_limited");
    }
    socket.say(&json!({ "type": "ping" })).await;
    assert_eq!(socket.next().await.unwrap()["code"], "rate_limited");
    assert_eq!(socket.next().await, Err(Some(1008)));
}

#[actix::test]
async fn a_message_counts_as_a_request_of_its_client() {
    let limits = [("limits.loopback", "true"), ("limits.requests_per_second", "1"), ("limits.burst", "4")];
    let server = Server::start(limits);
    // Opening the socket is the first of four.
    let mut socket = server.client.socket("/ws").await;
    for _ in 0..3 {
        assert_eq!(socket.ask(json!({ "type": "ping" })).await["type"], "pong");
    }
    // A second may have passed meanwhile, and given one back.
    let more = [socket.ask(json!({ "type": "ping" })).await, socket.ask(json!({ "type": "ping" })).await];
    assert!(more.iter().any(|answer| answer["code"] == "too_many_requests"), "{more:?}");
}

#[actix::test]
async fn a_message_that_is_too_long_closes_the_socket_also_in_pieces() {
    let server = Server::start([("ws.max_message_bytes", "2000")]);
    let long = "x".repeat(3000);
    let mut socket = server.client.socket("/ws").await;
    socket.send(Message::Text(long.clone().into())).await;
    assert_eq!(socket.next().await, Err(Some(1009)));
    let mut socket = server.client.socket("/ws").await;
    socket.send(Message::Continuation(Item::FirstText(long[..1500].to_owned().into()))).await;
    socket.send(Message::Continuation(Item::Last(long[..1500].to_owned().into()))).await;
    assert_eq!(socket.next().await, Err(Some(1009)));
}

#[actix::test]
async fn a_socket_follows_no_more_orders_and_a_client_has_no_more_sockets_than_it_may() {
    let settings = [("ws.max_subscriptions", "2"), ("ws.max_sockets_per_client", "2"), ("orders.max_concurrent", "1")];
    let server = Server::start(settings);
    let ids: Vec<_> = at_once(4, (0..4).map(|_| server.client.submit(json!({}))))
        .await
        .iter()
        .map(|answer| answer.order_id())
        .collect();
    let mut socket = server.client.socket("/ws").await;
    for id in &ids[1..3] {
        assert_eq!(socket.ask(json!({ "type": "subscribe", "orderId": id })).await["type"], "subscribed");
    }
    let refused = socket.ask(json!({ "type": "subscribe", "orderId": ids[3] })).await;
    assert_eq!(refused["code"], "too_many_subscriptions");
    let second = server.client.socket(&format!("/ws/orders/{}", ids[3])).await;
    let answer = server.client.send("GET", "/ws", &upgrade(), String::new()).await.unwrap();
    assert_eq!((answer.status, &answer.body["code"]), (429, &json!("too_many_sockets")));
    drop(second);
    // Its place is free once the engine has noticed.
    let looks = async {
        while server.client.try_socket("/ws").await.is_err() {
            actix::clock::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looks).await.expect("its place is free again");
}

fn upgrade() -> [(&'static str, &'static str); 4] {
    [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
}

#[actix::test]
async fn a_socket_that_follows_nothing_and_says_nothing_is_closed() {
    let settings = [("ws.heartbeat_ms", "50"), ("ws.idle_timeout_ms", "200"), ("orders.max_concurrent", "1")];
    let server = Server::start(settings);
    let mut idle = server.client.socket("/ws").await;
    let mut follower = server.client.socket("/ws").await;
    follower.ask(json!({ "type": "subscribe", "channel": "orders" })).await;
    assert_eq!(idle.next().await, Err(Some(1000)));
    assert_eq!(follower.ask(json!({ "type": "ping" })).await["type"], "pong");
}
