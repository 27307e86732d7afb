//! Topics: made, grown and removed. What becomes of their partitions later stands in `partition_control.rs`.
//!
//! Kafka: `ReplicationControlManager`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::replica_placer::{self, UsableBroker};
use super::request::{
    ApiError, CreateTopicResult, CreateTopicsRequest, CreatedTopic, DeleteTopicResult,
    ManualAssignment, NewPartitions, NewTopic, NewTopicPlacement, TopicSelector, partition_index,
};
use super::{Controller, topic_name};
use crate::mark;
use crate::metadata::records::{Config, LeaderRecoveryState, Partition, RemoveTopic, Topic};
use crate::metadata::{ConfigResource, Record};
use crate::types::{BrokerId, ErrorCode, LeaderEpoch, PartitionEpoch, TopicId, Uuid};

/// The most partitions that one request may create (Kafka: `MAX_PARTITIONS_PER_BATCH`).
const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

impl Controller {
    pub(super) fn create_topics(
        &mut self,
        request: CreateTopicsRequest,
    ) -> (Vec<Record>, Vec<CreateTopicResult>) {
        let mut records = Vec::new();
        let mut names = NewNames::new(self, &request.topics);
        let mut results = Vec::with_capacity(request.topics.len());
        let too_many = self.partitions_asked(&request.topics) > PARTITIONS_PER_REQUEST_MAX;
        for topic in request.topics {
            let result = if too_many {
                let message =
                    format!("one request may create {PARTITIONS_PER_REQUEST_MAX} partitions");
                Err(ApiError::new(ErrorCode::PolicyViolation, message))
            } else {
                names
                    .check(self, &topic.name)
                    .and_then(|()| self.create_topic(&topic, &mut records))
            };
            if result.is_ok() {
                names.accept(&topic.name);
            }
            results.push(CreateTopicResult { name: topic.name, result });
        }
        if request.validate_only {
            records.clear();
        }
        (records, results)
    }

    fn partitions_asked(&self, topics: &[NewTopic]) -> usize {
        let counts = topics.iter().map(|topic| match &topic.placement {
            NewTopicPlacement::Automatic { partitions, .. } => {
                usize::try_from(partitions.unwrap_or(self.config.partitions_default)).unwrap_or(0)
            }
            NewTopicPlacement::Manual(assignments) => assignments.len(),
        });
        counts.fold(0, usize::saturating_add)
    }

    fn create_topic(
        &mut self,
        topic: &NewTopic,
        records: &mut Vec<Record>,
    ) -> Result<CreatedTopic, ApiError> {
        let configs = self.check_new_configs(topic)?;
        let placements = match &topic.placement {
            NewTopicPlacement::Automatic { partitions, replication_factor } => {
                self.place_automatically(*partitions, *replication_factor)?
            }
            NewTopicPlacement::Manual(assignments) => self.place_manually(assignments)?,
        };
        let topic_id = self.new_topic_id();
        let name: Arc<str> = topic.name.as_str().into();
        records.push(Record::Topic(Topic { name: name.clone(), topic_id }));
        let resource = ConfigResource::topic(name);
        for (name, value) in &configs {
            let (name, value) = (name.clone(), Some(value.clone()));
            records.push(Record::Config(Config { resource: resource.clone(), name, value }));
        }
        let replication_factor = placements.first().map_or(0, Vec::len);
        let partitions = placements.len();
        for (index, replicas) in placements.into_iter().enumerate() {
            records.push(Record::Partition(self.new_partition(topic_id, index, replicas)));
        }
        Ok(CreatedTopic {
            topic_id,
            partitions: i32::try_from(partitions).expect("partition counts are limited"),
            replication_factor: i16::try_from(replication_factor)
                .expect("there are fewer brokers than that"),
            configs,
        })
    }

    fn check_new_configs(&self, topic: &NewTopic) -> Result<BTreeMap<String, String>, ApiError> {
        let resource = ConfigResource::topic(topic.name.as_str());
        let mut configs = BTreeMap::new();
        for (name, value) in &topic.configs {
            let Some(value) = value else {
                let message = format!("config '{name}' has no value");
                return Err(ApiError::new(ErrorCode::InvalidConfig, message));
            };
            self.check_config(&resource, name, value)?;
            configs.insert(name.clone(), value.clone());
        }
        Ok(configs)
    }

    fn place_automatically(
        &mut self,
        partitions: Option<i32>,
        replication_factor: Option<i16>,
    ) -> Result<Vec<Vec<BrokerId>>, ApiError> {
        let replication_factor =
            replication_factor.unwrap_or(self.config.replication_factor_default);
        let Some(factor) = usize::try_from(replication_factor).ok().filter(|factor| *factor > 0)
        else {
            let message = "the replication factor must be larger than 0, or -1 for the default";
            return Err(ApiError::new(ErrorCode::InvalidReplicationFactor, message));
        };
        let partitions = partitions.unwrap_or(self.config.partitions_default);
        let Some(partitions) = usize::try_from(partitions).ok().filter(|count| *count > 0) else {
            let message = "the number of partitions must be larger than 0, or -1 for the default";
            return Err(ApiError::new(ErrorCode::InvalidPartitions, message));
        };
        self.place(partitions, factor)
    }

