//! Runs that differ from ordinary ones: drawn anew from a moment on.

use std::sync::Arc;

use super::*;
use crate::run::Job;
use crate::scenario::Scenario;
use crate::trace::{Entry, Kind, TraceResult};

/// A kill at 4s, which stands in the trace: so the moment at which the clients started is known.
const SCENARIO: &str = r#"
claim = "x"
run-for = "8s"

[cluster]
brokers = 3

[topics.orders]
partitions = 2

[workloads.writer]
kind = "producer"
topic = "orders"
value-bytes = { uniform = [32, 512] }

[[timeline]]
at = "4s"
do = "kill"
target = "brokers(3)"

[[expect]]
that = "event"
event = "fault.started"
is = ">= 1"
bites = true
"#;

fn traced(how: &How) -> Vec<Entry> {
    let scenario = Arc::new(Scenario::load("x.toml", SCENARIO, &[]).unwrap());
    let job = Job { scenario, variant: None, seed: 5, is_recording: true, keeps_all: false };
    let trace: Option<TraceResult> = run_as(&job, how).1;
    trace.unwrap().recording.unwrap()
}

/// Where two traces part: the number of the first entry that differs.
fn parted(one: &[Entry], other: &[Entry]) -> Option<usize> {
    let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    (same < one.len().max(other.len())).then_some(same)
}

#[test]
fn a_run_that_is_drawn_anew_is_the_same_up_to_then_and_another_one_after() {
    let ordinary = traced(&How::default());
    let is_kill = |entry: &&Entry| entry.kind == Kind::World && entry.text.starts_with("Killed");
    let killed = ordinary.iter().find(is_kill).unwrap().at;
    let at = |millis: u64| killed.nanos() - 4_000_000_000 + millis * 1_000_000;
    for from in [500, 2_000, 6_500] {
        let reseed = |seed| How {
            reseed: Some((Span::from_nanos(from * 1_000_000), seed)),
            ..How::default()
        };
        let other = traced(&reseed(11));
        let part = parted(&ordinary, &other).expect("every draw is another one");
        let first = other[part].at.nanos();
        assert!(first >= at(from), "from {from} ms: the runs part at {first} already");
        assert!(first < at(from) + 100_000_000, "from {from} ms: the runs part at {first} only");
        // What differs is of every source: the network's delays, the disks', the sizes of values.
        for kind in [Kind::Network, Kind::Disk, Kind::Observation] {
            let of = |trace: &[Entry]| -> Vec<(SimTime, String)> {
                let after = trace[part..].iter().filter(|entry| entry.kind == kind);
                after.map(|entry| (entry.at, entry.text.clone())).collect()
            };
            assert_ne!(of(&ordinary), of(&other), "{kind:?}");
        }
        assert!(parted(&other, &traced(&reseed(11))).is_none(), "the same future twice");
        let third = traced(&reseed(12));
        let part = parted(&other, &third).expect("another seed is another future");
        assert!(third[part].at.nanos() >= at(from));
    }
}
