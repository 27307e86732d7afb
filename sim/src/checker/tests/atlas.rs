//! The atlas of faults, row by row.

use super::cluster::{Run, version};
use super::*;
use crate::checker::atlas::{Fault, Stake, at_stake, may};
use crate::checker::{Stop, TopicFacts};

const ALL: [Fault; 9] = [
    Fault::Kill,
    Fault::Shutdown,
    Fault::Isolate,
    Fault::PowerLoss,
    Fault::Wipe,
    Fault::FailWrite,
    Fault::FailSync,
    Fault::Rot,
    Fault::Fill,
];

/// The faults that are tolerable on a broker. Its node is made no voter, for a voter is never wiped.
fn tolerable(run: &mut Run, id: u32) -> Vec<Fault> {
    let ghost = run.checkers.ghost();
    ALL.into_iter().filter(|fault| may(ghost, *fault, NodeId(id))).collect()
}

#[test]
fn with_everybody_in_sync_one_may_be_lost_but_never_by_rot_nor_a_voter_wiped() {
    let mut run = Run::settled();
    assert_eq!(
        tolerable(&mut run, 1),
        [
            Fault::Kill,
            Fault::Shutdown,
            Fault::Isolate,
            Fault::PowerLoss,
            Fault::FailWrite,
            Fault::FailSync,
            Fault::Fill
        ]
    );
}

#[test]
fn all_may_be_killed_while_nobody_lost_a_byte() {
    let mut run = Run::settled();
    run.stop(1, Stop::Kill).stop(2, Stop::Kill);
    assert!(may(run.checkers.ghost(), Fault::Kill, NodeId(3)));
    assert!(!may(run.checkers.ghost(), Fault::PowerLoss, NodeId(3)), "nobody could be elected");
}

#[test]
fn who_lacks_something_must_not_be_able_to_outvote_who_does_not() {
    let mut run = Run::settled();
    run.stop(1, Stop::PowerLoss);
    for fault in [Fault::PowerLoss, Fault::Kill] {
        // Broker 3 may be fenced first, and two are enough for it not to stay eligible.
        assert!(!may(run.checkers.ghost(), fault, NodeId(2)), "{fault:?}");
    }
    run.stop(2, Stop::PowerLoss);
    assert!(!may(run.checkers.ghost(), Fault::Kill, NodeId(3)));
    assert!(may(run.checkers.ghost(), Fault::Isolate, NodeId(3)));
    // Once one is back, the third may go.
    run.start(1).opens(1, 0).registered(1, false);
    run.change_at(3, version(1, 3, 1, &[3])).leads(3, 1, 2, &[3]).follows(1, 3, 1);
    run.copy(1, 1, 0, 0, 2).fetch(3, 1, 1, 2).propose(3, 1, &[1, 3]);
    assert!(!may(run.checkers.ghost(), Fault::Kill, NodeId(3)), "not before the controller agreed");
    run.change_at(3, version(2, 3, 1, &[1, 3])).takes_over(3, 1, 2, &[1, 3]);
    assert!(may(run.checkers.ghost(), Fault::Kill, NodeId(3)));
}

#[test]
fn what_strikes_several_at_once_is_weighed_together() {
    let run = Run::settled();
    let ghost = run.checkers.ghost();
    let at_stake = |fault, nodes: &[u32]| {
        let nodes: Vec<NodeId> = nodes.iter().map(|id| NodeId(*id)).collect();
        at_stake(ghost, fault, &nodes)
    };
    for id in 1..=3 {
        assert_eq!(at_stake(Fault::PowerLoss, &[id]), None, "one alone may");
    }
    assert_eq!(at_stake(Fault::PowerLoss, &[1, 2, 3]), Some(Stake::Record(partition())));
    assert_eq!(at_stake(Fault::Kill, &[1, 2, 3]), None, "nobody loses a byte");
    assert_eq!(at_stake(Fault::PowerLoss, &[]), None);
}

