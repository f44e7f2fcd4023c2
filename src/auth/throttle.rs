//! Limits the number of attempts per key in a sliding window.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The recent attempts by key. At the limit, the next attempt is allowed when the oldest one has left the window.
pub(super) struct Throttle<K> {
    limit: usize,
    window: Duration,
    attempts: HashMap<K, VecDeque<Instant>>,
    // At this number of keys, those without an attempt in the window are removed.
    forget_at: usize,
}

impl<K: Eq + Hash> Throttle<K> {
    const FORGET_FROM: usize = 1024;

    pub(super) fn new(limit: usize, window: Duration) -> Self {
        Self { limit, window, attempts: HashMap::new(), forget_at: Self::FORGET_FROM }
    }

    /// Counts an attempt. The error is the time until the next one is allowed.
    pub(super) fn take(&mut self, key: K, now: Instant) -> Result<(), Duration> {
        if self.attempts.len() >= self.forget_at {
            self.attempts.retain(|_, attempts| attempts.back().is_some_and(|last| now - *last < self.window));
            self.forget_at = Self::FORGET_FROM.max(2 * self.attempts.len());
        }
        let attempts = self.attempts.entry(key).or_default();
        while attempts.front().is_some_and(|first| now - *first >= self.window) {
            attempts.pop_front();
        }
        if attempts.len() < self.limit {
            attempts.push_back(now);
            return Ok(());
        }
        Err(attempts.front().map_or(self.window, |first| *first + self.window - now))
    }

    /// Uncounts the latest attempt: it succeeded, or was not made.
    pub(super) fn give_back(&mut self, key: &K) {
        if let Some(attempts) = self.attempts.get_mut(key) {
            attempts.pop_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    #[test]
    fn a_key_has_no_more_attempts_than_the_limit_in_any_window() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut throttle = Throttle::new(2, WINDOW);
        assert_eq!(throttle.take("a", at(0)), Ok(()));
        assert_eq!(throttle.take("a", at(10)), Ok(()));
        assert_eq!(throttle.take("a", at(20)), Err(Duration::from_secs(40)));
        assert_eq!(throttle.take("b", at(20)), Ok(()), "attempts of another key do not count");
        assert_eq!(throttle.take("a", at(59)), Err(Duration::from_secs(1)));
        assert_eq!(throttle.take("a", at(60)), Ok(()));
        assert_eq!(throttle.take("a", at(61)), Err(Duration::from_secs(9)));
    }

    #[test]
    fn a_successful_attempt_does_not_count() {
        let now = Instant::now();
        let mut throttle = Throttle::new(1, WINDOW);
        for _ in 0..5 {
            assert_eq!(throttle.take("a", now), Ok(()));
            throttle.give_back(&"a");
        }
    }

    #[test]
    fn keys_without_recent_attempts_are_removed() {
        let start = Instant::now();
        let mut throttle = Throttle::new(1, WINDOW);
        for key in 0..10 * Throttle::<usize>::FORGET_FROM {
            let now = start + Duration::from_millis(u64::try_from(key).unwrap() * 100);
            assert_eq!(throttle.take(key, now), Ok(()));
        }
        assert!(throttle.attempts.len() <= 2 * Throttle::<usize>::FORGET_FROM, "{}", throttle.attempts.len());
    }
}
