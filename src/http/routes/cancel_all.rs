//! Cancels every open order of one's own at once, and says of each what became of it.

use std::time::Instant;

use actix_web::{HttpRequest, web};
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::Serialize;

use crate::actors::order::CancelError;
use crate::domain::id::OrderId;
use crate::domain::lifecycle::Status;
use crate::domain::order::Order;
use crate::domain::user::Scope;
use crate::http::AppState;
use crate::http::extract::body;
use crate::http::extract::caller::Caller;
use crate::http::problem::Problem;
use crate::service::orders::{CancelRefused, ServiceError};
use crate::store::ListFilter;

/// So many are cancelled beside each other.
const PAGE: u64 = 200;
/// So many are cancelled in one request at most; the answer says where there are more.
const MOST: usize = 1_000;

/// What became of each order.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct CancelledAll {
    success: bool,
    /// How many of them are cancelled now.
    cancelled: usize,
    results: Vec<CancelResult>,
    /// Not every order was come to: ask once more.
    more: bool,
}

/// What became of one order.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct CancelResult {
    order_id: OrderId,
    #[schemars(extend("enum" = ["cancelled", "too_late", "already_ended", "unavailable", "unreadable"]))]
    outcome: &'static str,
    /// Where it stands; absent where the order cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

impl CancelResult {
    /// What became of an order that was found open.
    fn of(found: &Order, answer: &Result<Order, CancelRefused>) -> Self {
        let (outcome, order) = match answer {
            Ok(order) => ("cancelled", order),
            Err(CancelRefused::ByOrder(CancelError::TooLate(order))) => ("too_late", &**order),
            Err(CancelRefused::ByOrder(CancelError::AlreadyEnded(order))) => ("already_ended", &**order),
            Err(
                CancelRefused::ByOrder(CancelError::Busy)
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

/// Orders submitted after this has begun are left alone.
pub(in crate::http) async fn cancel_all(
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
        ..body::parse_cancel_filter(request.query_string(), &body, app.tokens())?
    };
    let (begun, patience) = (Instant::now(), app.settings.server.request_timeout);
    let (mut results, mut more) = (Vec::new(), true);
    while results.len() < MOST && begun.elapsed() < patience {
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
