//! Groups: listed by all brokers, described, changed and deleted by their coordinators.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Admin, Attempt, Tries, by_topic, lacks, succeeded};
use crate::client::admin::{
    GroupDescription, GroupListing, GroupMember, GroupState, GroupType, NodeDescription,
};
use crate::client::cluster_view::{NodeKey, Target};
use crate::client::consumer::assignors::protocol::{PROTOCOL_TYPE, read_assignment};
use crate::client::consumer::{OffsetAndMetadata, Offsets};
use crate::client::error::ClientError;
use crate::protocol::VersionRange;
use crate::protocol::messages::consumer_group_describe_response::{self, Assignment, Member};
use crate::protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use crate::protocol::messages::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest,
    FindCoordinatorRequest, ListGroupsRequest, ListGroupsResponse, Message, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetFetchRequest, OffsetFetchResponse, Request,
};
use crate::rpc::Endpoint;
use crate::types::{BrokerId, ErrorCode, MemberEpoch, PartitionIndex, TopicPartition};

/// The kind of key that is a group's id (Kafka: `FindCoordinatorRequest.CoordinatorType.GROUP`).
const KEY_OF_GROUP: i8 = 0;
/// FindCoordinator has a kind of key from 1 on, and one key up to 3.
const FIND_VERSIONS: VersionRange = VersionRange { min: 1, max: 3 };
/// ListGroups has a filter of states from this version on (KIP-518).
const STATES_FILTER_SINCE: i16 = 4;
/// ListGroups has a filter of types from this version on (KIP-848).
const TYPES_FILTER_SINCE: i16 = 5;
/// OffsetFetch asks for one group and for what is stable, in this version alone.
const FETCH_VERSIONS: VersionRange = VersionRange { min: 7, max: 7 };
/// OffsetCommit names topics by their names up to this version.
const COMMIT_BY_NAME_MAX: i16 = 9;
/// `member_type` of a member that speaks the classic protocol (Kafka: `ConsumerGroupDescribeResponse.CLASSIC_MEMBER_TYPE`).
const CLASSIC_MEMBER: i8 = 0;
/// The same, of the consumer protocol.
const CONSUMER_MEMBER: i8 = 1;

/// Who coordinates a group.
struct Coordinator {
    id: BrokerId,
    endpoint: Endpoint,
}

