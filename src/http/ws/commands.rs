//! Submit and cancel, as a socket's commands. They know no actor, so a socket handles other messages meanwhile.

use std::sync::Arc;

use actix_web::web::Data;

use crate::api::views::OrderView;
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::user::Owner;
use crate::http::extract::order::OrderFields;
use crate::http::problem::Problem;
use crate::http::routes::dry_run::DryRun;
use crate::http::routes::orders;
use crate::http::ws::reply::OrderSnapshot;
use crate::http::{AppState, warnings};

/// The result of a submit.
pub(super) enum Submitted {
    Order(OrderSnapshot),
    DryRun(DryRun),
}

/// Submits an order, or only shows what it would do.
pub(super) async fn submit(
    app: Data<AppState>,
    owner: Owner,
    fields: OrderFields,
    key: Option<ClientKey>,
) -> Result<Submitted, Problem> {
    let request = Arc::new(fields.order);
    let key = orders::key(key, &request)?;
    if fields.dry_run {
        let routed = app.service.quote(request.clone()).await;
        return Ok(Submitted::DryRun(DryRun::of(&request, &routed)));
    }
    let submission = app.service.submit(owner, request, key).await.map_err(orders::refused)?;
    let order = &submission.order;
    Ok(Submitted::Order(OrderSnapshot {
        order_id: order.id,
        status: order.last().status,
        created: Some(submission.created),
        warnings: Some(warnings::at_submit(&order.request, &app).await),
        order: OrderView::of(order),
    }))
}

/// Cancels an order.
pub(super) async fn cancel(app: Data<AppState>, owner: Owner, id: OrderId) -> Result<OrderSnapshot, Problem> {
    let order = orders::cancelled(&app, owner, id).await?;
    Ok(OrderSnapshot {
        order_id: id,
        status: order.last().status,
        created: None,
        warnings: None,
        order: OrderView::of(&order),
    })
}
