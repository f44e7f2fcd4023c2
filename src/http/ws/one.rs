//! A socket for one order: subscribed to it directly, it tells the story so far, every step, and how it ended.

use std::sync::Arc;

use actix::prelude::*;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws::{Message, ProtocolError, WebsocketContext};

use crate::actors::order::{OrderUpdate, Subscriber};
use crate::api::views::SnapshotView;
use crate::domain::id::OrderId;
use crate::domain::lifecycle::Status;
use crate::domain::order::{OrderRequest, RecordedEvent};
use crate::domain::user::{Owner, Scope};
use crate::http::AppState;
use crate::http::extract::caller::{Caller, SocketCaller};
use crate::http::problem::Problem;
use crate::http::routes::orders;
use crate::http::ws::sessions::CloseSocket;
use crate::http::ws::{
    ENDED, Heartbeat, Query, SocketActor, TOO_SLOW, UNAVAILABLE, UNKNOWN_ORDER, UNREADABLE_ORDER, close, go_away, open,
    refuse, tell, tell_step, throw_out,
};
use crate::service::orders::{OrderSubscription, ServiceError, Watched};

/// A client has nothing long to say here.
const MAX_FRAME: usize = 16 * 1024;

/// Follows the order that the path names.
pub(in crate::http) async fn by_path(
    request: HttpRequest,
    app: web::Data<AppState>,
    SocketCaller(caller): SocketCaller,
    id: web::Path<String>,
    stream: web::Payload,
) -> Result<HttpResponse, Problem> {
    let id = orders::order_id(&id)?;
    let query = Query::parse(request.query_string())?;
    if query.order_id.is_some_and(|other| other != id) {
        return Err(Problem::invalid_field("orderId", "disagrees with the path"));
    }
    follow(&request, app, caller, id, query.after_seq, stream)
}

/// Follows the order of `?orderId=`.
pub(in crate::http) async fn by_query(
    request: HttpRequest,
    app: web::Data<AppState>,
    SocketCaller(caller): SocketCaller,
    stream: web::Payload,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string())?;
    let id = query.order_id.ok_or_else(|| Problem::invalid_field("orderId", "is required"))?;
    follow(&request, app, caller, id, query.after_seq, stream)
}

fn follow(
    request: &HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    id: OrderId,
    after_seq: u32,
    stream: web::Payload,
) -> Result<HttpResponse, Problem> {
    let owner = caller.may(Scope::Read)?;
    let pulse = Heartbeat::of(request, app, caller)?;
    let session =
        OrderSocket { pulse, owner, id, told: after_seq, listening: None, early: Vec::new(), snapshot_told: false };
    open(session, MAX_FRAME, request, stream)
}

struct OrderSocket {
    pulse: Heartbeat,
    owner: Owner,
    id: OrderId,
    // How far the client has been told.
    told: u32,
    listening: Option<OrderSubscription>,
    // Steps that came before the snapshot was told; the order sends no more than its few next ones.
    early: Vec<OrderUpdate>,
    snapshot_told: bool,
}

impl OrderSocket {
    fn follow(&mut self, ctx: &mut WebsocketContext<Self>) {
        let service = self.pulse.app.service.clone();
        let (owner, id, to, after_seq) =
            (self.owner, self.id, Subscriber::new(ctx.address().recipient(), 1), self.told);
        let watch = async move { service.watch(owner, id, to, after_seq).await };
        ctx.spawn(watch.into_actor(self).map(|watch, session, ctx| match watch {
            Ok(Watched::Live(subscribed, listening)) => {
                session.listening = Some(listening);
                session.tell_snapshot(&subscribed.request, subscribed.seq, &subscribed.history, subscribed.status, ctx);
            }
            Ok(Watched::Ended(order)) => {
                let last = order.last();
                session.tell_snapshot(&order.request, last.seq, order.history_after(session.told), last.status, ctx);
            }
            Err(ServiceError::Unknown(_)) => close(UNKNOWN_ORDER, ctx),
            Err(ServiceError::Unreadable(_)) => close(UNREADABLE_ORDER, ctx),
            Err(ServiceError::Unavailable) => close(UNAVAILABLE, ctx),
        }));
    }

    fn tell_snapshot(
        &mut self,
        request: &OrderRequest,
        seq: u32,
        history: &[Arc<RecordedEvent>],
        status: Status,
        ctx: &mut WebsocketContext<Self>,
    ) {
        tell(&SnapshotView::of(self.id, request, seq, status, history), ctx);
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
            OrderUpdate::Step { id, request, step, words } => {
                tell_step(*id, request, step, words, ctx);
                self.told = step.seq;
                if step.status.is_final() {
                    close(ENDED, ctx);
                }
            }
            OrderUpdate::Behind => throw_out(self, TOO_SLOW, ctx),
        }
    }
}

impl SocketActor for OrderSocket {
    fn pulse(&mut self) -> &mut Heartbeat {
        &mut self.pulse
    }
}

impl Actor for OrderSocket {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if Heartbeat::begin(self, ctx) {
            self.follow(ctx);
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.pulse.end();
        if let Some(listening) = self.listening.take() {
            listening.end();
        }
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for OrderSocket {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        self.pulse.hear();
        match message {
            Ok(Message::Ping(payload)) => ctx.pong(&payload),
            // This socket only tells; what the client says here asks for nothing.
            Ok(Message::Pong(_) | Message::Text(_) | Message::Binary(_) | Message::Nop | Message::Continuation(_)) => {}
            Ok(Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            Err(error) => refuse(self, &error, ctx),
        }
    }
}

impl Handler<OrderUpdate> for OrderSocket {
    type Result = ();

    fn handle(&mut self, update: OrderUpdate, ctx: &mut Self::Context) {
        if self.snapshot_told {
            self.tell_update(&update, ctx);
        } else {
            self.early.push(update);
        }
    }
}

impl Handler<CloseSocket> for OrderSocket {
    type Result = ();

    fn handle(&mut self, why: CloseSocket, ctx: &mut Self::Context) {
        go_away(why, ctx);
    }
}
