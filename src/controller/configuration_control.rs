//! Configs of topics, brokers and groups.
//!
//! Kafka: `ConfigurationControlManager`. The configs of loggers and client metrics are not served.

use std::collections::{BTreeMap, BTreeSet};

use super::Controller;
use super::partition_change::ElectionRules;
use super::request::{ApiError, ConfigChange, ConfigOperation, ConfigResults};
use crate::mark;
use crate::metadata::group_config::GroupConfigs;
use crate::metadata::records::{Config, PartitionChange};
use crate::metadata::{ConfigResource, Record, ResourceType, TopicImage};
use crate::types::{BrokerId, ErrorCode, TopicIdPartition};

const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
pub(super) const UNCLEAN_LEADER_ELECTION: &str = "unclean.leader.election.enable";

/// What a request leads to.
#[derive(Default)]
struct Changes {
    records: Vec<Record>,
    /// Partitions that have been told of a new minimum: one request may change that of a topic and of the cluster.
    announced: BTreeSet<TopicIdPartition>,
}

impl Changes {
    fn records(self, validate_only: bool) -> Vec<Record> {
        if validate_only { Vec::new() } else { self.records }
    }
}

impl Controller {
    pub(super) fn alter_configs(
        &self,
        changes: Vec<ConfigChange>,
        validate_only: bool,
    ) -> (Vec<Record>, ConfigResults) {
        let mut out = Changes::default();
        let mut results = Vec::with_capacity(changes.len());
        for ConfigChange { resource, changes } in changes {
            let values = changes.into_iter().map(|(name, operation)| {
                let value = self.value_after(&resource, &name, operation)?;
                Ok((name, value))
            });
            let values: Result<Vec<_>, ApiError> = values.collect();
            let result = values.and_then(|values| self.set_configs(&resource, values, &mut out));
            results.push((resource, result));
        }
        (out.records(validate_only), results)
    }

    /// What is not named goes back to its default.
    pub(super) fn replace_configs(
        &self,
        resources: Vec<(ConfigResource, BTreeMap<String, String>)>,
        validate_only: bool,
    ) -> (Vec<Record>, ConfigResults) {
        let mut out = Changes::default();
        let mut results = Vec::with_capacity(resources.len());
        for (resource, configs) in resources {
            let present = self.image().configs(&resource);
            let gone = present.into_iter().flat_map(|present| present.keys());
            let gone = gone.filter(|name| !configs.contains_key(*name));
            let mut values: Vec<(String, Option<String>)> =
                gone.map(|name| (name.clone(), None)).collect();
            values.extend(configs.into_iter().map(|(name, value)| (name, Some(value))));
            let result = self.set_configs(&resource, values, &mut out);
            results.push((resource, result));
        }
        (out.records(validate_only), results)
    }

    /// The value of a config after `operation`; `None` is the default.
    ///
    /// Errors: `INVALID_CONFIG`, where a list is meant and the config is none.
    fn value_after(
        &self,
        resource: &ConfigResource,
        name: &str,
        operation: ConfigOperation,
    ) -> Result<Option<String>, ApiError> {
        let (named, is_added) = match operation {
            ConfigOperation::Set(value) => return Ok(Some(value)),
            ConfigOperation::Delete => return Ok(None),
            ConfigOperation::Append(entries) => (entries, true),
            ConfigOperation::Subtract(entries) => (entries, false),
        };
        let Some(default) = (self.config.config_list_default)(resource, name) else {
            let message = format!("{name} is not a list: nothing is added to it or taken from it");
            return Err(ApiError::new(ErrorCode::InvalidConfig, message));
        };
        let present = self.image().configs(resource).and_then(|configs| configs.get(name));
        let mut list = entries(present.unwrap_or(&default));
        for entry in entries(&named) {
            let position = list.iter().position(|known| *known == entry);
            match (position, is_added) {
                (None, true) => list.push(entry),
                (Some(position), false) => _ = list.remove(position),
                (Some(_), true) | (None, false) => {}
            }
        }
        Ok(Some(list.join(",")))
    }

