//! The lifecycle of an order: every state, every event, and the one function that decides which transition is legal.
//!
//! ```text
//! pending ─► routing ─► building ─► submitted ─► confirmed
//!    ▲          │           │           │
//!    └──────────┴───────────┴───────────┘  retryable failure, attempts left
//!
//! pending, routing, building ─► failed, cancelled
//! submitted                  ─► failed, cancelled   only after the swap is provably dead
//! ```
//! An [`OrderEvent`] is recorded first and applied to the [`OrderState`] after. The state is therefore always the result
//! of replaying the recorded events with [`OrderState::after`]. [`Status`] is the state without its data, as clients see
//! it.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::request::Terms;
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::routing::RoutingDecision;
use crate::domain::swap::{Fill, Swap};

/// The status of an order, as clients see it and filter by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Accepted and durable. The order waits for a slot, or for the back-off between two attempts.
    Pending,
    /// The venues are asked for quotes. After a crash the attempt starts over.
    Routing,
    /// A venue is chosen; the swap is built and signed. After a crash the attempt starts over.
    Building,
    /// The signed swap is recorded and is sent until its outcome is known. After a crash the chain is asked first.
    Submitted,
    /// The swap landed.
    Confirmed,
    /// The order ended without a swap.
    Failed,
    /// The order was cancelled before a swap could land.
    Cancelled,
}

impl Status {
    /// Every status, in lifecycle order.
    pub const ALL: [Self; 7] =
        [Self::Pending, Self::Routing, Self::Building, Self::Submitted, Self::Confirmed, Self::Failed, Self::Cancelled];

    /// The final statuses: an order never leaves them.
    pub const FINAL: [Self; 3] = [Self::Confirmed, Self::Failed, Self::Cancelled];

    /// The name in responses, updates and the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Routing => "routing",
            Self::Building => "building",
            Self::Submitted => "submitted",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Whether the order has ended.
    pub fn is_final(self) -> bool {
        Self::FINAL.contains(&self)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The state of an order: its status and the data that exists only in that status.
///
/// `attempt` counts from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderState {
    /// The order waits for a slot.
    Pending {
        /// The next attempt.
        attempt: u32,
        /// The end of the back-off; `None` if no attempt has failed just before.
        not_before: Option<DateTime<Utc>>,
    },
    /// The order holds a slot; the venues are asked for quotes.
    Routing {
        /// The current attempt.
        attempt: u32,
    },
    /// The order holds a slot; the swap is built and signed.
    Building {
        /// The current attempt.
        attempt: u32,
        /// The quotes, the winner first.
        decision: Arc<RoutingDecision>,
    },
    /// The order holds a slot and a live swap: the swap may land at any time until it is provably dead.
    Submitted {
        /// The current attempt.
        attempt: u32,
        /// The live swap.
        swap: Arc<Swap>,
        /// Whether the owner asked to cancel. If so, no further attempt follows.
        cancel_requested: bool,
    },
    /// Final: the swap landed.
    Confirmed {
        /// The successful attempt.
        attempt: u32,
    },
    /// Final: the order failed.
    Failed {
        /// The last attempt.
        attempt: u32,
        /// The number of failed attempts.
        retry_count: u32,
    },
    /// Final: the order was cancelled.
    Cancelled {
        /// The last attempt.
        attempt: u32,
        /// The number of failed attempts.
        retry_count: u32,
    },
}

/// What happens to an order. Each event is stored as one row, in this form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum OrderEvent {
    /// The order was accepted on these terms. Always the first event, and only the first.
    ///
    /// Orders of releases that recorded no terms have `None`: the current settings apply to them.
    Accepted(Option<Terms>),
    /// The order manager gave the order a slot.
    Dispatched,
    /// A venue was chosen.
    Routed(Arc<RoutingDecision>),
    /// A swap was signed. It is sent only after this event is recorded.
    Submitted(Arc<Swap>),
    /// The swap landed.
    Confirmed {
        /// The swap.
        swap: Arc<Swap>,
        /// Its result on the chain.
        fill: Fill,
    },
    /// The attempt failed and another attempt follows.
    AttemptFailed {
        /// The cause.
        failure: Failure,
        /// The earliest time of the next attempt.
        retry_at: DateTime<Utc>,
    },
    /// The engine stopped before a swap was signed. The attempt starts over.
    Interrupted,
    /// The order failed for good.
    Failed(Failure),
    /// The owner asked to cancel while a swap was live.
    CancelRequested,
    /// The order was cancelled. Carries the failure of its last swap, if that swap had to die first.
    Cancelled(Option<Failure>),
}

impl OrderEvent {
    /// The name in logs and error messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Dispatched => "dispatched",
            Self::Routed(_) => "routed",
            Self::Submitted(_) => "submitted",
            Self::Confirmed { .. } => "confirmed",
            Self::AttemptFailed { .. } => "attempt_failed",
            Self::Interrupted => "interrupted",
            Self::Failed(_) => "failed",
            Self::CancelRequested => "cancel_requested",
            Self::Cancelled(_) => "cancelled",
        }
    }
}

