//! How many messages a client may send within a period.

use std::time::{Duration, Instant};

/// A number of messages for each period; a period begins with its first message.
#[derive(Debug)]
pub(super) struct MessageBudget {
    max: u32,
    period: Duration,
    period_start: Option<Instant>,
    spent: u32,
}

impl MessageBudget {
    pub(super) fn new(max: u32, period: Duration) -> Self {
        Self { max, period, period_start: None, spent: 0 }
    }

    /// Spends one message at `now`, and returns whether there was one left.
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        if self.period_start.is_none_or(|start| now.saturating_duration_since(start) >= self.period) {
            (self.period_start, self.spent) = (Some(now), 0);
        }
        let has_left = self.spent < self.max;
        self.spent = self.spent.saturating_add(1);
        has_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_budget_is_full_again_in_the_next_period() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let mut budget = MessageBudget::new(2, minute);
        let had_left = [0, 1, 59, 60, 61, 62].map(|seconds| budget.spend(start + Duration::from_secs(seconds)));
        assert_eq!(had_left, [true, true, false, true, true, false]);
        assert!(budget.spend(start + minute * 3));
    }
}
