//! Elections, dirty stops and declared losses: R18, R24, R27.

use super::cluster::{NONE, Run, Version, version};
use super::gone::start_moved;
use super::*;
use crate::checker::{Stop, TopicFacts};

#[test]
fn r18_sees_a_dirty_replica_that_stays_eligible() {
    let mut run = Run::settled();
    run.stop(3, Stop::PowerLoss).start(3).opens(3, 0).barrier();
    assert_eq!(run.fired(), NONE, "the controller does not know yet");
    run.registered(3, true).change(version(1, 1, 0, &[1, 2, 3]));
    assert!(run.fired().contains(&"R18"));
    // Left out, caught up, let in again.
    let mut run = Run::settled();
    run.stop(3, Stop::PowerLoss).start(3).opens(3, 0).registered(3, false);
    run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]).barrier();
    run.follows(3, 1, 0).copy(3, 0, 0, 0, 2).fetch(1, 3, 0, 2).propose(1, 0, &[1, 2, 3]);
    run.change(version(2, 1, 0, &[1, 2, 3])).barrier();
    assert_eq!(run.fired(), NONE);
    // Let in and made leader by one change, as at the end of a reassignment.
    let back = |caught_up: i64| {
        let mut run = Run::settled();
        run.stop(3, Stop::PowerLoss).start(3).opens(3, 0).registered(3, false);
        run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]).barrier();
        run.follows(3, 1, 0).copy(3, 0, 0, 0, 2).fetch(1, 3, 0, caught_up);
        run.propose(1, 0, &[1, 2, 3]).change(version(2, 3, 1, &[1, 2, 3]));
        run.fired()
    };
    assert_eq!(back(2), NONE);
    assert!(back(1).contains(&"R18"), "it lacks a record");
    // The leader asked for it in time, and lost its power before the controller agreed.
    let agreed_late = |asked: bool| {
        let mut run = Run::settled();
        run.stop(3, Stop::PowerLoss).start(3).opens(3, 0).registered(3, false);
        run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]).barrier();
        run.follows(3, 1, 0).copy(3, 0, 0, 0, 2).fetch(1, 3, 0, 2);
        if asked {
            run.propose(1, 0, &[1, 2, 3]);
        }
        run.stop(1, Stop::Kill).start(1).change_at(2, version(2, 1, 0, &[1, 2, 3]));
        run.fired()
    };
    assert_eq!(agreed_late(true), NONE);
    assert_eq!(agreed_late(false), ["R18"]);
    // A leader of an earlier term, cut off, asks for another ISR meanwhile: that changes nothing (group-swarm, seed 1916).
    let mut run = Run::settled();
    run.stop(3, Stop::PowerLoss).start(3).opens(3, 0).registered(3, false);
    run.change(version(1, 1, 1, &[1, 2])).leads(1, 1, 2, &[1, 2]).barrier();
    run.follows(3, 1, 1).copy(3, 1, 0, 0, 2).fetch(1, 3, 1, 2).propose(1, 1, &[1, 2, 3]);
    run.propose(2, 0, &[2]);
    run.stop(1, Stop::Kill).start(1).change_at(2, version(2, 1, 1, &[1, 2, 3]));
    assert_eq!(run.fired(), NONE);
    // Let in and out again by one image: the version between is told by nobody (swarm, seed 493).
    let out_again = |number: i32| {
        let mut run = Run::settled();
        run.stop(3, Stop::PowerLoss).start(3).opens(3, 0).registered(3, false);
        run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]).barrier();
        run.follows(3, 1, 0).copy(3, 0, 0, 0, 2).fetch(1, 3, 0, 2).propose(1, 0, &[1, 2, 3]);
        let mut version = version(number, 1, 0, &[1]);
        version.elr = &[3];
        run.change(version).barrier();
        run.fired()
    };
    assert_eq!(out_again(3), NONE);
    assert_eq!(out_again(2), ["R18"], "nobody let it in");
    // A log directory that failed makes a stop in good order a dirty one (swarm, seed 73).
    let stopped_well = |failed: bool| {
        let mut run = Run::settled();
        if failed {
            run.tell(3, Event::DiskFailed { log_dir: 0 });
        }
        run.stop(3, Stop::Shutdown).start(3).opens(3, 2).registered(3, false).barrier();
        run.fired()
    };
    assert_eq!(stopped_well(false), NONE);
    assert_eq!(stopped_well(true), ["R18"]);
    // The version does not change at all.
    let mut run = Run::settled();
    run.stop(3, Stop::Kill).start(3).opens(3, 2).registered(3, false).barrier();
    assert_eq!(run.fired(), ["R18"]);
    // Who is killed before it has opened a log is as it was when it stopped in good order (swarm, seed 481).
    let killed_after = |opens: bool| {
        let mut run = Run::settled();
        run.stop(3, Stop::Shutdown).start(3);
        if opens {
            run.opens(3, 2);
        }
        run.stop(3, Stop::PowerLoss).start(3).opens(3, 2).registered(3, false).barrier();
        run.fired()
    };
    assert_eq!(killed_after(false), NONE);
    assert_eq!(killed_after(true), ["R18"]);
    // A registration may be told when the process that asked for it has ended: it says nothing of the next one (storm, seed 6608).
    let told_late = |boot: i32| {
        let mut run = Run::settled();
        run.stop(3, Stop::Shutdown).start(3).opens(3, 2).stop(3, Stop::Kill).start(3).opens(3, 2);
        run.registered_as(3, boot, false).change(version(1, 1, 0, &[1, 3])).barrier();
        run.fired()
    };
    assert_eq!(told_late(2), NONE);
    assert_eq!(told_late(3), ["R18"]);
    // A clean stop is no dirty one.
    let mut run = Run::settled();
    run.stop(3, Stop::Shutdown).start(3).opens(3, 2).registered(3, false).barrier();
    assert_eq!(run.fired(), NONE);
}

