//! One node's log: R3, R12, R15, S1, S2, S4, T1, T2, T14, T15, T16.

use ottla::types::{Observation, Offset};

use super::*;
use crate::checker::Stop;

#[test]
fn a_run_in_order_fires_nothing() {
    let none: Vec<&str> = Vec::new();
    let served = Event::Observed(Observation::FetchServed {
        partition: partition(),
        fetch_offset: Offset::ZERO,
        end_offset: Offset::new(5),
        high_watermark: Offset::new(5),
    });
    let events = [
        Event::Started,
        appended(0, 3, 1, Some(stamp(0, 0))),
        watermark(0, 3),
        acked(0, 3),
        appended(3, 5, 2, Some(stamp(0, 3))),
        watermark(3, 5),
        served,
        flushed(3),
        Event::Stopped(Stop::PowerLoss),
        Event::Started,
        recovered(3),
        Event::Stopped(Stop::Kill),
        Event::Started,
        recovered(3),
        appended(3, 4, 3, Some(stamp(1, 0))),
    ];
    // The last append reuses offset 3, which was committed, in the same leader epoch.
    assert_eq!(fired(&events[..events.len() - 1]), none);
    assert_eq!(fired(&events), ["R3", "R4"]);
}

#[test]
fn r3_sees_two_records_at_one_place() {
    let truncated = Event::Observed(Observation::LogTruncated {
        partition: partition(),
        from: Offset::new(2),
        to: Offset::ZERO,
    });
    assert_eq!(
        fired(&[Event::Started, appended(0, 2, 1, None), truncated, appended(0, 2, 5, None)]),
        ["R3"]
    );
}

#[test]
fn r15_sees_an_acknowledgement_of_what_is_not_written_or_not_committed() {
    assert_eq!(fired(&[Event::Started, appended(0, 2, 1, None), acked(2, 3)]), ["R15"]);
    let committed = [Event::Started, appended(0, 2, 1, None), watermark(0, 2)];
    assert!(fired(&[&committed[..], &[acked(0, 2)]].concat()).is_empty());
    let ahead = [appended(2, 4, 2, None), acked(2, 4)];
    assert_eq!(fired(&[&committed[..], &ahead].concat()), ["R15"]);
}

#[test]
fn r12_sees_a_watermark_beyond_the_log_and_a_fetch_beyond_the_watermark() {
    assert_eq!(fired(&[Event::Started, appended(0, 2, 1, None), watermark(0, 3)]), ["R12"]);
    let served = Event::Observed(Observation::FetchServed {
        partition: partition(),
        fetch_offset: Offset::ZERO,
        end_offset: Offset::new(2),
        high_watermark: Offset::new(1),
    });
    assert_eq!(
        fired(&[Event::Started, appended(0, 2, 1, None), watermark(0, 1), served]),
        ["R12", "R26"]
    );
}

#[test]
fn s1_sees_two_recoveries_that_disagree() {
    let events = [
        Event::Started,
        appended(0, 2, 1, None),
        appended(2, 4, 2, None),
        flushed(2),
        Event::Stopped(Stop::PowerLoss),
        Event::Started,
        recovered(4),
        Event::Stopped(Stop::Kill),
        Event::Started,
        recovered(2),
    ];
    assert!(fired(&events).contains(&"S1"));
}

/// A machine loses its power, and the next process ends before it has opened the log.
#[test]
fn s1_and_s2_remember_a_power_loss_until_the_log_is_opened() {
    let twice = |first: Stop, end: i64| {
        fired(&[
            Event::Started,
            appended(0, 2, 1, None),
            appended(2, 4, 2, None),
            flushed(2),
            Event::Stopped(Stop::Kill),
            Event::Started,
            recovered(4),
            Event::Stopped(first),
            Event::Started,
            Event::Stopped(Stop::Ended),
            Event::Started,
            recovered(end),
        ])
    };
    assert!(twice(Stop::PowerLoss, 2).is_empty());
    assert_eq!(twice(Stop::PowerLoss, 0), ["S2"], "synced bytes are gone");
    assert_eq!(twice(Stop::Kill, 2), ["S1", "S2"]);
}

#[test]
fn s2_sees_lost_bytes_and_a_cut_batch() {
    let start = [Event::Started, appended(0, 3, 1, None), flushed(3), appended(3, 6, 2, None)];
    let after =
        |stop, end| [&start[..], &[Event::Stopped(stop), Event::Started, recovered(end)]].concat();
    assert_eq!(fired(&after(Stop::PowerLoss, 0)), ["S2"], "synced bytes are gone");
    assert_eq!(fired(&after(Stop::Kill, 3)), ["S2"], "the page cache survives a kill");
    assert_eq!(fired(&after(Stop::PowerLoss, 5)), ["S2"], "no batch ends there");
    assert!(fired(&after(Stop::PowerLoss, 3)).is_empty());
    assert!(fired(&after(Stop::Kill, 6)).is_empty());
}

/// Swarm-disk, seed 573: a loss of power undid a cut, and what was synced before it is durable, as its node said.
#[test]
fn s2_takes_a_node_at_its_word_when_it_opens_a_log() {
    let cut = Event::Observed(Observation::LogTruncated {
        partition: partition(),
        from: Offset::new(3),
        to: Offset::new(0),
    });
    let lost = || [Event::Stopped(Stop::PowerLoss), Event::Started];
    let start = [Event::Started, appended(0, 3, 1, None), flushed(3), cut];
    let after = |durable| {
        let opened = [opened_durable(durable, 3, Some(Offset::ZERO))];
        fired(&[&start[..], &lost()[..], &opened[..], &lost()[..], &[scanned(0)]].concat())
    };
    assert!(after(0).is_empty());
    assert_eq!(after(3), ["S2"], "synced bytes are gone");
}

