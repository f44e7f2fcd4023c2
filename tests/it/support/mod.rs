//! What the tests use to speak to an engine and to its surroundings; each kind of test has one helper.

pub mod client;
pub mod crowd;
pub mod databases;
pub mod embedded;
pub mod history;
pub mod machine;
pub mod memory_store;
pub mod process;
