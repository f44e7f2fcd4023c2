//! The socket for many orders: subscriptions, commands and limits.

use actix_http::ws::Item;
use awc::ws::Message;
use serde_json::json;

use crate::support::client::order;
use crate::support::process::{SWIFT, Server};
use crate::support::raw;
use crate::support::wait::until;

const UNKNOWN: &str = "01890000-0000-7000-8000-000000000000";

/// An engine that runs the first order; all others wait.
fn engine_with_waiting_orders() -> Server {
    Server::start([("orders.rate_limit_per_minute", "1"), ("orders.max_concurrent", "1")])
}

#[actix::test]
async fn one_socket_follows_many_orders_and_stays_open_after_their_ends() {
    let server = Server::start(SWIFT);
    let mut socket = server.client.socket("/ws").await;
    for _ in 0..3 {
        let submitted = server.client.submit(json!({})).await;
        let id = submitted.order_id();
        socket.send(&json!({ "type": "subscribe", "orderId": id, "requestId": 7 })).await;
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
async fn a_subscription_resumes_after_the_sequence_number_that_the_client_gives() {
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
async fn the_channel_of_all_orders_sends_each_step_once_also_of_orders_from_other_connections() {
    let server = Server::start(SWIFT);
    let mut socket = server.client.socket("/ws").await;
    let subscribed = socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await;
    assert_eq!((&subscribed["type"], &subscribed["openOrders"]), (&json!("subscribed"), &json!(0)));
    let mut ids = server.client.submit_many(100).await;
    let mut other = server.client.socket("/ws").await;
    let over_socket = other.ask(json!({ "type": "submit", "order": order(json!({})) })).await;
    ids.push(over_socket["orderId"].as_str().unwrap().to_owned());
    socket.assert_every_step_once(&ids).await;
}

#[actix::test]
async fn a_full_mailbox_loses_no_step_for_a_client_that_reads() {
    // With a mailbox of one message nearly every step is dropped, and read again from the history.
    let server = Server::start(SWIFT.into_iter().chain([("ws.mailbox", "1")]));
    let mut socket = server.client.follow_all().await;
    let ids = server.client.submit_many(300).await;
    socket.assert_every_step_once(&ids).await;
}

#[actix::test]
async fn the_channel_of_all_orders_includes_open_orders_until_it_is_unsubscribed() {
    let server = engine_with_waiting_orders();
    let running = server.client.submit(json!({})).await.order_id();
    let ids = server.client.submit_many(3).await;
    let waiting = &ids[0];
    server.client.until(&running, |order| order["status"] != "pending").await;
    let mut socket = server.client.socket("/ws").await;
    assert!(socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await["openOrders"].as_u64() >= Some(3));
    // Subscribed to the channel and to the order, the socket still sends each step once.
    let again = socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await;
    assert_eq!((&again["type"], &again["code"]), (&json!("error"), &json!("already_subscribed")));
    socket.ask(json!({ "type": "subscribe", "orderId": waiting })).await;
    socket.ask(json!({ "type": "cancel", "orderId": waiting })).await;
    socket.send(&json!({ "type": "unsubscribe", "channel": "orders", "requestId": "left" })).await;
    let mut updates = 0;
    loop {
        let message = socket.next().await.unwrap();
        if message["requestId"] == "left" {
            assert_eq!((&message["type"], &message["channel"]), (&json!("unsubscribed"), &json!("orders")));
            break;
        }
        updates += usize::from(message["orderId"] == **waiting && message["status"] == "cancelled");
    }
    // The answer to the cancel was read before and is not counted; the update may have arrived before that answer.
    assert!(updates <= 1, "{updates}");
    server.client.post(&format!("/api/orders/{}/cancel", ids[1]), &json!({})).await;
    assert_eq!(socket.ask(json!({ "type": "ping" })).await["type"], "pong");
}

#[actix::test]
async fn an_unsubscribed_order_sends_no_more_updates() {
    let server = engine_with_waiting_orders();
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
        server.client.cancel(id).await;
    }
    let update = socket.next().await.unwrap();
    assert_eq!((&update["orderId"], &update["status"]), (&json!(ids[1]), &json!("cancelled")));
}

#[actix::test]
async fn a_submit_over_the_socket_means_the_same_as_over_http() {
    let server = Server::start(SWIFT);
    let mut socket = server.client.socket("/ws").await;
    let submit = json!({ "type": "submit", "order": order(json!({})), "idempotencyKey": "over-the-socket" });
    let first = socket.ask(submit.clone()).await;
    assert_eq!((&first["type"], &first["created"]), (&json!("order:submitted"), &json!(true)));
    assert_eq!(first["order"]["amountIn"], "1.5");
    let repeat = socket.ask(submit).await;
    assert_eq!((&repeat["orderId"], &repeat["created"]), (&first["orderId"], &json!(false)));
    let http = server.client.submit_with_key("over-the-socket", json!({})).await;
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
async fn a_cancel_over_the_socket_is_answered_with_its_outcome() {
    let server = engine_with_waiting_orders();
    server.client.submit(json!({})).await;
    let id = server.client.submit(json!({})).await.order_id();
    let mut socket = server.client.socket("/ws").await;
    let cancelled = socket.ask(json!({ "type": "cancel", "orderId": id })).await;
    assert_eq!((&cancelled["type"], &cancelled["status"]), (&json!("order:cancelled"), &json!("cancelled")));
    let unknown = socket.ask(json!({ "type": "cancel", "orderId": UNKNOWN })).await;
    assert_eq!((&unknown["code"], &unknown["orderId"]), (&json!("order_not_found"), &json!(UNKNOWN)));
}

#[actix::test]
async fn a_socket_shows_no_orders_of_other_users() {
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
    own.assert_every_step_once(std::slice::from_ref(&id)).await;
    for socket in &mut sockets {
        for kind in ["subscribe", "cancel"] {
            let foreign = socket.ask(json!({ "type": kind, "orderId": id })).await;
            let unknown = socket.ask(json!({ "type": kind, "orderId": UNKNOWN })).await;
            assert_eq!((&foreign["code"], &unknown["code"]), (&json!("order_not_found"), &json!("order_not_found")));
        }
        // An update of the order would have arrived before this answer.
        socket.send(&json!({ "type": "ping" })).await;
        assert_eq!(socket.next().await.unwrap(), json!({ "type": "pong" }));
    }
    assert_eq!(bob.get("/api/orders/by-client-id/hers").await.status, 404);
    let own = bob.submit(json!({ "clientOrderId": "hers" })).await.order_id();
    assert_eq!(bob.get("/api/orders/by-client-id/hers").await.body["orderId"], json!(own));
}

#[actix::test]
async fn a_key_with_the_read_scope_follows_orders_and_cannot_trade() {
    let server = Server::start(SWIFT);
    let user = server.client.registered("alice").await;
    let made = user.post("/api/auth/keys", &json!({ "name": "screen", "scopes": ["read"] })).await;
    let reader = user.with(made.body["key"].as_str().unwrap());
    let id = user.submit(json!({})).await.order_id();
    let mut socket = reader.socket("/ws").await;
    assert_eq!(socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await["type"], "subscribed");
    assert_eq!(socket.ask(json!({ "type": "submit", "order": order(json!({})) })).await["code"], "missing_scope");
    assert_eq!(socket.ask(json!({ "type": "cancel", "orderId": id })).await["code"], "missing_scope");
    assert_eq!(reader.delete("/api/orders").await.status, 403);
}

#[actix::test]
async fn each_user_has_a_separate_limit_of_sockets() {
    let server = Server::start([("ws.max_sockets_per_client", "1")]);
    let (alice, bob) = (server.client.registered("alice").await, server.client.registered("bobby").await);
    let _sockets = [alice.socket("/ws").await, bob.socket("/ws").await, server.client.socket("/ws").await];
    for client in [&alice, &bob, &server.client] {
        assert!(client.try_socket("/ws").await.is_err());
    }
}

#[actix::test]
async fn invalid_messages_are_answered_and_the_socket_stays_open() {
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
        socket.send(&message).await;
        let update = socket.next().await.unwrap();
        assert_eq!((&update["type"], &update["code"]), (&json!("error"), &json!(code)), "{message}");
    }
    let parts = [Item::FirstText("{\"type\":".into()), Item::Continue("\"pi".into()), Item::Last("ng\"}".into())];
    for part in parts {
        socket.send_frame(Message::Continuation(part)).await;
    }
    assert_eq!(socket.next().await.unwrap(), json!({ "type": "pong" }));
}

#[actix::test]
async fn a_socket_with_too_many_mistakes_is_closed() {
    let server = Server::start([("ws.mistakes_per_minute", "5"), ("ws.commands_per_minute", "8")]);
    let mut socket = server.client.socket("/ws").await;
    for _ in 0..8 {
        assert_eq!(socket.ask(json!({ "type": "ping" })).await["type"], "pong");
    }
    for _ in 0..5 {
        assert_eq!(socket.ask(json!({ "type": "ping" })).await["code"], "rate_limited");
    }
    socket.send(&json!({ "type": "ping" })).await;
    assert_eq!(socket.next().await.unwrap()["code"], "rate_limited");
    assert_eq!(socket.next().await, Err(Some(1008)));
}

#[actix::test]
async fn a_message_counts_as_a_request_of_its_client() {
    let limits = [("limits.loopback", "true"), ("limits.requests_per_second", "1"), ("limits.burst", "4")];
    let server = Server::start(limits);
    // Opening the socket is the first of four requests.
    let mut socket = server.client.socket("/ws").await;
    for _ in 0..3 {
        assert_eq!(socket.ask(json!({ "type": "ping" })).await["type"], "pong");
    }
    // A second may have passed, in which one request became free again.
    let more = [socket.ask(json!({ "type": "ping" })).await, socket.ask(json!({ "type": "ping" })).await];
    assert!(more.iter().any(|answer| answer["code"] == "too_many_requests"), "{more:?}");
}

#[actix::test]
async fn a_message_that_is_too_long_closes_the_socket_also_in_fragments() {
    let server = Server::start([("ws.max_message_bytes", "2000")]);
    let long = "x".repeat(3000);
    let mut socket = server.client.socket("/ws").await;
    socket.send_frame(Message::Text(long.clone().into())).await;
    assert_eq!(socket.next().await, Err(Some(1009)));
    let mut socket = server.client.socket("/ws").await;
    socket.send_frame(Message::Continuation(Item::FirstText(long[..1500].to_owned().into()))).await;
    socket.send_frame(Message::Continuation(Item::Last(long[..1500].to_owned().into()))).await;
    assert_eq!(socket.next().await, Err(Some(1009)));
}

#[actix::test]
async fn the_subscriptions_of_a_socket_and_the_sockets_of_a_client_are_limited() {
    let settings = [("ws.max_subscriptions", "2"), ("ws.max_sockets_per_client", "2"), ("orders.max_concurrent", "1")];
    let server = Server::start(settings);
    let ids = server.client.submit_many(4).await;
    let mut socket = server.client.socket("/ws").await;
    for id in &ids[1..3] {
        assert_eq!(socket.ask(json!({ "type": "subscribe", "orderId": id })).await["type"], "subscribed");
    }
    let refused = socket.ask(json!({ "type": "subscribe", "orderId": ids[3] })).await;
    assert_eq!(refused["code"], "too_many_subscriptions");
    let second = server.client.socket(&format!("/ws/orders/{}", ids[3])).await;
    let answer = server.client.get_with("/ws", &raw::UPGRADE).await;
    assert_eq!((answer.status, &answer.body["code"]), (429, &json!("too_many_sockets")));
    drop(second);
    until("a closed socket freed its place", async || server.client.try_socket("/ws").await.is_ok()).await;
}

#[actix::test]
async fn an_idle_socket_without_subscriptions_is_closed() {
    let settings = [("ws.heartbeat_ms", "50"), ("ws.idle_timeout_ms", "200"), ("orders.max_concurrent", "1")];
    let server = Server::start(settings);
    let mut idle = server.client.socket("/ws").await;
    let mut follower = server.client.follow_all().await;
    assert_eq!(idle.next().await, Err(Some(1000)));
    assert_eq!(follower.ask(json!({ "type": "ping" })).await["type"], "pong");
}
