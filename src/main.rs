//! `order-engine`: parse the command line, run one command, end with its exit code.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _armed = fail::FailScenario::setup();
    cli::run()
}
