//! What clients asked and were told.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla::types::{ShortName, TopicPartition};

use super::*;
use crate::checker::arrivals::{Arrivals, Reader, Reads, missing};
use crate::checker::history_oracles::HeldLog;
use crate::checker::{Context, DeclaredCut, Removed, StepBack, history_checks};
use crate::history::{
    Commit, CommitOutcome, FINAL_READER, FinalOffsets, History, Outcome, Poll, Processed, Read,
    SendId, Sent,
};

fn orders() -> TopicPartition {
    TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(0) }
}

/// Records 0.. of an idempotent producer, each acknowledged at its own number.
fn sent(count: u64) -> History {
    let sent = (0..count).map(|id| Sent {
        id: SendId(id),
        client: "writer/0".into(),
        incarnation: 1,
        partition: Some(orders()),
        key: None,
        acks: Acks::All,
        is_idempotent: true,
        is_ordered: true,
        sent_at: SimTime(id * 10),
        done_at: Some(SimTime(id * 10 + 5)),
        outcome: Outcome::Acked { offset: Some(Offset::new(i64::try_from(id).unwrap())) },
    });
    History { sent: sent.collect(), final_read_complete: true, ..History::default() }
}

fn poll(client: &str, records: &[(i64, u64)]) -> Poll {
    let records = records.iter().map(|(offset, id)| Read {
        partition: orders(),
        offset: Offset::new(*offset),
        id: Some(SendId(*id)),
        content: *id,
    });
    Poll {
        client: Arc::from(client),
        at: SimTime(1_000),
        records: records.collect(),
        repositioned: Vec::new(),
        seeks: Vec::new(),
    }
}

fn history_fired(history: &History) -> Vec<&'static str> {
    fired_with_steps(history, &[])
}

fn fired_with_steps(history: &History, steps_back: &[StepBack]) -> Vec<&'static str> {
    let context = Context {
        resets: &[],
        steps_back,
        end: SimTime(2_000),
        may_be_lost: &|_| false,
        cuts: &[],
        begun: &BTreeMap::new(),
        records_removed: false,
        removed: &[],
        calm: &[],
    };
    names(&history_checks(history, &context))
}

const ALL: [(i64, u64); 4] = [(0, 0), (1, 1), (2, 2), (3, 3)];

fn with_final(mut polls: Vec<Poll>, last: &[(i64, u64)]) -> History {
    let mut history = sent(4);
    polls.push(poll(FINAL_READER, last));
    history.polls = polls;
    history
}

#[test]
fn a_history_in_order_fires_nothing() {
    let polls = vec![poll("reader/0", &ALL[..2]), poll("reader/0", &ALL[2..])];
    assert!(history_fired(&with_final(polls, &ALL)).is_empty());
}

#[test]
fn lost_write_and_unseen_see_a_missing_record() {
    assert_eq!(history_fired(&with_final(Vec::new(), &ALL[..3])), ["lost-write", "unseen"]);
    let seen_once = vec![poll("reader/0", &ALL)];
    assert_eq!(history_fired(&with_final(seen_once, &ALL[..3])), ["lost-write"]);
}

#[test]
fn a_declared_loss_is_none() {
    let history = with_final(Vec::new(), &ALL[..3]);
    let context = Context {
        resets: &[],
        steps_back: &[],
        end: SimTime(2_000),
        may_be_lost: &|sent| sent.id == SendId(3),
        cuts: &[],
        begun: &BTreeMap::new(),
        records_removed: false,
        removed: &[],
        calm: &[],
    };
    assert!(history_checks(&history, &context).is_empty());
}

#[test]
fn duplicate_sees_a_record_at_two_offsets() {
    let log = [ALL[0], ALL[1], ALL[2], ALL[3], (4, 1)];
    assert!(history_fired(&with_final(Vec::new(), &log)).contains(&"duplicate"));
}

#[test]
fn inconsistent_offsets_sees_two_records_at_one_offset() {
    assert!(
        history_fired(&with_final(vec![poll("reader/0", &[(1, 2)])], &ALL))
            .contains(&"inconsistent-offsets")
    );
}

