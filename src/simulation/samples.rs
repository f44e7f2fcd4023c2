//! Values for the tests of the simulation.

use std::time::Duration;

use crate::config::{LedgerPlace, Share, SimulationSettings};

/// Settings without waits and faults. The price does not change between quote and landing.
pub(super) fn settings() -> SimulationSettings {
    SimulationSettings {
        ledger: LedgerPlace::Memory,
        quote_latency: Duration::ZERO,
        swap_latency_min: Duration::from_secs(2),
        swap_latency_max: Duration::from_secs(3),
        drift_ppm: 0,
        failure_rate: Share::NONE,
        venue_failure_rate: Share::NONE,
        venues_down: vec![],
        venues_silent: vec![],
        drop_rate: Share::NONE,
        delay_rate: Share::NONE,
        delay: Duration::ZERO,
        lost_answer_rate: Share::NONE,
        block: Duration::from_millis(400),
        valid_blocks: 150,
        seed: 1,
    }
}
