//! The metadata quorum: Q1 to Q12, Q14 to Q17, and what must come about: L2 to L7.

use std::time::Duration;

use ottla::types::{BrokerId, QuorumRole};

use super::cluster::{NONE, Run, version};
use super::*;
use crate::checker::ghost::log::METADATA;
use crate::checker::{Stop, liveness};
use crate::scenario::duration::Span;
use crate::verdict::show_time;

/// Node 1 leads epoch 1; its first record is durable on nodes 1 and 2, and committed.
fn led() -> Run {
    let mut run = Run::bare();
    run.role(1, QuorumRole::Candidate, 1, None).vote(1, 1, 1).vote(2, 1, 1);
    run.role(1, QuorumRole::Leader, 1, Some(1)).role(2, QuorumRole::Follower, 1, Some(1));
    run.metadata(1, 1, 0).metadata(2, 1, 0).active(1, 1).committed(1, 1, 1);
    run
}

/// Node 2 takes over in epoch 2.
fn taken_over() -> Run {
    let mut run = led();
    run.role(2, QuorumRole::Candidate, 2, None).vote(2, 2, 2).vote(3, 2, 2);
    run.role(2, QuorumRole::Leader, 2, Some(2)).metadata(2, 2, 1);
    run.metadata(3, 1, 0).metadata(3, 2, 1).active(2, 2).committed(2, 2, 2);
    run
}

#[test]
fn a_quorum_in_order_fires_nothing() {
    let mut run = taken_over();
    run.role(1, QuorumRole::Follower, 2, Some(2)).metadata(1, 2, 1).committed(1, 2, 2);
    assert_eq!(run.fired(), NONE);
}

#[test]
fn q1_and_q17_see_leaders_that_cannot_be() {
    let mut run = led();
    run.role(3, QuorumRole::Follower, 1, Some(2));
    assert_eq!(run.fired(), ["Q1"]);
    let mut run = led();
    run.role(3, QuorumRole::Leader, 2, Some(3));
    assert_eq!(run.fired(), ["Q17"], "it never stood for epoch 2");
    let mut run = led();
    run.role(1, QuorumRole::Follower, 1, Some(1));
    assert_eq!(run.fired(), ["Q17"], "a leader does not follow in its own term");
    let mut run = led();
    run.checkers.name_node(NodeId(4), BrokerId::new(4));
    run.role(4, QuorumRole::Prospective, 2, None);
    assert_eq!(run.fired(), ["Q17"], "it is no voter");
}

#[test]
fn q2_sees_a_second_vote_over_a_restart() {
    let mut run = led();
    run.stop(2, Stop::PowerLoss).start(2).vote(2, 1, 1);
    assert_eq!(run.fired(), NONE);
    run.vote(2, 1, 3);
    assert_eq!(run.fired(), ["Q2"]);
}

#[test]
fn q3_sees_an_epoch_that_was_forgotten() {
    let mut run = led();
    run.stop(2, Stop::PowerLoss).start(2).role(2, QuorumRole::Unattached, 0, None);
    assert_eq!(run.fired(), ["Q3"]);
}

#[test]
fn q4_and_q5_see_a_watermark_that_falls_or_runs_ahead() {
    let mut run = led();
    run.committed(1, 1, 0);
    assert_eq!(run.fired(), ["Q4"]);
    let mut run = led();
    run.metadata(1, 1, 1).metadata_written(2, 1, 1).committed(1, 1, 2);
    assert_eq!(run.fired(), ["Q5"], "node 2 has not synced it");
    run.metadata_synced(2, 2);
    let mut run = led();
    run.metadata(1, 1, 1).metadata(2, 1, 1).committed(1, 1, 2);
    assert_eq!(run.fired(), NONE);
}

#[test]
fn q6_sees_two_records_at_one_place() {
    let mut run = led();
    run.metadata(3, 2, 0);
    assert_eq!(run.fired(), ["Q6"]);
}

#[test]
fn q6_leaves_a_deposed_leader_to_itself() {
    // Node 3 is elected in epoch 2 and stands still; node 1 leads again in epoch 3, and commits what it wrote in epoch 1.
    let overtaken = || {
        let mut run = led();
        run.metadata(3, 1, 0).metadata(1, 1, 1);
        run.role(3, QuorumRole::Candidate, 2, None).vote(3, 2, 3).vote(2, 2, 3);
        run.role(3, QuorumRole::Leader, 2, Some(3));
        run.role(1, QuorumRole::Candidate, 3, None).vote(1, 3, 1).vote(2, 3, 1);
        run.role(1, QuorumRole::Leader, 3, Some(1)).role(2, QuorumRole::Follower, 3, Some(1));
        run.metadata(1, 3, 2).metadata(2, 1, 1).metadata(2, 3, 2).committed(1, 3, 3);
        run
    };
    let mut run = overtaken();
    run.metadata_written(3, 2, 1);
    assert_eq!(run.fired(), NONE, "epoch 2 is over, and node 3 does not know");
    let mut run = overtaken();
    run.metadata_written(3, 4, 1);
    assert!(run.fired().contains(&"Q6"), "who leads in epoch 4 has all of it");
}

