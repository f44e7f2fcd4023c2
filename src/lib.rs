//! x
#![allow(missing_docs)]
pub mod actors;
pub mod chain;
pub mod clock;
pub mod config;
pub mod domain;
pub mod simulation;
pub mod store;
pub mod venue;
