//! Between the wire and the ledger: what members ask is asked of a coordinator without a network.

use std::sync::Arc;
use std::time::Duration;

use super::{Answer, Question, ledger};
use crate::protocol::messages::consumer_group_heartbeat_response as heartbeat_response;
use crate::protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::protocol::messages::join_group_response::JoinGroupResponseMember;
use crate::protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, DescribeGroupsResponse,
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use crate::types::{ErrorCode, GenerationId, PartitionIndex, TopicId, Uuid};

fn text(value: &str) -> Option<Arc<str>> {
    Some(value).filter(|text| !text.is_empty()).map(Arc::from)
}

fn instance(value: Option<&String>) -> Option<Arc<str>> {
    value.map(|text| Arc::from(text.as_str()))
}

fn topic(name: &str) -> ledger::Topic {
    ledger::Topic { name: name.into(), id: None }
}

/// `None` for what is not asked of the ledger.
pub(super) fn to_ledger(question: &Question) -> Option<ledger::Request> {
    Some(match question {
        Question::FindCoordinator(_) => return None,
        Question::JoinGroup(request) => join_to_ledger(request),
        Question::SyncGroup(request) => sync_to_ledger(request),
        Question::Heartbeat(request) => ledger::Request::Heartbeat(ledger::Heartbeat {
            group: request.group_id.as_str().into(),
            generation: GenerationId::from_wire(request.generation_id),
            member: request.member_id.as_str().into(),
            instance: instance(request.group_instance_id.as_ref()),
        }),
        Question::LeaveGroup(request) => ledger::Request::LeaveGroup(ledger::LeaveGroup {
            group: request.group_id.as_str().into(),
            members: request
                .members
                .iter()
                .map(|member| ledger::LeavingMember {
                    member: text(&member.member_id),
                    instance: instance(member.group_instance_id.as_ref()),
                })
                .collect(),
        }),
        Question::DescribeGroups(request) => ledger::Request::DescribeGroups(
            request.groups.iter().map(|group| group.as_str().into()).collect(),
        ),
        Question::ConsumerGroupHeartbeat(request) => heartbeat_to_ledger(request),
        Question::OffsetCommit(request) | Question::OffsetCommitOfEpoch(request) => {
            commit_to_ledger(request)
        }
        Question::OffsetFetch(request) => fetch_to_ledger(request),
    })
}

fn join_to_ledger(request: &JoinGroupRequest) -> ledger::Request {
    let millis = |millis: i32| Duration::from_millis(u64::try_from(millis).unwrap());
    let protocols = request.protocols.iter();
    ledger::Request::JoinGroup(ledger::JoinGroup {
        group: request.group_id.as_str().into(),
        member: text(&request.member_id),
        instance: instance(request.group_instance_id.as_ref()),
        client_id: "c".into(),
        client_host: "h".into(),
        session_timeout: millis(request.session_timeout_ms),
        rebalance_timeout: millis(request.rebalance_timeout_ms),
        protocol_type: request.protocol_type.as_str().into(),
        protocols: protocols.map(|p| (p.name.as_str().into(), p.metadata.clone())).collect(),
        requires_known_member_id: true,
        may_skip_assignment: true,
    })
}

fn sync_to_ledger(request: &SyncGroupRequest) -> ledger::Request {
    let assignments = request.assignments.iter();
    ledger::Request::SyncGroup(ledger::SyncGroup {
        group: request.group_id.as_str().into(),
        generation: GenerationId::from_wire(request.generation_id),
        member: request.member_id.as_str().into(),
        instance: instance(request.group_instance_id.as_ref()),
        protocol_type: instance(request.protocol_type.as_ref()),
        protocol: instance(request.protocol_name.as_ref()),
        assignments: assignments
            .map(|given| (given.member_id.as_str().into(), given.assignment.clone()))
            .collect(),
    })
}

fn commit_to_ledger(request: &OffsetCommitRequest) -> ledger::Request {
    let topics = request.topics.iter().map(|of_topic| {
        let partitions = of_topic.partitions.iter().map(|partition| ledger::OffsetToCommit {
            partition: partition.partition_index,
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: partition.committed_metadata.clone().unwrap_or_default().into(),
        });
        (topic(&of_topic.name), partitions.collect())
    });
    ledger::Request::CommitOffsets(ledger::CommitOffsets {
        group: request.group_id.as_str().into(),
        generation: GenerationId::from_wire(request.generation_id_or_member_epoch),
        member: text(&request.member_id),
        instance: instance(request.group_instance_id.as_ref()),
        knows_member_epochs: true,
        retention: None,
        topics: topics.collect(),
    })
}