#[test]
fn q7_sees_a_truncation_of_what_is_committed() {
    let cut = |from, to| Observation::LogTruncated {
        partition: METADATA,
        from: Offset::new(from),
        to: Offset::new(to),
    };
    let mut run = led();
    run.metadata(1, 1, 1).say(1, cut(2, 1));
    assert_eq!(run.fired(), NONE, "offset 1 is not committed");
    run.say(2, cut(1, 0));
    assert_eq!(run.fired(), ["Q7"]);
}

#[test]
fn q7_leaves_alone_who_does_not_know_of_the_term_that_committed_it() {
    let cut = || Observation::LogTruncated {
        partition: METADATA,
        from: Offset::new(2),
        to: Offset::new(1),
    };
    // Node 1 wrote offset 1 in epoch 1; node 2 led in epoch 2 without it; node 1 leads again in epoch 3, and commits it. Node 3 has it.
    let committed_later = || {
        let mut run = led();
        run.metadata(1, 1, 1).metadata(3, 1, 0).metadata(3, 1, 1);
        run.role(2, QuorumRole::Candidate, 2, None).vote(2, 2, 2).vote(3, 2, 2);
        run.role(2, QuorumRole::Leader, 2, Some(2)).role(3, QuorumRole::Follower, 2, Some(2));
        run.role(1, QuorumRole::Candidate, 3, None).vote(1, 3, 1).vote(2, 3, 1);
        run.role(1, QuorumRole::Leader, 3, Some(1)).role(2, QuorumRole::Follower, 3, Some(1));
        run.metadata(1, 3, 2).metadata(2, 1, 1).metadata(2, 3, 2).committed(1, 3, 3);
        run
    };
    let mut run = committed_later();
    run.say(3, cut());
    assert_eq!(run.fired(), NONE, "it is told so by the leader of epoch 2");
    let mut run = committed_later();
    run.role(3, QuorumRole::Follower, 3, Some(1)).say(3, cut());
    assert_eq!(run.fired(), ["Q7"], "in epoch 3 nobody may tell it so");
    let mut run = committed_later();
    run.committed(3, 2, 2).say(3, cut());
    assert!(run.fired().contains(&"Q7"), "it knew that this is committed");
}

#[test]
fn q8_sees_a_controller_that_is_active_too_early() {
    let mut run = led();
    run.role(2, QuorumRole::Candidate, 2, None).role(2, QuorumRole::Leader, 2, Some(2));
    run.metadata(2, 2, 1).active(2, 2);
    assert_eq!(run.fired(), ["Q8"], "its record is on node 2 alone");
    let mut run = led();
    run.role(2, QuorumRole::Candidate, 2, None).role(2, QuorumRole::Leader, 2, Some(2));
    run.metadata(2, 2, 1).metadata(3, 1, 0).committed(2, 2, 1);
    assert_eq!(run.fired(), ["Q8"], "all have what it inherited, and its own record nobody");
}

#[test]
fn q9_sees_an_active_controller_that_loads_a_snapshot() {
    let load = Observation::MetadataSnapshotLoaded {
        end_offset: Offset::new(1),
        epoch: LeaderEpoch::new(1),
        digest: 0,
    };
    let mut run = led();
    run.say(2, load);
    assert_eq!(run.fired(), NONE);
    run.say(1, load);
    assert_eq!(run.fired(), ["Q9"]);
}

#[test]
fn q11_sees_a_term_that_is_led_twice() {
    let mut run = led();
    run.stop(1, Stop::Kill).start(1).role(1, QuorumRole::Candidate, 1, None);
    run.role(1, QuorumRole::Leader, 1, Some(1));
    assert_eq!(run.fired(), ["Q11"]);
}

#[test]
fn q12_sees_a_leader_that_goes_on_without_its_majority() {
    let mut run = taken_over();
    run.wait(1).metadata_written(1, 1, 1);
    assert_eq!(run.fired(), NONE, "it may not know yet");
    let mut run = taken_over();
    run.wait(4).metadata_written(1, 1, 1);
    assert!(run.fired().contains(&"Q12"));
    let mut run = taken_over();
    run.tell(1, Event::Paused).wait(9).tell(1, Event::Resumed).metadata_written(1, 1, 2);
    assert!(!run.fired().contains(&"Q12"), "it stood still");
}

