//! The newest batches of a log, kept in memory as the slices they came in: a reader at the tail needs no file.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::storage::BatchesRead;
use crate::types::Offset;

/// One partition keeps at most this much, however much the node may.
const PARTITION_BYTES_MAX: usize = 4 << 20;

/// How many bytes all partitions of a node keep together.
#[derive(Debug)]
pub struct TailBudget {
    used: AtomicUsize,
    bytes_max: usize,
}

impl TailBudget {
    /// At most `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), bytes_max })
    }

    fn is_exhausted(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.bytes_max
    }

    fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A batch in memory.
#[derive(Debug)]
struct TailBatch {
    base_offset: Offset,
    end_offset: Offset,
    slices: [Bytes; 2],
}

impl TailBatch {
    fn bytes(&self) -> usize {
        self.slices[0].len() + self.slices[1].len()
    }
}

/// The newest batches, without a gap, oldest first.
#[derive(Debug)]
pub(super) struct TailCache {
    budget: Arc<TailBudget>,
    batches: VecDeque<TailBatch>,
    bytes: usize,
}

impl TailCache {
    pub(super) fn new(budget: Arc<TailBudget>) -> Self {
        Self { budget, batches: VecDeque::new(), bytes: 0 }
    }

    /// Keeps a batch that is appended to the log, and forgets older ones as far as memory asks for it.
    pub(super) fn push(&mut self, base_offset: Offset, end_offset: Offset, slices: [Bytes; 2]) {
        if self.batches.back().is_some_and(|last| last.end_offset != base_offset) {
            self.clear();
        }
        let batch = TailBatch { base_offset, end_offset, slices };
        self.bytes += batch.bytes();
        self.budget.add(batch.bytes());
        self.batches.push_back(batch);
        while !self.batches.is_empty()
            && (self.bytes > PARTITION_BYTES_MAX || self.budget.is_exhausted())
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.bytes -= batch.bytes();
            self.budget.release(batch.bytes());
        }
    }

    pub(super) fn clear(&mut self) {
        while !self.batches.is_empty() {
            self.forget_oldest();
        }
    }

    /// Forgets the batches that end beyond `end_offset`: they were taken back.
    pub(super) fn truncate(&mut self, end_offset: Offset) {
        while self.batches.back().is_some_and(|batch| batch.end_offset > end_offset) {
            let batch = self.batches.pop_back().expect("just seen");
            self.bytes -= batch.bytes();
            self.budget.release(batch.bytes());
        }
    }

    /// Whole batches from the one that holds `offset` on, below `end_offset`, as many as fit. `None`: it is not in memory.
    pub(super) fn read(
        &self,
        offset: Offset,
        end_offset: Offset,
        max_bytes: usize,
        first_batch_whole: bool,
    ) -> Option<BatchesRead> {
        if self.batches.front()?.base_offset > offset {
            return None;
        }
        let first = self.batches.partition_point(|batch| batch.end_offset <= offset);
        let mut read = BatchesRead::default();
        for batch in self.batches.range(first..) {
            let fits = read.bytes + batch.bytes() <= max_bytes
                || (read.slices.is_empty() && first_batch_whole);
            if batch.end_offset > end_offset || !fits {
                break;
            }
            read.bytes += batch.bytes();
            read.end_offset = Some(batch.end_offset);
            read.slices.extend(batch.slices.iter().cloned());
        }
        Some(read)
    }
}

impl Drop for TailCache {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(cache: &mut TailCache, base: i64, bytes: usize) {
        let slices = [Bytes::from(vec![0; 16]), Bytes::from(vec![0; bytes - 16])];
        cache.push(Offset::new(base), Offset::new(base + 1), slices);
    }

    fn ends(cache: &TailCache, offset: i64, max_bytes: usize) -> Option<Option<i64>> {
        let read = cache.read(Offset::new(offset), Offset::MAX, max_bytes, true)?;
        Some(read.end_offset.map(Offset::value))
    }

    #[test]
    fn reads_whole_batches_from_memory_and_nothing_older() {
        let mut cache = TailCache::new(TailBudget::new(350));
        for base in 0..5 {
            push(&mut cache, base, 100);
        }
        assert_eq!(ends(&cache, 1, 1_000), None, "forgotten: three fit");
        assert_eq!(ends(&cache, 2, 1_000), Some(Some(5)));
        assert_eq!(ends(&cache, 2, 250), Some(Some(4)));
        assert_eq!(ends(&cache, 2, 1), Some(Some(3)), "the first one whatever its size");
        cache.truncate(Offset::new(4));
        assert_eq!(ends(&cache, 3, 1_000), Some(Some(4)));
        assert_eq!(ends(&cache, 4, 1_000), Some(None));
    }

    #[test]
    fn the_budget_is_shared_and_given_back() {
        let budget = TailBudget::new(150);
        let mut one = TailCache::new(budget.clone());
        let mut other = TailCache::new(budget.clone());
        push(&mut one, 0, 100);
        push(&mut other, 0, 100);
        assert_eq!(ends(&other, 0, 1_000), None);
        drop(one);
        push(&mut other, 1, 100);
        assert_eq!(ends(&other, 1, 1_000), Some(Some(2)));
    }
}
