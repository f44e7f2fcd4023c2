//! The HTTP client of all tests: one engine, asked with or without a token.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::StreamExt;
use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::support::socket::{Socket, SocketLog};
use crate::support::wait::{TIMEOUT, until_some};

/// The password of every account in these tests.
pub const PASSWORD: &str = "correct horse battery";

/// The header of a JSON body.
pub const JSON: (&str, &str) = ("content-type", "application/json");

/// An answer of the HTTP API. A body that is not JSON is a string.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Answer {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The code of a problem; empty where there is none.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The order's id in an answer to a submit.
    #[track_caller]
    pub fn order_id(&self) -> String {
        self.text("orderId").to_owned()
    }

    /// A field of the body that is text.
    #[track_caller]
    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {self:?}"))
    }

    /// The orders of a list.
    #[track_caller]
    pub fn orders(&self) -> &[Value] {
        self.body["orders"].as_array().unwrap_or_else(|| panic!("no orders in {self:?}"))
    }

    /// Fails unless this is a problem with that status and code.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{self:?}");
    }
}

/// One engine, asked with or without a token.
#[derive(Clone, Debug)]
pub struct Client {
    url: String,
    bearer: Option<String>,
    // The page that sends the requests.
    origin: Option<String>,
    // The address of the client itself.
    from: Option<IpAddr>,
    // Where to connect to instead of the host of the URL, and whom to trust there.
    through: Option<(SocketAddr, Arc<ClientConfig>)>,
}

impl Client {
    /// A client of the engine at that URL, without a token.
    pub fn of(url: &str) -> Self {
        Self { url: url.to_owned(), bearer: None, origin: None, from: None, through: None }
    }

    /// A client of the engine at that URL, whose host is at that address and speaks TLS.
    pub fn through(url: &str, address: SocketAddr, tls: Arc<ClientConfig>) -> Self {
        Self { through: Some((address, tls)), ..Self::of(url) }
    }

    /// A client of an address where nothing listens.
    pub fn unreachable() -> Self {
        Self::of("http://127.0.0.1:9")
    }

    /// A client of the same engine with that token or API key.
    pub fn with(&self, bearer: &str) -> Self {
        Self { bearer: Some(bearer.to_owned()), ..self.clone() }
    }

    /// The same client in a page of that origin.
    pub fn in_page_of(&self, origin: &str) -> Self {
        Self { origin: Some(origin.to_owned()), ..self.clone() }
    }

    /// The same client at another address of this machine.
    pub fn at(&self, address: [u8; 4]) -> Self {
        Self { from: Some(address.into()), ..self.clone() }
    }

    /// Creates an account; a client with its token.
    pub async fn registered(&self, name: &str) -> Self {
        let answer = self.post("/api/auth/register", &json!({ "username": name, "password": PASSWORD })).await;
        self.with(answer.text("token"))
    }

    /// Logs in to an account; a client with a new token.
    pub async fn logged_in(&self, name: &str) -> Self {
        let answer = self.post("/api/auth/login", &json!({ "username": name, "password": PASSWORD })).await;
        self.with(answer.text("token"))
    }

    /// The token or API key, if there is one.
    pub fn bearer(&self) -> Option<&str> {
        self.bearer.as_deref()
    }

    /// The token or API key of a client that has one.
    pub fn token(&self) -> &str {
        self.bearer().expect("the client has a token")
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// The port alone.
    pub fn port(&self) -> u16 {
        self.address().rsplit(':').next().and_then(|port| port.parse().ok()).expect("the address ends with a port")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "").await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("GET", path, headers, "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &[JSON], body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, &[], "").await
    }

    /// Any request; fails where the engine cannot be reached.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<String>) -> Answer {
        self.try_request(method, path, headers, body).await.unwrap()
    }

