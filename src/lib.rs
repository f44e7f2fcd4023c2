//! The order execution engine for Solana DEXes: an order comes in, an actor owns it for life, Raydium and Meteora are
//! asked at once, the better route wins, and the swap is signed, recorded, sent and confirmed exactly once, while
//! everybody who listens sees each step.
//!
//! # The map
//! - [`domain`]: what an order is and how it may change. Begin with [`domain::lifecycle`]: every state, every event,
//!   and the one function that says which leads where. Pure: no actor, no database, no clock.
//! - [`venue`] and [`chain`]: the ports to the outside, a place that quotes and builds a swap and the place where a
//!   signed swap lands. [`simulation`] has an adapter for each.
//! - [`store`]: the port to the database, and its SeaORM adapter. Rows never leave it.
//! - [`actors`]: messages, timers and addresses around the domain. Read [`actors::order`] after the lifecycle.
//! - [`service`]: what clients and embedding programs may ask of the actors.
//! - [`api`]: the public contract: what is told over HTTP, WebSocket and Redis.
//! - [`redis`]: publishes what is recorded, and shares quotes, where there is a Redis. It holds no truth.
//! - [`auth`]: accounts, tokens, API keys and tickets.
//! - [`http`]: the server for HTTP and WebSocket.
//! - [`telemetry`]: logs and metrics.
//! - [`runtime`]: the clock, threads, jitter, and the crash points of the fault tests.
//! - [`engine`]: starts every part in order and stops them in the one order that loses nothing. Embedding begins there.
//! - `cli`: one file a command, in the binary.
//!
//! Dependencies point one way, and a test holds the `use` lines against it. Each may use what stands before it: `domain`;
//! `runtime`, `config`; `telemetry`; `venue`, `chain`, `store`; `simulation`, `auth`, `redis`, `api`; `actors`; `service`;
//! `http`; `engine`. Only the binary and the tests use `engine`.
//!
//! # What always holds
//! 1. Accepted means durable: nobody is told `201` before the commit. Refused means refused.
//! 2. Recorded before shown: no client sees a status that a crash could undo.
//! 3. Signed, recorded, then sent: a swap's bytes are committed before they are sent, an order has at most one swap that
//!    may land, and the next is signed only once the last is provably dead.
//! 4. `failed` is said once, at the end. A retry is `pending` again, with its reason.
//! 5. Nobody but [`domain::lifecycle::OrderState::after`] judges what is legal.
//! 6. No queue, wait, frame, body or retry is without a limit, but the wait for a live swap: that ends when it is decided.
//! 7. Money is never a float.
//! 8. The database is the truth. Redis is a hint, a cache and a loudspeaker; losing it loses nothing.
//! 9. Somebody else's order does not exist: whoever asks says for whom, and a foreign id answers as an unknown one.
//! 10. A secret is shown by nothing that prints it.

// `println!` and `eprintln!` panic when nobody reads any more, and when the disk is full.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod actors;
pub mod api;
pub mod auth;
pub mod chain;
pub mod config;
pub mod domain;
pub mod engine;
#[cfg(test)]
mod fuzz;
pub mod http;
pub mod redis;
pub mod runtime;
pub mod service;
pub mod simulation;
pub mod store;
pub mod telemetry;
pub mod venue;

pub use config::Settings;
pub use engine::Engine;
