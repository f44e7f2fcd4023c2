//! Counts of what happened to orders since the process started. Both `/api/stats` and `/metrics` publish them.

mod stage_times;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::lifecycle::{OrderEvent, Status};
use crate::domain::order::{Order, RecordedEvent};
pub use stage_times::{DurationSummary, StageTimes};

/// A part of an order's life whose duration is measured.
///
/// A stage counts only when it is completed: an attempt that fails and an order that is cancelled in it add nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From acceptance, or from a failed attempt, to a slot. It includes the delay between attempts.
    Pending,
    /// From the slot to the choice of a venue.
    Routing,
    /// From the choice to the recorded signature.
    Building,
    /// From the recorded signature to the confirmation.
    Submitted,
    /// From acceptance to the confirmation, over all attempts.
    Whole,
}

impl Stage {
    /// Every stage, in the order of the lifecycle.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Routing, Self::Building, Self::Submitted, Self::Whole];

    /// The name in `/api/stats` and `/metrics`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Routing => "routing",
            Self::Building => "building",
            Self::Submitted => "submitted",
            Self::Whole => "whole",
        }
    }

    /// The stage that this change of status completes.
    fn completed_by(from: Status, to: Status) -> Option<Self> {
        match (from, to) {
            (Status::Pending, Status::Routing) => Some(Self::Pending),
            (Status::Routing, Status::Building) => Some(Self::Routing),
            (Status::Building, Status::Submitted) => Some(Self::Building),
            (Status::Submitted, Status::Confirmed) => Some(Self::Submitted),
            _ => None,
        }
    }
}

/// Counts since the start of the process. Its size does not depend on the number of orders.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    accepted: u64,
    /// Unfinished orders, by status.
    unfinished: [u64; Status::ALL.len()],
    /// Orders that ended, by final status and failure code.
    ended: BTreeMap<(&'static str, &'static str), u64>,
    failures: BTreeMap<&'static str, u64>,
    stages: [StageTimes; Stage::ALL.len()],
}

impl Tally {
    /// Counts the events of an order after `counted`, the `seq` of the last event that is counted already.
    ///
    /// `None` is an order that this process has not counted yet: a new one, or one that an earlier process left
    /// unfinished. What happened to the latter before is not counted; only its current status is.
    pub fn count(&mut self, order: &Order, counted: Option<u32>) {
        let history = order.history();
        let Some(counted) = counted else {
            self.accepted += u64::from(history.len() == 1);
            self.enter(order.last());
            return;
        };
        let first = usize::try_from(counted).unwrap_or(usize::MAX).max(1);
        for index in first..history.len() {
            self.step(&history[..index], &history[index]);
        }
    }

    fn step(&mut self, before: &[Arc<RecordedEvent>], step: &RecordedEvent) {
        let Some(last) = before.last() else { return };
        let left = &mut self.unfinished[last.status as usize];
        *left = left.saturating_sub(1);
        self.enter(step);
        if let Some(code) = failure_code(step) {
            *self.failures.entry(code).or_default() += 1;
        }
        if let Some(stage) = Stage::completed_by(last.status, step.status) {
            let entered = before.iter().rev().take_while(|earlier| earlier.status == last.status).last();
            self.stages[stage as usize].add(step.since(entered.unwrap_or(last)));
        }
        if step.status == Status::Confirmed {
            self.stages[Stage::Whole as usize].add(step.since(&before[0]));
        }
    }

    fn enter(&mut self, step: &RecordedEvent) {
        match step.status.is_final() {
            true => *self.ended.entry((step.status.name(), failure_code(step).unwrap_or(""))).or_default() += 1,
            false => self.unfinished[step.status as usize] += 1,
        }
    }

    /// The number of orders accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The number of orders in a status: for a final status those that ended since the start, else those that have it
    /// now.
    pub fn orders(&self, status: Status) -> u64 {
        match status.is_final() {
            true => self.ended.iter().filter(|((name, _), _)| *name == status.name()).map(|(_, orders)| orders).sum(),
            false => self.unfinished[status as usize],
        }
    }

    /// The orders that ended, by final status and failure code. The code is empty for an order without a failure.
    pub fn ended(&self) -> &BTreeMap<(&'static str, &'static str), u64> {
        &self.ended
    }

    /// The failures that ended an attempt, by code. The last attempt of a failed order is included.
    pub fn failures(&self) -> &BTreeMap<&'static str, u64> {
        &self.failures
    }

    /// The durations of a stage.
    pub fn times(&self, stage: Stage) -> &StageTimes {
        &self.stages[stage as usize]
    }
}

/// The code of the failure that an event records.
fn failure_code(step: &RecordedEvent) -> Option<&'static str> {
    match &step.event {
        OrderEvent::AttemptFailed { failure, .. }
        | OrderEvent::Failed(failure)
        | OrderEvent::Cancelled(Some(failure)) => Some(failure.code.name()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, TimeDelta, Utc};
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::OrderId;
    use crate::domain::request::tests::request;
    use crate::domain::retry::{Failure, FailureCode};
    use crate::domain::user::Owner;

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(millis)
    }

    fn step(order: &mut Order, event: OrderEvent, millis: i64) {
        let recorded = order.propose(event, at(millis)).unwrap();
        order.apply(Arc::new(recorded)).unwrap();
    }

    #[test]
    fn an_order_is_counted_by_its_status_and_its_completed_stages_are_timed() {
        let mut tally = Tally::default();
        let mut order = Order::accept(None, OrderId(Uuid::nil()), Owner::Shared, Arc::new(request()), at(0));
        tally.count(&order, None);
        assert_eq!(tally.orders(Status::Pending), 1);
        step(&mut order, OrderEvent::Dispatched, 40);
        let failure = Failure::new(FailureCode::VenueUnavailable, "no answer");
        step(&mut order, OrderEvent::AttemptFailed { failure, retry_at: at(100) }, 60);
        tally.count(&order, Some(1));
        step(&mut order, OrderEvent::Dispatched, 110);
        tally.count(&order, Some(3));
        assert_eq!((tally.orders(Status::Pending), tally.orders(Status::Routing)), (0, 1));
        assert_eq!(tally.failures().get("venue_unavailable"), Some(&1));
        let pending = tally.times(Stage::Pending).summary();
        assert_eq!(
            (pending.count, pending.p50, pending.p99),
            (2, Duration::from_millis(40), Duration::from_millis(50))
        );
        assert_eq!(tally.times(Stage::Routing).summary(), DurationSummary::default());
        step(&mut order, OrderEvent::Cancelled(None), 120);
        tally.count(&order, Some(4));
        assert_eq!((tally.orders(Status::Routing), tally.orders(Status::Cancelled)), (0, 1));
        assert_eq!((tally.accepted(), tally.ended().get(&("cancelled", ""))), (1, Some(&1)));
    }

    #[test]
    fn an_order_that_an_earlier_process_left_is_counted_once_and_not_timed() {
        let mut tally = Tally::default();
        let mut order = Order::accept(None, OrderId(Uuid::nil()), Owner::Shared, Arc::new(request()), at(0));
        step(&mut order, OrderEvent::Dispatched, 40);
        tally.count(&order, None);
        tally.count(&order, Some(2));
        assert_eq!((tally.orders(Status::Pending), tally.orders(Status::Routing)), (0, 1));
        assert_eq!(tally.times(Stage::Pending).count(), 0);
    }
}
