//! The messages to a client of a WebSocket.

use actix::Actor;
use actix_web_actors::ws::WebsocketContext;
use schemars::JsonSchema;
use serde::Serialize;

use crate::actors::order::RenderedUpdate;
use crate::actors::order_manager::Submission;
use crate::api::order::OrderView;
use crate::api::publication;
use crate::domain::id::OrderId;
use crate::domain::lifecycle::Status;
use crate::domain::order::{Order, RecordedEvent};
use crate::domain::request::OrderRequest;
use crate::http::problem::{FieldError, Problem};
use crate::http::ws::frame::RequestId;

/// Sends a message.
pub(super) fn send<S>(message: &impl Serialize, ctx: &mut WebsocketContext<S>)
where
    S: Actor<Context = WebsocketContext<S>>,
{
    ctx.text(serde_json::to_string(message).expect("a message holds only strings and numbers"));
}

/// Sends an event of an order, in the text that all its subscribers share.
pub(super) fn send_event<S>(
    id: OrderId,
    request: &OrderRequest,
    event: &RecordedEvent,
    rendered: &RenderedUpdate,
    ctx: &mut WebsocketContext<S>,
) where
    S: Actor<Context = WebsocketContext<S>>,
{
    ctx.text(rendered.get_or_init(|| publication::update_text(id, request, event)).clone());
}

/// Answers a message.
pub(super) fn answer<S>(
    r#type: &'static str,
    request_id: Option<&RequestId>,
    content: impl Serialize,
    ctx: &mut WebsocketContext<S>,
) where
    S: Actor<Context = WebsocketContext<S>>,
{
    send(&Reply { r#type, request_id, content }, ctx);
}

/// Answers a message with an error; `order_id` is the order that the message was about.
pub(super) fn answer_error<S>(
    problem: &Problem,
    order_id: Option<OrderId>,
    request_id: Option<&RequestId>,
    ctx: &mut WebsocketContext<S>,
) where
    S: Actor<Context = WebsocketContext<S>>,
{
    answer("error", request_id, ErrorReply::of(problem, order_id), ctx);
}

/// The answer to a message; it has the `requestId` of that message.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a, T> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a RequestId>,
    #[serde(flatten)]
    content: T,
}

/// No further content.
#[derive(Serialize)]
pub(super) struct Empty {}

/// The answer about one order.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct OrderReply {
    pub(super) order_id: OrderId,
}

/// The answer about the channel of all orders.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct ChannelReply {
    pub(super) channel: &'static str,
    /// How many orders were open when the client subscribed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) open_orders: Option<usize>,
}

/// The current state of an order.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct OrderSnapshot {
    order_id: OrderId,
    status: Status,
    /// Whether this submit created the order; absent after a cancel.
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<bool>,
    /// Warnings about the order's parameters; absent after a cancel.
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<String>>,
    order: OrderView,
}

/// An error.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Mistake")]
pub(in crate::http) struct ErrorReply<'a> {
    code: &'static str,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    /// The number of invalid fields that `errors` does not list.
    #[serde(skip_serializing_if = "Option::is_none")]
    more_errors: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<OrderId>,
}

impl OrderSnapshot {
    /// The answer to a submit.
    pub(super) fn submitted(submission: &Submission, warnings: Vec<String>) -> Self {
        let snapshot = Self::cancelled(&submission.order);
        Self { created: Some(submission.created), warnings: Some(warnings), ..snapshot }
    }

    /// The answer to a cancel.
    pub(super) fn cancelled(order: &Order) -> Self {
        Self {
            order_id: order.id,
            status: order.last().status,
            created: None,
            warnings: None,
            order: OrderView::of(order),
        }
    }
}

impl<'a> ErrorReply<'a> {
    /// A problem; `order_id` is the order that the message was about.
    fn of(problem: &'a Problem, order_id: Option<OrderId>) -> Self {
        let details = problem.details();
        Self {
            code: details.code,
            message: &details.detail,
            retryable: details.retryable,
            errors: &details.errors,
            more_errors: details.more_errors,
            order_id: details.order_id.or(order_id),
        }
    }
}
