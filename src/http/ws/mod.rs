//! Sockets: `one` follows one order to its end, `many` follows and submits as many as the client likes. Here is
//! what both need: the upgrade, the heartbeat, telling and closing.
//!
//! The only folder that names `actix-web-actors`, which is deprecated and will go with the next actix-web.

mod allowance;
mod fragments;
pub(super) mod frame;
mod incoming;
mod many;
mod one;
mod pace;
mod pending;
pub mod sessions;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use actix::prelude::*;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws::{
    CloseCode, CloseReason, Message, ProtocolError, WebsocketContext, handshake_with_protocols,
};
use futures_util::stream;
use serde::Serialize;

pub(super) use many::socket;
pub(super) use one::{by_path, by_query};

use incoming::Incoming;
use pace::Pace;

use crate::actors::order::RenderedUpdate;
use crate::api::views;
use crate::domain::id::OrderId;
use crate::domain::order::{OrderRequest, RecordedEvent};
use crate::http::AppState;
use crate::http::extract::body;
use crate::http::extract::caller::{BEARER_PROTOCOL, Caller};
use crate::http::middleware::guard::RequestGuard;
use crate::http::middleware::limits::Client;
use crate::http::problem::Problem;
use crate::http::ws::pending::PendingCommands;
use crate::http::ws::sessions::{CloseSocket, LastHeard, SocketHandle, SocketSlot};

type Close = (CloseCode, &'static str);

const GOING_AWAY: Close = (CloseCode::Away, "the engine is stopping");
const ENDED: Close = (CloseCode::Normal, "the order has ended");
const IDLE: Close = (CloseCode::Normal, "nothing was followed or asked for");
const UNAVAILABLE: Close = (CloseCode::Again, "try again later");
const HOSTILE: Close = (CloseCode::Policy, "too many messages that mean nothing");
const TOO_LARGE: Close = (CloseCode::Size, "the message is too large");
const TOO_FAST: Close = (CloseCode::Policy, "more frames than a client may send");
const NOT_TEXT: Close = (CloseCode::Invalid, "a text frame is not UTF-8");
const NO_WEBSOCKET: Close = (CloseCode::Protocol, "this is not WebSocket");
const UNKNOWN_ORDER: Close = (CloseCode::Other(4404), "there is no such order");
const UNREADABLE_ORDER: Close = (CloseCode::Other(4503), "the order cannot be read");
const TOO_SLOW: Close = (CloseCode::Other(4408), "too slow: resume with afterSeq");
const SIGNED_OUT: Close = (CloseCode::Other(4401), "the login is over");
const SILENT: Close = (CloseCode::Other(4408), "no answer to pings");

/// How long a client that is being thrown out may take to read the reason.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The same for a client that reads slowly: the reason stands behind everything that was sent before.
const LAST_WORD_TO_SLOW: Duration = Duration::from_secs(15);

/// An actor that is one socket.
trait SocketActor: Actor<Context = WebsocketContext<Self>> + Handler<CloseSocket> {
    fn pulse(&mut self) -> &mut Heartbeat;

    /// Whether nothing would be lost by ending it.
    fn is_idle(&self) -> bool {
        false
    }
}

/// A session's place among the open sockets, its heartbeat, and its signs of life.
struct Heartbeat {
    app: web::Data<AppState>,
    guard: web::Data<RequestGuard>,
    caller: Caller,
    client: Client,
    address: Option<IpAddr>,
    socket: Option<SocketHandle>,
    entered: Option<(u64, LastHeard)>,
    heard: Instant,
    pending: PendingCommands,
    // Given back when the session is dropped, also where it never began.
    _seat: SocketSlot,
}

impl Heartbeat {
    /// For a socket that is about to be opened, if its client may have one more.
    fn of(request: &HttpRequest, app: web::Data<AppState>, caller: Caller) -> Result<Self, Problem> {
        let most = app.settings.ws.max_sockets_per_client;
        let address = request.peer_addr().map(|address| address.ip());
        let client = match caller.identity() {
            Ok(identity) => Client::User(identity.user),
            Err(_) => address.map_or(Client::Others, Client::at),
        };
        let seat = app.sessions.seat(client, most).ok_or_else(|| {
            let detail = format!("a client may have {most} sockets open at once");
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_sockets", detail).retry_after(5)
        })?;
        let socket = request.conn_data::<SocketHandle>().cloned();
        let guard = request.app_data::<web::Data<RequestGuard>>().expect("every app has its guard").clone();
        Ok(Self {
            app,
            guard,
            caller,
            client,
            address,
            socket,
            entered: None,
            heard: Instant::now(),
            pending: PendingCommands::default(),
            _seat: seat,
        })
    }

    /// Called when the session starts; whether it may go on.
    fn begin<S: SocketActor>(session: &mut S, ctx: &mut WebsocketContext<S>) -> bool {
        let pulse = session.pulse();
        let settings = &pulse.app.settings.ws;
        let (heartbeat, silence) = (settings.heartbeat, settings.stall_timeout);
        ctx.set_mailbox_capacity(settings.mailbox);
        let credential = pulse.caller.credential();
        let entered = pulse.app.sessions.enter(pulse.socket.clone(), credential, ctx.address().recipient());
        pulse.entered = Some(entered);
        // It may have ended between the upgrade and the entry; from here on the session is told.
        if pulse.is_signed_out() {
            close(SIGNED_OUT, ctx);
            return false;
        }
        ctx.run_interval(heartbeat, move |session, ctx| {
            // The next beat would be too late to say that it has been silent for too long.
            if session.pulse().heard.elapsed() + heartbeat > silence {
                throw_out(session, SILENT, ctx);
            } else if session.is_idle() {
                close(IDLE, ctx);
            } else {
                ctx.ping(b"");
            }
        });
        true
    }

    /// Lets in a message that asks for something, if its client may ask so often.
    fn admit(&self) -> Result<(), Problem> {
        self.guard.admit_message(self.client, self.address)
    }

    /// Whether what the socket was opened with is worth nothing any more. The session is told so too, but a moment later.
    fn is_signed_out(&self) -> bool {
        self.caller.credential().is_some_and(|credential| !self.app.auth.holds(credential))
    }

    /// Called with every frame of the client's.
    fn hear(&mut self) {
        self.heard = Instant::now();
        if let Some((_, life)) = &self.entered {
            life.leave();
        }
    }

    /// Called when the session stops.
    fn end(&mut self) {
        if let Some((key, _)) = self.entered.take() {
            self.app.sessions.leave(key);
        }
    }
}

/// Answers an upgrade with that session, which takes messages of so many bytes.
fn open<S: SocketActor + StreamHandler<Result<Message, ProtocolError>>>(
    mut session: S,
    most_bytes: usize,
    request: &HttpRequest,
    stream: web::Payload,
) -> Result<HttpResponse, Problem> {
    let mut response = handshake_with_protocols(request, &[BEARER_PROTOCOL]).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "no_websocket", format!("this path is a WebSocket: {error}"))
    })?;
    let settings = &session.pulse().app.settings.ws;
    let pace = Pace::new(settings.commands_per_minute.saturating_add(settings.frames_per_minute));
    let incoming = Incoming::new(stream, most_bytes, pace, session.pulse().pending.clone());
    // The adapter's own stream stays empty: it would read more than is handled.
    Ok(response.streaming(WebsocketContext::with_factory(stream::pending(), |ctx| {
        ctx.add_stream(incoming);
        session
    })))
}

