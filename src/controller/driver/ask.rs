//! The questions to the controller, one method each.

use std::collections::BTreeMap;

use super::ControllerHandle;
use crate::controller::request::{
    AlterPartitionRequest, AlterReassignmentsRequest, ApiError, AssignReplicasToDirsRequest,
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, ConfigChange, ConfigResults,
    CreateTopicResult, CreateTopicsRequest, DeleteTopicResult, ElectLeadersRequest, FeatureUpdate,
    IsrChangeResult, NamedPartition, NewPartitions, OngoingReassignment, PartitionResults,
    ProducerIdBlock, RegisterBrokerRequest, ReplicaResults, Reply, Request, TopicSelector,
};
use crate::metadata::ConfigResource;
use crate::types::{BrokerEpoch, BrokerId};

const MISMATCH: &str = "the ledger answers a request with its own reply";

impl ControllerHandle {
    /// Registers a broker; returns its epoch.
    ///
    /// # Errors
    /// `DUPLICATE_BROKER_REGISTRATION`, `INCONSISTENT_CLUSTER_ID`, `INVALID_REGISTRATION`, `UNSUPPORTED_VERSION`.
    pub async fn register_broker(
        &self,
        request: RegisterBrokerRequest,
    ) -> Result<BrokerEpoch, ApiError> {
        let Reply::RegisterBroker(result) = self.ask(Request::RegisterBroker(request)).await?
        else {
            unreachable!("{MISMATCH}")
        };
        result
    }

    /// Takes a broker's heartbeat.
    ///
    /// # Errors
    /// `STALE_BROKER_EPOCH`: the broker must register anew.
    pub async fn broker_heartbeat(
        &self,
        request: BrokerHeartbeatRequest,
    ) -> Result<BrokerHeartbeatResponse, ApiError> {
        let Reply::BrokerHeartbeat(result) = self.ask(Request::BrokerHeartbeat(request)).await?
        else {
            unreachable!("{MISMATCH}")
        };
        result
    }

    /// Takes a broker out of the cluster for good.
    ///
    /// # Errors
    /// `BROKER_ID_NOT_REGISTERED`.
    pub async fn unregister_broker(&self, broker: BrokerId) -> Result<(), ApiError> {
        let Reply::UnregisterBroker(result) = self.ask(Request::UnregisterBroker(broker)).await?
        else {
            unreachable!("{MISMATCH}")
        };
        result
    }

    /// Creates topics; one result each, in order.
    ///
    /// # Errors
    /// See the type.
    pub async fn create_topics(
        &self,
        request: CreateTopicsRequest,
    ) -> Result<Vec<CreateTopicResult>, ApiError> {
        let Reply::CreateTopics(results) = self.ask(Request::CreateTopics(request)).await? else {
            unreachable!("{MISMATCH}")
        };
        Ok(results)
    }

    /// Deletes topics; one result each, in order.
    ///
    /// # Errors
    /// See the type.
    pub async fn delete_topics(
        &self,
        topics: Vec<TopicSelector>,
    ) -> Result<Vec<DeleteTopicResult>, ApiError> {
        let Reply::DeleteTopics(results) = self.ask(Request::DeleteTopics(topics)).await? else {
            unreachable!("{MISMATCH}")
        };
        Ok(results)
    }

    /// Adds partitions to topics; one result each, in order.
    ///
    /// # Errors
    /// See the type.
    pub async fn create_partitions(
        &self,
        topics: Vec<NewPartitions>,
        validate_only: bool,
    ) -> Result<Vec<(String, Result<(), ApiError>)>, ApiError> {
        let Reply::CreatePartitions(results) =
            self.ask(Request::CreatePartitions { topics, validate_only }).await?
        else {
            unreachable!("{MISMATCH}")
        };
        Ok(results)
    }

    /// Gives a broker producer ids of its own.
    ///
    /// # Errors
    /// `STALE_BROKER_EPOCH`.
    pub async fn allocate_producer_ids(
        &self,
        broker: BrokerId,
        broker_epoch: BrokerEpoch,
    ) -> Result<ProducerIdBlock, ApiError> {
        let Reply::AllocateProducerIds(result) =
            self.ask(Request::AllocateProducerIds { broker, broker_epoch }).await?
        else {
            unreachable!("{MISMATCH}")
        };
        result
    }