/// Swarm-disk, seed 174: what had rotted was written anew after a failed sync, and no healing mended that.
#[test]
fn a_disk_rots_or_fails_but_not_both() {
    let out_of_sync = || {
        let mut run = Run::settled();
        run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
        run
    };
    let fails = [Fault::FailWrite, Fault::FailSync];
    let mut run = out_of_sync();
    assert!(may(run.checkers.ghost(), Fault::Rot, NodeId(3)));
    run.tell(3, Event::DiskRotted);
    for fault in fails {
        assert_eq!(at_stake(run.checkers.ghost(), fault, &[NodeId(3)]), Some(Stake::Mending));
    }
    assert!(may(run.checkers.ghost(), Fault::Rot, NodeId(3)), "more of it is no other thing");
    assert!(may(run.checkers.ghost(), Fault::PowerLoss, NodeId(3)));
    let mut run = out_of_sync();
    run.tell(3, Event::DiskErrors { of_syncs: true, begin: true });
    run.tell(3, Event::DiskErrors { of_syncs: true, begin: false });
    assert!(!may(run.checkers.ghost(), Fault::Rot, NodeId(3)));
    assert!(fails.into_iter().all(|fault| may(run.checkers.ghost(), fault, NodeId(3))));
}

#[test]
fn a_smaller_isr_permits_less() {
    let mut run = Run::settled();
    run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
    assert!(may(run.checkers.ghost(), Fault::PowerLoss, NodeId(1)));
    assert!(may(run.checkers.ghost(), Fault::PowerLoss, NodeId(3)), "it is not in E");
    run.propose(1, 0, &[1]);
    assert!(!may(run.checkers.ghost(), Fault::PowerLoss, NodeId(1)), "broker 2 is about to go");
}

/// Storm, seed 853: no controller worked while the two lost their bytes, and then it agreed to what was asked for before.
#[test]
fn who_is_about_to_be_let_in_counts_as_eligible() {
    let shrunk = || {
        let mut run = Run::settled();
        run.change(version(1, 1, 0, &[1, 3])).takes_over(1, 0, 1, &[1, 3]);
        run.copy(2, 0, 0, 0, 2).fetch(1, 2, 0, 2);
        run
    };
    let mut run = shrunk();
    run.stop(2, Stop::PowerLoss);
    assert!(may(run.checkers.ghost(), Fault::PowerLoss, NodeId(3)), "broker 2 stays out");
    let mut run = shrunk();
    run.propose(1, 0, &[1, 2, 3]).stop(2, Stop::PowerLoss);
    assert!(!may(run.checkers.ghost(), Fault::PowerLoss, NodeId(3)), "broker 2 may come in");
    assert!(may(run.checkers.ghost(), Fault::Kill, NodeId(2)), "it is down as it is");
    // Once the partition has another version, the controller cannot agree any more.
    run.change(version(2, 1, 0, &[1, 3])).takes_over(1, 0, 2, &[1, 3]);
    let mut run = shrunk();
    run.propose(1, 0, &[1, 2, 3]).change(version(2, 1, 0, &[1, 3])).stop(2, Stop::PowerLoss);
    assert!(may(run.checkers.ghost(), Fault::PowerLoss, NodeId(3)), "it asked too late");
}

/// Swarm, seed 5156.
#[test]
fn the_last_known_leader_keeps_its_power_where_nobody_is_eligible() {
    let mut run = Run::settled();
    let mut nobody = version(1, 1, 1, &[]);
    (nobody.leader, nobody.last_known) = (None, Some(1));
    run.change(nobody);
    assert!(!may(run.checkers.ghost(), Fault::PowerLoss, NodeId(1)), "it will be elected");
    assert!(may(run.checkers.ghost(), Fault::Kill, NodeId(1)), "it loses nothing");
    assert!(may(run.checkers.ghost(), Fault::PowerLoss, NodeId(2)));
    // With somebody eligible it is one of those that stay out.
    nobody.elr = &[2];
    let mut run = Run::settled();
    run.change(nobody);
    assert!(may(run.checkers.ghost(), Fault::PowerLoss, NodeId(1)));
}

#[test]
fn with_a_sync_for_each_batch_power_loss_is_like_a_kill() {
    let mut run = Run::settled();
    let facts = TopicFacts { flushes_each: true, ..TopicFacts::default() };
    run.checkers.describe_topic(partition().topic_id, facts);
    for id in 1..=3 {
        assert!(may(run.checkers.ghost(), Fault::PowerLoss, NodeId(id)));
        run.stop(i32::try_from(id).unwrap(), Stop::PowerLoss);
    }
}

