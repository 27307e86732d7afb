//! Which records are kept: old segments go, and what a DeleteRecords request names.
//!
//! Kafka: `UnifiedLog.deleteOldSegments`, `maybeIncrementLogStartOffset`.

use std::time::Duration;

use super::event::{Effect, Retention};
use super::partition::Partition;
use crate::log::Segment;
use crate::types::{ErrorCode, Now, Observation, Offset, Timestamp};

impl Partition {
    /// Up to where a DeleteRecords request deletes: `to`, or all that is committed.
    ///
    /// Errors: OFFSET_OUT_OF_RANGE above the high watermark.
    pub fn deletion_offset(&self, to: Option<Offset>) -> Result<Offset, ErrorCode> {
        let to = to.unwrap_or(self.high_watermark);
        if to > self.high_watermark { Err(ErrorCode::OffsetOutOfRange) } else { Ok(to) }
    }

    pub(super) fn on_move_log_start(&mut self, to: Offset, out: &mut Vec<Effect>) {
        assert!(to <= self.high_watermark, "nothing above the high watermark is removed");
        let from = self.log.log_start_offset();
        if to <= from {
            return;
        }
        let segments = self.log.move_start(to);
        self.epochs.truncate_from_start(to);
        self.producers.on_log_start_moved(to);
        out.push(Effect::Observe(Observation::LogStartMoved { partition: self.id, from, to }));
        out.push(Effect::RemoveSegments { segments, log_start_offset: to });
        self.wake_all(out);
    }

    /// Removes whole segments from the old end: those whose newest record is too old, then those beyond the size.
    ///
    /// Nothing above the high watermark goes. The active segment goes only by age, and is closed for it.
    pub(super) fn on_retain(&mut self, now: Now, retention: Retention, out: &mut Vec<Effect>) {
        let Some(to) = self.retained_from(now, retention) else { return };
        if to > self.log.active().base_offset {
            let Some(segment) = self.log.roll(now.wall) else { return };
            self.observe_roll(segment, out);
        }
        self.on_move_log_start(to, out);
    }

    fn retained_from(&self, now: Now, retention: Retention) -> Option<Offset> {
        let mut excess = retention.bytes_max.map_or(0, |max| self.log.size().saturating_sub(max));
        let mut by_age = true;
        let mut to = None;
        let segments = self.log.segments();
        for (index, segment) in segments.iter().enumerate() {
            let next = segments.get(index + 1).map(|next| next.base_offset);
            let end = next.unwrap_or(self.log.log_end_offset());
            by_age =
                by_age && retention.age_max.is_some_and(|age| is_older(segment, now.wall, age));
            let by_size = next.is_some() && segment.size <= excess;
            if end > self.high_watermark || segment.size == 0 || !(by_age || by_size) {
                break;
            }
            excess = excess.saturating_sub(segment.size);
            to = Some(end);
        }
        to
    }
}

/// Whether the newest record of a segment is older than `age_max`. One without timestamps counts from when it was made.
fn is_older(segment: &Segment, now: Timestamp, age_max: Duration) -> bool {
    let newest = match (&segment.index, segment.max_timestamp()) {
        // Not read yet: nobody knows.
        (None, _) => return false,
        (Some(_), Some(newest)) => newest.timestamp,
        (Some(_), None) => segment.created,
    };
    let age = now.millis().saturating_sub(newest.millis());
    i128::from(age) > i128::try_from(age_max.as_millis()).unwrap_or(i128::MAX)
}
