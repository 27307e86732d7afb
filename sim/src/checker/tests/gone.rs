//! Who is gone, what is moved, what is removed: P2, L6, S8.

use std::time::Duration;

use super::cluster::{NONE, Run, Version, version};
use super::*;
use crate::checker::{ClusterFacts, Stop};

/// Broker 1 leads the quorum too; sessions last 3 s, and a silent follower is out of sync after 2 s.
fn controlled() -> Run {
    let mut run = Run::settled();
    run.checkers.describe_cluster(ClusterFacts {
        session_timeout: Duration::from_secs(3),
        lag_time_max: Duration::from_secs(2),
        heartbeat_delay_max: Duration::from_secs(1),
    });
    run.role(1, ottla::types::QuorumRole::Candidate, 1, None);
    run.role(1, ottla::types::QuorumRole::Leader, 1, Some(1));
    run.metadata(1, 1, 0).metadata(2, 1, 0).active(1, 1);
    run
}

#[test]
fn p2_sees_a_broker_that_is_down_and_not_fenced() {
    let mut run = controlled();
    run.stop(3, Stop::Shutdown).wait(13).barrier();
    assert_eq!(run.fired(), NONE, "its session has ended, and a slow controller may just be at it");
    run.wait(2).barrier();
    assert_eq!(run.fired(), ["P2"]);
    let mut run = controlled();
    run.stop(3, Stop::Shutdown).wait(20).start(3);
    assert_eq!(run.fired(), ["P2"], "nobody looked before it was there again");
    let mut run = controlled();
    run.stop(3, Stop::Shutdown).wait(4).change(version(1, 1, 0, &[1, 2]));
    run.registered(3, true).wait(20).barrier();
    assert_eq!(run.fired(), NONE);
    // What it sent in time arrives when it is long gone (group-swarm, seed 2307).
    let heard_late = |fenced_again: bool| {
        let mut run = controlled();
        run.stop(3, Stop::Shutdown).wait(4).change(version(1, 1, 0, &[1, 2])).registered(3, true);
        run.wait(20).registered(3, false).wait(5).barrier();
        assert_eq!(run.fired(), NONE);
        if fenced_again {
            run.registered(3, true);
        }
        run.wait(15).barrier();
        run.fired()
    };
    assert_eq!(heard_late(true), NONE);
    assert_eq!(heard_late(false), ["P2"]);
    // Who was cut off or stood still takes the sessions up anew.
    let mut run = controlled();
    run.stop(3, Stop::Shutdown).tell(1, Event::Paused).wait(20).barrier();
    run.tell(1, Event::Resumed).wait(5).barrier();
    assert_eq!(run.fired(), NONE);
}

#[test]
fn p2_sees_a_silent_follower_in_the_isr() {
    let behind = || {
        let mut run = controlled();
        run.append(1, 0, 2, 3).copy(2, 0, 0, 2, 3).fetch(1, 2, 0, 3);
        run
    };
    let mut run = behind();
    run.wait(5).barrier();
    assert_eq!(run.fired(), NONE);
    run.wait(2).barrier();
    assert_eq!(run.fired(), ["P2"], "broker 3 lacks a record and says nothing");
    let mut run = behind();
    run.wait(8).fetch(1, 3, 0, 3);
    assert_eq!(run.fired(), ["P2"], "it was silent for too long before it spoke again");
    let mut run = behind();
    run.wait(4).propose(1, 0, &[1, 2]).wait(20).barrier();
    assert_eq!(run.fired(), NONE, "the controller was asked and has not answered");
    // It asked in time; while it waited the controller made another version, and it looks each second (group-swarm, seed 794).
    let overtaken = |looked_for: u64| {
        let mut run = behind();
        run.wait(4).propose(1, 0, &[1, 2]).wait(20);
        run.change(version(1, 1, 0, &[1, 3])).takes_over(1, 0, 1, &[1, 3]);
        run.wait(looked_for).barrier();
        run.fired()
    };
    assert_eq!(overtaken(3), NONE);
    assert_eq!(overtaken(5), ["P2"], "it does not ask again");
    let mut run = controlled();
    run.wait(20).barrier();
    assert_eq!(run.fired(), NONE, "nobody lacks anything");
}

/// A move from broker 3 to broker 4 is under way.
fn moving() -> (Run, Version) {
    let under_way = Version {
        replicas: &[1, 2, 3, 4],
        adding: &[4],
        removing: &[3],
        ..version(1, 1, 0, &[1, 2, 3])
    };
    let mut run = Run::settled();
    run.change(under_way);
    (run, under_way)
}

#[test]
fn l6_sees_a_reassignment_that_ends_too_early() {
    let over = |isr| Version { replicas: &[1, 2, 4], ..version(2, 1, 0, isr) };
    let (mut run, _) = moving();
    run.change(over(&[1, 2]));
    assert_eq!(run.fired(), ["L6"], "broker 4 has not caught up");
    let (mut run, under_way) = moving();
    run.change(Version { number: 2, isr: &[1, 2, 4], ..under_way });
    assert!(!run.fired().contains(&"L6"), "it goes on");
    let (mut run, _) = moving();
    run.change(Version { replicas: &[1, 2, 3], ..version(2, 1, 0, &[1, 2]) });
    assert!(!run.fired().contains(&"L6"), "it was taken back");
}

pub(super) fn start_moved(from: i64, to: i64) -> Observation {
    let (from, to) = (Offset::new(from), Offset::new(to));
    Observation::LogStartMoved { partition: partition(), from, to }
}

#[test]
fn s8_sees_uncommitted_records_removed_and_a_start_that_falls() {
    let mut run = Run::settled();
    run.say(1, start_moved(0, 2));
    assert_eq!(run.fired(), NONE);
    run.say(1, start_moved(2, 1));
    assert_eq!(run.fired(), ["S8"]);
    let mut run = Run::settled();
    run.append(1, 0, 2, 3).say(1, start_moved(0, 3));
    assert_eq!(run.fired(), ["S8"], "record 2 is not committed");
    // A follower's log that was emptied begins where its leader's does, and its watermark with it.
    let mut run = Run::settled();
    run.commit(1, 0, 2, 5, &[1, 2, 3]).say(1, start_moved(0, 4));
    run.stop(3, Stop::Kill).start(3).opens(3, 2).follows(3, 1, 0);
    run.truncate(3, 2, 4).say(3, start_moved(0, 4)).copy(3, 0, 0, 4, 5);
    run.follower_watermark(3, 4, 5);
    assert!(!run.fired().iter().any(|check| ["S8", "R12"].contains(check)), "{:?}", run.fired());
}
