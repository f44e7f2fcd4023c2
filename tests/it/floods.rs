//! Clients that send more than they mean, beside clients that mean what they send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{client_frame, order};
use crate::process::{PATIENCE, SWIFT, Server};

/// Memory that a flood may add, in KiB; without a bound one socket added gigabytes within seconds.
const MAY_ADD_KIB: u64 = 64 * 1024;

/// What one flood sends again and again.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty text", client_frame(0x1, b"")),
        ("empty binary", client_frame(0x2, b"")),
        ("tiny text", client_frame(0x1, b"x")),
        ("pings", client_frame(0x9, b"")),
        ("full pings", client_frame(0x9, &[b'x'; 125])),
        ("pongs that nobody asked for", client_frame(0xa, b"")),
    ]
}

/// Sends the same until the engine ends the connection; `false` if it never does.
fn flood(mut stream: TcpStream, frame: &[u8]) -> bool {
    let frames = frame.repeat(2_000);
    let mut answers = stream.try_clone().unwrap();
    // The answers are taken, so that it is not for them that the connection ends.
    std::thread::spawn(move || while answers.read(&mut [0; 65_536]).is_ok_and(|read| read > 0) {});
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let began = std::time::Instant::now();
    while began.elapsed() < PATIENCE {
        if stream.write_all(&frames).is_err() {
            return true;
        }
    }
    false
}

#[actix::test]
async fn a_flood_of_frames_eats_no_memory_ends_with_its_connection_and_keeps_nobody_waiting() {
    let server = Server::start(SWIFT);
    let client = server.client.clone();
    let before = server.memory_kib();
    for (what, frame) in floods() {
        let streams: Vec<_> = (0..4).map(|_| client.deaf_socket(&json!({ "type": "ping" }))).collect();
        let ended: Vec<_> = streams
            .into_iter()
            .map(|stream| {
                let frame = frame.clone();
                actix_web::web::block(move || flood(stream, &frame))
            })
            .collect();
        // Beside it everybody else is served.
        for _ in 0..20 {
            let id = client.submit(json!({})).await.order_id();
            assert_eq!(client.until_ended(&id).await["status"], "confirmed", "beside {what}");
        }
        for ended in ended {
            assert!(ended.await.unwrap(), "{what}: the connection is never ended");
        }
        let added = server.memory_kib().saturating_sub(before);
        assert!(added < MAY_ADD_KIB, "{what} added {added} KiB");
    }
}

#[actix::test]
async fn a_small_body_of_thousands_of_fields_is_answered_shortly() {
    let server = Server::start(SWIFT);
    let mut body = order(json!({}));
    for number in 0..4_000 {
        body[format!("f{number}")] = json!(1);
    }
    let answer = server.client.post("/api/orders", &body).await;
    assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid_request")));
    assert_eq!(answer.body["errors"].as_array().unwrap().len(), 20);
    assert_eq!(answer.body["moreErrors"], 3_980);
    assert!(answer.body.to_string().len() < 8 * 1024);
    let long = server.client.post("/api/orders", &order(json!({ "priority": "x".repeat(30_000) }))).await;
    assert_eq!(long.status, 400);
    assert!(long.body.to_string().len() < 2 * 1024, "{long:?}");
}

#[actix::test]
async fn submits_that_mean_nothing_close_their_socket() {
    let server = Server::start(SWIFT.into_iter().chain([("ws.mistakes_per_minute", "5")]));
    let mut socket = server.client.socket("/ws").await;
    let mut order = order(json!({}));
    for number in 0..1_000 {
        order[format!("f{number}")] = json!(1);
    }
    for _ in 0..6 {
        socket.say(&json!({ "type": "submit", "order": order })).await;
    }
    assert_eq!(socket.until_closed().await.close, Some(1008));
}

#[actix::test]
async fn subscribing_again_and_again_costs_nothing_however_many_orders_are_open() {
    let settings = [("orders.rate_limit_per_minute", "1"), ("ws.commands_per_minute", "100000")];
    let server = Server::start(SWIFT.into_iter().chain(settings).chain([("ws.mistakes_per_minute", "100000")]));
    for _ in 0..500 {
        server.client.submit(json!({})).await;
    }
    let mut socket = server.client.socket("/ws").await;
    let all = json!({ "type": "subscribe", "channel": "orders" });
    assert_eq!(socket.ask(all.clone()).await["type"], "subscribed");
    let before = server.memory_kib();
    for _ in 0..1_000 {
        let answer: Value = socket.ask(all.clone()).await;
        assert_eq!(answer["code"], "already_subscribed", "{answer}");
    }
    for _ in 0..500 {
        socket.ask(json!({ "type": "unsubscribe", "channel": "orders" })).await;
        assert_eq!(socket.ask(all.clone()).await["openOrders"], 499);
    }
    let added = server.memory_kib().saturating_sub(before);
    assert!(added < MAY_ADD_KIB, "{added} KiB");
}

/// Reads a socket slowly but steadily for so many rounds, and says how many bytes that were.
fn read_slowly(mut stream: TcpStream, rounds: u32) -> usize {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut part, mut read) = (vec![0; 4_096], 0);
    for _ in 0..rounds {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(some) => read += some,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    read
}

#[actix::test]
async fn slow_but_living_readers_of_all_orders_eat_no_memory() {
    let server = Server::start(SWIFT.into_iter().chain([("orders.max_concurrent", "200")]));
    let client = server.client.clone();
    let before = server.memory_kib();
    let all = json!({ "type": "subscribe", "channel": "orders" });
    let readers: Vec<_> = (0..20)
        .map(|_| {
            let stream = client.deaf_socket(&all);
            actix_web::web::block(move || read_slowly(stream, 300))
        })
        .collect();
    let submits = (0..3_000).map(|_| async { client.submit(json!({})).await.status });
    let statuses = crate::client::at_once(32, submits).await;
    assert!(statuses.iter().all(|status| *status == 201), "submits go on");
    assert_eq!(client.get("/api/orders?limit=200").await.status, 200);
    let added = server.memory_kib().saturating_sub(before);
    assert!(added < 2 * MAY_ADD_KIB, "{added} KiB");
    for reader in readers {
        assert!(reader.await.unwrap() > 0, "each was told something");
    }
}
