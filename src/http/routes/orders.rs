//! One order over HTTP: submit, read, cancel.

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{HOST, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;

use crate::actors::order::CancelError;
use crate::actors::order_manager::{Submission, SubmitError};
use crate::api::views::{OrderView, TimelineView};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::lifecycle::Status;
use crate::domain::order::{Order, OrderRequest};
use crate::domain::user::{Owner, Scope};
use crate::http::extract::body;
use crate::http::extract::caller::Caller;
use crate::http::extract::order::{OrderFields, parse_dry_run, parse_order};
use crate::http::openapi::requests;
use crate::http::operation::{Body, Operation, READ, TRADE, delete, get, post};
use crate::http::problem::Problem;
use crate::http::routes::dry_run::DryRun;
use crate::http::routes::sockets;
use crate::http::{AppState, warnings};
use crate::service::orders::CancelRefused;
use crate::store::ListFilter;

/// The path of one order.
const ORDER: &str = "/api/orders/{id}";

/// An accepted order, and where it can be followed.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Submitted {
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
        post(sockets::EXECUTE, TRADE, submit).named("executeOrder", "Submit an order, at an alternative path"),
        post("/api/orders", TRADE, submit).named("submitOrder", "Submit an order"),
    ];
    let reads = [
        get("/api/orders/by-client-id/{id}", READ, by_client_id)
            .named("getOrderByClientId", "Get the order with a clientOrderId")
            .takes([requests::client_order_id()])
            .answers::<OrderView>(200, "the order", "order")
            .links(200, &LINKS[1..]),
        get(ORDER, READ, read)
            .named("getOrder", "Get an order")
            .takes([requests::id("order")])
            .answers::<OrderView>(200, "the order", "order")
            .links(200, &LINKS[1..]),
        get("/api/orders/{id}/events", READ, events)
            .named("getOrderEvents", "Get the timeline of an order")
            .takes([requests::id("order")])
            .answers::<TimelineView>(200, "every event, quote and decision", "timeline"),
    ];
    let cancels = [
        delete(ORDER, TRADE, cancel).named("deleteOrder", "Cancel an order"),
        post("/api/orders/{id}/cancel", TRADE, cancel).named("cancelOrder", "Cancel an order"),
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
                "idempotency_mismatch",
                "idempotency_key_reused",
                "too_many_open_orders",
                "too_many_open_orders_of_user",
                "stopping",
                "not_accepted",
                "outcome_unknown",
                "order_unreadable",
            ])
    });
    let reads =
        reads.into_iter().map(|operation| operation.problems(["order_not_found", "order_unreadable", "unavailable"]));
    let cancels = cancels.into_iter().map(|operation| {
        operation
            .described(
                "Cancelling a cancelled order succeeds. An order whose swap is signed can no longer be cancelled.",
            )
            .takes([requests::id("order")])
            .body(Body::Empty)
            .answers::<Cancelled>(200, "the order is cancelled", "cancelled")
            .links(200, &LINKS[..2])
            .problems(["order_not_found", "too_late", "already_ended", "order_unreadable", "unavailable"])
    });
    submits.chain(reads).chain(cancels).collect()
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
    let OrderFields { order, dry_run } = parse_order(&body, app.tokens(), app.settings.orders.max_slippage)?;
    let order = Arc::new(order);
    let key = key(header_key(&request)?, &order)?;
    if dry_run_in_query || dry_run {
        return Ok(HttpResponse::Ok().json(DryRun::of(&order, &app.service.quote(order.clone()).await)));
    }
    let Submission { order, created } = app.service.submit(owner, order, key).await.map_err(refused)?;
    let ws_path = sockets::path_of(order.id);
    let websocket_url = format!("ws://{}{ws_path}", authority(&request));
    let warnings = warnings::at_submit(&order.request, &app).await;
    let mut response = if created { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.insert_header((LOCATION, path_of(order.id))).json(Submitted {
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
    let order = app.service.order(caller.may(Scope::Read)?, order_id(&id)?).await?;
    Ok(web::Json(OrderView::of(&order)))
}

async fn events(
    app: web::Data<AppState>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<web::Json<TimelineView>, Problem> {
    let order = app.service.order(caller.may(Scope::Read)?, order_id(&id)?).await?;
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
        (None, None) => {
            Err(Problem::new(StatusCode::NOT_FOUND, "order_not_found", "there is no order with this clientOrderId"))
        }
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
    let id = order_id(&id)?;
    body::read_nothing(&request, payload).await?;
    let order = cancelled(&app, owner, id).await?;
    Ok(HttpResponse::Ok().json(Cancelled {
        success: true,
        order_id: order.id,
        status: order.last().status,
        order: OrderView::of(&order),
    }))
}

/// Cancels an order, and returns it or the problem.
pub(in crate::http) async fn cancelled(app: &AppState, owner: Owner, id: OrderId) -> Result<Order, Problem> {
    let conflict = |code, detail: String| Problem::new(StatusCode::CONFLICT, code, detail).about(id, None);
    app.service.cancel(owner, id).await.map_err(|refused| match refused {
        CancelRefused::ByOrder(CancelError::TooLate(_)) => conflict(
            "too_late",
            "the swap is signed and may land at any moment; no further attempt will be made".to_owned(),
        ),
        CancelRefused::ByOrder(CancelError::AlreadyEnded(order)) => {
            conflict("already_ended", format!("the order has ended: {}", order.last().status))
        }
        CancelRefused::ByOrder(CancelError::Busy) => Problem::unavailable(),
        CancelRefused::ByService(error) => error.into(),
    })
}

/// The address of this server as the client knows it: the `Host` header, which the guard has compared with the names of
/// this server. `X-Forwarded-Host` and `Forwarded` are ignored, because any client can send them.
fn authority(request: &HttpRequest) -> Cow<'_, str> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    host.map_or_else(|| request.app_config().local_addr().to_string().into(), Cow::Borrowed)
}

/// Parses the order id in a path.
pub(in crate::http) fn order_id(text: &str) -> Result<OrderId, Problem> {
    text.parse().map_err(|_| Problem::invalid_field("id", "must be a UUID"))
}

fn path_of(id: OrderId) -> String {
    ORDER.replace("{id}", &id.to_string())
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

/// The key of a submit: its idempotency key, or its `clientOrderId`, or both if they are equal.
pub(in crate::http) fn key(given: Option<ClientKey>, order: &OrderRequest) -> Result<Option<ClientKey>, Problem> {
    match (given, &order.client_order_id) {
        (Some(given), Some(id)) if given != *id => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_mismatch",
            "Idempotency-Key and clientOrderId are different; send one of them, or the same value in both",
        )),
        (given, id) => Ok(given.or_else(|| id.clone())),
    }
}

/// The problem of a submit that was not accepted.
pub(in crate::http) fn refused(error: SubmitError) -> Problem {
    let unavailable = |code, detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
    match error {
        SubmitError::Full => {
            unavailable("too_many_open_orders", "the engine has the maximum number of open orders; nothing was stored")
                .retry_after(5)
        }
        SubmitError::UserFull => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_open_orders_of_user",
            "this user has the maximum number of open orders; nothing was stored",
        )
        .retry_after(5),
        SubmitError::Stopping => {
            unavailable("stopping", "the engine is shutting down; nothing was stored").retry_after(5)
        }
        SubmitError::NotAccepted => {
            unavailable("not_accepted", "the order could not be stored, and will not be").retry_after(1)
        }
        SubmitError::Unreadable(id) => Problem::unreadable_order(id),
        SubmitError::OutcomeUnknown(id) => unavailable(
            "outcome_unknown",
            "it is not known yet whether the order was stored: get it, or submit it again with the same key",
        )
        .retry_after(1)
        .about(id, Some(path_of(id))),
        SubmitError::Broken => unavailable(
            "outcome_unknown",
            "the engine failed while it accepted the order: if it had a key, submit it again with the same key",
        )
        .retry_after(5),
        SubmitError::KeyReused => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "this key was used for a different order",
        ),
    }
}
