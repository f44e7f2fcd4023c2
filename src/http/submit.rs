//! Submits an order or previews it, for HTTP and for WebSocket.

use crate::actors::order_manager::{Submission, SubmitError};
use crate::api::problem::ProblemCode;
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::user::Owner;
use crate::http::extract::order::OrderFields;
use crate::http::problem::Problem;
use crate::http::routes::dry_run::DryRun;
use crate::http::{AppState, warnings};
use crate::service::new_order::NewOrder;

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
    let order = NewOrder::new(fields.order, key).map_err(refused)?;
    if fields.dry_run {
        let request = order.request();
        let routed = app.service.quote(request.clone()).await;
        return Ok(SubmitOutcome::DryRun(Box::new(DryRun::of(request, &routed))));
    }
    let submission = app.service.submit(owner, order).await.map_err(refused)?;
    let warnings = warnings::at_submit(&submission.order.request, app).await;
    Ok(SubmitOutcome::Accepted { submission, warnings })
}

/// The path of an order.
pub(super) fn order_path(id: OrderId) -> String {
    ORDER_PATH.replace("{id}", &id.to_string())
}

/// The problem of a submit that was not accepted.
fn refused(error: SubmitError) -> Problem {
    match error {
        SubmitError::Full => Problem::from(ProblemCode::TooManyOpenOrders).retry_after(5),
        SubmitError::UserFull => Problem::from(ProblemCode::TooManyOpenOrdersOfUser).retry_after(5),
        SubmitError::Stopping => Problem::from(ProblemCode::Stopping).retry_after(5),
        SubmitError::Suspended => Problem::from(ProblemCode::Suspended).retry_after(60),
        SubmitError::NotAccepted => Problem::from(ProblemCode::NotAccepted).retry_after(1),
        SubmitError::Unreadable(id) => Problem::unreadable_order(id),
        SubmitError::OutcomeUnknown(id) => {
            Problem::from(ProblemCode::OutcomeUnknown).retry_after(1).about(id, Some(order_path(id)))
        }
        SubmitError::KeyUnknown => Problem::new(
            ProblemCode::OutcomeUnknown,
            "this submit was not stored, but it is not known whether an earlier one with the same key was: submit it again \
             with the same key",
        )
        .retry_after(1),
        SubmitError::Broken => Problem::new(
            ProblemCode::OutcomeUnknown,
            "the engine failed while it accepted the order: if it had a key, submit it again with the same key",
        )
        .retry_after(5),
        SubmitError::KeyMismatch => Problem::new(
            ProblemCode::IdempotencyMismatch,
            "Idempotency-Key and clientOrderId are different; send one of them, or the same value in both",
        ),
        SubmitError::KeyReused => ProblemCode::IdempotencyKeyReused.into(),
    }
}