impl Admin {
    /// All groups of the cluster, sorted: each broker is asked for those that it coordinates. Only those in one of `states` and of one of
    /// `types`, where they are not empty, in Kafka's words.
    ///
    /// Errors: [`ClientError::TimedOut`] where a broker that is in the cluster does not answer: a list would lack its groups.
    pub async fn list_groups(
        &self,
        states: &[&str],
        types: &[&str],
    ) -> Result<Vec<GroupListing>, ClientError> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let request =
            ListGroupsRequest { states_filter: owned(states), types_filter: owned(types) };
        let mut versions = ListGroupsRequest::VERSIONS;
        if !states.is_empty() {
            versions.min = STATES_FILTER_SINCE;
        }
        if !types.is_empty() {
            versions.min = TYPES_FILTER_SINCE;
        }
        let mut tries = Tries::new(self, ListGroupsRequest::API.name());
        'anew: loop {
            let mut groups: Vec<GroupListing> = Vec::new();
            // Anew too: a broker that is gone is not in it any more, and others have its groups.
            for target in self.brokers().await? {
                match self.call(&target, request.clone(), versions, &tries).await {
                    Err(error) => {
                        tries.broken(self, target.node, error).await?;
                        continue 'anew;
                    }
                    Ok(response) if response.error_code.is_none() => {
                        groups.extend(listings(response));
                    }
                    Ok(response) if response.error_code.is_retriable() => {
                        tries.failed(self, response.error_code.to_string()).await?;
                        continue 'anew;
                    }
                    Ok(response) => {
                        return Err(ClientError::Answer {
                            error: response.error_code,
                            message: None,
                        });
                    }
                }
            }
            groups.sort_by(|a, b| a.group.cmp(&b.group));
            // A group that moved meanwhile was seen twice.
            groups.dedup_by(|a, b| a.group == b.group);
            return Ok(groups);
        }
    }

    /// Describes a group: as one of the consumer protocol where its coordinator has it as such, else as one of the classic protocol.
    ///
    /// Errors: [`ClientError::Answer`] with `GROUP_ID_NOT_FOUND`, whatever the broker's version, `INVALID_GROUP_ID`,
    /// `GROUP_AUTHORIZATION_FAILED`; [`ClientError::TimedOut`] where no coordinator answers.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, ClientError> {
        match self.describe_consumer_group(group).await {
            Err(ClientError::UnsupportedVersion { .. }) => {}
            // The second one: the broker knows the protocol, and the cluster does not speak it.
            Err(ClientError::Answer {
                error: ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion,
                ..
            }) => {}
            answered => return answered,
        }
        let request =
            DescribeGroupsRequest { groups: vec![group.to_owned()], ..Default::default() };
        let versions = DescribeGroupsRequest::VERSIONS;
        let (coordinator, described) = self
            .ask_coordinator(group, versions, &request, |response| {
                judge_first(group, response.groups, |one| {
                    (one.error_code, one.error_message.clone())
                })
            })
            .await?;
        let described = described?;
        // Before version 6 a group that is not there is told as a dead one (KIP-1043).
        if GroupState::from_name(&described.group_state) == GroupState::Dead {
            let error = ErrorCode::GroupIdNotFound;
            return Err(ClientError::Answer { error, message: None });
        }
        Ok(classic(described, coordinator))
    }

    /// Describes a group of the consumer protocol.
    async fn describe_consumer_group(&self, group: &str) -> Result<GroupDescription, ClientError> {
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![group.to_owned()],
            ..Default::default()
        };
        let versions = ConsumerGroupDescribeRequest::VERSIONS;
        let (coordinator, described) = self
            .ask_coordinator(group, versions, &request, |response| {
                judge_first(group, response.groups, |one| {
                    (one.error_code, one.error_message.clone())
                })
            })
            .await?;
        Ok(of_consumer_protocol(described?, coordinator))
    }

    /// Deletes a group with all that it has committed.
    ///
    /// Errors: [`ClientError::Answer`] with `GROUP_ID_NOT_FOUND` (also where an earlier attempt, whose answer was lost, deleted it),
    /// `NON_EMPTY_GROUP`, …
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        let request = DeleteGroupsRequest { groups_names: vec![group.to_owned()] };
        let versions = DeleteGroupsRequest::VERSIONS;
        let (_, deleted) = self
            .ask_coordinator(group, versions, &request, |response| {
                judge_first(group, response.results, |one| (one.error_code, None))
            })
            .await?;
        deleted.map(drop)
    }

    /// What a group has committed; empty where there is no such group.
    ///
    /// Errors: [`ClientError::Answer`], [`ClientError::TimedOut`].
    pub async fn list_group_offsets(&self, group: &str) -> Result<Offsets, ClientError> {
        let request = OffsetFetchRequest {
            group_id: group.to_owned(),
            topics: None,
            require_stable: true,
            ..Default::default()
        };
        let (_, fetched) =
            self.ask_coordinator(group, FETCH_VERSIONS, &request, read_offsets).await?;
        fetched
    }

    /// Sets what a group has committed, as long as it has no members; a group that is not there begins with it. The answers come in the
    /// order of `offsets`.
    ///
    /// Errors: outer, the request as a whole; inner, the partition: `UNKNOWN_MEMBER_ID` in each where the group has members,
    /// `UNKNOWN_TOPIC_OR_PARTITION`, …
    pub async fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &Offsets,
    ) -> Result<Vec<(TopicPartition, Result<(), ClientError>)>, ClientError> {
        if offsets.is_empty() {
            return Ok(Vec::new());
        }
        let partition =
            |partition: PartitionIndex, one: &OffsetAndMetadata| OffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: Some(one.offset),
                committed_leader_epoch: one.leader_epoch,
                committed_metadata: Some(one.metadata.clone()),
            };
        let all = offsets.iter().map(|(at, one)| (at, partition(at.partition, one)));
        let topics = by_topic(all).into_iter().map(|(name, partitions)| OffsetCommitRequestTopic {
            name,
            partitions,
            ..Default::default()
        });
        // Nobody's generation and nobody's id: those of a simple consumer.
        let request = OffsetCommitRequest {
            group_id: group.to_owned(),
            topics: topics.collect(),
            ..Default::default()
        };
        let versions =
            VersionRange { min: OffsetCommitRequest::VERSIONS.min, max: COMMIT_BY_NAME_MAX };
        let (_, response) = self.ask_coordinator(group, versions, &request, judge_commit).await?;
        let topics = response.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter();
            (topic.name, partitions.map(|one| (one.partition_index, one.error_code)))
        });
        let answers = Answers::new(topics);
        Ok(offsets.keys().map(|wanted| (wanted.clone(), answers.of(wanted))).collect())
    }

    /// Makes a group forget what it has committed of these partitions (KIP-496). The answers come in the order of the questions.
    ///
    /// Errors: outer, `GROUP_ID_NOT_FOUND`, `NON_EMPTY_GROUP` (members that are no consumers), …; inner, the partition:
    /// `GROUP_SUBSCRIBED_TO_TOPIC`, `UNKNOWN_TOPIC_OR_PARTITION`, …
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Result<(), ClientError>>, ClientError> {
        let all = partitions
            .iter()
            .map(|at| (at, OffsetDeleteRequestPartition { partition_index: at.partition }));
        let topic = |(name, partitions)| OffsetDeleteRequestTopic { name, partitions };
        let request = OffsetDeleteRequest {
            group_id: group.to_owned(),
            topics: by_topic(all).into_iter().map(topic).collect(),
        };
        let versions = OffsetDeleteRequest::VERSIONS;
        let (_, response) = self
            .ask_coordinator(group, versions, &request, |response| {
                judge(response.error_code, None, response)
            })
            .await?;
        let topics = response?.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter();
            (topic.name, partitions.map(|one| (one.partition_index, one.error_code)))
        });
        let answers = Answers::new(topics);
        Ok(partitions.iter().map(|wanted| answers.of(wanted)).collect())
    }

    // ---- asking ----

    /// The brokers that are in the cluster now.
    async fn brokers(&self) -> Result<Vec<Target>, ClientError> {
        let response = self.metadata(Some(&[])).await?;
        let target = |id| self.state().view.broker(id);
        Ok(response.brokers.iter().filter_map(|broker| target(broker.node_id)).collect())
    }

    /// Asks a group's coordinator until `judge` is content or `default.api.timeout.ms` is over. Who that is, is asked before each attempt.
    async fn ask_coordinator<R, T>(
        &self,
        group: &str,
        versions: VersionRange,
        request: &R,
        judge: impl Fn(R::Response) -> Attempt<T>,
    ) -> Result<(Coordinator, T), ClientError>
    where
        R: Request + Send + 'static,
        R::Response: Send + 'static,
    {
        let mut tries = Tries::new(self, R::API.name());
        loop {
            let coordinator = self.find_coordinator(group, &mut tries).await?;
            let target = Target {
                node: NodeKey::Broker(coordinator.id),
                endpoint: coordinator.endpoint.clone(),
            };
            match self.call(&target, request.clone(), versions, &tries).await {
                Ok(response) => match judge(response) {
                    Attempt::Done(value) => return Ok((coordinator, value)),
                    Attempt::Again(reason) => tries.failed(self, reason).await?,
                },
                Err(error) => tries.broken(self, target.node, error).await?,
            }
        }
    }

    async fn find_coordinator(
        &self,
        group: &str,
        tries: &mut Tries,
    ) -> Result<Coordinator, ClientError> {
        let request = FindCoordinatorRequest {
            key: group.to_owned(),
            key_type: KEY_OF_GROUP,
            ..Default::default()
        };
        loop {
            let target = self.state().view.anybody();
            let found = match self.call(&target, request.clone(), FIND_VERSIONS, tries).await {
                Ok(found) => found,
                Err(error) => {
                    tries.broken(self, target.node, error).await?;
                    continue;
                }
            };
            self.state().view.on_node_answered(target.node);
            let (error, message) = (found.error_code, found.error_message);
            match (error, found.node_id, u16::try_from(found.port)) {
                (ErrorCode::None, Some(id), Ok(port)) => {
                    let endpoint = Endpoint { host: found.host, port };
                    return Ok(Coordinator { id, endpoint });
                }
                (ErrorCode::None, _, _) => {
                    tries.failed(self, "the coordinator has no address".to_owned()).await?;
                }
                (error, _, _) if error.is_retriable() => {
                    tries.failed(self, told(error, message.as_deref())).await?;
                }
                (error, _, _) => return Err(ClientError::Answer { error, message }),
            }
        }
    }
}

