//! A tally of what has happened since the start: where orders stand, what failed, and how long each stage took.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::domain::lifecycle::{OrderEvent, Status};
use crate::domain::order::{Order, RecordedEvent};

/// A part of an order's life whose length is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From acceptance, or from a failed attempt, to a slot: the wait between attempts is in it.
    Pending,
    /// From the slot to the choice of a venue.
    Routing,
    /// From the choice to the recorded signature.
    Building,
    /// From the recorded signature to the landing.
    Submitted,
    /// From acceptance to the landing, over all attempts.
    Whole,
}

impl Stage {
    /// Every stage, in the order of a life.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Routing, Self::Building, Self::Submitted, Self::Whole];

    /// The name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Routing => "routing",
            Self::Building => "building",
            Self::Submitted => "submitted",
            Self::Whole => "whole",
        }
    }

    /// The stage that ends with a step between those statuses; those that end otherwise are not measured.
    fn ended_by(from: Status, to: Status) -> Option<Self> {
        match (from, to) {
            (Status::Pending, Status::Routing) => Some(Self::Pending),
            (Status::Routing, Status::Building) => Some(Self::Routing),
            (Status::Building, Status::Submitted) => Some(Self::Building),
            (Status::Submitted, Status::Confirmed) => Some(Self::Submitted),
            _ => None,
        }
    }
}

/// How long a stage took, over all orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DurationSummary {
    /// How often it was measured.
    pub count: u64,
    /// Half took no longer.
    pub p50: Duration,
    /// 95 of 100 took no longer.
    pub p95: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
}

/// Counts since the start of the process; of fixed size, however many orders there are.
#[derive(Clone, Debug)]
pub struct Tally {
    by_status: [u64; Status::ALL.len()],
    failures: BTreeMap<&'static str, u64>,
    // In milliseconds.
    stages: [Histogram<u32>; Stage::ALL.len()],
}

impl Default for Tally {
    fn default() -> Self {
        // To two digits up to an hour; what takes longer counts as an hour.
        let empty = || Histogram::new_with_max(3_600_000, 2).expect("these bounds are valid");
        Self { by_status: [0; Status::ALL.len()], failures: BTreeMap::new(), stages: std::array::from_fn(|_| empty()) }
    }
}

impl Tally {
    /// Takes in what an order has gone through since it was counted last: `counted` is how far it was, `None` for an
    /// order that is new here.
    pub fn count(&mut self, order: &Order, counted: Option<u32>) {
        let history = order.history();
        let Some(counted) = counted else {
            self.by_status[order.last().status as usize] += 1;
            return;
        };
        let first = usize::try_from(counted).unwrap_or(usize::MAX).max(1);
        for index in first..history.len() {
            self.step(&history[..index], &history[index]);
        }
    }

    fn step(&mut self, before: &[Arc<RecordedEvent>], step: &RecordedEvent) {
        let Some(last) = before.last() else { return };
        let left = &mut self.by_status[last.status as usize];
        *left = left.saturating_sub(1);
        self.by_status[step.status as usize] += 1;
        if let OrderEvent::AttemptFailed { failure, .. }
        | OrderEvent::Failed(failure)
        | OrderEvent::Cancelled(Some(failure)) = &step.event
        {
            *self.failures.entry(failure.code.name()).or_default() += 1;
        }
        if let Some(stage) = Stage::ended_by(last.status, step.status) {
            let stood = before.iter().rev().take_while(|earlier| earlier.status == last.status).last();
            self.measure(stage, step.since(stood.unwrap_or(last)));
        }
        if step.status == Status::Confirmed {
            self.measure(Stage::Whole, step.since(&before[0]));
        }
    }

    fn measure(&mut self, stage: Stage, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.stages[stage as usize].saturating_record(millis);
    }

    /// How many orders stand there: those that have not ended, or for a final status those that ended since the start.
    pub fn standing(&self, status: Status) -> u64 {
        self.by_status[status as usize]
    }

    /// How often each failure has ended an attempt or an order.
    pub fn failures(&self) -> &BTreeMap<&'static str, u64> {
        &self.failures
    }

    /// How long a stage took.
    pub fn spread(&self, stage: Stage) -> DurationSummary {
        let histogram = &self.stages[stage as usize];
        if histogram.is_empty() {
            return DurationSummary::default();
        }
        let at = |quantile| Duration::from_millis(histogram.value_at_quantile(quantile).min(histogram.max()));
        DurationSummary { count: histogram.len(), p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }
}

#[cfg(test)]
mod tests {
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
    fn an_order_is_counted_where_it_stands_and_its_stages_by_what_they_took() {
        let mut tally = Tally::default();
        let mut order = Order::accept(OrderId(Uuid::nil()), Owner::Shared, Arc::new(request()), at(0));
        tally.count(&order, None);
        assert_eq!(tally.standing(Status::Pending), 1);
        step(&mut order, OrderEvent::Dispatched, 40);
        let failure = Failure::new(FailureCode::VenueUnavailable, "both are silent");
        step(&mut order, OrderEvent::AttemptFailed { failure, retry_at: at(100) }, 60);
        tally.count(&order, Some(1));
        step(&mut order, OrderEvent::Dispatched, 110);
        tally.count(&order, Some(3));
        assert_eq!((tally.standing(Status::Pending), tally.standing(Status::Routing)), (0, 1));
        assert_eq!(tally.failures().get("venue_unavailable"), Some(&1));
        let pending = tally.spread(Stage::Pending);
        assert_eq!(
            (pending.count, pending.p50, pending.p99),
            (2, Duration::from_millis(40), Duration::from_millis(50))
        );
        assert_eq!(tally.spread(Stage::Routing), DurationSummary::default());
        step(&mut order, OrderEvent::Cancelled(None), 120);
        tally.count(&order, Some(4));
        assert_eq!((tally.standing(Status::Routing), tally.standing(Status::Cancelled)), (0, 1));
    }

    #[test]
    fn an_order_that_an_earlier_process_left_is_counted_once_and_not_measured() {
        let mut tally = Tally::default();
        let mut order = Order::accept(OrderId(Uuid::nil()), Owner::Shared, Arc::new(request()), at(0));
        step(&mut order, OrderEvent::Dispatched, 40);
        tally.count(&order, None);
        tally.count(&order, Some(2));
        assert_eq!((tally.standing(Status::Pending), tally.standing(Status::Routing)), (0, 1));
        assert_eq!(tally.spread(Stage::Pending).count, 0);
    }
}