/// Everybody was killed; the last known leader is `leader`.
fn nobody_left() -> Version {
    let mut version = version(1, 1, 1, &[]);
    (version.leader, version.last_known) = (None, Some(1));
    version
}

fn reopened(leader: i32) -> Version {
    let isr: &'static [i32] = if leader == 1 { &[1] } else { &[2] };
    let mut version = version(2, leader, 2, isr);
    version.is_recovering = true;
    version
}

#[test]
fn r27_sees_an_election_of_one_who_was_not_eligible() {
    let mut run = Run::settled();
    let mut silent = reopened(1);
    silent.is_recovering = false;
    run.change(nobody_left()).change(silent);
    assert_eq!(run.fired(), ["R27"], "it does not say so");
    let mut run = Run::settled();
    run.change(nobody_left()).change(reopened(2));
    assert_eq!(run.fired(), ["R27"], "it is not the last known leader");
    let mut run = Run::settled();
    run.change(nobody_left()).change(reopened(1));
    assert_eq!(run.fired(), NONE);
    // Broker 2 is struck from the eligible in the change that elects: it was killed, and the disk of the next process fails before that
    // one is registered (swarm, seed 73).
    let struck = |is_killed: bool| {
        let mut left = nobody_left();
        left.elr = &[2];
        let mut run = Run::settled();
        run.change(left);
        if is_killed {
            run.stop(2, Stop::Kill).start(2).opens(2, 2);
        }
        run.tell(2, Event::DiskFailed { log_dir: 0 }).registered(2, false).change(reopened(1));
        run.fired()
    };
    assert_eq!(struck(true), NONE);
    assert_eq!(struck(false), ["R27"]);
    // It was killed, registered again, and killed once more before the controller struck it: the first end counts (swarm, seed 5051).
    let killed_again = |is_registered_between: bool| {
        let mut left = nobody_left();
        left.elr = &[2];
        let mut run = Run::settled();
        run.change(left).stop(2, Stop::Kill).start(2).opens(2, 2);
        if is_registered_between {
            run.registered(2, false);
        }
        run.stop(2, Stop::Kill).start(2).change(reopened(1));
        run.fired()
    };
    assert_eq!(killed_again(true), NONE);
    assert_eq!(killed_again(false), ["R27"], "the controller does not know yet");
    // Who was refused space while it stopped may have been unable to say that it stopped in good order (group-swarm, seed 1394).
    let stopped = |refused: bool| {
        let mut left = nobody_left();
        left.elr = &[2];
        let mut run = Run::settled();
        run.change(left).tell(2, Event::StopAsked);
        if refused {
            run.tell(2, Event::SpaceRefused);
        }
        run.stop(2, Stop::Shutdown).start(2).opens(2, 2).registered(2, false);
        run.change(reopened(1));
        run.fired()
    };
    assert_eq!(stopped(true), NONE);
    assert_eq!(stopped(false), ["R27"]);
    // The same where the partition was made after that broker was killed, and before the controller heard of it (group-swarm, seed 1163).
    let made_meanwhile = |is_killed: bool, is_registered: bool| {
        let mut left = nobody_left();
        left.elr = &[2];
        let mut run = Run::bare();
        run.stop(2, if is_killed { Stop::Kill } else { Stop::Shutdown });
        if is_registered {
            run.start(2).registered(2, false);
        }
        run.change(version(0, 1, 0, &[1, 2])).change(left);
        if !is_registered {
            run.start(2).opens(2, 0).registered(2, false);
        }
        run.change(reopened(1));
        run.fired()
    };
    assert_eq!(made_meanwhile(true, false), NONE);
    assert_eq!(made_meanwhile(false, false), ["R27"], "it stopped in good order");
    assert_eq!(
        made_meanwhile(true, true),
        ["R27"],
        "the controller knew before it made the partition"
    );
    // An administrator unregisters the eligible one, or did so long ago: a node that lags behind tells of it (swarm-terms, seed 20).
    let unregistered = |is_registered_anew: bool| {
        let mut left = nobody_left();
        left.elr = &[2];
        let mut run = Run::settled();
        run.change(left);
        let end_offset = Offset::new(i64::try_from(run.now().nanos()).unwrap());
        if is_registered_anew {
            run.registered(2, false);
        }
        run.say(
            1,
            Observation::RegistrationRemoved { end_offset, broker: ottla::types::BrokerId::new(2) },
        );
        run.change(reopened(1));
        run.fired()
    };
    assert_eq!(unregistered(false), NONE);
    assert_eq!(unregistered(true), ["R27"]);
    let mut run = Run::settled();
    let facts = TopicFacts { allows_unclean: true, ..TopicFacts::default() };
    run.checkers.describe_topic(partition().topic_id, facts);
    run.change(nobody_left()).change(reopened(2));
    assert_eq!(run.fired(), NONE, "the topic allows it");
}

