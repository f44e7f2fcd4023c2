//! The public face: HTTP and WebSocket. Wire types live and die here.

mod extract;
#[cfg(test)]
mod fuzz;
mod middleware;
mod openapi;
mod problem;
mod route;
mod routes;
mod server;
mod warnings;
pub mod ws;

use std::any::Any;
use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use actix_web::dev::{Extensions, Server};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, web};
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;

pub use problem::{FieldError, Problem};

use crate::auth::Auth;
use crate::chain::Chain;
use crate::config::{ListenHost, ListenPlace, Settings};
use crate::domain::token::TokenList;
use crate::redis::Cluster;
use crate::service::orders::OrderService;
use crate::service::quote_cache::QuoteCache;
use crate::telemetry::metrics::Metrics;
use middleware::guard::{self, RequestGuard};
use middleware::request_id;
use route::{Endpoint, at};
use routes::{auth, cancel_all, health, operator, orders, quotes, stats, tokens};
use server::connections::{self, Connections};
use server::descriptors;
use ws::sessions::{Sessions, SocketHandle};

/// What every route can reach.
#[derive(Clone)]
pub struct AppState {
    /// Where orders are asked for.
    pub service: OrderService,
    /// Who asks.
    pub auth: Arc<Auth>,
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// The open sockets.
    pub sessions: Arc<Sessions>,
    /// What the venues would offer, for showing only.
    pub quote_cache: QuoteCache,
    /// The way to Redis, where there is one.
    pub cluster: Option<Cluster>,
    /// Where swaps land.
    pub chain: Arc<dyn Chain>,
    /// What is counted.
    pub metrics: Metrics,
    /// Why the engine cannot go on, once it cannot.
    pub fatal: watch::Receiver<Option<String>>,
    /// When the engine was started.
    pub started: Instant,
}

impl AppState {
    fn tokens(&self) -> &TokenList {
        &self.settings.tokens
    }
}

/// Where the engine listens; clients may knock already, and wait until they are served.
pub struct Listeners {
    /// At least one.
    clients: Vec<Listener>,
    /// None where the operator's routes are served with all others.
    operator: Vec<Listener>,
}

type Listener = (TcpListener, SocketAddr);

impl Listeners {
    /// Takes the addresses to listen on, or says which is not to be had.
    pub fn bind(settings: &Settings) -> Result<Self, (String, io::Error)> {
        let bind = |place: &ListenPlace| listen_at(place).map_err(|error| (place.to_string(), error));
        let clients = bind(&ListenPlace { host: settings.server.host.clone(), port: settings.server.port })?;
        Ok(Self { clients, operator: settings.metrics.bind.as_ref().map_or(Ok(Vec::new()), bind)? })
    }

    /// Where clients are served: the first of several addresses.
    pub fn address(&self) -> SocketAddr {
        self.clients[0].1
    }
}

fn listen_at(place: &ListenPlace) -> io::Result<Vec<Listener>> {
    match &place.host {
        ListenHost::Address(address) => Ok(vec![listen((*address, place.port).into())?]),
        ListenHost::Loopback => listen_at_loopback(place.port),
        ListenHost::Name(name) => {
            let addresses: BTreeSet<_> = (name.as_str(), place.port).to_socket_addrs()?.collect();
            match addresses.is_empty() {
                true => Err(io::Error::other("the name has no address")),
                false => addresses.into_iter().map(listen).collect(),
            }
        }
    }
}

