//! Which leader wrote what: for each leader epoch, the offset of its first record.
//!
//! Followers compare it with the leader's to find where their logs part (KIP-101, KIP-279).
//!
//! Kafka: `LeaderEpochFileCache`; the file is `leader-epoch-checkpoint`.

use crate::types::{LeaderEpoch, Offset};

/// A leader epoch and the offset of the first record written in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EpochEntry {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Where it begins.
    pub start_offset: Offset,
}

/// Where an epoch ends, as OffsetForLeaderEpoch answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EpochEndOffset {
    /// The asked epoch, or the largest one below it that wrote something here.
    pub epoch: LeaderEpoch,
    /// The offset after its last record. Exclusive.
    pub end_offset: Offset,
}

/// The epochs of one log.
///
/// Invariants: epochs and start offsets both rise strictly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochCache {
    entries: Vec<EpochEntry>,
}

/// Why a checkpoint file was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("leader-epoch-checkpoint, line {line}: {what}")]
pub struct EpochCheckpointError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// The epoch in which the record at `offset` was written; `None` below the first of `entries`, whose start offsets rise.
#[must_use]
pub fn epoch_at(entries: &[EpochEntry], offset: Offset) -> Option<LeaderEpoch> {
    let above = entries.partition_point(|entry| entry.start_offset <= offset);
    above.checked_sub(1).map(|at| entries[at].epoch)
}

impl LeaderEpochCache {
    /// An empty cache.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Notes that `epoch` begins at `start_offset`. Returns whether that is news, to be written to the checkpoint.
    ///
    /// Entries that would not stay below the new one are removed: they tell of records that are no longer there.
    ///
    /// Kafka: `LeaderEpochFileCache.assign`, `maybeTruncateNonMonotonicEntries`.
    pub fn assign(&mut self, epoch: LeaderEpoch, start_offset: Offset) -> bool {
        let is_known = self
            .entries
            .last()
            .is_some_and(|last| last.epoch == epoch && last.start_offset <= start_offset);
        if is_known {
            return false;
        }
        while self
            .entries
            .last()
            .is_some_and(|last| last.epoch >= epoch || last.start_offset >= start_offset)
        {
            self.entries.pop();
        }
        self.entries.push(EpochEntry { epoch, start_offset });
        true
    }

    /// The latest epoch.
    #[must_use]
    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// The earliest epoch.
    #[must_use]
    pub fn earliest(&self) -> Option<EpochEntry> {
        self.entries.first().copied()
    }

    /// The largest epoch below `epoch` that wrote something here.
    #[must_use]
    pub fn previous(&self, epoch: LeaderEpoch) -> Option<EpochEntry> {
        let at = self.entries.partition_point(|entry| entry.epoch < epoch);
        at.checked_sub(1).map(|at| self.entries[at])
    }

