//! A client of the public face, as a bot would write it.

use std::collections::HashMap;
use std::time::Duration;

use awc::ws::{CloseCode, Frame, Message};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};

use crate::support::process::PATIENCE;

/// Everybody's password in these tests.
pub const PASSWORD: &str = "correct horse battery";

/// An answer of the HTTP face.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The order's id in an answer to a submit.
    #[track_caller]
    pub fn order_id(&self) -> String {
        self.body["orderId"].as_str().unwrap_or_else(|| panic!("no orderId in {self:?}")).to_owned()
    }
}

/// What one socket told from its opening to its close.
#[derive(Debug)]
pub struct SocketLog {
    /// Every step, those of the snapshot first.
    pub steps: Vec<Value>,
    /// The server's close code; `None` where the connection just broke.
    pub close: Option<u16>,
}

impl SocketLog {
    pub fn statuses(&self) -> Vec<&str> {
        self.steps.iter().map(|step| step["status"].as_str().unwrap()).collect()
    }

    pub fn seqs(&self) -> Vec<u64> {
        self.steps.iter().map(|step| step["seq"].as_u64().unwrap()).collect()
    }

    /// Fails unless the sequence numbers run from 1 without a gap.
    #[track_caller]
    pub fn assert_gapless(&self) {
        let whole: Vec<u64> = (1..=self.steps.len() as u64).collect();
        assert_eq!(self.seqs(), whole, "{self:?}");
    }
}

#[derive(Clone, Debug)]
pub struct Client {
    url: String,
    bearer: Option<String>,
}

impl Client {
    pub fn of(url: &str) -> Self {
        Self { url: url.to_owned(), bearer: None }
    }

    /// The same server, asked with that token or API key.
    pub fn with(&self, bearer: &str) -> Self {
        Self { url: self.url.clone(), bearer: Some(bearer.to_owned()) }
    }

    /// Makes an account, and asks with its token from then on.
    pub async fn registered(&self, name: &str) -> Self {
        let answer = self.post("/api/auth/register", &json!({ "username": name, "password": PASSWORD })).await;
        self.with(answer.body["token"].as_str().unwrap_or_else(|| panic!("no token in {answer:?}")))
    }

