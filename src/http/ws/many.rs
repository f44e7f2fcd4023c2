//! A socket for many orders: the client says which to follow, submits and cancels; every message of its is answered.
//!
//! Each order tells the session directly, each step once, in order and without gaps. Where the session could not keep
//! up, its [`Subscriber`] notes which orders it has missed something of; then it catches up with one order at a time, at the
//! pace at which its client reads, and is closed if it has missed too many.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws::{Message, ProtocolError, WebsocketContext};
use futures_util::FutureExt as _;
use serde::Serialize;

use crate::actors::order::{self, Missed, OrderUpdate, Subscriber, TooManySubscribers};
use crate::api::views::{OrderView, SnapshotView, UpdateView};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::order::{Order, RecordedEvent};
use crate::domain::user::{Owner, Scope};
use crate::http::extract::body::{self, OrderFields};
use crate::http::extract::caller::SocketCaller;
use crate::http::problem::Problem;
use crate::http::routes::dry_run::DryRun;
use crate::http::routes::orders;
use crate::http::ws::allowance::MessageBudget;
use crate::http::ws::fragments::{Fragments, TooLarge};
use crate::http::ws::frame::{
    ChannelReply, Command, Empty, ErrorReply, Frame, OrderReply, OrderSnapshot, Reply, RequestId,
};
use crate::http::ws::sessions::CloseSocket;
use crate::http::ws::{
    HOSTILE, Heartbeat, Query, SIGNED_OUT, SocketActor, TOO_LARGE, TOO_SLOW, close, go_away, open, refuse, tell,
    tell_step, throw_out,
};
use crate::http::{AppState, warnings};
use crate::service::orders::{OrderSubscription, ServiceError, Watched};

const MINUTE: Duration = Duration::from_secs(60);

/// Opens a socket for many orders; `?orderId=` and `afterSeq` are its first subscription.
pub(in crate::http) async fn socket(
    request: HttpRequest,
    app: web::Data<AppState>,
    SocketCaller(caller): SocketCaller,
    stream: web::Payload,
) -> Result<HttpResponse, Problem> {
    let owner = caller.may(Scope::Read)?;
    let query = Query::parse(request.query_string())?;
    let pulse = Heartbeat::of(&request, app, caller)?;
    let settings = pulse.app.settings.clone();
    let session = OrdersSocket {
        pulse,
        owner,
        first: query.order_id.map(|id| (id, query.after_seq)),
        subscriber: None,
        channel: None,
        catching_up: false,
        orders: HashMap::new(),
        next_key: 0,
        fragments: Fragments::new(settings.ws.max_message_bytes),
        commands: MessageBudget::new(settings.ws.commands_per_minute, MINUTE),
        mistakes: MessageBudget::new(settings.ws.mistakes_per_minute, MINUTE),
        last_command: Instant::now(),
    };
    open(session, settings.ws.max_message_bytes, &request, stream)
}

struct OrdersSocket {
    pulse: Heartbeat,
    // Whose orders it may see.
    owner: Owner,
    first: Option<(OrderId, u32)>,
    // One for all orders; there since the session has started.
    subscriber: Option<Subscriber>,
    // There while it follows the channel of all orders.
    channel: Option<order::Following>,
    // An order is being asked for what was missed of it; never more than one.
    catching_up: bool,
    // Bounded by `ws.max_subscriptions`.
    orders: HashMap<OrderId, FollowedOrder>,
    next_key: u64,
    fragments: Fragments,
    commands: MessageBudget,
    mistakes: MessageBudget,
    last_command: Instant,
}

/// An order that is followed by name.
struct FollowedOrder {
    // Tells a subscription from an earlier one to the same order whose answer comes late.
    key: u64,
    told: u32,
    // What came before the order's answer; the order sends no more than its few next steps. `None` after it.
    early: Option<Vec<OrderUpdate>>,
    listening: Option<OrderSubscription>,
}

type Context = WebsocketContext<OrdersSocket>;

impl OrdersSocket {
    fn app(&self) -> &web::Data<AppState> {
        &self.pulse.app
    }

    fn message(&mut self, text: &[u8], ctx: &mut Context) {
        self.last_command = Instant::now();
        if self.pulse.is_signed_out() {
            return close(SIGNED_OUT, ctx);
        }
        let Frame { request_id, command } = Frame::parse(text);
        if !self.commands.take(self.last_command) {
            let detail = "too many messages within a minute";
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry_after(60);
            return self.mistake(&problem, request_id.as_ref(), ctx);
        }
        if let Err(problem) = self.pulse.admit() {
            return answer("error", request_id.as_ref(), ErrorReply::of(&problem, None), ctx);
        }
        match command {
            Ok(command) => self.run(command, request_id, ctx),
            Err(problem) => self.mistake(&problem, request_id.as_ref(), ctx),
        }
    }

