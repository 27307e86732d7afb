//! In which log directories replicas are, and what becomes of them when a directory fails (KIP-858).
//!
//! Kafka: `ReplicationControlManager.handleAssignReplicasToDirs`, `.handleDirectoriesOffline`.

use std::collections::BTreeSet;

use super::Controller;
use super::partition_control::BrokerEvent;
use super::request::{ApiError, AssignReplicasToDirsRequest, ReplicaResults};
use crate::mark;
use crate::metadata::records::BrokerRegistrationChange;
use crate::metadata::{BrokerRegistration, Record};
use crate::types::{BrokerId, ErrorCode, TopicIdPartition, Uuid};

impl Controller {
    /// A broker's only log directory; where it has several, it chooses itself (Kafka: `DirectoryId.UNASSIGNED`).
    pub(super) fn default_directory(&self, broker: BrokerId) -> Uuid {
        match self.image().broker(broker).map(|broker| &broker.log_dirs[..]) {
            Some([only]) => *only,
            Some(_) | None => Uuid::ZERO,
        }
    }

    /// Whether a log directory of `broker` works, or is not known (Kafka: `BrokerRegistration.hasOnlineDir`).
    pub(super) fn may_work(&self, broker: BrokerId, directory: Uuid) -> bool {
        let registration = self.image().broker(broker);
        directory == Uuid::ZERO
            || registration.is_some_and(|registration| registration.log_dirs.contains(&directory))
    }

    /// A broker says where its replicas are. Who is in a directory that works may lead now; who is in one that failed meanwhile is
    /// gone with it.
    ///
    /// Errors of the whole: `STALE_BROKER_EPOCH`. Of one replica: `UNKNOWN_TOPIC_ID`, `UNKNOWN_TOPIC_OR_PARTITION`,
    /// `NOT_LEADER_OR_FOLLOWER` where the broker does not hold it, `INVALID_REQUEST` where it is named twice or its directory is none.
    pub(super) fn assign_replicas_to_dirs(
        &self,
        request: &AssignReplicasToDirsRequest,
    ) -> (Vec<Record>, Result<ReplicaResults, ApiError>) {
        let mut records = Vec::new();
        if let Err(error) = self.check_broker_epoch(request.broker, request.broker_epoch) {
            return (records, Err(error));
        }
        let mut seen = BTreeSet::new();
        let results = request.replicas.iter().map(|(directory, name)| {
            if directory.is_reserved_directory() || !seen.insert(*name) {
                return Err(ErrorCode::InvalidRequest);
            }
            self.assign_replica(request.broker, *directory, *name, &mut records)
        });
        let results = results.collect();
        (records, Ok(results))
    }

    fn assign_replica(
        &self,
        broker: BrokerId,
        directory: Uuid,
        name: TopicIdPartition,
        records: &mut Vec<Record>,
    ) -> Result<(), ErrorCode> {
        let topic = self.image().topic_by_id(name.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
        let partition = topic.partitions.get(&name.partition);
        let partition = partition.ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if !partition.replicas.contains(&broker) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let event = if self.may_work(broker, directory) {
            BrokerEvent::None
        } else {
            mark!("a replica is assigned to a log directory that failed");
            BrokerEvent::Crashed(broker)
        };
        let change = self.change_partition(name, event, |target| {
            target.located = Some((broker, directory));
        });
        records.extend(change.map(Record::PartitionChange));
        Ok(())
    }

    /// Log directories of a live broker failed. Different from Kafka: what stood in a failed directory is not even eligible to lead.
    pub(super) fn drop_directories(
        &self,
        registration: &BrokerRegistration,
        offline: &[Uuid],
        records: &mut Vec<Record>,
    ) {
        let (failed, remaining): (Vec<Uuid>, Vec<Uuid>) =
            registration.log_dirs.iter().partition(|directory| offline.contains(directory));
        if failed.is_empty() {
            return;
        }
        mark!("a log directory of a live broker failed");
        let broker = registration.broker;
        let lost = self.index.candidate(broker).filter(|name| {
            let partition = self.image().partition(*name).expect("the index follows the image");
            partition.directory(broker).is_some_and(|directory| failed.contains(&directory))
        });
        self.change_partitions(lost, BrokerEvent::Crashed(broker), records);
        records.push(Record::BrokerRegistrationChange(BrokerRegistrationChange {
            broker,
            broker_epoch: registration.broker_epoch,
            fenced: None,
            in_controlled_shutdown: false,
            log_dirs: Some(remaining),
        }));
    }
}