/// Both addresses that `localhost` may mean to a client, with one port; on a machine without IPv6 the one that there is.
fn listen_at_loopback(port: u16) -> io::Result<Vec<Listener>> {
    const TRIES: u32 = 16;
    let has_ipv6 = Socket::new(Domain::IPV6, Type::STREAM, None).is_ok();
    let mut tries = 1;
    loop {
        let first = listen((Ipv4Addr::LOCALHOST, port).into())?;
        if !has_ipv6 {
            return Ok(vec![first]);
        }
        match listen((Ipv6Addr::LOCALHOST, first.1.port()).into()) {
            Ok(second) => return Ok(vec![first, second]),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => return Ok(vec![first]),
            // The system's choice of a free port is taken by somebody else at the other address.
            Err(error) if port == 0 && tries < TRIES && error.kind() == io::ErrorKind::AddrInUse => tries += 1,
            // Whoever has it there would get the orders and passwords of clients that say `localhost`.
            Err(error) => return Err(io::Error::new(error.kind(), format!("at [::1]: {error}"))),
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<Listener> {
    /// So many may wait to be taken. Where more come at once the system drops the last word of their greeting, and a
    /// client that then only listens never learns of it.
    const BACKLOG: i32 = 4_096;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // As the standard library does: a port is not held by connections of an engine that was here before.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves on those listeners until it is told to stop; its signals are left to the caller.
pub fn serve(listeners: Listeners, app: AppState) -> io::Result<Server> {
    let settings = app.settings.clone();
    let most = descriptors::connections(&settings);
    let addresses = |listeners: &[Listener]| listeners.iter().map(|(_, address)| *address).collect();
    let (clients, operator) = (addresses(&listeners.clients), addresses(&listeners.operator));
    let guard = web::Data::new(RequestGuard::new(&settings, clients, operator, most, app.metrics.clone()));
    let app = web::Data::new(app);
    let connections = guard.connections.clone();
    let (watched, patience) = (Arc::downgrade(&connections), connections::patience(&settings.server));
    let mut server = HttpServer::new(move || {
        App::new()
            .app_data(app.clone())
            .app_data(guard.clone())
            .wrap(from_fn(guard::keep))
            .wrap(from_fn(request_id::give))
            .configure(routes)
    })
    .workers(settings.server.workers)
    // One that is too many is taken and closed at once (see `connections`); the server itself would let it wait untold.
    .max_connections((most + descriptors::REFUSED_AT_ONCE).div_ceil(settings.server.workers))
    .keep_alive(settings.server.keep_alive)
    .client_request_timeout(settings.server.head_timeout)
    .shutdown_timeout(settings.server.shutdown_timeout.as_secs().max(1))
    .on_connect(move |connection, extensions| keep_handle(&connections, connection, extensions))
    // Its own handling would stop the whole system 300 ms after the server, with orders still running.
    .disable_signals();
    for (listener, _) in listeners.clients.into_iter().chain(listeners.operator) {
        server = server.listen(listener)?;
    }
    actix_web::rt::spawn(connections::flood_watch(watched.clone()));
    actix_web::rt::spawn(connections::watchdog(watched, patience));
    Ok(server.run())
}

fn routes(config: &mut web::ServiceConfig) {
    for at in served() {
        config.service(at);
    }
    config.default_service(web::to(problem::no_such_route));
}

/// Everything that is served; the first path that matches a request takes it.
fn served() -> Vec<Endpoint> {
    // Paths are compared in this order, so what is asked most stands first; those with `{}` cost a regular expression.
    let mut served = vec![
        at("/api/orders/execute").with_query().post(orders::submit).get(ws::by_query).without_head(),
        at("/api/orders").with_query().post(orders::submit).get(orders::list).delete(cancel_all::cancel_all),
        at("/health").for_anybody().get(health::health),
        at("/api/health").for_anybody().get(health::health),
        at("/live").for_anybody().get(health::live),
        at("/api/live").for_anybody().get(health::live),
        at("/ready").for_anybody().get(health::ready),
        at("/api/ready").for_anybody().get(health::ready),
        at("/api/openapi.json").for_anybody().get(openapi::openapi),
        at("/api/asyncapi.json").for_anybody().get(openapi::asyncapi),
        at("/api/postman.json").for_anybody().get(openapi::postman),
        at("/api/auth").for_anybody().post(auth::enter),
        at("/api/auth/register").for_anybody().post(auth::register),
        at("/api/auth/login").for_anybody().post(auth::log_in),
        at("/api/auth/logout").post(auth::log_out),
        at("/api/auth/me").get(auth::me),
        at("/api/auth/keys").post(auth::create_key).get(auth::keys),
        at("/api/auth/keys/{id}").delete(auth::revoke_key),
        at("/api/auth/ticket").post(auth::ticket),
        at("/api/quotes").with_query().get(quotes::quotes),
        at("/api/tokens").get(tokens::tokens),
        at("/api/stats").get(stats::stats),
        at("/api/orders/cancel").with_query().post(cancel_all::cancel_all),
        at("/api/orders/history").with_query().get(orders::history),
        at("/api/orders/by-client-id/{id}").get(orders::by_client_id),
        at("/api/orders/{id}").get(orders::get).delete(orders::cancel),
        at("/api/orders/{id}/events").get(orders::events),
        at("/api/orders/{id}/cancel").post(orders::cancel),
        at("/api/orders/{id}/stream").with_query().get(ws::by_path).without_head(),
        at("/ws").with_query().get(ws::socket).without_head(),
        at("/ws/orders/{id}").with_query().get(ws::by_path).without_head(),
    ];
    served.extend(operator::served());
    served
}

/// Keeps a second handle of each connection's socket, for the watchdogs to shut it from outside (see [`sessions`]).
fn keep_handle(connections: &Arc<Connections>, connection: &dyn Any, extensions: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<TcpStream>() {
        let _ = stream.set_nodelay(true);
        let socket = socket2::SockRef::from(stream);
        match (socket.try_clone(), stream.peer_addr()) {
            (Ok(handle), Ok(client)) => {
                let handle = SocketHandle::new(handle);
                extensions.insert(connections.enter(handle.clone(), client.ip()));
                extensions.insert(handle);
            }
            // Nobody could watch over it. It may be closed already.
            (Err(_), _) | (_, Err(_)) => drop(socket.shutdown(Shutdown::Both)),
        }
    }
}
