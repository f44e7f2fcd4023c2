//! The engine from outside, in one binary: over its public HTTP and WebSocket face, as a killed and restarted process,
//! and embedded. Each shelf speaks through one helper: [`process::Server`] for the binary, [`embedded`] for the library.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod client;
mod crowd;
mod databases;
mod embedded;
mod history;
mod machine;
mod memory_store;
mod process;

mod architecture;
mod clock_steps;
mod command_line;
mod compatibility;
mod crashes;
mod damaged_rows;
mod disk;
mod documents;
#[cfg(feature = "failpoints")]
mod fail_points;
mod fairness;
mod faults;
mod flood_campaign;
mod floods;
mod forgery;
mod hardening;
mod hostile;
mod idempotency;
mod input;
mod ledger;
mod limits;
mod machine_faults;
mod monitors;
mod one_engine;
mod order_history;
mod orders;
mod outages;
mod output;
mod ownership;
mod races;
mod redis;
mod settings;
mod slow_readers;
mod sockets;
mod store;
mod supervision;
mod users;
