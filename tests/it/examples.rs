//! The examples run, and print what the documentation says.

use std::process::Command;

/// Builds an example, unless it is up to date, and returns what it prints.
fn output_of(example: &str) -> String {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--quiet", "--locked", "--example", example]).current_dir(env!("CARGO_MANIFEST_DIR"));
    // As these tests were built, so that nothing is built twice.
    if cfg!(feature = "failpoints") {
        cargo.args(["--features", "failpoints"]);
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_example_that_embeds_the_engine_follows_an_order_to_its_end() {
    assert_eq!(output_of("embed"), "1 pending\n2 routing\n3 building\n4 submitted\n5 confirmed\n");
}

#[test]
fn the_example_with_its_own_venue_trades_at_its_own_price() {
    let output = output_of("own_venue");
    let lines: Vec<_> = output.lines().collect();
    let [pending, routing, building, submitted, confirmed] = lines[..] else { panic!("{output}") };
    assert_eq!([pending, routing, submitted, confirmed], ["pending", "routing", "submitted", "confirmed: 300 USDC"]);
    assert!(building.starts_with("building: fixed-price") && building.contains("300 USDC"), "{output}");
}
