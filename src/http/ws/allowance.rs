//! How often something may happen.

use std::time::{Duration, Instant};

/// So many times in each stretch of time, counted from the first one in it.
#[derive(Debug)]
pub(super) struct MessageBudget {
    most: u32,
    stretch: Duration,
    since: Option<Instant>,
    taken: u32,
}

impl MessageBudget {
    pub(super) fn new(most: u32, stretch: Duration) -> Self {
        Self { most, stretch, since: None, taken: 0 }
    }

    /// Takes one at `now`; whether there was one left.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= self.stretch) {
            (self.since, self.taken) = (Some(now), 0);
        }
        let left = self.taken < self.most;
        self.taken = self.taken.saturating_add(1);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_comes_back_with_the_next_stretch() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let mut allowance = MessageBudget::new(2, minute);
        let taken = [0, 1, 59, 60, 61, 62].map(|seconds| allowance.take(start + Duration::from_secs(seconds)));
        assert_eq!(taken, [true, true, false, true, true, false]);
        assert!(allowance.take(start + minute * 3));
    }
}
