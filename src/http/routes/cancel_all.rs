//! Cancels all open orders of the caller, and reports the outcome of each.

use std::time::Instant;

use actix_web::{HttpRequest, web};
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::Serialize;

use crate::actors::order::CancelError;
use crate::api::problem::ProblemCode;
use crate::domain::id::OrderId;
use crate::domain::lifecycle::Status;
use crate::domain::order::Order;
use crate::domain::user::Scope;
use crate::http::AppState;
use crate::http::extract::body;
use crate::http::extract::caller::Caller;
use crate::http::extract::cancel_filter::parse_cancel_filter;
use crate::http::openapi::requests;
use crate::http::operation::{Body, Operation, TRADE, delete, post};
use crate::http::problem::Problem;
use crate::service::orders::{CancelRefused, ServiceError};
use crate::store::ListFilter;

/// The number of orders that are cancelled concurrently.
const PAGE: u64 = 200;
/// The most orders cancelled by one request. `more` in the answer reports that there are further ones.
const MAX_ORDERS: usize = 1_000;

/// The outcome of each order.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct CancelledAll {
    success: bool,
    /// The number of orders that are cancelled now.
    cancelled: usize,
    results: Vec<CancelResult>,
    /// Whether open orders are left: send the request again.
    more: bool,
}

/// The outcome of one order.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct CancelResult {
    order_id: OrderId,
    #[schemars(extend("enum" = ["cancelled", "too_late", "already_ended", "unavailable", "unreadable"]))]
    outcome: &'static str,
    /// The status of the order; absent if the order cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

impl CancelResult {
    /// The outcome of the cancel of an order that was listed as open.
    fn of(found: &Order, answer: &Result<Order, CancelRefused>) -> Self {
        let (outcome, order) = match answer {
            Ok(order) => ("cancelled", order),
            Err(CancelRefused::ByOrder(CancelError::TooLate(order))) => ("too_late", &**order),
            Err(CancelRefused::ByOrder(CancelError::AlreadyEnded(order))) => ("already_ended", &**order),
            Err(
                CancelRefused::ByOrder(CancelError::Busy | CancelError::Suspended)
                | CancelRefused::ByService(ServiceError::Unavailable | ServiceError::Unknown(_)),
            ) => ("unavailable", found),
            Err(CancelRefused::ByService(ServiceError::Unreadable(_))) => return Self::unreadable(found.id),
        };
        Self { order_id: found.id, outcome, status: Some(order.last().status) }
    }

    fn unreadable(order_id: OrderId) -> Self {
        Self { order_id, outcome: "unreadable", status: None }
    }
}

pub(super) fn operations() -> Vec<Operation> {
    let all = [
        post("/api/orders/cancel", TRADE, cancel_all).named("cancelAllOrders", "Cancel all open orders of the caller"),
        delete("/api/orders", TRADE, cancel_all).named("deleteAllOrders", "Cancel all open orders of the caller"),
    ];
    let all = all.into_iter().map(|operation| {
        operation
            .described("The outcome of each order is reported. Orders submitted after the request began stay open.")
            .takes(requests::of_cancel_all())
            .body(Body::Json { required: false, schema: "CancelFilter", examples: &["cancelFilter"] })
            .answers::<CancelledAll>(200, "the outcome of each order", "cancelledAll")
            .problems([ProblemCode::Unavailable])
    });
    all.collect()
}

async fn cancel_all(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<web::Json<CancelledAll>, Problem> {
    let owner = caller.may(Scope::Trade)?;
    let body = body::read_filter(&request, payload).await?;
    let mut filter = ListFilter {
        owner,
        unfinished: true,
        limit: PAGE,
        ..parse_cancel_filter(request.query_string(), &body, app.tokens())?
    };
    let (begun, limit) = (Instant::now(), app.settings.server.request_timeout);
    let (mut results, mut more) = (Vec::new(), true);
    while results.len() < MAX_ORDERS && begun.elapsed() < limit {
        let page = app.service.list(filter.clone()).await?;
        let cancels = page.orders.iter().map(|order| async {
            let answer = app.service.cancel(owner, order.id).await;
            CancelResult::of(order, &answer)
        });
        results.extend(join_all(cancels).await);
        results.extend(page.unreadable.iter().map(|order| CancelResult::unreadable(order.id)));
        more = page.next.is_some();
        if !more {
            break;
        }
        filter.before = page.next;
    }
    let cancelled = results.iter().filter(|result| result.outcome == "cancelled").count();
    Ok(web::Json(CancelledAll { success: true, cancelled, results, more }))
}