    /// All epochs, in order.
    #[must_use]
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// Where `epoch` ends in a log that ends at `log_end_offset`.
    ///
    /// The latest epoch ends with the log. An epoch that wrote nothing here ends where the next larger one begins, and is
    /// answered with the next smaller one. `None` where `epoch` is larger than all known ones, or none is known.
    ///
    /// Kafka: `LeaderEpochFileCache.endOffsetFor`.
    #[must_use]
    pub fn end_offset_for(
        &self,
        epoch: LeaderEpoch,
        log_end_offset: Offset,
    ) -> Option<EpochEndOffset> {
        let latest = self.latest()?;
        if epoch == latest.epoch {
            return Some(EpochEndOffset { epoch, end_offset: log_end_offset });
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let end_offset = self.entries.get(above)?.start_offset;
        // Below the first known epoch there is nothing to name: its own number is answered.
        let answered = above.checked_sub(1).map_or(epoch, |at| self.entries[at].epoch);
        Some(EpochEndOffset { epoch: answered, end_offset })
    }

    /// The epoch in which the record at `offset` was written; `None` below the first known epoch.
    #[must_use]
    pub fn epoch_for_offset(&self, offset: Offset) -> Option<LeaderEpoch> {
        epoch_at(&self.entries, offset)
    }

    /// The epochs from the one on in which the record at `offset` was written.
    #[must_use]
    pub fn entries_from(&self, offset: Offset) -> &[EpochEntry] {
        let above = self.entries.partition_point(|entry| entry.start_offset <= offset);
        &self.entries[above.saturating_sub(1)..]
    }

    /// Removes the epochs that begin at or after `end_offset`, the new end of the log. Returns whether something changed.
    pub fn truncate_from_end(&mut self, end_offset: Offset) -> bool {
        let kept = self.entries.partition_point(|entry| entry.start_offset < end_offset);
        let changed = kept < self.entries.len();
        self.entries.truncate(kept);
        changed
    }

    /// Forgets what lies below `start_offset`, the new start of the log: the epoch that spans it begins there now.
    /// Returns whether something changed.
    pub fn truncate_from_start(&mut self, start_offset: Offset) -> bool {
        let above = self.entries.partition_point(|entry| entry.start_offset <= start_offset);
        let Some(spanning) = above.checked_sub(1) else { return false };
        let changed = spanning > 0 || self.entries[spanning].start_offset < start_offset;
        self.entries.drain(..spanning);
        self.entries[0].start_offset = start_offset;
        changed
    }

    /// Forgets all epochs.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The checkpoint file's text.
    #[must_use]
    pub fn encode(&self) -> String {
        use std::fmt::Write;
        let mut text = format!("0\n{}\n", self.entries.len());
        for entry in &self.entries {
            writeln!(text, "{} {}", entry.epoch, entry.start_offset)
                .expect("writing to a String does not fail");
        }
        text
    }

    /// Reads a checkpoint file's text.
    ///
    /// Errors: another version, another count than lines, lines that are not two rising numbers.
    pub fn decode(text: &str) -> Result<Self, EpochCheckpointError> {
        let refused = |line, what| EpochCheckpointError { line, what };
        let mut lines = text.lines();
        if lines.next().map(str::trim) != Some("0") {
            return Err(refused(1, "the version is not 0"));
        }
        let count = lines.next().and_then(|line| line.trim().parse::<usize>().ok());
        let count = count.ok_or(refused(2, "the count of entries is no number"))?;
        let mut entries: Vec<EpochEntry> = Vec::new();
        for (number, line) in lines.enumerate().map(|(index, line)| (index + 3, line)) {
            if line.trim().is_empty() {
                continue;
            }
            let entry = decode_line(line).ok_or(refused(number, "not an epoch and an offset"))?;
            let rises = entries.last().is_none_or(|last| {
                last.epoch < entry.epoch && last.start_offset < entry.start_offset
            });
            if !rises {
                return Err(refused(number, "epoch and offset do not both rise"));
            }
            entries.push(entry);
        }
        if entries.len() != count {
            return Err(refused(2, "the count is not that of the entries"));
        }
        Ok(Self { entries })
    }
}

fn decode_line(line: &str) -> Option<EpochEntry> {
    let mut words = line.split_whitespace();
    let epoch = LeaderEpoch::from_wire(words.next()?.parse().ok()?)?;
    let start_offset = Offset::from_wire(words.next()?.parse().ok()?)?;
    words.next().is_none().then_some(EpochEntry { epoch, start_offset })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn epoch(value: i32) -> LeaderEpoch {
        LeaderEpoch::new(value)
    }

    fn offset(value: i64) -> Offset {
        Offset::new(value)
    }

    fn cache(entries: &[(i32, i64)]) -> LeaderEpochCache {
        let mut cache = LeaderEpochCache::new();
        for (number, start) in entries {
            assert!(cache.assign(epoch(*number), offset(*start)));
        }
        cache
    }

    fn plain(cache: &LeaderEpochCache) -> Vec<(i32, i64)> {
        cache
            .entries()
            .iter()
            .map(|entry| (entry.epoch.value(), entry.start_offset.value()))
            .collect()
    }

    #[track_caller]
    fn check_end(asked: i32, expected: Option<(i32, i64)>) {
        let answer = cache(&[(2, 10), (4, 20), (7, 30)]).end_offset_for(epoch(asked), offset(55));
        assert_eq!(answer.map(|end| (end.epoch.value(), end.end_offset.value())), expected);
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next_one_that_wrote() {
        check_end(7, Some((7, 55)));
        check_end(8, None);
        check_end(6, Some((4, 30)));
        check_end(4, Some((4, 30)));
        check_end(3, Some((2, 20)));
        check_end(2, Some((2, 20)));
        check_end(1, Some((1, 10)));
        assert_eq!(LeaderEpochCache::new().end_offset_for(epoch(0), offset(5)), None);
    }

    #[test]
    fn assigning_what_is_known_is_no_news() {
        let mut cache = cache(&[(1, 0), (2, 10)]);
        assert!(!cache.assign(epoch(2), offset(10)));
        assert!(!cache.assign(epoch(2), offset(15)));
        assert_eq!(plain(&cache), [(1, 0), (2, 10)]);
    }

    #[test]
    fn assigning_removes_what_would_not_stay_below() {
        let mut cache = cache(&[(1, 0), (2, 10), (3, 20)]);
        assert!(cache.assign(epoch(4), offset(10)));
        assert_eq!(plain(&cache), [(1, 0), (4, 10)]);
        assert!(cache.assign(epoch(2), offset(30)));
        assert_eq!(plain(&cache), [(1, 0), (2, 30)]);
    }

    #[test]
    fn truncation_from_the_start_keeps_the_spanning_epoch() {
        let mut spanned = cache(&[(1, 0), (2, 10), (3, 20)]);
        assert!(spanned.truncate_from_start(offset(15)));
        assert_eq!(plain(&spanned), [(2, 15), (3, 20)]);
        assert!(!spanned.truncate_from_start(offset(15)));
        assert!(!spanned.truncate_from_start(offset(3)));
        assert!(spanned.truncate_from_start(offset(20)));
        assert_eq!(plain(&spanned), [(3, 20)]);
        assert!(spanned.truncate_from_start(offset(90)));
        assert_eq!(plain(&spanned), [(3, 90)]);
    }

    #[test]
    fn files_look_like_kafkas() {
        let cache = cache(&[(1, 0), (5, 10)]);
        assert_eq!(cache.encode(), "0\n2\n1 0\n5 10\n");
        assert_eq!(LeaderEpochCache::decode("0\n2\n1 0\n5 10\n"), Ok(cache));
        assert_eq!(LeaderEpochCache::decode("0\n0\n"), Ok(LeaderEpochCache::new()));
    }

    #[test]
    fn damaged_files_are_refused_with_the_line() {
        let line = |text| LeaderEpochCache::decode(text).unwrap_err().line;
        assert_eq!(line(""), 1);
        assert_eq!(line("1\n0\n"), 1);
        assert_eq!(line("0\nmany\n"), 2);
        assert_eq!(line("0\n2\n1 0\n"), 2);
        assert_eq!(line("0\n1\n1\n"), 3);
        assert_eq!(line("0\n2\n1 0\n1 5\n"), 4);
        assert_eq!(line("0\n1\n-1 0\n"), 3);
    }

    fn steps() -> impl Strategy<Value = Vec<(i32, i64)>> {
        prop::collection::vec((0i32..8, 0i64..100), 0..20)
    }

    proptest! {
        #[test]
        fn entries_always_rise_and_files_read_back(steps in steps(), cut in 0i64..100) {
            let mut cache = LeaderEpochCache::new();
            for (number, start) in steps {
                cache.assign(epoch(number), offset(start));
                let rises = cache.entries().is_sorted_by(|one, next| {
                    one.epoch < next.epoch && one.start_offset < next.start_offset
                });
                prop_assert!(rises);
            }
            prop_assert_eq!(LeaderEpochCache::decode(&cache.encode()), Ok(cache.clone()));
            let whole = cache.clone();
            cache.truncate_from_end(offset(cut));
            for at in 0..cut {
                prop_assert_eq!(
                    cache.epoch_for_offset(offset(at)),
                    whole.epoch_for_offset(offset(at))
                );
            }
            let mut cache = whole.clone();
            cache.truncate_from_start(offset(cut));
            for at in cut..120 {
                prop_assert_eq!(
                    cache.epoch_for_offset(offset(at)),
                    whole.epoch_for_offset(offset(at))
                );
            }
        }

        #[test]
        fn arbitrary_files_never_panic(text in "[0-9 \n-]{0,40}") {
            let _ = LeaderEpochCache::decode(&text);
        }
    }
}
