//! Who is in sync, and what the watermark waits for: R10, R11, R13 to R15, R17, R19, R28, R29.

use super::cluster::{NONE, Run, incarnation, version};
use super::*;
use crate::checker::Stop;
use crate::checker::TopicFacts;

#[test]
fn r10_sees_a_candidate_that_the_leader_does_not_wait_for() {
    let mut run = Run::settled();
    run.append(1, 0, 2, 3).copy(2, 0, 0, 2, 3).copy(3, 0, 0, 2, 3);
    run.fetch(1, 2, 0, 3).fetch(1, 3, 0, 3).watermark(1, 0, 2, 3, &[1, 2], &[1, 2]);
    assert!(run.fired().contains(&"R10"), "the controller may elect broker 3");
    let mut run = Run::settled();
    run.fetch(1, 2, 0, 2).watermark(1, 0, 2, 2, &[1, 2], &[1, 2, 3]);
    assert!(run.fired().contains(&"R10"), "nobody asked for broker 3");
}

#[test]
fn r11_sees_a_watermark_over_too_few() {
    let mut run = Run::settled();
    run.append(1, 0, 2, 3).copy(2, 0, 0, 2, 3).fetch(1, 2, 0, 3).propose(1, 0, &[1, 2]);
    run.watermark(1, 0, 2, 3, &[1, 2, 3], &[1, 2]);
    assert!(run.fired().contains(&"R11"), "broker 3 is in the ISR until the controller agrees");
    let mut run = Run::settled();
    run.append(1, 0, 2, 3).copy(2, 0, 0, 2, 3).fetch(1, 2, 0, 3).propose(1, 0, &[1, 2]);
    run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
    run.watermark(1, 0, 2, 3, &[1, 2], &[1, 2]);
    assert_eq!(run.fired(), NONE);
}

#[test]
fn r13_sees_a_member_asked_in_before_it_caught_up() {
    let start = || {
        let mut run = Run::settled();
        run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
        run.commit(1, 0, 2, 4, &[1, 2]);
        run
    };
    let mut run = start();
    run.fetch(1, 3, 0, 3).propose(1, 0, &[1, 2, 3]);
    assert_eq!(run.fired(), ["R13"]);
    let mut run = start();
    run.fetch(1, 3, 0, 4).propose(1, 0, &[1, 2, 3]);
    assert_eq!(run.fired(), NONE);
    let mut run = Run::settled();
    run.append(1, 0, 2, 3).truncate(1, 3, 2);
    assert_eq!(run.fired(), NONE, "an append that found no space is taken back");
    run.truncate(1, 2, 0);
    assert!(run.fired().contains(&"R13"));
}

#[test]
fn r13_sees_an_end_before_what_was_committed() {
    let told = |epoch, end| Observation::EndTold {
        partition: partition(),
        leader_epoch: LeaderEpoch::new(epoch),
        end_offset: Offset::new(end),
    };
    let mut run = Run::settled();
    run.commit(1, 0, 2, 4, &[1, 2, 3]).say(1, told(0, 4));
    run.change_at(2, version(1, 2, 1, &[2, 3])).leads(2, 1, 4, &[2, 3]);
    run.say(1, told(0, 3));
    assert_eq!(run.fired(), NONE, "who leads no longer does not know what is committed since");
    run.say(2, told(1, 4));
    assert_eq!(run.fired(), NONE);
    run.say(2, told(1, 2));
    assert_eq!(run.fired(), ["R13"]);
}

#[test]
fn r14_sees_a_watermark_that_moves_below_the_minimum() {
    let mut run = Run::settled();
    run.propose(1, 0, &[1]).change(version(1, 1, 0, &[1])).takes_over(1, 0, 1, &[1]);
    run.append(1, 0, 2, 3);
    assert_eq!(run.fired(), NONE);
    run.watermark(1, 0, 2, 3, &[1], &[1]);
    assert_eq!(run.fired(), ["R14", "R15"]);
}

