//! The life of an order: every state, every event, and the one function that says which leads where.
//!
//! ```text
//! pending ─► routing ─► building ─► submitted ─► confirmed
//!    ▲          │           │           │
//!    └──────────┴───────────┴───────────┘  a retryable failure with attempts left
//! ```
//! From `pending`, `routing` and `building` an order can also end `failed` or `cancelled`; from `submitted` only once
//! its swap is provably dead, and `cancelled` only if that was asked for in time to matter.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::retry::{Failure, FailureCode};
use crate::domain::routing::RoutingDecision;
use crate::domain::swap::{Fill, Swap};

/// Where an order stands, in one word: what clients filter by and see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Accepted and durable; waits for a slot, or between two attempts. The order manager moves it on.
    Pending,
    /// Every venue is being asked for a quote. The router's answer moves it on; after a crash it starts over.
    Routing,
    /// A venue is chosen, the swap is built and signed. The signed swap moves it on; after a crash it starts over.
    Building,
    /// The signed swap is recorded, and sent until the chain has spoken. After a crash the chain is asked first.
    Submitted,
    /// The swap landed.
    Confirmed,
    /// It ended without a swap.
    Failed,
    /// It was cancelled before a swap could land.
    Cancelled,
}

impl Status {
    /// Every status, in the order of a life.
    pub const ALL: [Self; 7] =
        [Self::Pending, Self::Routing, Self::Building, Self::Submitted, Self::Confirmed, Self::Failed, Self::Cancelled];

    /// The statuses an order never leaves.
    pub const FINAL: [Self; 3] = [Self::Confirmed, Self::Failed, Self::Cancelled];

    /// The word in answers, updates and the database.
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

    /// The status of that name.
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

/// Where an order stands, with all that belongs to standing there and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderState {
    /// Waits for a slot.
    Pending {
        /// The attempt it waits to begin, from 1.
        attempt: u32,
        /// Not to be dispatched before, after a failed attempt.
        not_before: Option<DateTime<Utc>>,
    },
    /// Holds a slot; quotes are being asked.
    Routing {
        /// The attempt.
        attempt: u32,
    },
    /// Holds a slot; the swap is being built and signed.
    Building {
        /// The attempt.
        attempt: u32,
        /// The venues' offers, the chosen one first.
        decision: Arc<RoutingDecision>,
    },
    /// Holds a slot and a live swap: it may land at any time until it is proved dead.
    Submitted {
        /// The attempt.
        attempt: u32,
        /// The live swap.
        swap: Arc<Swap>,
        /// Its owner wants no further attempt.
        cancel_requested: bool,
    },
    /// Ended: the swap landed.
    Confirmed {
        /// The attempt that succeeded.
        attempt: u32,
    },
    /// Ended without a swap.
    Failed {
        /// The last attempt.
        attempt: u32,
        /// How many attempts failed.
        retry_count: u32,
    },
    /// Ended by its owner.
    Cancelled {
        /// The last attempt.
        attempt: u32,
        /// How many attempts failed.
        retry_count: u32,
    },
}

/// What can happen to an order; stored as it is, one row an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum OrderEvent {
    /// It was taken in.
    Accepted,
    /// The order manager gave it a slot.
    Dispatched,
    /// A venue was chosen.
    Routed(Arc<RoutingDecision>),
    /// A swap was signed: recorded now, sent after.
    Submitted(Arc<Swap>),
    /// The swap landed.
    Confirmed {
        /// The swap.
        swap: Arc<Swap>,
        /// What it brought.
        fill: Fill,
    },
    /// The attempt failed, and another follows.
    AttemptFailed {
        /// Why.
        failure: Failure,
        /// When the next one may begin.
        retry_at: DateTime<Utc>,
    },
    /// The engine stopped before a swap was signed; the attempt starts over.
    Interrupted,
    /// It failed for good.
    Failed(Failure),
    /// Its owner asked for a cancel after the swap was signed.
    CancelRequested,
    /// It was cancelled; with the failure of the swap that had to die first, where there was one.
    Cancelled(Option<Failure>),
}

impl OrderEvent {
    /// The word for logs and error messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
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

/// An event that cannot happen where the order stands.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{event} cannot happen to an order that is {from}")]
pub struct IllegalTransition {
    /// Where it stands.
    pub from: Status,
    /// What was to happen.
    pub event: &'static str,
}

impl OrderState {
    /// The state of a newly accepted order.
    pub const fn accepted() -> Self {
        Self::Pending { attempt: 1, not_before: None }
    }