    fn set_configs(
        &self,
        resource: &ConfigResource,
        values: Vec<(String, Option<String>)>,
        out: &mut Changes,
    ) -> Result<(), ApiError> {
        self.check_resource(resource)?;
        for (name, value) in &values {
            if let Some(value) = value {
                self.check_config(resource, name, value)?;
            }
            self.check_min_isr_change(resource, name, value.as_deref())?;
        }
        if resource.resource_type == ResourceType::Group {
            self.check_group(resource, &values)?;
        }
        self.config_records(resource, values, out);
        Ok(())
    }

    /// Looks at all that a group would then have. Errors: `INVALID_CONFIG`.
    fn check_group(
        &self,
        resource: &ConfigResource,
        values: &[(String, Option<String>)],
    ) -> Result<(), ApiError> {
        let mut all = self.image().configs(resource).map(|all| (**all).clone()).unwrap_or_default();
        for (name, value) in values {
            match value {
                Some(value) => _ = all.insert(name.clone(), value.clone()),
                None => _ = all.remove(name),
            }
        }
        let parsed = GroupConfigs::parse(&all, &self.config.group_configs);
        parsed.map(drop).map_err(|message| ApiError::new(ErrorCode::InvalidConfig, message))
    }

    /// A group need not be there yet, as in Kafka.
    ///
    /// Errors: `UNKNOWN_TOPIC_OR_PARTITION`, `BROKER_ID_NOT_REGISTERED`, `INVALID_REQUEST` where the name is no broker's or no group's.
    fn check_resource(&self, resource: &ConfigResource) -> Result<(), ApiError> {
        let name = &resource.name;
        match resource.resource_type {
            ResourceType::Topic if self.image().topic(name).is_none() => {
                let message = format!("the topic '{name}' does not exist");
                Err(ApiError::new(ErrorCode::UnknownTopicOrPartition, message))
            }
            ResourceType::Broker if !name.is_empty() => {
                let Some(id) = name.parse().ok().and_then(BrokerId::from_wire) else {
                    let message = format!("'{name}' is not the id of a broker");
                    return Err(ApiError::new(ErrorCode::InvalidRequest, message));
                };
                if self.image().broker(id).is_none() && id != self.config.node {
                    let message = format!("there is no node with id {id}");
                    return Err(ApiError::new(ErrorCode::BrokerIdNotRegistered, message));
                }
                Ok(())
            }
            ResourceType::Group if name.is_empty() => {
                let message = "Default group resources are not allowed.";
                Err(ApiError::new(ErrorCode::InvalidRequest, message))
            }
            ResourceType::Topic | ResourceType::Broker | ResourceType::Group => Ok(()),
        }
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

    /// Who is eligible to lead is judged by one minimum for the whole cluster, or brokers and controller would disagree (KIP-966).
    fn check_min_isr_change(
        &self,
        resource: &ConfigResource,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), ApiError> {
        let concerned = name == MIN_INSYNC_REPLICAS
            && resource.resource_type == ResourceType::Broker
            && self.is_elr_enabled();
        if !concerned {
            return Ok(());
        }
        let refuse = |message: &str| Err(ApiError::new(ErrorCode::InvalidConfig, message));
        match value {
            _ if !resource.name.is_empty() => refuse(
                "one broker's min.insync.replicas cannot be altered while eligible leader replicas are kept",
            ),
            None => refuse(
                "the cluster's min.insync.replicas cannot be removed while eligible leader replicas are kept",
            ),
            Some(_) => Ok(()),
        }
    }

    /// Writes down the cluster's minimum of in-sync replicas, and forgets those of single brokers: who is eligible is judged by it,
    /// and the brokers' own files may say otherwise (KIP-966). While there is one broker nobody else can be eligible.
    ///
    /// Kafka: `ConfigurationControlManager.maybeGenerateElrSafetyRecords`.
    pub(super) fn write_down_min_isr(&self, records: &mut Vec<Record>) {
        let cluster = ConfigResource { resource_type: ResourceType::Broker, name: "".into() };
        let name = || MIN_INSYNC_REPLICAS.to_owned();
        for (resource, configs) in self.image().all_configs() {
            let is_of_one_broker =
                resource.resource_type == ResourceType::Broker && *resource != cluster;
            if is_of_one_broker && configs.contains_key(MIN_INSYNC_REPLICAS) {
                let (resource, name) = (resource.clone(), name());
                records.push(Record::Config(Config { resource, name, value: None }));
            }
        }
        let written = self.image().configs(&cluster);
        if written.is_none_or(|configs| !configs.contains_key(MIN_INSYNC_REPLICAS)) {
            let value = Some(self.config.min_insync_replicas_default.to_string());
            records.push(Record::Config(Config { resource: cluster, name: name(), value }));
        }
    }

    fn config_records(
        &self,
        resource: &ConfigResource,
        values: Vec<(String, Option<String>)>,
        out: &mut Changes,
    ) {
        let present = self.image().configs(resource);
        for (name, value) in values {
            if present.and_then(|configs| configs.get(&name)) == value.as_ref() {
                continue;
            }
            if name == MIN_INSYNC_REPLICAS {
                self.announce_min_isr(resource, out);
            }
            out.records.push(Record::Config(Config { resource: resource.clone(), name, value }));
        }
    }

    /// Who is eligible was judged by the old minimum: with another one nobody is (KIP-966). Where nobody is in sync, nothing can have
    /// been committed without the eligible replicas, whatever the minimum: they stay, or nobody could lead cleanly again.
    ///
    /// Each partition gets a new version too: a leader that has not heard of the new minimum proposes for an old one and is
    /// refused. Else it could shrink to less than the new minimum, and commit by the old one what the member it leaves does not
    /// have, while that member is taken for eligible.
    ///
    /// Kafka: `ClearElrRecord`, which forgets the eligible replicas of leaderless partitions too, and gives no new version.
    fn announce_min_isr(&self, resource: &ConfigResource, out: &mut Changes) {
        for topic in self.image().topics_by_id() {
            let is_concerned = match resource.resource_type {
                ResourceType::Topic => resource.name == topic.name,
                ResourceType::Broker => {
                    let own = self.image().topic_configs(&topic.name);
                    own.is_none_or(|own| !own.contains_key(MIN_INSYNC_REPLICAS))
                }
                ResourceType::Group => false,
            };
            if !is_concerned {
                continue;
            }
            for (index, partition) in &topic.partitions {
                let name = TopicIdPartition { topic_id: topic.topic_id, partition: *index };
                if partition.isr.is_empty() || !out.announced.insert(name) {
                    continue;
                }
                let mut change = PartitionChange::new(topic.topic_id, *index);
                if !partition.eligible_leader_replicas.is_empty() {
                    mark!(
                        "eligible replicas are forgotten because the minimum of in-sync replicas changes"
                    );
                    change.eligible_leader_replicas = Some(Vec::new());
                }
                out.records.push(Record::PartitionChange(change));
            }
        }
    }

    /// A topic's own config, else the cluster's.
    fn effective_config(&self, topic: &TopicImage, name: &str) -> Option<&str> {
        let cluster = ConfigResource { resource_type: ResourceType::Broker, name: "".into() };
        let find = |resource| self.image().configs(&resource).and_then(|configs| configs.get(name));
        let own = find(ConfigResource::topic(topic.name.clone()));
        own.or_else(|| find(cluster)).map(String::as_str)
    }

    pub(super) fn is_elr_enabled(&self) -> bool {
        self.image().feature_level(crate::metadata::ELIGIBLE_LEADER_REPLICAS_VERSION) > 0
    }

    /// What decides elections of a topic's partitions.
    pub(super) fn election_rules(&self, topic: &TopicImage) -> ElectionRules {
        let minimum = self
            .effective_config(topic, MIN_INSYNC_REPLICAS)
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(self.config.min_insync_replicas_default);
        let unclean = self.effective_config(topic, UNCLEAN_LEADER_ELECTION);
        ElectionRules {
            elr_enabled: self.is_elr_enabled(),
            min_isr: usize::try_from(minimum).unwrap_or(0),
            unclean_allowed: unclean.map_or(self.config.unclean_leader_election_default, |value| {
                value.trim().eq_ignore_ascii_case("true")
            }),
        }
    }
}

/// The entries of a list, as Kafka takes it apart.
fn entries(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}