#[test]
fn r15_sees_a_watermark_that_too_few_have_reached() {
    let mut run = Run::settled();
    run.append(1, 0, 2, 3).fetch(1, 2, 0, 3).fetch(1, 3, 0, 3);
    run.watermark(1, 0, 2, 3, &[1, 2, 3], &[1, 2, 3]);
    assert!(run.fired().contains(&"R15"), "they fetched past what they have not written");
    // Held by two when the leader heard it, then lost with the power of one before the watermark moved.
    let mut run = Run::settled();
    run.append(1, 0, 2, 3).copy(2, 0, 0, 2, 3).fetch(1, 2, 0, 3).stop(2, Stop::PowerLoss);
    run.start(2).opens(2, 0).change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
    run.watermark(1, 0, 2, 3, &[1, 2], &[1, 2]);
    assert!(!run.fired().contains(&"R15"), "nobody could know");
}

#[test]
fn r17_sees_sets_that_cannot_be() {
    let mut outside = version(1, 1, 0, &[1, 2]);
    outside.elr = &[4];
    let mut both = version(1, 1, 0, &[1]);
    both.elr = &[1, 2];
    let mut too_many = version(1, 1, 0, &[1, 2]);
    too_many.elr = &[3];
    for wrong in [outside, both, too_many, version(1, 3, 1, &[1, 2])] {
        let mut run = Run::settled();
        run.change(wrong);
        assert!(run.fired().contains(&"R17"));
    }
    let mut right = version(1, 1, 0, &[1]);
    right.elr = &[2];
    let mut run = Run::settled();
    run.change(right);
    assert_eq!(run.fired(), NONE);
}

#[test]
fn r17_sees_a_fenced_broker_in_the_isr() {
    let mut run = Run::settled();
    run.registered(3, true).barrier();
    assert_eq!(run.fired(), ["R17"]);
    let mut run = Run::settled();
    run.registered(3, true).change(version(1, 1, 0, &[1, 2])).barrier();
    assert_eq!(run.fired(), NONE);
}

#[test]
fn r19_sees_a_member_admitted_as_an_earlier_incarnation() {
    let mut run = Run::settled();
    run.change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
    run.fetch(1, 3, 0, 2).propose(1, 0, &[1, 2, 3]);
    run.stop(3, crate::checker::Stop::Shutdown).start(3).opens(3, 2).registered(3, false);
    run.change(version(2, 1, 0, &[1, 2, 3]));
    assert_eq!(run.fired(), ["R19"]);
}

#[test]
fn r28_sees_a_watermark_ahead_of_the_disks() {
    let start = || {
        let mut run = Run::settled();
        let facts = TopicFacts { flushes_each: true, ..TopicFacts::default() };
        run.checkers.describe_topic(partition().topic_id, facts);
        run.append(1, 0, 2, 3).copy(2, 0, 0, 2, 3).copy(3, 0, 0, 2, 3);
        run.fetch(1, 2, 0, 3).fetch(1, 3, 0, 3).flush(1, 3);
        run
    };
    let mut run = start();
    run.watermark(1, 0, 2, 3, &[1, 2, 3], &[1, 2, 3]);
    assert_eq!(run.fired(), ["R28"]);
    let mut run = start();
    run.flush(3, 3).watermark(1, 0, 2, 3, &[1, 2, 3], &[1, 2, 3]);
    assert_eq!(run.fired(), NONE);
}

#[test]
fn r29_sees_an_incarnation_that_comes_back() {
    let mut run = Run::settled();
    run.stop(3, crate::checker::Stop::Kill).start(3).registered(3, true);
    assert_eq!(run.fired(), NONE);
    let old = Observation::RegistrationChanged {
        end_offset: Offset::new(i64::MAX),
        broker: ottla::types::BrokerId::new(3),
        broker_epoch: ottla::types::BrokerEpoch::new(31),
        incarnation_id: incarnation(3, 1),
        is_fenced: false,
        in_controlled_shutdown: false,
    };
    run.say(1, old);
    assert!(run.fired().contains(&"R29"));
    // It may lead once it has applied the record that registers it, at offset 32.
    let unfenced_with = |end: Option<i64>| {
        let mut run = Run::settled();
        run.say(1, applied(40)).stop(3, crate::checker::Stop::Kill).start(3).registered(3, true);
        if let Some(end) = end {
            run.say(3, applied(end));
        }
        run.registered(3, false);
        run.fired()
    };
    assert_eq!(unfenced_with(Some(33)), NONE);
    assert_eq!(unfenced_with(Some(32)), ["R29"]);
    assert_eq!(unfenced_with(None), ["R29"]);
}

fn applied(end: i64) -> Observation {
    Observation::MetadataApplied { end_offset: Offset::new(end), epoch: LeaderEpoch::new(1) }
}
