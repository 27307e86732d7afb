//! Whom a core can do without.

use std::collections::BTreeSet;

use super::cluster::{Run, version};
use super::*;
use crate::checker::left_out::left_out;
use crate::checker::{Stop, TopicFacts};

const NOBODY: [u32; 0] = [];

/// Who is left out where the nodes are looked at in this order.
fn left(run: &Run, order: &[u32]) -> Vec<u32> {
    let order: Vec<NodeId> = order.iter().map(|id| NodeId(*id)).collect();
    left_out(run.checkers.ghost(), &order, 1).into_iter().map(|node| node.0).collect()
}

/// One member is enough, and the voter is none of the brokers.
fn with_a_voter_apart() -> Run {
    let mut run = Run::settled();
    run.checkers.name_voters([NodeId(9)]);
    run.checkers.describe_topic(partition().topic_id, TopicFacts::default());
    run
}

#[test]
fn a_majority_of_the_voters_stays() {
    let mut run = Run::settled();
    run.checkers.describe_topic(partition().topic_id, TopicFacts::default());
    assert_eq!(left(&run, &[1, 2, 3]), [1]);
    assert_eq!(left(&run, &[3, 1, 2]), [3]);
    run.checkers.name_voters([NodeId(9)]);
    assert_eq!(left(&run, &[1, 2, 3]), [1, 2]);
    assert_eq!(left(&run, &[9]), NOBODY, "nobody else votes");
}

#[test]
fn as_many_stay_as_must_be_in_sync() {
    let mut run = with_a_voter_apart();
    let facts = TopicFacts { min_isr: 2, ..TopicFacts::default() };
    run.checkers.describe_topic(partition().topic_id, facts);
    assert_eq!(left(&run, &[2, 1, 3]), [2]);
    // Of a topic that the plan does not name the usual number counts.
    run.checkers.describe_topic(partition().topic_id, TopicFacts::default());
    assert_eq!(left_out(run.checkers.ghost(), &[NodeId(1), NodeId(2)], 3), BTreeSet::new());
}

#[test]
fn somebody_stays_who_may_lead_without_loss() {
    let mut run = with_a_voter_apart();
    run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
    assert_eq!(left(&run, &[1, 2, 3]), [1, 3], "broker 3 may lack something");
    run.propose(1, 0, &[1]);
    assert_eq!(left(&run, &[1, 2, 3]), [2, 3], "and so may broker 2 soon");
    let mut run = with_a_voter_apart();
    run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
    run.stop(2, Stop::PowerLoss);
    assert_eq!(left(&run, &[1, 2, 3]), [2, 3], "it may have lost something");
    run.stop(1, Stop::Kill);
    assert_eq!(left(&run, &[1, 2, 3]), NOBODY, "with both dirty nobody can be sure");
}

#[test]
fn what_is_moved_needs_everybody() {
    let mut run = with_a_voter_apart();
    let mut moved = version(1, 1, 0, &[1, 2]);
    moved.adding = &[3];
    run.change(moved).takes_over(1, 0, 1, &[1, 2]);
    assert_eq!(left(&run, &[1, 2, 3]), NOBODY);
}

#[test]
fn who_stands_still_for_good_is_not_waited_for() {
    let mut run = Run::settled();
    run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
    assert!(run.missing().contains(&"L2"), "broker 3 runs, and is not in sync");
    run.tell(3, Event::Paused);
    assert!(!run.missing().contains(&"L2"), "{:?}", run.missing());
    run.tell(3, Event::Resumed);
    assert!(run.missing().contains(&"L2"));
}
