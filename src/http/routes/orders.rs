//! One order over HTTP: submit, read, cancel.

use std::borrow::Cow;

use actix_web::http::header::{HOST, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;

use crate::actors::order_manager::Submission;
use crate::api::order::{OrderView, TimelineView};
use crate::api::problem::ProblemCode;
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::lifecycle::Status;
use crate::domain::user::Scope;
use crate::http::AppState;
use crate::http::cancel::cancel_order;
use crate::http::extract::body;
use crate::http::extract::caller::Caller;
use crate::http::extract::order::{parse_dry_run, parse_order, parse_order_id};
use crate::http::openapi::requests;
use crate::http::operation::{Body, Operation, READ, TRADE, delete, get, post};
use crate::http::problem::Problem;
use crate::http::routes::dry_run::DryRun;
use crate::http::routes::sockets;
use crate::http::submit::{ORDER_PATH, SubmitOutcome, order_path, submit_or_preview};
use crate::store::ListFilter;

/// An accepted order, and where it can be followed.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Submitted {
    success: bool,
    order_id: OrderId,
    status: Status,
    websocket_url: String,
    /// The same as `websocketUrl`, under an alternative name.
    socket_url: String,
    ws_path: String,
    /// Risks of the order as it was submitted.
    warnings: Vec<String>,
    order: OrderView,
}

/// A cancelled order.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Cancelled {
    success: bool,
    order_id: OrderId,
    status: Status,
    order: OrderView,
}

/// The operations that an answer with an `orderId` links to.
const LINKS: [(&str, &str); 4] = [
    ("getOrder", "/orderId"),
    ("getOrderEvents", "/orderId"),
    ("cancelOrder", "/orderId"),
    ("deleteOrder", "/orderId"),
];

pub(super) fn operations() -> Vec<Operation> {
    let submits = [
        post("/api/orders", TRADE, submit).named("submitOrder", "Submit an order"),
        post(sockets::EXECUTE, TRADE, submit).named("executeOrder", "Submit an order, at an alternative path"),
    ];
    let reads = [
        get("/api/orders/by-client-id/{id}", READ, by_client_id)
            .named("getOrderByClientId", "Get the order with a clientOrderId")
            .takes([requests::client_order_id()])
            .answers::<OrderView>(200, "the order", "order")
            .links(200, &LINKS[1..]),
        get(ORDER_PATH, READ, read)
            .named("getOrder", "Get an order")
            .takes([requests::id("order")])
            .answers::<OrderView>(200, "the order", "order")
            .links(200, &LINKS[1..]),
        get("/api/orders/{id}/events", READ, events)
            .named("getOrderEvents", "Get the timeline of an order")
            .takes([requests::id("order")])
            .answers::<TimelineView>(200, "every event, quote and decision", "timeline"),
    ];
    let submits = submits.into_iter().map(|operation| {
        operation
            .described(
                "201 is sent after the order is durable. If the answer is lost, submit again with the same \
                 Idempotency-Key or clientOrderId: the same order is answered.",
            )
            .takes(requests::of_submit())
            .body(Body::Json {
                required: true,
                schema: "OrderRequest",
                examples: &["orderRequest", "otherNames", "everything", "dryRunRequest"],
            })
            .answers::<Submitted>(201, "the order is accepted", "submitted")
            .answers::<Submitted>(200, "the order was accepted before", "submitted")
            .answers::<DryRun>(200, "a dry run", "dryRun")
            .header("location")
            .links(201, &LINKS)
            .problems([
                ProblemCode::IdempotencyMismatch,
                ProblemCode::IdempotencyKeyReused,
                ProblemCode::TooManyOpenOrders,
                ProblemCode::TooManyOpenOrdersOfUser,
                ProblemCode::Stopping,
                ProblemCode::Suspended,
                ProblemCode::NotAccepted,
                ProblemCode::OutcomeUnknown,
                ProblemCode::OrderUnreadable,
            ])
    });
    let reads = reads.into_iter().map(|operation| {
        operation.problems([ProblemCode::OrderNotFound, ProblemCode::OrderUnreadable, ProblemCode::Unavailable])
    });
    submits.chain(reads).collect()
}