#[test]
fn a_declared_cut_takes_what_the_new_leader_lacks_and_the_rest_stays() {
    let mut run = Run::settled();
    run.commit(1, 0, 2, 4, &[1, 2, 3]);
    for id in 1..=3 {
        run.stop(id, Stop::PowerLoss).start(id).opens(id, 2).registered(id, false);
    }
    // Everybody lost 2..4: the controller declares it, and the offsets are given anew.
    run.change(nobody_left()).change(reopened(1)).leads(1, 2, 2, &[1]);
    run.append(1, 2, 2, 3).barrier();
    assert_eq!(run.fired(), NONE);
    let of = run.checkers.ghost().partition(partition()).unwrap();
    assert_eq!((of.cuts.len(), of.cuts[0].from, of.true_hw), (1, Offset::new(2), Offset::new(2)));
    assert_eq!(of.cuts[0].lost.len(), 1, "the acknowledged batch 2..4");
    assert!(of.cuts[0].was_damaged);
}

#[test]
fn r24_sees_a_declared_loss_although_nobody_lost_a_byte() {
    let mut run = Run::settled();
    for id in 1..=3 {
        run.stop(id, Stop::Kill).start(id).opens(id, 2).registered(id, false);
    }
    run.change(nobody_left()).change(reopened(1));
    assert_eq!(run.fired(), NONE);
    run.truncate(1, 2, 0).leads(1, 2, 0, &[1]);
    assert!(run.fired().contains(&"R24"));
}

/// `swarm-disk`, seed 105: what retention had deleted before a replica began anew counted as lost when it was elected.
#[test]
fn what_was_deleted_is_not_lost_by_a_declared_election() {
    let leads_with = |end: i64| {
        let mut run = Run::settled();
        run.commit(1, 0, 2, 4, &[1, 2, 3]).say(1, start_moved(0, 4));
        run.opens(3, 0).follows(3, 1, 0).truncate(3, 0, 4).say(3, start_moved(0, 4));
        run.commit(1, 0, 4, 6, &[1, 2, 3]);
        for id in 1..=3 {
            run.stop(id, Stop::Kill).start(id).opens(id, 6).registered(id, false);
        }
        run.say(3, start_moved(0, 4)).change(nobody_left()).change(reopened(3));
        if end < 6 {
            run.truncate(3, 6, end);
        }
        run.leads(3, 2, end, &[3]);
        let of = run.checkers.ghost().partition(partition()).unwrap();
        let cut = (of.cuts[0].from.value(), of.cuts[0].lost.len());
        (run.fired().contains(&"R24"), cut)
    };
    assert_eq!(leads_with(6), (false, (6, 0)));
    assert_eq!(leads_with(4), (true, (4, 1)), "4..6 is gone, and was not deleted");
}

/// Swarm, seed 5156: nobody was in sync or eligible, and the last known leader lost its power between its registration and its election.
#[test]
fn who_led_last_counts_where_nobody_is_eligible() {
    let loses_power = |id: i32| {
        let mut run = Run::settled();
        for id in 1..=3 {
            run.stop(id, Stop::Kill).start(id).opens(id, 2).registered(id, false);
        }
        run.change(nobody_left()).stop(id, Stop::PowerLoss).start(id).registered(id, false);
        run.opens(1, 0).change(reopened(1)).leads(1, 2, 0, &[1]);
        run.fired()
    };
    assert_eq!(loses_power(1), NONE, "the controller declares the loss");
    assert!(loses_power(2).contains(&"R24"), "what broker 2 holds was not counted on");
}
