//! The time as the actors read it; the domain is told.

use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// Where the time comes from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A start moment plus the runtime's own time, so that a test which pauses the runtime moves this clock too.
    Runtime {
        /// The wall time at `since`.
        start: DateTime<Utc>,
        /// The runtime's time at `start`.
        since: tokio::time::Instant,
    },
}

impl Clock {
    /// A clock that starts now and follows the runtime's time.
    pub fn runtime() -> Self {
        Self::Runtime { start: Utc::now(), since: tokio::time::Instant::now() }
    }

    /// The time in whole microseconds, which both databases keep exactly.
    pub fn now(&self) -> DateTime<Utc> {
        match self {
            Self::System => Utc::now(),
            Self::Runtime { start, since } => *start + TimeDelta::from_std(since.elapsed()).unwrap_or(TimeDelta::MAX),
        }
        .trunc_subsecs(6)
    }

    /// How long until `then`; zero where it has passed.
    pub fn until(&self, then: DateTime<Utc>) -> Duration {
        (then - self.now()).to_std().unwrap_or(Duration::ZERO)
    }
}

/// Milliseconds since `start`, for latencies that are shown.
pub fn elapsed_ms(start: Instant) -> u32 {
    u32::try_from(start.elapsed().as_millis()).unwrap_or(u32::MAX)
}