/// The operations that cancel one order.
pub(super) fn cancels() -> Vec<Operation> {
    let cancels = [
        post("/api/orders/{id}/cancel", TRADE, cancel).named("cancelOrder", "Cancel an order"),
        delete(ORDER_PATH, TRADE, cancel).named("deleteOrder", "Cancel an order"),
    ];
    let cancels = cancels.into_iter().map(|operation| {
        operation
            .described(
                "Cancelling a cancelled order succeeds. An order whose swap is signed can no longer be cancelled.",
            )
            .takes([requests::id("order")])
            .body(Body::Empty)
            .answers::<Cancelled>(200, "the order is cancelled", "cancelled")
            .links(200, &LINKS[..2])
            .problems([
                ProblemCode::OrderNotFound,
                ProblemCode::TooLate,
                ProblemCode::AlreadyEnded,
                ProblemCode::Suspended,
                ProblemCode::OrderUnreadable,
                ProblemCode::Unavailable,
            ])
    });
    cancels.collect()
}

async fn submit(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let owner = caller.may(Scope::Trade)?;
    let dry_run_in_query = parse_dry_run(request.query_string())?;
    let body = body::read(&request, payload).await?;
    let mut fields = parse_order(&body, app.tokens(), app.settings.orders.max_slippage)?;
    fields.dry_run |= dry_run_in_query;
    let key = header_key(&request)?;
    let (Submission { order, created }, warnings) = match submit_or_preview(&app, owner, fields, key).await? {
        SubmitOutcome::Accepted { submission, warnings } => (submission, warnings),
        SubmitOutcome::DryRun(dry_run) => return Ok(HttpResponse::Ok().json(dry_run)),
    };
    let ws_path = sockets::path_of(order.id);
    let websocket_url = format!("{}{ws_path}", socket_origin(&request, &app));
    let mut response = if created { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.insert_header((LOCATION, order_path(order.id))).json(Submitted {
        success: true,
        order_id: order.id,
        status: order.last().status,
        socket_url: websocket_url.clone(),
        websocket_url,
        ws_path,
        warnings,
        order: OrderView::of(&order),
    }))
}

async fn read(
    app: web::Data<AppState>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<web::Json<OrderView>, Problem> {
    let order = app.service.order(caller.may(Scope::Read)?, parse_order_id(&id)?).await?;
    Ok(web::Json(OrderView::of(&order)))
}

async fn events(
    app: web::Data<AppState>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<web::Json<TimelineView>, Problem> {
    let order = app.service.order(caller.may(Scope::Read)?, parse_order_id(&id)?).await?;
    Ok(web::Json(TimelineView::of(&order)))
}

async fn by_client_id(
    app: web::Data<AppState>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<web::Json<OrderView>, Problem> {
    let owner = caller.may(Scope::Read)?;
    let id: ClientKey = id.parse().map_err(|message: &str| Problem::invalid_field("clientOrderId", message))?;
    let filter = ListFilter { owner, client_order_id: Some(id), limit: 1, ..ListFilter::default() };
    let page = app.service.list(filter).await?;
    match (page.orders.first(), page.unreadable.first()) {
        (Some(order), _) => Ok(web::Json(OrderView::of(order))),
        (None, Some(order)) => Err(Problem::unreadable_order(Some(order.id))),
        (None, None) => Err(Problem::new(ProblemCode::OrderNotFound, "there is no order with this clientOrderId")),
    }
}

async fn cancel(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let owner = caller.may(Scope::Trade)?;
    let id = parse_order_id(&id)?;
    body::read_nothing(&request, payload).await?;
    let order = cancel_order(&app, owner, id).await?;
    Ok(HttpResponse::Ok().json(Cancelled {
        success: true,
        order_id: order.id,
        status: order.last().status,
        order: OrderView::of(&order),
    }))
}

/// The scheme and the address of this server as the client knows them: those of `server.public_url`, or the `Host` header,
/// which the guard has compared with the names of this server. `X-Forwarded-Host` and `Forwarded` are ignored, because
/// proxies pass on what any client has written into them.
fn socket_origin(request: &HttpRequest, app: &AppState) -> String {
    if let Some(url) = &app.settings.server.public_url {
        return url.socket_origin();
    }
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = host.map_or_else(|| request.app_config().local_addr().to_string().into(), Cow::Borrowed);
    format!("ws://{host}")
}

fn header_key(request: &HttpRequest) -> Result<Option<ClientKey>, Problem> {
    const HEADER: &str = "idempotency-key";
    let mut given = request.headers().get_all(HEADER);
    let wrong = |message: &str| Problem::invalid_field("Idempotency-Key", message);
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(wrong("is present more than once")),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| wrong("must be visible ASCII characters"))?;
            text.parse().map(Some).map_err(wrong)
        }
    }
}