    /// Sets and removes configs; one result a resource, in order.
    ///
    /// # Errors
    /// See the type.
    pub async fn alter_configs(
        &self,
        changes: Vec<ConfigChange>,
        validate_only: bool,
    ) -> Result<ConfigResults, ApiError> {
        let Reply::AlterConfigs(results) =
            self.ask(Request::AlterConfigs { changes, validate_only }).await?
        else {
            unreachable!("{MISMATCH}")
        };
        Ok(results)
    }

    /// Replaces all configs of resources; one result a resource, in order.
    ///
    /// # Errors
    /// See the type.
    pub async fn replace_configs(
        &self,
        resources: Vec<(ConfigResource, BTreeMap<String, String>)>,
        validate_only: bool,
    ) -> Result<ConfigResults, ApiError> {
        let Reply::AlterConfigs(results) =
            self.ask(Request::ReplaceConfigs { resources, validate_only }).await?
        else {
            unreachable!("{MISMATCH}")
        };
        Ok(results)
    }

    /// Takes a leader's proposals of who is in sync; one result each, in order.
    ///
    /// # Errors
    /// `STALE_BROKER_EPOCH`.
    pub async fn alter_partition(
        &self,
        request: AlterPartitionRequest,
    ) -> Result<Vec<IsrChangeResult>, ApiError> {
        let Reply::AlterPartition(results) = self.ask(Request::AlterPartition(request)).await?
        else {
            unreachable!("{MISMATCH}")
        };
        results
    }

    /// Takes in which log directories a broker's replicas are; one result each, in order.
    ///
    /// # Errors
    /// `STALE_BROKER_EPOCH`.
    pub async fn assign_replicas_to_dirs(
        &self,
        request: AssignReplicasToDirsRequest,
    ) -> Result<ReplicaResults, ApiError> {
        let reply = self.ask(Request::AssignReplicasToDirs(request)).await?;
        let Reply::AssignReplicasToDirs(results) = reply else { unreachable!("{MISMATCH}") };
        results
    }

    /// Elects leaders; one result a partition, in order.
    ///
    /// # Errors
    /// `POLICY_VIOLATION`, where too many partitions would change at once.
    pub async fn elect_leaders(
        &self,
        request: ElectLeadersRequest,
    ) -> Result<PartitionResults, ApiError> {
        let Reply::ElectLeaders(results) = self.ask(Request::ElectLeaders(request)).await? else {
            unreachable!("{MISMATCH}")
        };
        results
    }

    /// Moves partitions; one result each, in order.
    ///
    /// # Errors
    /// `POLICY_VIOLATION`, where too many partitions would change at once.
    pub async fn alter_reassignments(
        &self,
        request: AlterReassignmentsRequest,
    ) -> Result<PartitionResults, ApiError> {
        let Reply::AlterReassignments(results) =
            self.ask(Request::AlterReassignments(request)).await?
        else {
            unreachable!("{MISMATCH}")
        };
        results
    }

    /// Which partitions move; `None` asks for all.
    ///
    /// # Errors
    /// See the type.
    pub async fn list_reassignments(
        &self,
        partitions: Option<Vec<NamedPartition>>,
    ) -> Result<Vec<OngoingReassignment>, ApiError> {
        let Reply::ListReassignments(ongoing) =
            self.ask(Request::ListReassignments(partitions)).await?
        else {
            unreachable!("{MISMATCH}")
        };
        Ok(ongoing)
    }

    /// Gives features other levels, all or none.
    ///
    /// # Errors
    /// `INVALID_UPDATE_VERSION`, `INVALID_REQUEST`.
    pub async fn update_features(
        &self,
        updates: Vec<FeatureUpdate>,
        validate_only: bool,
    ) -> Result<(), ApiError> {
        let Reply::UpdateFeatures(result) =
            self.ask(Request::UpdateFeatures { updates, validate_only }).await?
        else {
            unreachable!("{MISMATCH}")
        };
        result
    }
}
