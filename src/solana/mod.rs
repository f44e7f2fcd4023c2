//! Solana: wallet, transaction, firewall, the endpoints, and the judge of outcomes.
//!
//! - [`builder`] turns the instruction of a venue into a message that is ready to sign. It asks a [`node`].
//! - [`wallet`] signs: with a key in this process, or through a signer elsewhere.
//! - [`transaction`] builds the message of a swap. Pure functions.
//! - [`firewall`] reads the finished bytes again and compares them with what was ordered.
//! - [`rpc`] calls an endpoint, with deadlines, bounds and pauses.
//! - [`endpoints`] believes an endpoint only after it has proved itself.
//! - [`judge`] decides what the answers of endpoints prove about a swap. Pure functions.
//! - [`chain`] prepares, sends and watches swaps.

pub mod builder;
pub mod chain;
pub mod endpoints;
pub mod firewall;
pub mod judge;
pub mod node;
pub mod rpc;
mod signed;
mod statuses;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod transaction;
pub mod wallet;
