//! The search over made-up failures: what fails is a function of the scenario, and no world is run.

use serde_json::{Value, json};

use super::*;
use crate::scenario::Scenario;

/// Fails where `fails` says so of a scenario that can be run at all; counts what it was asked.
struct Fake<F> {
    fails: F,
    asked: usize,
    patience: usize,
}

impl<F: Fn(&Value) -> bool> Tester for Fake<F> {
    fn first(&mut self, cuts: &[Cut], _: Effort) -> Option<(usize, Failing)> {
        cuts.iter().enumerate().find_map(|(index, cut)| {
            self.asked += 1;
            Scenario::load("x.json", &cut.scenario.to_string(), &[]).ok()?;
            (self.fails)(&cut.scenario)
                .then(|| (index, failing(cut.scenario.clone(), storm_of(&cut.scenario))))
        })
    }

    fn is_over(&self) -> bool {
        self.asked >= self.patience
    }
}

fn failing(scenario: Value, of_storm: Vec<Value>) -> Failing {
    // It fails at 20s; a scenario that has moved its steps fails earlier.
    let at = edit::run_for(&scenario).min(Span::from_secs(20));
    Failing { scenario, seed: 7, at, of_storm }
}

/// What the storm of the made-up run did.
fn storm_of(scenario: &Value) -> Vec<Value> {
    if scenario.get("chaos").is_none() {
        return Vec::new();
    }
    vec![
        json!({ "do": "kill", "target": "brokers(3)", "at": "5s" }),
        json!({ "do": "start", "target": "brokers(3)", "at": "8123456789ns" }),
        json!({ "do": "pause", "target": "brokers(2)", "for": "2s", "at": "9s" }),
        json!({ "do": "power-loss", "target": "brokers(2)", "at": "15s" }),
        json!({ "do": "kill", "target": "brokers(1)", "at": "40s" }),
    ]
}

fn storm() -> Value {
    json!({
        "claim": "x", "why": "y", "run-for": "90s", "heal-at": "60s",
        "cluster": { "brokers": 3, "controllers": 3, "racks": ["a", "b"] },
        "broker-config": { "broker.session.timeout.ms": 9000, "log.flush.interval.messages": 1 },
        "network": { "latency": { "lognormal": { "p50": "1ms", "p99": "40ms" } } },
        "topics": {
            "orders": { "partitions": 3, "replication-factor": 3, "config": { "min.insync.replicas": 2 } },
            "other": { "partitions": 2 },
        },
        "workloads": {
            "writer": { "kind": "producer", "clients": 2, "topic": "orders", "rate-per-s": 200 },
            "reader": { "kind": "consumer", "topic": "other" },
        },
        "chaos": { "until": "50s", "faults": [{ "do": "kill", "target": "random(brokers)", "every": "5s" }] },
        "expect": [
            { "that": "event", "event": "fault.started", "is": ">= 3", "bites": true },
            { "that": "acked-lost", "is": 0 },
        ],
    })
}

fn reason() -> Reason {
    Reason::Violation { check: "R3".into(), place: None, role: Role { node: "", partition: "" } }
}

fn run(fails: impl Fn(&Value) -> bool, patience: usize) -> (Shrunk, usize) {
    let mut fake = Fake { fails, asked: 0, patience };
    let begin = failing(storm(), storm_of(&storm()));
    let shrunk = shrink(begin, &reason(), &mut fake);
    (shrunk, fake.asked)
}

fn does(scenario: &Value, action: &str, target: &str) -> bool {
    let is = |step: &Value| edit::action(step) == action && edit::targets(step) == [target];
    edit::steps(scenario).iter().any(is)
}

fn has(scenario: &Value, pointer: &str) -> bool {
    scenario.pointer(pointer).is_some()
}

