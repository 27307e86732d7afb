//! L10: whoever reads comes to the end of what it reads, once everything is healed and nobody sends any more.
//!
//! Held are consumers that began at the start of the log, and the groups of such: how far each has come in each partition, and since when
//! it has got on no more. Who is still on the way is not judged, however slow it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ottla::types::{Offset, TopicPartition};

use super::liveness::Missing;
use crate::history::{History, Outcome};
use crate::world::SimTime;

/// After so long without a record nobody waits any more: three sessions of 10 s.
pub const QUIET: Duration = Duration::from_secs(30);
/// Who was given nothing for so long has stopped: two sessions of 10 s, where a run leaves no more time.
const STOPPED: Duration = Duration::from_secs(20);

/// Somebody who reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reader {
    /// A client that assigned itself partitions, as `reader/0`.
    Client(Arc<str>),
    /// A consumer group.
    Group(Arc<str>),
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(name) => f.write_str(name),
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// What somebody reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// These partitions.
    Partitions(BTreeSet<TopicPartition>),
    /// All partitions of these topics, new ones too.
    Topics(BTreeSet<Arc<str>>),
}

impl Reads {
    fn holds(&self, partition: &TopicPartition) -> bool {
        match self {
            Self::Partitions(partitions) => partitions.contains(partition),
            Self::Topics(topics) => topics.contains(&partition.topic),
        }
    }
}

/// How far a reader has come in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    /// The last record that was acknowledged.
    last: Offset,
    /// The highest offset that the reader was given, or is done with where it is a group.
    reached: Option<Offset>,
    /// When it was last given something there, again or not.
    moved_at: SimTime,
}

impl Way {
    fn is_done(&self) -> bool {
        self.reached.is_some_and(|reached| reached >= self.last)
    }
}

/// Readers on their way to the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    ways: BTreeMap<(Reader, TopicPartition), Way>,
    polls: usize,
    processed: usize,
}

impl Arrivals {
    /// Nobody sends any more: from now on these are to come to the end.
    #[must_use]
    pub fn begin(history: &History, readers: &BTreeMap<Reader, Reads>, now: SimTime) -> Self {
        let mut ways = BTreeMap::new();
        for sent in &history.sent {
            let (Some(partition), Outcome::Acked { offset: Some(offset) }) =
                (&sent.partition, &sent.outcome)
            else {
                continue;
            };
            for (reader, _) in readers.iter().filter(|(_, reads)| reads.holds(partition)) {
                let way = Way { last: *offset, reached: None, moved_at: now };
                let of = (reader.clone(), partition.clone());
                let known: &mut Way = ways.entry(of).or_insert(way);
                known.last = known.last.max(*offset);
            }
        }
        let mut arrivals = Self { ways, polls: 0, processed: 0 };
        arrivals.note(history);
        arrivals.ways.values_mut().for_each(|way| way.moved_at = now);
        arrivals
    }

    /// Takes in what was read since it was last asked.
    pub fn note(&mut self, history: &History) {
        for poll in &history.polls[self.polls..] {
            for read in &poll.records {
                let reader = Reader::Client(Arc::clone(&poll.client));
                self.reach(reader, &read.partition, read.offset, poll.at);
            }
        }
        for one in &history.processed[self.processed..] {
            self.reach(Reader::Group(Arc::clone(&one.group)), &one.partition, one.offset, one.at);
        }
        (self.polls, self.processed) = (history.polls.len(), history.processed.len());
    }

    fn reach(&mut self, reader: Reader, partition: &TopicPartition, offset: Offset, at: SimTime) {
        if let Some(way) = self.ways.get_mut(&(reader, partition.clone())) {
            way.reached = way.reached.max(Some(offset));
            way.moved_at = way.moved_at.max(at);
        }
    }

    /// Whether nobody is on the way any more: each has arrived, got on no more for a while, or does not run.
    #[must_use]
    pub fn are_over(&self, now: SimTime, runs: impl Fn(&Reader) -> bool) -> bool {
        let is_over = |way: &Way| way.is_done() || now.since(way.moved_at) >= QUIET;
        self.ways.iter().all(|((reader, _), way)| is_over(way) || !runs(reader))
    }

    /// Who has stopped on the way, of those that are to arrive.
    #[must_use]
    pub fn stopped(&self, now: SimTime, arrives: impl Fn(&Reader) -> bool) -> Vec<Stopped> {
        let stands = |way: &Way| !way.is_done() && now.since(way.moved_at) >= STOPPED;
        let ways = self.ways.iter().filter(|((reader, _), way)| stands(way) && arrives(reader));
        let stopped = ways.map(|((reader, partition), way)| Stopped {
            reader: reader.clone(),
            partition: partition.clone(),
            reached: way.reached,
            last: way.last,
            waited: now.since(way.moved_at),
        });
        stopped.collect()
    }
}

/// A reader that has stopped on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    reader: Reader,
    partition: TopicPartition,
    reached: Option<Offset>,
    last: Offset,
    waited: Duration,
}

/// Those that have stopped before a record that is there: the last reader found it.
#[must_use]
pub fn missing(history: &History, stopped: &[Stopped]) -> Vec<Missing> {
    let log = history.final_log();
    let next = |one: &Stopped| {
        let reads = log.get(&one.partition)?;
        let mut offsets = reads.iter().map(|read| read.offset);
        offsets.find(|offset| Some(*offset) > one.reached && *offset <= one.last)
    };
    let told = stopped.iter().filter_map(|one| {
        let Stopped { reader, partition, reached, last, waited } = one;
        let next = next(one)?;
        let reached = reached.map_or("nothing".to_owned(), |at| format!("up to offset {at}"));
        let seconds = waited.as_secs();
        Some(Missing {
            check: "L10",
            what: format!(
                "{reader} has read {reached} of {partition}, where offsets {next} to {last} are to be read, and nothing more for {seconds} s"
            ),
        })
    });
    told.collect()
}