#[test]
fn phantom_and_s10_see_what_nobody_sent() {
    assert!(
        history_fired(&with_final(vec![poll("reader/0", &[(9, 77)])], &ALL)).contains(&"phantom")
    );
    let mut history = with_final(vec![poll("reader/0", &ALL[..1])], &ALL);
    history.polls[0].records[0].id = None;
    assert!(history_fired(&history).contains(&"S10"));
    let mut history = with_final(Vec::new(), &ALL);
    history.sent[2].partition =
        Some(TopicPartition { topic: "other".into(), partition: PartitionIndex::new(0) });
    assert!(history_fired(&history).contains(&"phantom"));
}

#[test]
fn polls_that_skip_or_go_back_are_seen() {
    let fired = |polls| history_fired(&with_final(polls, &ALL));
    assert_eq!(fired(vec![poll("reader/0", &[ALL[0], ALL[2]])]), ["int-poll-skip"]);
    assert_eq!(fired(vec![poll("reader/0", &[ALL[1], ALL[0]])]), ["int-nonmonotonic-poll"]);
    assert_eq!(
        fired(vec![poll("reader/0", &ALL[..1]), poll("reader/0", &ALL[2..])]),
        ["poll-skip"]
    );
    assert_eq!(
        fired(vec![poll("reader/0", &ALL[..2]), poll("reader/0", &ALL[1..])]),
        ["nonmonotonic-poll"]
    );
    let mut sought = vec![poll("reader/0", &ALL[..2]), poll("reader/0", &ALL[..1])];
    sought[1].repositioned = vec![orders()];
    assert!(fired(sought).is_empty(), "a seek explains it");
}

#[test]
fn sends_that_stand_out_of_order_are_seen() {
    let swapped = || {
        let mut history = with_final(Vec::new(), &[(0, 0), (1, 2), (2, 1), (3, 3)]);
        // Each producer was told where its record stands.
        history.sent[1].outcome = Outcome::Acked { offset: Some(Offset::new(2)) };
        history.sent[2].outcome = Outcome::Acked { offset: Some(Offset::new(1)) };
        history
    };
    assert_eq!(history_fired(&swapped()), ["nonmonotonic-send"]);
    let mut history = swapped();
    history.sent[2].sent_at = history.sent[1].sent_at;
    assert_eq!(history_fired(&history), ["int-nonmonotonic-send"]);
    let mut history = swapped();
    history.sent.iter_mut().for_each(|sent| sent.is_ordered = false);
    assert!(
        history_fired(&history).is_empty(),
        "five in flight without idempotence promise no order"
    );
}

#[test]
fn what_an_administrator_removed_is_not_lost_and_the_rest_is() {
    let fired = |history: &History, end: i64| {
        let removed = [Removed { partition: orders(), at: SimTime(900), to: Offset::new(end) }];
        let context = Context {
            resets: &[],
            steps_back: &[],
            end: SimTime(2_000),
            may_be_lost: &|_| false,
            cuts: &[],
            begun: &BTreeMap::new(),
            removed: &removed,
            records_removed: false,
            calm: &[],
        };
        names(&history_checks(history, &context))
    };
    // Of four records the last reader finds the last two, or only the last.
    let removed = with_final(Vec::new(), &ALL[2..]);
    assert!(fired(&removed, 2).is_empty());
    assert_eq!(fired(&removed, 1), ["lost-write", "unseen"], "offset 1 was not removed");
    let one_too_many = with_final(Vec::new(), &ALL[3..]);
    assert_eq!(fired(&one_too_many, 2), ["lost-write", "unseen"]);
    assert_eq!(history_fired(&removed), ["lost-write", "unseen"]);
}

#[test]
fn a_cut_that_the_controller_declared_explains_what_it_took_and_no_more() {
    let cuts = |from, at| {
        vec![DeclaredCut { partition: orders(), at: SimTime(at), from: Offset::new(from) }]
    };
    let fired = |history: &History, cuts: &[DeclaredCut]| {
        let context = Context {
            resets: &[],
            steps_back: &[],
            end: SimTime(2_000),
            may_be_lost: &|_| false,
            cuts,
            begun: &BTreeMap::new(),
            records_removed: false,
            removed: &[],
            calm: &[],
        };
        names(&history_checks(history, &context))
    };
    let lost = with_final(vec![poll("reader/0", &ALL)], &ALL[..3]);
    assert!(fired(&lost, &cuts(3, 500)).is_empty(), "record 3 was sent at 30, before the cut");
    assert_eq!(fired(&lost, &cuts(4, 500)), ["lost-write"], "the cut begins behind it");
    assert_eq!(fired(&lost, &cuts(3, 20)), ["lost-write"], "it was sent after the cut");
    // A consumer reads on in the new log: another record at an old offset, and back to where the logs part.
    let mut polls = vec![poll("reader/0", &[ALL[0], ALL[1], ALL[2]]), poll("reader/0", &[(2, 3)])];
    polls[0].at = SimTime(400);
    let history = with_final(polls, &[ALL[0], ALL[1], (2, 3)]);
    assert!(fired(&history, &cuts(2, 500)).is_empty());
    let without = fired(&history, &[]);
    assert!(without.contains(&"inconsistent-offsets") && without.contains(&"nonmonotonic-poll"));
}

