//! What leaders promise of their logs: R1 to R9, R20, R21, R23, R24, R26, P1 and P3.

use std::time::Duration;

use super::cluster::{NONE, Run, version};
use super::*;
use crate::checker::{ClusterFacts, Stop};

#[test]
fn r1_sees_two_leaders_of_a_term_and_one_that_nobody_elected() {
    let mut run = Run::settled();
    run.append(2, 0, 2, 3);
    assert_eq!(run.fired(), ["R1"]);
    let mut run = Run::settled();
    run.change(version(1, 2, 1, &[2, 3])).leads(3, 1, 2, &[2, 3]);
    assert_eq!(run.fired(), ["R1"]);
    let mut run = Run::settled();
    run.change(version(1, 2, 1, &[2, 3])).leads(2, 1, 2, &[2, 3]);
    assert_eq!(run.fired(), NONE);
    run.change(version(2, 3, 1, &[2, 3]));
    assert_eq!(run.fired(), ["R1"]);
    // A new version of the metadata is no new term, and a new process begins anew.
    let mut run = Run::settled();
    run.change(version(1, 1, 0, &[1, 2, 3])).takes_over(1, 0, 1, &[1, 2, 3]);
    assert_eq!(run.fired(), NONE);
    let mut run = Run::settled();
    run.leads(1, 0, 2, &[1, 2, 3]);
    assert_eq!(run.fired(), ["R1"]);
    let mut run = Run::settled();
    run.stop(1, Stop::Kill).start(1).opens(1, 2).leads(1, 0, 2, &[1, 2, 3]);
    assert!(!run.fired().contains(&"R1"));
}

#[test]
fn r2_sees_epochs_that_fall() {
    let mut run = Run::settled();
    run.change(version(1, 1, 0, &[1, 2])).change(version(1, 1, 0, &[1, 2]));
    assert_eq!(run.fired(), ["R2"], "a node tells of one version twice");
    let mut run = Run::settled();
    run.change(version(1, 2, 1, &[2, 3])).change_at(2, version(2, 1, 0, &[1, 2]));
    assert!(run.fired().contains(&"R2"), "a later version of an earlier term");
    let mut run = Run::settled();
    run.change(version(1, 2, 3, &[2, 3])).leads(2, 3, 2, &[2, 3]).follows(2, 1, 0);
    assert_eq!(run.fired(), ["R2"]);
}

#[test]
fn r3_sees_two_records_of_two_brokers_at_one_place() {
    let mut run = Run::settled();
    run.append(1, 0, 2, 3);
    let other = Observation::FollowerAppended {
        partition: partition(),
        current_leader_epoch: LeaderEpoch::new(0),
        leader_epoch: LeaderEpoch::new(0),
        base_offset: Offset::new(2),
        end_offset: Offset::new(3),
        producer: None,
        crc: 99,
    };
    run.say(2, other);
    assert_eq!(run.fired(), ["R3"]);
}

#[test]
fn r4_sees_another_record_where_one_is_committed() {
    let mut run = Run::settled();
    run.change(version(1, 2, 1, &[2, 3])).leads(2, 1, 2, &[2, 3]).truncate(2, 2, 0);
    run.append(2, 1, 0, 2);
    assert!(run.fired().contains(&"R4"));
    // The old leader does not know yet that there is a new one: what it writes is never committed.
    let mut run = Run::settled();
    run.change(version(1, 2, 1, &[2, 3])).leads(2, 1, 2, &[2, 3]).follows(3, 2, 1);
    run.commit(2, 1, 2, 4, &[2, 3]).append(1, 0, 2, 3);
    assert_eq!(run.fired(), NONE);
    // Of its new leader it may not take it, although its term is an older one.
    run.follows(1, 2, 1).copy(1, 1, 0, 2, 3);
    assert!(run.fired().contains(&"R4"));
}

