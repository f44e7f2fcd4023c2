//! The rate limit of dispatches: a sliding window of one minute.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::moment::{Now, Stamp, Uptime};

/// Limits the dispatches in every sliding minute, not only in calendar minutes.
#[derive(Debug)]
pub struct RateWindow {
    limit: usize,
    stamps: VecDeque<Uptime>,
}

impl RateWindow {
    /// How long a dispatch counts: one minute, both ends included, plus the difference of two clocks that are read one
    /// after the other. The timestamps that clients see then keep the limit too.
    pub const LENGTH: Duration = Duration::from_millis(60_001);

    /// An empty window with that limit per minute; 0 for no limit.
    pub fn new(limit: u32) -> Self {
        Self { limit: usize::try_from(limit).unwrap_or(usize::MAX), stamps: VecDeque::new() }
    }

    /// The window after a restart. A dispatch counts unless it is provably older than a minute.
    pub fn resumed(limit: u32, latest: &[Stamp], now: Now) -> Self {
        let ages = latest.iter().map(|stamp| stamp.proven_age(now)).filter(|age| *age <= Self::LENGTH);
        let mut stamps: Vec<_> = ages.map(|age| now.moment.uptime.minus(age)).collect();
        stamps.sort_unstable();
        let window = Self::new(limit);
        let superfluous = stamps.len().saturating_sub(window.limit);
        Self { stamps: stamps.split_off(superfluous).into(), ..window }
    }

    /// Takes a place; or returns when the next one is free.
    pub fn take(&mut self, now: Uptime) -> Result<(), Uptime> {
        if self.limit == 0 {
            return Ok(());
        }
        if let Some(free) = self.free_at() {
            if now < free {
                return Err(free);
            }
            self.stamps.pop_front();
        }
        self.stamps.push_back(now);
        Ok(())
    }

    /// When the next place is free; `None` if one is free already.
    pub fn free_at(&self) -> Option<Uptime> {
        let is_full = self.limit > 0 && self.stamps.len() >= self.limit;
        is_full.then(|| self.stamps[0].plus(Self::LENGTH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::moment::Moment;
    use chrono::{DateTime, TimeDelta};
    use proptest::prelude::*;
    use uuid::Uuid;

    const HERE: Uuid = Uuid::from_u128(1);
    const ELSEWHERE: Uuid = Uuid::from_u128(2);

    fn at(milliseconds: i64) -> Uptime {
        Uptime(milliseconds * 1_000)
    }

    fn now(wall_seconds: i64, boot: Uuid, uptime_seconds: i64) -> Now {
        let moment = Moment { boot, uptime: at(uptime_seconds * 1_000) };
        Now { at: DateTime::UNIX_EPOCH + TimeDelta::seconds(wall_seconds), moment }
    }

    /// How many seconds a window of 1 delays the next dispatch after that restart.
    fn delay_after(dispatched: impl Into<Stamp>, present: Now) -> u64 {
        let mut window = RateWindow::resumed(1, &[dispatched.into()], present);
        window.take(present.moment.uptime).err().map_or(0, |free| free.since(present.moment.uptime).as_secs())
    }

    #[test]
    fn the_window_slides_and_does_not_reset_with_the_minute() {
        let mut window = RateWindow::new(2);
        assert_eq!(window.take(at(59_000)), Ok(()));
        assert_eq!(window.take(at(59_500)), Ok(()));
        let free = window.take(at(60_500)).unwrap_err();
        assert_eq!(free, at(119_001));
        assert_eq!(window.take(free), Ok(()));
        assert!(window.take(free).is_err());
    }

    #[test]
    fn a_limit_of_zero_limits_nothing() {
        let mut window = RateWindow::resumed(0, &[now(0, HERE, 0).into()], now(0, HERE, 0));
        assert!((0..10_000).all(|_| window.take(at(0)).is_ok()));
    }

    #[test]
    fn a_window_after_a_restart_counts_the_dispatches_before() {
        let past = [500, 0, 1_000].map(|millis| {
            let moment = Moment { boot: HERE, uptime: at(millis) };
            Stamp { at: DateTime::UNIX_EPOCH, moment: Some(moment) }
        });
        let mut window = RateWindow::resumed(2, &past, now(0, HERE, 2));
        assert_eq!(window.take(at(2_000)), Err(at(60_501)));
    }

    #[test]
    fn a_clock_that_stepped_before_a_restart_neither_stops_the_dispatches_nor_empties_the_window() {
        for wall in [0, 1_000_000, 1_086_400] {
            assert_eq!(delay_after(now(1_000_000, HERE, 500), now(wall, HERE, 520)), 40, "the wall clock is {wall}");
            assert_eq!(delay_after(now(1_000_000, HERE, 500), now(wall, HERE, 900)), 0, "the wall clock is {wall}");
        }
    }

    #[test]
    fn after_a_boot_a_dispatch_counts_until_the_boot_is_a_minute_ago() {
        assert_eq!(delay_after(now(1_000_000, ELSEWHERE, 500), now(2_000_000, HERE, 20)), 40);
        assert_eq!(delay_after(now(1_000_000, ELSEWHERE, 500), now(1_000_070, HERE, 70)), 0);
        // The boot may be that of another machine, while this one is up for days.
        assert_eq!(delay_after(now(1_000_000, ELSEWHERE, 500), now(1_000_020, HERE, 500_000)), 40);
    }

    #[test]
    fn a_dispatch_without_a_moment_is_as_old_as_the_wall_clock_says_and_one_from_the_future_counts_as_now() {
        let dispatched = now(1_000_000, HERE, 500).at;
        assert_eq!(delay_after(dispatched, now(1_000_020, HERE, 5)), 40);
        assert_eq!(delay_after(dispatched, now(1_000_100, HERE, 5)), 0);
        assert_eq!(delay_after(dispatched, now(0, HERE, 5)), 60);
    }

    proptest! {
        #[test]
        fn no_sliding_minute_ever_holds_more_than_the_limit(limit in 1u32..20, steps in proptest::collection::vec(0i64..20_000, 1..300)) {
            let mut window = RateWindow::new(limit);
            let (mut now, mut granted) = (0, Vec::new());
            for step in steps {
                now += step;
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