    /// The state after an event: the only judge of what is legal.
    pub fn after(&self, event: &OrderEvent) -> Result<Self, IllegalTransition> {
        use OrderEvent as E;
        use OrderState as S;
        Ok(match (self, event) {
            (S::Pending { attempt, .. }, E::Dispatched) => S::Routing { attempt: *attempt },
            (S::Routing { attempt }, E::Routed(decision)) => {
                S::Building { attempt: *attempt, decision: decision.clone() }
            }
            (S::Building { attempt, .. }, E::Submitted(swap)) => {
                S::Submitted { attempt: *attempt, swap: swap.clone(), cancel_requested: false }
            }
            (S::Submitted { attempt, .. }, E::Confirmed { .. }) => S::Confirmed { attempt: *attempt },

            // From `pending` only where the engine itself stumbled over the order.
            (
                S::Pending { attempt, .. } | S::Routing { attempt } | S::Building { attempt, .. },
                E::AttemptFailed { retry_at, .. },
            )
            | (S::Submitted { attempt, cancel_requested: false, .. }, E::AttemptFailed { retry_at, .. }) => {
                S::Pending { attempt: attempt + 1, not_before: Some(*retry_at) }
            }
            // Nothing was sent, so nothing has failed: the attempt keeps its number.
            (S::Routing { attempt } | S::Building { attempt, .. }, E::Interrupted) => {
                S::Pending { attempt: *attempt, not_before: None }
            }

            (S::Pending { attempt, .. }, E::Failed(failure)) if failure.code == FailureCode::Timeout => {
                S::Failed { attempt: *attempt, retry_count: attempt - 1 }
            }
            (S::Pending { attempt, .. } | S::Routing { attempt } | S::Building { attempt, .. }, E::Failed(_))
            | (S::Submitted { attempt, cancel_requested: false, .. }, E::Failed(_)) => {
                S::Failed { attempt: *attempt, retry_count: *attempt }
            }

            (S::Pending { attempt, .. } | S::Routing { attempt } | S::Building { attempt, .. }, E::Cancelled(_)) => {
                S::Cancelled { attempt: *attempt, retry_count: attempt - 1 }
            }
            // Once a swap is signed its fate is the chain's: the wish is kept, and granted if the swap dies.
            (S::Submitted { attempt, swap, cancel_requested: false }, E::CancelRequested) => {
                S::Submitted { attempt: *attempt, swap: swap.clone(), cancel_requested: true }
            }
            (S::Submitted { attempt, cancel_requested: true, .. }, E::Cancelled(_)) => {
                S::Cancelled { attempt: *attempt, retry_count: *attempt }
            }

            (from, event) => return Err(IllegalTransition { from: from.status(), event: event.name() }),
        })
    }

    /// The state in one word.
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

    /// The attempt it is at, from 1.
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

    /// How many attempts have failed.
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

    /// The swap that may still land, where there is one.
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
            venue: VenueId::Raydium,
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
            OrderEvent::Accepted,
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
    fn the_whole_table_of_states_and_events_is_as_agreed() {
        let mut table = String::new();
        for (index, event) in every_event().iter().enumerate() {
            table.push_str(&format!("{}{}\n", "| ".repeat(index), event.name()));
        }
        for (name, state) in every_state() {
            let row: Vec<_> =
                every_event().iter().map(|event| if state.after(event).is_ok() { "+" } else { "." }).collect();
            table.push_str(&format!("{}  {name}\n", row.join(" ")));
        }
        let agreed = "\
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
        assert_eq!(table, agreed, "\n{table}");
    }

    #[test]
    fn a_failed_attempt_waits_as_pending_with_the_next_number() {
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
    fn running_out_of_time_while_waiting_is_no_failed_attempt() {
        let timeout = OrderEvent::Failed(Failure::new(FailureCode::Timeout, ""));
        assert_eq!(OrderState::accepted().after(&timeout).unwrap().retry_count(), 0);
    }

    #[test]
    fn a_cancel_is_granted_before_the_swap_is_signed_and_never_while_it_may_land() {
        let submitted = OrderState::Submitted { attempt: 1, swap: swap(), cancel_requested: false };
        assert!(OrderState::Building { attempt: 1, decision: decision() }.after(&OrderEvent::Cancelled(None)).is_ok());
        assert!(submitted.after(&OrderEvent::Cancelled(None)).is_err());
        let asked = submitted.after(&OrderEvent::CancelRequested).unwrap();
        assert!(
            asked
                .after(&OrderEvent::AttemptFailed {
                    failure: Failure::new(FailureCode::SwapExpired, ""),
                    retry_at: DateTime::UNIX_EPOCH
                })
                .is_err()
        );
        assert_eq!(asked.after(&OrderEvent::Cancelled(None)).unwrap().status(), Status::Cancelled);
    }

    #[test]
    fn an_interrupted_attempt_keeps_its_number() {
        let after = OrderState::Routing { attempt: 2 }.after(&OrderEvent::Interrupted).unwrap();
        assert_eq!(after, OrderState::Pending { attempt: 2, not_before: None });
    }
}
