//! The HTTP and WebSocket server of an engine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::Settings;
use crate::engine::error::StartError;
use crate::http::ws::sessions::{Sessions, watchdog};
use crate::http::{self, AppState, Listeners};

/// A running server.
pub(super) struct Server {
    address: SocketAddr,
    handle: ServerHandle,
    sessions: Arc<Sessions>,
    // Closes WebSocket connections whose client has stopped reading.
    watchdog: JoinHandle<()>,
}

/// Binds the addresses of the settings, unless strangers could trade there without authentication.
///
/// Connections wait in the backlog until [`Server::start`].
pub(super) fn listen(settings: &Settings) -> Result<Listeners, StartError> {
    if let Some((key, place)) = settings.public_place().filter(|_| settings.is_open_to_strangers()) {
        return Err(StartError::Open { key, place });
    }
    Listeners::bind(settings).map_err(|(address, source)| StartError::Listen { address, source })
}

impl Server {
    /// Serves on those listeners.
    pub(super) fn start(listeners: Listeners, app: AppState) -> Result<Self, StartError> {
        let address = listeners.address();
        let (sessions, stall_timeout) = (app.sessions.clone(), app.settings.ws.stall_timeout);
        let server = http::serve(listeners, app)
            .map_err(|source| StartError::Listen { address: address.to_string(), source })?;
        let handle = server.handle();
        actix::spawn(server);
        let watchdog = actix::spawn(watchdog(sessions.clone(), stall_timeout));
        Ok(Self { address, handle, sessions, watchdog })
    }

    /// Where clients are served; the first address if there are several.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes WebSocket connections with 1001, then waits for requests that are being answered.
    pub(super) async fn stop(&self, deadline: Duration) {
        self.sessions.close_all();
        let _ = timeout(deadline, self.handle.stop(true)).await;
    }

    /// Stops the watchdog, once no session needs it.
    pub(super) fn stop_watchdog(self) {
        self.watchdog.abort();
    }
}
