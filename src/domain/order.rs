//! An order: the request, and everything that has been recorded about it since.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use thiserror::Error;

use crate::domain::id::OrderId;
use crate::domain::lifecycle::{IllegalTransition, OrderEvent, OrderState, Status};
use crate::domain::moment::{Moment, Now, Stamp};
use crate::domain::request::{OrderRequest, Terms};
use crate::domain::retry::{Failure, FailureCode, may_retry};
use crate::domain::user::Owner;

/// One recorded step in the history of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The sequence number in the history, from 1 without gaps.
    pub seq: u32,
    /// The wall-clock time, read before the commit.
    pub at: DateTime<Utc>,
    /// The uptime of the machine at the same moment; `None` in rows of versions that did not store it.
    pub moment: Option<Moment>,
    /// The status after the event.
    pub status: Status,
    /// The attempt after the event, from 1.
    pub attempt: u32,
    /// The number of failed attempts after the event.
    pub retry_count: u32,
    /// The event.
    pub event: OrderEvent,
}

/// An order and its history.
///
/// The state is private: it changes only by [`Order::apply`], with an event that is already recorded.
#[derive(Clone, Debug)]
pub struct Order {
    /// The id.
    pub id: OrderId,
    /// The owner.
    pub owner: Owner,
    /// The request.
    pub request: Arc<OrderRequest>,
    state: OrderState,
    history: Vec<Arc<RecordedEvent>>,
}

/// Why a stored history could not be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The first event is not the acceptance.
    #[error("the history of an order must begin with event 1, accepted")]
    NoBeginning,
    /// An event is missing or out of order.
    #[error("expected event {expected}, found {found}")]
    Gap {
        /// The expected sequence number.
        expected: u32,
        /// The stored sequence number.
        found: u32,
    },
    /// An event is not legal after the events before it.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
}

impl Order {
    /// A new order with its first event: accepted, status `pending`, sequence number 1.
    ///
    /// `terms` are the settings in force that the request leaves open; orders of earlier releases have none.
    pub fn accept(
        terms: Option<Terms>,
        id: OrderId,
        owner: Owner,
        request: Arc<OrderRequest>,
        now: impl Into<Stamp>,
    ) -> Self {
        let state = OrderState::accepted();
        let first = recorded(1, now.into(), &state, OrderEvent::Accepted(terms));
        Self { id, owner, request, state, history: vec![Arc::new(first)] }
    }

    /// Rebuilds an order from its stored events, by the same rules that produced them.
    pub fn replay<S: Into<Stamp>>(
        id: OrderId,
        owner: Owner,
        request: Arc<OrderRequest>,
        events: impl IntoIterator<Item = (u32, S, OrderEvent)>,
    ) -> Result<Self, ReplayError> {
        let mut events = events.into_iter();
        let mut order = match events.next() {
            Some((1, at, OrderEvent::Accepted(terms))) => Self::accept(terms, id, owner, request, at),
            _ => return Err(ReplayError::NoBeginning),
        };
        for (seq, at, event) in events {
            let next = order.propose(event, at)?;
            if next.seq != seq {
                return Err(ReplayError::Gap { expected: next.seq, found: seq });
            }
            order.apply(Arc::new(next))?;
        }
        Ok(order)
    }

    /// The row to record for this event. The order does not change until [`Order::apply`].
    ///
    /// The times of a history never decrease, even if the wall clock is set back.
    pub fn propose(&self, event: OrderEvent, now: impl Into<Stamp>) -> Result<RecordedEvent, IllegalTransition> {
        let after = self.state.after(&event)?;
        let Stamp { at, moment } = now.into();
        let stamp = Stamp { at: at.max(self.last().at), moment };
        Ok(recorded(self.last().seq + 1, stamp, &after, event))
    }

    /// Applies an event that has been recorded.
    pub fn apply(&mut self, recorded: Arc<RecordedEvent>) -> Result<(), IllegalTransition> {
        self.state = self.state.after(&recorded.event)?;
        self.history.push(recorded);
        Ok(())
    }