#[test]
fn what_does_not_matter_is_cut_and_what_matters_stays() {
    let needs = |scenario: &Value| {
        let is_storm = has(scenario, "/chaos");
        let loses =
            does(scenario, "power-loss", "brokers(2)") && has(scenario, "/workloads/writer");
        (is_storm || loses) && has(scenario, "/topics/orders/config/min.insync.replicas")
    };
    let (shrunk, asked) = run(needs, usize::MAX);
    let smallest = &shrunk.smallest.scenario;
    let [step] = edit::steps(smallest) else { panic!("one step is needed: {smallest}") };
    assert_eq!((edit::action(step), edit::targets(step)), ("power-loss", vec!["brokers(2)"]));
    assert!(edit::run_for(smallest) < Span::from_secs(2), "{smallest}");
    let left = |key: &str| smallest.get(key).cloned().unwrap_or_default();
    assert_eq!(left("cluster"), json!({ "brokers": 2, "controllers": 1 }));
    assert_eq!(
        left("topics"),
        json!({ "orders": { "partitions": 1, "config": { "min.insync.replicas": 2 } } })
    );
    let writer = json!({ "kind": "producer", "topic": "orders", "rate-per-s": 10 });
    assert_eq!(left("workloads"), json!({ "writer": writer }));
    for gone in ["chaos", "broker-config", "network", "heal-at", "why"] {
        assert_eq!(left(gone), Value::Null, "{gone}");
    }
    assert!(shrunk.is_complete);
    assert!(asked < 400, "{asked} candidates");
}

#[test]
fn two_faults_that_need_each_other_are_found_among_others() {
    let needs = |scenario: &Value| {
        has(scenario, "/chaos")
            || does(scenario, "kill", "brokers(3)") && does(scenario, "pause", "brokers(2)")
    };
    let (shrunk, _) = run(needs, usize::MAX);
    let left: Vec<&str> = edit::steps(&shrunk.smallest.scenario).iter().map(edit::action).collect();
    assert_eq!(left, ["kill", "pause"]);
}

#[test]
fn a_failure_that_needs_its_storm_keeps_it_and_is_cut_elsewhere() {
    let (shrunk, _) = run(|scenario| has(scenario, "/chaos"), usize::MAX);
    let smallest = &shrunk.smallest.scenario;
    assert!(has(smallest, "/chaos"));
    assert_eq!(smallest["run-for"], json!("21s"));
    assert_eq!(smallest["cluster"], json!({ "brokers": 1, "controllers": 1 }));
    assert!(!has(smallest, "/workloads/reader") || !has(smallest, "/workloads/writer"));
}

#[test]
fn the_end_is_round_where_that_fails_too() {
    let end_of = |run_for: &str, fails: fn(&Value) -> bool| {
        let scenario = json!({
            "claim": "x", "run-for": run_for, "cluster": { "brokers": 1 },
            "topics": { "orders": { "partitions": 1 } },
            "workloads": { "writer": { "kind": "producer", "topic": "orders", "rate-per-s": 10 } },
        });
        let mut fake = Fake { fails, asked: 0, patience: usize::MAX };
        let smallest = shrink(failing(scenario, Vec::new()), &reason(), &mut fake).smallest;
        smallest.scenario["run-for"].clone()
    };
    let at_least = |scenario: &Value| edit::run_for(scenario) >= Span::from_nanos(1_337_000_000);
    assert_eq!(end_of("1337ms", at_least), json!("2s"));
    let exactly = |scenario: &Value| edit::run_for(scenario) == Span::from_nanos(1_337_000_000);
    assert_eq!(end_of("1337ms", exactly), json!("1337ms"), "not where it would pass");
}

#[test]
fn a_failure_that_needs_everything_is_left_as_it_is() {
    let all = storm();
    let (shrunk, _) = run(|scenario| *scenario == all, usize::MAX);
    assert_eq!(
        (shrunk.smallest.scenario, shrunk.cuts, shrunk.is_complete),
        (storm(), Vec::new(), true)
    );
}

#[test]
fn when_the_time_is_up_the_best_so_far_is_given() {
    let (shrunk, asked) = run(|_| true, 2);
    assert!(!shrunk.is_complete);
    assert!(asked <= 4, "{asked} candidates");
    assert!(!shrunk.cuts.is_empty());
}

#[test]
fn every_cut_is_a_smaller_scenario_or_a_plainer_one_so_that_the_search_ends() {
    // Whatever is asked fails: the search must come to an end by itself, at next to nothing.
    let (shrunk, asked) = run(|_| true, usize::MAX);
    assert!(shrunk.is_complete);
    assert!(asked < 200, "{asked} candidates");
    assert_eq!(edit::steps(&shrunk.smallest.scenario), [] as [Value; 0]);
}