#[test]
fn q14_sees_two_states_of_one_version() {
    let mut run = Run::settled();
    run.change_at(2, version(0, 1, 0, &[1, 2, 3]));
    assert_eq!(run.fired(), NONE);
    run.change_at(3, version(0, 1, 0, &[1, 2]));
    assert_eq!(run.fired(), ["Q14"]);
}

#[test]
fn q15_sees_what_is_published_too_early() {
    let applied = |end| Observation::MetadataApplied {
        end_offset: Offset::new(end),
        epoch: LeaderEpoch::new(1),
    };
    let mut run = led();
    run.say(3, applied(1));
    assert_eq!(run.fired(), NONE);
    run.say(3, applied(2));
    assert_eq!(run.fired(), ["Q15"]);
    let mut run = led();
    run.stop(3, Stop::Kill).start(3).role(3, QuorumRole::Follower, 1, Some(1));
    run.say(3, applied(0));
    assert_eq!(run.fired(), ["Q15"], "offset 0 was committed when it started");
    let mut run = taken_over();
    run.stop(1, Stop::Kill).start(1).role(1, QuorumRole::Unattached, 1, None).say(1, applied(1));
    assert_eq!(run.fired(), NONE, "it has not heard of epoch 2");
}

#[test]
fn q16_sees_a_controller_that_lacks_committed_metadata() {
    let mut run = led();
    run.role(3, QuorumRole::Candidate, 2, None).role(3, QuorumRole::Leader, 2, Some(3));
    run.active(3, 2);
    assert!(run.fired().contains(&"Q16"));
}

#[test]
fn what_must_come_about_is_missed() {
    let mut run = Run::settled();
    assert_eq!(run.missing(), NONE);
    run.append(1, 0, 2, 3);
    assert_eq!(run.missing(), ["L2"], "the watermark is behind");
    let mut run = Run::settled();
    run.change(version(1, 1, 0, &[1, 2]));
    assert_eq!(run.missing(), ["L2"], "broker 3 is not in sync");
    let mut run = Run::settled();
    run.follower_watermark(3, 0, 2);
    assert_eq!(run.missing(), NONE);
    run.follower_watermark(2, 0, 1);
    assert_eq!(run.missing(), ["L2"], "broker 2 was not told of the last record");
    let mut run = Run::settled();
    run.registered(3, true);
    assert_eq!(run.missing(), ["L3"]);
    let mut run = Run::settled();
    run.propose(1, 0, &[1, 2]).wait(60);
    assert_eq!(run.missing(), ["L4"]);
    let applied = |end| Observation::MetadataApplied {
        end_offset: Offset::new(end),
        epoch: LeaderEpoch::new(1),
    };
    let mut run = Run::settled();
    run.say(1, applied(4)).say(2, applied(4)).say(3, applied(3));
    assert_eq!(run.missing(), ["L5"]);
    let mut run = led();
    assert_eq!(run.missing(), NONE);
    run.stop(1, Stop::Kill);
    assert_eq!(run.missing(), ["L7"]);
}

#[test]
fn whoever_waits_is_named_with_what_it_waits_for() {
    let check = |run: &Run, expected: &[&str]| assert_eq!(run.waiting(), expected);
    let mut run = Run::settled();
    run.checkers.name_topic(partition().topic_id, "orders");
    check(&run, &[]);
    run.append(1, 0, 2, 4).copy(2, 0, 0, 2, 4).fetch(1, 2, 0, 4);
    check(
        &run,
        &[
            "orders-0: the high watermark stands at 2 and the log ends at 4; of the maximal ISR [1,2,3] broker 3 has fetched least, below 2",
        ],
    );
    run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
    run.watermark(1, 0, 2, 4, &[1, 2], &[1, 2]);
    check(
        &run,
        &[
            "orders-0: broker 3 is not in the ISR [1,2]: it has fetched below 2 of 4, and its copy ends at 2",
        ],
    );
    run.copy(3, 0, 0, 2, 4).fetch(1, 3, 0, 4);
    check(
        &run,
        &[
            "orders-0: broker 3 is not in the ISR [1,2]: it has fetched everything, and its copy ends at 4",
        ],
    );
    run.propose(1, 0, &[1, 2, 3]);
    assert!(run.waiting()[1].starts_with("orders-0: leader 1 has asked for the ISR [1,2,3]"));
    run.stop(3, Stop::Kill);
    assert!(run.waiting()[0].ends_with("broker 3 is not in the ISR [1,2]: it does not run"));
    run.stop(1, Stop::Kill);
    check(&run, &["orders-0: its leader, broker 1 in epoch 0, does not run"]);
}

#[test]
fn a_quorum_without_a_leader_says_what_each_voter_is() {
    let mut run = led();
    assert_eq!(run.waiting(), Vec::<String>::new());
    run.stop(1, Stop::Kill).role(2, QuorumRole::Candidate, 2, None);
    let said = run.waiting().remove(0);
    assert!(said.starts_with("no node is the active controller; of the voters 1 does not run, 2 is a candidate in epoch 2"), "{said}");
}

