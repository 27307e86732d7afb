//! Every scenario, twice in one process and once more in another, which runs one seed at a time: the same trace, contents included, and the
//! same output to the byte.
#![cfg(madsim)]

use std::path::Path;
use std::process::{Command, Output};

/// One seed of each scenario, without its variants: `cargo sim run --check-determinism` looks at as many as one likes.
const ARGUMENTS: &[&str] =
    &["run", "scenarios", "--variant", "-", "--seed", "3", "--format", "json"];
/// What a process ends with that saw one seed run in two ways.
const NONDETERMINISTIC: i32 = 7;

/// `process` names a directory that no other process writes to, or removes, meanwhile.
fn sim(process: &str, options: &[&str]) -> Output {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim/ stands in the workspace");
    let out = std::env::temp_dir().join(format!("sim-{process}-{}", std::process::id()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    command.args(ARGUMENTS).args(options).arg("--out").arg(&out).current_dir(root);
    let output = command.output().expect("the testbed can be started");
    // What failing seeds leave is of no interest here: a red scenario is the business of `cargo sim run`.
    let _ = remove(&out);
    output
}

fn remove(directory: &Path) -> std::io::Result<()> {
    std::fs::remove_dir_all(directory)
}

#[test]
fn every_scenario_is_the_same_twice_in_one_process_and_in_another() {
    let twice = sim("twice", &["--check-determinism"]);
    let text = String::from_utf8_lossy(&twice.stdout);
    assert_ne!(twice.status.code(), Some(NONDETERMINISTIC), "{text}");
    let hashes = text.matches("\"trace\": \"").count();
    let errors = String::from_utf8_lossy(&twice.stderr);
    assert!(hashes >= 12, "each run tells its hash: {hashes} found; {errors}");
    assert!(!text.contains("\"trace\": \"\""), "an empty hash proves nothing");
    let once = sim("once", &["--keep", "--jobs", "1"]);
    assert!(twice.stdout == once.stdout, "two processes ran one seed differently");
}
