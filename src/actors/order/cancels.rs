//! The cancels of an order that wait for a decision.

use tokio::sync::oneshot;

use crate::actors::order::messages::CancelError;
use crate::domain::lifecycle::OrderState;
use crate::domain::order::Order;

/// The answer to a cancel.
pub(super) type CancelAnswer = Result<Order, CancelError>;

/// The waiting cancels.
#[derive(Debug, Default)]
pub(super) struct Cancels(Vec<oneshot::Sender<CancelAnswer>>);

impl Cancels {
    /// How many cancels may wait for one write.
    const MAX_WAITING: usize = 64;

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a cancel; `None` if too many wait already.
    pub(super) fn add(&mut self) -> Option<oneshot::Receiver<CancelAnswer>> {
        if self.0.len() >= Self::MAX_WAITING {
            return None;
        }
        let (cancel, answer) = oneshot::channel();
        self.0.push(cancel);
        Some(answer)
    }

    /// Answers all cancels, if the order's state decides them.
    pub(super) fn answer(&mut self, order: &Order) {
        if self.0.is_empty() {
            return;
        }
        let answer = match order.state() {
            OrderState::Cancelled { .. } => Ok(order.clone()),
            OrderState::Submitted { cancel_requested: true, .. } => Err(CancelError::TooLate(Box::new(order.clone()))),
            state if state.is_final() => Err(CancelError::AlreadyEnded(Box::new(order.clone()))),
            _ => return,
        };
        for cancel in self.0.drain(..) {
            // The caller may be gone; the cancel is recorded anyway.
            let _ = cancel.send(answer.clone());
        }
    }
}
