//! The cluster as a whole: its brokers, its quorum, who leads, who holds what.

use super::{Admin, Attempt, by_topic, lacks, succeeded};
use crate::client::admin::{
    ClusterDescription, ElectionType, FeatureUpdate, NodeDescription, PartitionReassignment,
    QuorumDescription, QuorumReplica, ServedApi, UpgradeType,
};
use crate::client::error::ClientError;
use crate::protocol::VersionRange;
use crate::protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use crate::protocol::messages::api_versions_response::ApiVersion;
use crate::protocol::messages::describe_cluster_response::DescribeClusterBroker;
use crate::protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use crate::protocol::messages::describe_quorum_response::ReplicaState;
use crate::protocol::messages::elect_leaders_request::TopicPartitions;
use crate::protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use crate::protocol::messages::update_features_request::FeatureUpdateKey;
use crate::protocol::messages::{
    AlterPartitionReassignmentsRequest, ApiVersionsRequest, DescribeClusterRequest,
    DescribeQuorumRequest, ElectLeadersRequest, ListPartitionReassignmentsRequest, Message,
    UnregisterBrokerRequest, UpdateFeaturesRequest,
};
use crate::types::{BrokerId, ErrorCode, PartitionIndex, TopicPartition};

/// The topic of the metadata log, as DescribeQuorum names it.
const METADATA_TOPIC: &str = "__cluster_metadata";