    /// Any request; an error where the engine cannot be reached.
    pub async fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<String>,
    ) -> Result<Answer, String> {
        let mut request = self.connector().request(method.parse().unwrap(), format!("{}{path}", self.url));
        for header in headers {
            request = request.append_header(*header);
        }
        if let Some(bearer) = &self.bearer {
            request = request.bearer_auth(bearer);
        }
        if let Some(origin) = &self.origin {
            request = request.append_header(("origin", origin.as_str()));
        }
        if let Some((address, _)) = &self.through {
            request = request.address(*address);
        }
        let mut response = tokio::time::timeout(TIMEOUT, request.send_body(body.into()))
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

    fn connector(&self) -> awc::Client {
        let mut connector = awc::Connector::new().timeout(TIMEOUT).handshake_timeout(TIMEOUT);
        if let Some(address) = self.from {
            connector = connector.local_address(address);
        }
        if let Some((_, tls)) = &self.through {
            connector = connector.rustls_0_23(tls.clone());
        }
        awc::Client::builder().connector(connector).disable_timeout().finish()
    }

    /// Whether the engine answers at all.
    pub async fn is_served(&self) -> bool {
        self.try_request("GET", "/live", &[], "").await.is_ok()
    }

    /// Submits a plain order with some fields set.
    pub async fn submit(&self, fields: Value) -> Answer {
        self.post("/api/orders/execute", &order(fields)).await
    }

    /// The same; an error where the engine cannot be reached.
    pub async fn try_submit(&self, fields: Value) -> Result<Answer, String> {
        self.try_request("POST", "/api/orders/execute", &[JSON], order(fields).to_string()).await
    }

    /// Submits a plain order with some fields set under an idempotency key.
    pub async fn submit_with_key(&self, key: &str, fields: Value) -> Answer {
        self.try_submit_with_key(key, fields).await.unwrap()
    }

    /// The same; an error where the engine cannot be reached.
    pub async fn try_submit_with_key(&self, key: &str, fields: Value) -> Result<Answer, String> {
        self.try_request("POST", "/api/orders", &[JSON, ("idempotency-key", key)], order(fields).to_string()).await
    }

    /// Submits plain orders, some of them concurrently; their ids.
    pub async fn submit_many(&self, orders: usize) -> Vec<String> {
        concurrently(20, (0..orders).map(|_| async { self.submit(json!({})).await.order_id() })).await
    }

    pub async fn cancel(&self, id: &str) -> Answer {
        self.post(&format!("/api/orders/{id}/cancel"), &json!({})).await
    }

    /// An order as the API shows it.
    pub async fn order(&self, id: &str) -> Value {
        self.get(&format!("/api/orders/{id}")).await.body
    }

    /// An order's timeline.
    pub async fn events(&self, id: &str) -> Vec<Value> {
        self.get(&format!("/api/orders/{id}/events")).await.body["events"].as_array().unwrap().clone()
    }

    /// Every order, page by page, newest first.
    pub async fn all_orders(&self) -> Vec<Value> {
        let (mut orders, mut path) = (Vec::new(), "/api/orders?limit=200".to_owned());
        loop {
            let page = self.get(&path).await;
            assert_eq!(page.status, 200, "{page:?}");
            orders.extend_from_slice(page.orders());
            match page.body["nextCursor"].as_str() {
                Some(cursor) => path = format!("/api/orders?limit=200&cursor={cursor}"),
                None => return orders,
            }
        }
    }

    /// Waits until an order satisfies a condition.
    pub async fn until(&self, id: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/orders/{id}");
        until_some(&format!("order {id} satisfied the condition"), async || {
            let answer = self.get(&path).await;
            (answer.status == 200 && condition(&answer.body)).then_some(answer.body)
        })
        .await
    }

    /// Waits until an order has ended.
    pub async fn until_ended(&self, id: &str) -> Value {
        self.until(id, |order| !order["completedAt"].is_null()).await
    }

    /// Waits until an order has ended, and fails unless it is confirmed.
    pub async fn until_confirmed(&self, id: &str) -> Value {
        let order = self.until_ended(id).await;
        assert_eq!(order["status"], "confirmed", "{order}");
        order
    }

    /// The same for each of these orders.
    pub async fn until_all_confirmed(&self, ids: &[String]) {
        for id in ids {
            self.until_confirmed(id).await;
        }
    }

    /// Waits until `/ready` satisfies a condition; `what` says which.
    pub async fn until_ready(&self, what: &str, condition: impl Fn(&Answer) -> bool) -> Answer {
        until_some(&format!("/ready reported {what}"), async || {
            Some(self.get("/ready").await).filter(|answer| condition(answer))
        })
        .await
    }

    /// Waits until `/ready` reports `ok` or `degraded`, and fails if it reports `503` meanwhile.
    pub async fn until_ready_status(&self, status: &str) -> Value {
        let is_reported = |ready: &Answer| {
            assert_eq!(ready.status, 200, "{ready:?}");
            ready.body["status"] == status
        };
        self.until_ready(status, is_reported).await.body
    }

    /// The figure of one metric, whose name includes its labels.
    pub async fn metric(&self, name: &str) -> u64 {
        let metrics = self.get("/metrics").await.body;
        let lines = metrics.as_str().expect("metrics are text").lines();
        let figure = lines.filter_map(|line| line.strip_prefix(name)).find_map(|rest| rest.strip_prefix(' '));
        figure.unwrap_or_else(|| panic!("no metric {name} in:\n{metrics}")).trim().parse().unwrap()
    }

    /// A ticket for one socket.
    pub async fn ticket(&self) -> String {
        self.post("/api/auth/ticket", &json!({})).await.text("ticket").to_owned()
    }

    /// Opens a socket on a path.
    pub async fn socket(&self, path: &str) -> Socket {
        self.try_socket(path).await.unwrap()
    }

    /// Opens a socket on a path; an error where it is refused.
    pub async fn try_socket(&self, path: &str) -> Result<Socket, String> {
        self.socket_with(path, &[]).await
    }

    /// The same, with protocols offered.
    pub async fn socket_with(&self, path: &str, protocols: &[&str]) -> Result<Socket, String> {
        let url = format!("{}{path}", self.url.replacen("http", "ws", 1));
        let mut request = self.connector().ws(url).protocols(protocols);
        if let Some(bearer) = &self.bearer {
            request = request.bearer_auth(bearer);
        }
        if let Some(origin) = &self.origin {
            request = request.origin(origin.as_str());
        }
        if let Some((address, _)) = &self.through {
            request = request.address(*address);
        }
        let connected = tokio::time::timeout(TIMEOUT, request.connect()).await.map_err(|_| "no answer")?;
        let (response, framed) = connected.map_err(|error| error.to_string())?;
        let protocol = response.headers().get("sec-websocket-protocol");
        let protocol = protocol.map(|value| value.to_str().unwrap().to_owned());
        Ok(Socket::new(framed, protocol))
    }

    /// Opens a socket that follows every order of this client.
    pub async fn follow_all(&self) -> Socket {
        let mut socket = self.socket("/ws").await;
        let subscribed = socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await;
        assert_eq!(subscribed["type"], "subscribed", "{subscribed}");
        socket
    }

    /// Follows one order on a socket of its own until the server closes it.
    pub async fn follow(&self, id: &str) -> SocketLog {
        self.socket(&format!("/ws/orders/{id}")).await.until_closed().await
    }
}

/// A plain order, with some fields set.
pub fn order(fields: Value) -> Value {
    let mut order = json!({ "tokenIn": "SOL", "tokenOut": "USDC", "amountIn": "1.5" });
    order.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    order
}

/// Runs futures, at most `width` concurrently, and returns their results in order.
pub async fn concurrently<T>(width: usize, futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    futures_util::stream::iter(futures).buffered(width).collect().await
}