/// An event that is not legal in the current state.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("event {event} is not legal for an order in status {from}")]
pub struct IllegalTransition {
    /// The status of the order.
    pub from: Status,
    /// The name of the refused event.
    pub event: &'static str,
}

impl OrderState {
    /// The state of a newly accepted order.
    pub const fn accepted() -> Self {
        Self::Pending { attempt: 1, not_before: None }
    }

    /// The state after an event, or an error if the event is not legal here.
    ///
    /// This is the only place that decides which transition is legal. A transition that is not listed is illegal.
    pub fn after(&self, event: &OrderEvent) -> Result<Self, IllegalTransition> {
        use OrderEvent as E;
        use OrderState as S;
        let attempt = self.attempt();
        Ok(match (self, event) {
            // The way to a confirmed swap.
            (S::Pending { .. }, E::Dispatched) => S::Routing { attempt },
            (S::Routing { .. }, E::Routed(decision)) => S::Building { attempt, decision: decision.clone() },
            (S::Building { .. }, E::Submitted(swap)) => {
                S::Submitted { attempt, swap: swap.clone(), cancel_requested: false }
            }
            (S::Submitted { .. }, E::Confirmed { .. }) => S::Confirmed { attempt },

            // A failed attempt that is followed by another. A pending order fails an attempt only by an internal error.
            (
                S::Pending { .. }
                | S::Routing { .. }
                | S::Building { .. }
                | S::Submitted { cancel_requested: false, .. },
                E::AttemptFailed { retry_at, .. },
            ) => S::Pending { attempt: attempt + 1, not_before: Some(*retry_at) },

            // Nothing was sent, so no attempt has failed: the attempt keeps its number.
            (S::Routing { .. } | S::Building { .. }, E::Interrupted) => S::Pending { attempt, not_before: None },

            // The last failure. An order that times out while it waits has not failed its current attempt.
            (S::Pending { .. }, E::Failed(failure)) if failure.code == FailureCode::Timeout => {
                S::Failed { attempt, retry_count: attempt - 1 }
            }
            (
                S::Pending { .. }
                | S::Routing { .. }
                | S::Building { .. }
                | S::Submitted { cancel_requested: false, .. },
                E::Failed(_),
            ) => S::Failed { attempt, retry_count: attempt },

            // Before a swap is signed, a cancel takes effect immediately.
            (S::Pending { .. } | S::Routing { .. } | S::Building { .. }, E::Cancelled(_)) => {
                S::Cancelled { attempt, retry_count: attempt - 1 }
            }
            // After that the chain decides: the request is kept and takes effect only if the swap dies.
            (S::Submitted { swap, cancel_requested: false, .. }, E::CancelRequested) => {
                S::Submitted { attempt, swap: swap.clone(), cancel_requested: true }
            }
            (S::Submitted { cancel_requested: true, .. }, E::Cancelled(_)) => {
                S::Cancelled { attempt, retry_count: attempt }
            }

            (from, event) => return Err(IllegalTransition { from: from.status(), event: event.name() }),
        })
    }

    /// The status.
    pub const fn status(&self) -> Status {
        match self {
            Self::Pending { .. } => Status::Pending,
            Self::Routing { .. } => Status::Routing,
            Self::Building { .. } => Status::Building,
            Self::Submitted { .. } => Status::Submitted,
            Self::Confirmed { .. } => Status::Confirmed,
            Self::Failed { .. } => Status::Failed,
            Self::Cancelled { .. } => Status::Cancelled,
        }
    }

    /// The current attempt, from 1. For a pending order the next one, for a final order the last one.
    pub const fn attempt(&self) -> u32 {
        match self {
            Self::Pending { attempt, .. }
            | Self::Routing { attempt }
            | Self::Building { attempt, .. }
            | Self::Submitted { attempt, .. }
            | Self::Confirmed { attempt }
            | Self::Failed { attempt, .. }
            | Self::Cancelled { attempt, .. } => *attempt,
        }
    }

    /// The number of failed attempts.
    pub const fn retry_count(&self) -> u32 {
        match self {
            Self::Failed { retry_count, .. } | Self::Cancelled { retry_count, .. } => *retry_count,
            _ => self.attempt() - 1,
        }
    }

    /// Whether the order has ended.
    pub fn is_final(&self) -> bool {
        self.status().is_final()
    }