impl Admin {
    /// The cluster's brokers and controller.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, ClientError> {
        let response = self.ask(DescribeClusterRequest::default(), Attempt::Done).await?;
        succeeded(response.error_code, response.error_message)?;
        let node = |broker: DescribeClusterBroker| {
            let port = u16::try_from(broker.port).ok()?;
            let (id, host, rack) = (broker.broker_id, broker.host, broker.rack);
            Some(NodeDescription { id, host, port, rack })
        };
        let mut nodes: Vec<NodeDescription> =
            response.brokers.into_iter().filter_map(node).collect();
        nodes.sort_by_key(|node| node.id);
        Ok(ClusterDescription {
            cluster_id: response.cluster_id,
            controller: response.controller_id,
            nodes,
        })
    }

    /// What the broker that answers first serves, sorted by API number.
    pub async fn api_versions(&self) -> Result<Vec<ServedApi>, ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: "ottla".to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let response = self.ask(request, Attempt::Done).await?;
        succeeded(response.error_code, None)?;
        let served = |range: &ApiVersion| {
            let versions = VersionRange::new(range.min_version, range.max_version);
            ServedApi { api_key: range.api_key, versions }
        };
        let mut apis: Vec<ServedApi> = response.api_keys.iter().map(served).collect();
        apis.sort_by_key(|api| api.api_key);
        Ok(apis)
    }

    /// The metadata quorum as its leader sees it. A broker passes the question on.
    ///
    /// Errors: [`ClientError::Answer`]; [`ClientError::TimedOut`] where no leader answers.
    pub async fn describe_quorum(&self) -> Result<QuorumDescription, ClientError> {
        let request = DescribeQuorumRequest {
            topics: vec![TopicData {
                topic_name: METADATA_TOPIC.to_owned(),
                partitions: vec![PartitionData { partition_index: PartitionIndex::new(0) }],
            }],
        };
        let response = self
            .ask(request, |response| {
                let partition = response.topics.first().and_then(|topic| topic.partitions.first());
                let error = partition.map_or(ErrorCode::None, |partition| partition.error_code);
                match [response.error_code, error].into_iter().find(|error| error.is_retriable()) {
                    Some(error) => Attempt::Again(error.to_string()),
                    None => Attempt::Done(response),
                }
            })
            .await?;
        succeeded(response.error_code, response.error_message)?;
        let partition = response.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let partition = partition.ok_or_else(|| lacks(METADATA_TOPIC))?;
        succeeded(partition.error_code, partition.error_message)?;
        let replicas = |states: Vec<ReplicaState>| {
            let replica = |state: ReplicaState| QuorumReplica {
                id: state.replica_id,
                directory_id: state.replica_directory_id,
                log_end_offset: state.log_end_offset,
                last_fetch: state.last_fetch_timestamp,
                last_caught_up: state.last_caught_up_timestamp,
            };
            states.into_iter().map(replica).collect()
        };
        Ok(QuorumDescription {
            leader: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            high_watermark: partition.high_watermark,
            voters: replicas(partition.current_voters),
            observers: replicas(partition.observers),
        })
    }

    /// Elects leaders; where `partitions` is `None`, wherever it is needed. Partitions where nothing was to be done answer
    /// ELECTION_NOT_NEEDED where they were named.
    ///
    /// Errors: outer, the request as a whole; inner, the partition (PREFERRED_LEADER_NOT_AVAILABLE,
    /// ELIGIBLE_LEADERS_NOT_AVAILABLE, …).
    pub async fn elect_leaders(
        &self,
        election: ElectionType,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Vec<(TopicPartition, Result<(), ClientError>)>, ClientError> {
        let topic = |(topic, partitions)| TopicPartitions { topic, partitions };
        let named =
            partitions.map(|all| by_topic(all.iter().map(|one| (one, one.partition.value()))));
        let request = ElectLeadersRequest {
            election_type: election.on_the_wire(),
            topic_partitions: named.map(|topics| topics.into_iter().map(topic).collect()),
            timeout_ms: self.timeout_ms(),
        };
        // Version 0 knows preferred leaders only.
        let mut versions = ElectLeadersRequest::VERSIONS;
        if election == ElectionType::Unclean {
            versions.min = 1;
        }
        let response = self
            .ask_in_versions(request, versions, |response| {
                Attempt::unless_controller_moved(response.error_code, response)
            })
            .await?;
        succeeded(response.error_code, None)?;
        let mut results = Vec::new();
        for topic in response.replica_election_results {
            for answer in topic.partition_result {
                let Some(partition) = PartitionIndex::from_wire(answer.partition_id) else {
                    continue;
                };
                let topic = topic.topic.as_str().into();
                let result = succeeded(answer.error_code, answer.error_message);
                results.push((TopicPartition { topic, partition }, result));
            }
        }
        Ok(results)
    }

    /// Moves partitions: who shall hold each, the preferred leader first; `None` takes back a move that is under way. The
    /// answer says that the move began. The answers come in the order of the questions.
    ///
    /// Errors: outer, the request as a whole; inner, the partition (INVALID_REPLICA_ASSIGNMENT,
    /// NO_REASSIGNMENT_IN_PROGRESS, …).
    pub async fn alter_partition_reassignments(
        &self,
        moves: &[(TopicPartition, Option<Vec<BrokerId>>)],
    ) -> Result<Vec<Result<(), ClientError>>, ClientError> {
        let partition = |(partition, replicas): &(TopicPartition, Option<Vec<BrokerId>>)| {
            let partition_index = partition.partition.value();
            ReassignablePartition { partition_index, replicas: replicas.clone() }
        };
        let topics = by_topic(moves.iter().map(|one| (&one.0, partition(one))));
        let topic = |(name, partitions)| ReassignableTopic { name, partitions };
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: self.timeout_ms(),
            topics: topics.into_iter().map(topic).collect(),
            ..AlterPartitionReassignmentsRequest::default()
        };
        let response = self
            .ask(request, |response| {
                Attempt::unless_controller_moved(response.error_code, response)
            })
            .await?;
        succeeded(response.error_code, response.error_message)?;
        let answer = |(wanted, _): &(TopicPartition, Option<Vec<BrokerId>>)| {
            let topic = response.responses.iter().find(|topic| *topic.name == *wanted.topic);
            let mut answers = topic.into_iter().flat_map(|topic| &topic.partitions);
            let answer = answers.find(|one| one.partition_index == wanted.partition.value());
            let answer = answer.ok_or_else(|| lacks(&wanted.to_string()))?;
            succeeded(answer.error_code, answer.error_message.clone())
        };
        Ok(moves.iter().map(answer).collect())
    }

    /// The moves that are under way, of these partitions or of all.
    ///
    /// Errors: [`ClientError::Answer`].
    pub async fn list_partition_reassignments(
        &self,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Vec<PartitionReassignment>, ClientError> {
        let named =
            partitions.map(|all| by_topic(all.iter().map(|one| (one, one.partition.value()))));
        let topic = |(name, partition_indexes)| ListPartitionReassignmentsTopics {
            name,
            partition_indexes,
        };
        let request = ListPartitionReassignmentsRequest {
            timeout_ms: self.timeout_ms(),
            topics: named.map(|topics| topics.into_iter().map(topic).collect()),
        };
        let response = self
            .ask(request, |response| {
                Attempt::unless_controller_moved(response.error_code, response)
            })
            .await?;
        succeeded(response.error_code, response.error_message)?;
        let mut moves = Vec::new();
        for topic in response.topics {
            for answer in topic.partitions {
                let partition = answer.partition_index;
                moves.push(PartitionReassignment {
                    partition: TopicPartition { topic: topic.name.as_str().into(), partition },
                    replicas: answer.replicas,
                    adding: answer.adding_replicas,
                    removing: answer.removing_replicas,
                });
            }
        }
        moves.sort_by(|a, b| a.partition.cmp(&b.partition));
        Ok(moves)
    }

    /// Takes a broker that is gone for good out of the cluster.
    ///
    /// Errors: [`ClientError::Answer`] (BROKER_ID_NOT_REGISTERED, …).
    pub async fn unregister_broker(&self, broker: BrokerId) -> Result<(), ClientError> {
        let request = UnregisterBrokerRequest { broker_id: broker };
        let response = self
            .ask(request, |response| {
                Attempt::unless_controller_moved(response.error_code, response)
            })
            .await?;
        succeeded(response.error_code, response.error_message)
    }

    /// Gives features other levels, all of them or none (KIP-584).
    ///
    /// Errors: [`ClientError::Answer`] (FEATURE_UPDATE_FAILED, INVALID_UPDATE_VERSION, …).
    pub async fn update_features(&self, updates: &[FeatureUpdate]) -> Result<(), ClientError> {
        let key = |update: &FeatureUpdate| FeatureUpdateKey {
            feature: update.feature.clone(),
            max_version_level: update.level,
            upgrade_type: match update.upgrade_type {
                UpgradeType::Upgrade => 1,
                UpgradeType::SafeDowngrade => 2,
                UpgradeType::UnsafeDowngrade => 3,
            },
            ..FeatureUpdateKey::default()
        };
        let request = UpdateFeaturesRequest {
            timeout_ms: self.timeout_ms(),
            feature_updates: updates.iter().map(key).collect(),
            validate_only: false,
        };
        // Version 0 has another word for downgrades; every broker with KRaft knows this one.
        let versions = VersionRange::new(1, UpdateFeaturesRequest::VERSIONS.max);
        let response = self
            .ask_in_versions(request, versions, |response| {
                Attempt::unless_controller_moved(response.error_code, response)
            })
            .await?;
        succeeded(response.error_code, response.error_message)?;
        let failed = response.results.into_iter().find(|result| !result.error_code.is_none());
        failed.map_or(Ok(()), |result| succeeded(result.error_code, result.error_message))
    }
}