#[test]
fn r16_sees_a_record_that_was_refused_for_good_and_is_there() {
    let mut history = with_final(Vec::new(), &ALL);
    let refused = ottla::types::ErrorCode::NotEnoughReplicas;
    history.sent[1].outcome =
        Outcome::Failed { error: Some(refused), reason: "refused".to_owned() };
    assert_eq!(history_fired(&history), ["R16"]);
    history.sent[1].outcome =
        Outcome::Unknown { error: Some(refused), reason: "one attempt was cut off".to_owned() };
    assert!(history_fired(&history).is_empty());
}

/// A group of two: its first member is given records up to `first`, the other those from `next` on; `committed` is told at the end.
fn of_group(first: usize, next: usize, committed: i64) -> History {
    let polls = vec![poll("billing/0", &ALL[..first]), poll("billing/1", &ALL[next..])];
    let mut history = with_final(polls, &ALL);
    history.processed.push(Processed {
        client: "billing/0".into(),
        group: "audit".into(),
        at: SimTime(1_000),
        partition: orders(),
        offset: Offset::ZERO,
        id: Some(SendId(0)),
    });
    let committed = [(orders(), Offset::new(committed))].into();
    let last = FinalOffsets { committed, ..FinalOffsets::default() };
    history.final_offsets.insert("audit".into(), last);
    history
}

#[test]
fn g10_sees_a_record_that_is_committed_and_was_given_to_nobody() {
    let fired = |history: &History| history_fired(history).contains(&"G10");
    assert!(fired(&of_group(1, 2, 4)));
    assert!(fired(&of_group(1, 3, 2)), "it is committed, whoever reads on where");
    // Given twice, or not committed yet, or given to the one before.
    assert!(!fired(&of_group(2, 1, 4)));
    assert!(!fired(&of_group(2, 2, 4)));
    assert!(!fired(&of_group(1, 2, 1)));
    // It was set past it.
    let resets = [(ShortName::of("audit"), orders())];
    let context = Context {
        end: SimTime(2_000),
        may_be_lost: &|_| false,
        cuts: &[],
        resets: &resets,
        steps_back: &[],
        begun: &BTreeMap::new(),
        records_removed: false,
        removed: &[],
        calm: &[],
    };
    assert!(!names(&history_checks(&of_group(1, 2, 4), &context)).contains(&"G10"));
    // Nothing was committed when the second member came: the group began again, with the record at offset 2.
    let again = |told_at: u64| {
        let begun = [((ShortName::of("audit"), orders()), SimTime(told_at))].into();
        let context = Context {
            end: SimTime(2_000),
            may_be_lost: &|_| false,
            cuts: &[],
            resets: &[],
            steps_back: &[],
            begun: &begun,
            records_removed: false,
            calm: &[],
            removed: &[],
        };
        let mut history = of_group(1, 2, 4);
        history.polls[1].at = SimTime(1_500);
        names(&history_checks(&history, &context)).contains(&"G10")
    };
    assert!(!again(1_200));
    assert!(again(900), "before the first member read");
    // What stood in front of where the group began is not its matter.
    let mut history = of_group(1, 2, 4);
    history.polls.remove(0);
    assert!(!fired(&history));
}

