//! Clients that hold connections without completing a request: each is disconnected, and healthy clients are served.

use std::time::Duration;

use futures_util::future::select_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::support::campaign;
use crate::support::client::order;
use crate::support::process::{SWIFT, Server};
use crate::support::wait::{TIMEOUT, until};

/// The time between two bytes of a slow client.
const DRIP: Duration = Duration::from_secs(1);

/// The number of clients that send requests and read no answer. They are few, because each also uses CPU.
const NEVER_READING: usize = 8;

/// The behaviour of a hostile client.
#[derive(Clone, Copy, Debug)]
enum Behaviour {
    /// Connects, and sends nothing.
    Silent,
    /// Sends the head of a request byte by byte.
    SlowHead,
    /// Sends a head, and then the body byte by byte.
    SlowBody,
    /// The same, in chunks to a route without a body: the answer arrives before the end of the body.
    EndlessBody,
    /// Sends one complete request, and then behaves as [`Behaviour::SlowHead`] on the same connection.
    SlowSecondHead,
    /// Sends requests, and reads no answer.
    NeverReading,
}

impl Behaviour {
    const SLOW: [Self; 5] = [Self::Silent, Self::SlowHead, Self::SlowBody, Self::EndlessBody, Self::SlowSecondHead];

    /// What it sends immediately, and what it then sends byte by byte.
    fn bytes(self) -> (String, &'static str) {
        let post = |path: &str, length: &str| {
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{length}\r\n\r\n")
        };
        let get = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned();
        match self {
            Self::Silent => (String::new(), ""),
            Self::SlowHead => (String::new(), "GET /health HTTP/1.1\r\nx-slow: "),
            Self::SlowBody => (post("/api/orders", "content-length: 60000"), "{\"tokenIn\":\"SOL\""),
            Self::EndlessBody => (post("/live", "transfer-encoding: chunked"), "1\r\nx\r\n"),
            Self::SlowSecondHead => (get, "GET /health HTTP/1.1\r\nx-slow: "),
            Self::NeverReading => (String::new(), ""),
        }
    }

    /// Runs until the server ends the connection; returns what the server answered.
    async fn run(self, address: String) -> String {
        if let Self::NeverReading = self {
            return never_read(address).await;
        }
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let (immediately, slowly) = self.bytes();
        let (mut read, mut write) = stream.split();
        let drip = async {
            let _ = write.write_all(immediately.as_bytes()).await;
            for byte in slowly.bytes().chain(std::iter::repeat(b'x')) {
                sleep(DRIP).await;
                if !matches!(self, Self::Silent) && write.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await
        };
        let mut answer = Vec::new();
        let receive = async {
            let mut buffer = [0; 1024];
            while let Ok(read @ 1..) = read.read(&mut buffer).await {
                answer.extend_from_slice(&buffer[..read]);
            }
        };
        tokio::select! { () = drip => {}, () = receive => {} }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Sends more requests than the buffers of the connection hold answers, and reads nothing until the connection ends.
async fn never_read(address: String) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    // The answer contains the path.
    let request = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(8_000));
    for _ in 0..400 {
        if stream.write_all(request.as_bytes()).await.is_err() {
            return String::new();
        }
    }
    while stream.write_all(b"x").await.is_ok() {
        sleep(DRIP).await;
    }
    String::new()
}

#[actix::test]
async fn slow_clients_are_disconnected_and_others_are_served() {
    let connections = campaign::size(2_000, 100);
    let mut server = Server::stopped(SWIFT);
    if !campaign::is_full() {
        // The full campaign uses the defaults.
        server.set("server.head_timeout_ms", "3000");
        server.set("server.body_timeout_ms", "3000");
        server.set("server.keep_alive_ms", "2000");
        server.set("server.request_timeout_ms", "4000");
    }
    server.restart();
    let address = server.client.address().to_owned();
    let open = async || server.client.metric("order_engine_connections").await;
    let never_reading = std::iter::repeat_n(Behaviour::NeverReading, NEVER_READING);
    let slow: Vec<_> = Behaviour::SLOW
        .into_iter()
        .cycle()
        .take(connections)
        .chain(never_reading)
        .map(|behaviour| (behaviour, actix_web::rt::spawn(timeout(TIMEOUT, behaviour.run(address.clone())))))
        .collect();
    // Some are disconnected before the last one connects, but most are connected at the same time.
    until("the slow clients were connected", async || open().await >= connections as u64 / 2).await;

    let ids = server.client.submit_many(400).await;
    server.client.until_all_confirmed(&ids).await;

    for (behaviour, ended) in slow {
        let answer = ended.await.unwrap().unwrap_or_else(|_| panic!("{behaviour:?} was never disconnected"));
        match behaviour {
            Behaviour::SlowHead => assert!(answer.starts_with("HTTP/1.1 408"), "{behaviour:?}: {answer:?}"),
            Behaviour::SlowBody => {
                assert!(
                    answer.starts_with("HTTP/1.1 408") && answer.contains("body_too_slow"),
                    "{behaviour:?}: {answer:?}"
                );
            }
            Behaviour::EndlessBody => assert!(answer.starts_with("HTTP/1.1 405"), "{behaviour:?}: {answer:?}"),
            Behaviour::SlowSecondHead => assert!(answer.starts_with("HTTP/1.1 200"), "{behaviour:?}: {answer:?}"),
            Behaviour::Silent | Behaviour::NeverReading => {}
        }
    }
    // The deadlines of the HTTP server miss some of them; the engine shuts those itself.
    let shut = server.client.metric("order_engine_connections_shut_total").await;
    assert!(shut >= (connections / Behaviour::SLOW.len()) as u64, "{shut}");
    // The connection of this request may remain, and one before it that is not closed yet.
    until("the connections were closed", async || open().await <= 2).await;
}

#[actix::test]
async fn a_connection_beyond_the_limit_of_one_client_is_closed() {
    let server = Server::start([("limits.connections", "4"), ("limits.loopback", "true")]);
    let address = server.client.address().to_owned();
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(TcpStream::connect(&address).await.unwrap());
    }
    // The one that the server accepts last is closed, long before the deadline of the others.
    let reads = open.iter_mut().map(|one| Box::pin(async { one.read(&mut [0; 8]).await }));
    let (read, ..) = timeout(TIMEOUT, select_all(reads)).await.expect("one is closed");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    drop(open);
    until("closed connections made room for others", async || server.client.is_served().await).await;
}

