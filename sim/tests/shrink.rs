//! `cargo sim shrink` and `cargo sim replay` as their users meet them: a failure that is one by construction, and bad input.
#![cfg(madsim)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a command ends with whose input is wrong.
const BAD_INPUT: i32 = 2;

/// One broker whose records are not durable when they are acknowledged: a power loss takes some. Everything else in the file
/// has nothing to do with it.
const LOSES: &str = r#"
claim = "No acknowledged record is lost, whatever happens to a broker without a copy."
run-for = "20s"
heal-at = "15s"

[cluster]
brokers = 1

[broker-config]
"num.io.threads" = 4

[disk]
on-power-loss = "lose-unsynced"

[topics.orders]
partitions = 4

[topics.other]
partitions = 2

[workloads.writer]
kind = "producer"
clients = 2
topic = "orders"
rate-per-s = 100

[workloads.reader]
kind = "consumer"
topic = "other"

[chaos]
until = "14s"
keep = { last-copy-safe = false }

[[chaos.faults]]
do = "power-loss"
target = "random(brokers)"
every = { uniform = ["4s", "6s"] }
for = { uniform = ["300ms", "900ms"] }

[[chaos.faults]]
do = "pause"
target = "random(brokers)"
every = { uniform = ["2s", "3s"] }
for = { uniform = ["100ms", "300ms"] }

[[expect]]
that = "event"
event = "disk.lost"
is = ">= 1"
bites = true

[[expect]]
that = "acked-lost"
workload = "writer"
is = 0
"#;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory for the test"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("it can be written to");
        path
    }

    /// A repro of the failure: what `cargo sim run` leaves.
    fn repro(&self) -> PathBuf {
        let scenario = self.file("loses.toml", LOSES);
        let out = self.path("runs");
        let run = sim(&["run", text(&scenario), "--seed", "3", "--out", text(&out)]);
        assert_eq!(run.status.code(), Some(1), "{}", said(&run));
        let mut found = Vec::new();
        find(&out, "repro.json", &mut found);
        found.pop().expect("a red run leaves its repro")
    }
}

