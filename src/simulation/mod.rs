//! The simulated world: venues that quote, a chain where swaps land, its ledger, and the randomness of all of them.

pub mod chain;
pub mod ledger;
pub mod rng;
pub mod venue;
