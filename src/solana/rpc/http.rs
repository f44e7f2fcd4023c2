//! The transport over HTTP.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, redirect};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::transport::{RpcError, Transport};
use super::url::EndpointUrl;

/// The largest answer. Only discovery (`getProgramAccounts`) comes near it.
const MAX_ANSWER: usize = 16 << 20;

/// The most letters of an endpoint's message that are kept.
const MAX_MESSAGE: usize = 200;

/// Codes of errors that ask for a pause: behind the cluster, and how some providers limit the rate.
const BUSY_CODES: [i64; 3] = [-32005, -32429, 429];

/// The code of a node that does not keep old transactions.
const NO_HISTORY: i64 = -32011;

/// One endpoint over HTTP.
pub struct HttpTransport {
    url: EndpointUrl,
    client: Client,
    timeout: Duration,
    backoff: Backoff,
    next_id: AtomicU64,
}

impl HttpTransport {
    /// Creates a transport whose calls end within that timeout.
    ///
    /// It follows no redirect and uses no proxy of the environment: the URL may hold a key.
    pub fn new(url: EndpointUrl, timeout: Duration) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("order-engine/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(reqwest::Error::without_url)?;
        Ok(Self { url, client, timeout, backoff: Backoff::default(), next_id: AtomicU64::new(1) })
    }

    async fn exchange(&self, id: u64, method: &'static str, params: Value) -> Result<Box<RawValue>, RpcError> {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let post = self.client.post(self.url.expose().clone()).header(CONTENT_TYPE, "application/json");
        let response = post.body(request.to_string()).send().await.map_err(|error| no_answer(&error))?;
        match response.status() {
            StatusCode::OK => result(&body(response).await?, id),
            StatusCode::TOO_MANY_REQUESTS => Err(RpcError::Busy { wait: retry_after(&response).unwrap_or_default() }),
            status => match retry_after(&response) {
                Some(wait) => Err(RpcError::Busy { wait }),
                None => Err(RpcError::Status(status.as_u16())),
            },
        }
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn call(&self, method: &'static str, params: Value) -> Result<Box<RawValue>, RpcError> {
        if let Some(wait) = self.backoff.wait(Instant::now()) {
            return Err(RpcError::Busy { wait });
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        // The deadline covers the connection, the request and the whole body.
        let answer = tokio::time::timeout(self.timeout, self.exchange(id, method, params)).await;
        match answer.unwrap_or(Err(RpcError::NoAnswer("it took too long"))) {
            Err(RpcError::Busy { wait: asked }) => {
                let wait = self.backoff.refused(Some(asked), Instant::now());
                tracing::debug!(endpoint = %self.url, method, ?wait, "the endpoint is busy");
                Err(RpcError::Busy { wait })
            }
            Ok(result) => {
                self.backoff.answered();
                Ok(result)
            }
            Err(error) => Err(error),
        }
    }
}

/// The seconds of `Retry-After`; its other form, a date, is not used by endpoints.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

/// The cause without the text of the library, which contains the URL.
fn no_answer(error: &reqwest::Error) -> RpcError {
    RpcError::NoAnswer(if error.is_connect() { "the connection failed" } else { "the connection was lost" })
}

/// The body, if it is complete and not too large.
async fn body(mut response: Response) -> Result<Vec<u8>, RpcError> {
    const TOO_LARGE: RpcError = RpcError::Unreadable("it is too large");
    if response.content_length().is_some_and(|length| length > MAX_ANSWER as u64) {
        return Err(TOO_LARGE);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| RpcError::NoAnswer("the answer was cut off"))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(TOO_LARGE);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An answer of JSON-RPC. `null` is a result.
#[derive(Deserialize)]
struct Envelope {
    id: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    result: Option<Box<RawValue>>,
    error: Option<ErrorBody>,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: i64,
    #[serde(default)]
    message: String,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

fn result(body: &[u8], id: u64) -> Result<Box<RawValue>, RpcError> {
    let envelope: Envelope =
        serde_json::from_slice(body).map_err(|_| RpcError::Unreadable("it is not an answer of JSON-RPC"))?;
    if envelope.id != Some(id.into()) {
        return Err(RpcError::Unreadable("it belongs to another call"));
    }
    match (envelope.error, envelope.result) {
        (Some(error), _) if BUSY_CODES.contains(&error.code) => Err(RpcError::Busy { wait: Duration::ZERO }),
        (Some(error), _) if error.code == NO_HISTORY => Err(RpcError::NoHistory),
        (Some(error), _) => {
            let letters = error.message.chars().filter(|letter| !letter.is_control());
            Err(RpcError::Refused { code: error.code, message: letters.take(MAX_MESSAGE).collect() })
        }
        (None, Some(result)) => Ok(result),
        (None, None) => Err(RpcError::Unreadable("it has neither a result nor an error")),
    }
}