    /// The current state.
    pub fn state(&self) -> &OrderState {
        &self.state
    }

    /// The history; never empty.
    pub fn history(&self) -> &[Arc<RecordedEvent>] {
        &self.history
    }

    /// The events after a sequence number; 0 returns all of them.
    pub fn history_after(&self, seq: u32) -> &[Arc<RecordedEvent>] {
        let skipped = usize::try_from(seq).unwrap_or(usize::MAX).min(self.history.len());
        &self.history[skipped..]
    }

    /// The latest event.
    pub fn last(&self) -> &RecordedEvent {
        self.history.last().expect("a history contains at least the acceptance")
    }

    /// The time of acceptance.
    pub fn created_at(&self) -> DateTime<Utc> {
        self.accepted().at
    }

    /// The rest of the back-off after a failed attempt; never more than was recorded, even if the wall clock changes.
    pub fn retry_wait(&self, now: Now) -> Duration {
        let OrderState::Pending { not_before: Some(retry_at), .. } = self.state else { return Duration::ZERO };
        let failed = self.last();
        (retry_at - failed.at).to_std().unwrap_or_default().saturating_sub(failed.stamp().age(now))
    }

    /// The event that follows a failed attempt: another attempt after `wait`, or the end of the order.
    ///
    /// Only for an order whose swap, if it has one, can no longer land.
    pub fn after_failed_attempt(&self, failure: Failure, now: Now, wait: Duration, max_attempts: u32) -> OrderEvent {
        if matches!(self.state, OrderState::Submitted { cancel_requested: true, .. }) {
            OrderEvent::Cancelled(Some(failure))
        } else if may_retry(failure.code, self.state.attempt(), max_attempts) {
            // Counted from the event's own timestamp, which is later than the clock if the clock was set back.
            let failed_at = now.at.max(self.last().at);
            OrderEvent::AttemptFailed { failure, retry_at: failed_at + TimeDelta::from_std(wait).unwrap_or_default() }
        } else {
            OrderEvent::Failed(failure)
        }
    }

    /// What is recorded if the operator gives up the unfinished orders of a restored backup; `None` if nothing is.
    ///
    /// An order without a live swap is cancelled. One with a live swap is left to the chain, and no further attempt
    /// follows.
    pub fn withdrawal(&self) -> Option<OrderEvent> {
        match &self.state {
            state if state.is_final() => None,
            OrderState::Submitted { cancel_requested, .. } => {
                (!cancel_requested).then_some(OrderEvent::CancelRequested)
            }
            _ => {
                let reason = "cancelled after a backup was restored; the order may have been swapped after the backup";
                Some(OrderEvent::Cancelled(Some(Failure::new(FailureCode::Restored, reason))))
            }
        }
    }

    /// How long the swap has been live, measured as exactly as the clocks allow; `None` without a live swap.
    pub fn undecided_for(&self, now: Now) -> Option<Duration> {
        self.state.live_swap()?;
        let submitted = self.history.iter().rev().find(|step| matches!(step.event, OrderEvent::Submitted(_)))?;
        Some(submitted.stamp().age(now))
    }

    /// The request with the terms on which the order was accepted.
    pub fn request_on_terms(&self) -> Arc<OrderRequest> {
        match self.history.first().map(|first| &first.event) {
            Some(&OrderEvent::Accepted(Some(terms))) => Arc::new(self.request.under(terms)),
            _ => self.request.clone(),
        }
    }

    /// The time of acceptance on both clocks.
    pub fn accepted(&self) -> Stamp {
        self.history.first().expect("a history contains at least the acceptance").stamp()
    }
}

impl RecordedEvent {
    /// The time of the event on both clocks.
    pub fn stamp(&self) -> Stamp {
        Stamp { at: self.at, moment: self.moment }
    }

    /// The time since an earlier event: by the uptime if both happened in one boot, otherwise by the wall clock.
    pub fn since(&self, earlier: &Self) -> Duration {
        match (self.moment, earlier.moment) {
            (Some(now), Some(then)) if now.boot == then.boot => now.uptime.since(then.uptime),
            _ => (self.at - earlier.at).to_std().unwrap_or_default(),
        }
    }
}