    /// Answers a message that means nothing; a client that sends too many of them means harm.
    fn mistake(&mut self, problem: &Problem, request_id: Option<&RequestId>, ctx: &mut Context) {
        answer("error", request_id, ErrorReply::of(problem, None), ctx);
        if !self.mistakes.take(self.last_command) {
            throw_out(self, HOSTILE, ctx);
        }
    }

    fn run(&mut self, command: Command, request_id: Option<RequestId>, ctx: &mut Context) {
        match command {
            Command::Subscribe { id, after_seq } => self.subscribe(id, after_seq, request_id, ctx),
            Command::SubscribeAll => self.subscribe_all(request_id, ctx),
            Command::Unsubscribe(id) => {
                self.forget(id);
                answer("unsubscribed", request_id.as_ref(), OrderReply { order_id: id }, ctx);
            }
            Command::UnsubscribeAll => {
                self.channel = None;
                answer("unsubscribed", request_id.as_ref(), ChannelReply { channel: "orders", open_orders: None }, ctx);
            }
            Command::Ping => answer("pong", request_id.as_ref(), Empty {}, ctx),
            Command::Submit { order, key } => self.submit(order.get().as_bytes(), key, request_id, ctx),
            Command::Cancel(id) => self.cancel(id, request_id, ctx),
        }
    }

    fn subscribe(&mut self, id: OrderId, after_seq: u32, request_id: Option<RequestId>, ctx: &mut Context) {
        let most = self.app().settings.ws.max_subscriptions;
        let refused = if self.orders.contains_key(&id) {
            Some(("already_subscribed", "this socket follows the order already".to_owned()))
        } else if self.orders.len() >= most {
            Some(("too_many_subscriptions", format!("a socket may follow {most} orders by name")))
        } else {
            None
        };
        match refused {
            Some((code, detail)) => {
                let problem = Problem::new(StatusCode::CONFLICT, code, detail);
                answer("error", request_id.as_ref(), ErrorReply::of(&problem, Some(id)), ctx);
            }
            None => self.watch(id, after_seq, request_id, ctx),
        }
    }

    /// Listens to an order from after that number on.
    fn watch(&mut self, id: OrderId, told: u32, request_id: Option<RequestId>, ctx: &mut Context) {
        let Some(subscriber) = self.subscriber.clone() else { return };
        let key = self.next_key;
        self.next_key += 1;
        self.orders.insert(id, FollowedOrder { key, told, early: Some(Vec::new()), listening: None });
        let service = self.app().service.clone();
        let owner = self.owner;
        let watch = async move { service.watch(owner, id, subscriber, told).await };
        ctx.spawn(
            watch.into_actor(self).map(move |watch, session, ctx| session.watching(id, key, watch, request_id, ctx)),
        );
    }

    fn watching(
        &mut self,
        id: OrderId,
        key: u64,
        watch: Result<Watched, ServiceError>,
        request_id: Option<RequestId>,
        ctx: &mut Context,
    ) {
        let Some(following) = self.orders.get_mut(&id).filter(|following| following.key == key) else {
            // It was unsubscribed from meanwhile. Where it was subscribed to again, that is the same subscriber: it stays.
            if let Ok(Watched::Live(_, listening)) = watch
                && !self.orders.contains_key(&id)
            {
                listening.end();
            }
            return;
        };
        let early = following.early.take().unwrap_or_default();
        let (request, history, seq, status) = match watch {
            Ok(Watched::Live(subscribed, listening)) => {
                following.listening = Some(listening);
                (subscribed.request, subscribed.history, subscribed.seq, subscribed.status)
            }
            Ok(Watched::Ended(order)) => {
                if let Some(subscriber) = &self.subscriber {
                    // It is told whole now.
                    subscriber.catch_up(id);
                }
                let (last, history) = (order.last(), order.history_after(following.told).to_vec());
                (order.request.clone(), history, last.seq, last.status)
            }
            Err(error) => {
                self.orders.remove(&id);
                answer("error", request_id.as_ref(), ErrorReply::of(&error.into(), Some(id)), ctx);
                return early.into_iter().for_each(|update| self.update(update, ctx));
            }
        };
        following.told = seq;
        answer("subscribed", request_id.as_ref(), OrderReply { order_id: id }, ctx);
        tell(&SnapshotView::of(id, &request, seq, status, &history), ctx);
        if status.is_final() {
            self.orders.remove(&id);
        } else {
            early.into_iter().for_each(|update| self.update(update, ctx));
        }
    }

