//! The HTTP and WebSocket server of an engine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::Settings;
use crate::engine::error::StartError;
use crate::http::ws::sessions::{Sessions, follow_accounts, watchdog};
use crate::http::{self, AppState, Listeners};

/// A running server.
pub(super) struct Server {
    address: SocketAddr,
    handle: ServerHandle,
    sessions: Arc<Sessions>,
    // They close WebSocket connections: the first those whose client has stopped reading, both those whose credential has
    // ended.
    watchdogs: [JoinHandle<()>; 2],
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
        let (sessions, auth) = (app.sessions.clone(), app.auth.clone());
        let stall_timeout = app.settings.ws.stall_timeout;
        let server = http::serve(listeners, app)
            .map_err(|source| StartError::Listen { address: address.to_string(), source })?;
        let handle = server.handle();
        actix::spawn(server);
        let watchdogs = [
            actix::spawn(watchdog(sessions.clone(), auth.clone(), stall_timeout)),
            actix::spawn(follow_accounts(sessions.clone(), auth)),
        ];
        Ok(Self { address, handle, sessions, watchdogs })
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

    /// Stops the watchdogs, once no session needs them.
    pub(super) fn stop_watchdogs(self) {
        self.watchdogs.iter().for_each(JoinHandle::abort);
    }
}
