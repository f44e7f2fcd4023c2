//! Clients that send more than they mean, beside clients that mean what they send.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Socket, client_frame, order};
use crate::support::process::{PATIENCE, SWIFT, Server};

/// Memory that a flood may add, in KiB; without a bound one socket added gigabytes within seconds.
const MAY_ADD_KIB: u64 = 64 * 1024;

/// What one flood sends first, and what it sends again and again.
fn floods() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let mut begun = client_frame(0x1, b"");
    // Without the bit that ends a message.
    begun[0] &= 0x7f;
    let mut continued = client_frame(0x0, b"");
    continued[0] &= 0x7f;
    vec![
        ("empty text", vec![], client_frame(0x1, b"")),
        ("empty binary", vec![], client_frame(0x2, b"")),
        ("tiny text", vec![], client_frame(0x1, b"x")),
        ("empty continuations", begun, continued),
        ("pings", vec![], client_frame(0x9, b"")),
        ("full pings", vec![], client_frame(0x9, &[b'x'; 125])),
        ("pongs that nobody asked for", vec![], client_frame(0xa, b"")),
    ]
}

/// Floods a socket until the engine ends the connection; `false` if the engine only stops taking bytes, or never ends it.
fn flood(mut stream: TcpStream, first: &[u8], frame: &[u8]) -> bool {
    let frames = frame.repeat(2_000);
    let mut answers = stream.try_clone().unwrap();
    // The answers are taken, so that it is not for them that the connection ends.
    std::thread::spawn(move || while answers.read(&mut [0; 65_536]).is_ok_and(|read| read > 0) {});
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let began = std::time::Instant::now();
    let mut sent = stream.write_all(first);
    while sent.is_ok() && began.elapsed() < PATIENCE {
        sent = stream.write_all(&frames);
    }
    sent.is_err_and(|error| matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

#[actix::test]
async fn a_flood_of_frames_eats_no_memory_ends_with_its_connection_and_keeps_nobody_waiting() {
    let server = Server::start(SWIFT.into_iter().chain([("orders.backoff_initial_ms", "600000")]));
    let (client, others) = (server.client.clone(), server.client.registered("others").await);
    // It waits for its second attempt, so its sockets are not closed for its end.
    let waits = client.submit(json!({ "minAmountOut": "1000000" })).await.order_id();
    client.until(&waits, |order| order["retryCount"] == 1).await;
    let one_order = format!("/ws/orders/{waits}");
    let before = server.memory_kib();
    for path in ["/ws", &one_order] {
        // All at once, each on two sockets.
        let floods: Vec<_> = floods()
            .into_iter()
            .flat_map(|flood| [flood.clone(), flood])
            .map(|(what, first, frame)| {
                let stream = client.raw_socket(path);
                (what, actix_web::web::block(move || flood(stream, &first, &frame)))
            })
            .collect();
        // Beside them everybody else is served.
        for _ in 0..10 {
            let id = others.submit(json!({})).await.order_id();
            assert_eq!(others.until_ended(&id).await["status"], "confirmed", "beside floods on {path}");
        }
        for (what, ended) in floods {
            assert!(ended.await.unwrap(), "{what} on {path}: the connection is never ended");
        }
        let added = server.memory_kib().saturating_sub(before);
        assert!(added < MAY_ADD_KIB, "floods on {path} added {added} KiB");
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

/// Takes one message after another slowly until so many orders have ended or the socket is closed; the messages and how
/// it was closed.
async fn follow_slowly(mut socket: Socket, orders: usize) -> (Vec<Value>, Option<u16>) {
    let (mut told, mut ended) = (Vec::new(), 0);
    while ended < orders {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("a reader hears no more, and is not closed") {
            Ok(message) => {
                ended += usize::from(message["type"] == "order:update" && message["status"] == "confirmed");
                told.push(message);
            }
            Err(close) => return (told, close),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (told, None)
}

#[actix::test]
async fn slow_but_living_readers_of_all_orders_eat_no_memory_and_miss_nothing_or_are_told_so() {
    let server = Server::start(SWIFT.into_iter().chain([("orders.max_concurrent", "200")]));
    let (client, other) = (server.client.clone(), server.client.registered("other").await);
    let before = server.memory_kib();
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut socket = client.socket("/ws").await;
        assert_eq!(socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await["type"], "subscribed");
        readers.push(actix_web::rt::spawn(follow_slowly(socket, 1_000)));
    }
    let submits = (0..1_000).map(|_| async { client.submit(json!({})).await.status });
    let statuses = crate::support::client::at_once(32, submits).await;
    assert!(statuses.iter().all(|status| *status == 201), "submits go on");
    assert_eq!(other.submit(json!({})).await.status, 201);
    assert_eq!(other.get("/api/orders?limit=200").await.status, 200);
    for reader in readers {
        let (told, close) = reader.await.unwrap();
        assert!(!told.is_empty() && matches!(close, None | Some(4408)), "{} messages, then {close:?}", told.len());
        let mut seqs = BTreeMap::<String, u64>::new();
        for update in told.iter().filter(|message| message["type"] == "order:update") {
            let (id, seq) = (update["orderId"].as_str().unwrap().to_owned(), update["seq"].as_u64().unwrap());
            let last = seqs.insert(id, seq);
            assert!(last.is_none_or(|last| seq == last + 1), "{seq} after {last:?}: {update}");
        }
    }
    let added = server.memory_kib().saturating_sub(before);
    assert!(added < MAY_ADD_KIB, "{added} KiB");
}

/// Settings under which no deadline of a request is over within a test.
const NO_DEADLINES: [(&str, &str); 3] =
    [("server.keep_alive_ms", "3600000"), ("server.head_timeout_ms", "3600000"), ("server.body_timeout_ms", "3600000")];

/// Writes the same bytes again and again until the engine ends the connection, and reads nothing.
fn write_until_cut(url: &str, first: &str, again: &[u8]) {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let (again, mut sent) = (again.repeat(10_000), stream.write_all(first.as_bytes()));
    let began = std::time::Instant::now();
    while sent.is_ok() {
        assert!(began.elapsed() < PATIENCE, "{first}: it is read for ever");
        sent = stream.write_all(&again);
    }
    let cut = sent.unwrap_err().kind();
    assert!(matches!(cut, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{first}: {cut}");
}

#[actix::test]
async fn answers_that_nobody_reads_do_not_pile_up_in_memory() {
    let server = Server::start(SWIFT.into_iter().chain(NO_DEADLINES));
    let before = server.memory_kib();
    let floods: Vec<_> = (0..40)
        .map(|_| {
            let url = server.client.url().to_owned();
            actix_web::web::block(move || write_until_cut(&url, "", b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n"))
        })
        .collect();
    for flood in floods {
        flood.await.unwrap();
    }
    let added = server.memory_kib().saturating_sub(before);
    // Without a bound each of them took 12 MiB. The server's own pools keep some read buffers, however many come.
    assert!(added < 2 * MAY_ADD_KIB, "{added} KiB");
    assert_eq!(server.client.submit(json!({})).await.status, 201);
}

#[actix::test]
async fn a_body_in_pieces_is_not_read_for_ever() {
    let server = Server::start(SWIFT.into_iter().chain(NO_DEADLINES));
    let head = |method: &str, path: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: \
             chunked\r\n\r\n"
        )
    };
    let submit = head("POST", "/api/orders");
    for (first, again) in [
        (submit.clone(), b"1\r\nx\r\n".as_slice()),
        (head("GET", "/live"), b"1\r\nx\r\n"),
        (head("POST", "/nowhere"), b"1\r\nx\r\n"),
        (format!("{submit}1;"), b"xxxxxxxx"),
        (format!("{submit}0\r\n"), b"a: b\r\n"),
    ] {
        let url = server.client.url().to_owned();
        actix_web::web::block(move || write_until_cut(&url, &first, again)).await.unwrap();
    }
    // One that ends is answered, and its connection is used again.
    let body = order(json!({})).to_string();
    let pieces = format!("{submit}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(server.client.url().strip_prefix("http://").unwrap()).unwrap();
    for _ in 0..3 {
        stream.write_all(pieces.as_bytes()).unwrap();
        let mut answer = [0; 4_096];
        let read = stream.read(&mut answer).unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&answer[..read]));
    }
}

#[actix::test]
async fn commands_that_wait_for_the_database_do_not_pile_up_in_memory() {
    let limits = [("ws.commands_per_minute", "1000000"), ("ws.mistakes_per_minute", "1000000")];
    let server = Server::start(SWIFT.into_iter().chain(limits));
    let before = server.memory_kib();
    let cancel = r#"{"type":"cancel","orderId":"01890000-0000-7000-8000-000000000000"}"#;
    let floods: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = server.client.raw_socket("/ws");
            let frames = client_frame(0x1, cancel.as_bytes()).repeat(500);
            actix_web::web::block(move || {
                let mut answers = stream.try_clone().unwrap();
                std::thread::spawn(move || while answers.read(&mut [0; 65_536]).is_ok_and(|read| read > 0) {});
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                (0..20).all(|_| stream.write_all(&frames).is_ok())
            })
        })
        .collect();
    for flood in floods {
        assert!(flood.await.unwrap(), "a socket that keeps to its limits was closed");
    }
    let added = server.memory_kib().saturating_sub(before);
    assert!(added < MAY_ADD_KIB, "{added} KiB");
}
