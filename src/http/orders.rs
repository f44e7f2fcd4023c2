//! Orders over HTTP: submit, get, list, follow up, cancel.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::Face;
use super::body::{self, Asked};
use super::caller::Caller;
use super::dry_run::DryRun;
use super::problem::{FieldError, Problem};
use super::wire::{OrderView, TimelineView};
use crate::actors::desk::CancelRefused;
use crate::actors::order::CancelError;
use crate::actors::order_manager::{Submission, SubmitError};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::lifecycle::Status;
use crate::domain::order::{Order, OrderRequest};
use crate::domain::token::TokenList;
use crate::domain::user::{Owner, Scope};
use crate::store::ListFilter;

/// An order that was taken in, and where it is followed.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Submitted {
    success: bool,
    order_id: OrderId,
    status: Status,
    websocket_url: String,
    /// The same, as some clients call it.
    socket_url: String,
    ws_path: String,
    order: OrderView,
}

/// A page of a list; `nextCursor` asks for the next one.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    #[serde(skip_serializing_if = "Option::is_none")]
    success: Option<bool>,
    orders: Vec<OrderView>,
    next_cursor: Option<OrderId>,
}

/// A cancelled order.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cancelled {
    success: bool,
    order_id: OrderId,
    status: Status,
    order: OrderView,
}

pub(super) async fn submit(
    request: HttpRequest,
    face: web::Data<Face>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let owner = caller.may(Scope::Trade)?;
    let body = body::read(&request, payload).await?;
    let Asked { order, dry_run } = body::parse_order(&body, face.tokens())?;
    let dry_run = body::parse_dry_run(request.query_string())? || dry_run;
    let order = Arc::new(order);
    let key = key(header_key(&request)?, &order)?;
    if dry_run {
        return Ok(HttpResponse::Ok().json(DryRun::of(&order, &face.desk.quote(order.clone()).await)));
    }
    let Submission { order, created } = face.desk.submit(owner, order, key).await.map_err(refused)?;
    let ws_path = format!("/ws/orders/{}", order.id);
    let websocket_url = format!("ws://{}{ws_path}", request.connection_info().host());
    let mut response = if created { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.insert_header((LOCATION, path(order.id))).json(Submitted {
        success: true,
        order_id: order.id,
        status: order.last().status,
        socket_url: websocket_url.clone(),
        websocket_url,
        ws_path,
        order: OrderView::of(&order),
    }))
}

pub(super) async fn get(
    face: web::Data<Face>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<web::Json<OrderView>, Problem> {
    let order = face.desk.order(caller.may(Scope::Read)?, order_id(&id)?).await?;
    Ok(web::Json(OrderView::of(&order)))
}

pub(super) async fn events(
    face: web::Data<Face>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<web::Json<TimelineView>, Problem> {
    let order = face.desk.order(caller.may(Scope::Read)?, order_id(&id)?).await?;
    Ok(web::Json(TimelineView::of(&order)))
}

/// The order that goes by that name at its client.
pub(super) async fn by_client_id(
    face: web::Data<Face>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<web::Json<OrderView>, Problem> {
    let owner = caller.may(Scope::Read)?;
    let id: ClientKey = id.parse().map_err(|message: &str| Problem::invalid_field("clientOrderId", message))?;
    let filter = ListFilter { owner, client_order_id: Some(id), limit: 1, ..ListFilter::default() };
    match face.desk.list(filter).await?.first() {
        Some(order) => Ok(web::Json(OrderView::of(order))),
        None => {
            Err(Problem::new(StatusCode::NOT_FOUND, "order_not_found", "there is no order with this clientOrderId"))
        }
    }
}

pub(super) async fn list(request: HttpRequest, face: web::Data<Face>, caller: Caller) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(page(&request, &face, caller, None).await?))
}

/// The same list, as clients know it who look for `success`.
pub(super) async fn history(
    request: HttpRequest,
    face: web::Data<Face>,
    caller: Caller,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(page(&request, &face, caller, Some(true)).await?))
}

async fn page(request: &HttpRequest, face: &Face, caller: Caller, success: Option<bool>) -> Result<Page, Problem> {
    let owner = caller.may(Scope::Read)?;
    let filter = ListFilter { owner, ..filter(request.query_string(), face.tokens())? };
    let limit = filter.limit;
    let orders = face.desk.list(ListFilter { limit: limit + 1, ..filter }).await?;
    let shown = &orders[..orders.len().min(usize::try_from(limit).unwrap_or(usize::MAX))];
    let next_cursor = (shown.len() < orders.len()).then(|| shown.last().map(|order| order.id)).flatten();
    Ok(Page { success, orders: shown.iter().map(OrderView::of).collect(), next_cursor })
}

pub(super) async fn cancel(
    face: web::Data<Face>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let owner = caller.may(Scope::Trade)?;
    let order = cancelled(&face, owner, order_id(&id)?).await?;
    Ok(HttpResponse::Ok().json(Cancelled {
        success: true,
        order_id: order.id,
        status: order.last().status,
        order: OrderView::of(&order),
    }))
}

