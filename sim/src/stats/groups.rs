//! What consumer groups did with the records of their topics, from what their members know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla::types::{Offset, TopicPartition};

use crate::event::Recorder;
use crate::history::{CommitOutcome, History, Outcome, SendId};
use crate::scenario::duration::Span;
use crate::world::SimTime;

/// What a consumer group did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// One for each record that was sent to its topics, in the order in which they were sent.
    pub fates: Vec<GroupFate>,
    /// Records below an offset that was committed before any member had processed them: when it was committed, and where.
    pub committed_unprocessed: Vec<(Span, TopicPartition)>,
    /// Commits of a lower offset than one that was stored before they were asked for.
    pub moved_back: Vec<(Span, TopicPartition)>,
    /// How far what was committed at the end is from the ends of the logs; `None` where nobody could ask.
    pub lag: Option<BTreeMap<TopicPartition, u64>>,
}

/// What became of a record in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFate {
    /// Where it was sent.
    pub partition: TopicPartition,
    /// Whether it was first processed before one that the same client had sent earlier with the same key.
    pub is_early: bool,
    /// When it was acknowledged, if it was.
    pub acked_at: Option<Span>,
    /// When members were done with it, in the order of time.
    pub processed_at: Vec<Span>,
}

impl GroupStats {
    /// Of the group called `name`, whose members subscribed to `topics`.
    #[must_use]
    pub fn of(recorder: &Recorder, history: &History, name: &str, topics: &BTreeSet<&str>) -> Self {
        let mut log: BTreeMap<&TopicPartition, Vec<Offset>> = BTreeMap::new();
        for (partition, reads) in history.final_log() {
            if topics.contains(&*partition.topic) {
                log.insert(partition, reads.iter().map(|read| read.offset).collect());
            }
        }
        let (committed_unprocessed, moved_back) = Commits::of(history, name, log).walk(recorder);
        let lag = history.final_offsets.get(name).map(|offsets| {
            let behind = |(partition, end): (&TopicPartition, &Offset)| {
                let at = offsets.committed.get(partition).copied().unwrap_or(Offset::ZERO);
                (partition.clone(), end.saturating_distance(at))
            };
            offsets.ends.iter().map(behind).collect()
        });
        let fates = fates(recorder, history, name, topics);
        Self { fates, committed_unprocessed, moved_back, lag }
    }
}

fn fates(
    recorder: &Recorder,
    history: &History,
    name: &str,
    topics: &BTreeSet<&str>,
) -> Vec<GroupFate> {
    let mut processed: BTreeMap<SendId, Vec<Span>> = BTreeMap::new();
    for one in history.processed.iter().filter(|one| *one.group == *name) {
        if let Some(id) = one.id {
            processed.entry(id).or_default().push(recorder.time(one.at.nanos()));
        }
    }
    let of_topics = history.sent.iter().filter_map(|sent| {
        let partition = sent.partition.clone()?;
        topics.contains(&*partition.topic).then_some((sent, partition))
    });
    let early = early(history, &processed);
    let fate = |(sent, partition): (&crate::history::Sent, TopicPartition)| GroupFate {
        partition,
        is_early: early.contains(&sent.id),
        acked_at: match sent.outcome {
            Outcome::Acked { .. } => sent.done_at.map(|at| recorder.time(at.nanos())),
            Outcome::Pending | Outcome::Failed { .. } | Outcome::Unknown { .. } => None,
        },
        processed_at: processed.remove(&sent.id).unwrap_or_default(),
    };
    of_topics.map(fate).collect()
}

/// The records that were first processed before one that the same client had sent earlier with the same key.
fn early(history: &History, processed: &BTreeMap<SendId, Vec<Span>>) -> BTreeSet<SendId> {
    let mut latest: BTreeMap<(&str, u32), Span> = BTreeMap::new();
    let mut early = BTreeSet::new();
    for sent in &history.sent {
        let first = processed.get(&sent.id).and_then(|at| at.first());
        let (Some(key), Some(first)) = (sent.key, first) else { continue };
        let latest = latest.entry((&sent.client, key)).or_insert(*first);
        if first < latest {
            early.insert(sent.id);
        }
        *latest = (*latest).max(*first);
    }
    early
}

