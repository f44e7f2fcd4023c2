//! The recent success rate of a venue.

use std::collections::VecDeque;

use rust_decimal::Decimal;

/// The recent successes and failures of a venue, over its last 100 quotes and swaps.
#[derive(Clone, Debug, Default)]
pub struct TrackRecord {
    successes: VecDeque<bool>,
}

impl TrackRecord {
    const LENGTH: usize = 100;

    /// Adds one result and drops the oldest beyond 100.
    pub fn push(&mut self, success: bool) {
        if self.successes.len() == Self::LENGTH {
            self.successes.pop_front();
        }
        self.successes.push_back(success);
    }

    /// The success rate from 0 to 1; 1 without any result.
    pub fn success_rate(&self) -> Decimal {
        let succeeded = self.successes.iter().filter(|success| **success).count();
        Decimal::from(succeeded).checked_div(Decimal::from(self.successes.len())).unwrap_or(Decimal::ONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_record_drops_the_oldest_results() {
        let mut record = TrackRecord::default();
        assert_eq!(record.success_rate(), Decimal::ONE);
        record.push(false);
        assert_eq!(record.success_rate(), Decimal::ZERO);
        for _ in 0..TrackRecord::LENGTH {
            record.push(true);
        }
        assert_eq!(record.success_rate(), Decimal::ONE);
    }
}