/// A member was told of two commits, in this order, each after so many rebalances.
fn told_of(commits: [(i64, u64); 2]) -> History {
    let mut history = of_group(2, 1, 4);
    for (at, (offset, rebalances)) in (10..).step_by(10).zip(commits) {
        history.commits.push(Commit {
            client: "billing/0".into(),
            incarnation: 1,
            rebalances,
            group: "audit".into(),
            asked_at: SimTime(at - 5),
            done_at: Some(SimTime(at)),
            offsets: [(orders(), Offset::new(offset))].into(),
            outcome: CommitOutcome::Stored,
        });
    }
    history
}

#[test]
fn g7_sees_a_member_that_is_told_of_an_older_commit_after_a_newer() {
    let fired = |history: &History| history_fired(history).contains(&"G7");
    assert!(fired(&told_of([(2, 1), (1, 1)])));
    assert!(!fired(&told_of([(1, 1), (2, 1)])));
    // In between it lost the partition, and got it again from where the group was; or it is another process.
    assert!(!fired(&told_of([(2, 1), (1, 3)])));
    let mut history = told_of([(2, 1), (1, 1)]);
    history.commits[1].incarnation = 2;
    assert!(!fired(&history));
    // A failed one says nothing.
    history.commits[1].incarnation = 1;
    history.commits[1].outcome = CommitOutcome::Failed { error: None, reason: String::new() };
    assert!(!fired(&history));
    // Asked for before the other was answered: the answer may have been long under way, unless the coordinator took them so.
    let mut history = told_of([(2, 1), (1, 1)]);
    history.commits[1].asked_at = SimTime(9);
    assert!(!fired(&history));
    let taken = |at: u64| {
        let group = ShortName::of("audit");
        let offset = Offset::new(1);
        let step = StepBack { group, partition: orders(), offset, at: SimTime(at) };
        fired_with_steps(&history, &[step]).contains(&"G7")
    };
    assert!(taken(15));
    assert!(!taken(21), "that is another one");
}

// ── L10 ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Four records are acknowledged; at second 0 nobody sends any more. `reader/0` and the group `audit` are to read them.
struct OnTheWay {
    history: History,
    arrivals: Arrivals,
}

const fn second(value: u64) -> SimTime {
    SimTime(value * 1_000_000_000)
}

fn reader() -> Reader {
    Reader::Client("reader/0".into())
}

impl OnTheWay {
    fn begin() -> Self {
        let history = with_final(Vec::new(), &ALL);
        let topics = Reads::Topics(["orders".into()].into());
        let readers = [
            (reader(), Reads::Partitions([orders()].into())),
            (Reader::Group("audit".into()), topics),
        ];
        let arrivals = Arrivals::begin(&history, &readers.into(), second(0));
        Self { history, arrivals }
    }

    fn read(&mut self, at: u64, records: &[(i64, u64)]) -> &mut Self {
        self.history.polls.push(Poll { at: second(at), ..poll("reader/0", records) });
        self.note()
    }

    fn process(&mut self, at: u64, offset: i64) -> &mut Self {
        self.history.processed.push(Processed {
            client: "auditor/0".into(),
            group: "audit".into(),
            at: second(at),
            partition: orders(),
            offset: Offset::new(offset),
            id: None,
        });
        self.note()
    }

    fn note(&mut self) -> &mut Self {
        self.arrivals.note(&self.history);
        self
    }

    /// Who is said to have stopped at `now`, if all run but `dead`.
    fn stopped(&self, now: u64, dead: Option<&Reader>) -> usize {
        let stopped = self.arrivals.stopped(second(now), |reader| Some(reader) != dead);
        let missing = missing(&self.history, &stopped);
        assert!(missing.iter().all(|one| one.check == "L10"));
        missing.len()
    }
}

#[test]
fn l10_sees_readers_and_groups_that_stop_on_the_way() {
    let mut story = OnTheWay::begin();
    story.read(1, &[(0, 0), (1, 1)]).process(1, 0);
    assert_eq!(story.stopped(20, None), 0, "they may be on the way");
    assert_eq!(story.stopped(21, None), 2);
    // Who does not run cannot come to the end; and the other one goes on.
    assert_eq!(story.stopped(21, Some(&reader())), 1);
    story.process(20, 1);
    assert_eq!(story.stopped(21, None), 1);
    assert!(!story.arrivals.are_over(second(40), |_| true));
    assert!(story.arrivals.are_over(second(50), |_| true));
    story.read(41, &ALL[2..]).process(41, 2).process(41, 3);
    assert!(story.arrivals.are_over(second(41), |_| true));
    assert_eq!(story.stopped(99, None), 0, "both have arrived");
}

