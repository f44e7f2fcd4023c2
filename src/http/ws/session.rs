//! What every WebSocket actor has: the upgrade, the heartbeat, its entry among the open sockets, and its forced close.

use std::time::{Duration, Instant};

use actix::prelude::*;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws::{Message, ProtocolError, WebsocketContext, handshake_with_protocols};
use futures_util::stream;

use crate::api::problem::ProblemCode;
use crate::http::AppState;
use crate::http::extract::caller::{BEARER_PROTOCOL, Caller};
use crate::http::middleware::guard::RequestGuard;
use crate::http::problem::Problem;
use crate::http::server::client::Client;
use crate::http::server::proxies::Source;
use crate::http::server::slots::Slot;
use crate::http::server::socket_handle::SocketHandle;
use crate::http::ws::close::{
    Close, GOING_AWAY, IDLE, NO_WEBSOCKET, NOT_TEXT, SIGNED_OUT, SILENT, TOO_FAST, TOO_LARGE, TOO_SLOW, close,
};
use crate::http::ws::incoming::{self, Incoming};
use crate::http::ws::pace::Pace;
use crate::http::ws::pending::PendingCommands;
use crate::http::ws::sessions::{CloseSocket, Registration};

/// How long a client has to read the close frame before its socket is shut from outside.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The same for a client that reads slowly: the close frame is queued behind everything that was sent before.
const SLOW_CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// An actor that serves one WebSocket.
pub(super) trait SocketActor: Actor<Context = WebsocketContext<Self>> + Handler<CloseSocket> {
    fn session(&mut self) -> &mut Session;

    /// Whether the client uses the socket for nothing, so that it may be closed.
    fn is_idle(&self) -> bool {
        false
    }
}

/// One WebSocket and its client.
pub(super) struct Session {
    pub(super) app: web::Data<AppState>,
    pub(super) caller: Caller,
    pub(super) pending: PendingCommands,
    guard: web::Data<RequestGuard>,
    client: Client,
    source: Option<Source>,
    socket: Option<SocketHandle>,
    // `None` before the actor has started and after it has stopped.
    registration: Option<Registration>,
    last_frame: Instant,
    // Freed when the session is dropped, also if its actor never started.
    _slot: Slot,
}

impl Session {
    /// A session for a socket that is about to be opened, if its client may have one more.
    pub(super) fn new(request: &HttpRequest, app: web::Data<AppState>, caller: Caller) -> Result<Self, Problem> {
        let max = app.settings.ws.max_sockets_per_client;
        let guard = request.app_data::<web::Data<RequestGuard>>().expect("every app has its guard").clone();
        let source = guard.source(request);
        let client = match caller.identity() {
            Ok(identity) => Client::User(identity.user),
            Err(_) => source.map_or(Client::Others, |source| Client::at(source.address)),
        };
        let slot = app.sessions.try_take_slot(client, max).ok_or_else(|| {
            let detail = format!("a client may have {max} open sockets");
            Problem::new(ProblemCode::TooManySockets, detail).retry_after(5)
        })?;
        let socket = request.conn_data::<SocketHandle>().cloned();
        Ok(Self {
            app,
            caller,
            pending: PendingCommands::default(),
            guard,
            client,
            source,
            socket,
            registration: None,
            last_frame: Instant::now(),
            _slot: slot,
        })
    }

    /// Registers the session and starts its heartbeat, when its actor starts. Returns whether the session may go on.
    pub(super) fn start<S: SocketActor>(actor: &mut S, ctx: &mut WebsocketContext<S>) -> bool {
        let session = actor.session();
        let settings = &session.app.settings.ws;
        let (heartbeat, stall_timeout) = (settings.heartbeat, settings.stall_timeout);
        ctx.set_mailbox_capacity(settings.mailbox);
        let identity = session.caller.identity().ok();
        session.registration =
            Some(session.app.sessions.add(session.socket.clone(), identity, ctx.address().recipient()));
        // The credential may have ended between the upgrade and the registration. From now on a message reports its end.
        if session.is_signed_out() {
            close(SIGNED_OUT, ctx);
            return false;
        }
        ctx.run_interval(heartbeat, move |actor, ctx| {
            // At the next heartbeat the client would have been silent for longer than it may.
            if actor.session().last_frame.elapsed() + heartbeat > stall_timeout {
                force_close(actor, SILENT, ctx);
            } else if actor.is_idle() {
                close(IDLE, ctx);
            } else {
                ctx.ping(b"");
            }
        });
        true
    }

    /// Counts a message against the request limit of its client.
    pub(super) fn admit(&self) -> Result<(), Problem> {
        self.guard.admit_message(self.client, self.source)
    }

    /// Whether the credential of the socket has ended. The session also gets a message about it, a moment later.
    pub(super) fn is_signed_out(&self) -> bool {
        self.caller.identity().is_ok_and(|identity| !self.app.auth.holds(&identity))
    }

    /// Notes that the client is there; called with every frame.
    pub(super) fn frame_received(&mut self) {
        self.last_frame = Instant::now();
        if let Some(registration) = &self.registration {
            registration.frame_received();
        }
    }

    /// Ends the registration, when the actor stops.
    pub(super) fn stop(&mut self) {
        self.registration = None;
    }
}

/// Answers an upgrade with a socket that is served by `actor` and takes messages of up to `max_bytes`.
pub(super) fn upgrade<S: SocketActor + StreamHandler<Result<Message, ProtocolError>>>(
    mut actor: S,
    max_bytes: usize,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let mut response = handshake_with_protocols(request, &[BEARER_PROTOCOL])
        .map_err(|error| Problem::new(ProblemCode::NoWebsocket, format!("this path is a WebSocket: {error}")))?;
    let session = actor.session();
    let settings = &session.app.settings.ws;
    let pace = Pace::new(settings.commands_per_minute.saturating_add(settings.frames_per_minute));
    let incoming = Incoming::new(payload, max_bytes, pace, session.pending.clone());
    // The adapter's own stream stays empty, because it would read more than is handled.
    Ok(response.streaming(WebsocketContext::with_factory(stream::pending(), |ctx| {
        ctx.add_stream(incoming);
        actor
    })))
}

/// Closes a socket whose client sent an invalid frame.
pub(super) fn close_for_error<S: SocketActor>(actor: &mut S, error: &ProtocolError, ctx: &mut WebsocketContext<S>) {
    let reason = match error {
        ProtocolError::Overflow => TOO_LARGE,
        ProtocolError::Io(error) if error.kind() == incoming::TOO_FAST => TOO_FAST,
        ProtocolError::Io(error) if error.kind() == incoming::NOT_TEXT => NOT_TEXT,
        _ => NO_WEBSOCKET,
    };
    force_close(actor, reason, ctx);
}

/// Closes a socket for a reason that is not its client's.
pub(super) fn close_for_server<S: SocketActor>(reason: CloseSocket, ctx: &mut WebsocketContext<S>) {
    match reason {
        CloseSocket::Stopping => close(GOING_AWAY, ctx),
        CloseSocket::SignedOut => close(SIGNED_OUT, ctx),
    }
}

/// Closes a socket whose client may not read the close frame: after a timeout it is shut from outside.
pub(super) fn force_close<S: SocketActor>(actor: &mut S, reason: Close, ctx: &mut WebsocketContext<S>) {
    let timeout = if reason == TOO_SLOW { SLOW_CLOSE_TIMEOUT } else { CLOSE_TIMEOUT };
    if let Some(socket) = actor.session().socket.take() {
        actix::spawn(async move {
            tokio::time::sleep(timeout).await;
            socket.shut();
        });
    }
    close(reason, ctx);
}
