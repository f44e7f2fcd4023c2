//! The `order-engine` binary: parses the command line, runs one command, and exits with its exit code.

// `println!` and `eprintln!` panic when the reader has closed the pipe and when the disk is full.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

mod cli;

use std::process::ExitCode;

/// mimalloc returns memory to the system after a burst of orders, and is faster than the system allocator when one thread
/// frees what another thread allocated.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _armed = fail::FailScenario::setup();
    cli::run()
}
