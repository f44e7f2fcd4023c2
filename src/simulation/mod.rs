//! The simulation: venues, a chain with a persistent ledger, and their reproducible randomness.

pub mod chain;
pub mod ledger;
pub mod rng;
#[cfg(test)]
mod samples;
pub mod signer;
pub mod transaction;
pub mod venue;
pub mod venues;