    fn place(
        &mut self,
        partitions: usize,
        replication_factor: usize,
    ) -> Result<Vec<Vec<BrokerId>>, ApiError> {
        let brokers = self.image().brokers().map(|broker| UsableBroker {
            broker: broker.broker,
            rack: broker.rack.clone(),
            is_active: broker.is_active(),
        });
        let brokers = brokers.collect();
        replica_placer::place(brokers, partitions, replication_factor, &mut self.rng)
            .map_err(|message| ApiError::new(ErrorCode::InvalidReplicationFactor, message))
    }

    fn place_manually(
        &self,
        assignments: &[ManualAssignment],
    ) -> Result<Vec<Vec<BrokerId>>, ApiError> {
        let refuse =
            |message: String| Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
        let mut placements = BTreeMap::new();
        for assignment in assignments {
            let partition = assignment.partition;
            if placements.insert(partition, assignment.brokers.clone()).is_some() {
                return refuse(format!("partition {partition} is assigned twice"));
            }
        }
        for (expected, partition) in (0..).zip(placements.keys()) {
            if *partition != expected {
                return refuse(format!("partition {expected} is missing from the assignment"));
            }
        }
        let placements: Vec<Vec<BrokerId>> = placements.into_values().collect();
        let factor = placements.first().map_or(0, Vec::len);
        for replicas in &placements {
            self.check_assignment(replicas, factor)?;
        }
        Ok(placements)
    }

    fn check_assignment(&self, replicas: &[BrokerId], factor: usize) -> Result<(), ApiError> {
        let refuse =
            |message: String| Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
        self.check_replicas(replicas)?;
        if replicas.len() != factor {
            return refuse(format!(
                "an assignment names {} brokers, another one {factor}",
                replicas.len()
            ));
        }
        if !replicas.iter().any(|broker| self.image().is_active(*broker)) {
            return refuse("no broker of an assignment is unfenced".to_owned());
        }
        Ok(())
    }

    /// Errors: `INVALID_REPLICA_ASSIGNMENT`, unless these are some registered brokers, each once.
    pub(super) fn check_replicas(&self, replicas: &[BrokerId]) -> Result<(), ApiError> {
        let refuse =
            |message: String| Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
        if replicas.is_empty() {
            return refuse("an assignment names no broker".to_owned());
        }
        for (index, broker) in replicas.iter().enumerate() {
            if replicas[..index].contains(broker) {
                return refuse(format!("broker {broker} stands twice in one assignment"));
            }
            if self.image().broker(*broker).is_none() {
                return refuse(format!("broker {broker} is not registered"));
            }
        }
        Ok(())
    }

    /// An id that no topic has. Those of one request differ because the generator moves on.
    fn new_topic_id(&mut self) -> TopicId {
        loop {
            let id = Uuid::random(&mut self.rng);
            if self.loader.image().topic_by_id(id).is_none() {
                return id;
            }
            mark!("a random topic id was taken");
        }
    }

    /// A partition as it begins: all active replicas in sync, the first of them leading.
    fn new_partition(&self, topic_id: TopicId, index: usize, replicas: Vec<BrokerId>) -> Partition {
        let active = |broker: &BrokerId| self.image().is_active(*broker);
        let isr: Vec<BrokerId> = replicas.iter().copied().filter(active).collect();
        Partition {
            topic_id,
            partition: partition_index(index),
            leader: Some(*isr.first().expect("a placement has an active broker")),
            directories: replicas.iter().map(|broker| self.default_directory(*broker)).collect(),
            replicas,
            isr,
            removing_replicas: Vec::new(),
            adding_replicas: Vec::new(),
            leader_recovery_state: LeaderRecoveryState::Recovered,
            leader_epoch: LeaderEpoch::new(0),
            partition_epoch: PartitionEpoch::new(0),
            eligible_leader_replicas: Vec::new(),
            last_known_elr: Vec::new(),
        }
    }

    pub(super) fn delete_topics(
        &self,
        topics: Vec<TopicSelector>,
    ) -> (Vec<Record>, Vec<DeleteTopicResult>) {
        let mut records = Vec::new();
        let mut seen = BTreeSet::new();
        let mut results = Vec::with_capacity(topics.len());
        for selector in topics {
            let (found, name, id, unknown) = match &selector {
                TopicSelector::Name(name) => {
                    let unknown = ErrorCode::UnknownTopicOrPartition;
                    (self.image().topic(name), Some(Arc::from(name.as_str())), None, unknown)
                }
                TopicSelector::Id(id) => {
                    (self.image().topic_by_id(*id), None, Some(*id), ErrorCode::UnknownTopicId)
                }
            };
            let Some(topic) = found else {
                let result = Err(unknown.into());
                results.push(DeleteTopicResult { name, topic_id: id, result });
                continue;
            };
            let result = if seen.insert(topic.topic_id) {
                records.push(Record::RemoveTopic(RemoveTopic { topic_id: topic.topic_id }));
                Ok(())
            } else {
                Err(ApiError::new(
                    ErrorCode::InvalidRequest,
                    "the topic stands twice in the request",
                ))
            };
            let (name, topic_id) = (Some(topic.name.clone()), Some(topic.topic_id));
            results.push(DeleteTopicResult { name, topic_id, result });
        }
        (records, results)
    }

