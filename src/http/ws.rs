//! One socket's actor: subscribed to its order directly, it tells the story so far, every step, and how it ended.
//!
//! The only file that names `actix-web-actors`, which is deprecated and will go with the next actix-web.

use std::time::Instant;

use actix::prelude::*;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws::{CloseCode, CloseReason, Message, ProtocolError, WebsocketContext, WsResponseBuilder};
use serde::Serialize;

use super::problem::Problem;
use super::sessions::{GoAway, SignOfLife, SocketHandle};
use super::wire::{SnapshotView, UpdateView};
use super::{Face, orders};
use crate::actors::desk::{DeskError, Listening, Watch};
use crate::actors::order::{OrderUpdate, Outlet};
use crate::domain::id::OrderId;
use crate::domain::order::{OrderRequest, Recorded};

/// A client has nothing long to say here.
const MAX_FRAME: usize = 16 * 1024;

const GOING_AWAY: (CloseCode, &str) = (CloseCode::Away, "the engine is stopping");
const ENDED: (CloseCode, &str) = (CloseCode::Normal, "the order has ended");
const UNAVAILABLE: (CloseCode, &str) = (CloseCode::Again, "try again later");
const UNKNOWN_ORDER: (CloseCode, &str) = (CloseCode::Other(4404), "there is no such order");
const TOO_SLOW: (CloseCode, &str) = (CloseCode::Other(4408), "too slow: resume with afterSeq");
const SILENT: (CloseCode, &str) = (CloseCode::Other(4408), "no answer to pings");

/// Follows one order; `?afterSeq=n` leaves out what the client has had.
pub(super) async fn order(
    request: HttpRequest,
    face: web::Data<Face>,
    id: web::Path<String>,
    stream: web::Payload,
) -> Result<HttpResponse, Problem> {
    let id = orders::order_id(&id)?;
    let after_seq = after_seq(request.query_string())?;
    let socket = request.conn_data::<SocketHandle>().cloned();
    let session = WsSession::new(face, id, after_seq, socket);
    WsResponseBuilder::new(session, &request, stream).frame_size(MAX_FRAME).start().map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "no_websocket", format!("this path is a WebSocket: {error}"))
    })
}

fn after_seq(query: &str) -> Result<u32, Problem> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(query)
        .map_err(|error| Problem::invalid_field("query", error.to_string()))?;
    let mut after_seq = 0;
    for (name, value) in pairs.into_inner() {
        match name.as_str() {
            "afterSeq" => {
                after_seq =
                    value.parse().map_err(|_| Problem::invalid_field("afterSeq", "must be a whole number from 0"))?
            }
            _ => return Err(Problem::invalid_field(&name, "is not a parameter of this stream")),
        }
    }
    Ok(after_seq)
}

struct WsSession {
    face: web::Data<Face>,
    id: OrderId,
    // How far the client has been told.
    told: u32,
    socket: Option<SocketHandle>,
    life: Option<(u64, SignOfLife)>,
    heard: Instant,
    listening: Option<Listening>,
    // Steps that came before the snapshot was told; the order sends no more than its few next ones.
    early: Vec<OrderUpdate>,
    snapshot_told: bool,
}

impl WsSession {
    fn new(face: web::Data<Face>, id: OrderId, after_seq: u32, socket: Option<SocketHandle>) -> Self {
        Self {
            face,
            id,
            told: after_seq,
            socket,
            life: None,
            heard: Instant::now(),
            listening: None,
            early: Vec::new(),
            snapshot_told: false,
        }
    }

    fn follow(&mut self, ctx: &mut WebsocketContext<Self>) {
        let desk = self.face.desk.clone();
        let (id, to, after_seq) = (self.id, Outlet::new(ctx.address().recipient()), self.told);
        let watch = async move { desk.watch(id, to, after_seq).await };
        ctx.spawn(watch.into_actor(self).map(|watch, session, ctx| match watch {
            Ok(Watch::Live(subscribed, listening)) => {
                session.listening = Some(listening);
                session.tell_snapshot(&subscribed.request, subscribed.seq, &subscribed.story, subscribed.status, ctx);
            }
            Ok(Watch::Ended(order)) => {
                let last = order.last();
                session.tell_snapshot(&order.request, last.seq, order.history_after(session.told), last.status, ctx);
            }
            Err(DeskError::Unknown(_)) => close(UNKNOWN_ORDER, ctx),
            Err(DeskError::Unavailable) => close(UNAVAILABLE, ctx),
        }));
    }

