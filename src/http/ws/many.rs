//! A WebSocket for many orders: the client subscribes to orders, submits and cancels; every message is answered.
//!
//! Each order sends its updates to this actor directly, each event once, in order and without gaps. If the actor cannot
//! keep up, its [`Subscriber`] notes which orders it has missed events of. Then it catches up with one order at a time, as
//! fast as its client reads, and closes if it has missed too many orders.

use std::time::{Duration, Instant};

use actix::prelude::*;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws::{Message, ProtocolError, WebsocketContext};

use crate::actors::order::{Missed, OrderUpdate, Subscriber, TooManySubscribers};
use crate::api::problem::ProblemCode;
use crate::api::update::UpdateView;
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::order::Order;
use crate::domain::user::{Owner, Scope};
use crate::http::AppState;
use crate::http::cancel::cancel_order;
use crate::http::extract::caller::SocketCaller;
use crate::http::extract::order::parse_order;
use crate::http::problem::Problem;
use crate::http::submit::{SubmitOutcome, submit_or_preview};
use crate::http::ws::budget::MessageBudget;
use crate::http::ws::close::{SIGNED_OUT, TOO_LARGE, TOO_MANY_MISTAKES, TOO_SLOW, close};
use crate::http::ws::fragments::{Fragments, TooLarge};
use crate::http::ws::frame::{Command, Frame, RequestId};
use crate::http::ws::query::SocketQuery;
use crate::http::ws::reply::{ChannelReply, Empty, OrderReply, OrderSnapshot, answer, answer_error, send, send_event};
use crate::http::ws::session::{Session, SocketActor, close_for_error, close_for_server, force_close, upgrade};
use crate::http::ws::sessions::CloseSocket;
use crate::http::ws::subscriptions::{NotAdded, Subscriptions};
use crate::service::orders::{ServiceError, Watched};

const MINUTE: Duration = Duration::from_secs(60);

/// Opens a WebSocket for many orders; `?orderId=` and `afterSeq` are its first subscription.
pub(in crate::http) async fn socket(
    request: HttpRequest,
    app: web::Data<AppState>,
    SocketCaller(caller): SocketCaller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let owner = caller.may(Scope::Read)?;
    let query = SocketQuery::parse(request.query_string())?;
    let session = Session::new(&request, app, caller)?;
    let settings = session.app.settings.clone();
    let actor = OrdersSocket {
        session,
        owner,
        first: query.order_id.map(|id| (id, query.after_seq)),
        subscriber: None,
        subscriptions: Subscriptions::new(settings.ws.max_subscriptions),
        catching_up: false,
        fragments: Fragments::new(settings.ws.max_message_bytes),
        commands: MessageBudget::new(settings.ws.commands_per_minute, MINUTE),
        mistakes: MessageBudget::new(settings.ws.mistakes_per_minute, MINUTE),
        last_command: Instant::now(),
    };
    upgrade(actor, settings.ws.max_message_bytes, &request, payload)
}

struct OrdersSocket {
    session: Session,
    // Only this owner's orders are visible.
    owner: Owner,
    first: Option<(OrderId, u32)>,
    // One for all orders; `None` before the actor has started.
    subscriber: Option<Subscriber>,
    subscriptions: Subscriptions,
    // A request for missed events is under way; there is at most one.
    catching_up: bool,
    fragments: Fragments,
    commands: MessageBudget,
    mistakes: MessageBudget,
    last_command: Instant,
}

type Context = WebsocketContext<OrdersSocket>;

impl OrdersSocket {
    fn app(&self) -> &web::Data<AppState> {
        &self.session.app
    }

    fn message(&mut self, text: &[u8], ctx: &mut Context) {
        self.last_command = Instant::now();
        if self.session.is_signed_out() {
            return close(SIGNED_OUT, ctx);
        }
        let Frame { request_id, command } = Frame::parse(text);
        if !self.commands.spend(self.last_command) {
            let detail = "too many messages within a minute";
            let problem = Problem::new(ProblemCode::RateLimited, detail).retry_after(60);
            return self.mistake(&problem, request_id.as_ref(), ctx);
        }
        if let Err(problem) = self.session.admit() {
            return answer_error(&problem, None, request_id.as_ref(), ctx);
        }
        match command {
            Ok(command) => self.run(command, request_id, ctx),
            Err(problem) => self.mistake(&problem, request_id.as_ref(), ctx),
        }
    }

    /// Answers an invalid message. A client that sends too many of them is disconnected.
    fn mistake(&mut self, problem: &Problem, request_id: Option<&RequestId>, ctx: &mut Context) {
        answer_error(problem, None, request_id, ctx);
        if !self.mistakes.spend(self.last_command) {
            force_close(self, TOO_MANY_MISTAKES, ctx);
        }
    }