/// Storm, seed 3294: the leader of term 1 is cut off; what it writes stands where term 2 committed a record of term 0.
#[test]
fn r4_asks_in_which_term_a_record_was_committed() {
    let mut run = Run::settled();
    run.append(1, 0, 2, 3).copy(3, 0, 0, 2, 3);
    run.change(version(1, 2, 1, &[1, 2, 3])).leads(2, 1, 2, &[1, 2, 3]);
    run.change(version(2, 3, 2, &[1, 3])).leads(3, 2, 3, &[1, 3]).follows(1, 3, 2);
    run.fetch(3, 1, 2, 3).watermark(3, 2, 2, 3, &[1, 3], &[1, 3]);
    run.append(2, 1, 2, 3);
    assert_eq!(run.fired(), NONE);
    run.follows(2, 3, 2).copy(2, 2, 1, 2, 3);
    assert!(run.fired().contains(&"R4"), "in term 2 it is committed");
}

#[test]
fn r5_and_r26_see_what_is_served_and_not_committed() {
    let mut run = Run::settled();
    run.append(1, 0, 2, 3).serve(1, 0, 3);
    assert_eq!(run.fired(), ["R26"]);
    let mut run = Run::settled();
    run.truncate(3, 2, 0).copy(3, 0, 0, 0, 1).serve(3, 0, 2);
    assert!(run.fired().contains(&"R5"), "{:?}", run.fired());
}

#[test]
fn r6_and_r7_see_a_member_that_lacks_a_record() {
    let mut run = Run::settled();
    run.truncate(3, 2, 0).barrier();
    assert_eq!(run.fired(), ["R21", "R6", "R7"]);
    // In U it may.
    let mut run = Run::settled();
    run.stop(3, Stop::PowerLoss).start(3).opens(3, 0).barrier();
    assert_eq!(run.fired(), NONE);
}

#[test]
fn r8_sees_a_candidate_whose_log_is_too_short() {
    let mut run = Run::settled();
    run.append(1, 0, 2, 4).copy(2, 0, 0, 2, 4).fetch(1, 2, 0, 4).fetch(1, 3, 0, 4);
    run.watermark(1, 0, 2, 4, &[1, 2, 3], &[1, 2, 3]);
    assert_eq!(run.fired(), ["R8"], "broker 3 has not written what it fetched past");
    let mut run = Run::settled();
    run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
    run.commit(1, 0, 2, 4, &[1, 2]).change(version(2, 1, 0, &[1, 2, 3]));
    assert_eq!(run.fired(), ["R8"], "broker 3 is let in without the last records");
}

#[test]
fn r9_sees_a_leader_that_lacks_a_committed_record() {
    let mut run = Run::settled();
    run.truncate(3, 2, 0).change(version(1, 3, 1, &[2, 3])).leads(3, 1, 0, &[2, 3]);
    assert!(run.fired().contains(&"R9"));
}

/// Storm, seed 3188: it was paused when it was elected, and wakes when the next leader has committed more.
#[test]
fn r9_asks_nothing_of_a_later_term_from_who_slept_over_its_own() {
    let slept = |keeps: bool| {
        let mut run = Run::settled();
        run.change(version(1, 3, 1, &[2, 3])).change(version(2, 2, 2, &[1, 2]));
        run.leads(2, 2, 2, &[1, 2]).follows(1, 2, 2).commit(2, 2, 2, 4, &[1, 2]);
        if !keeps {
            run.truncate(3, 2, 0);
        }
        run.leads(3, 1, if keeps { 2 } else { 0 }, &[2, 3]);
        run.fired().contains(&"R9")
    };
    assert!(!slept(true));
    assert!(slept(false), "what was committed before its term");
    // What a later term committed may be older than its own.
    let mut run = Run::settled();
    run.append(1, 0, 2, 3).copy(2, 0, 0, 2, 3);
    run.change(version(1, 3, 1, &[1, 2, 3])).change(version(2, 2, 2, &[1, 2]));
    run.leads(2, 2, 3, &[1, 2]).follows(1, 2, 2).fetch(2, 1, 2, 3);
    run.watermark(2, 2, 2, 3, &[1, 2], &[1, 2]).leads(3, 1, 2, &[1, 2, 3]);
    assert_eq!(run.fired(), NONE);
}

