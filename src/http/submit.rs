//! Submits an order or previews it, for HTTP and for WebSocket.

use std::sync::Arc;

use actix_web::http::StatusCode;

use crate::actors::order_manager::{Submission, SubmitError};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::request::OrderRequest;
use crate::domain::user::Owner;
use crate::http::extract::order::OrderFields;
use crate::http::problem::Problem;
use crate::http::routes::dry_run::DryRun;
use crate::http::{AppState, warnings};

/// The path of one order.
pub(super) const ORDER_PATH: &str = "/api/orders/{id}";

/// The result of a submit.
pub(super) enum SubmitOutcome {
    /// The order is durable.
    Accepted {
        submission: Submission,
        /// Risks of the order as it was submitted.
        warnings: Vec<String>,
    },
    /// Nothing is stored; this is what the order would do.
    DryRun(Box<DryRun>),
}

/// Submits an order under the idempotency key of its request, or previews it.
pub(super) async fn submit_or_preview(
    app: &AppState,
    owner: Owner,
    fields: OrderFields,
    key: Option<ClientKey>,
) -> Result<SubmitOutcome, Problem> {
    let request = Arc::new(fields.order);
    let key = submit_key(key, &request)?;
    if fields.dry_run {
        let routed = app.service.quote(request.clone()).await;
        return Ok(SubmitOutcome::DryRun(Box::new(DryRun::of(&request, &routed))));
    }
    let submission = app.service.submit(owner, request, key).await.map_err(refused)?;
    let warnings = warnings::at_submit(&submission.order.request, app).await;
    Ok(SubmitOutcome::Accepted { submission, warnings })
}

/// The path of an order.
pub(super) fn order_path(id: OrderId) -> String {
    ORDER_PATH.replace("{id}", &id.to_string())
}

/// The key of a submit: its idempotency key, or its `clientOrderId`, or both if they are equal.
fn submit_key(given: Option<ClientKey>, order: &OrderRequest) -> Result<Option<ClientKey>, Problem> {
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
fn refused(error: SubmitError) -> Problem {
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
        .about(id, Some(order_path(id))),
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
