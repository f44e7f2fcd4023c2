//! Jitter for retry delays. Only the random factor comes from the `backoff` crate; the order counts its own attempts.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

/// A delay drawn uniformly from `base` ± 20 %, so that orders which failed together do not retry together.
pub fn jittered(base: Duration) -> Duration {
    let mut once = ExponentialBackoff {
        current_interval: base,
        initial_interval: base,
        max_interval: base,
        randomization_factor: 0.2,
        // By default the crate gives up after 15 minutes.
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    once.next_backoff().unwrap_or(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jitter_stays_within_a_fifth() {
        for _ in 0..1_000 {
            let wait = jittered(Duration::from_secs(10));
            assert!((Duration::from_secs(8)..=Duration::from_secs(12)).contains(&wait), "{wait:?}");
        }
    }
}