#[test]
fn l10_asks_for_records_that_are_there() {
    let mut story = OnTheWay::begin();
    story.read(1, &[(0, 0), (1, 1)]).process(1, 0).process(1, 1);
    assert_eq!(story.stopped(60, None), 2);
    // What was acknowledged last was lost: nobody can read it. That is for others to say.
    story.history.polls.retain(|poll| &*poll.client != FINAL_READER);
    story.history.polls.push(poll(FINAL_READER, &[(0, 0), (1, 1)]));
    assert_eq!(story.stopped(60, None), 0);
    // Nothing at all was read: that is too little.
    assert_eq!(OnTheWay::begin().stopped(60, None), 2);
}

/// What fires where logs begin further up from `to` on at a moment, and nothing is broken in `calm`.
fn fired_with(
    history: &History,
    removed: &[(u64, i64)],
    calm: &[(SimTime, SimTime)],
) -> Vec<&'static str> {
    let removed: Vec<Removed> = removed
        .iter()
        .map(|(at, to)| Removed { partition: orders(), at: SimTime(*at), to: Offset::new(*to) })
        .collect();
    let context = Context {
        end: SimTime(2_000),
        begun: &BTreeMap::new(),
        may_be_lost: &|_| false,
        cuts: &[],
        resets: &[],
        steps_back: &[],
        records_removed: false,
        removed: &removed,
        calm,
    };
    names(&history_checks(history, &context))
}

#[test]
fn what_was_removed_is_neither_lost_nor_skipped_and_the_rest_is() {
    let history =
        with_final(vec![poll("reader/0", &ALL[..1]), poll("reader/0", &ALL[2..])], &ALL[2..]);
    assert_eq!(fired_with(&history, &[], &[]), ["lost-write", "unseen"]);
    assert!(fired_with(&history, &[(900, 2)], &[]).is_empty());
    assert_eq!(fired_with(&history, &[(900, 1)], &[]), ["lost-write", "unseen"]);
    // It was still there when the reader passed over it: others were given it.
    let jumps =
        vec![poll("reader/1", &ALL), poll("reader/0", &ALL[..1]), poll("reader/0", &ALL[3..])];
    let history = with_final(jumps, &ALL[3..]);
    assert_eq!(fired_with(&history, &[(1_500, 3)], &[]), ["poll-skip"]);
    assert!(fired_with(&history, &[(900, 3)], &[]).is_empty());
}

#[test]
fn a_seek_is_gone_on_from_where_it_led_to() {
    let sought = |at: i64, next: usize| {
        let mut after = poll("reader/0", &ALL[next..]);
        after.repositioned.push(orders());
        after.seeks.push((orders(), Offset::new(at)));
        with_final(vec![poll("reader/0", &ALL), after], &ALL)
    };
    assert!(history_fired(&sought(1, 1)).is_empty());
    assert_eq!(history_fired(&sought(1, 2)), ["poll-skip"]);
    assert_eq!(history_fired(&sought(2, 1)), ["nonmonotonic-poll"]);
    assert_eq!(history_fired(&sought(0, 2)), ["poll-skip"]);
}

#[test]
fn inconsistent_offsets_sees_a_record_that_stands_elsewhere_than_its_producer_was_told() {
    let mut history = with_final(Vec::new(), &ALL);
    history.sent[2].outcome = Outcome::Acked { offset: Some(Offset::new(1)) };
    assert_eq!(history_fired(&history), ["inconsistent-offsets"]);
    history.sent[2].outcome = Outcome::Acked { offset: None };
    assert!(history_fired(&history).is_empty(), "a late duplicate: nobody knows where");
    history.polls.clear();
    history.polls.push(poll(FINAL_READER, &[ALL[0], ALL[1], ALL[3]]));
    assert_eq!(history_fired(&history), ["lost-write", "unseen"], "but it was promised");
}

