//! Cancels an order, for HTTP and for WebSocket.

use actix_web::http::StatusCode;

use crate::actors::order::CancelError;
use crate::domain::id::OrderId;
use crate::domain::order::Order;
use crate::domain::user::Owner;
use crate::http::AppState;
use crate::http::problem::Problem;
use crate::service::orders::CancelRefused;

/// Cancels an order, and returns it as it was cancelled.
pub(super) async fn cancel_order(app: &AppState, owner: Owner, id: OrderId) -> Result<Order, Problem> {
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
