//! What is measured where, at which size, and under which settings.

use std::path::PathBuf;

/// Where to measure, and at which size.
pub(crate) struct Plan {
    /// The engine's binary.
    pub(crate) engine: PathBuf,
    /// A PostgreSQL database; `None` for a SQLite file per run.
    pub(crate) database_url: Option<String>,
    /// Sizes are divided by this.
    pub(crate) share: u64,
}

/// Measured figures, each with its name and unit.
pub(crate) type Figures = Vec<(&'static str, &'static str, u64)>;

/// How many connections submit orders at once.
pub(crate) const CONNECTIONS: usize = 128;

/// Accepts every order and runs almost none, so that accepts alone are measured.
pub(crate) const HELD_BACK: [(&str, &str); 4] = [
    ("orders.max_open", "100000000"),
    ("orders.rate_limit_per_minute", "1"),
    ("orders.timeout_ms", "86400000"),
    ("simulation.ledger", "memory"),
];

/// Removes every limit and every simulated wait, so that an order waits only for the engine.
pub(crate) const UNLIMITED: [(&str, &str); 7] = [
    ("orders.max_open", "100000000"),
    ("orders.rate_limit_per_minute", "0"),
    ("orders.max_concurrent", "1000"),
    ("simulation.quote_latency_ms", "0"),
    ("simulation.swap_latency_min_ms", "0"),
    ("simulation.swap_latency_max_ms", "0"),
    ("simulation.ledger", "memory"),
];

/// The settings with others in their place, or added.
pub(crate) fn with<'a>(settings: &[(&'a str, &'a str)], others: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = settings.iter().filter(|(key, _)| !others.iter().any(|(other, _)| other == key));
    kept.chain(others).copied().collect()
}
