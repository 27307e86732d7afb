//! Configs of topics and brokers.
//!
//! Kafka: `ConfigurationControlManager`. Append and subtract on lists, and the configs of loggers, are not served.

use super::Controller;
use super::request::{ApiError, ConfigChange};
use crate::metadata::records::{Config, PartitionChange};
use crate::metadata::{ConfigResource, Record, ResourceType};
use crate::types::{ErrorCode, TopicIdPartition};

const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
const UNCLEAN_LEADER_ELECTION: &str = "unclean.leader.election.enable";

impl Controller {
    #[expect(clippy::type_complexity, reason = "records, and one result a resource")]
    pub(super) fn alter_configs(
        &self,
        changes: Vec<ConfigChange>,
        validate_only: bool,
    ) -> (Vec<Record>, Vec<(ConfigResource, Result<(), ApiError>)>) {
        let mut records = Vec::new();
        let mut results = Vec::with_capacity(changes.len());
        for ConfigChange { resource, changes } in changes {
            let result = self.check_config_change(&resource, &changes);
            if result.is_ok() {
                self.config_records(&resource, changes, &mut records);
            }
            results.push((resource, result));
        }
        if validate_only {
            records.clear();
        }
        (records, results)
    }

    fn check_config_change(
        &self,
        resource: &ConfigResource,
        changes: &[(String, Option<String>)],
    ) -> Result<(), ApiError> {
        match resource.resource_type {
            ResourceType::Topic if self.image().topic(&resource.name).is_none() => {
                return Err(ErrorCode::UnknownTopicOrPartition.into());
            }
            ResourceType::Broker if !resource.name.is_empty() => {
                let id = resource.name.parse().ok().and_then(crate::types::BrokerId::from_wire);
                if id.is_none() {
                    let message = format!("'{}' is not the id of a broker", resource.name);
                    return Err(ApiError::new(ErrorCode::InvalidRequest, message));
                }
            }
            ResourceType::Topic | ResourceType::Broker => {}
        }
        for (name, value) in changes {
            if let Some(value) = value {
                self.check_config(resource, name, value)?;
            }
        }
        Ok(())
    }

    /// Errors: `INVALID_CONFIG`, where no such config exists or it cannot have this value.
    pub(super) fn check_config(
        &self,
        resource: &ConfigResource,
        name: &str,
        value: &str,
    ) -> Result<(), ApiError> {
        (self.config.config_validator)(resource, name, value)
            .map_err(|message| ApiError::new(ErrorCode::InvalidConfig, message))
    }

    fn config_records(
        &self,
        resource: &ConfigResource,
        changes: Vec<(String, Option<String>)>,
        records: &mut Vec<Record>,
    ) {
        let present = self.image().configs(resource);
        for (name, value) in changes {
            if present.and_then(|configs| configs.get(&name)) == value.as_ref() {
                continue;
            }
            if name == MIN_INSYNC_REPLICAS {
                self.forget_eligible_replicas(resource, records);
            }
            records.push(Record::Config(Config { resource: resource.clone(), name, value }));
        }
    }

    /// Who is eligible was judged by the old minimum: with another one nobody is (KIP-966). Kafka: `ClearElrRecord`.
    fn forget_eligible_replicas(&self, resource: &ConfigResource, records: &mut Vec<Record>) {
        for topic in self.image().topics_by_id() {
            if resource.resource_type == ResourceType::Topic && resource.name != topic.name {
                continue;
            }
            for (index, partition) in &topic.partitions {
                if !partition.eligible_leader_replicas.is_empty() {
                    let mut change = PartitionChange::new(topic.topic_id, *index);
                    change.eligible_leader_replicas = Some(Vec::new());
                    records.push(Record::PartitionChange(change));
                }
            }
        }
    }

    /// A topic's own config, else the cluster's.
    fn effective_config(&self, topic: &str, name: &str) -> Option<&str> {
        let cluster = ConfigResource { resource_type: ResourceType::Broker, name: "".into() };
        let find = |resource| self.image().configs(&resource).and_then(|configs| configs.get(name));
        find(ConfigResource::topic(topic)).or_else(|| find(cluster)).map(String::as_str)
    }

    /// What decides elections of a partition.
    pub(super) fn election_rules(
        &self,
        partition: TopicIdPartition,
    ) -> super::leader_election::ElectionRules {
        let image = self.image();
        let topic = image.topic_by_id(partition.topic_id).expect("the caller found the partition");
        let replicas = topic.partitions[&partition.partition].replicas.len();
        let minimum = self
            .effective_config(&topic.name, MIN_INSYNC_REPLICAS)
            .and_then(|value| value.parse().ok())
            .unwrap_or(self.config.min_insync_replicas_default);
        let unclean = self.effective_config(&topic.name, UNCLEAN_LEADER_ELECTION);
        super::leader_election::ElectionRules {
            elr_enabled: image.feature_level(crate::metadata::ELIGIBLE_LEADER_REPLICAS_VERSION) > 0,
            min_isr: usize::try_from(minimum).unwrap_or(0).min(replicas),
            unclean_allowed: unclean
                .map_or(self.config.unclean_leader_election_default, |value| value == "true"),
        }
    }
}
