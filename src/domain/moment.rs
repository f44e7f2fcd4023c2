//! Moments that can be compared although somebody sets the wall clock.
//!
//! The wall clock says when something happened, for people. How long ago it happened is measured by the machine's
//! uptime, which nobody sets and which only a boot begins anew.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A point of the machine's uptime, in microseconds since the boot, suspension included.
///
/// Negative for what happened before the boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uptime(pub i64);

impl Uptime {
    /// How long it is after an earlier point; zero where it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default())
    }

    /// The point so much later.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// The point so much earlier.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

/// A point of the uptime, and of which boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Names the boot.
    pub boot: Uuid,
    /// The uptime since that boot.
    pub uptime: Uptime,
}

/// The present: what every clock of the machine says.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The wall clock.
    pub at: DateTime<Utc>,
    /// The uptime.
    pub moment: Moment,
}

/// When something was recorded; without a moment where it comes from a version that did not measure.
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
    /// How old it certainly is: nothing that was recorded later than that can be older.
    ///
    /// Within one boot this is exact. Another boot may be another machine's, which runs beside this one for days, so
    /// there both the present boot and the wall clock have to be old. What has no moment has only the wall clock's word.
    pub fn proven_age(&self, now: Now) -> Duration {
        match self.moment {
            Some(moment) if moment.boot == now.moment.boot => now.moment.uptime.since(moment.uptime),
            Some(_) => now.moment.uptime.since(Uptime(0)).min(self.age_by_wall(now)),
            None => self.age_by_wall(now),
        }
    }

    /// How old it is as far as one can tell: within one boot exactly, and otherwise by the wall clock, for nothing else
    /// has counted on both machines, or while this one was off.
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

/// A jump of the wall clock against the uptime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// How far, negative where the clock was set back.
    pub by: TimeDelta,
    /// When it was noticed.
    pub noticed: Uptime,
}

/// Notices when somebody sets the wall clock, by comparing its progress with the uptime's.
#[derive(Clone, Copy, Debug)]
pub struct ClockWatch {
    last: Now,
    step: Option<ClockStep>,
    steps: u64,
}

impl ClockWatch {
    /// A smaller difference between two looks is no step: time servers slow down and speed up a clock by as much.
    const SMALLEST: TimeDelta = TimeDelta::seconds(1);
    /// How long a step is told.
    const TOLD_FOR: Duration = Duration::from_secs(600);

    /// A watch that begins now.
    pub const fn new(now: Now) -> Self {
        Self { last: now, step: None, steps: 0 }
    }

    /// Compares the clocks, and says whether the wall clock has stepped since the last look.
    pub fn look(&mut self, now: Now) -> Option<ClockStep> {
        let passed = TimeDelta::microseconds(now.moment.uptime.0.saturating_sub(self.last.moment.uptime.0));
        let by = (now.at - self.last.at) - passed;
        self.last = now;
        if by.abs() < Self::SMALLEST {
            return None;
        }
        let step = ClockStep { by, noticed: now.moment.uptime };
        (self.step, self.steps) = (Some(step), self.steps + 1);
        Some(step)
    }

    /// The latest step, for as long as it is worth telling.
    pub fn told(&self, now: Uptime) -> Option<ClockStep> {
        self.step.filter(|step| now.since(step.noticed) < Self::TOLD_FOR)
    }

    /// How many steps there were.
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

    const HERE: Uuid = Uuid::from_u128(1);
    const ELSEWHERE: Uuid = Uuid::from_u128(2);

    fn now(wall_seconds: i64, boot: Uuid, uptime_seconds: i64) -> Now {
        let moment = Moment { boot, uptime: Uptime(uptime_seconds * 1_000_000) };
        Now { at: DateTime::UNIX_EPOCH + TimeDelta::seconds(wall_seconds), moment }
    }

    #[test]
    fn within_a_boot_an_age_is_exact_whatever_the_wall_clock_says() {
        let then = Stamp::from(now(100_000, HERE, 500));
        for wall in [0, 100_010, 200_000] {
            let present = now(wall, HERE, 510);
            assert_eq!(
                (then.age(present), then.proven_age(present)),
                (Duration::from_secs(10), Duration::from_secs(10))
            );
        }
        assert_eq!(then.age(now(100_010, HERE, 400)), Duration::ZERO);
    }

    #[test]
    fn what_another_boot_recorded_is_provably_as_old_as_both_this_boot_and_the_wall_clock_say() {
        let then = Stamp::from(now(100_000, ELSEWHERE, 500));
        let present = now(103_600, HERE, 40);
        assert_eq!(then.proven_age(present), Duration::from_secs(40));
        assert_eq!(then.age(present), Duration::from_secs(3_600));
        assert_eq!(then.age(now(0, HERE, 40)), Duration::ZERO);
    }

    #[test]
    fn an_engine_that_takes_over_on_a_machine_that_is_up_for_days_takes_no_order_for_old() {
        let then = Stamp::from(now(100_000, ELSEWHERE, 500));
        let present = now(100_003, HERE, 500_000);
        assert_eq!(then.proven_age(present), Duration::from_secs(3));
        assert_eq!(then.age(present), Duration::from_secs(3));
    }

    #[test]
    fn what_has_no_moment_has_the_wall_clocks_word_and_never_comes_from_the_future() {
        let then = Stamp::from(DateTime::UNIX_EPOCH + TimeDelta::seconds(1_000));
        assert_eq!(then.proven_age(now(1_030, HERE, 5)), Duration::from_secs(30));
        assert_eq!(then.proven_age(now(0, HERE, 5)), Duration::ZERO);
    }

    #[test]
    fn a_step_of_the_clock_is_noticed_with_its_size_and_direction_and_told_for_minutes() {
        let mut watch = ClockWatch::new(now(1_000, HERE, 10));
        assert_eq!(watch.look(now(1_005, HERE, 15)), None);
        let back = watch.look(now(1_001, HERE, 16)).unwrap();
        assert_eq!(back.by, TimeDelta::seconds(-5));
        assert_eq!(watch.look(now(1_061, HERE, 76)), None);
        assert_eq!(watch.told(Uptime(76_000_000)), Some(back));
        assert_eq!(watch.told(Uptime(16_000_000 + 600_000_000)), None);
        assert_eq!(watch.look(now(87_462, HERE, 77)).unwrap().by, TimeDelta::days(1));
        assert_eq!(watch.steps(), 2);
    }

    #[test]
    fn a_suspended_machine_has_not_stepped_its_clock() {
        let mut watch = ClockWatch::new(now(1_000, HERE, 10));
        assert_eq!(watch.look(now(9_000, HERE, 8_010)), None);
    }
}
