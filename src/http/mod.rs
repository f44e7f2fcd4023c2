//! The public face: HTTP and WebSocket. Wire types live and die here.

mod body;
mod health;
mod orders;
mod problem;
mod quotes;
mod request_id;
pub mod sessions;
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
use crate::cluster::{Cluster, Previews};
use crate::config::Settings;
use crate::domain::token::TokenList;
use sessions::{Sessions, SocketHandle};

/// What every route can reach.
#[derive(Clone)]
pub struct Face {
    /// Where orders are asked for.
    pub desk: Desk,
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
    config
        .service(web::resource("/ws/orders/{id}").route(web::get().to(ws::order)))
        .service(web::resource("/health").route(web::get().to(health::health)))
        .service(web::resource("/live").route(web::get().to(health::live)))
        .service(web::resource("/ready").route(web::get().to(health::ready)))
        .service(
            web::scope("/api")
                .service(web::resource("/health").route(web::get().to(health::health)))
                .service(web::resource("/live").route(web::get().to(health::live)))
                .service(web::resource("/ready").route(web::get().to(health::ready)))
                .service(web::resource("/quotes").route(web::get().to(quotes::quotes)))
                .service(web::resource("/orders/execute").route(web::post().to(orders::submit)))
                .service(
                    web::resource("/orders").route(web::post().to(orders::submit)).route(web::get().to(orders::list)),
                )
                .service(
                    web::resource("/orders/{id}")
                        .route(web::get().to(orders::get))
                        .route(web::delete().to(orders::cancel)),
                )
                .service(web::resource("/orders/{id}/events").route(web::get().to(orders::events)))
                .service(web::resource("/orders/{id}/cancel").route(web::post().to(orders::cancel)))
                .service(web::resource("/orders/{id}/stream").route(web::get().to(ws::order)))
                .default_service(web::to(problem::no_such_route)),
        )
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