fn heartbeat_to_ledger(request: &ConsumerGroupHeartbeatRequest) -> ledger::Request {
    let timeout = u64::try_from(request.rebalance_timeout_ms).ok();
    let names = request.subscribed_topic_names.as_ref();
    let owned = request.topic_partitions.as_ref().map(|topics| {
        let topics = topics.iter();
        topics.map(|topic| (topic.topic_id, topic.partitions.iter().copied().collect())).collect()
    });
    ledger::Request::ConsumerGroupHeartbeat(ledger::ConsumerGroupHeartbeat {
        group: request.group_id.as_str().into(),
        member: text(&request.member_id),
        may_lack_member_id: false,
        epoch: match request.member_epoch {
            0 => ledger::HeartbeatEpoch::Join,
            -1 => ledger::HeartbeatEpoch::Leave,
            -2 => ledger::HeartbeatEpoch::LeaveForAWhile,
            epoch => ledger::HeartbeatEpoch::At(epoch),
        },
        instance: instance(request.instance_id.as_ref()),
        rack: instance(request.rack_id.as_ref()),
        client_id: "c".into(),
        client_host: "h".into(),
        rebalance_timeout: timeout.map(Duration::from_millis),
        topics: names.map(|names| names.iter().map(|name| name.as_str().into()).collect()),
        topic_regex: instance(request.subscribed_topic_regex.as_ref()),
        assignor: instance(request.server_assignor.as_ref()),
        owned,
    })
}

fn heartbeat_from_ledger(
    result: Result<ledger::HeartbeatAnswer, ErrorCode>,
) -> ConsumerGroupHeartbeatResponse {
    let answer = match result {
        Ok(answer) => answer,
        Err(error_code) => {
            return ConsumerGroupHeartbeatResponse { error_code, ..Default::default() };
        }
    };
    let assignment = answer.assignment.map(|assignment| {
        let topics = assignment.into_iter().map(|(topic_id, partitions)| {
            let partitions = partitions.into_iter().collect();
            heartbeat_response::TopicPartitions { topic_id, partitions }
        });
        heartbeat_response::Assignment { topic_partitions: topics.collect() }
    });
    ConsumerGroupHeartbeatResponse {
        member_id: Some(answer.member.to_string()),
        member_epoch: answer.member_epoch,
        heartbeat_interval_ms: i32::try_from(answer.interval.as_millis()).unwrap(),
        assignment,
        ..Default::default()
    }
}

pub(super) fn id_of(topic: &str) -> TopicId {
    Uuid::from_bytes([topic.as_bytes()[0]; 16])
}

fn fetch_to_ledger(request: &OffsetFetchRequest) -> ledger::Request {
    if let Some(group) = request.groups.first() {
        let topics = group.topics.as_ref().map(|topics| {
            let named = topics.iter().map(|of| (topic(&of.name), of.partition_indexes.clone()));
            named.collect()
        });
        return ledger::Request::FetchOffsets(ledger::FetchOffsets {
            group: group.group_id.as_str().into(),
            member: instance(group.member_id.as_ref()),
            member_epoch: Some(group.member_epoch),
            topics,
        });
    }
    let topics = request.topics.as_ref().map(|topics| {
        let named = topics.iter().map(|of| (topic(&of.name), of.partition_indexes.clone()));
        named.collect()
    });
    ledger::Request::FetchOffsets(ledger::FetchOffsets {
        group: request.group_id.as_str().into(),
        member: None,
        member_epoch: None,
        topics,
    })
}

pub(super) fn from_ledger(question: &Question, reply: ledger::Reply) -> Answer {
    match reply {
        ledger::Reply::JoinGroup(joined) => Answer::JoinGroup(Ok(join_from_ledger(joined))),
        ledger::Reply::SyncGroup(synced) => Answer::SyncGroup(Ok(match synced {
            Ok(synced) => {
                SyncGroupResponse { assignment: synced.assignment, ..SyncGroupResponse::default() }
            }
            Err(error_code) => SyncGroupResponse { error_code, ..SyncGroupResponse::default() },
        })),
        ledger::Reply::Heartbeat(result) => Answer::Heartbeat(Ok(HeartbeatResponse {
            error_code: result.err().unwrap_or(ErrorCode::None),
            ..HeartbeatResponse::default()
        })),
        ledger::Reply::LeaveGroup(result) => Answer::LeaveGroup(Ok(LeaveGroupResponse {
            error_code: result.err().unwrap_or(ErrorCode::None),
            ..LeaveGroupResponse::default()
        })),
        ledger::Reply::CommitOffsets(result) => {
            Answer::OffsetCommit(Ok(commit_from_ledger(result)))
        }
        ledger::Reply::FetchOffsets(result) => {
            let is_of_groups =
                matches!(question, Question::OffsetFetch(request) if !request.groups.is_empty());
            Answer::OffsetFetch(Ok(if is_of_groups {
                group_from_ledger(result)
            } else {
                fetch_from_ledger(result)
            }))
        }
        ledger::Reply::ConsumerGroupHeartbeat(result) => {
            Answer::ConsumerGroupHeartbeat(Ok(heartbeat_from_ledger(result)))
        }
        ledger::Reply::DescribeGroups(groups) => {
            Answer::DescribeGroups(Ok(described_from_ledger(groups)))
        }
        ledger::Reply::DeleteOffsets(_)
        | ledger::Reply::ListGroups(_)
        | ledger::Reply::DeleteGroups(_)
        | ledger::Reply::DescribeConsumerGroups(_) => panic!("no member asks that"),
    }
}

