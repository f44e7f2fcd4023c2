//! Cancels an order, for HTTP and for WebSocket.

use crate::actors::order::CancelError;
use crate::api::problem::ProblemCode;
use crate::domain::id::OrderId;
use crate::domain::order::Order;
use crate::domain::user::Owner;
use crate::http::AppState;
use crate::http::problem::Problem;
use crate::service::orders::CancelRefused;

/// Cancels an order, and returns it as it was cancelled.
pub(super) async fn cancel_order(app: &AppState, owner: Owner, id: OrderId) -> Result<Order, Problem> {
    app.service.cancel(owner, id).await.map_err(|refused| match refused {
        CancelRefused::ByOrder(CancelError::TooLate(_)) => Problem::from(ProblemCode::TooLate).about(id, None),
        CancelRefused::ByOrder(CancelError::AlreadyEnded(order)) => {
            let detail = format!("the order has ended: {}", order.last().status);
            Problem::new(ProblemCode::AlreadyEnded, detail).about(id, None)
        }
        CancelRefused::ByOrder(CancelError::Suspended) => Problem::from(ProblemCode::Suspended).retry_after(60),
        CancelRefused::ByOrder(CancelError::Busy) => Problem::unavailable(),
        CancelRefused::ByService(error) => error.into(),
    })
}
