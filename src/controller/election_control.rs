//! Elections that somebody asks for, and those that time brings: preferred leaders get their partitions back, and partitions that
//! nobody leads get a leader once unclean election is allowed.
//!
//! Kafka: `ReplicationControlManager.electLeaders`, `.maybeBalancePartitionLeaders`, `.maybeElectUncleanLeaders`. Different from
//! there: unclean election takes effect as soon as it is allowed, not minutes later, and the percentage of imbalance counts, as
//! documented.

use std::collections::BTreeSet;

use super::Controller;
use super::partition_change::Election;
use super::partition_control::BrokerEvent;
use super::request::{
    ApiError, ElectLeadersRequest, ElectionType, NamedPartition, PartitionResults, excessive,
    partition_number,
};
use crate::mark;
use crate::metadata::records::{LeaderChange, PartitionChange};
use crate::metadata::{PartitionImage, Record};
use crate::types::{BrokerId, ErrorCode, Now, TopicIdPartition};

/// Elections that the passing of time brings in one batch (Kafka: `MAX_ELECTIONS_PER_IMBALANCE`).
const ELECTIONS_PER_TICK_MAX: usize = 1000;

impl Controller {
    /// Errors of the whole: `POLICY_VIOLATION`, where too many partitions would change at once.
    pub(super) fn elect_leaders(
        &self,
        request: ElectLeadersRequest,
    ) -> (Vec<Record>, Result<PartitionResults, ApiError>) {
        let mut records = Vec::new();
        let everywhere = request.partitions.is_none();
        let names = request.partitions.unwrap_or_else(|| self.all_partitions());
        let mut seen = BTreeSet::new();
        let mut results = Vec::with_capacity(names.len());
        for name in names {
            let result = if seen.insert(name.clone()) {
                self.elect_leader(&name, request.election)
                    .map(|change| records.push(Record::PartitionChange(change)))
            } else {
                // What the first of the two asks for is done.
                Err(ErrorCode::ElectionNotNeeded.into())
            };
            let unneeded = result.as_ref().is_err_and(|e| e.error == ErrorCode::ElectionNotNeeded);
            if !(everywhere && unneeded) {
                results.push((name, result));
            }
        }
        match excessive(&records) {
            Ok(()) => (records, Ok(results)),
            Err(error) => (Vec::new(), Err(error)),
        }
    }

    fn all_partitions(&self) -> Vec<NamedPartition> {
        let topics = self.image().topics();
        let names = topics.flat_map(|topic| {
            topic.partitions.keys().map(|index| (topic.name.to_string(), index.value()))
        });
        names.collect()
    }

    fn elect_leader(
        &self,
        name: &NamedPartition,
        election: ElectionType,
    ) -> Result<PartitionChange, ApiError> {
        let (name, partition) = self.named_partition(name)?;
        let (needed, kind, unavailable) = match election {
            ElectionType::Preferred => (
                partition.leader != partition.replicas.first().copied(),
                Election::Preferred,
                ErrorCode::PreferredLeaderNotAvailable,
            ),
            ElectionType::Unclean => (
                partition.leader.is_none(),
                Election::Unclean,
                ErrorCode::EligibleLeadersNotAvailable,
            ),
        };
        if !needed {
            return Err(ErrorCode::ElectionNotNeeded.into());
        }
        let change = self.change_partition(name, BrokerEvent::None, |target| {
            target.election = kind;
        });
        let elects = |change: &PartitionChange| matches!(change.leader, LeaderChange::Leader(_));
        change.filter(elects).ok_or(unavailable.into())
    }

    /// The partition that a client names. Errors: `UNKNOWN_TOPIC_OR_PARTITION`.
    pub(super) fn named_partition(
        &self,
        (topic, index): &NamedPartition,
    ) -> Result<(TopicIdPartition, &PartitionImage), ApiError> {
        let unknown = |message| ApiError::new(ErrorCode::UnknownTopicOrPartition, message);
        let found = self.image().topic(topic);
        let found = found.ok_or_else(|| unknown(format!("there is no topic '{topic}'")))?;
        let partition = partition_number(*index)
            .and_then(|index| Some((index, found.partitions.get(&index)?)))
            .ok_or_else(|| unknown(format!("there is no partition {topic}-{index}")))?;
        let name = TopicIdPartition { topic_id: found.topic_id, partition: partition.0 };
        Ok((name, partition.1))
    }

    /// Leaders for what nobody leads, where a config or a takeover may have made that possible.
    pub(super) fn elect_after_change(&mut self) -> Vec<Record> {
        if !self.leaderless_due {
            return Vec::new();
        }
        let changes = self.index.leaderless().filter_map(|name| {
            let change = self.change_partition(name, BrokerEvent::None, |_| {})?;
            matches!(change.leader, LeaderChange::Leader(_)).then_some(change)
        });
        let changes = changes.take(ELECTIONS_PER_TICK_MAX).map(Record::PartitionChange);
        let records: Vec<Record> = changes.collect();
        // It stays due until nothing is left to do: the records may not become part of the log, and there may be more.
        self.leaderless_due = !records.is_empty();
        records
    }

    /// Gives partitions back to their preferred leaders, where brokers lead too little of what they should.
    pub(super) fn balance_leaders(&mut self, now: Now) -> Vec<Record> {
        let Some(balance) = self.config.leader_balance else { return Vec::new() };
        if self.next_balance.is_none_or(|at| now.monotonic < at) {
            return Vec::new();
        }
        let imbalanced = self.index.imbalanced(balance.imbalance_per_broker_percentage);
        let changes = imbalanced.filter_map(|name| {
            let preferred = self.preferred_leader(name)?;
            // Most candidates are simply not there.
            if !self.image().is_active(preferred) {
                return None;
            }
            let change = self.change_partition(name, BrokerEvent::None, |target| {
                target.election = Election::Preferred;
            })?;
            (change.leader == LeaderChange::Leader(preferred)).then_some(change)
        });
        let changes = changes.take(ELECTIONS_PER_TICK_MAX).map(Record::PartitionChange);
        let records: Vec<Record> = changes.collect();
        if records.len() < ELECTIONS_PER_TICK_MAX {
            self.next_balance = Some(now.monotonic + balance.check_interval);
        }
        if !records.is_empty() {
            mark!("partitions are given back to their preferred leaders");
        }
        records
    }

    fn preferred_leader(&self, name: TopicIdPartition) -> Option<BrokerId> {
        self.image().partition(name)?.replicas.first().copied()
    }
}
