//! The time as the actors read it; the domain is told.
//!
//! The wall clock is for stamps that are shown. Whatever waits, ages or is limited is measured by the uptime, which
//! nobody sets. On Linux that is CLOCK_BOOTTIME: unlike CLOCK_MONOTONIC, on which the timers run, it goes on while the
//! machine is suspended, and a quote or an order that was suspended is as old as one that was not.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use uuid::Uuid;

use crate::domain::moment::{Moment, Now, Uptime};

/// Where the time comes from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's clocks.
    System,
    /// A start moment plus the runtime's own time, so that a test which pauses the runtime moves this clock too.
    Runtime {
        /// The wall time at `since`.
        start: DateTime<Utc>,
        /// The runtime's time at `start`.
        since: tokio::time::Instant,
        /// A boot of its own.
        boot: Uuid,
    },
}

impl Clock {
    /// A clock that starts now and follows the runtime's time.
    pub fn runtime() -> Self {
        Self::Runtime { start: Utc::now(), since: tokio::time::Instant::now(), boot: Uuid::new_v4() }
    }

    /// The wall time in whole microseconds, which both databases keep exactly.
    pub fn now(&self) -> DateTime<Utc> {
        match self {
            Self::System => Utc::now(),
            Self::Runtime { start, since, .. } => {
                *start + TimeDelta::from_std(since.elapsed()).unwrap_or(TimeDelta::MAX)
            }
        }
        .trunc_subsecs(6)
    }

    /// The uptime.
    pub fn uptime(&self) -> Uptime {
        match self {
            Self::System => Uptime(0).plus(uptime_of(&BOOT)),
            Self::Runtime { since, .. } => Uptime(0).plus(since.elapsed()),
        }
    }

    /// What every clock says.
    pub fn read(&self) -> Now {
        let boot = match self {
            Self::System => BOOT.id,
            Self::Runtime { boot, .. } => *boot,
        };
        Now { at: self.now(), moment: Moment { boot, uptime: self.uptime() } }
    }
}

/// The boot by name, and when the uptime counts from.
static BOOT: LazyLock<Boot> = LazyLock::new(|| match system_boot() {
    Some(id) => Boot { id, started: None },
    // Every process is a boot of its own: what was recorded before is then certainly no younger than the process.
    None => Boot { id: Uuid::new_v4(), started: Some(Instant::now()) },
});

struct Boot {
    id: Uuid,
    // Where the system does not name its boot.
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
    unreachable!("a boot without a name counts from the process's start")
}

/// Milliseconds since `start`, for latencies that are shown.
pub fn elapsed_ms(start: Instant) -> u32 {
    u32::try_from(start.elapsed().as_millis()).unwrap_or(u32::MAX)
}
