//! The calls that ask leaders for offsets, of any partitions.

use std::collections::BTreeMap;

use super::Consumer;
use crate::client::consumer::fetcher::Found;
use crate::client::consumer::offsets::OffsetAndTimestamp;
use crate::client::error::ClientError;
use crate::protocol::OffsetSpec;
use crate::types::{ErrorCode, Offset, Timestamp, TopicPartition};

impl Consumer {
    /// The first record of each partition whose time is not before the given one; partitions without such a record are left out. They need
    /// not be assigned. Whoever wants to read from there seeks:
    ///
    /// ```
    /// # use ottla::client::{ClientError, Consumer};
    /// # use ottla::types::Timestamp;
    /// async fn go_back_to(consumer: &mut Consumer, time: Timestamp) -> Result<(), ClientError> {
    ///     let times = consumer.assignment().into_iter().map(|partition| (partition, time)).collect();
    ///     for (partition, found) in consumer.offsets_for_times(&times).await? {
    ///         consumer.seek(&partition, found.offset)?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// Errors: [`ClientError::Answer`] with `INVALID_REQUEST` for a time before 1970, or what a leader says;
    /// [`ClientError::TimedOut`] after `default.api.timeout.ms`, also for topics that do not exist; [`ClientError::WokenUp`].
    pub async fn offsets_for_times(
        &mut self,
        times: &BTreeMap<TopicPartition, Timestamp>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>, ClientError> {
        if let Some((partition, time)) = times.iter().find(|(_, time)| time.millis() < 0) {
            let message = Some(format!("{partition}: no record is from {} ms", time.millis()));
            return Err(ClientError::Answer { error: ErrorCode::InvalidRequest, message });
        }
        let wanted =
            times.iter().map(|(partition, time)| (partition, OffsetSpec::Timestamp(*time)));
        let found = self.look_up(wanted, "offsets by time").await?;
        Ok(found.into_iter().filter_map(|(partition, found)| Some((partition, found?))).collect())
    }

    /// The start of each log: the offset of its first record, if it has any. They need not be assigned.
    ///
    /// Errors: as [`Consumer::offsets_for_times`].
    pub async fn beginning_offsets(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
        self.ends(partitions, OffsetSpec::Earliest).await
    }

    /// The end of each log as far as it may be read: the offset of the next record to come (with `read_committed`, the last stable offset).
    /// They need not be assigned.
    ///
    /// Errors: as [`Consumer::offsets_for_times`].
    pub async fn end_offsets(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
        self.ends(partitions, OffsetSpec::Latest).await
    }

    async fn ends(
        &mut self,
        partitions: &[TopicPartition],
        end: OffsetSpec,
    ) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
        let wanted = partitions.iter().map(|partition| (partition, end));
        let found = self.look_up(wanted, "ends of logs").await?;
        let offsets = found.into_iter().filter_map(|(partition, at)| Some((partition, at?.offset)));
        Ok(offsets.collect())
    }

    async fn look_up<'a>(
        &mut self,
        wanted: impl Iterator<Item = (&'a TopicPartition, OffsetSpec)>,
        what: &str,
    ) -> Result<Found, ClientError> {
        let deadline = self.env.clock.now().monotonic + self.api_timeout;
        let wanted = wanted.map(|(partition, offset)| (partition.clone(), offset)).collect();
        self.machine.begin_lookup(wanted);
        let found = self.until(deadline, what, |this| this.machine.take_lookup()).await;
        self.machine.end_lookup();
        found
    }
}
