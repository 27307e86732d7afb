//! What becomes of partitions when brokers come and go, and when their leaders propose who is in sync.
//!
//! Kafka: `ReplicationControlManager.generateLeaderAndIsrUpdates`, `.alterPartition`.

use std::collections::BTreeSet;

use super::Controller;
use super::partition_change::{PartitionTarget, PartitionUpdate};
use super::request::{AlterPartitionRequest, ApiError, IsrChange, IsrChangeResult, PartitionState};
use crate::mark;
use crate::metadata::records::{LeaderRecoveryState, PartitionChange};
use crate::metadata::{PartitionImage, Record};
use crate::types::{BrokerEpoch, BrokerId, ErrorCode, TopicIdPartition};

/// What happens to one broker while the records about it are being made: the image still shows it as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BrokerEvent {
    /// Nothing.
    None,
    /// It comes, and may lead.
    Comes(BrokerId),
    /// It goes.
    Goes(BrokerId),
    /// It went without a word, or a directory of it did: what it had not synced may be lost, so it is not even eligible.
    Crashed(BrokerId),
}

impl BrokerEvent {
    /// The broker that is no longer there.
    fn gone(self) -> Option<BrokerId> {
        match self {
            Self::Goes(broker) | Self::Crashed(broker) => Some(broker),
            Self::None | Self::Comes(_) => None,
        }
    }
}

impl Controller {
    /// The change of one partition that `event` and `wish` make together; `None` where they change nothing.
    pub(super) fn change_partition(
        &self,
        name: TopicIdPartition,
        event: BrokerEvent,
        wish: impl FnOnce(&mut PartitionTarget),
    ) -> Option<PartitionChange> {
        let image = self.image();
        let topic = image.topic_by_id(name.topic_id).expect("the caller found the partition");
        let partition = &topic.partitions[&name.partition];
        let rules = self.election_rules(topic);
        let mut target = PartitionTarget::unchanged(partition, rules);
        target.isr.retain(|replica| event.gone() != Some(*replica));
        if let BrokerEvent::Crashed(broker) = event {
            target.crashed = Some(broker);
        }
        wish(&mut target);
        let may_lead = |target: &PartitionTarget, broker: BrokerId| {
            event.gone() != Some(broker)
                && (event == BrokerEvent::Comes(broker) || image.is_active(broker))
                && target.directory(partition, broker).is_none_or(|id| self.may_work(broker, id))
        };
        let new_directory = |broker: BrokerId| self.default_directory(broker);
        let (may_lead, new_directory) = (&may_lead, &new_directory);
        PartitionUpdate { name, partition, rules, target, may_lead, new_directory }.build()
    }

    pub(super) fn change_partitions(
        &self,
        names: impl Iterator<Item = TopicIdPartition>,
        event: BrokerEvent,
        records: &mut Vec<Record>,
    ) {
        let changes = names.filter_map(|name| self.change_partition(name, event, |_| {}));
        records.extend(changes.map(Record::PartitionChange));
    }

    /// `broker` goes: it leaves the in-sync replicas and leads nothing.
    pub(super) fn remove_from_isr(&self, broker: BrokerId, records: &mut Vec<Record>) {
        self.change_partitions(self.index.in_sync(broker), BrokerEvent::Goes(broker), records);
    }

    /// `broker` went without a word: it is not even eligible.
    pub(super) fn remove_crashed(&self, broker: BrokerId, records: &mut Vec<Record>) {
        self.change_partitions(self.index.candidate(broker), BrokerEvent::Crashed(broker), records);
    }

    /// `broker` comes: perhaps it can lead what nobody leads.
    pub(super) fn elect_where_leaderless(&self, broker: BrokerId, records: &mut Vec<Record>) {
        self.change_partitions(self.index.leaderless(), BrokerEvent::Comes(broker), records);
    }

