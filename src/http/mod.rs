//! The public face: HTTP and WebSocket. Wire types live and die here.

mod at;
mod auth;
mod authority;
mod body;
mod caller;
mod cancel_all;
mod connections;
mod descriptors;
mod documents;
mod doors;
mod dry_run;
#[cfg(test)]
mod fuzz;
mod guard;
mod health;
mod limits;
mod operator;
mod orders;
mod problem;
mod quotes;
mod request_id;
pub mod sessions;
mod stats;
mod tokens;
pub mod wire;
mod ws;

use std::any::Any;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use actix_web::dev::{Extensions, Server};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, web};
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;

pub use problem::{FieldError, Problem};

use crate::actors::desk::Desk;
use crate::auth::Auth;
use crate::chain::Chain;
use crate::cluster::{Cluster, Previews};
use crate::config::Settings;
use crate::domain::token::TokenList;
use crate::metrics::Metrics;
use at::{At, at};
use connections::Connections;
use guard::Guard;
use sessions::{Sessions, SocketHandle};

/// What every route can reach.
#[derive(Clone)]
pub struct Face {
    /// Where orders are asked for.
    pub desk: Desk,
    /// Who asks.
    pub auth: Arc<Auth>,
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// The open sockets.
    pub sessions: Arc<Sessions>,
    /// What the venues would offer, for showing only.
    pub previews: Previews,
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

impl Face {
    fn tokens(&self) -> &TokenList {
        &self.settings.tokens
    }
}

/// Where the engine listens; clients may knock already, and wait until they are served.
pub struct Listeners {
    clients: (TcpListener, SocketAddr),
    // None where the operator's routes are served with all others.
    operator: Option<(TcpListener, SocketAddr)>,
}

impl Listeners {
    /// Takes the addresses to listen on, or says which is not to be had.
    pub fn bind(settings: &Settings) -> Result<Self, (SocketAddr, std::io::Error)> {
        let bind = |address: SocketAddr| listen(address).map_err(|error| (address, error));
        let clients = bind((settings.server.host, settings.server.port).into())?;
        Ok(Self { clients, operator: settings.metrics.bind.map(bind).transpose()? })
    }

    /// Where clients are served.
    pub fn address(&self) -> SocketAddr {
        self.clients.1
    }
}

fn listen(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
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
pub fn serve(listeners: Listeners, face: Face) -> std::io::Result<Server> {
    let settings = face.settings.clone();
    let operator = listeners.operator.as_ref().map(|(_, address)| *address);
    let most = descriptors::connections(&settings);
    let guard = web::Data::new(Guard::new(&settings, operator, most, face.metrics.clone()));
    let face = web::Data::new(face);
    let connections = guard.connections.clone();
    let (watched, patience) = (Arc::downgrade(&connections), connections::patience(&settings.server));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(face.clone())
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
    let server = server.listen(listeners.clients.0)?;
    let server = match listeners.operator {
        Some((listener, _)) => server.listen(listener)?,
        None => server,
    };
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
fn served() -> Vec<At> {
    // Paths are compared in this order, so what is asked most stands first; those with `{}` cost a regular expression.
    let mut served = vec![
        at("/api/orders/execute").with_query().post(orders::submit).get(ws::by_query),
        at("/api/orders").with_query().post(orders::submit).get(orders::list).delete(cancel_all::cancel_all),
        at("/health").for_anybody().get(health::health),
        at("/api/health").for_anybody().get(health::health),
        at("/live").for_anybody().get(health::live),
        at("/api/live").for_anybody().get(health::live),
        at("/ready").for_anybody().get(health::ready),
        at("/api/ready").for_anybody().get(health::ready),
        at("/api/openapi.json").for_anybody().get(documents::openapi),
        at("/api/asyncapi.json").for_anybody().get(documents::asyncapi),
        at("/api/postman.json").for_anybody().get(documents::postman),
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
        at("/api/orders/{id}/stream").with_query().get(ws::by_path),
        at("/ws").with_query().get(ws::socket),
        at("/ws/orders/{id}").with_query().get(ws::by_path),
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