    fn subscribe_all(&mut self, request_id: Option<RequestId>, ctx: &mut Context) {
        let Some(subscriber) = self.subscriber.clone() else { return };
        if self.channel.is_some() {
            let detail = "this socket follows all orders already";
            let problem = Problem::new(StatusCode::CONFLICT, "already_subscribed", detail);
            return answer("error", request_id.as_ref(), ErrorReply::of(&problem, None), ctx);
        }
        match self.app().service.follow(self.owner, subscriber) {
            Ok((channel, open)) => {
                self.channel = Some(channel);
                let about = ChannelReply { channel: "orders", open_orders: Some(open) };
                answer("subscribed", request_id.as_ref(), about, ctx);
            }
            Err(TooManySubscribers) => {
                answer("error", request_id.as_ref(), ErrorReply::of(&Problem::unavailable(), None), ctx);
            }
        }
    }

    /// Asks for what was missed of the oldest order of which something was, if that is not asked for already.
    fn catch_up(&mut self, ctx: &mut Context) {
        let Some(subscriber) = self.subscriber.clone() else { return };
        while !self.catching_up {
            match subscriber.missed() {
                None => return,
                Some(Missed::TooMuch) => return throw_out(self, TOO_SLOW, ctx),
                Some(Missed::Order(id)) if self.channel.is_some() || self.orders.contains_key(&id) => {
                    self.catching_up = true;
                    let (service, owner, to) = (self.app().service.clone(), self.owner, subscriber.clone());
                    let missed = async move { service.tell_missed(owner, id, &to).await };
                    ctx.spawn(missed.into_actor(self).map(|missed, session, ctx| session.caught_up(missed, ctx)));
                }
                // It is followed no longer.
                Some(Missed::Order(id)) => drop(subscriber.catch_up(id)),
            }
        }
    }

    /// Goes on when an order has told what was missed of it, or tells it where the order has ended.
    fn caught_up(&mut self, missed: Result<Option<Order>, ServiceError>, ctx: &mut Context) {
        self.catching_up = false;
        match missed {
            Ok(None) => {}
            // A subscription to it by name is about to tell it whole.
            Ok(Some(order)) if self.orders.get(&order.id).is_some_and(|following| following.early.is_some()) => {}
            Ok(Some(order)) => {
                // What the order told before stood in the mailbox before, and is told by now: the mailbox comes first.
                if let Some(told) = self.subscriber.as_ref().and_then(|subscriber| subscriber.catch_up(order.id)) {
                    let told = self.orders.remove(&order.id).map_or(told, |following| following.told.max(told));
                    for step in order.history_after(told) {
                        tell(&UpdateView::update(order.id, &order.request, step), ctx);
                    }
                }
            }
            // It cannot be had: the client has to come back for it.
            Err(_) => return throw_out(self, TOO_SLOW, ctx),
        }
        self.catch_up(ctx);
    }

    fn submit(&mut self, order: &[u8], key: Option<ClientKey>, request_id: Option<RequestId>, ctx: &mut Context) {
        let app = self.app().clone();
        let may = self.pulse.caller.may(Scope::Trade);
        let max_slippage = app.settings.orders.max_slippage;
        let asked = match may.map(|owner| (owner, body::parse_order(order, app.tokens(), max_slippage))) {
            Ok((owner, Ok(asked))) => Ok((owner, asked)),
            Ok((_, Err(problem))) => return self.mistake(&problem, request_id.as_ref(), ctx),
            Err(problem) => Err(problem),
        };
        let submit = async move {
            let (owner, OrderFields { order, dry_run }) = asked?;
            let order = Arc::new(order);
            let key = orders::key(key, &order)?;
            if dry_run {
                return Ok(Err(DryRun::of(&order, &app.service.quote(order.clone()).await)));
            }
            let submission = app.service.submit(owner, order, key).await.map_err(orders::refused)?;
            let warnings = warnings::at_submit(&submission.order.request, &app).await;
            Ok(Ok((submission, warnings)))
        };
        let pending = self.pulse.pending.begin();
        let submit = submit.inspect(move |_| drop(pending));
        ctx.spawn(submit.into_actor(self).map(move |submitted: Result<_, Problem>, _, ctx| match submitted {
            Ok(Ok((submission, warnings))) => {
                let order = &submission.order;
                let what = OrderSnapshot {
                    order_id: order.id,
                    status: order.last().status,
                    created: Some(submission.created),
                    warnings: Some(warnings),
                    order: OrderView::of(order),
                };
                answer("order:submitted", request_id.as_ref(), what, ctx);
            }
            Ok(Err(dry_run)) => answer("order:dry_run", request_id.as_ref(), dry_run, ctx),
            Err(problem) => answer("error", request_id.as_ref(), ErrorReply::of(&problem, None), ctx),
        }));
    }

