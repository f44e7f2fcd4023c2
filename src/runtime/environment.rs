//! The environment: the only source of time, randomness and identities.
//!
//! A program that embeds the engine may provide one. With [`Environment::seeded`], one thread, a runtime whose time is
//! paused from its start, and a store in memory, two runs of the same script record byte-equal histories.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::DateTime;
use uuid::{Builder, Uuid};

use crate::runtime::clock::Clock;

/// Where an engine gets its time, its random numbers and its identities.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The time.
    pub clock: Clock,
    /// The random numbers.
    pub random: Random,
}

impl Environment {
    /// The clocks of the machine, and random numbers of the operating system.
    pub fn system() -> Self {
        Self { clock: Clock::System, random: Random(None) }
    }

    /// A clock that follows the time of the async runtime, which a test may pause, and random numbers of the operating
    /// system. Must be created on the thread of that runtime.
    pub fn runtime() -> Self {
        Self { clock: Clock::runtime(), random: Random(None) }
    }

    /// Everything follows from the seed: the clock starts at 2026-01-01 and follows the time of the async runtime, and
    /// all random numbers and identities are drawn from the seed in the order of the calls.
    ///
    /// For tests only: the identities and keys of such an engine are predictable. Must be created on the thread of the
    /// runtime whose time it follows.
    pub fn seeded(seed: u64) -> Self {
        let random = Random(Some(Arc::new(SeededDraws { seed, drawn: AtomicU64::new(0) })));
        let start = DateTime::from_timestamp(1_767_225_600, 0).expect("the year 2026 is within range");
        let clock = Clock::Runtime { start, since: tokio::time::Instant::now(), boot: random.uuid() };
        Self { clock, random }
    }

    /// A new identity that sorts by the time of its creation: a UUID of version 7.
    pub fn time_ordered_id(&self) -> Uuid {
        match &self.random.0 {
            None => Uuid::now_v7(),
            Some(_) => {
                let millisecond = u64::try_from(self.clock.now().timestamp_millis()).unwrap_or_default();
                Builder::from_unix_timestamp_millis(millisecond, &self.random.bytes()).into_uuid()
            }
        }
    }

    /// A new identity without an order: a UUID of version 4.
    pub fn random_id(&self) -> Uuid {
        self.random.uuid()
    }
}

/// Random numbers: of the operating system, or of a seed.
#[derive(Clone, Debug)]
pub struct Random(Option<Arc<SeededDraws>>);

/// Numbers that follow from a seed and the count of the draws before.
#[derive(Debug)]
struct SeededDraws {
    seed: u64,
    drawn: AtomicU64,
}

impl SeededDraws {
    fn next(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
        const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        let state = self.seed.wrapping_add(drawn.wrapping_add(1).wrapping_mul(GAMMA));
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Random {
    /// A number from the whole range.
    pub fn number(&self) -> u64 {
        match &self.0 {
            None => rand::random(),
            Some(seeded) => seeded.next(),
        }
    }

    /// Random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        match &self.0 {
            None => {
                let mut bytes = [0; N];
                rand::fill(&mut bytes[..]);
                bytes
            }
            Some(seeded) => {
                let mut bytes = [0; N];
                for chunk in bytes.chunks_mut(8) {
                    chunk.copy_from_slice(&seeded.next().to_le_bytes()[..chunk.len()]);
                }
                bytes
            }
        }
    }

    fn uuid(&self) -> Uuid {
        match &self.0 {
            None => Uuid::new_v4(),
            Some(_) => Builder::from_random_bytes(self.bytes()).into_uuid(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(environment: &Environment) -> (Vec<u64>, [u8; 13], [Uuid; 2]) {
        let random = &environment.random;
        let numbers = (0..100).map(|_| random.number()).collect();
        (numbers, random.bytes(), [environment.random_id(), environment.time_ordered_id()])
    }

    #[tokio::test(start_paused = true)]
    async fn everything_follows_from_the_seed() {
        assert_eq!(drawn(&Environment::seeded(7)), drawn(&Environment::seeded(7)));
        assert_ne!(drawn(&Environment::seeded(7)), drawn(&Environment::seeded(8)));
        assert_ne!(drawn(&Environment::system()), drawn(&Environment::system()));
    }

    #[tokio::test(start_paused = true)]
    async fn seeded_identities_have_the_versions_and_the_order_of_real_ones() {
        let environment = Environment::seeded(1);
        let first = environment.time_ordered_id();
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
        let second = environment.time_ordered_id();
        assert!(first < second);
        assert_eq!([first, second, environment.random_id()].map(|id| id.get_version_num()), [7, 7, 4]);
    }
}