    fn run(&mut self, command: Command, request_id: Option<RequestId>, ctx: &mut Context) {
        match command {
            Command::Subscribe { id, after_seq } => self.subscribe(id, after_seq, request_id, ctx),
            Command::SubscribeAll => self.subscribe_all(request_id.as_ref(), ctx),
            Command::Unsubscribe(id) => {
                self.subscriptions.end(id);
                answer("unsubscribed", request_id.as_ref(), OrderReply { order_id: id }, ctx);
            }
            Command::UnsubscribeAll => {
                self.subscriptions.set_channel(None);
                answer("unsubscribed", request_id.as_ref(), ChannelReply { channel: "orders", open_orders: None }, ctx);
            }
            Command::Ping => answer("pong", request_id.as_ref(), Empty {}, ctx),
            Command::Submit { order, key } => self.submit(order.get().as_bytes(), key, request_id, ctx),
            Command::Cancel(id) => self.cancel(id, request_id, ctx),
        }
    }

    fn subscribe(&mut self, id: OrderId, after_seq: u32, request_id: Option<RequestId>, ctx: &mut Context) {
        let Some(subscriber) = self.subscriber.clone() else { return };
        let key = match self.subscriptions.add(id, after_seq) {
            Ok(key) => key,
            Err(refused) => {
                let problem = self.not_added(refused);
                return answer_error(&problem, Some(id), request_id.as_ref(), ctx);
            }
        };
        let (service, owner) = (self.app().service.clone(), self.owner);
        let watch = async move { service.watch(owner, id, subscriber, after_seq).await };
        ctx.spawn(
            watch.into_actor(self).map(move |watched, actor, ctx| actor.subscribed(id, key, watched, request_id, ctx)),
        );
    }

    fn not_added(&self, refused: NotAdded) -> Problem {
        let (code, detail) = match refused {
            NotAdded::AlreadySubscribed => {
                (ProblemCode::AlreadySubscribed, "this socket is subscribed to this order already".to_owned())
            }
            NotAdded::TooMany => {
                let max = self.app().settings.ws.max_subscriptions;
                (ProblemCode::TooManySubscriptions, format!("a socket may be subscribed to {max} single orders"))
            }
        };
        Problem::new(code, detail)
    }

    fn subscribed(
        &mut self,
        id: OrderId,
        key: u64,
        watched: Result<Watched, ServiceError>,
        request_id: Option<RequestId>,
        ctx: &mut Context,
    ) {
        let early = match watched {
            Ok(watched) => {
                let has_ended = matches!(watched, Watched::Ended(_));
                let Some((snapshot, early)) = self.subscriptions.confirm(id, key, watched) else { return };
                if has_ended && let Some(subscriber) = &self.subscriber {
                    // The snapshot has all events, so none is missed any more.
                    subscriber.catch_up(id);
                }
                answer("subscribed", request_id.as_ref(), OrderReply { order_id: id }, ctx);
                send(&snapshot.view(id), ctx);
                early
            }
            Err(error) => {
                let Some(early) = self.subscriptions.reject(id, key) else { return };
                answer_error(&error.into(), Some(id), request_id.as_ref(), ctx);
                early
            }
        };
        early.into_iter().for_each(|update| self.update(update, ctx));
    }

    fn subscribe_all(&mut self, request_id: Option<&RequestId>, ctx: &mut Context) {
        let Some(subscriber) = self.subscriber.clone() else { return };
        if self.subscriptions.has_channel() {
            let detail = "this socket is subscribed to all orders already";
            let problem = Problem::new(ProblemCode::AlreadySubscribed, detail);
            return answer_error(&problem, None, request_id, ctx);
        }
        match self.app().service.follow(self.owner, subscriber) {
            Ok((channel, open_orders)) => {
                self.subscriptions.set_channel(Some(channel));
                let reply = ChannelReply { channel: "orders", open_orders: Some(open_orders) };
                answer("subscribed", request_id, reply, ctx);
            }
            Err(TooManySubscribers) => answer_error(&Problem::unavailable(), None, request_id, ctx),
        }
    }

    fn update(&mut self, update: OrderUpdate, ctx: &mut Context) {
        let OrderUpdate::Step { id, .. } = update else { return self.catch_up(ctx) };
        if let Some(OrderUpdate::Step { id, request, step, rendered }) = self.subscriptions.pass(id, update) {
            send_event(id, &request, &step, &rendered, ctx);
            if step.status.is_final() {
                self.subscriptions.forget(id);
            }
        }
    }

    /// Requests the missed events of the oldest order that has any, unless such a request is under way.
    fn catch_up(&mut self, ctx: &mut Context) {
        let Some(subscriber) = self.subscriber.clone() else { return };
        while !self.catching_up {
            match subscriber.missed() {
                None => return,
                Some(Missed::TooMuch) => return force_close(self, TOO_SLOW, ctx),
                Some(Missed::Order(id)) if self.subscriptions.include(id) => {
                    self.catching_up = true;
                    let (service, owner, to) = (self.app().service.clone(), self.owner, subscriber.clone());
                    let missed = async move { service.send_missed(owner, id, &to).await };
                    ctx.spawn(missed.into_actor(self).map(|missed, actor, ctx| actor.caught_up(missed, ctx)));
                }
                // The client has unsubscribed meanwhile.
                Some(Missed::Order(id)) => drop(subscriber.catch_up(id)),
            }
        }
    }

