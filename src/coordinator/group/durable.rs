//! What the log says: the sum of its records, and nothing else.
//!
//! Each key changes a part of its own, and a tombstone takes that part away, whether it was there or not. So the sum is the same
//! whatever the cleaner removed of what was overwritten (KAFKA-17306), and replaying never fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::consumer_group::ConsumerGroup;
use super::request::{CommittedOffset, GroupId};
use crate::protocol::coordinator_records::{
    CoordinatorRecord, GroupMetadataValue, OffsetCommitKey, OffsetCommitValue,
};
use crate::types::{PartitionIndex, Uuid};

/// A group's offsets, by topic and partition. No topic is without partitions.
pub(super) type GroupOffsets = BTreeMap<Arc<str>, BTreeMap<PartitionIndex, CommittedOffset>>;

/// The sum of a coordinator log's records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Durable {
    /// Groups of the classic protocol, as of their last generation.
    pub(super) groups: BTreeMap<GroupId, GroupMetadataValue>,
    /// Offsets of groups that have any.
    pub(super) offsets: BTreeMap<GroupId, GroupOffsets>,
    /// Groups of the consumer protocol.
    pub(super) consumer_groups: BTreeMap<GroupId, ConsumerGroup>,
}

impl Durable {
    /// Adds a record.
    pub(super) fn replay(&mut self, record: &CoordinatorRecord) {
        match record {
            CoordinatorRecord::OffsetCommit(key, value) => self.replay_offset(key, value.as_ref()),
            CoordinatorRecord::GroupMetadata(key, Some(value)) => {
                self.groups.insert(key.group.as_str().into(), value.clone());
            }
            CoordinatorRecord::GroupMetadata(key, None) => {
                self.groups.remove(key.group.as_str());
            }
            CoordinatorRecord::ConsumerGroupMetadata(key, _) => {
                self.replay_consumer_group(&key.group_id, record);
            }
            CoordinatorRecord::ConsumerGroupPartitionMetadata(key, _) => {
                self.replay_consumer_group(&key.group_id, record);
            }
            CoordinatorRecord::ConsumerGroupMemberMetadata(key, _) => {
                self.replay_consumer_group(&key.group_id, record);
            }
            CoordinatorRecord::ConsumerGroupTargetAssignmentMetadata(key, _) => {
                self.replay_consumer_group(&key.group_id, record);
            }
            CoordinatorRecord::ConsumerGroupTargetAssignmentMember(key, _) => {
                self.replay_consumer_group(&key.group_id, record);
            }
            CoordinatorRecord::ConsumerGroupCurrentMemberAssignment(key, _) => {
                self.replay_consumer_group(&key.group_id, record);
            }
            CoordinatorRecord::ConsumerGroupRegularExpression(key, _) => {
                self.replay_consumer_group(&key.group_id, record);
            }
        }
    }

    fn replay_consumer_group(&mut self, id: &str, record: &CoordinatorRecord) {
        let group = self.consumer_groups.entry(id.into()).or_default();
        group.replay(record);
        if group.is_gone() {
            self.consumer_groups.remove(id);
        }
    }

    fn replay_offset(&mut self, key: &OffsetCommitKey, value: Option<&OffsetCommitValue>) {
        // A negative offset says that nothing is committed, as a tombstone does.
        let Some(committed) = value.and_then(committed_offset) else {
            return self.forget_offset(&key.group, &key.topic, key.partition);
        };
        let topics = self.offsets.entry(key.group.as_str().into()).or_default();
        let partitions = topics.entry(key.topic.as_str().into()).or_default();
        partitions.insert(key.partition, committed);
    }

    fn forget_offset(&mut self, group: &str, topic: &str, partition: PartitionIndex) {
        let Some(topics) = self.offsets.get_mut(group) else { return };
        let Some(partitions) = topics.get_mut(topic) else { return };
        partitions.remove(&partition);
        if partitions.is_empty() {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.offsets.remove(group);
        }
    }

    /// What is committed of a partition, if anything.
    pub(super) fn offset(
        &self,
        group: &str,
        topic: &str,
        partition: PartitionIndex,
    ) -> Option<&CommittedOffset> {
        self.offsets.get(group)?.get(topic)?.get(&partition)
    }

    /// Whether the log knows the group.
    pub(super) fn contains(&self, group: &str) -> bool {
        self.groups.contains_key(group)
            || self.offsets.contains_key(group)
            || self.consumer_groups.contains_key(group)
    }
}

fn committed_offset(value: &OffsetCommitValue) -> Option<CommittedOffset> {
    Some(CommittedOffset {
        offset: value.offset?,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata.as_str().into(),
        committed_at: value.commit_timestamp,
        expires_at: value.expire_timestamp,
        topic_id: Some(value.topic_id).filter(|id| *id != Uuid::ZERO),
    })
}
