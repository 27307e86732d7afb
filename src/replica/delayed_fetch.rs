//! Readers that wait for more: consumers for the high watermark, followers for the log's end.
//!
//! Kafka: `DelayedFetch`.

use std::collections::{BTreeSet, VecDeque};

use super::event::{Effect, WaiterId};
use super::partition::{Partition, State};
use crate::types::Offset;

/// So many batches above the high watermark are known by size each; of more, together. They may be many while too few replicas
/// are in sync.
const SIZES_MAX: usize = 1_024;

/// The sizes of batches that readers may not see yet, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadableBytes(VecDeque<(Offset, u64)>);

impl ReadableBytes {
    /// A batch of `bytes` that ends with `end_offset` is behind all others.
    pub(super) fn push(&mut self, end_offset: Offset, bytes: u64) {
        let together = if self.0.len() >= SIZES_MAX { self.0.pop_back() } else { None };
        let before = together.map_or(0, |(_, bytes)| bytes);
        self.0.push_back((end_offset, before + bytes));
    }

    /// How many bytes lie below `end_offset`: they can be read now. Less than there are where sizes are known only together.
    pub(super) fn take(&mut self, end_offset: Offset) -> u64 {
        let mut bytes = 0;
        while let Some((end, size)) = self.0.front().copied()
            && end <= end_offset
        {
            bytes += size;
            self.0.pop_front();
        }
        bytes
    }

    /// The log ends at `end_offset` now.
    pub(super) fn truncate(&mut self, end_offset: Offset) {
        while self.0.back().is_some_and(|(end, _)| *end > end_offset) {
            self.0.pop_back();
        }
    }
}

impl Partition {
    pub(super) fn on_watch(&mut self, waiter: WaiterId, seen: Offset, out: &mut Vec<Effect>) {
        let serves = matches!(self.state, State::Leader(_) | State::Follower(_));
        if serves && seen == self.high_watermark {
            self.watching.insert(waiter);
        } else {
            out.push(Effect::Readable { waiter, bytes: u64::MAX });
        }
    }

    pub(super) fn on_watch_log_end(
        &mut self,
        waiter: WaiterId,
        seen: Offset,
        out: &mut Vec<Effect>,
    ) {
        if matches!(self.state, State::Leader(_)) && seen == self.replica_end_offset() {
            self.watching_log_end.insert(waiter);
        } else {
            out.push(Effect::Readable { waiter, bytes: u64::MAX });
        }
    }

    /// The high watermark moved: `bytes` more are readable for consumers.
    pub(super) fn wake_watching(&self, bytes: u64, out: &mut Vec<Effect>) {
        wake(&self.watching, bytes, out);
    }

    /// The end that this replica may claim moved: `bytes` more are readable for followers.
    pub(super) fn wake_watching_log_end(&self, bytes: u64, out: &mut Vec<Effect>) {
        wake(&self.watching_log_end, bytes, out);
    }

    /// Tells all who wait for something to read to look again.
    pub(super) fn wake_all(&mut self, out: &mut Vec<Effect>) {
        wake(&std::mem::take(&mut self.watching), u64::MAX, out);
        wake(&std::mem::take(&mut self.watching_log_end), u64::MAX, out);
    }
}

fn wake(watching: &BTreeSet<WaiterId>, bytes: u64, out: &mut Vec<Effect>) {
    for waiter in watching {
        out.push(Effect::Readable { waiter: *waiter, bytes: bytes.max(1) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_counted_once_and_lose_detail_where_there_are_many() {
        let mut sizes = ReadableBytes::default();
        for batch in 1..=2_000 {
            sizes.push(Offset::new(batch), 10);
        }
        assert_eq!(sizes.take(Offset::new(3)), 30);
        assert_eq!(sizes.take(Offset::new(1_999)), 10 * 1_020);
        assert_eq!(sizes.take(Offset::new(2_000)), 10 * 977);
        sizes.push(Offset::new(2_001), 5);
        sizes.truncate(Offset::new(2_000));
        assert_eq!(sizes.take(Offset::MAX), 0);
    }
}