fn told(error: ErrorCode, message: Option<&str>) -> String {
    match message {
        Some(message) if !message.is_empty() => format!("{error}: {message}"),
        Some(_) | None => error.to_string(),
    }
}

/// What to make of an answer with an error of its own: it may be another broker's turn, or the coordinator may still be reading.
fn judge<T>(
    error: ErrorCode,
    message: Option<String>,
    value: T,
) -> Attempt<Result<T, ClientError>> {
    if error.is_retriable() {
        return Attempt::Again(told(error, message.as_deref()));
    }
    Attempt::Done(succeeded(error, message).map(|()| value))
}

/// The same of the first answer in an answer to a question about one group; `error` reads it.
fn judge_first<T>(
    group: &str,
    answers: Vec<T>,
    error: impl FnOnce(&T) -> (ErrorCode, Option<String>),
) -> Attempt<Result<T, ClientError>> {
    let Some(answer) = answers.into_iter().next() else {
        return Attempt::Done(Err(lacks(group)));
    };
    let (error, message) = error(&answer);
    judge(error, message, answer)
}

/// What an answer says of each partition.
struct Answers(BTreeMap<TopicPartition, ErrorCode>);

impl Answers {
    fn new<P>(topics: impl Iterator<Item = (String, P)>) -> Self
    where
        P: Iterator<Item = (PartitionIndex, ErrorCode)>,
    {
        let mut all = BTreeMap::new();
        for (topic, partitions) in topics {
            let topic: Arc<str> = topic.into();
            for (partition, error) in partitions {
                all.insert(TopicPartition { topic: Arc::clone(&topic), partition }, error);
            }
        }
        Self(all)
    }