    /// Continues after an order has sent its missed events; an order that has ended is in `missed`, and is sent here.
    fn caught_up(&mut self, missed: Result<Option<Order>, ServiceError>, ctx: &mut Context) {
        self.catching_up = false;
        match missed {
            Ok(None) => {}
            // The snapshot of a new subscription will have all its events.
            Ok(Some(order)) if self.subscriptions.await_snapshot(order.id) => {}
            Ok(Some(order)) => {
                // Everything that the order sent before is handled by now, because the mailbox is read first.
                if let Some(sent) = self.subscriber.as_ref().and_then(|subscriber| subscriber.catch_up(order.id)) {
                    let sent = self.subscriptions.forget(order.id).map_or(sent, |by_id| by_id.max(sent));
                    for event in order.history_after(sent) {
                        send(&UpdateView::update(order.id, &order.request, event), ctx);
                    }
                }
            }
            // The events cannot be had now: the client must reconnect for them.
            Err(_) => return force_close(self, TOO_SLOW, ctx),
        }
        self.catch_up(ctx);
    }

    fn submit(&mut self, order: &[u8], key: Option<ClientKey>, request_id: Option<RequestId>, ctx: &mut Context) {
        let owner = match self.session.caller.may(Scope::Trade) {
            Ok(owner) => owner,
            Err(problem) => return answer_error(&problem, None, request_id.as_ref(), ctx),
        };
        let app = self.app().clone();
        let fields = match parse_order(order, app.tokens(), app.settings.orders.max_slippage) {
            Ok(fields) => fields,
            Err(problem) => return self.mistake(&problem, request_id.as_ref(), ctx),
        };
        let submit = async move { submit_or_preview(&app, owner, fields, key).await };
        self.spawn(submit, ctx, move |submitted, ctx| match submitted {
            Ok(SubmitOutcome::Accepted { submission, warnings }) => {
                let snapshot = OrderSnapshot::submitted(&submission, warnings);
                answer("order:submitted", request_id.as_ref(), snapshot, ctx);
            }
            Ok(SubmitOutcome::DryRun(dry_run)) => answer("order:dry_run", request_id.as_ref(), dry_run, ctx),
            Err(problem) => answer_error(&problem, None, request_id.as_ref(), ctx),
        });
    }

    fn cancel(&mut self, id: OrderId, request_id: Option<RequestId>, ctx: &mut Context) {
        let owner = match self.session.caller.may(Scope::Trade) {
            Ok(owner) => owner,
            Err(problem) => return answer_error(&problem, Some(id), request_id.as_ref(), ctx),
        };
        let app = self.app().clone();
        let cancel = async move { cancel_order(&app, owner, id).await };
        self.spawn(cancel, ctx, move |cancelled, ctx| match cancelled {
            Ok(order) => answer("order:cancelled", request_id.as_ref(), OrderSnapshot::cancelled(&order), ctx),
            Err(problem) => answer_error(&problem, Some(id), request_id.as_ref(), ctx),
        });
    }

    /// Runs a command concurrently with other messages. It counts as pending until it is answered.
    fn spawn<T: 'static>(
        &self,
        command: impl Future<Output = T> + 'static,
        ctx: &mut Context,
        answer: impl FnOnce(T, &mut Context) + 'static,
    ) {
        let pending = self.session.pending.begin();
        ctx.spawn(command.into_actor(self).map(move |result, _, ctx| {
            drop(pending);
            answer(result, ctx);
        }));
    }
}

impl SocketActor for OrdersSocket {
    fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    fn is_idle(&self) -> bool {
        self.subscriptions.is_empty() && self.last_command.elapsed() > self.app().settings.ws.idle_timeout
    }
}

impl Actor for OrdersSocket {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if !Session::start(self, ctx) {
            return;
        }
        let max_missed = self.app().settings.ws.max_missed_orders;
        self.subscriber = Some(Subscriber::new(ctx.address().recipient(), max_missed));
        if let Some((id, after_seq)) = self.first.take() {
            self.subscribe(id, after_seq, None, ctx);
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.session.stop();
        self.subscriptions.end_all();
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for OrdersSocket {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        self.session.frame_received();
        match message {
            Ok(Message::Text(text)) => self.message(text.as_bytes(), ctx),
            Ok(Message::Binary(bytes)) => self.message(&bytes, ctx),
            Ok(Message::Continuation(item)) => match self.fragments.push(&item) {
                Ok(None) => {}
                Ok(Some(whole)) => self.message(&whole, ctx),
                Err(TooLarge) => force_close(self, TOO_LARGE, ctx),
            },
            Ok(Message::Ping(payload)) => ctx.pong(&payload),
            Ok(Message::Pong(_) | Message::Nop) => {}
            Ok(Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            Err(error) => close_for_error(self, &error, ctx),
        }
    }
}

impl Handler<OrderUpdate> for OrdersSocket {
    type Result = ();

    fn handle(&mut self, update: OrderUpdate, ctx: &mut Self::Context) {
        self.update(update, ctx);
    }
}

impl Handler<CloseSocket> for OrdersSocket {
    type Result = ();

    fn handle(&mut self, reason: CloseSocket, ctx: &mut Self::Context) {
        close_for_server(reason, ctx);
    }
}