    fn cancel(&mut self, id: OrderId, request_id: Option<RequestId>, ctx: &mut Context) {
        let app = self.app().clone();
        let owner = self.pulse.caller.may(Scope::Trade);
        let pending = self.pulse.pending.begin();
        let cancel = async move { orders::cancelled(&app, owner?, id).await }.inspect(move |_| drop(pending));
        ctx.spawn(cancel.into_actor(self).map(move |cancelled, _, ctx| match cancelled {
            Ok(order) => {
                let (status, order) = (order.last().status, OrderView::of(&order));
                let what = OrderSnapshot { order_id: id, status, created: None, warnings: None, order };
                answer("order:cancelled", request_id.as_ref(), what, ctx);
            }
            Err(problem) => answer("error", request_id.as_ref(), ErrorReply::of(&problem, Some(id)), ctx),
        }));
    }

    fn update(&mut self, update: OrderUpdate, ctx: &mut Context) {
        let OrderUpdate::Step { id, request, step, words } = &update else { return self.catch_up(ctx) };
        match self.orders.get_mut(id) {
            Some(FollowedOrder { early: Some(early), .. }) => early.push(update),
            Some(following) if step.seq > following.told => {
                following.told = step.seq;
                tell_step(*id, request, step, words, ctx);
                self.forget_ended(*id, step);
            }
            // It was told before.
            Some(_) => {}
            None if self.channel.is_some() => tell_step(*id, request, step, words, ctx),
            // It was unsubscribed from meanwhile.
            None => {}
        }
    }

    fn forget_ended(&mut self, id: OrderId, step: &RecordedEvent) {
        if step.status.is_final() {
            self.orders.remove(&id);
        }
    }

    fn forget(&mut self, id: OrderId) {
        if let Some(following) = self.orders.remove(&id) {
            following.end();
        }
    }
}

impl FollowedOrder {
    fn end(self) {
        if let Some(listening) = self.listening {
            listening.end();
        }
    }
}

fn answer(r#type: &'static str, request_id: Option<&RequestId>, what: impl Serialize, ctx: &mut Context) {
    tell(&Reply { r#type, request_id, what }, ctx);
}

impl SocketActor for OrdersSocket {
    fn pulse(&mut self) -> &mut Heartbeat {
        &mut self.pulse
    }

    fn is_idle(&self) -> bool {
        let nothing = self.orders.is_empty() && self.channel.is_none();
        nothing && self.last_command.elapsed() > self.app().settings.ws.idle_timeout
    }
}

impl Actor for OrdersSocket {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if !Heartbeat::begin(self, ctx) {
            return;
        }
        let most_missed = self.app().settings.ws.max_missed_orders;
        self.subscriber = Some(Subscriber::new(ctx.address().recipient(), most_missed));
        if let Some((id, after_seq)) = self.first.take() {
            self.subscribe(id, after_seq, None, ctx);
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.pulse.end();
        self.channel = None;
        self.orders.drain().for_each(|(_, following)| following.end());
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for OrdersSocket {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        self.pulse.hear();
        match message {
            Ok(Message::Text(text)) => self.message(text.as_bytes(), ctx),
            Ok(Message::Binary(bytes)) => self.message(&bytes, ctx),
            Ok(Message::Continuation(item)) => match self.fragments.push(&item) {
                Ok(None) => {}
                Ok(Some(whole)) => self.message(&whole, ctx),
                Err(TooLarge) => throw_out(self, TOO_LARGE, ctx),
            },
            Ok(Message::Ping(payload)) => ctx.pong(&payload),
            Ok(Message::Pong(_) | Message::Nop) => {}
            Ok(Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            Err(error) => refuse(self, &error, ctx),
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

    fn handle(&mut self, why: CloseSocket, ctx: &mut Self::Context) {
        go_away(why, ctx);
    }
}