    #[expect(clippy::type_complexity, reason = "records, and one result a topic")]
    pub(super) fn create_partitions(
        &mut self,
        topics: Vec<NewPartitions>,
        validate_only: bool,
    ) -> (Vec<Record>, Vec<(String, Result<(), ApiError>)>) {
        let mut records = Vec::new();
        let mut seen = BTreeSet::new();
        let mut results = Vec::with_capacity(topics.len());
        for topic in topics {
            let result = if seen.insert(topic.topic.clone()) {
                self.add_partitions(&topic, &mut records)
            } else {
                Err(ApiError::new(
                    ErrorCode::InvalidRequest,
                    "the topic stands twice in the request",
                ))
            };
            results.push((topic.topic, result));
        }
        if validate_only {
            records.clear();
        }
        (records, results)
    }

    fn add_partitions(
        &mut self,
        request: &NewPartitions,
        records: &mut Vec<Record>,
    ) -> Result<(), ApiError> {
        let Some(topic) = self.image().topic(&request.topic).cloned() else {
            return Err(ErrorCode::UnknownTopicOrPartition.into());
        };
        let present = topic.partitions.len();
        let count = usize::try_from(request.count).unwrap_or(0);
        if count <= present {
            let message = format!("the topic has {present} partitions, and they only become more");
            return Err(ApiError::new(ErrorCode::InvalidPartitions, message));
        }
        let added = count - present;
        if added + records.len() > PARTITIONS_PER_REQUEST_MAX {
            let message = format!("one request may create {PARTITIONS_PER_REQUEST_MAX} partitions");
            return Err(ApiError::new(ErrorCode::PolicyViolation, message));
        }
        let first = topic.partitions.values().next().expect("a topic has a partition");
        let factor = first.replicas.len();
        let placements = match &request.assignments {
            None => self.place(added, factor)?,
            Some(assignments) if assignments.len() == added => {
                for replicas in assignments {
                    self.check_assignment(replicas, factor)?;
                }
                assignments.clone()
            }
            Some(assignments) => {
                let given = assignments.len();
                let message = format!("{added} partitions are new, {given} are assigned");
                return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
            }
        };
        for (index, replicas) in placements.into_iter().enumerate() {
            let partition = self.new_partition(topic.topic_id, present + index, replicas);
            records.push(Record::Partition(partition));
        }
        Ok(())
    }
}

/// The names that a request would add, checked against those that are there and against each other.
struct NewNames {
    /// Names that stand more than once in the request.
    repeated: BTreeSet<String>,
    /// One name for each key under which names collide.
    collision_keys: BTreeMap<String, Arc<str>>,
}

impl NewNames {
    fn new(controller: &Controller, topics: &[NewTopic]) -> Self {
        let mut seen = BTreeSet::new();
        let repeated = topics.iter().filter(|topic| !seen.insert(topic.name.as_str()));
        let repeated = repeated.map(|topic| topic.name.clone()).collect();
        let mut collision_keys = BTreeMap::new();
        if topics.iter().any(|topic| topic_name::may_collide(&topic.name)) {
            for topic in controller.image().topics() {
                if topic_name::may_collide(&topic.name) {
                    collision_keys
                        .insert(topic_name::collision_key(&topic.name), topic.name.clone());
                }
            }
        }
        Self { repeated, collision_keys }
    }

    fn check(&self, controller: &Controller, name: &str) -> Result<(), ApiError> {
        if self.repeated.contains(name) {
            let message = "the topic stands twice in the request";
            return Err(ApiError::new(ErrorCode::InvalidRequest, message));
        }
        if name == topic_name::CLUSTER_METADATA_TOPIC {
            let message = format!("'{name}' is the cluster's own log");
            return Err(ApiError::new(ErrorCode::InvalidRequest, message));
        }
        topic_name::validate(name)
            .map_err(|message| ApiError::new(ErrorCode::InvalidTopicException, message))?;
        if controller.image().topic(name).is_some() {
            let message = format!("topic '{name}' exists already");
            return Err(ApiError::new(ErrorCode::TopicAlreadyExists, message));
        }
        if topic_name::may_collide(name)
            && let Some(other) = self.collision_keys.get(&topic_name::collision_key(name))
        {
            let message =
                format!("'{name}' collides with topic '{other}': '.' and '_' count as the same");
            return Err(ApiError::new(ErrorCode::InvalidTopicException, message));
        }
        Ok(())
    }

    fn accept(&mut self, name: &str) {
        if topic_name::may_collide(name) {
            self.collision_keys.insert(topic_name::collision_key(name), name.into());
        }
    }
}