    fn tell_snapshot(
        &mut self,
        request: &OrderRequest,
        seq: u32,
        story: &[std::sync::Arc<Recorded>],
        status: crate::domain::lifecycle::Status,
        ctx: &mut WebsocketContext<Self>,
    ) {
        let events = story.iter().map(|step| UpdateView::of(self.id, request, step)).collect();
        tell(&SnapshotView { r#type: "order:snapshot", order_id: self.id, seq, status, events }, ctx);
        (self.told, self.snapshot_told) = (seq, true);
        if status.is_final() {
            return close(ENDED, ctx);
        }
        for update in std::mem::take(&mut self.early) {
            self.tell_update(&update, ctx);
        }
    }

    fn tell_update(&mut self, update: &OrderUpdate, ctx: &mut WebsocketContext<Self>) {
        match update {
            // After a restart the order may repeat what was told before.
            OrderUpdate::Step { step, .. } if step.seq <= self.told => {}
            OrderUpdate::Step { id, request, step } => {
                tell(&UpdateView::update(*id, request, step), ctx);
                self.told = step.seq;
                if step.status.is_final() {
                    close(ENDED, ctx);
                }
            }
            OrderUpdate::Dropped { .. } => close(TOO_SLOW, ctx),
        }
    }

    fn show_life(&self) {
        if let Some((_, life)) = &self.life {
            life.leave();
        }
    }
}

fn tell(message: &impl Serialize, ctx: &mut WebsocketContext<WsSession>) {
    ctx.text(serde_json::to_string(message).expect("a message holds only strings and numbers"));
}

fn close((code, description): (CloseCode, &str), ctx: &mut WebsocketContext<WsSession>) {
    ctx.close(Some(CloseReason { code, description: Some(description.to_owned()) }));
    ctx.stop();
}

impl Actor for WsSession {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let settings = &self.face.settings.ws;
        ctx.set_mailbox_capacity(settings.mailbox);
        self.life = Some(self.face.sessions.enter(self.socket.take(), ctx.address().recipient()));
        let silence = settings.stall_timeout;
        ctx.run_interval(settings.heartbeat, move |session, ctx| {
            session.show_life();
            if session.heard.elapsed() > silence {
                close(SILENT, ctx);
            } else {
                ctx.ping(b"");
            }
        });
        self.follow(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if let Some((key, _)) = self.life.take() {
            self.face.sessions.leave(key);
        }
        if let Some(listening) = self.listening.take() {
            listening.end();
        }
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for WsSession {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        self.heard = Instant::now();
        self.show_life();
        match message {
            Ok(Message::Ping(payload)) => ctx.pong(&payload),
            // This socket only tells; what the client says here asks for nothing.
            Ok(Message::Pong(_) | Message::Text(_) | Message::Binary(_) | Message::Nop | Message::Continuation(_)) => {}
            Ok(Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            Err(ProtocolError::Overflow) => close((CloseCode::Size, "the frame is too large"), ctx),
            Err(_) => close((CloseCode::Protocol, "this is not WebSocket"), ctx),
        }
    }
}

impl Handler<OrderUpdate> for WsSession {
    type Result = ();

    fn handle(&mut self, update: OrderUpdate, ctx: &mut Self::Context) {
        self.show_life();
        if self.snapshot_told {
            self.tell_update(&update, ctx);
        } else {
            self.early.push(update);
        }
    }
}

impl Handler<GoAway> for WsSession {
    type Result = ();

    fn handle(&mut self, _: GoAway, ctx: &mut Self::Context) {
        close(GOING_AWAY, ctx);
    }
}