/// Evidence stands beside the story, whose times count from the start of the clients: the world began earlier.
#[test]
fn evidence_tells_the_time_as_the_story_does() {
    let began = SimTime(1_000_000);
    let told = |at: SimTime| show_time(Span::from_nanos(at.nanos() - began.nanos()));
    let settled = || {
        let mut run = Run::settled();
        run.checkers.begin(began);
        run
    };
    let evidence = |run: &Run, check: &str| {
        let of = run.checkers.violations().iter().find(|found| found.check == check);
        of.map_or_else(String::new, |found| found.evidence.join("; "))
    };

    let mut run = settled();
    run.propose(1, 0, &[1, 2]);
    let ghost = run.checkers.ghost();
    let (_, asked) = ghost.leading(NodeId(1), partition()).unwrap().pending.unwrap();
    let expected = format!("the ISR [1,2] was asked for at {} and not answered", told(asked));
    let missing = liveness::missing(ghost, asked + Duration::from_secs(60));
    assert!(missing.iter().any(|missing| missing.what.ends_with(&expected)), "{missing:?}");
    let expected = format!("has asked for the ISR [1,2] at {}", told(asked));
    assert!(run.waiting().iter().any(|line| line.contains(&expected)), "{:?}", run.waiting());

    let mut run = settled();
    let acked = run.checkers.ghost().partition(partition()).unwrap().acked.values().next();
    let expected = format!("acknowledged at {}", told(acked.unwrap().at));
    for id in 1..=3 {
        run.stop(id, Stop::Kill).start(id).opens(id, 0);
    }
    run.barrier();
    assert!(evidence(&run, "R24").ends_with(&expected), "{}", evidence(&run, "R24"));

    let mut run = settled();
    run.append(1, 0, 2, 3).copy(2, 0, 0, 2, 3).copy(3, 0, 0, 2, 3);
    run.fetch(1, 2, 0, 3).fetch(1, 3, 0, 3).watermark(1, 0, 2, 3, &[1, 2, 3], &[1, 2, 3]);
    let since = run.checkers.ghost().leading(NodeId(1), partition()).unwrap().watermark_at;
    run.wait(2).barrier();
    assert!(evidence(&run, "P1").ends_with(&format!("since {}", told(since))));

    let mut run = taken_over();
    run.checkers.begin(began);
    let (_, term) = run.checkers.ghost().quorum().newest_active().unwrap();
    let since = term.active_at.unwrap();
    run.wait(4).metadata_written(1, 1, 1);
    assert!(evidence(&run, "Q12").ends_with(&format!("since {}", told(since))));
}

#[test]
fn q14_sees_a_snapshot_that_lacks_something() {
    let (end_offset, epoch) = (Offset::new(1), LeaderEpoch::new(1));
    let saved = |digest| Observation::MetadataSnapshotSaved { end_offset, epoch, digest };
    let loaded = |digest| Observation::MetadataSnapshotLoaded { end_offset, epoch, digest };
    let mut run = led();
    run.say(1, saved(7)).say(2, saved(7)).say(3, loaded(7));
    assert_eq!(run.fired(), NONE);
    run.say(3, loaded(8));
    assert_eq!(run.fired(), ["Q14"]);
}

#[test]
fn q17_sees_a_pre_vote_of_one_that_hears_its_leader() {
    let pre_vote = |voter: i32, epoch: i32| Observation::VoteGranted {
        voter: BrokerId::new(voter),
        epoch: LeaderEpoch::new(epoch),
        candidate: BrokerId::new(3),
        is_pre_vote: true,
    };
    let mut run = led();
    run.role(2, QuorumRole::Follower, 1, Some(1)).committed(2, 1, 1).say(2, pre_vote(2, 1));
    assert_eq!(run.fired(), NONE, "it follows anew, and has heard nothing yet but its own disk");
    run.metadata(2, 1, 1).say(2, pre_vote(2, 1));
    assert_eq!(run.fired(), ["Q17"]);
    let mut run = led();
    run.metadata(2, 1, 1).role(2, QuorumRole::Prospective, 1, Some(1)).say(2, pre_vote(2, 1));
    assert_eq!(run.fired(), NONE, "it hears nobody any more");
    let mut run = led();
    run.metadata(2, 1, 1).role(1, QuorumRole::Resigned, 1, None).say(2, pre_vote(2, 1));
    assert_eq!(run.fired(), NONE, "its leader has said that it ends");
    let mut run = led();
    run.say(1, pre_vote(1, 1));
    assert_eq!(run.fired(), ["Q17"], "it leads itself");
}
