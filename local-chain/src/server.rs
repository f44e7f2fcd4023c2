//! The ports: one HTTP server for each endpoint, all over the same chain.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::{Extensions, ServerHandle};
use actix_web::http::StatusCode;
use actix_web::rt::net::TcpStream;
use actix_web::web::{Bytes, Data, ServiceConfig, post};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt};
use serde_json::{Value, json};
use socket2::{SockRef, Socket};

use crate::faults::Faults;
use crate::rpc::Node;
use crate::{Chain, Commitment, admin};

/// The largest body of a request.
const MAX_BODY: usize = 1 << 20;

/// A running local chain with its endpoints. It stops when this is dropped.
pub struct LocalChain {
    chain: Arc<Mutex<Chain>>,
    endpoints: Vec<Arc<Endpoint>>,
    servers: Vec<ServerHandle>,
    thread: Option<JoinHandle<()>>,
}

/// A node of the chain: a port of its own, and faults of its own.
pub struct Endpoint {
    address: SocketAddr,
    chain: Arc<Mutex<Chain>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    faults: Faults,
    /// The slot at which the endpoint was frozen.
    frozen_at: Option<u64>,
}

impl LocalChain {
    /// Starts a chain with this number of endpoints, on free ports of the loopback interface.
    pub fn start(chain: Chain, endpoints: usize) -> io::Result<Self> {
        let listeners =
            (0..endpoints).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
        Self::start_on(chain, listeners)
    }

    /// Starts a chain with one endpoint for each listener.
    pub fn start_on(chain: Chain, listeners: Vec<TcpListener>) -> io::Result<Self> {
        let chain = Arc::new(Mutex::new(chain));
        let endpoint = |listener: &TcpListener| {
            let (chain, state) = (chain.clone(), Mutex::default());
            Ok::<_, io::Error>(Arc::new(Endpoint { address: listener.local_addr()?, chain, state }))
        };
        let endpoints = listeners.iter().map(endpoint).collect::<Result<Vec<_>, _>>()?;
        let (started, servers) = mpsc::channel();
        let of_thread: Vec<_> = listeners.into_iter().zip(endpoints.clone()).collect();
        let thread = std::thread::Builder::new().name("local-chain".to_owned()).spawn(move || {
            rt::System::new().block_on(async move {
                let servers = of_thread.into_iter().map(|(listener, endpoint)| serve(listener, endpoint));
                let servers: io::Result<Vec<_>> = servers.collect();
                let handles = servers.as_ref().map(|servers| servers.iter().map(|server| server.handle()).collect());
                let _ = started.send(handles.map_err(|error| io::Error::new(error.kind(), error.to_string())));
                for server in servers.unwrap_or_default().into_iter().map(rt::spawn).collect::<Vec<_>>() {
                    let _ = server.await;
                }
            });
        })?;
        let servers: Vec<ServerHandle> = servers.recv().map_err(io::Error::other)??;
        Ok(Self { chain, endpoints, servers, thread: Some(thread) })
    }

    /// The chain at this moment. Requests wait while it is held.
    pub fn chain(&self) -> MutexGuard<'_, Chain> {
        now(&self.chain)
    }

    /// An endpoint, by its number from 0.
    pub fn endpoint(&self, index: usize) -> &Endpoint {
        &self.endpoints[index]
    }

    /// All endpoints.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().map(AsRef::as_ref)
    }
}