    fn of(&self, wanted: &TopicPartition) -> Result<(), ClientError> {
        let error = self.0.get(wanted).ok_or_else(|| lacks(&wanted.to_string()))?;
        succeeded(*error, None)
    }
}

fn judge_commit(response: OffsetCommitResponse) -> Attempt<OffsetCommitResponse> {
    let mut errors = response.topics.iter().flat_map(|topic| &topic.partitions);
    // What all partitions are answered with where nothing was looked at.
    let moved = errors.find(|one| {
        matches!(
            one.error_code,
            ErrorCode::NotCoordinator
                | ErrorCode::CoordinatorLoadInProgress
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::RequestTimedOut
        )
    });
    match moved {
        Some(one) => Attempt::Again(one.error_code.to_string()),
        None => Attempt::Done(response),
    }
}

fn read_offsets(response: OffsetFetchResponse) -> Attempt<Result<Offsets, ClientError>> {
    let mut offsets = Offsets::new();
    let mut error = response.error_code;
    for topic in response.topics {
        for one in topic.partitions {
            if error.is_none() {
                // UNSTABLE_OFFSET_COMMIT: a transaction that commits offsets is under way.
                error = one.error_code;
            }
            let Some(offset) = one.committed_offset else { continue };
            let at = TopicPartition {
                topic: topic.name.as_str().into(),
                partition: one.partition_index,
            };
            let metadata = one.metadata.unwrap_or_default();
            let leader_epoch = one.committed_leader_epoch;
            offsets.insert(at, OffsetAndMetadata { offset, leader_epoch, metadata });
        }
    }
    judge(error, None, offsets)
}