fn find(directory: &Path, name: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("it is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            find(&path, name, found);
        } else if path.ends_with(name) {
            found.push(path);
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("plain names")
}

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(arguments)
        .output()
        .expect("the testbed can be started")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
fn refuses(arguments: &[&str], words: &str) {
    let output = sim(arguments);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(BAD_INPUT), "{said}");
    assert!(said.contains(words), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// Nothing half-written lies in a directory.
#[track_caller]
fn holds(directory: &Path, expected: &[&str]) {
    let entries = fs::read_dir(directory).expect("it is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, expected);
}

#[test]
fn a_failure_becomes_a_small_scenario_that_fails_for_the_same_reason_whatever_the_jobs() {
    let place = Place::new();
    let repro = place.repro();
    let shrink = |jobs: &str, out: &Path| {
        let arguments =
            ["shrink", text(&repro), "--jobs", jobs, "--out", text(out), "--time-budget", "10m"];
        let output = sim(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        fs::read_to_string(out).unwrap()
    };
    let (one, many) = (place.path("one.toml"), place.path("many.toml"));
    let small = shrink("1", &one);
    assert_eq!(small, shrink("3", &many), "one try at a time, and three");
    assert!(small.starts_with("# What the testbed saw under seed "), "{small}");
    for gone in ["[chaos]", "topics.other", "workloads.reader", "num.io.threads", "\"pause\""] {
        assert!(!small.contains(gone), "{gone} has nothing to do with it: {small}");
    }
    assert_eq!(small.matches("do = \"power-loss\"").count(), 1, "{small}");
    assert_eq!(small.matches("[[timeline]]").count(), 1, "{small}");
    // It is a scenario like any other, with its seed in it.
    let again = sim(&["run", text(&one), "--out", text(&place.path("again"))]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    assert!(said(&again).contains("lost-write"), "{}", said(&again));
}

#[test]
fn the_result_of_a_repro_lies_beside_it_and_a_scenario_file_is_taken_with_its_seed() {
    let place = Place::new();
    let repro = place.repro();
    let output = sim(&["shrink", text(&repro), "--time-budget", "0s"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let beside = repro.with_file_name("minimal.toml");
    assert!(fs::read_to_string(&beside).unwrap().contains("seeds = \"3..=3\""));
    let (scenario, out) = (place.path("loses.toml"), place.path("out.toml"));
    let arguments =
        ["shrink", text(&scenario), "--seed", "3", "--out", text(&out), "--time-budget", "0s"];
    let output = sim(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(out.exists());
    refuses(&["shrink", text(&scenario), "--out", text(&out)], "which seed fails? Say --seed N");
    refuses(&["shrink", text(&repro), "--seed", "3"], "--seed goes with a scenario file");
    refuses(
        &["shrink", text(&scenario), "--seed", "3", "--variant", "nobody", "--out", text(&out)],
        "there is no variant `nobody`",
    );
    refuses(
        &["shrink", text(&repro), "--reason", "R3", "--out", text(&out)],
        "does not fail for `R3`: it fails for `lost-write`",
    );
}

#[test]
fn a_green_seed_is_nothing_to_shrink() {
    let place = Place::new();
    let green = LOSES.replace("lose-unsynced", "keep-all").replace("disk.lost", "fault.started");
    let scenario = place.file("green.toml", &green);
    refuses(
        &["shrink", text(&scenario), "--seed", "3", "--out", text(&place.path("out.toml"))],
        "nothing to shrink: ",
    );
    holds(place.0.path(), &["green.toml"]);
}

#[test]
fn an_expectation_that_is_missed_without_any_fault_is_not_shrunk() {
    let place = Place::new();
    let asks = LOSES.replace("lose-unsynced", "keep-all");
    let scenario = place.file("asks.toml", &asks);
    refuses(
        &["shrink", text(&scenario), "--seed", "3", "--out", text(&place.path("out.toml"))],
        "it asks for an effect of the faults",
    );
}

#[test]
fn what_is_no_repro_is_refused_and_nothing_is_left() {
    let place = Place::new();
    for command in ["shrink", "replay"] {
        let case = |name: &str, content: &str, words: &str| {
            let file = place.file(name, content);
            refuses(&[command, text(&file)], words);
            fs::remove_file(file).unwrap();
        };
        case("a.json", "{ not json", "not JSON");
        case("a.json", "[1, 2]", "no repro file: it has no `schema`");
        case(
            "a.json",
            r#"{ "schema": "sim.repro/2" }"#,
            "its schema is `sim.repro/2`, and this build reads `sim.repro/1`",
        );
        case("a.json", r#"{ "schema": "sim.repro/1" }"#, "`failed` is missing or of another type");
        case("report.json", r#"{ "schema": "sim.report/1" }"#, "repro.json: No such file");
        refuses(&[command, text(&place.path("none.json"))], "No such file");
        holds(place.0.path(), &[]);
    }
}

#[test]
fn a_repro_that_this_build_cannot_run_says_what_of_it() {
    let place = Place::new();
    let repro = place.repro();
    let kept = fs::read_to_string(&repro).unwrap();
    let other = place.file("other.json", &kept.replace("num.io.threads", "no.such.property"));
    refuses(&["replay", text(&other)], "not a scenario that this build can run");
    refuses(&["shrink", text(&other)], "`no.such.property` is not a property of a broker");
    let seedless = place.file("seedless.json", &kept.replace("\"seed\": \"3\"", "\"seed\": \"x\""));
    refuses(&["replay", text(&seedless)], "`seed` is missing or of another type");
}

#[test]
fn where_the_result_cannot_be_written_is_known_before_the_work_and_nothing_is_left() {
    let place = Place::new();
    let scenario = place.file("loses.toml", LOSES);
    let try_out = |out: &Path, words: &str| {
        refuses(&["shrink", text(&scenario), "--seed", "3", "--out", text(out)], words);
    };
    try_out(place.0.path(), "is a directory");
    try_out(&scenario.join("below/a/file.toml"), "Not a directory");
    // Whatever stands where the half-written file would: the result is not begun.
    fs::create_dir(place.path("out.toml.new")).unwrap();
    try_out(&place.path("out.toml"), "Is a directory");
    holds(place.0.path(), &["loses.toml", "out.toml.new"]);
}

#[test]
fn another_commit_runs_the_steps_that_fired_and_says_whether_the_same_check_fails() {
    let place = Place::new();
    let repro = place.repro();
    let same = sim(&["replay", text(&repro)]);
    assert_eq!(same.status.code(), Some(1), "{}", said(&same));
    assert!(said(&same).contains("The same trace as when it was kept"), "{}", said(&same));
    assert!(said(&same).contains("lost-write fails again"), "{}", said(&same));
    // Another commit, as far as a replay can tell: the trace is another one.
    let kept = fs::read_to_string(&repro).unwrap();
    let trace = kept.split("\"trace\": \"").nth(1).unwrap().split('"').next().unwrap();
    let other = place.file("other.json", &kept.replace(trace, "0123456789abcdef0123456789abcdef"));
    let output = sim(&["replay", text(&other)]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Another trace than when it was kept"), "{said}");
    assert!(said.contains("The faults that fired then, as fixed steps:"), "{said}");
    assert_eq!(said.matches("lost-write fails again").count(), 2, "{said}");
}

#[test]
fn futures_are_counted_and_what_has_failed_already_has_none() {
    let place = Place::new();
    let repro = place.repro();
    let count = |from: &str, times: &str| {
        let arguments = ["replay", text(&repro), "--reseed-from", from, "--times", times];
        let output = sim(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let told = count("1s", "5");
    assert!(told.contains("fails for the same reason in ") && told.contains(" of 5 ("), "{told}");
    assert_eq!(told, count("1s", "5"), "the same futures each time");
    refuses(&["replay", text(&repro), "--reseed-from", "1h"], "the run ends at 20.308s");
    refuses(&["replay", text(&repro), "--times", "5"], "give --reseed-from TIME, or --inevitable");
    refuses(&["replay", text(&repro), "--reseed-from", "soon"], "soon");
    refuses(&["replay", text(&repro), "--reseed-from", "1s", "--times", "0"], "0");
}
