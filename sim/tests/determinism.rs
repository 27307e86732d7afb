//! Every scenario, twice in one process and in two: the same trace, contents included, and the same output to the byte.
#![cfg(madsim)]

use std::path::Path;
use std::process::{Command, Output};

/// One seed of each scenario: the gate in `cargo sim run` looks at more of them.
const SEED: &str = "3";

/// `test` names a directory that no other test writes to, or removes, meanwhile.
fn sim(test: &str, arguments: &[&str]) -> Output {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim/ stands in the workspace");
    let out = std::env::temp_dir().join(format!("sim-{test}-{}", std::process::id()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    command.args(arguments).arg("--out").arg(&out).current_dir(root);
    let output = command.output().expect("the testbed can be started");
    // What failing seeds leave is of no interest here: a red scenario is the business of `cargo sim run`.
    let _ = remove(&out);
    output
}

fn remove(directory: &Path) -> std::io::Result<()> {
    std::fs::remove_dir_all(directory)
}

#[test]
fn every_scenario_is_the_same_twice_in_one_process() {
    let output =
        sim("twice", &["run", "scenarios", "--seed", SEED, "--check-determinism", "--quiet"]);
    assert_ne!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_scenario_is_the_same_in_two_processes() {
    let run =
        || sim("two", &["run", "scenarios", "--seed", SEED, "--format", "json", "--keep"]).stdout;
    let (first, second) = (run(), run());
    let text = String::from_utf8(first.clone()).expect("JSON is text");
    let hashes = text.matches("\"trace\": \"").count();
    assert!(hashes >= 12, "each run tells its hash: {hashes} found");
    assert!(!text.contains("\"trace\": \"\""), "an empty hash proves nothing");
    assert!(first == second, "two processes ran one seed differently");
}
