//! Clients that hold connections without ever getting to the point: healthy ones are not harmed, and each is closed.

use std::time::Duration;

use futures_util::future::select_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::support::client::at_once;
use crate::support::crowd::full;
use crate::support::process::{PATIENCE, SWIFT, Server};

/// Between two bytes of a slow client.
const DRIP: Duration = Duration::from_secs(1);

/// How many ask much and read nothing: few, for they are a load and not only a burden.
const NEVER_READING: usize = 8;

/// What a hostile client does.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Connects, and says nothing.
    Silent,
    /// Says a request's head, a byte at a time.
    SlowHead,
    /// Says a head at once, and the body a byte at a time.
    SlowBody,
    /// As above, to a route that wants no body, in chunks: the answer is there long before the body's end.
    EndlessBody,
    /// Asks properly once, and then as [`Manner::SlowHead`] on the same connection.
    SlowSecondHead,
    /// Asks and asks, and reads no answer.
    NeverReading,
}

impl Manner {
    const SLOW: [Self; 5] = [Self::Silent, Self::SlowHead, Self::SlowBody, Self::EndlessBody, Self::SlowSecondHead];

    /// What is said at once, and what then a byte at a time.
    fn says(self) -> (String, &'static str) {
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

    /// Does it until the server ends the connection; says what the server answered before.
    async fn act(self, address: String) -> String {
        if let Self::NeverReading = self {
            return never_read(address).await;
        }
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let (at_once, slowly) = self.says();
        let (mut read, mut write) = stream.split();
        let drip = async {
            let _ = write.write_all(at_once.as_bytes()).await;
            for byte in slowly.bytes().chain(std::iter::repeat(b'x')) {
                sleep(DRIP).await;
                if !matches!(self, Self::Silent) && write.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await
        };
        let mut answer = Vec::new();
        let hear = async {
            let mut buffer = [0; 1024];
            while let Ok(read @ 1..) = read.read(&mut buffer).await {
                answer.extend_from_slice(&buffer[..read]);
            }
        };
        tokio::select! { () = drip => {}, () = hear => {} }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Asks for more than fits on the way, and waits for the end without having read a byte.
async fn never_read(address: String) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    // The answer repeats the path.
    let ask = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(8_000));
    for _ in 0..400 {
        if stream.write_all(ask.as_bytes()).await.is_err() {
            return String::new();
        }
    }
    while stream.write_all(b"x").await.is_ok() {
        sleep(DRIP).await;
    }
    String::new()
}

#[actix::test]
async fn slow_clients_are_closed_and_harm_nobody() {
    let connections = if full() { 2_000 } else { 100 };
    let mut server = Server::idle(SWIFT);
    if !full() {
        // Otherwise as they are by default.
        server.set("server.head_timeout_ms", "3000");
        server.set("server.body_timeout_ms", "3000");
        server.set("server.keep_alive_ms", "2000");
        server.set("server.request_timeout_ms", "4000");
    }
    server.restart();
    let address = server.client.url().trim_start_matches("http://").to_owned();
    let figure = async |name: &str| {
        let text = server.client.get("/metrics").await.body;
        let told = text.as_str().unwrap().lines().find_map(|line| line.strip_prefix(name));
        told.unwrap().trim().parse::<usize>().unwrap()
    };
    let open = async || figure("order_engine_connections ").await;
    let never_reading = std::iter::repeat_n(Manner::NeverReading, NEVER_READING);
    let slow: Vec<_> = Manner::SLOW
        .into_iter()
        .cycle()
        .take(connections)
        .chain(never_reading)
        .map(|manner| (manner, actix_web::rt::spawn(timeout(PATIENCE, manner.act(address.clone())))))
        .collect();
    // Some are closed before the last has come, but most stand at once.
    let crowded = async {
        while open().await < connections / 2 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, crowded).await.expect("the slow clients are connected");

    let answers = at_once(8, (0..400).map(|_| server.client.submit(json!({})))).await;
    let harmed: Vec<_> = answers.iter().filter(|answer| answer.status != 201).collect();
    assert!(harmed.is_empty(), "{harmed:?}");
    for answer in &answers {
        assert_eq!(server.client.until_ended(&answer.order_id()).await["status"], "confirmed");
    }

    for (manner, ended) in slow {
        let answer = ended.await.unwrap().unwrap_or_else(|_| panic!("{manner:?} was never closed"));
        match manner {
            Manner::SlowHead => assert!(answer.starts_with("HTTP/1.1 408"), "{manner:?}: {answer:?}"),
            Manner::SlowBody => {
                assert!(
                    answer.starts_with("HTTP/1.1 408") && answer.contains("body_too_slow"),
                    "{manner:?}: {answer:?}"
                );
            }
            Manner::EndlessBody => assert!(answer.starts_with("HTTP/1.1 405"), "{manner:?}: {answer:?}"),
            Manner::SlowSecondHead => assert!(answer.starts_with("HTTP/1.1 200"), "{manner:?}: {answer:?}"),
            Manner::Silent | Manner::NeverReading => {}
        }
    }
    // The server's own deadlines do not see these.
    assert!(figure("order_engine_connections_shut_total ").await >= connections / Manner::SLOW.len());
    // None but the one that asks, and those of the client's that are not taken down yet.
    let gone = async {
        while open().await > 2 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the connections are gone");
}

#[actix::test]
async fn one_client_has_so_many_connections_and_the_next_is_closed() {
    let server = Server::start([("limits.connections", "4"), ("limits.loopback", "true")]);
    let address = server.client.url().trim_start_matches("http://").to_owned();
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(TcpStream::connect(&address).await.unwrap());
    }
    // Whichever the server comes to last; long before it would lose patience with the others.
    let hear = open.iter_mut().map(|one| Box::pin(async { one.read(&mut [0; 8]).await }));
    let (heard, ..) = timeout(PATIENCE, select_all(hear)).await.expect("one is closed");
    assert!(matches!(heard, Ok(0) | Err(_)), "{heard:?}");
    drop(open);
    let again = async {
        while server.client.send("GET", "/live", &[], String::new()).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("when some are closed others are let in");
}

#[actix::test]
async fn no_more_connections_are_open_than_may_be_and_a_newcomer_is_served_all_the_same() {
    let server = Server::start([
        ("server.max_connections", "8"),
        ("server.head_timeout_ms", "1000"),
        ("server.keep_alive_ms", "1000"),
    ]);
    let address = server.client.url().trim_start_matches("http://").to_owned();
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    // Behind all of them, and answered in the place of one that asks for nothing. Several threads take connections in, so
    // silent ones that still stand in line there may push a newcomer out before its request is read: then it asks again.
    for tries in 1.. {
        match server.client.send("GET", "/live", &[], String::new()).await {
            Ok(answer) => {
                assert_eq!(answer.status, 200);
                break;
            }
            Err(error) => assert!(tries < 4, "a newcomer is never served: {error}"),
        }
    }
}

/// An engine that may open so many files, with its greeting's address; `ulimit` takes what stands before the number.
fn with_open_files(server: &Server, limits: &str) -> (std::process::Child, String) {
    use std::io::BufRead;
    let command = server.command(&["serve"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", &format!("{limits} && exec \"$0\" serve")]).arg(command.get_program());
    limited.current_dir(command.get_current_dir().unwrap());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = limited.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut greeting = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut greeting).unwrap();
    (child, greeting.split("http://").nth(1).unwrap().trim().to_owned())
}

#[actix::test]
async fn where_few_files_may_be_open_a_crowd_of_connections_leaves_nobody_hanging() {
    let server = Server::idle(crate::support::process::SWIFT);
    let (mut child, address) = with_open_files(&server, "ulimit -n 256");
    let client = crate::support::client::Client::of(&format!("http://{address}"));
    assert_eq!(client.submit(serde_json::json!({})).await.status, 201);
    // Sockets do not give way.
    let mut sockets = Vec::new();
    for _ in 0..300 {
        match client.try_socket("/ws").await {
            Ok(socket) => sockets.push(socket),
            Err(_) => break,
        }
    }
    assert!((8..=34).contains(&sockets.len()), "{} sockets", sockets.len());
    let newcomer = timeout(PATIENCE, client.send("GET", "/live", &[], String::new())).await;
    assert!(newcomer.expect("it is told at once").is_err(), "no place is left");
    // The database has its descriptors, and work goes on for those who are in.
    let told = sockets[0]
        .ask(serde_json::json!({ "type": "submit", "order": crate::support::client::order(serde_json::json!({})) }))
        .await;
    assert_eq!(told["type"], "order:submitted", "{told}");
    sockets.truncate(4);
    let again = async {
        while client.send("GET", "/live", &[], String::new()).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("where some have gone others are let in");
    // Idle connections of one address do give way: whoever comes after them is served.
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(&address).await.unwrap());
    }
    for _ in 0..10 {
        assert_eq!(client.get("/live").await.status, 200);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[actix::test]
async fn the_limit_of_open_files_is_raised_as_far_as_the_system_allows() {
    let server = Server::idle(crate::support::process::SWIFT);
    let (mut child, address) = with_open_files(&server, "ulimit -Sn 128 && ulimit -Hn 2048");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(open_files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["2048", "2048"], "{limits}");
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(TcpStream::connect(&address).await.unwrap());
    }
    let client = crate::support::client::Client::of(&format!("http://{address}"));
    assert_eq!(client.get("/live").await.status, 200);
    child.kill().unwrap();
    child.wait().unwrap();
}
