//! Whom a core can do without.

use std::collections::BTreeSet;

use ottla::types::BrokerId;

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

/// All are in sync, so many must be, and the voter is none of the brokers.
fn with_a_voter_apart(min_isr: usize) -> Run {
    let mut run = Run::settled();
    run.checkers.name_voters([NodeId(9)]);
    let facts = TopicFacts { min_isr, ..TopicFacts::default() };
    run.checkers.describe_topic(partition().topic_id, facts);
    run
}

#[test]
fn a_majority_of_the_voters_stays() {
    let mut run = Run::bare();
    assert_eq!(left(&run, &[1, 2, 3]), [1]);
    assert_eq!(left(&run, &[3, 1, 2]), [3]);
    run.checkers.name_voters([NodeId(9)]);
    assert_eq!(left(&run, &[1, 2, 3]), [1, 2, 3], "there is no partition, and they have no vote");
    assert_eq!(left(&run, &[9]), NOBODY, "nobody else votes");
}

#[test]
fn as_many_stay_as_must_be_in_sync() {
    assert_eq!(left(&with_a_voter_apart(2), &[2, 1, 3]), [2]);
    assert_eq!(left(&with_a_voter_apart(3), &[2, 1, 3]), NOBODY);
    // Of a topic that the plan does not name the usual number counts.
    let run = with_a_voter_apart(0);
    let usual = |min_isr| left_out(run.checkers.ghost(), &[NodeId(1), NodeId(2)], min_isr);
    assert_eq!(usual(2), BTreeSet::from([NodeId(1)]));
    assert_eq!(usual(3), BTreeSet::new());
}

#[test]
fn nobody_who_is_left_out_may_come_to_be_the_only_one_in_sync() {
    // swarm-core, seed 80: the controller had slept, every session was over, and it fenced one after the other.
    let mut run = with_a_voter_apart(1);
    assert_eq!(left(&run, &[1, 2, 3]), NOBODY);
    run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
    assert_eq!(left(&run, &[1, 2, 3]), [3]);
    run.copy(3, 0, 0, 0, 2).fetch(1, 3, 0, 2).propose(1, 0, &[1, 2, 3]);
    assert_eq!(left(&run, &[1, 2, 3]), NOBODY, "the controller may agree");
}

#[test]
fn somebody_stays_who_may_lead_without_loss() {
    let shrunk = || {
        let mut run = with_a_voter_apart(2);
        run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
        run
    };
    let mut run = shrunk();
    assert_eq!(left(&run, &[1, 2, 3]), [1]);
    run.propose(1, 0, &[1]);
    assert_eq!(left(&run, &[1, 2, 3]), [2], "broker 2 may lack something soon");
    let mut run = shrunk();
    run.stop(2, Stop::PowerLoss);
    assert_eq!(left(&run, &[1, 3, 2]), [3], "broker 1 alone is sure to have everything");
    run.stop(1, Stop::Kill);
    assert_eq!(left(&run, &[1, 2, 3]), NOBODY, "with both dirty nobody can be sure");
}

#[test]
fn what_is_moved_needs_everybody() {
    let mut run = with_a_voter_apart(2);
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

/// A directory that could not be opened for want of space stays offline: an operator makes room and starts the node anew. One that is
/// taken offline for that later must not be (swarm-disk, seed 690).
#[test]
fn a_directory_that_lacked_the_space_to_open_is_known() {
    let offline = |refused: bool, started: bool| {
        let mut run = Run::settled();
        run.stop(3, Stop::Kill).start(3);
        if started {
            let broker_epoch = run.broker_epoch(3);
            run.say(3, Observation::NodeStarted { broker: BrokerId::new(3), broker_epoch });
        }
        if refused {
            run.tell(3, Event::SpaceRefused);
        }
        run.say(3, Observation::LogDirOffline { index: 1 });
        run.checkers.ghost().node(NodeId(3)).unwrap().unopened_dirs.clone()
    };
    assert_eq!(offline(true, false), [1]);
    assert_eq!(offline(false, false), Vec::<u32>::new());
    assert_eq!(offline(true, true), Vec::<u32>::new());
}