impl Drop for LocalChain {
    fn drop(&mut self) {
        for server in &self.servers {
            // The command is given by the call; the future only waits for it.
            drop(server.stop(false));
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Endpoint {
    /// Where clients send their requests.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What the endpoint does wrong now, with the shares that are left.
    pub fn faults(&self) -> Faults {
        self.state().faults.clone()
    }

    /// Replaces what the endpoint does wrong.
    pub fn set_faults(&self, faults: Faults) {
        let newest = now(&self.chain).block(Commitment::Processed, u64::MAX).slot;
        let mut state = self.state();
        state.frozen_at = faults.frozen.then(|| state.frozen_at.unwrap_or(newest));
        state.faults = faults;
    }

    pub(crate) fn chain(&self) -> MutexGuard<'_, Chain> {
        now(&self.chain)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides what happens to one request, and answers it.
    fn handle(&self, body: &[u8]) -> Outcome {
        let mut chain = self.chain();
        let mut state = self.state();
        let latency = Duration::from_millis(state.faults.latency_ms);
        if state.faults.lose_requests.meets() {
            return Outcome { latency, answer: None };
        }
        if state.faults.refuse.meets() {
            return Outcome { latency, answer: Some(refusal(&state.faults, body)) };
        }
        let newest = chain.block(Commitment::Processed, u64::MAX).slot;
        let tip = state.frozen_at.unwrap_or(newest).saturating_sub(state.faults.lag_slots);
        let answer = Node { chain: &mut chain, faults: &mut state.faults, tip }.answer(body);
        let is_send = serde_json::from_slice::<Value>(body).is_ok_and(|body| body["method"] == "sendTransaction");
        if is_send && state.faults.lose_answers.meets() {
            return Outcome { latency, answer: None };
        }
        Outcome { latency, answer: Some(HttpResponse::Ok().json(answer)) }
    }
}

/// The chain with all slots that have passed.
fn now(chain: &Mutex<Chain>) -> MutexGuard<'_, Chain> {
    let mut chain = chain.lock().unwrap_or_else(PoisonError::into_inner);
    chain.catch_up();
    chain
}

/// How a request ends: with an answer, or with a closed connection.
struct Outcome {
    latency: Duration,
    answer: Option<HttpResponse>,
}

fn refusal(faults: &Faults, body: &[u8]) -> HttpResponse {
    let status = StatusCode::from_u16(faults.refuse_status).unwrap_or(StatusCode::TOO_MANY_REQUESTS);
    let mut answer = HttpResponse::build(status);
    if status != StatusCode::TOO_MANY_REQUESTS {
        return answer.body(status.canonical_reason().unwrap_or_default());
    }
    let id = serde_json::from_slice::<Value>(body).map(|mut body| body["id"].take()).unwrap_or_default();
    let error = json!({ "code": 429, "message": "Too many requests for a specific RPC call" });
    answer.insert_header(("retry-after", faults.retry_after_seconds.max(1).to_string()));
    answer.json(json!({ "jsonrpc": "2.0", "error": error, "id": id }))
}

fn serve(listener: TcpListener, endpoint: Arc<Endpoint>) -> io::Result<actix_web::dev::Server> {
    let routes = move |config: &mut ServiceConfig| {
        config
            .app_data(Data::from(endpoint.clone()))
            .app_data(actix_web::web::PayloadConfig::new(MAX_BODY))
            .route("/", post().to(rpc))
            .configure(admin::routes);
    };
    let server = HttpServer::new(move || App::new().configure(routes.clone()))
        .on_connect(keep_socket)
        .workers(1)
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}

/// Keeps a handle to the connection, so that it can be closed without an answer.
fn keep_socket(connection: &dyn std::any::Any, extensions: &mut Extensions) {
    let stream = connection.downcast_ref::<TcpStream>();
    if let Some(Ok(socket)) = stream.map(|stream| SockRef::from(stream).try_clone()) {
        extensions.insert(Arc::new(socket));
    }
}

async fn rpc(request: HttpRequest, endpoint: Data<Endpoint>, body: Bytes) -> HttpResponse {
    let outcome = endpoint.handle(&body);
    if !outcome.latency.is_zero() {
        rt::time::sleep(outcome.latency).await;
    }
    outcome.answer.unwrap_or_else(|| {
        if let Some(socket) = request.conn_data::<Arc<Socket>>() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        HttpResponse::ServiceUnavailable().finish()
    })
}
