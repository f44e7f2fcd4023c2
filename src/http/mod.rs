//! The public face: HTTP and WebSocket. Wire types live and die here.

mod auth;
mod body;
mod caller;
mod cancel_all;
mod dry_run;
mod health;
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

use actix_web::dev::{Extensions, Server};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, web};
use tokio::sync::watch;

pub use problem::{FieldError, Problem};

use crate::actors::desk::Desk;
use crate::auth::Auth;
use crate::cluster::{Cluster, Previews};
use crate::config::Settings;
use crate::domain::token::TokenList;
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

/// Takes the address to listen on; nothing is served yet, but clients may already knock.
pub fn bind(settings: &Settings) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((settings.server.host, settings.server.port))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves on that listener until it is told to stop; its signals are left to the caller.
pub fn serve(listener: TcpListener, face: Face) -> std::io::Result<Server> {
    let settings = face.settings.clone();
    let server = HttpServer::new(move || {
        App::new().app_data(web::Data::new(face.clone())).wrap(from_fn(request_id::give)).configure(routes)
    })
    .workers(settings.server.workers)
    .shutdown_timeout(settings.server.shutdown_timeout.as_secs().max(1))
    .on_connect(keep_handle)
    // Its own handling would stop the whole system 300 ms after the server, with orders still running.
    .disable_signals()
    .listen(listener)?
    .run();
    Ok(server)
}

fn routes(config: &mut web::ServiceConfig) {
    let at = |path: &str| web::resource(path.to_owned()).default_service(web::to(problem::wrong_method));
    let probes = |prefix: &str| {
        [
            at(&format!("{prefix}/health")).route(web::get().to(health::health)),
            at(&format!("{prefix}/live")).route(web::get().to(health::live)),
            at(&format!("{prefix}/ready")).route(web::get().to(health::ready)),
        ]
    };
    for probe in probes("").into_iter().chain(probes("/api")) {
        config.service(probe);
    }
    let orders = at("/api/orders")
        .route(web::post().to(orders::submit))
        .route(web::get().to(orders::list))
        .route(web::delete().to(cancel_all::cancel_all));
    let order = at("/api/orders/{id}").route(web::get().to(orders::get)).route(web::delete().to(orders::cancel));
    config
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

/// Keeps a second handle of each connection's socket, for the watchdog to shut it from outside (see [`sessions`]).
fn keep_handle(connection: &dyn Any, extensions: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<TcpStream>() {
        let _ = stream.set_nodelay(true);
        if let Ok(socket) = socket2::SockRef::from(stream).try_clone() {
            extensions.insert(SocketHandle::new(socket));
        }
    }
}