fn listings(response: ListGroupsResponse) -> impl Iterator<Item = GroupListing> {
    response.groups.into_iter().map(|listed| GroupListing {
        group: listed.group_id,
        protocol_type: listed.protocol_type,
        state: GroupState::from_name(&listed.group_state),
        group_type: GroupType::from_name(&listed.group_type),
    })
}

impl Coordinator {
    fn description(self) -> NodeDescription {
        let Endpoint { host, port } = self.endpoint;
        NodeDescription { id: self.id, host, port, rack: None }
    }
}

fn by_id(members: impl Iterator<Item = GroupMember>) -> Vec<GroupMember> {
    let mut members: Vec<GroupMember> = members.collect();
    members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
    members
}

fn classic(described: DescribedGroup, coordinator: Coordinator) -> GroupDescription {
    let is_of_consumers = described.protocol_type == PROTOCOL_TYPE;
    let member = |member: DescribedGroupMember| GroupMember {
        assignment: classic_assignment(&member, is_of_consumers),
        member_id: member.member_id,
        instance_id: member.group_instance_id,
        client_id: member.client_id,
        host: member.client_host,
        target_assignment: None,
        epoch: None,
        is_upgraded: None,
    };
    GroupDescription {
        group: described.group_id,
        group_type: GroupType::Classic,
        state: GroupState::from_name(&described.group_state),
        protocol_type: described.protocol_type,
        assignor: described.protocol_data,
        coordinator: coordinator.description(),
        epoch: None,
        assignment_epoch: None,
        members: by_id(described.members.into_iter().map(member)),
    }
}

/// What a member reads. Other programs' groups have bytes that only they can read, and so may have a consumer with a protocol of its own.
fn classic_assignment(member: &DescribedGroupMember, is_of_consumers: bool) -> Vec<TopicPartition> {
    if !is_of_consumers || member.member_assignment.is_empty() {
        return Vec::new();
    }
    let Ok(assignment) = read_assignment(member.member_assignment.clone()) else {
        return Vec::new();
    };
    let partitions = assignment.into_iter().flat_map(|(topic, partitions)| {
        let at = move |partition| TopicPartition { topic: topic.clone(), partition };
        partitions.into_iter().map(at)
    });
    partitions.collect()
}

fn of_consumer_protocol(
    described: consumer_group_describe_response::DescribedGroup,
    coordinator: Coordinator,
) -> GroupDescription {
    let member = |member: Member| GroupMember {
        member_id: member.member_id,
        instance_id: member.instance_id,
        client_id: member.client_id,
        host: member.client_host,
        assignment: named(member.assignment),
        target_assignment: Some(named(member.target_assignment)),
        epoch: MemberEpoch::from_wire(member.member_epoch),
        is_upgraded: match member.member_type {
            CLASSIC_MEMBER => Some(false),
            CONSUMER_MEMBER => Some(true),
            _ => None,
        },
    };
    GroupDescription {
        group: described.group_id,
        group_type: GroupType::Consumer,
        state: GroupState::from_name(&described.group_state),
        protocol_type: PROTOCOL_TYPE.to_owned(),
        assignor: described.assignor_name,
        coordinator: coordinator.description(),
        epoch: MemberEpoch::from_wire(described.group_epoch),
        assignment_epoch: MemberEpoch::from_wire(described.assignment_epoch),
        members: by_id(described.members.into_iter().map(member)),
    }
}

fn named(assignment: Assignment) -> Vec<TopicPartition> {
    let mut all: Vec<TopicPartition> = Vec::new();
    for topic in assignment.topic_partitions {
        let name = topic.topic_name.as_str();
        let at = |partition| TopicPartition { topic: name.into(), partition };
        all.extend(topic.partitions.into_iter().map(at));
    }
    all.sort_unstable();
    all
}
