//! One `cargo test` covers both builds: this test runs the testbed's tests in the simulated one. (What the product is made of is tested in the
//! real build; that it is the same code is the business of `architecture.rs`.)
#![cfg(not(madsim))]

use std::process::Command;

fn passes(arguments: &[&str]) {
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "cargo {} failed: its output is above", arguments.join(" "));
}

#[test]
fn the_simulated_build_passes_its_tests() {
    passes(&["sim-test"]);
}

/// The testbed without the simulator: what runs scenarios on real processes.
#[test]
fn the_testbed_of_the_real_build_passes_its_tests() {
    passes(&["test", "--package", "sim"]);
}
