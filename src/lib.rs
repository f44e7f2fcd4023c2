//! An order execution engine for Solana DEXes.
//!
//! A client submits a swap order over HTTP, over WebSocket, or through this library. One actor owns the order until it
//! ends. The actor asks Raydium and Meteora for quotes in parallel, and the better route wins. The swap is signed,
//! recorded, sent and confirmed exactly once. Subscribers receive each recorded event.
//!
//! Venues and the chain are simulated today; no real money moves.
//!
//! # The map
//!
//! Read [`domain::lifecycle`] first, then [`actors::order`], then [`engine`].
//!
//! | module | what it contains |
//! |---|---|
//! | [`domain`] | what an order is and how it may change: pure functions and values, without actors, database or clock |
//! | [`runtime`] | clock, thread placement, jitter, private files, the meaning of TLS errors, and the crash points of the fault tests |
//! | [`config`] | the settings: read from files and the environment, parsed, and checked before anything starts |
//! | [`telemetry`] | logs and metrics |
//! | [`venue`], [`chain`], [`signer`] | the ports to the outside: a venue quotes and builds a swap, the signer signs it, the chain executes it; [`venue::pool`]: exact quotes of pools |
//! | [`store`] | the port to the database, and its SeaORM adapter; rows do not leave this module |
//! | [`simulation`] | the simulated venues, the simulated chain and its wallet |
//! | [`solana`] | Solana: the wallet, the transaction of a swap and the check before its signature; endpoints that prove themselves, and the judge of outcomes |
//! | [`auth`] | accounts, tokens, API keys and tickets |
//! | [`redis`] | publishes recorded events and shares quotes, if Redis is configured |
//! | [`api`] | the public JSON of HTTP, WebSocket and Redis |
//! | [`actors`] | messages, timers and addresses around the domain |
//! | [`service`] | the use cases: submit, read, cancel, watch, list, quote |
//! | [`http`] | the HTTP and WebSocket server |
//! | [`engine`] | starts all parts in order and stops them without loss; programs that embed the engine use this |
//! | `cli` | the command line, one file for each command; part of the binary |
//!
//! # Layers
//!
//! Dependencies point in one direction, and a test checks every `use` line. A module may use the modules of the lines
//! above its own line:
//!
//! 1. `domain`
//! 2. `runtime`, `config`
//! 3. `telemetry`
//! 4. `venue`, `chain`, `signer`, `store`
//! 5. `simulation`, `solana`, `auth`, `redis`, `api`
//! 6. `actors`
//! 7. `service`
//! 8. `http`
//! 9. `engine`, which only binaries, examples and tests use
//!
//! # Invariants
//!
//! 1. **Accepted means durable.** A client receives `201` only after the commit. A refused order is not stored.
//! 2. **Recorded before shown.** No client sees a status that a crash could undo.
//! 3. **Signed, recorded, then sent.** The bytes of a swap are committed before they are sent. An order has at most one
//!    swap that may still land. The next swap is signed only after the previous one provably cannot land.
//! 4. **`failed` is final.** It is published once, at the end of the order. A retry is `pending` again, with its reason.
//! 5. **One function decides transitions**: [`domain::lifecycle::OrderState::after`].
//! 6. **Every queue, wait, frame, body and retry has a limit.** The only exception is the wait for a swap that may still
//!    land: it ends when the chain has decided.
//! 7. **Money is never a float.**
//! 8. **The database is the source of truth.** Redis is a cache and a broadcast channel. Losing Redis loses no order.
//! 9. **An order is visible to its owner only.** Every request names its owner, and the id of another owner's order is
//!    answered like an unknown id.
//! 10. **Secrets are never printed**: not in logs, not in errors, not by `Debug`.

// `println!` and `eprintln!` panic when the reader has closed the pipe and when the disk is full.
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
pub mod signer;
pub mod simulation;
pub mod solana;
pub mod store;
pub mod telemetry;
pub mod venue;

pub use config::Settings;
pub use engine::Engine;