    /// The swap that may still land, if there is one.
    pub const fn live_swap(&self) -> Option<&Arc<Swap>> {
        match self {
            Self::Submitted { swap, .. } => Some(swap),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::amount::BaseUnits;
    use crate::domain::id::VenueId;
    use crate::domain::swap::Signature;

    fn swap() -> Arc<Swap> {
        Arc::new(Swap {
            venue: VenueId::RAYDIUM,
            signature: Signature([7; 64]),
            last_valid_block_height: 150,
            quoted_out: BaseUnits(100),
            min_amount_out: BaseUnits(99),
        })
    }

    fn decision() -> Arc<RoutingDecision> {
        Arc::new(RoutingDecision { quotes: vec![], unavailable: vec![], reason: String::new() })
    }

    pub(crate) fn every_event() -> Vec<OrderEvent> {
        let failure = Failure::new(FailureCode::SwapRejected, "no");
        vec![
            OrderEvent::Accepted(None),
            OrderEvent::Dispatched,
            OrderEvent::Routed(decision()),
            OrderEvent::Submitted(swap()),
            OrderEvent::Confirmed { swap: swap(), fill: Fill { amount_out: BaseUnits(1), slot: 1, fee: BaseUnits(1) } },
            OrderEvent::AttemptFailed { failure: failure.clone(), retry_at: DateTime::UNIX_EPOCH },
            OrderEvent::Interrupted,
            OrderEvent::Failed(failure),
            OrderEvent::CancelRequested,
            OrderEvent::Cancelled(None),
        ]
    }

    fn every_state() -> Vec<(&'static str, OrderState)> {
        let submitted = |cancel_requested| OrderState::Submitted { attempt: 1, swap: swap(), cancel_requested };
        vec![
            ("pending", OrderState::accepted()),
            ("routing", OrderState::Routing { attempt: 1 }),
            ("building", OrderState::Building { attempt: 1, decision: decision() }),
            ("submitted", submitted(false)),
            ("submitted, cancel requested", submitted(true)),
            ("confirmed", OrderState::Confirmed { attempt: 1 }),
            ("failed", OrderState::Failed { attempt: 1, retry_count: 1 }),
            ("cancelled", OrderState::Cancelled { attempt: 1, retry_count: 0 }),
        ]
    }

    #[test]
    fn the_table_of_legal_transitions_is_as_expected() {
        let mut table = String::new();
        for (index, event) in every_event().iter().enumerate() {
            table.push_str(&format!("{}{}\n", "| ".repeat(index), event.name()));
        }
        for (name, state) in every_state() {
            let row: Vec<_> =
                every_event().iter().map(|event| if state.after(event).is_ok() { "+" } else { "." }).collect();
            table.push_str(&format!("{}  {name}\n", row.join(" ")));
        }
        let expected = "\
accepted
| dispatched
| | routed
| | | submitted
| | | | confirmed
| | | | | attempt_failed
| | | | | | interrupted
| | | | | | | failed
| | | | | | | | cancel_requested
| | | | | | | | | cancelled
. + . . . + . + . +  pending
. . + . . + + + . +  routing
. . . + . + + + . +  building
. . . . + + . + + .  submitted
. . . . + . . . . +  submitted, cancel requested
. . . . . . . . . .  confirmed
. . . . . . . . . .  failed
. . . . . . . . . .  cancelled
";
        assert_eq!(table, expected, "\n{table}");
    }

    #[test]
    fn a_failed_attempt_returns_to_pending_with_the_next_attempt_number() {
        let retry_at = DateTime::UNIX_EPOCH;
        let failed = OrderEvent::AttemptFailed { failure: Failure::new(FailureCode::SwapExpired, ""), retry_at };
        let after = OrderState::Routing { attempt: 1 }.after(&failed).unwrap();
        assert_eq!(after, OrderState::Pending { attempt: 2, not_before: Some(retry_at) });
        assert_eq!(after.retry_count(), 1);
    }

    #[test]
    fn the_third_and_last_failure_counts_three() {
        let failed = OrderEvent::Failed(Failure::new(FailureCode::SwapRejected, ""));
        let after = OrderState::Submitted { attempt: 3, swap: swap(), cancel_requested: false }.after(&failed).unwrap();
        assert_eq!(after.retry_count(), 3);
    }

    #[test]
    fn a_timeout_while_waiting_is_not_a_failed_attempt() {
        let timeout = OrderEvent::Failed(Failure::new(FailureCode::Timeout, ""));
        assert_eq!(OrderState::accepted().after(&timeout).unwrap().retry_count(), 0);
    }

    #[test]
    fn a_cancel_takes_effect_before_the_swap_is_signed_and_never_while_the_swap_may_land() {
        let submitted = OrderState::Submitted { attempt: 1, swap: swap(), cancel_requested: false };
        assert!(OrderState::Building { attempt: 1, decision: decision() }.after(&OrderEvent::Cancelled(None)).is_ok());
        assert!(submitted.after(&OrderEvent::Cancelled(None)).is_err());
        let requested = submitted.after(&OrderEvent::CancelRequested).unwrap();
        assert!(
            requested
                .after(&OrderEvent::AttemptFailed {
                    failure: Failure::new(FailureCode::SwapExpired, ""),
                    retry_at: DateTime::UNIX_EPOCH
                })
                .is_err()
        );
        assert_eq!(requested.after(&OrderEvent::Cancelled(None)).unwrap().status(), Status::Cancelled);
    }

    #[test]
    fn an_interrupted_attempt_keeps_its_number() {
        let after = OrderState::Routing { attempt: 2 }.after(&OrderEvent::Interrupted).unwrap();
        assert_eq!(after, OrderState::Pending { attempt: 2, not_before: None });
    }
}