    /// The token or API key it asks with.
    pub fn bearer(&self) -> &str {
        self.bearer.as_deref().expect("the client has a token")
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn nowhere() -> Self {
        Self::of("http://127.0.0.1:9")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], String::new()).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await.unwrap()
    }

    /// Submits a plain order with some fields set.
    pub async fn submit(&self, fields: Value) -> Answer {
        self.post("/api/orders/execute", &order(fields)).await
    }

    /// Any request; an error where the server cannot be reached.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<Answer, String> {
        let client = awc::Client::builder().timeout(PATIENCE).disable_timeout().finish();
        let mut request = client.request(method.parse().unwrap(), format!("{}{path}", self.url));
        for header in headers {
            request = request.append_header(*header);
        }
        if let Some(bearer) = &self.bearer {
            request = request.bearer_auth(bearer);
        }
        let mut response = tokio::time::timeout(PATIENCE, request.send_body(body))
            .await
            .map_err(|_| "no answer")?
            .map_err(|error| error.to_string())?;
        let bytes = response.body().limit(16 * 1024 * 1024).await.map_err(|error| error.to_string())?;
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
            .collect();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Answer { status: response.status().as_u16(), headers, body })
    }

    /// Opens a socket on a path.
    pub async fn socket(&self, path: &str) -> Socket {
        self.try_socket(path).await.unwrap()
    }

    /// Opens a socket on a path; an error where the server cannot be reached.
    pub async fn try_socket(&self, path: &str) -> Result<Socket, String> {
        self.socket_with(path, &[]).await
    }

    /// As [`Client::try_socket`], offering some protocols.
    pub async fn socket_with(&self, path: &str, protocols: &[&str]) -> Result<Socket, String> {
        let url = format!("{}{path}", self.url.replacen("http", "ws", 1));
        let client = awc::Client::builder().timeout(PATIENCE).finish();
        let mut request = client.ws(url).protocols(protocols);
        if let Some(bearer) = &self.bearer {
            request = request.bearer_auth(bearer);
        }
        let (response, framed) = request.connect().await.map_err(|error| error.to_string())?;
        let protocol = response.headers().get("sec-websocket-protocol");
        let protocol = protocol.map(|value| value.to_str().unwrap().to_owned());
        Ok(Socket { framed: Box::pin(framed), protocol })
    }

    /// Opens a socket for many orders, says one thing and never reads again; blocks.
    pub fn deaf_socket(&self, say: &Value) -> std::net::TcpStream {
        use std::io::Write;
        let mut stream = self.raw_socket("/ws");
        stream.write_all(&client_frame(0x1, say.to_string().as_bytes())).unwrap();
        stream
    }

    /// Asks for a socket on a path, and leaves all the rest to the caller; blocks.
    pub fn raw_socket(&self, path: &str) -> std::net::TcpStream {
        use std::io::Write;
        let address = self.url.trim_start_matches("http://");
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let bearer =
            self.bearer.as_ref().map(|bearer| format!("authorization: Bearer {bearer}\r\n")).unwrap_or_default();
        let handshake = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n{bearer}\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(handshake.as_bytes()).unwrap();
        stream
    }

    /// Follows an order on a socket of its own to the server's close.
    pub async fn follow(&self, id: &str) -> SocketLog {
        self.socket(&format!("/ws/orders/{id}")).await.until_closed().await
    }

    /// Waits until an order's view satisfies a condition.
    pub async fn until(&self, id: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let looks = async {
            loop {
                let answer = self.get(&format!("/api/orders/{id}")).await;
                if answer.status == 200 && condition(&answer.body) {
                    return answer.body;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looks).await.unwrap_or_else(|_| panic!("order {id} never got there"))
    }

    /// Waits until an order has ended.
    pub async fn until_ended(&self, id: &str) -> Value {
        self.until(id, |order| !order["completedAt"].is_null()).await
    }

    /// An order's timeline.
    pub async fn events(&self, id: &str) -> Vec<Value> {
        self.get(&format!("/api/orders/{id}/events")).await.body["events"].as_array().unwrap().clone()
    }
}

trait Framed:
    futures_util::Stream<Item = Result<Frame, awc::error::WsProtocolError>> + futures_util::Sink<Message>
{
}
impl<T: futures_util::Stream<Item = Result<Frame, awc::error::WsProtocolError>> + futures_util::Sink<Message>> Framed
    for T
{
}

/// An open socket.
pub struct Socket {
    framed: std::pin::Pin<Box<dyn Framed<Error = awc::error::WsProtocolError>>>,
    /// The one that the server took of those that were offered.
    pub protocol: Option<String>,
}

impl Socket {
    /// Says something.
    pub async fn say(&mut self, message: &Value) {
        self.send(Message::Text(message.to_string().into())).await;
    }

    /// Sends a frame of any kind; where the server has closed the socket, reading says so.
    pub async fn send(&mut self, message: Message) {
        let _ = self.framed.send(message).await;
    }

    /// Says something and gives what it is answered, which carries the same `requestId`; what is told meanwhile is lost.
    pub async fn ask(&mut self, mut message: Value) -> Value {
        let request_id = json!(uuid::Uuid::new_v4().to_string());
        message["requestId"] = request_id.clone();
        self.say(&message).await;
        self.until(|told| told["requestId"] == request_id).await
    }

    /// The next message that satisfies a condition; what is told before is lost.
    pub async fn until(&mut self, condition: impl Fn(&Value) -> bool) -> Value {
        loop {
            let told = self.next().await.unwrap_or_else(|close| panic!("the socket was closed with {close:?}"));
            if condition(&told) {
                return told;
            }
        }
    }

    /// The next message, or the close code.
    pub async fn next(&mut self) -> Result<Value, Option<u16>> {
        loop {
            let frame =
                tokio::time::timeout(PATIENCE, self.framed.next()).await.expect("the socket says something or closes");
            match frame {
                Some(Ok(Frame::Text(text))) => return Ok(serde_json::from_slice(&text).unwrap()),
                Some(Ok(Frame::Ping(payload))) => drop(self.framed.send(Message::Pong(payload)).await),
                Some(Ok(Frame::Close(reason))) => return Err(reason.map(|reason| code(reason.code))),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// Reads until every one of these orders has ended, and fails unless each was told every step once.
    pub async fn assert_all_told(&mut self, ids: &[String]) {
        let mut told: HashMap<String, Vec<u64>> = HashMap::new();
        let mut ended = 0;
        while ended < ids.len() {
            let update = self.until(|told| told["type"] == "order:update").await;
            let id = update["orderId"].as_str().unwrap().to_owned();
            if ids.contains(&id) {
                told.entry(id).or_default().push(update["seq"].as_u64().unwrap());
                ended +=
                    usize::from(["confirmed", "failed", "cancelled"].contains(&update["status"].as_str().unwrap()));
            }
        }
        for (id, seqs) in told {
            assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "order {id}");
        }
    }

    /// Everything from here to the close.
    pub async fn until_closed(mut self) -> SocketLog {
        let mut steps = Vec::new();
        loop {
            match self.next().await {
                Ok(mut message) => match message["events"].take() {
                    Value::Array(events) => steps.extend(events),
                    _ => steps.push(message),
                },
                Err(close) => return SocketLog { steps, close },
            }
        }
    }
}

/// A short frame as a client sends it; its mask is all zeros.
pub fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126).expect("the payload is short");
    [&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

fn code(code: CloseCode) -> u16 {
    code.into()
}

/// A plain order, with some fields set.
pub fn order(fields: Value) -> Value {
    let mut order = json!({ "tokenIn": "SOL", "tokenOut": "USDC", "amountIn": "1.5" });
    order.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    order
}

/// Runs so many futures, at most `width` at once, and gives their results in order.
pub async fn at_once<T>(width: usize, futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    futures_util::stream::iter(futures).buffered(width).collect().await
}
