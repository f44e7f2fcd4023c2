//! A WebSocket for one order: it sends a snapshot with the history so far, then every event, and closes when the order ends.

use actix::prelude::*;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws::{Message, ProtocolError, WebsocketContext};

use crate::actors::order::{OrderUpdate, Subscriber};
use crate::domain::id::OrderId;
use crate::domain::user::{Owner, Scope};
use crate::http::AppState;
use crate::http::extract::caller::{Caller, SocketCaller};
use crate::http::extract::order::parse_order_id;
use crate::http::problem::Problem;
use crate::http::ws::close::{ENDED, TOO_SLOW, UNAVAILABLE, UNKNOWN_ORDER, UNREADABLE_ORDER, close};
use crate::http::ws::progress::Progress;
use crate::http::ws::query::SocketQuery;
use crate::http::ws::reply::{send, send_event};
use crate::http::ws::session::{Session, SocketActor, close_for_error, close_for_server, force_close, upgrade};
use crate::http::ws::sessions::CloseSocket;
use crate::http::ws::snapshot::Snapshot;
use crate::service::orders::{OrderSubscription, ServiceError, Watched};

/// The limit of a client's frames, whose content this socket ignores.
const MAX_FRAME: usize = 16 * 1024;

/// Follows the order in the path.
pub(in crate::http) async fn by_path(
    request: HttpRequest,
    app: web::Data<AppState>,
    SocketCaller(caller): SocketCaller,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let id = parse_order_id(&id)?;
    let query = SocketQuery::parse(request.query_string())?;
    if query.order_id.is_some_and(|other| other != id) {
        return Err(Problem::invalid_field("orderId", "is not the order in the path"));
    }
    follow(&request, app, caller, id, query.after_seq, payload)
}

/// Follows the order of `?orderId=`.
pub(in crate::http) async fn by_query(
    request: HttpRequest,
    app: web::Data<AppState>,
    SocketCaller(caller): SocketCaller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let query = SocketQuery::parse(request.query_string())?;
    let id = query.order_id.ok_or_else(|| Problem::invalid_field("orderId", "is required"))?;
    follow(&request, app, caller, id, query.after_seq, payload)
}

fn follow(
    request: &HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    id: OrderId,
    after_seq: u32,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let owner = caller.may(Scope::Read)?;
    let session = Session::new(request, app, caller)?;
    let actor = OrderSocket { session, owner, id, progress: Progress::after(after_seq), subscription: None };
    upgrade(actor, MAX_FRAME, request, payload)
}

struct OrderSocket {
    session: Session,
    owner: Owner,
    id: OrderId,
    progress: Progress,
    subscription: Option<OrderSubscription>,
}

type Context = WebsocketContext<OrderSocket>;

impl OrderSocket {
    fn subscribe(&mut self, ctx: &mut Context) {
        let service = self.session.app.service.clone();
        let (owner, id, after_seq) = (self.owner, self.id, self.progress.sent());
        let subscriber = Subscriber::new(ctx.address().recipient(), 1);
        let watch = async move { service.watch(owner, id, subscriber, after_seq).await };
        ctx.spawn(watch.into_actor(self).map(|watched, actor, ctx| match watched {
            Ok(watched) => actor.subscribed(watched, ctx),
            Err(ServiceError::Unknown(_)) => close(UNKNOWN_ORDER, ctx),
            Err(ServiceError::Unreadable(_)) => close(UNREADABLE_ORDER, ctx),
            Err(ServiceError::Unavailable) => close(UNAVAILABLE, ctx),
        }));
    }

    fn subscribed(&mut self, watched: Watched, ctx: &mut Context) {
        let (snapshot, subscription) = Snapshot::of(watched, self.progress.sent());
        self.subscription = subscription;
        send(&snapshot.view(self.id), ctx);
        let early = self.progress.snapshot_sent(snapshot.seq);
        if snapshot.status.is_final() {
            return close(ENDED, ctx);
        }
        early.into_iter().for_each(|update| self.update(update, ctx));
    }

    fn update(&mut self, update: OrderUpdate, ctx: &mut Context) {
        match self.progress.pass(update) {
            None => {}
            Some(OrderUpdate::Step { id, request, step, rendered }) => {
                send_event(id, &request, &step, &rendered, ctx);
                if step.status.is_final() {
                    close(ENDED, ctx);
                }
            }
            Some(OrderUpdate::Behind) => force_close(self, TOO_SLOW, ctx),
        }
    }
}

impl SocketActor for OrderSocket {
    fn session(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl Actor for OrderSocket {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if Session::start(self, ctx) {
            self.subscribe(ctx);
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.session.stop();
        if let Some(subscription) = self.subscription.take() {
            subscription.end();
        }
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for OrderSocket {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        self.session.frame_received();
        match message {
            Ok(Message::Ping(payload)) => ctx.pong(&payload),
            // This socket takes no commands.
            Ok(Message::Pong(_) | Message::Text(_) | Message::Binary(_) | Message::Nop | Message::Continuation(_)) => {}
            Ok(Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            Err(error) => close_for_error(self, &error, ctx),
        }
    }
}

impl Handler<OrderUpdate> for OrderSocket {
    type Result = ();

    fn handle(&mut self, update: OrderUpdate, ctx: &mut Self::Context) {
        self.update(update, ctx);
    }
}

impl Handler<CloseSocket> for OrderSocket {
    type Result = ();

    fn handle(&mut self, reason: CloseSocket, ctx: &mut Self::Context) {
        close_for_server(reason, ctx);
    }
}