fn recorded(seq: u32, Stamp { at, moment }: Stamp, after: &OrderState, event: OrderEvent) -> RecordedEvent {
    let (status, attempt, retry_count) = (after.status(), after.attempt(), after.retry_count());
    RecordedEvent { seq, at, moment, status, attempt, retry_count, event }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lifecycle::tests::every_event;
    use crate::domain::request::tests::request;
    use proptest::prelude::*;

    #[test]
    fn a_failed_attempt_is_followed_by_another_until_the_last_or_a_requested_cancel() {
        use crate::domain::amount::BaseUnits;
        use crate::domain::id::VenueId;
        use crate::domain::moment::Uptime;
        use crate::domain::retry::FailureCode;
        use crate::domain::routing::RoutingDecision;
        use crate::domain::swap::{Signature, Swap};

        let second = TimeDelta::seconds(1);
        let now = |at| Now { at, moment: Moment { boot: uuid::Uuid::nil(), uptime: Uptime(0) } };
        let accepted_at = DateTime::UNIX_EPOCH + second;
        let after = |order: &Order, code, max_attempts| {
            let (failure, clock) = (Failure::new(code, ""), now(DateTime::UNIX_EPOCH));
            order.after_failed_attempt(failure, clock, Duration::from_secs(1), max_attempts)
        };
        let mut order =
            Order::accept(None, OrderId(uuid::Uuid::nil()), Owner::Shared, Arc::new(request()), accepted_at);
        let retryable = FailureCode::SwapRejected;
        // The clock was set back to before the acceptance.
        let OrderEvent::AttemptFailed { retry_at, .. } = after(&order, retryable, 2) else { panic!("it is retried") };
        assert_eq!(retry_at, accepted_at + second);
        assert!(matches!(after(&order, FailureCode::NoLiquidity, 2), OrderEvent::Failed(_)));
        assert!(matches!(after(&order, retryable, 1), OrderEvent::Failed(_)));
        let decision = RoutingDecision { quotes: vec![], unavailable: vec![], reason: String::new() };
        let swap = Swap {
            venue: VenueId::RAYDIUM,
            signature: Signature([7; 64]),
            last_valid_block_height: 1,
            quoted_out: BaseUnits(1),
            min_amount_out: BaseUnits(1),
        };
        for event in [
            OrderEvent::Dispatched,
            OrderEvent::Routed(Arc::new(decision)),
            OrderEvent::Submitted(Arc::new(swap)),
            OrderEvent::CancelRequested,
        ] {
            order.apply(Arc::new(order.propose(event, accepted_at).unwrap())).unwrap();
        }
        assert!(matches!(after(&order, retryable, 2), OrderEvent::Cancelled(Some(_))));
    }

    proptest! {
        #[test]
        fn any_sequence_of_events_replays_to_the_same_order(choices in proptest::collection::vec(0usize..64, 0..60)) {
            let events = every_event();
            let mut order = Order::accept(None, OrderId(uuid::Uuid::nil()), Owner::Shared, Arc::new(request()), DateTime::UNIX_EPOCH);
            for choice in choices {
                let ended = order.state().is_final();
                let event = events[choice % events.len()].clone();
                match order.propose(event, DateTime::UNIX_EPOCH) {
                    Ok(next) => {
                        prop_assert!(!ended, "a final state changed");
                        prop_assert_eq!(next.seq, order.last().seq + 1);
                        order.apply(Arc::new(next)).unwrap();
                    }
                    Err(_) => continue,
                }
            }
            let history = order.history().iter().map(|step| (step.seq, step.at, step.event.clone()));
            let replayed = Order::replay(order.id, order.owner, order.request.clone(), history).unwrap();
            prop_assert_eq!(replayed.state(), order.state());
            prop_assert_eq!(replayed.history(), order.history());
        }
    }
}
