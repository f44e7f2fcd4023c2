//! The randomness of the simulation: each draw is a function of the seed and of its subject, so runs are reproducible.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::runtime::environment::Random;

/// The random generator of the simulated venues and the simulated chain.
#[derive(Clone, Copy, Debug)]
pub struct SimulationRng {
    seed: u64,
}

impl SimulationRng {
    /// A generator with that seed; 0 draws the seed from `random`.
    pub fn new(seed: u64, random: &Random) -> Self {
        Self { seed: if seed == 0 { random.number() } else { seed } }
    }

    /// The effective seed.
    pub fn seed(self) -> u64 {
        self.seed
    }

    /// The draws for one purpose and one subject; the same arguments always return the same draws.
    pub fn draws(self, purpose: u64, subject: Uuid, number: u32) -> DrawStream {
        let (high, low) = subject.as_u64_pair();
        let mixed = [purpose, high, low, u64::from(number)]
            .into_iter()
            .fold(self.seed, |mixed, part| (mixed ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29));
        DrawStream(SmallRng::seed_from_u64(mixed))
    }
}

/// A sequence of draws.
#[derive(Debug)]
pub struct DrawStream(SmallRng);

impl DrawStream {
    /// A number from 0 to 999,999, to compare with a [`crate::config::Share`].
    pub fn millionths(&mut self) -> u32 {
        self.0.random_range(0..1_000_000)
    }

    /// A number in that range, both ends included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.random_range(least..=most)
    }
}
