//! The clocks that the actors read. The domain reads no clock: it gets the time as an argument.
//!
//! Wall time is used for timestamps that are shown. Waits, ages and rate limits use the uptime, which cannot be set.
//! On Linux the uptime is CLOCK_BOOTTIME. Unlike CLOCK_MONOTONIC, which drives the timers, it continues while the machine
//! is suspended. A quote therefore also ages during a suspend.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use uuid::Uuid;

use crate::domain::moment::{Moment, Now, Uptime};

/// A source of time.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's clocks.
    System,
    /// A start time plus the time of the tokio runtime. A test that pauses the runtime also pauses this clock.
    Runtime {
        /// The wall time at `since`.
        start: DateTime<Utc>,
        /// The runtime time at `start`.
        since: tokio::time::Instant,
        /// A random boot id.
        boot: Uuid,
    },
}

impl Clock {
    /// A clock that starts now and follows the time of the tokio runtime.
    pub fn runtime() -> Self {
        Self::Runtime { start: Utc::now(), since: tokio::time::Instant::now(), boot: Uuid::new_v4() }
    }

    /// The wall time, truncated to microseconds, which both databases store exactly.
    pub fn now(&self) -> DateTime<Utc> {
        match self {
            Self::System => Utc::now(),
            Self::Runtime { start, since, .. } => {
                *start + TimeDelta::from_std(since.elapsed()).unwrap_or(TimeDelta::MAX)
            }
        }
        .trunc_subsecs(6)
    }

    /// The time since boot.
    pub fn uptime(&self) -> Uptime {
        match self {
            Self::System => Uptime(0).plus(uptime_of(&BOOT)),
            Self::Runtime { since, .. } => Uptime(0).plus(since.elapsed()),
        }
    }

    /// Milliseconds since `start`, for latencies that are shown; saturates at `u32::MAX`.
    pub fn elapsed_ms(&self, start: Uptime) -> u32 {
        u32::try_from(self.uptime().since(start).as_millis()).unwrap_or(u32::MAX)
    }

    /// Wall time, uptime and boot id together.
    pub fn read(&self) -> Now {
        let boot = match self {
            Self::System => BOOT.id,
            Self::Runtime { boot, .. } => *boot,
        };
        Now { at: self.now(), moment: Moment { boot, uptime: self.uptime() } }
    }
}

/// The boot that uptimes belong to.
static BOOT: LazyLock<Boot> = LazyLock::new(|| match system_boot() {
    Some(id) => Boot { id, started: None },
    // Without a boot id of the system, each process counts as one boot. Earlier records are then at least as old as the
    // process.
    None => Boot { id: Uuid::new_v4(), started: Some(Instant::now()) },
});

struct Boot {
    id: Uuid,
    // The start of the process, if the system has no boot id.
    started: Option<Instant>,
}

fn uptime_of(boot: &Boot) -> Duration {
    boot.started.map_or_else(system_uptime, |started| started.elapsed())
}

#[cfg(target_os = "linux")]
fn system_boot() -> Option<Uuid> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().parse().ok()
}

#[cfg(target_os = "linux")]
fn system_uptime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(not(target_os = "linux"))]
fn system_boot() -> Option<Uuid> {
    None
}

#[cfg(not(target_os = "linux"))]
fn system_uptime() -> Duration {
    unreachable!("without a boot id the uptime counts from the start of the process")
}
