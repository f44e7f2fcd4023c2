//! HTTP and WebSocket. The wire types of requests and answers do not leave this module.
//!
//! An `operation` is one method at one path; `routes` lists all of them. From this list the server is configured, and
//! `openapi` makes the documents.

mod cancel;
mod endpoint;
mod extract;
#[cfg(test)]
mod fuzz;
mod listeners;
mod middleware;
mod openapi;
mod operation;
mod problem;
mod routes;
mod server;
mod submit;
mod warnings;
pub mod ws;

use std::any::Any;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Instant;

use actix_web::dev::{Extensions, Server};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, web};
use tokio::sync::watch;

pub use listeners::Listeners;
pub use problem::{FieldError, Problem};

use crate::auth::Auth;
use crate::chain::Chain;
use crate::config::Settings;
use crate::domain::token::TokenList;
use crate::redis::Cluster;
use crate::service::orders::OrderService;
use crate::service::quote_cache::QuoteCache;
use crate::telemetry::metrics::Metrics;
use endpoint::endpoints;
use listeners::Listener;
use middleware::guard::{self, RequestGuard};
use middleware::request_id;
use openapi::Documents;
use operation::operations;
use server::connections::{self, Connections};
use server::descriptors;
use server::proxies;
use server::socket_handle::SocketHandle;
use ws::sessions::Sessions;

/// What every handler can use.
#[derive(Clone)]
pub struct AppState {
    /// The order service.
    pub service: OrderService,
    /// Accounts, tokens, API keys and tickets.
    pub auth: Arc<Auth>,
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// The open WebSockets.
    pub sessions: Arc<Sessions>,
    /// Quotes for previews. Orders do not use them.
    pub quote_cache: QuoteCache,
    /// Redis, if one is configured.
    pub cluster: Option<Cluster>,
    /// The chain.
    pub chain: Arc<dyn Chain>,
    /// The counters.
    pub metrics: Metrics,
    /// Why the engine cannot continue, if it cannot.
    pub fatal: watch::Receiver<Option<String>>,
    /// When the engine started.
    pub started: Instant,
}

impl AppState {
    fn tokens(&self) -> &TokenList {
        &self.settings.tokens
    }

    /// Closes the sockets whose credential has ended. Called after each change that can end one.
    fn sign_out_ended(&self) {
        self.sessions.sign_out_ended(&self.auth);
    }
}

/// Serves on the listeners until the server is stopped. Signals are left to the caller.
pub fn serve(listeners: Listeners, app: AppState) -> io::Result<Server> {
    let settings = app.settings.clone();
    let max_connections = descriptors::max_connections(&settings);
    proxies::warnings(&settings.server).iter().for_each(|warning| tracing::warn!("{warning}"));
    let addresses = |listeners: &[Listener]| listeners.iter().map(|(_, address)| *address).collect();
    let (clients, operator) = (addresses(&listeners.clients), addresses(&listeners.operator));
    let guard = RequestGuard::new(&settings, clients, operator, max_connections, app.metrics.clone());
    let guard = web::Data::new(guard);
    let app = web::Data::new(app);
    let documents = web::Data::new(Documents::new(&routes::GROUPS, settings.server.public_url.clone()));
    let connections = guard.connections.clone();
    let (watched, max_silence) = (Arc::downgrade(&connections), connections::max_silence(&settings.server));
    let mut server = HttpServer::new(move || {
        App::new()
            .app_data(app.clone())
            .app_data(guard.clone())
            .app_data(documents.clone())
            .wrap(from_fn(guard::handle))
            .wrap(from_fn(request_id::assign))
            .configure(configure)
    })
    .workers(settings.server.workers)
    // A connection beyond the maximum is accepted and closed (see `connections`). The server itself would leave it
    // waiting without an answer.
    .max_connections((max_connections + descriptors::REFUSED_AT_ONCE).div_ceil(settings.server.workers))
    .keep_alive(settings.server.idle_timeout())
    .client_request_timeout(settings.server.head_timeout)
    .shutdown_timeout(settings.server.shutdown_timeout.as_secs().max(1))
    .on_connect(move |connection, extensions| keep_handle(&connections, connection, extensions))
    // The signal handling of actix stops the whole system 300 ms after the server, while orders are still running.
    .disable_signals();
    for (listener, _) in listeners.clients.into_iter().chain(listeners.operator) {
        server = server.listen(listener)?;
    }
    actix_web::rt::spawn(connections::watch_floods(watched.clone()));
    actix_web::rt::spawn(connections::watch_stalled(watched, max_silence));
    Ok(server.run())
}

fn configure(config: &mut web::ServiceConfig) {
    for endpoint in endpoints(operations(&routes::GROUPS)) {
        config.service(endpoint);
    }
    config.default_service(web::to(problem::no_such_route));
}

/// Keeps a second handle of each connection's socket, with which the watchdogs shut it down (see [`ws::sessions`]).
fn keep_handle(connections: &Arc<Connections>, connection: &dyn Any, extensions: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<TcpStream>() {
        let _ = stream.set_nodelay(true);
        let socket = socket2::SockRef::from(stream);
        match (socket.try_clone(), stream.peer_addr()) {
            (Ok(handle), Ok(client)) => {
                let handle = SocketHandle::new(handle);
                extensions.insert(connections.add(handle.clone(), client.ip()));
                extensions.insert(handle);
            }
            // A connection that the watchdogs cannot shut down is not served. It may be closed already.
            (Err(_), _) | (_, Err(_)) => drop(socket.shutdown(Shutdown::Both)),
        }
    }
}
