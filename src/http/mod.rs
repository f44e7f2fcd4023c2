//! The public face: HTTP and WebSocket. Wire types live and die here.

mod auth;
mod body;
mod caller;
mod cancel_all;
mod connections;
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
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, Server, Service, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, Resource, web};
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;

pub use problem::{FieldError, Problem};

use crate::actors::desk::Desk;
use crate::auth::Auth;
use crate::cluster::{Cluster, Previews};
use crate::config::Settings;
use crate::domain::token::TokenList;
use crate::metrics::Metrics;
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
    let guard = web::Data::new(Guard::new(&settings, operator, face.metrics.clone()));
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
    .max_connections(settings.server.max_connections.div_ceil(settings.server.workers))
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

/// A path whose every answer is counted under its own name.
fn at(
    path: &'static str,
) -> Resource<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    web::resource(path).default_service(web::to(problem::wrong_method)).wrap_fn(move |request, route| {
        let metrics = request.app_data::<web::Data<Face>>().map(|face| face.metrics.clone());
        let (begun, method) = (Instant::now(), method_name(request.method()));
        let answer = route.call(request);
        async move {
            let answer = answer.await?;
            if let Some(metrics) = metrics {
                metrics.answered(path, method, answer.status().as_u16(), begun.elapsed());
            }
            Ok(answer)
        }
    })
}

/// A method's name; one for all that no route takes, for a client may make up as many as it likes.
fn method_name(method: &Method) -> &'static str {
    [("GET", Method::GET), ("POST", Method::POST), ("DELETE", Method::DELETE)]
        .into_iter()
        .find(|(_, known)| known == method)
        .map_or("other", |(name, _)| name)
}

fn routes(config: &mut web::ServiceConfig) {
    for health in ["/health", "/api/health"] {
        config.service(at(health).route(web::get().to(health::health)));
    }
    for live in ["/live", "/api/live"] {
        config.service(at(live).route(web::get().to(health::live)));
    }
    for ready in ["/ready", "/api/ready"] {
        config.service(at(ready).route(web::get().to(health::ready)));
    }
    let orders = at("/api/orders")
        .route(web::post().to(orders::submit))
        .route(web::get().to(orders::list))
        .route(web::delete().to(cancel_all::cancel_all));
    let order = at("/api/orders/{id}").route(web::get().to(orders::get)).route(web::delete().to(orders::cancel));
    config
        .configure(operator::routes)
        .service(at("/api/auth").route(web::post().to(auth::enter)))
        .service(at("/api/auth/register").route(web::post().to(auth::register)))
        .service(at("/api/auth/login").route(web::post().to(auth::log_in)))
        .service(at("/api/auth/logout").route(web::post().to(auth::log_out)))
        .service(at("/api/auth/me").route(web::get().to(auth::me)))
        .service(at("/api/auth/keys").route(web::post().to(auth::create_key)).route(web::get().to(auth::keys)))
        .service(at("/api/auth/keys/{id}").route(web::delete().to(auth::revoke_key)))
        .service(at("/api/auth/ticket").route(web::post().to(auth::ticket)))
        .service(at("/api/quotes").route(web::get().to(quotes::quotes)))
        .service(at("/api/tokens").route(web::get().to(tokens::tokens)))
        .service(at("/api/stats").route(web::get().to(stats::stats)))
        .service(at("/api/orders/execute").route(web::post().to(orders::submit)).route(web::get().to(ws::by_query)))
        .service(at("/api/orders/cancel").route(web::post().to(cancel_all::cancel_all)))
        .service(at("/api/orders/history").route(web::get().to(orders::history)))
        .service(at("/api/orders/by-client-id/{id}").route(web::get().to(orders::by_client_id)))
        .service(orders)
        .service(order)
        .service(at("/api/orders/{id}/events").route(web::get().to(orders::events)))
        .service(at("/api/orders/{id}/cancel").route(web::post().to(orders::cancel)))
        .service(at("/api/orders/{id}/stream").route(web::get().to(ws::by_path)))
        .service(at("/ws").route(web::get().to(ws::socket)))
        .service(at("/ws/orders/{id}").route(web::get().to(ws::by_path)))
        .default_service(web::to(problem::no_such_route));
}

/// Keeps a second handle of each connection's socket, for the watchdogs to shut it from outside (see [`sessions`]).
fn keep_handle(connections: &Arc<Connections>, connection: &dyn Any, extensions: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<TcpStream>() {
        let _ = stream.set_nodelay(true);
        if let (Ok(socket), Ok(client)) = (socket2::SockRef::from(stream).try_clone(), stream.peer_addr()) {
            let socket = SocketHandle::new(socket);
            extensions.insert(connections.enter(socket.clone(), client.ip()));
            extensions.insert(socket);
        }
    }
}