#[actix::test]
async fn at_the_limit_of_connections_a_new_client_replaces_a_silent_one() {
    let server = Server::start([
        ("server.max_connections", "8"),
        ("server.head_timeout_ms", "1000"),
        ("server.keep_alive_ms", "1000"),
    ]);
    let address = server.client.address().to_owned();
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    // A new client is served in the place of a silent one. Several threads accept connections, so a silent connection
    // that is accepted later may replace the new client before its request is read; the client then tries again.
    for tries in 1.. {
        match server.client.try_request("GET", "/live", &[], "").await {
            Ok(answer) => {
                assert_eq!(answer.status, 200);
                break;
            }
            Err(error) => assert!(tries < 4, "a new client is never served: {error}"),
        }
    }
}

/// An engine started after `ulimit` commands.
fn engine_with_limits(ulimits: &str) -> Server {
    let mut server = Server::stopped(SWIFT);
    server.start_through(&["sh", "-c", &format!("{ulimits} && exec \"$0\" \"$@\"")]);
    server.restart();
    server
}

#[actix::test]
async fn with_few_file_descriptors_surplus_connections_are_refused_and_orders_go_on() {
    let server = engine_with_limits("ulimit -n 256");
    let client = &server.client;
    assert_eq!(client.submit(json!({})).await.status, 201);
    // Open sockets are never replaced by new connections.
    let mut sockets = Vec::new();
    for _ in 0..300 {
        match client.try_socket("/ws").await {
            Ok(socket) => sockets.push(socket),
            Err(_) => break,
        }
    }
    assert!((8..=34).contains(&sockets.len()), "{} sockets", sockets.len());
    let surplus = timeout(TIMEOUT / 2, client.is_served()).await;
    assert!(!surplus.expect("the connection is refused instead of left waiting"), "no descriptor is left");
    // The database has its own descriptors, and the clients that are connected are served.
    let submitted = sockets[0].ask(json!({ "type": "submit", "order": order(json!({})) })).await;
    assert_eq!(submitted["type"], "order:submitted", "{submitted}");
    sockets.truncate(4);
    until("closed sockets made room for others", async || client.is_served().await).await;
    // Idle connections are replaced by new ones.
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(client.address()).await.unwrap());
    }
    for _ in 0..10 {
        assert_eq!(client.get("/live").await.status, 200);
    }
}

#[actix::test]
async fn the_soft_limit_of_open_files_is_raised_to_the_hard_limit() {
    let server = engine_with_limits("ulimit -Sn 128 && ulimit -Hn 2048");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(open_files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["2048", "2048"], "{limits}");
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(TcpStream::connect(server.client.address()).await.unwrap());
    }
    assert_eq!(server.client.get("/live").await.status, 200);
}
