//! The log lines of an order.

use crate::domain::lifecycle::OrderEvent;
use crate::domain::order::{Order, RecordedEvent};

/// Logs one line per event; for a final failure the line lists the errors of all attempts.
pub(in crate::actors) fn log_event(order: &Order, recorded: &RecordedEvent) {
    let RecordedEvent { seq, status, attempt, .. } = recorded;
    match &recorded.event {
        OrderEvent::Failed(last) => {
            let errors: Vec<_> = order
                .history()
                .iter()
                .filter_map(|step| match &step.event {
                    OrderEvent::AttemptFailed { failure, .. } => Some(failure.to_string()),
                    _ => None,
                })
                .chain([last.to_string()])
                .collect();
            tracing::warn!(order_id = %order.id, attempt, ?errors, "failed");
        }
        OrderEvent::AttemptFailed { failure, retry_at } => {
            tracing::info!(order_id = %order.id, attempt, seq, %failure, %retry_at, "pending again");
        }
        OrderEvent::Routed(decision) => {
            tracing::info!(order_id = %order.id, attempt, seq, venue = %decision.winner().venue, "{status}");
        }
        OrderEvent::Submitted(swap) => {
            tracing::info!(order_id = %order.id, attempt, seq, venue = %swap.venue, signature = %swap.signature, "{status}");
        }
        _ => tracing::info!(order_id = %order.id, attempt, seq, "{status}"),
    }
}
