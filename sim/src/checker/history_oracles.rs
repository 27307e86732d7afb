//! oracles: what nodes told of their logs and what the last reader was given agree. One of the two is wrong where they do not: the product
//! serves something else than it says it has, or the testbed's own copy of its state went astray.

use std::collections::BTreeSet;

use ottla::types::{Offset, TopicIdPartition, TopicPartition};

use super::ghost::GhostPartition;
use super::{Ghost, Violation};
use crate::history::{History, Read};
use crate::world::SimTime;

/// What the leader of a partition had at the end, by all that it told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLog {
    /// The partition.
    pub partition: TopicPartition,
    /// Who led it.
    pub leader: String,
    /// Where its log began.
    pub start: Offset,
    /// From which offset up to which, exclusive, batches stood in it: in order, none next to another.
    pub runs: Vec<(Offset, Offset)>,
    /// Behind the last batch that was acknowledged with `acks=all` before the last reader began, and is not declared lost. A request that was
    /// delayed may arrive when its client has closed long since (swarm, seed 219).
    pub acked_end: Offset,
}

impl HeldLog {
    /// Of a partition of this name, for a reader that began at `read_from`; `None` where nobody leads it whose log is open.
    #[must_use]
    pub fn of(
        ghost: &Ghost,
        id: TopicIdPartition,
        of: &GhostPartition,
        partition: TopicPartition,
        read_from: SimTime,
    ) -> Option<Self> {
        let leader = of.state()?.leader?;
        let log = ghost.log_of(leader, id).filter(|log| log.is_open)?;
        let mut runs: Vec<(Offset, Offset)> = Vec::new();
        for batch in log.batches.iter().filter(|batch| batch.end_offset > log.start) {
            let from = batch.base_offset.max(log.start);
            match runs.last_mut().filter(|(_, to)| *to == from) {
                Some((_, to)) => *to = batch.end_offset,
                None => runs.push((from, batch.end_offset)),
            }
        }
        let in_time = of.acked.values().filter(|acked| acked.at <= read_from);
        let acked_end = in_time.map(|acked| acked.batch.end_offset).max();
        Some(Self {
            partition,
            leader: format!("broker {leader}"),
            start: log.start,
            runs,
            acked_end: acked_end.unwrap_or(Offset::ZERO),
        })
    }

    fn holds(&self, offset: Offset) -> bool {
        self.runs.iter().any(|(from, to)| (*from..*to).contains(&offset))
    }

    /// What is held and was not read, or read and not held, in words.
    fn disagreement(&self, read: &[&Read]) -> Option<String> {
        let offsets = read.iter().map(|read| read.offset).filter(|offset| *offset >= self.start);
        let offsets: BTreeSet<Offset> = offsets.collect();
        if let Some(offset) = offsets.iter().find(|offset| !self.holds(**offset)) {
            return Some(format!(
                "the last reader was given offset {offset}, where nothing stands by all that {} told of its log",
                self.leader
            ));
        }
        // What nobody waited for may have come behind the end that the reader was told.
        let due = offsets.last().map_or(self.acked_end, |last| self.acked_end.max(*last));
        let mut rest = offsets.iter().copied().peekable();
        for (from, to) in &self.runs {
            let mut next = *from;
            while next < (*to).min(due) {
                if rest.peek() != Some(&next) {
                    return Some(format!(
                        "{} has offset {next} by all that it told, and the last reader, which came to the end, was not given it",
                        self.leader
                    ));
                }
                rest.next();
                next = next + 1;
            }
            while rest.peek().is_some_and(|offset| offset < to) {
                rest.next();
            }
        }
        None
    }
}

/// Holds what the last reader was given against what the leaders had.
#[must_use]
pub fn oracles_disagree(history: &History, held: &[HeldLog], at: SimTime) -> Vec<Violation> {
    if !history.final_read_complete {
        return Vec::new();
    }
    let read = history.final_log();
    let of = |log: &HeldLog| {
        let what = log.disagreement(read.get(&log.partition).map_or(&[], Vec::as_slice))?;
        let partition = Some(log.partition.to_string());
        let runs = log.runs.iter().map(|(from, to)| format!("{from}..{to}"));
        let runs: Vec<String> = runs.take(8).collect();
        let evidence = vec![format!("its log begins at {}, with {}", log.start, runs.join(", "))];
        Some(Violation { check: "oracles", at, node: None, partition, what, evidence })
    };
    held.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ottla::types::PartitionIndex;

    use super::*;
    use crate::history::{FINAL_READER, Poll, SendId};

    fn orders() -> TopicPartition {
        TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(0) }
    }

    fn history(read: &[i64]) -> History {
        let records = read.iter().map(|offset| Read {
            partition: orders(),
            offset: Offset::new(*offset),
            id: Some(SendId(0)),
            content: 0,
        });
        let poll = Poll {
            client: Arc::from(FINAL_READER),
            at: SimTime(1),
            records: records.collect(),
            repositioned: Vec::new(),
            seeks: Vec::new(),
        };
        History { polls: vec![poll], final_read_complete: true, ..History::default() }
    }

    fn words(read: &[i64], start: i64, runs: &[(i64, i64)], acked_end: i64) -> Option<String> {
        let of = |(from, to): &(i64, i64)| (Offset::new(*from), Offset::new(*to));
        let held = HeldLog {
            partition: orders(),
            leader: "broker 2".into(),
            start: Offset::new(start),
            runs: runs.iter().map(of).collect(),
            acked_end: Offset::new(acked_end),
        };
        let found = oracles_disagree(&history(read), &[held], SimTime(2));
        assert!(found.iter().all(|found| found.check == "oracles"));
        found.into_iter().next().map(|found| found.what)
    }

    #[test]
    fn agreement_is_silent() {
        assert_eq!(words(&[0, 1, 2, 3], 0, &[(0, 4)], 4), None);
        assert_eq!(words(&[0, 1, 2, 3], 2, &[(2, 4)], 4), None, "deleted after it was read");
        assert_eq!(words(&[0, 1, 4, 5], 0, &[(0, 2), (4, 6)], 6), None, "a gap in both");
        assert_eq!(words(&[0, 1], 0, &[(0, 5)], 2), None, "behind the end that it was told");
        let unfinished = History { final_read_complete: false, ..history(&[]) };
        assert!(oracles_disagree(&unfinished, &[], SimTime(2)).is_empty());
    }

    #[test]
    fn either_may_lack_what_the_other_has() {
        let lacks = |read: &[i64], runs: &[(i64, i64)], acked_end| words(read, 0, runs, acked_end);
        assert!(lacks(&[0, 2, 3], &[(0, 4)], 0).is_some_and(|what| what.contains("has offset 1 ")));
        assert!(lacks(&[0, 1], &[(0, 4)], 4).is_some_and(|what| what.contains("has offset 2 ")));
        assert!(lacks(&[], &[(0, 4)], 1).is_some_and(|what| what.contains("has offset 0 ")));
        assert!(
            lacks(&[0, 1, 2], &[(0, 2)], 2).is_some_and(|what| what.contains("given offset 2,"))
        );
        assert!(
            lacks(&[3], &[(0, 2), (4, 6)], 2).is_some_and(|what| what.contains("given offset 3,"))
        );
    }
}
