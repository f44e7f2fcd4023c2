//! The simulation: venues, a chain with a persistent ledger, and their reproducible randomness.

pub mod chain;
pub mod ledger;
pub mod rng;
mod transaction;
pub mod venue;