/// Swarm-disk, seed 52, with another bug planted: the power was lost while a follower was to begin anew where its leader's log begins.
/// And seed 68: when all had been removed, durably, and nothing begun.
#[test]
fn s2_demands_nothing_of_a_log_that_begins_anew() {
    let emptied = Event::Observed(Observation::LogTruncated {
        partition: partition(),
        from: Offset::new(3),
        to: Offset::new(9),
    });
    let start = [Event::Started, appended(0, 3, 1, None), flushed(3), emptied];
    let after =
        |stop, end| [&start[..], &[Event::Stopped(stop), Event::Started, scanned(end)]].concat();
    assert!(fired(&after(Stop::PowerLoss, 3)).is_empty());
    assert!(fired(&after(Stop::PowerLoss, 9)).is_empty());
    for stop in [Stop::PowerLoss, Stop::Kill] {
        assert!(fired(&after(stop, 0)).is_empty());
        assert!(fired(&after(stop, 3)).is_empty());
        assert_eq!(fired(&after(stop, 2)), ["S2"], "no batch ended there");
    }
    let begun = [&start[..], &[appended(9, 10, 2, None)]].concat();
    let killed = [Event::Stopped(Stop::Kill), Event::Started, scanned(9)];
    assert_eq!(fired(&[begun, killed.to_vec()].concat()), ["S2"], "the page cache survives a kill");
}

#[test]
fn s4_sees_an_offset_given_twice_and_a_gap() {
    assert_eq!(fired(&[Event::Started, appended(0, 2, 1, None), appended(1, 3, 2, None)]), ["S4"]);
    assert_eq!(fired(&[Event::Started, appended(0, 2, 1, None), appended(3, 4, 2, None)]), ["S4"]);
}

#[test]
fn t1_t14_and_t15_see_broken_sequences() {
    let first = appended(0, 2, 1, Some(stamp(0, 0)));
    assert_eq!(fired(&[Event::Started, first, appended(2, 3, 2, Some(stamp(0, 5)))]), ["T1"]);
    assert_eq!(fired(&[Event::Started, first, appended(2, 4, 1, Some(stamp(0, 0)))]), ["T14"]);
    let duplicate = |offset| {
        Event::Observed(Observation::ProduceDuplicate {
            partition: partition(),
            base_offset: Offset::new(offset),
            producer: stamp(0, 0),
        })
    };
    assert_eq!(fired(&[Event::Started, first, duplicate(1)]), ["T15"]);
    assert!(fired(&[Event::Started, first, duplicate(0)]).is_empty());
    // Sent again while the first was on its way to the disk.
    assert!(fired(&[Event::Started, duplicate(0), first]).is_empty());
    assert_eq!(fired(&[Event::Started, duplicate(1), first]), ["T15"]);
    let other = appended(0, 2, 1, Some(stamp(0, 7)));
    assert_eq!(fired(&[Event::Started, duplicate(0), other]), ["T15"]);
}

#[test]
fn t16_sees_that_a_repeated_batch_is_not_known() {
    let batch = |at: i64| appended(at, at + 1, 1, Some(stamp(0, i32::try_from(at).unwrap())));
    let refused = |sequence, last: i32| {
        Event::Observed(Observation::ProduceOutOfOrder {
            partition: partition(),
            producer: stamp(0, sequence),
            last_sequence: Some(Sequence::ZERO.plus(last.unsigned_abs())),
        })
    };
    let six: Vec<Event> = (0..6).map(batch).collect();
    let then = |events: &[Event]| fired(&[&[Event::Started], &six[..], events].concat());
    assert_eq!(then(&[refused(1, 5)]), ["T16"], "it is the fifth from the end");
    assert!(then(&[refused(0, 5)]).is_empty(), "five are remembered");
    assert!(then(&[refused(1, 7)]).is_empty(), "more are on their way to the disk");
    assert!(then(&[refused(9, 5)]).is_empty(), "records are missing before it");
    // A snapshot holds the last one of each.
    let restarted = [Event::Stopped(Stop::Kill), Event::Started, scanned(6)];
    assert!(then(&[&restarted[..], &[refused(1, 5)]].concat()).is_empty());
}

/// Swarm-disk, seed 53: it led later, and knew nothing of a producer that had written before.
#[test]
fn a_log_that_begins_anew_further_up_knows_no_producer() {
    let restarted = Event::Observed(Observation::LogTruncated {
        partition: partition(),
        from: Offset::new(2),
        to: Offset::new(7),
    });
    let first = appended(0, 2, 1, Some(stamp(0, 0)));
    let next = appended(7, 8, 2, Some(stamp(0, 5)));
    assert!(fired(&[Event::Started, first, restarted, next]).is_empty());
}

#[test]
fn t2_sees_an_older_epoch() {
    assert!(
        fired(&[
            Event::Started,
            appended(0, 2, 1, Some(stamp(3, 0))),
            appended(2, 3, 2, Some(stamp(2, 0)))
        ])
        .contains(&"T2")
    );
}
