//! Orders over HTTP: submit, get, list, follow up, cancel.

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{HOST, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::actors::order::CancelError;
use crate::actors::order_manager::{Submission, SubmitError};
use crate::api::views::{OrderView, TimelineView};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::lifecycle::Status;
use crate::domain::order::{Order, OrderRequest};
use crate::domain::token::TokenList;
use crate::domain::user::{Owner, Scope};
use crate::http::extract::body::{self, OrderFields};
use crate::http::extract::caller::Caller;
use crate::http::problem::Problem;
use crate::http::routes::dry_run::DryRun;
use crate::http::{AppState, warnings};
use crate::service::orders::CancelRefused;
use crate::store::ListFilter;

/// An order that was taken in, and where it is followed.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Submitted {
    success: bool,
    order_id: OrderId,
    status: Status,
    websocket_url: String,
    /// The same, as some clients call it.
    socket_url: String,
    ws_path: String,
    /// What the order's owner should know of what was asked for.
    warnings: Vec<String>,
    order: OrderView,
}

/// A page of a list; `nextCursor` asks for the next one. A page may hold fewer orders than its limit, or none, and still
/// have a next one: with filters that few orders pass, a page ends after so many have been looked at.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct PageView {
    #[serde(skip_serializing_if = "Option::is_none")]
    success: Option<bool>,
    orders: Vec<OrderView>,
    next_cursor: Option<OrderId>,
    /// Orders that belong here and are stored in a way that this version cannot read; asked for one by one each answers
    /// `order_unreadable`. Absent where there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<OrderId>,
}

/// A cancelled order.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Cancelled {
    success: bool,
    order_id: OrderId,
    status: Status,
    order: OrderView,
}