/// Cancels an order, or says why not.
pub(super) async fn cancelled(face: &Face, owner: Owner, id: OrderId) -> Result<Order, Problem> {
    let conflict = |code, order: &Order| {
        let detail = match code {
            "too_late" => "its swap is signed and may land at any moment; no further attempt will be made".to_owned(),
            _ => format!("the order has ended: {}", order.last().status),
        };
        Problem::new(StatusCode::CONFLICT, code, detail).about(id, None)
    };
    match face.desk.cancel(owner, id).await {
        Ok(order) => Ok(order),
        Err(CancelRefused::ByOrder(CancelError::TooLate(order))) => Err(conflict("too_late", &order)),
        Err(CancelRefused::ByOrder(CancelError::AlreadyEnded(order))) => Err(conflict("already_ended", &order)),
        Err(CancelRefused::ByOrder(CancelError::Busy)) => Err(Problem::unavailable()),
        Err(CancelRefused::ByDesk(error)) => Err(error.into()),
    }
}

/// The order's id in a path.
pub(super) fn order_id(text: &str) -> Result<OrderId, Problem> {
    text.parse().map_err(|_| Problem::invalid_field("id", "must be a UUID"))
}

fn path(id: OrderId) -> String {
    format!("/api/orders/{id}")
}

fn header_key(request: &HttpRequest) -> Result<Option<ClientKey>, Problem> {
    const HEADER: &str = "idempotency-key";
    let mut given = request.headers().get_all(HEADER);
    let wrong = |message: &str| Problem::invalid_field("Idempotency-Key", message);
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(wrong("stands more than once")),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| wrong("must be visible ASCII characters"))?;
            text.parse().map(Some).map_err(wrong)
        }
    }
}

/// The request's own name: its idempotency key, or `clientOrderId`, or both if they are the same.
pub(super) fn key(given: Option<ClientKey>, order: &OrderRequest) -> Result<Option<ClientKey>, Problem> {
    match (given, &order.client_order_id) {
        (Some(given), Some(id)) if given != *id => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_mismatch",
            "Idempotency-Key and clientOrderId disagree; give one of them, or the same in both",
        )),
        (given, id) => Ok(given.or_else(|| id.clone())),
    }
}

pub(super) fn refused(error: SubmitError) -> Problem {
    let unavailable = |code, detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
    match error {
        SubmitError::Full => {
            unavailable("too_many_open_orders", "as many orders are open as may be; nothing was stored").retry_after(5)
        }
        SubmitError::Stopping => unavailable("stopping", "the engine is stopping; nothing was stored").retry_after(5),
        SubmitError::NotAccepted => {
            unavailable("not_accepted", "the order could not be stored, and never will be").retry_after(1)
        }
        SubmitError::OutcomeUnknown(id) => unavailable(
            "outcome_unknown",
            "it is not known yet whether the order was stored: ask for it, or repeat it with the same key",
        )
        .retry_after(1)
        .about(id, Some(path(id))),
        SubmitError::Broken => unavailable(
            "outcome_unknown",
            "the engine broke while it took the order in: repeat it with the same key, if it had one",
        )
        .retry_after(5),
        SubmitError::KeyReused => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "this key was used for another order",
        ),
    }
}

pub(super) fn filter(query: &str, tokens: &TokenList) -> Result<ListFilter, Problem> {
    const DEFAULT_LIMIT: u64 = 50;
    const MAX_LIMIT: u64 = 200;
    let mut errors = Vec::new();
    let mut filter = ListFilter { limit: DEFAULT_LIMIT, ..ListFilter::default() };
    let query = web::Query::<BTreeMap<String, String>>::from_query(query)
        .map_err(|error| Problem::invalid_field("query", error.to_string()))?;
    for (name, value) in query.into_inner() {
        let result = match name.as_str() {
            "status" => {
                Status::from_name(&value).map(|status| filter.status = Some(status)).ok_or("is no status".to_owned())
            }
            "type" if value == "market" => Ok(()),
            "type" => Err("only market orders exist so far".to_owned()),
            "tokenIn" => tokens
                .resolve(&value)
                .map(|token| filter.token_in = Some(token.mint))
                .map_err(|error| error.to_string()),
            "tokenOut" => tokens
                .resolve(&value)
                .map(|token| filter.token_out = Some(token.mint))
                .map_err(|error| error.to_string()),
            "clientOrderId" => value.parse().map(|id| filter.client_order_id = Some(id)).map_err(str::to_owned),
            "from" => time(&value).map(|from| filter.from = Some(from)),
            "to" => time(&value).map(|to| filter.to = Some(to)),
            "cursor" => value
                .parse()
                .map(|before| filter.before = Some(before))
                .map_err(|_| "is no cursor of this list".to_owned()),
            "limit" => match value.parse() {
                Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => {
                    filter.limit = limit;
                    Ok(())
                }
                _ => Err(format!("must be a whole number from 1 to {MAX_LIMIT}")),
            },
            _ => Err("is not a parameter of this list".to_owned()),
        };
        if let Err(message) = result {
            errors.push(FieldError { field: name, message });
        }
    }
    if errors.is_empty() { Ok(filter) } else { Err(Problem::invalid(errors)) }
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| "must be a time in RFC 3339, such as 2026-01-31T12:00:00Z".to_owned())
}