/// What a group committed, in the order in which it was stored, against what it had processed by then.
struct Commits<'a> {
    /// The offsets that hold a record at the end.
    log: BTreeMap<&'a TopicPartition, Vec<Offset>>,
    /// When each was first processed.
    processed: BTreeMap<(&'a TopicPartition, Offset), SimTime>,
    /// When a commit was asked for and stored, and what it was of.
    stored: Vec<(SimTime, SimTime, &'a BTreeMap<TopicPartition, Offset>)>,
}

type Found = Vec<(Span, TopicPartition)>;

impl<'a> Commits<'a> {
    fn of(
        history: &'a History,
        name: &str,
        log: BTreeMap<&'a TopicPartition, Vec<Offset>>,
    ) -> Self {
        let mut processed = BTreeMap::new();
        for one in history.processed.iter().filter(|one| *one.group == *name) {
            processed.entry((&one.partition, one.offset)).or_insert(one.at);
        }
        let of_group = history.commits.iter().filter(|commit| *commit.group == *name);
        let stored = of_group.filter(|commit| commit.outcome == CommitOutcome::Stored);
        let mut stored: Vec<_> = stored
            .filter_map(|commit| Some((commit.asked_at, commit.done_at?, &commit.offsets)))
            .collect();
        stored.sort_by_key(|(_, done_at, _)| *done_at);
        if let Some(offsets) = history.final_offsets.get(name) {
            // Whoever commits by itself is looked at when all is over.
            let end = SimTime(u64::MAX);
            stored.push((end, end, &offsets.committed));
        }
        Self { log, processed, stored }
    }

    /// What was committed unprocessed, and what moved back: of two commits that were under way at once nobody knows which was stored
    /// first, and a member that stood still may hear late of one stored long ago.
    fn walk(&self, recorder: &Recorder) -> (Found, Found) {
        let (mut unprocessed, mut back) = (Found::new(), Found::new());
        let mut highest: BTreeMap<&TopicPartition, Offset> = BTreeMap::new();
        let mut told: BTreeMap<&TopicPartition, Vec<(SimTime, Offset)>> = BTreeMap::new();
        for (asked_at, done_at, offsets) in &self.stored {
            let at = recorder.time(done_at.nanos());
            for (partition, offset) in *offsets {
                let told = told.entry(partition).or_default();
                let known = told.iter().rev().find(|(told_at, _)| told_at <= asked_at);
                if known.is_some_and(|(_, known)| offset < known) {
                    back.push((at, partition.clone()));
                }
                let before = highest.entry(partition).or_insert(Offset::ZERO);
                if *offset < *before {
                    continue;
                }
                told.push((*done_at, *offset));
                let of_log = self.log.get(partition).map_or(&[][..], Vec::as_slice);
                let new = of_log.iter().filter(|there| (*before..*offset).contains(there));
                let is_processed = |there: &&Offset| {
                    let when = self.processed.get(&(partition, **there));
                    when.is_some_and(|when| when <= asked_at)
                };
                let missed = new.filter(|there| !is_processed(there));
                unprocessed.extend(missed.map(|_| (at, partition.clone())));
                *before = *offset;
            }
        }
        (unprocessed, back)
    }
}

/// The groups of a run, each with the topics that its members subscribed to.
#[must_use]
pub(crate) fn all(
    recorder: &Recorder,
    history: &History,
    groups: &BTreeMap<&str, BTreeSet<&str>>,
) -> BTreeMap<Arc<str>, GroupStats> {
    let of = |(name, topics): (&&str, &BTreeSet<&str>)| {
        (Arc::from(*name), GroupStats::of(recorder, history, name, topics))
    };
    groups.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use ottla::types::{Acks, PartitionIndex};

    use super::*;
    use crate::history::{Commit, FINAL_READER, FinalOffsets, Poll, Processed, Read, Sent};

    fn partition() -> TopicPartition {
        TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(0) }
    }

    /// Three records at offsets 0 to 2, acknowledged at 1 ns each, and all read at the end.
    fn history() -> History {
        let sent = (0..3).map(|id| Sent {
            id: SendId(id),
            client: "writer/0".into(),
            incarnation: 1,
            partition: Some(partition()),
            key: None,
            acks: Acks::All,
            is_idempotent: true,
            is_ordered: true,
            sent_at: SimTime(0),
            done_at: Some(SimTime(1)),
            outcome: Outcome::Acked { offset: Offset::from_wire(id.cast_signed()) },
        });
        let read = |id: u64| Read {
            partition: partition(),
            offset: Offset::ZERO + id,
            id: Some(SendId(id)),
            content: id,
        };
        let last = Poll {
            client: FINAL_READER.into(),
            at: SimTime(99),
            records: (0..3).map(read).collect(),
            repositioned: Vec::new(),
            seeks: Vec::new(),
        };
        History { sent: sent.collect(), polls: vec![last], ..History::default() }
    }

    fn processed(id: u64, at: u64) -> Processed {
        Processed {
            client: "g/0".into(),
            group: "g".into(),
            at: SimTime(at),
            partition: partition(),
            offset: Offset::ZERO + id,
            id: Some(SendId(id)),
        }
    }

    fn commit(at: u64, offset: u64, outcome: CommitOutcome) -> Commit {
        Commit {
            client: "g/0".into(),
            incarnation: 1,
            rebalances: 1,
            group: "g".into(),
            asked_at: SimTime(at),
            done_at: Some(SimTime(at + 1)),
            offsets: [(partition(), Offset::ZERO + offset)].into(),
            outcome,
        }
    }

    fn stats(history: &History) -> GroupStats {
        let recorder = Recorder::default();
        recorder.start(0);
        GroupStats::of(&recorder, history, "g", &["orders"].into())
    }

    #[test]
    fn what_is_processed_before_it_is_committed_is_well() {
        let mut history = history();
        history.processed = (0..3).map(|id| processed(id, 10 + id)).collect();
        history.commits =
            vec![commit(11, 2, CommitOutcome::Stored), commit(20, 3, CommitOutcome::Stored)];
        let stats = stats(&history);
        assert_eq!(stats.committed_unprocessed, []);
        assert_eq!(stats.moved_back, []);
        assert_eq!(stats.lag, None, "nobody asked");
        assert!(stats.fates.iter().all(|fate| fate.processed_at.len() == 1));
    }

    #[test]
    fn what_is_committed_before_it_is_processed_is_found_once() {
        let mut history = history();
        history.processed = vec![processed(0, 10), processed(1, 30)];
        let failed = CommitOutcome::Failed { error: None, reason: String::new() };
        history.commits = vec![
            commit(12, 3, failed),
            commit(15, 2, CommitOutcome::Stored),
            commit(40, 2, CommitOutcome::Stored),
            commit(50, 1, CommitOutcome::Stored),
        ];
        let seen = stats(&history);
        assert_eq!(seen.committed_unprocessed, [(Span::from_nanos(16), partition())], "record 1");
        assert_eq!(seen.moved_back, [(Span::from_nanos(51), partition())]);
        // A member that stood still hears late of a commit that it asked for before the others did.
        history.commits[3].asked_at = SimTime(14);
        assert_eq!(stats(&history).moved_back, []);
        history.commits[3].asked_at = SimTime(16);
        assert_eq!(stats(&history).moved_back.len(), 1);
        // What the client committed by itself is seen at the end: record 2 was never processed.
        let ends = [(partition(), Offset::ZERO + 3)];
        let last = FinalOffsets { committed: ends.clone().into(), ends: ends.into() };
        history.final_offsets.insert("g".into(), last);
        let seen = stats(&history);
        assert_eq!(seen.committed_unprocessed.len(), 2);
        assert_eq!(seen.lag, Some([(partition(), 0)].into()));
        assert_eq!(seen.fates[2].processed_at, []);
    }
}
