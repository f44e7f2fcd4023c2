//! Statistics of many measurements, in whole numbers.

use std::time::Duration;

/// The percentile of the measurements, in microseconds; 0 without measurements.
pub(crate) fn percentile(measured: &mut [Duration], percent: usize) -> u64 {
    measured.sort_unstable();
    let at = (measured.len() * percent / 100).min(measured.len().saturating_sub(1));
    measured.get(at).map_or(0, |duration| micros(*duration))
}

/// A duration in microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The rate per second of `count` events in `took`.
pub(crate) fn per_second(count: u64, took: Duration) -> u64 {
    count.saturating_mul(1_000_000) / micros(took).max(1)
}

/// When the last task ends if each starts in the slot that becomes free first.
pub(crate) fn greedy_schedule(slots: usize, durations: impl IntoIterator<Item = Duration>) -> Duration {
    let mut free: std::collections::BinaryHeap<_> = (0..slots).map(|_| std::cmp::Reverse(Duration::ZERO)).collect();
    let mut last = Duration::ZERO;
    for duration in durations {
        let std::cmp::Reverse(start) = free.pop().unwrap_or_default();
        last = last.max(start + duration);
        free.push(std::cmp::Reverse(start + duration));
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greedy_schedule_gives_each_to_the_first_free_slot() {
        let seconds = [3, 1, 1, 1].map(Duration::from_secs);
        assert_eq!(greedy_schedule(2, seconds), Duration::from_secs(3));
        assert_eq!(greedy_schedule(1, seconds), Duration::from_secs(6));
    }
}
