//! How fast a client may send. A client that sends faster is delayed, and refused if it goes on.

use std::time::{Duration, Instant};

/// The client went on sending too fast although it was delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooFast;

/// A number of units per minute, which may be spent in one burst.
///
/// It stores the moment at which everything spent so far is earned back. The client is delayed so that this moment is at
/// most a minute ahead.
#[derive(Debug)]
pub(super) struct Pace {
    unit: Duration,
    earned_back: Option<Instant>,
    // The total delay of the client since it last had everything earned back.
    delayed: Duration,
}

impl Pace {
    const BURST: Duration = Duration::from_secs(60);
    /// A client with a longer total delay is refused, because it does not adapt.
    const MAX_DELAY: Duration = Duration::from_secs(5);

    /// A pace of `units_per_minute`.
    pub(super) fn new(units_per_minute: u32) -> Self {
        Self { unit: Self::BURST / units_per_minute.max(1), earned_back: None, delayed: Duration::ZERO }
    }

    /// Spends `units` at `now`. Returns how long the client must be delayed before it spends more.
    pub(super) fn spend(&mut self, units: usize, now: Instant) -> Result<Option<Duration>, TooFast> {
        let ahead = self.earned_back.map_or(Duration::ZERO, |moment| moment.saturating_duration_since(now));
        if ahead.is_zero() {
            self.delayed = Duration::ZERO;
        }
        let ahead = ahead + self.unit.saturating_mul(u32::try_from(units).unwrap_or(u32::MAX));
        self.earned_back = Some(now + ahead);
        let wait = ahead.saturating_sub(Self::BURST);
        self.delayed += wait;
        match wait {
            _ if self.delayed > Self::MAX_DELAY => Err(TooFast),
            Duration::ZERO => Ok(None),
            wait => Ok(Some(wait)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_of_a_minute_may_be_spent_in_a_burst_and_then_each_as_it_is_earned() {
        let (mut pace, start) = (Pace::new(60), Instant::now());
        for _ in 0..60 {
            assert_eq!(pace.spend(1, start), Ok(None));
        }
        assert_eq!(pace.spend(1, start), Ok(Some(Duration::from_secs(1))));
        assert_eq!(pace.spend(1, start + Duration::from_secs(1)), Ok(Some(Duration::from_secs(1))));
        assert_eq!(pace.spend(2, start + Duration::from_secs(10)), Ok(None));
    }

    #[test]
    fn a_client_at_its_pace_is_never_refused_and_a_faster_one_is() {
        let (mut pace, start) = (Pace::new(600), Instant::now());
        for tenth in 0..100_000 {
            assert_eq!(pace.spend(1, start + Duration::from_millis(100) * tenth), Ok(None));
        }
        let (mut pace, mut now, mut spent) = (Pace::new(600), Instant::now(), 0);
        while let Ok(wait) = pace.spend(1, now) {
            now += wait.unwrap_or_default();
            spent += 1;
        }
        assert_eq!(spent, 650);
        assert!(now - start < Duration::from_secs(10));
    }

    #[test]
    fn delays_are_forgotten_after_a_pause() {
        let (mut pace, mut now) = (Pace::new(60), Instant::now());
        for _ in 0..20 {
            assert!(pace.spend(64, now).is_ok());
            now += Duration::from_secs(120);
        }
    }
}
