//! The two sizes of the fault tests: short in every run, and full in `tests/campaign`.

/// Whether this run is the full campaign, which `ORDER_ENGINE_CAMPAIGN=full` asks for.
pub fn is_full() -> bool {
    std::env::var("ORDER_ENGINE_CAMPAIGN").is_ok_and(|form| form == "full")
}

/// One value for the full campaign, another for a short run.
pub fn size<T>(full: T, short: T) -> T {
    if is_full() { full } else { short }
}

/// The seed of everything random: `ORDER_ENGINE_CAMPAIGN_SEED`, or a new one. It is printed so that a failed run can be
/// repeated.
pub fn seed() -> u64 {
    let seed = std::env::var("ORDER_ENGINE_CAMPAIGN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::random::<u64>() >> 16);
    eprintln!("ORDER_ENGINE_CAMPAIGN_SEED={seed}");
    seed
}