fn described_from_ledger(
    groups: Vec<(Arc<str>, Result<ledger::DescribedGroup, ErrorCode>)>,
) -> DescribeGroupsResponse {
    let member = |member: ledger::DescribedMember| DescribedGroupMember {
        member_id: member.member.to_string(),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
        ..DescribedGroupMember::default()
    };
    let group = |(id, group): (Arc<str>, Result<ledger::DescribedGroup, ErrorCode>)| {
        let group_id = id.to_string();
        match group {
            Ok(group) => DescribedGroup {
                group_id,
                group_state: group.state.name().to_owned(),
                members: group.members.into_iter().map(member).collect(),
                ..DescribedGroup::default()
            },
            Err(error_code) => DescribedGroup { error_code, group_id, ..Default::default() },
        }
    };
    let groups = groups.into_iter().map(group).collect();
    DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() }
}

fn join_from_ledger(joined: Result<ledger::Joined, ledger::JoinRefused>) -> JoinGroupResponse {
    let joined = match joined {
        Ok(joined) => joined,
        Err(refused) => {
            return JoinGroupResponse {
                error_code: refused.error,
                member_id: refused.member.as_deref().unwrap_or_default().to_owned(),
                ..JoinGroupResponse::default()
            };
        }
    };
    let members = joined.members.into_iter().map(|member| JoinGroupResponseMember {
        member_id: member.member.to_string(),
        group_instance_id: member.instance.as_deref().map(str::to_owned),
        metadata: member.metadata,
    });
    JoinGroupResponse {
        generation_id: joined.generation.value(),
        protocol_type: joined.protocol_type.as_deref().map(str::to_owned),
        protocol_name: joined.protocol.as_deref().map(str::to_owned),
        leader: joined.leader.as_deref().unwrap_or_default().to_owned(),
        skip_assignment: joined.skip_assignment,
        member_id: joined.member.to_string(),
        members: members.collect(),
        ..JoinGroupResponse::default()
    }
}

/// A refusal of the whole is one of each partition: here one that the request need not have named.
fn commit_from_ledger(
    result: Result<Vec<ledger::TopicResults>, ErrorCode>,
) -> OffsetCommitResponse {
    let partition = |(partition_index, error_code): (PartitionIndex, ErrorCode)| {
        OffsetCommitResponsePartition { partition_index, error_code }
    };
    let refused = |error| {
        let partitions = vec![(PartitionIndex::new(0), error)];
        vec![ledger::TopicResults { topic: topic("any"), partitions }]
    };
    let topics = result.unwrap_or_else(refused).into_iter().map(|of| OffsetCommitResponseTopic {
        name: of.topic.name.to_string(),
        partitions: of.partitions.into_iter().map(partition).collect(),
        ..OffsetCommitResponseTopic::default()
    });
    OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
}

fn group_from_ledger(result: Result<Vec<ledger::FetchedTopic>, ErrorCode>) -> OffsetFetchResponse {
    let fetched = fetch_from_ledger(result);
    let topics = fetched.topics.into_iter().map(|topic| OffsetFetchResponseTopics {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| OffsetFetchResponsePartitions {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                ..OffsetFetchResponsePartitions::default()
            })
            .collect(),
        ..OffsetFetchResponseTopics::default()
    });
    let group = OffsetFetchResponseGroup {
        group_id: "g".to_owned(),
        topics: topics.collect(),
        error_code: fetched.error_code,
    };
    OffsetFetchResponse { groups: vec![group], ..OffsetFetchResponse::default() }
}

fn fetch_from_ledger(result: Result<Vec<ledger::FetchedTopic>, ErrorCode>) -> OffsetFetchResponse {
    let topics = match result {
        Ok(topics) => topics,
        Err(error_code) => {
            return OffsetFetchResponse { error_code, ..OffsetFetchResponse::default() };
        }
    };
    let topics = topics.into_iter().map(|of_topic| OffsetFetchResponseTopic {
        name: of_topic.topic.name.to_string(),
        partitions: of_topic
            .partitions
            .into_iter()
            .map(|(partition_index, committed)| OffsetFetchResponsePartition {
                partition_index,
                committed_offset: committed.map(|committed| committed.offset),
                ..OffsetFetchResponsePartition::default()
            })
            .collect(),
    });
    OffsetFetchResponse { topics: topics.collect(), ..OffsetFetchResponse::default() }
}