    /// Errors of the whole: `STALE_BROKER_EPOCH`.
    pub(super) fn alter_partition(
        &self,
        request: AlterPartitionRequest,
    ) -> (Vec<Record>, Result<Vec<IsrChangeResult>, ApiError>) {
        let mut records = Vec::new();
        if let Err(error) = self.check_broker_epoch(request.broker, request.broker_epoch) {
            return (records, Err(error));
        }
        let mut seen = BTreeSet::new();
        let results = request.partitions.into_iter().map(|change| {
            let partition = change.partition;
            // The second of two proposals for one partition is made on a state that the first has replaced.
            let result = if seen.insert(partition) {
                self.change_isr(request.broker, &change, &mut records)
            } else {
                Err(ErrorCode::InvalidUpdateVersion)
            };
            IsrChangeResult { partition, result }
        });
        let results = results.collect();
        (records, Ok(results))
    }

    fn change_isr(
        &self,
        broker: BrokerId,
        change: &IsrChange,
        records: &mut Vec<Record>,
    ) -> Result<PartitionState, ErrorCode> {
        let name = change.partition;
        let topic = self.image().topic_by_id(name.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
        let partition = topic.partitions.get(&name.partition);
        let partition = partition.ok_or(ErrorCode::UnknownTopicOrPartition)?;
        check_isr_change(broker, partition, change)?;
        for (replica, epoch) in &change.isr {
            self.check_in_sync(*replica, *epoch)?;
        }
        let change = self.change_partition(name, BrokerEvent::None, |target| {
            target.isr = change.isr.iter().map(|(replica, _)| *replica).collect();
            target.leader_recovery_state = change.leader_recovery_state;
        });
        let mut now = partition.clone();
        if let Some(change) = change {
            now.merge(&change);
            records.push(Record::PartitionChange(change));
        }
        if now.leader != Some(broker) {
            mark!("a proposal completes a reassignment that takes the leadership away");
            return Err(ErrorCode::NewLeaderElected);
        }
        Ok(PartitionState {
            leader: now.leader,
            leader_epoch: now.leader_epoch,
            isr: now.isr,
            leader_recovery_state: now.leader_recovery_state,
            partition_epoch: now.partition_epoch,
        })
    }

    /// Errors: `INELIGIBLE_REPLICA`, where `replica` may not be in sync: it is not there, or was another incarnation when its leader
    /// saw it catch up, which may have lost since what it had then (KIP-903).
    fn check_in_sync(
        &self,
        replica: BrokerId,
        epoch: Option<BrokerEpoch>,
    ) -> Result<(), ErrorCode> {
        let registration = self.image().broker(replica).filter(|broker| broker.is_active());
        let Some(registration) = registration else {
            mark!("a replica that is fenced or shutting down may not join the in-sync replicas");
            return Err(ErrorCode::IneligibleReplica);
        };
        if epoch.is_some_and(|epoch| epoch != registration.broker_epoch) {
            mark!("a replica of another broker epoch may not join the in-sync replicas");
            return Err(ErrorCode::IneligibleReplica);
        }
        Ok(())
    }
}

/// Whether the proposal comes from the leader, is made on the present state, and names a possible one.
///
/// A leader that knows of a later state than this controller has one newer than ours: we are no longer the active controller.
///
/// Kafka: `ReplicationControlManager.validateAlterPartitionData`.
fn check_isr_change(
    broker: BrokerId,
    partition: &PartitionImage,
    change: &IsrChange,
) -> Result<(), ErrorCode> {
    let ahead = change.leader_epoch > partition.leader_epoch
        || change.partition_epoch > partition.partition_epoch;
    if ahead {
        mark!("a leader knows of a later state than this controller");
        return Err(ErrorCode::NotController);
    }
    if change.leader_epoch < partition.leader_epoch {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if partition.leader != Some(broker) {
        return Err(ErrorCode::InvalidRequest);
    }
    if change.partition_epoch < partition.partition_epoch {
        return Err(ErrorCode::InvalidUpdateVersion);
    }
    let isr: Vec<BrokerId> = change.isr.iter().map(|(replica, _)| *replica).collect();
    let is_list_of_replicas = isr.iter().enumerate().all(|(index, replica)| {
        partition.replicas.contains(replica) && !isr[..index].contains(replica)
    });
    let recovering = change.leader_recovery_state == LeaderRecoveryState::Recovering;
    let has_recovered = partition.leader_recovery_state == LeaderRecoveryState::Recovered;
    if !is_list_of_replicas
        || !isr.contains(&broker)
        || (recovering && isr.len() > 1)
        || (recovering && has_recovered)
    {
        return Err(ErrorCode::InvalidRequest);
    }
    Ok(())
}