#[test]
fn r20_sees_what_crosses_from_another_term() {
    let mut run = Run::settled();
    run.change(version(1, 2, 1, &[2, 3])).follows(3, 2, 1).copy(3, 0, 0, 2, 3);
    assert_eq!(run.fired(), ["R20"], "it follows in term 1");
    let mut run = Run::settled();
    run.change(version(1, 2, 1, &[2, 3])).follows_with(3, 2, 1, 3).copy(3, 0, 0, 2, 3);
    assert_eq!(run.fired(), NONE, "taken before, written after");
    run.copy(3, 0, 0, 3, 4);
    assert_eq!(run.fired(), ["R20"], "taken after");
    let mut run = Run::settled();
    run.say(1, fetched_in(None));
    assert_eq!(run.fired(), ["R20"], "a replica always says its term");
    let mut run = Run::settled();
    run.say(1, fetched_in(Some(0)));
    assert_eq!(run.fired(), NONE);
}

fn fetched_in(own: Option<i32>) -> Observation {
    Observation::FollowerFetched {
        partition: partition(),
        leader_epoch: LeaderEpoch::new(0),
        replica: ottla::types::BrokerId::new(2),
        broker_epoch: None,
        current_leader_epoch: own.map(LeaderEpoch::new),
        fetch_offset: Offset::new(2),
    }
}

#[test]
fn r21_sees_a_truncation_through_the_watermark() {
    let mut run = Run::settled();
    run.append(1, 0, 2, 3).copy(2, 0, 0, 2, 3).truncate(2, 3, 2);
    assert_eq!(run.fired(), NONE, "offset 2 is not committed");
    run.truncate(2, 2, 0);
    assert_eq!(run.fired(), ["R21"]);
}

#[test]
fn r23_sees_a_follower_ahead_of_every_leader() {
    let mut run = Run::settled();
    run.follower_watermark(2, 0, 2);
    assert_eq!(run.fired(), NONE);
    run.append(1, 0, 2, 3).copy(2, 0, 0, 2, 3).follower_watermark(2, 2, 3);
    assert_eq!(run.fired(), ["R23"]);
}

#[test]
fn r24_sees_what_is_in_no_log() {
    let mut run = Run::settled();
    run.barrier();
    assert_eq!(run.fired(), NONE);
    for id in 1..=3 {
        run.stop(id, Stop::Kill).start(id).opens(id, 0);
    }
    run.barrier();
    assert!(run.fired().contains(&"R24"));
}

#[test]
fn p1_sees_a_producer_that_waits_for_what_has_happened() {
    let mut run = Run::settled();
    run.append(1, 0, 2, 3).copy(2, 0, 0, 2, 3).copy(3, 0, 0, 2, 3);
    run.fetch(1, 2, 0, 3).fetch(1, 3, 0, 3).wait(2).barrier();
    assert_eq!(run.fired(), NONE, "it is not committed");
    run.watermark(1, 0, 2, 3, &[1, 2, 3], &[1, 2, 3]).barrier();
    assert_eq!(run.fired(), NONE, "the answer may be on its way");
    run.wait(2).barrier();
    assert_eq!(run.fired(), ["P1"]);
}

#[test]
fn p3_sees_a_watermark_that_waits_for_nobody() {
    let mut run = Run::settled();
    run.checkers.describe_cluster(ClusterFacts {
        session_timeout: Duration::from_secs(60),
        lag_time_max: Duration::from_secs(2),
        heartbeat_delay_max: Duration::ZERO,
    });
    run.append(1, 0, 2, 3).wait(2).barrier();
    assert_eq!(run.fired(), NONE, "it waits for two followers");
    run.change(version(1, 1, 0, &[1])).takes_over(1, 0, 1, &[1]).wait(2).barrier();
    assert_eq!(run.fired(), NONE, "two are required");
    run.say(1, Observation::MinIsrChanged { partition: partition(), min_isr: 1 }).barrier();
    assert_eq!(run.fired(), NONE, "it may be on its way");
    run.wait(1).barrier();
    assert_eq!(run.fired(), ["P3"]);
    let end_offset = Offset::new(2);
    let asked = Observation::EndTold {
        partition: partition(),
        leader_epoch: LeaderEpoch::new(0),
        end_offset,
    };
    run.say(1, asked);
    assert_eq!(run.checkers.counts()["P3"], 2, "somebody asks");
    run.fetch(1, 2, 0, 2).barrier();
    assert_eq!(run.checkers.counts()["P3"], 2, "a follower may be about to join");
}
