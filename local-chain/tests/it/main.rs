//! The local chain from outside: over its JSON-RPC port, and through its Rust interface.
#![allow(clippy::unwrap_used, reason = "an unexpected result fails the test")]

mod accounts;
mod admin;
mod blocks;
mod faults;
mod support;
mod swaps;
mod transactions;
