//! The engine from outside, in one binary: over HTTP and WebSocket, as a process that is killed and restarted, and
//! embedded in the test's own process.
#![allow(clippy::unwrap_used, reason = "an unexpected result fails the test")]

mod support;

mod api;
mod architecture;
mod auth;
mod documentation;
mod engine;
mod examples;
mod faults;
mod sockets;
mod store;
