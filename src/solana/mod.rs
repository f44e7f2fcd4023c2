//! Solana: the wallet, the transaction of a swap, and the firewall before its signature.
//!
//! - [`builder`] turns the instruction of a venue into a message that is ready to sign. It asks a [`node`].
//! - [`wallet`] signs: with a key in this process, or through a signer elsewhere.
//! - [`transaction`] builds the message of a swap. Pure functions.
//! - [`firewall`] reads the finished bytes again and compares them with what was ordered.

pub mod builder;
pub mod firewall;
pub mod node;
pub mod transaction;
pub mod wallet;
