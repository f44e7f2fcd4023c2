//! Floods of frames, bodies and requests: memory stays bounded, and other clients are served.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{Client, concurrently, order};
use crate::support::process::{SWIFT, Server};
use crate::support::raw;
use crate::support::socket::Socket;
use crate::support::wait::TIMEOUT;

/// The memory that a flood may add, in KiB; without a bound one socket added gigabytes within seconds.
const MAY_ADD_KIB: u64 = 64 * 1024;

/// The kinds of floods: a name, the first bytes, and the frame that is repeated.
fn floods() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    vec![
        ("empty text", vec![], raw::client_frame(0x1, b"")),
        ("empty binary", vec![], raw::client_frame(0x2, b"")),
        ("tiny text", vec![], raw::client_frame(0x1, b"x")),
        ("empty continuations", raw::unfinished_frame(0x1, b""), raw::unfinished_frame(0x0, b"")),
        ("pings", vec![], raw::client_frame(0x9, b"")),
        ("full pings", vec![], raw::client_frame(0x9, &[b'x'; 125])),
        ("unsolicited pongs", vec![], raw::client_frame(0xa, b"")),
    ]
}

/// Floods a socket until the engine ends the connection; `false` if it never does, or only stops reading.
fn flood(mut stream: TcpStream, first: &[u8], frame: &[u8]) -> bool {
    let frames = frame.repeat(2_000);
    // Unread answers would be another reason to end the connection.
    raw::discard_answers(&stream);
    let start = Instant::now();
    let mut sent = stream.write_all(first);
    while sent.is_ok() && start.elapsed() < TIMEOUT {
        sent = stream.write_all(&frames);
    }
    sent.is_err_and(|error| matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

#[actix::test]
async fn a_flood_of_frames_is_disconnected_uses_little_memory_and_does_not_delay_others() {
    let server = Server::start(SWIFT.into_iter().chain([("orders.backoff_initial_ms", "600000")]));
    let (client, others) = (server.client.clone(), server.client.registered("others").await);
    // The order waits for its second attempt, so that its sockets stay open.
    let waits = client.submit(json!({ "minAmountOut": "1000000" })).await.order_id();
    client.until(&waits, |order| order["retryCount"] == 1).await;
    let one_order = format!("/ws/orders/{waits}");
    let before = server.memory_kib();
    for path in ["/ws", &one_order] {
        // All kinds run concurrently, each on two sockets.
        let floods: Vec<_> = floods()
            .into_iter()
            .flat_map(|flood| [flood.clone(), flood])
            .map(|(what, first, frame)| {
                let stream = raw::upgrade(&client, path);
                (what, actix_web::web::block(move || flood(stream, &first, &frame)))
            })
            .collect();
        // Other users are served meanwhile.
        for _ in 0..10 {
            let id = others.submit(json!({})).await.order_id();
            others.until_confirmed(&id).await;
        }
        for (what, ended) in floods {
            assert!(ended.await.unwrap(), "{what} on {path}: the connection is never ended");
        }
        let added = server.memory_kib().saturating_sub(before);
        assert!(added < MAY_ADD_KIB, "floods on {path} added {added} KiB");
    }
}

#[actix::test]
async fn a_body_with_thousands_of_wrong_fields_gets_a_short_answer() {
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
async fn a_socket_with_too_many_invalid_submits_is_closed() {
    let server = Server::start(SWIFT.into_iter().chain([("ws.mistakes_per_minute", "5")]));
    let mut socket = server.client.socket("/ws").await;
    let mut order = order(json!({}));
    for number in 0..1_000 {
        order[format!("f{number}")] = json!(1);
    }
    for _ in 0..6 {
        socket.send(&json!({ "type": "submit", "order": order })).await;
    }
    assert_eq!(socket.until_closed().await.close, Some(1008));
}

#[actix::test]
async fn repeated_subscriptions_use_no_memory_with_many_open_orders() {
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
        let answer = socket.ask(all.clone()).await;
        assert_eq!(answer["code"], "already_subscribed", "{answer}");
    }
    for _ in 0..500 {
        socket.ask(json!({ "type": "unsubscribe", "channel": "orders" })).await;
        assert_eq!(socket.ask(all.clone()).await["openOrders"], 499);
    }
    let added = server.memory_kib().saturating_sub(before);
    assert!(added < MAY_ADD_KIB, "{added} KiB");
}

/// Reads slowly until that many orders have ended or the socket is closed; the messages and the close code.
async fn read_slowly(mut socket: Socket, orders: usize) -> (Vec<Value>, Option<u16>) {
    let (mut messages, mut ended) = (Vec::new(), 0);
    while ended < orders {
        match socket.next().await {
            Ok(message) => {
                ended += usize::from(message["type"] == "order:update" && message["status"] == "confirmed");
                messages.push(message);
            }
            Err(close) => return (messages, close),
        }
        // The slowness of this reader, not a wait for anything.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (messages, None)
}

#[actix::test]
async fn slow_readers_use_little_memory_and_miss_no_step_or_are_closed_with_4408() {
    let server = Server::start(SWIFT.into_iter().chain([("orders.max_concurrent", "200")]));
    let (client, other) = (server.client.clone(), server.client.registered("other").await);
    let before = server.memory_kib();
    let mut readers = Vec::new();
    for _ in 0..20 {
        let socket = client.follow_all().await;
        readers.push(actix_web::rt::spawn(read_slowly(socket, 1_000)));
    }
    let submits = (0..1_000).map(|_| async { client.submit(json!({})).await.status });
    let statuses = concurrently(32, submits).await;
    assert!(statuses.iter().all(|status| *status == 201), "submits go on");
    assert_eq!(other.submit(json!({})).await.status, 201);
    assert_eq!(other.get("/api/orders?limit=200").await.status, 200);
    for reader in readers {
        let (messages, close) = reader.await.unwrap();
        let count = messages.len();
        assert!(count > 0 && matches!(close, None | Some(4408)), "{count} messages, then {close:?}");
        let mut seqs = BTreeMap::<String, u64>::new();
        for update in messages.iter().filter(|message| message["type"] == "order:update") {
            let (id, seq) = (update["orderId"].as_str().unwrap().to_owned(), update["seq"].as_u64().unwrap());
            let last = seqs.insert(id, seq);
            assert!(last.is_none_or(|last| seq == last + 1), "{seq} after {last:?}: {update}");
        }
    }
    let added = server.memory_kib().saturating_sub(before);
    assert!(added < MAY_ADD_KIB, "{added} KiB");
}

/// Settings under which no deadline of a request passes within a test.
const NO_DEADLINES: [(&str, &str); 3] =
    [("server.keep_alive_ms", "3600000"), ("server.head_timeout_ms", "3600000"), ("server.body_timeout_ms", "3600000")];

/// Writes the same bytes until the engine ends the connection, and reads nothing.
fn write_until_disconnected(client: &Client, first: &str, repeated: &[u8]) {
    let mut stream = raw::connect(client);
    let (repeated, mut sent) = (repeated.repeat(10_000), stream.write_all(first.as_bytes()));
    let start = Instant::now();
    while sent.is_ok() {
        assert!(start.elapsed() < TIMEOUT, "{first}: the engine never stops reading");
        sent = stream.write_all(&repeated);
    }
    let cut = sent.unwrap_err().kind();
    assert!(matches!(cut, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{first}: {cut}");
}

#[actix::test]
async fn unread_answers_use_little_memory() {
    let server = Server::start(SWIFT.into_iter().chain(NO_DEADLINES));
    let before = server.memory_kib();
    let floods: Vec<_> = (0..40)
        .map(|_| {
            let (client, request) = (server.client.clone(), b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n");
            actix_web::web::block(move || write_until_disconnected(&client, "", request))
        })
        .collect();
    for flood in floods {
        flood.await.unwrap();
    }
    let added = server.memory_kib().saturating_sub(before);
    // Without a bound each of them took 12 MiB. The server keeps some read buffers in its pools.
    assert!(added < 2 * MAY_ADD_KIB, "{added} KiB");
    assert_eq!(server.client.submit(json!({})).await.status, 201);
}

#[actix::test]
async fn a_chunked_body_without_an_end_is_disconnected() {
    let server = Server::start(SWIFT.into_iter().chain(NO_DEADLINES));
    let head = |method: &str, path: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: \
             chunked\r\n\r\n"
        )
    };
    let submit = head("POST", "/api/orders");
    for (first, repeated) in [
        (submit.clone(), b"1\r\nx\r\n".as_slice()),
        (head("GET", "/live"), b"1\r\nx\r\n"),
        (head("POST", "/nowhere"), b"1\r\nx\r\n"),
        (format!("{submit}1;"), b"xxxxxxxx"),
        (format!("{submit}0\r\n"), b"a: b\r\n"),
    ] {
        let client = server.client.clone();
        actix_web::web::block(move || write_until_disconnected(&client, &first, repeated)).await.unwrap();
    }
    // A body that ends is answered, and its connection stays usable.
    let body = order(json!({})).to_string();
    let pieces = format!("{submit}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let mut stream = raw::connect(&server.client);
    for _ in 0..3 {
        stream.write_all(pieces.as_bytes()).unwrap();
        let mut answer = [0; 4_096];
        let read = stream.read(&mut answer).unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&answer[..read]));
    }
}

#[actix::test]
async fn commands_that_wait_for_the_database_use_little_memory() {
    let limits = [("ws.commands_per_minute", "1000000"), ("ws.mistakes_per_minute", "1000000")];
    let server = Server::start(SWIFT.into_iter().chain(limits));
    let before = server.memory_kib();
    let cancel = r#"{"type":"cancel","orderId":"01890000-0000-7000-8000-000000000000"}"#;
    let floods: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = raw::upgrade(&server.client, "/ws");
            let frames = raw::client_frame(0x1, cancel.as_bytes()).repeat(500);
            actix_web::web::block(move || {
                raw::discard_answers(&stream);
                (0..20).all(|_| stream.write_all(&frames).is_ok())
            })
        })
        .collect();
    for flood in floods {
        assert!(flood.await.unwrap(), "a socket within its limits was closed");
    }
    let added = server.memory_kib().saturating_sub(before);
    assert!(added < MAY_ADD_KIB, "{added} KiB");
}
