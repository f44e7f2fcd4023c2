//! Who may be dispatched, and when: the sliding rate window and the shares of the three priorities.

use std::collections::{BTreeSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};

use super::id::OrderId;
use super::order::Priority;

/// At most so many dispatches in *every* sliding minute, not only in calendar ones.
#[derive(Debug)]
pub struct RateWindow {
    limit: usize,
    stamps: VecDeque<DateTime<Utc>>,
}

impl RateWindow {
    /// How long a dispatch counts.
    pub const LENGTH: TimeDelta = TimeDelta::seconds(60);

    /// A window with that limit, 0 for none, and the dispatches of the last minute in any order.
    pub fn new(limit: u32, recent: impl IntoIterator<Item = DateTime<Utc>>) -> Self {
        let mut recent: Vec<_> = recent.into_iter().collect();
        recent.sort_unstable();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let superfluous = recent.len().saturating_sub(limit);
        Self { limit, stamps: recent.split_off(superfluous).into() }
    }

    /// Takes a place at `now`, or says when to ask again.
    ///
    /// Where the clock has stepped back behind the latest dispatch, the window waits until it has caught up.
    pub fn take(&mut self, now: DateTime<Utc>) -> Result<(), DateTime<Utc>> {
        if self.limit == 0 {
            return Ok(());
        }
        if let Some(&latest) = self.stamps.back()
            && now < latest
        {
            return Err(latest);
        }
        if self.stamps.len() == self.limit {
            let oldest = self.stamps[0];
            // A dispatch exactly one window later would still share a closed interval with the oldest.
            let free_after = oldest + Self::LENGTH;
            if now <= free_after {
                return Err(free_after + TimeDelta::microseconds(1));
            }
            self.stamps.pop_front();
        }
        self.stamps.push_back(now);
        Ok(())
    }
}

/// Orders that wait for a slot: one queue a priority, the oldest first in each.
#[derive(Debug, Default)]
pub struct DispatchQueue {
    lanes: [Lane; 3],
}

#[derive(Debug, Default)]
struct Lane {
    // Ids sort by the moment of acceptance, so a retry takes the place it had.
    waiting: BTreeSet<OrderId>,
    credit: i32,
}

impl DispatchQueue {
    const WEIGHTS: [i32; 3] = [4, 2, 1];

    /// Puts an order in line.
    pub fn push(&mut self, id: OrderId, priority: Priority) {
        self.lanes[lane(priority)].waiting.insert(id);
    }

    /// Takes an order out of the line, wherever it stands.
    pub fn remove(&mut self, id: OrderId, priority: Priority) {
        self.lanes[lane(priority)].waiting.remove(&id);
    }

    /// Takes the order whose turn it is.
    ///
    /// Smooth weighted round robin over the lanes that are not empty: each gains its weight, the richest is served and
    /// pays what all have gained. A lane that runs empty keeps no credit.
    pub fn pop(&mut self) -> Option<OrderId> {
        let mut round = 0;
        for (lane, weight) in self.lanes.iter_mut().zip(Self::WEIGHTS) {
            if lane.waiting.is_empty() {
                lane.credit = 0;
            } else {
                lane.credit += weight;
                round += weight;
            }
        }
        let served =
            self.lanes.iter_mut().rev().filter(|lane| !lane.waiting.is_empty()).max_by_key(|lane| lane.credit)?;
        served.credit -= round;
        served.waiting.pop_first()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting.len()).sum()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

const fn lane(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn at(milliseconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(milliseconds)
    }

    fn id(number: u128) -> OrderId {
        OrderId(Uuid::from_u128(number))
    }

    #[test]
    fn the_window_slides_and_does_not_reset_with_the_minute() {
        let mut window = RateWindow::new(2, []);
        assert_eq!(window.take(at(59_000)), Ok(()));
        assert_eq!(window.take(at(59_500)), Ok(()));
        let free = window.take(at(60_500)).unwrap_err();
        assert_eq!(free, at(119_000) + TimeDelta::microseconds(1));
        assert_eq!(window.take(free), Ok(()));
        assert!(window.take(free).is_err());
    }

    #[test]
    fn no_limit_is_no_limit() {
        let mut window = RateWindow::new(0, [at(0)]);
        assert!((0..10_000).all(|_| window.take(at(0)).is_ok()));
    }

    #[test]
    fn a_window_built_from_the_past_counts_it() {
        let mut window = RateWindow::new(2, [at(500), at(0), at(1_000)]);
        assert_eq!(window.take(at(2_000)), Err(at(60_500) + TimeDelta::microseconds(1)));
    }

    #[test]
    fn the_window_waits_where_the_clock_steps_back() {
        let mut window = RateWindow::new(5, [at(10_000)]);
        assert_eq!(window.take(at(3_000)), Err(at(10_000)));
        assert_eq!(window.take(at(10_000)), Ok(()));
    }

    #[test]
    fn waiting_priorities_share_the_dispatches_four_two_one() {
        let mut queue = DispatchQueue::default();
        for number in 0..70 {
            queue.push(id(number), Priority::High);
            queue.push(id(100 + number), Priority::Normal);
            queue.push(id(200 + number), Priority::Low);
        }
        let served: Vec<_> = (0..70).map(|_| queue.pop().unwrap().0.as_u128() / 100).collect();
        let share = |lane| served.iter().filter(|served| **served == lane).count();
        assert_eq!((share(0), share(1), share(2)), (40, 20, 10));
        for seven in served.chunks(7) {
            assert!(seven.contains(&2), "low waited longer than seven dispatches: {served:?}");
        }
    }

    #[test]
    fn a_lone_priority_gets_every_dispatch_and_owes_nothing_later() {
        let mut queue = DispatchQueue::default();
        for number in 0..100 {
            queue.push(id(number), Priority::Low);
        }
        assert!((0..50).all(|_| queue.pop().is_some()));
        queue.push(id(1_000), Priority::High);
        assert_eq!(queue.pop(), Some(id(1_000)));
    }

    #[test]
    fn within_a_priority_the_oldest_goes_first_and_a_retry_keeps_its_place() {
        let mut queue = DispatchQueue::default();
        for number in [3, 1, 2] {
            queue.push(id(number), Priority::Normal);
        }
        assert_eq!(queue.pop(), Some(id(1)));
        queue.push(id(1), Priority::Normal);
        assert_eq!(queue.pop(), Some(id(1)));
        queue.remove(id(2), Priority::Normal);
        assert_eq!(queue.pop(), Some(id(3)));
        assert_eq!(queue.pop(), None);
    }

    proptest! {
        #[test]
        fn no_sliding_minute_ever_holds_more_than_the_limit(limit in 1u32..20, steps in proptest::collection::vec(-500i64..20_000, 1..300)) {
            let mut window = RateWindow::new(limit, []);
            let (mut now, mut granted) = (0, Vec::new());
            for step in steps {
                now = (now + step).max(0);
                if window.take(at(now)).is_ok() {
                    granted.push(now);
                }
            }
            for (index, start) in granted.iter().enumerate() {
                let within = granted[index..].iter().filter(|stamp| **stamp <= start + 60_000).count();
                prop_assert!(within <= limit as usize);
            }
        }
    }
}
