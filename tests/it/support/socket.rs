//! An open WebSocket, and the record of one from its opening to its close.

use std::collections::HashMap;
use std::pin::Pin;

use awc::error::WsProtocolError;
use awc::ws::{Frame, Message};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use serde_json::{Value, json};

use crate::support::wait::TIMEOUT;

/// What one socket sent from its opening to its close.
#[derive(Debug)]
pub struct SocketLog {
    /// Every step of the order, those of the snapshot first.
    pub steps: Vec<Value>,
    /// The server's close code; `None` where the connection broke.
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
        let gapless: Vec<u64> = (1..=self.steps.len() as u64).collect();
        assert_eq!(self.seqs(), gapless, "{self:?}");
    }
}

trait Framed: Stream<Item = Result<Frame, WsProtocolError>> + Sink<Message, Error = WsProtocolError> {}

impl<T: Stream<Item = Result<Frame, WsProtocolError>> + Sink<Message, Error = WsProtocolError>> Framed for T {}

/// An open socket.
pub struct Socket {
    framed: Pin<Box<dyn Framed>>,
    /// The protocol that the server chose among those offered.
    pub protocol: Option<String>,
}

impl Socket {
    pub(super) fn new(
        framed: impl Stream<Item = Result<Frame, WsProtocolError>> + Sink<Message, Error = WsProtocolError> + 'static,
        protocol: Option<String>,
    ) -> Self {
        Self { framed: Box::pin(framed), protocol }
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &Value) {
        self.send_frame(Message::Text(message.to_string().into())).await;
    }

    /// Sends a frame of any kind; where the server has closed the socket, reading reports it.
    pub async fn send_frame(&mut self, message: Message) {
        let _ = self.framed.send(message).await;
    }

    /// Sends a message and returns its answer, which carries the same `requestId`; what arrives before is lost.
    pub async fn ask(&mut self, mut message: Value) -> Value {
        let request_id = json!(uuid::Uuid::new_v4().to_string());
        message["requestId"] = request_id.clone();
        self.send(&message).await;
        self.until(|received| received["requestId"] == request_id).await
    }

    /// The next message that satisfies a condition; what arrives before is lost.
    pub async fn until(&mut self, condition: impl Fn(&Value) -> bool) -> Value {
        loop {
            let received = self.next().await.unwrap_or_else(|close| panic!("the socket was closed with {close:?}"));
            if condition(&received) {
                return received;
            }
        }
    }

    /// The next message, or the close code.
    pub async fn next(&mut self) -> Result<Value, Option<u16>> {
        loop {
            let frame = tokio::time::timeout(TIMEOUT, self.framed.next()).await.expect("a message or a close arrives");
            match frame {
                Some(Ok(Frame::Text(text))) => return Ok(serde_json::from_slice(&text).unwrap()),
                Some(Ok(Frame::Ping(payload))) => drop(self.framed.send(Message::Pong(payload)).await),
                Some(Ok(Frame::Close(reason))) => return Err(reason.map(|reason| reason.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// Reads until every one of these orders has ended, and fails unless each step of each arrived once.
    pub async fn assert_every_step_once(&mut self, ids: &[String]) {
        let mut received: HashMap<String, Vec<u64>> = HashMap::new();
        let mut ended = 0;
        while ended < ids.len() {
            let update = self.until(|message| message["type"] == "order:update").await;
            let id = update["orderId"].as_str().unwrap().to_owned();
            if ids.contains(&id) {
                received.entry(id).or_default().push(update["seq"].as_u64().unwrap());
                ended +=
                    usize::from(["confirmed", "failed", "cancelled"].contains(&update["status"].as_str().unwrap()));
            }
        }
        for (id, seqs) in received {
            assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "order {id}");
        }
    }

    /// Reads everything until the server closes the socket.
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
