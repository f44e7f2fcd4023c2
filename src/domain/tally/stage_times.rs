//! The measured durations of one stage: exact sum and buckets for Prometheus, quantiles for `/api/stats`.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The upper bounds of the buckets.
const BOUNDS: [Duration; 14] = [
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
];

/// The durations of one stage. The size is fixed.
#[derive(Clone, Debug)]
pub struct StageTimes {
    /// Whole milliseconds.
    quantiles: Histogram<u32>,
    /// One count per bound, and one for longer durations.
    buckets: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

/// Quantiles of the durations of one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DurationSummary {
    /// The number of durations.
    pub count: u64,
    /// The median.
    pub p50: Duration,
    /// 95 % of the durations are not longer.
    pub p95: Duration,
    /// 99 % of the durations are not longer.
    pub p99: Duration,
}

impl Default for StageTimes {
    fn default() -> Self {
        // Two significant digits up to one hour; a longer duration counts as one hour.
        let quantiles = Histogram::new_with_max(3_600_000, 2).expect("these bounds are valid");
        Self { quantiles, buckets: [0; BOUNDS.len() + 1], sum: Duration::ZERO }
    }
}

impl StageTimes {
    pub(super) fn add(&mut self, took: Duration) {
        self.quantiles.saturating_record(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        self.buckets[BOUNDS.partition_point(|bound| *bound < took)] += 1;
        self.sum = self.sum.saturating_add(took);
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of the durations.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Each bucket: its upper bound in seconds, and the durations in it and in no smaller one.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
        bounds.zip(self.buckets)
    }

    /// The quantiles.
    pub fn summary(&self) -> DurationSummary {
        if self.quantiles.is_empty() {
            return DurationSummary::default();
        }
        let at = |quantile| Duration::from_millis(self.quantiles.value_at_quantile(quantile).min(self.quantiles.max()));
        DurationSummary { count: self.count(), p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_smallest_bucket_that_holds_it() {
        let mut times = StageTimes::default();
        for millis in [0, 1, 2, 200_000] {
            times.add(Duration::from_millis(millis));
        }
        let filled: Vec<_> = times.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.001, 2), (0.0025, 1), (f64::INFINITY, 1)]);
        assert_eq!((times.count(), times.sum()), (4, Duration::from_millis(200_003)));
    }
}