pub(in crate::http) async fn submit(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let owner = caller.may(Scope::Trade)?;
    let only_asked = body::parse_dry_run(request.query_string())?;
    let body = body::read(&request, payload).await?;
    let OrderFields { order, dry_run } = body::parse_order(&body, app.tokens(), app.settings.orders.max_slippage)?;
    let dry_run = only_asked || dry_run;
    let order = Arc::new(order);
    let key = key(header_key(&request)?, &order)?;
    if dry_run {
        return Ok(HttpResponse::Ok().json(DryRun::of(&order, &app.service.quote(order.clone()).await)));
    }
    let Submission { order, created } = app.service.submit(owner, order, key).await.map_err(refused)?;
    let ws_path = format!("/ws/orders/{}", order.id);
    let websocket_url = format!("ws://{}{ws_path}", authority(&request));
    let warnings = warnings::at_submit(&order.request, &app).await;
    let mut response = if created { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.insert_header((LOCATION, path(order.id))).json(Submitted {
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

pub(in crate::http) async fn get(
    app: web::Data<AppState>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<web::Json<OrderView>, Problem> {
    let order = app.service.order(caller.may(Scope::Read)?, order_id(&id)?).await?;
    Ok(web::Json(OrderView::of(&order)))
}

pub(in crate::http) async fn events(
    app: web::Data<AppState>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<web::Json<TimelineView>, Problem> {
    let order = app.service.order(caller.may(Scope::Read)?, order_id(&id)?).await?;
    Ok(web::Json(TimelineView::of(&order)))
}

/// The order that goes by that name at its client.
pub(in crate::http) async fn by_client_id(
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

pub(in crate::http) async fn list(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(page(&request, &app, caller, None).await?))
}

/// The same list, as clients know it who look for `success`.
pub(in crate::http) async fn history(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(page(&request, &app, caller, Some(true)).await?))
}

async fn page(
    request: &HttpRequest,
    app: &AppState,
    caller: Caller,
    success: Option<bool>,
) -> Result<PageView, Problem> {
    let owner = caller.may(Scope::Read)?;
    let filter = ListFilter { owner, ..filter(request.query_string(), app.tokens())? };
    let page = app.service.list(filter).await?;
    Ok(PageView {
        success,
        orders: page.orders.iter().map(OrderView::of).collect(),
        next_cursor: page.next,
        unreadable: page.unreadable.iter().map(|order| order.id).collect(),
    })
}

pub(in crate::http) async fn cancel(
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

/// Cancels an order, or says why not.
pub(in crate::http) async fn cancelled(app: &AppState, owner: Owner, id: OrderId) -> Result<Order, Problem> {
    let conflict = |code, order: &Order| {
        let detail = match code {
            "too_late" => "its swap is signed and may land at any moment; no further attempt will be made".to_owned(),
            _ => format!("the order has ended: {}", order.last().status),
        };
        Problem::new(StatusCode::CONFLICT, code, detail).about(id, None)
    };
    match app.service.cancel(owner, id).await {
        Ok(order) => Ok(order),
        Err(CancelRefused::ByOrder(CancelError::TooLate(order))) => Err(conflict("too_late", &order)),
        Err(CancelRefused::ByOrder(CancelError::AlreadyEnded(order))) => Err(conflict("already_ended", &order)),
        Err(CancelRefused::ByOrder(CancelError::Busy)) => Err(Problem::unavailable()),
        Err(CancelRefused::ByService(error)) => Err(error.into()),
    }
}

/// Where the client reaches this server: what it named in `Host`, which was compared with this server's names. Nothing
/// else that a request says is believed, `X-Forwarded-Host` and `Forwarded` for example: anybody can send those.
fn authority(request: &HttpRequest) -> Cow<'_, str> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    host.map_or_else(|| request.app_config().local_addr().to_string().into(), Cow::Borrowed)
}

/// The order's id in a path.
pub(in crate::http) fn order_id(text: &str) -> Result<OrderId, Problem> {
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
pub(in crate::http) fn key(given: Option<ClientKey>, order: &OrderRequest) -> Result<Option<ClientKey>, Problem> {
    match (given, &order.client_order_id) {
        (Some(given), Some(id)) if given != *id => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_mismatch",
            "Idempotency-Key and clientOrderId disagree; give one of them, or the same in both",
        )),
        (given, id) => Ok(given.or_else(|| id.clone())),
    }
}

pub(in crate::http) fn refused(error: SubmitError) -> Problem {
    let unavailable = |code, detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
    match error {
        SubmitError::Full => {
            unavailable("too_many_open_orders", "as many orders are open as may be; nothing was stored").retry_after(5)
        }
        SubmitError::UserFull => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_open_orders_of_user",
            "this user has as many open orders as one may have; nothing was stored",
        )
        .retry_after(5),
        SubmitError::Stopping => unavailable("stopping", "the engine is stopping; nothing was stored").retry_after(5),
        SubmitError::NotAccepted => {
            unavailable("not_accepted", "the order could not be stored, and never will be").retry_after(1)
        }
        SubmitError::Unreadable(id) => Problem::unreadable_order(id),
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

pub(in crate::http) fn filter(query: &str, tokens: &TokenList) -> Result<ListFilter, Problem> {
    const DEFAULT_LIMIT: u64 = 50;
    const MAX_LIMIT: u64 = 200;
    let mut form = body::form_of_query(query)?;
    form.take_one_of(&["type"], |text| match text {
        "market" => Ok(()),
        _ => Err("only market orders exist so far".to_owned()),
    });
    let mint = |text: &str| tokens.resolve(text).map(|token| token.mint).map_err(|error| error.to_string());
    let limit = form.take_one_of(&["limit"], |text| match text.parse() {
        Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        _ => Err(format!("must be a whole number from 1 to {MAX_LIMIT}")),
    });
    let filter = ListFilter {
        status: form.take_one_of(&["status"], |text| Status::from_name(text).ok_or_else(|| "is no status".to_owned())),
        token_in: form.take_one_of(&["tokenIn"], mint),
        token_out: form.take_one_of(&["tokenOut"], mint),
        client_order_id: form.take_one_of(&["clientOrderId"], |text| text.parse().map_err(str::to_owned)),
        from: form.take_one_of(&["from"], time),
        to: form.take_one_of(&["to"], time),
        before: form.take_one_of(&["cursor"], |text| text.parse().map_err(|_| "is no cursor of this list".to_owned())),
        limit: limit.unwrap_or(DEFAULT_LIMIT),
        ..ListFilter::default()
    };
    form.refuse_leftovers();
    if form.errors.is_empty() { Ok(filter) } else { Err(Problem::invalid(form.errors)) }
}

/// Reads a time, to the microsecond and within the years that both databases keep.
fn time(text: &str) -> Result<DateTime<Utc>, String> {
    /// The end of the year 9999. No order was made later, or before 1970: a time beyond means the same as these.
    const LATEST: DateTime<Utc> = DateTime::from_timestamp_micros(253_402_300_799_999_999).expect("it is in range");
    // In a query an unencoded `+` means a space, so the plus sign of an offset arrives as one.
    let with_sign = match text.rsplit_once(' ') {
        Some((time, offset)) if time.contains(['T', 't', ' ']) => format!("{time}+{offset}"),
        _ => text.to_owned(),
    };
    let time = DateTime::parse_from_rfc3339(&with_sign).map_err(|_| {
        "must be a time in RFC 3339, such as 2026-01-31T12:00:00Z; a + in a URL is written %2B".to_owned()
    })?;
    // Through the number, which has no place for a leap second.
    let time = DateTime::from_timestamp_micros(time.timestamp_micros()).unwrap_or(LATEST);
    Ok(time.clamp(DateTime::UNIX_EPOCH, LATEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn filtered(query: &str) -> Result<ListFilter, serde_json::Value> {
        let tokens = Settings::with::<String, String>([]).unwrap().tokens;
        filter(query, &tokens).map_err(|problem| serde_json::to_value(problem).unwrap())
    }

    #[test]
    fn a_time_is_taken_also_where_its_plus_sign_was_not_encoded() {
        let noon: DateTime<Utc> = "2026-01-31T12:00:00Z".parse().unwrap();
        for spelled in [
            "2026-01-31T12:00:00Z",
            "2026-01-31t12:00:00z",
            "2026-01-31T12:00:00%2B00:00",
            "2026-01-31T12:00:00+00:00",
            "2026-01-31T14:00:00.000+02:00",
            "2026-01-31%2014:00:00%2002:00",
            "2026-01-31 12:00:00Z",
            "2026-01-31T10:30:00-01:30",
            "2026-01-31T11:59:60Z",
        ] {
            assert_eq!(filtered(&format!("from={spelled}")).unwrap().from, Some(noon), "{spelled}");
        }
        for odd in [
            "yesterday",
            "2026-01-31",
            "12:00:00+00:00",
            "2026-01-31T12:00:00",
            "1769860800",
            "+",
            "2026-01-31T24:00:00Z",
            "2026-02-30T12:00:00Z",
        ] {
            let refused = filtered(&format!("from={odd}")).unwrap_err();
            assert_eq!(refused["errors"][0]["field"], "from", "{odd}");
        }
    }

    #[test]
    fn a_time_at_the_end_of_the_calendar_is_taken_as_the_last_one() {
        let year = |spelled: &str| chrono::Datelike::year(&filtered(&format!("to={spelled}")).unwrap().to.unwrap());
        for last in ["9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:60Z"] {
            assert_eq!(year(last), 9999, "{last}");
        }
        for first in ["0001-01-01T00:00:00Z", "0000-01-01T00:00:00%2B23:59", "1969-12-31T23:59:59Z"] {
            assert_eq!(year(first), 1970, "{first}");
        }
    }

    #[test]
    fn a_parameter_of_a_list_that_stands_twice_or_has_no_value_is_refused_by_name() {
        for (query, field) in [
            ("status=pending&status=routing", "status"),
            ("status=pending&st%61tus=pending", "status"),
            ("status=", "status"),
            ("tokenIn", "tokenIn"),
            ("clientOrderId=", "clientOrderId"),
            ("cursor=", "cursor"),
            ("limit=", "limit"),
            ("Limit=5", "Limit"),
            ("dryRun=true", "dryRun"),
        ] {
            assert_eq!(filtered(query).unwrap_err()["errors"][0]["field"], field, "{query}");
        }
    }
}
