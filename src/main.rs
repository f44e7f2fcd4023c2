//! `order-engine`: parse the command line, run one command, end with its exit code.

// `println!` and `eprintln!` panic when nobody reads any more, and when the disk is full.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

mod cli;

use std::process::ExitCode;

/// Gives back what a wave of orders needed once it has ebbed, and is the faster where one thread frees what another made.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _armed = fail::FailScenario::setup();
    cli::run()
}
