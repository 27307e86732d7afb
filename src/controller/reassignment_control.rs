//! Partitions that move to other brokers (KIP-455).
//!
//! A reassignment adds the new replicas beside the old ones, waits until every replica that shall stay is in sync, and then takes
//! out those that shall go; the last step is a matter of `partition_change.rs`. Taking it back removes those that were added.
//!
//! Kafka: `ReplicationControlManager.alterPartitionReassignments`, `PartitionReassignmentReplicas`, `PartitionReassignmentRevert`.

use std::collections::BTreeSet;

use super::Controller;
use super::partition_control::BrokerEvent;
use super::request::{
    AlterReassignmentsRequest, ApiError, NamedPartition, OngoingReassignment, PartitionResults,
    Reassignment, excessive,
};
use crate::mark;
use crate::metadata::records::PartitionChange;
use crate::metadata::{PartitionImage, Record};
use crate::types::{BrokerId, ErrorCode, TopicIdPartition};

impl Controller {
    /// Errors of the whole: `POLICY_VIOLATION`, where too many partitions would change at once.
    pub(super) fn alter_reassignments(
        &self,
        request: AlterReassignmentsRequest,
    ) -> (Vec<Record>, Result<PartitionResults, ApiError>) {
        let mut records = Vec::new();
        let mut seen = BTreeSet::new();
        let mut results = Vec::with_capacity(request.reassignments.len());
        for reassignment in request.reassignments {
            let result = if seen.insert(reassignment.partition.clone()) {
                self.alter_reassignment(&reassignment, request.may_change_replication_factor)
                    .map(|change| records.extend(change.map(Record::PartitionChange)))
            } else {
                let message = "the partition stands twice in the request";
                Err(ApiError::new(ErrorCode::InvalidRequest, message))
            };
            results.push((reassignment.partition, result));
        }
        match excessive(&records) {
            Ok(()) => (records, Ok(results)),
            Err(error) => (Vec::new(), Err(error)),
        }
    }

    fn alter_reassignment(
        &self,
        reassignment: &Reassignment,
        may_change_replication_factor: bool,
    ) -> Result<Option<PartitionChange>, ApiError> {
        let (name, partition) = self.named_partition(&reassignment.partition)?;
        let Some(replicas) = &reassignment.replicas else {
            return self.cancel_reassignment(name, partition);
        };
        self.check_replicas(replicas)?;
        let stays = |replica: &&BrokerId| !partition.removing_replicas.contains(replica);
        let factor = partition.replicas.iter().filter(stays).count();
        if !may_change_replication_factor && replicas.len() != factor {
            let message = format!("the replication factor would change from {factor}");
            return Err(ApiError::new(ErrorCode::InvalidReplicationFactor, message));
        }
        Ok(self.begin_reassignment(name, partition, replicas))
    }

    /// A reassignment that replaces another one starts from what that one started from: a replica is new if the partition did not
    /// have it before either of them.
    fn begin_reassignment(
        &self,
        name: TopicIdPartition,
        partition: &PartitionImage,
        replicas: &[BrokerId],
    ) -> Option<PartitionChange> {
        let is_new = |replica: &BrokerId| {
            !partition.replicas.contains(replica) || partition.adding_replicas.contains(replica)
        };
        let goes = |replica: &BrokerId| !replicas.contains(replica);
        self.change_partition(name, BrokerEvent::None, |target| {
            target.adding = replicas.iter().copied().filter(is_new).collect();
            target.removing = partition.replicas.iter().copied().filter(goes).collect();
            target.replicas = replicas.iter().chain(&target.removing).copied().collect();
        })
    }

    /// Errors: `NO_REASSIGNMENT_IN_PROGRESS`; `INVALID_REPLICA_ASSIGNMENT`, where only added replicas have everything, so that going
    /// back would lose records.
    fn cancel_reassignment(
        &self,
        name: TopicIdPartition,
        partition: &PartitionImage,
    ) -> Result<Option<PartitionChange>, ApiError> {
        if partition.adding_replicas.is_empty() && partition.removing_replicas.is_empty() {
            return Err(ErrorCode::NoReassignmentInProgress.into());
        }
        let stays = |replica: &BrokerId| !partition.adding_replicas.contains(replica);
        let change = self.change_partition(name, BrokerEvent::None, |target| {
            target.isr.retain(stays);
            target.replicas.retain(stays);
            target.adding.clear();
            target.removing.clear();
        });
        let mut after = partition.clone();
        if let Some(change) = &change {
            after.merge(change);
        }
        let loses_leader = partition.leader.is_some() && after.leader.is_none();
        let is_sound = after.isr.iter().all(|replica| after.replicas.contains(replica));
        if after.replicas.is_empty() || loses_leader || !is_sound {
            mark!("a reassignment that nobody else could lead after is not taken back");
            let message = "none of the replicas from before is in sync or eligible and alive";
            return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        Ok(change)
    }

    /// Those under way among `partitions`, or everywhere. Partitions that do not exist, or do not move, are left out.
    pub(super) fn list_reassignments(
        &self,
        partitions: Option<Vec<NamedPartition>>,
    ) -> Vec<OngoingReassignment> {
        let reassigning: BTreeSet<TopicIdPartition> = self.index.reassigning().collect();
        let names: BTreeSet<TopicIdPartition> = match partitions {
            None => reassigning,
            Some(partitions) => {
                let known = partitions.iter().filter_map(|name| self.named_partition(name).ok());
                known.map(|(name, _)| name).filter(|name| reassigning.contains(name)).collect()
            }
        };
        let describe = |name: TopicIdPartition| {
            let topic = self.image().topic_by_id(name.topic_id)?;
            let partition = topic.partitions.get(&name.partition)?;
            Some(OngoingReassignment {
                topic: topic.name.clone(),
                partition: name.partition,
                replicas: partition.replicas.clone(),
                adding: partition.adding_replicas.clone(),
                removing: partition.removing_replicas.clone(),
            })
        };
        let mut ongoing: Vec<_> = names.into_iter().filter_map(describe).collect();
        ongoing.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        ongoing
    }
}