/// Closes a socket whose client sent what cannot be taken.
fn refuse<S: SocketActor>(session: &mut S, error: &ProtocolError, ctx: &mut WebsocketContext<S>) {
    let close_as = match error {
        ProtocolError::Overflow => TOO_LARGE,
        ProtocolError::Io(error) if error.kind() == incoming::TOO_FAST => TOO_FAST,
        ProtocolError::Io(error) if error.kind() == incoming::NOT_TEXT => NOT_TEXT,
        _ => NO_WEBSOCKET,
    };
    throw_out(session, close_as, ctx);
}

fn tell<S: SocketActor>(message: &impl Serialize, ctx: &mut WebsocketContext<S>) {
    ctx.text(serde_json::to_string(message).expect("a message holds only strings and numbers"));
}

/// Tells a step in the words that all its listeners share.
fn tell_step<S: SocketActor>(
    id: OrderId,
    request: &OrderRequest,
    step: &RecordedEvent,
    words: &RenderedUpdate,
    ctx: &mut WebsocketContext<S>,
) {
    ctx.text(words.get_or_init(|| views::update_text(id, request, step)).clone());
}

fn close<S: SocketActor>((code, description): Close, ctx: &mut WebsocketContext<S>) {
    ctx.close(Some(CloseReason { code, description: Some(description.to_owned()) }));
    ctx.stop();
}

/// Closes a socket for what is no fault of its client's.
fn go_away<S: SocketActor>(why: CloseSocket, ctx: &mut WebsocketContext<S>) {
    match why {
        CloseSocket::Stopping => close(GOING_AWAY, ctx),
        CloseSocket::SignedOut => close(SIGNED_OUT, ctx),
    }
}

/// Closes a socket whose client may not take the close: then it is shut from outside.
fn throw_out<S: SocketActor>(session: &mut S, close_as: Close, ctx: &mut WebsocketContext<S>) {
    let last_word = if close_as == TOO_SLOW { LAST_WORD_TO_SLOW } else { LAST_WORD };
    if let Some(socket) = session.pulse().socket.take() {
        actix::spawn(async move {
            tokio::time::sleep(last_word).await;
            socket.shut();
        });
    }
    close(close_as, ctx);
}

/// Whether a socket is opened for that query: for the tests of everything that clients can send.
#[cfg(test)]
pub(super) fn takes(query: &str) -> bool {
    Query::parse(query).is_ok()
}

/// What a socket is opened for: `orderId`, and `afterSeq` to leave out what the client has had.
struct Query {
    order_id: Option<OrderId>,
    after_seq: u32,
}

impl Query {
    fn parse(query: &str) -> Result<Self, Problem> {
        let mut form = body::form_of_query(query)?;
        let order_id = form.take_one_of(&["orderId"], |text| text.parse().map_err(|_| "must be a UUID".to_owned()));
        let after_seq = form
            .take_one_of(&["afterSeq"], |text| text.parse().map_err(|_| "must be a whole number from 0".to_owned()));
        // The caller has taken it.
        form.take_raw("ticket");
        form.refuse_leftovers();
        if form.errors.is_empty() {
            Ok(Self { order_id, after_seq: after_seq.unwrap_or_default() })
        } else {
            Err(Problem::invalid(form.errors))
        }
    }
}
