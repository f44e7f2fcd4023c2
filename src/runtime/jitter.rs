//! Jitter for retry delays. The `backoff` crate computes the interval; the random factor comes from the environment.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

use crate::runtime::environment::Random;

/// The most by which a delay is shorter or longer than its base, in millionths.
const SPREAD_PPM: u64 = 200_000;

/// A delay drawn uniformly from `base` ± 20 %, so that orders which failed together do not retry together.
pub fn jittered(base: Duration, random: &Random) -> Duration {
    let mut once = ExponentialBackoff {
        current_interval: base,
        initial_interval: base,
        max_interval: base,
        // The crate would draw from a generator of its own.
        randomization_factor: 0.0,
        // By default the crate gives up after 15 minutes.
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    let delay = once.next_backoff().unwrap_or(base);
    let factor_ppm = 1_000_000 - SPREAD_PPM + random.number() % (2 * SPREAD_PPM + 1);
    let nanoseconds = delay.as_nanos() * u128::from(factor_ppm) / 1_000_000;
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::environment::Environment;

    #[test]
    fn the_jitter_stays_within_a_fifth_and_reaches_both_ends() {
        let random = Environment::system().random;
        let waits: Vec<_> = (0..10_000).map(|_| jittered(Duration::from_secs(10), &random)).collect();
        assert!(waits.iter().all(|wait| (Duration::from_secs(8)..=Duration::from_secs(12)).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < Duration::from_millis(8_100)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_millis(11_900)));
    }
}