#[test]
fn late_sees_who_waits_while_nothing_is_broken() {
    let second = 1_000_000_000;
    let given = |answered: u64, read: u64| {
        let mut history = with_final(vec![poll("reader/0", &ALL)], &ALL);
        for sent in &mut history.sent {
            sent.sent_at = SimTime(second);
            sent.done_at = Some(SimTime(second + 5));
        }
        history.sent[3].done_at = Some(SimTime(answered));
        history.polls[0].at = SimTime(read);
        history
    };
    let calm = [(SimTime(0), SimTime(20 * second))];
    assert!(fired_with(&given(3 * second, 3 * second), &[], &calm).is_empty());
    assert_eq!(fired_with(&given(5 * second, 3 * second), &[], &calm), ["late"]);
    assert_eq!(fired_with(&given(3 * second, 7 * second), &[], &calm), ["late"]);
    assert!(
        fired_with(&given(5 * second, 9 * second), &[], &[]).is_empty(),
        "faults are under way"
    );
    let soon_over = [(SimTime(0), SimTime(3 * second))];
    assert!(fired_with(&given(5 * second, 9 * second), &[], &soon_over).is_empty());
    // A queue that moves, and one that stands (swarm, seed 35).
    let queued = |before: u64| {
        let mut history = given(5 * second, 3 * second);
        history.sent[2].sent_at = SimTime(second - 1);
        history.sent[2].done_at = Some(SimTime(before));
        fired_with(&history, &[], &calm)
    };
    assert!(queued(3 * second + 5).is_empty());
    assert_eq!(queued(2 * second), ["late"]);
}

#[test]
fn poll_skip_sees_a_consumer_that_does_not_notice_a_cut() {
    let cut = [DeclaredCut { partition: orders(), at: SimTime(500), from: Offset::new(1) }];
    let fired = |then: &[(i64, u64)]| {
        // Records 1 and 2 are cut off; 3 stands at 1 and 4 at 2, 5 at 3.
        let mut before = poll("reader/0", &ALL[..3]);
        before.at = SimTime(400);
        before.repositioned.push(orders());
        let mut history =
            with_final(vec![before, poll("reader/0", then)], &[(0, 0), (1, 3), (2, 4), (3, 5)]);
        history.sent.extend(sent(6).sent.into_iter().skip(4));
        let context = Context {
            end: SimTime(2_000),
            begun: &BTreeMap::new(),
            may_be_lost: &|_| false,
            cuts: &cut,
            resets: &[],
            steps_back: &[],
            records_removed: false,
            removed: &[],
            calm: &[],
        };
        names(&history_checks(&history, &context)).contains(&"poll-skip")
    };
    assert!(fired(&[(3, 5)]), "it goes on where it was, in another log");
    assert!(!fired(&[(1, 3), (2, 4), (3, 5)]));
    assert!(!fired(&[(3, 9)]), "of the old log still");
}

#[test]
fn late_duplicates_without_idempotence_promise_no_order_and_overtaking_does() {
    let plain = |log: &[(i64, u64)]| {
        let mut history = with_final(Vec::new(), log);
        history.sent.iter_mut().for_each(|sent| sent.is_idempotent = false);
        history
    };
    // The first attempt of record 0 arrives when its second is long acknowledged.
    assert!(history_fired(&plain(&[ALL[0], ALL[1], ALL[2], ALL[3], (4, 0)])).is_empty());
    let overtaken = plain(&[(0, 1), (1, 0), ALL[2], ALL[3]]);
    assert!(history_fired(&overtaken).contains(&"nonmonotonic-send"));
    let mut unknown = overtaken;
    unknown.sent[0].outcome = Outcome::Unknown { error: None, reason: "it timed out".to_owned() };
    assert!(!history_fired(&unknown).contains(&"nonmonotonic-send"), "given up, and late");
}

/// A request that was delayed arrives after its client has closed, behind the end that the last reader was told (swarm, seed 219).
#[test]
fn what_is_acknowledged_after_the_last_reader_began_is_not_due_to_it() {
    let mut run = super::cluster::Run::settled();
    let began = run.now();
    run.wait(1).commit(1, 0, 2, 4, &[1, 2, 3]);
    let due = |read_from: SimTime| {
        let ghost = run.checkers.ghost();
        let of = ghost.partition(partition()).unwrap();
        let held = HeldLog::of(ghost, partition(), of, orders(), read_from).unwrap();
        (held.runs, held.acked_end)
    };
    let runs = vec![(Offset::ZERO, Offset::new(4))];
    assert_eq!(due(began), (runs.clone(), Offset::new(2)));
    assert_eq!(due(run.now()), (runs, Offset::new(4)));
}
