//! A load generator that uses little CPU: it keeps connections alive and implements only the HTTP that it needs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use actix_web::web::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::BenchError;

/// The order that every POST submits.
pub(crate) const ORDER: &str = r#"{"tokenIn":"SOL","tokenOut":"USDC","amountIn":"1.5","slippage":"0.01"}"#;

/// A kept-alive connection. Opens a new one where the engine announces the end of the old one, as it does to a client
/// that asks 64 times in a row within 200 µs of the answer before.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    read: BytesMut,
}

impl Connection {
    /// Connects to `address`.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { address, stream, read: BytesMut::with_capacity(8 * 1024) })
    }

    /// Sends a complete request and returns the status and the body of the answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<(u16, Vec<u8>), BenchError> {
        self.stream.write_all(request).await?;
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break self.read.split_to(end + 4);
            }
            self.read_more().await?;
        };
        let head = std::str::from_utf8(&head)?;
        let status = head.get(9..12).ok_or("an answer without a status")?.parse()?;
        let is_last = head.lines().any(|line| line.eq_ignore_ascii_case("connection: close"));
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .ok_or("an answer without a length")?
            .parse()?;
        while self.read.len() < length {
            self.read_more().await?;
        }
        let body = self.read.split_to(length).to_vec();
        if is_last {
            *self = Self::open(self.address).await?;
        }
        Ok((status, body))
    }

    async fn read_more(&mut self) -> Result<(), BenchError> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err("the engine closed the connection".into()),
            _ => Ok(()),
        }
    }
}

/// The bytes of a POST of [`ORDER`] to `address`.
pub(crate) fn post(address: SocketAddr) -> Vec<u8> {
    let length = ORDER.len();
    format!("POST /api/orders HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{ORDER}").into_bytes()
}

/// The bytes of a GET of `path` from `address`.
pub(crate) fn get(address: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").into_bytes()
}

/// When a load generator stops.
#[derive(Clone, Copy)]
pub(crate) enum LoadEnd {
    /// After this time.
    Elapsed(Duration),
    /// After this number of requests over all connections.
    Requests(u64),
}

/// Repeats a request over concurrent connections and returns the duration of each; an answer other than 2xx is an error.
pub(crate) async fn hammer(
    address: SocketAddr,
    connections: usize,
    request: Vec<u8>,
    until: LoadEnd,
) -> Result<Vec<Duration>, BenchError> {
    let left = std::cell::Cell::new(match until {
        LoadEnd::Requests(requests) => requests,
        LoadEnd::Elapsed(_) => u64::MAX,
    });
    let end = match until {
        LoadEnd::Elapsed(duration) => Instant::now() + duration,
        LoadEnd::Requests(_) => Instant::now() + Duration::from_secs(3_600),
    };
    let connection = async || -> Result<Vec<Duration>, BenchError> {
        let mut connection = Connection::open(address).await?;
        let mut took = Vec::new();
        while left.get() > 0 && Instant::now() < end {
            left.set(left.get() - 1);
            let start = Instant::now();
            let (status, body) = connection.ask(&request).await?;
            if !(200..300).contains(&status) {
                return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
            }
            took.push(start.elapsed());
        }
        Ok(took)
    };
    let all = futures_util::future::try_join_all((0..connections).map(|_| connection())).await?;
    Ok(all.concat())
}