#[test]
fn who_stopped_in_good_order_has_nothing_to_lose() {
    let mut run = Run::settled();
    run.stop(3, Stop::Shutdown).stop(1, Stop::PowerLoss).stop(2, Stop::PowerLoss);
    assert!(may(run.checkers.ghost(), Fault::PowerLoss, NodeId(3)));
}

/// Group-swarm, seed 1394: broker 1 was asked to stop, found no space to say so, and was struck when it came back; broker 2 had lost
/// its bytes meanwhile, and led last.
/// swarm-disk, seed 8: one broker's next sync was to fail when another lost its power.
#[test]
fn an_error_that_waits_for_the_next_write_counts_already() {
    let may = |run: &Run, fault, id| may(run.checkers.ghost(), fault, NodeId(id));
    let mut run = Run::settled();
    run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
    assert!(may(&run, Fault::PowerLoss, 2) && may(&run, Fault::Kill, 2));
    let mut errors = |of_syncs, begin| {
        run.tell(1, Event::DiskErrors { of_syncs, begin });
        (may(&run, Fault::PowerLoss, 2), may(&run, Fault::Kill, 2))
    };
    assert_eq!(errors(true, true), (false, false), "what it did not sync is gone then");
    assert_eq!(errors(true, false), (true, true));
    assert_eq!(errors(false, true), (false, true), "it loses no byte");
    assert_eq!(errors(false, false), (true, true));
}

/// The last who has everything is eligible no longer once it is unregistered (swarm-terms, seed 161).
#[test]
fn who_is_unregistered_is_not_counted_on() {
    let may = |run: &Run, id| may(run.checkers.ghost(), Fault::Unregister, NodeId(id));
    let mut run = Run::settled();
    let mut left = version(1, 1, 0, &[1]);
    left.elr = &[2];
    run.change(left).takes_over(1, 0, 1, &[1]);
    assert!(may(&run, 1) && may(&run, 2) && may(&run, 3), "nobody has lost a byte");
    run.stop(1, Stop::PowerLoss);
    assert!(!may(&run, 2), "it alone has everything, and the controller counts on it");
    assert!(may(&run, 3), "nobody counts on it");
}

#[test]
fn who_stops_on_a_full_disk_may_be_unable_to_say_so() {
    let shrunk = || {
        let mut run = Run::settled();
        run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
        run
    };
    let may = |run: &Run, fault, id| may(run.checkers.ghost(), fault, NodeId(id));
    let mut run = shrunk();
    run.tell(1, Event::DiskFull(true));
    assert!(may(&run, Fault::PowerLoss, 2), "broker 1 goes on");
    run.tell(1, Event::StopAsked);
    assert!(!may(&run, Fault::PowerLoss, 2), "broker 1 may be struck");
    assert!(may(&run, Fault::Kill, 2), "nobody loses a byte");
    run.tell(1, Event::DiskFull(false));
    assert!(may(&run, Fault::PowerLoss, 2), "there is space again, and none was refused");
    run.tell(1, Event::DiskFull(true)).tell(1, Event::SpaceRefused);
    run.tell(1, Event::DiskFull(false));
    assert!(!may(&run, Fault::PowerLoss, 2), "it may go on without");
    run.stop(1, Stop::Shutdown);
    assert!(!may(&run, Fault::PowerLoss, 2), "it may have gone without");
    // The other way round: what was lost before forbids both.
    let mut run = shrunk();
    run.stop(2, Stop::PowerLoss);
    assert!(may(&run, Fault::Fill, 1) && may(&run, Fault::Shutdown, 1));
    run.tell(1, Event::StopAsked);
    assert!(!may(&run, Fault::Fill, 1));
    let mut run = shrunk();
    run.stop(2, Stop::PowerLoss).tell(1, Event::DiskFull(true));
    assert!(!may(&run, Fault::Shutdown, 1));
    // Who stopped while there was space has said so.
    let mut run = shrunk();
    run.tell(1, Event::SpaceRefused).tell(1, Event::StopAsked).stop(1, Stop::Shutdown);
    assert!(may(&run, Fault::PowerLoss, 2));
}
