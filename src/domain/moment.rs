//! Time stamps that stay comparable when the wall clock is set.
//!
//! The wall clock dates an event for people. The age of an event is measured by the uptime of the machine, which cannot be
//! set and restarts only at a boot.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A point in the uptime of the machine: microseconds since the boot, including suspension.
///
/// Negative before the boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uptime(pub i64);

impl Uptime {
    /// The time since an earlier point; zero if that point is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default())
    }

    /// This point plus a duration.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// This point minus a duration.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

/// A point in the uptime of one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The id of the boot.
    pub boot: Uuid,
    /// The uptime since that boot.
    pub uptime: Uptime,
}

/// The present, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The wall clock.
    pub at: DateTime<Utc>,
    /// The uptime.
    pub moment: Moment,
}

/// The time of a recorded event; without a moment if an older version recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The wall clock.
    pub at: DateTime<Utc>,
    /// The uptime.
    pub moment: Option<Moment>,
}

impl From<DateTime<Utc>> for Stamp {
    fn from(at: DateTime<Utc>) -> Self {
        Self { at, moment: None }
    }
}

impl From<Now> for Stamp {
    fn from(now: Now) -> Self {
        Self { at: now.at, moment: Some(now.moment) }
    }
}

impl Stamp {
    /// The minimum age: the event is provably at least this old.
    ///
    /// Within one boot the age is exact. Across boots it is the smaller of the uptime and the wall-clock age: the other
    /// boot can be that of another machine that runs in parallel. Without a moment only the wall clock is known.
    pub fn proven_age(&self, now: Now) -> Duration {
        match self.moment {
            Some(moment) if moment.boot == now.moment.boot => now.moment.uptime.since(moment.uptime),
            Some(_) => now.moment.uptime.since(Uptime(0)).min(self.age_by_wall(now)),
            None => self.age_by_wall(now),
        }
    }

    /// The best estimate of the age: exact within one boot, otherwise by the wall clock, the only clock that both boots
    /// share.
    pub fn age(&self, now: Now) -> Duration {
        match self.moment {
            Some(moment) if moment.boot == now.moment.boot => self.proven_age(now),
            _ => self.age_by_wall(now),
        }
    }

    fn age_by_wall(&self, now: Now) -> Duration {
        (now.at - self.at).to_std().unwrap_or_default()
    }
}

/// A step of the wall clock: a jump relative to the uptime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// The size; negative if the clock was set back.
    pub by: TimeDelta,
    /// The time of detection.
    pub detected: Uptime,
}

/// Detects steps of the wall clock by comparing its progress with the uptime.
#[derive(Clone, Copy, Debug)]
pub struct ClockWatch {
    last: Now,
    step: Option<ClockStep>,
    steps: u64,
}

impl ClockWatch {
    /// A smaller difference between two checks is not a step: time servers adjust a clock by as much.
    const SMALLEST: TimeDelta = TimeDelta::seconds(1);
    /// How long a step is reported.
    const REPORTED_FOR: Duration = Duration::from_secs(600);

    /// A watch that starts now.
    pub const fn new(now: Now) -> Self {
        Self { last: now, step: None, steps: 0 }
    }

    /// Compares the clocks. Returns the step of the wall clock since the last check, if there was one.
    pub fn check(&mut self, now: Now) -> Option<ClockStep> {
        let passed = TimeDelta::microseconds(now.moment.uptime.0.saturating_sub(self.last.moment.uptime.0));
        let by = (now.at - self.last.at) - passed;
        self.last = now;
        if by.abs() < Self::SMALLEST {
            return None;
        }
        let step = ClockStep { by, detected: now.moment.uptime };
        (self.step, self.steps) = (Some(step), self.steps + 1);
        Some(step)
    }

    /// The latest step, if it is recent enough to report.
    pub fn recent(&self, now: Uptime) -> Option<ClockStep> {
        self.step.filter(|step| now.since(step.detected) < Self::REPORTED_FOR)
    }

    /// The number of steps.
    pub const fn steps(&self) -> u64 {
        self.steps
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THIS_BOOT: Uuid = Uuid::from_u128(1);
    const OTHER_BOOT: Uuid = Uuid::from_u128(2);

    fn now(wall_seconds: i64, boot: Uuid, uptime_seconds: i64) -> Now {
        let moment = Moment { boot, uptime: Uptime(uptime_seconds * 1_000_000) };
        Now { at: DateTime::UNIX_EPOCH + TimeDelta::seconds(wall_seconds), moment }
    }

    #[test]
    fn within_one_boot_an_age_is_exact_even_if_the_wall_clock_is_set() {
        let then = Stamp::from(now(100_000, THIS_BOOT, 500));
        for wall in [0, 100_010, 200_000] {
            let present = now(wall, THIS_BOOT, 510);
            assert_eq!(
                (then.age(present), then.proven_age(present)),
                (Duration::from_secs(10), Duration::from_secs(10))
            );
        }
        assert_eq!(then.age(now(100_010, THIS_BOOT, 400)), Duration::ZERO);
    }

    #[test]
    fn across_boots_the_proven_age_is_limited_by_the_uptime_and_the_wall_clock() {
        let then = Stamp::from(now(100_000, OTHER_BOOT, 500));
        let present = now(103_600, THIS_BOOT, 40);
        assert_eq!(then.proven_age(present), Duration::from_secs(40));
        assert_eq!(then.age(present), Duration::from_secs(3_600));
        assert_eq!(then.age(now(0, THIS_BOOT, 40)), Duration::ZERO);
    }

    #[test]
    fn a_long_uptime_of_this_machine_does_not_make_an_event_of_another_machine_old() {
        let then = Stamp::from(now(100_000, OTHER_BOOT, 500));
        let present = now(100_003, THIS_BOOT, 500_000);
        assert_eq!(then.proven_age(present), Duration::from_secs(3));
        assert_eq!(then.age(present), Duration::from_secs(3));
    }

    #[test]
    fn without_a_moment_the_age_is_the_wall_clock_age_and_never_negative() {
        let then = Stamp::from(DateTime::UNIX_EPOCH + TimeDelta::seconds(1_000));
        assert_eq!(then.proven_age(now(1_030, THIS_BOOT, 5)), Duration::from_secs(30));
        assert_eq!(then.proven_age(now(0, THIS_BOOT, 5)), Duration::ZERO);
    }

    #[test]
    fn a_clock_step_is_detected_with_its_size_and_direction_and_reported_for_ten_minutes() {
        let mut watch = ClockWatch::new(now(1_000, THIS_BOOT, 10));
        assert_eq!(watch.check(now(1_005, THIS_BOOT, 15)), None);
        let back = watch.check(now(1_001, THIS_BOOT, 16)).unwrap();
        assert_eq!(back.by, TimeDelta::seconds(-5));
        assert_eq!(watch.check(now(1_061, THIS_BOOT, 76)), None);
        assert_eq!(watch.recent(Uptime(76_000_000)), Some(back));
        assert_eq!(watch.recent(Uptime(16_000_000 + 600_000_000)), None);
        assert_eq!(watch.check(now(87_462, THIS_BOOT, 77)).unwrap().by, TimeDelta::days(1));
        assert_eq!(watch.steps(), 2);
    }

    #[test]
    fn a_suspension_of_the_machine_is_not_a_clock_step() {
        let mut watch = ClockWatch::new(now(1_000, THIS_BOOT, 10));
        assert_eq!(watch.check(now(9_000, THIS_BOOT, 8_010)), None);
    }
}
