//! ConsumerGroupHeartbeat: a member of a consumer group comes, says what it reads and has, hears what it is to have, and goes (KIP-848).
//!
//! Kafka: `KafkaApis.handleConsumerGroupHeartbeat`, `GroupCoordinatorService.consumerGroupHeartbeat`.

use std::time::Duration;

use super::Call;
use super::group_words::{client_host, client_id, instance_id, member_id, millis};
use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::request::{ConsumerGroupHeartbeat, HeartbeatAnswer, HeartbeatEpoch};
use crate::coordinator::group::{Reply, Request, TopicPattern};
use crate::protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use crate::protocol::messages::consumer_group_heartbeat_response as response;
use crate::protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use crate::types::ErrorCode;

/// Members bring their own ids from this version on (KIP-1082).
const VERSION_OF_OWN_IDS: i16 = 1;

pub(super) async fn handle(
    call: &Call<'_>,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    if !call.broker.serves_consumer_protocol(&call.broker.image()) {
        return refused(&request, ErrorCode::UnsupportedVersion);
    }
    let Some(heartbeat) = heartbeat(call, &request) else {
        return refused(&request, ErrorCode::InvalidRequest);
    };
    let asked = call.broker.groups.ask(Request::ConsumerGroupHeartbeat(heartbeat)).await;
    let Reply::ConsumerGroupHeartbeat(result) = asked else {
        unreachable!("a ConsumerGroupHeartbeat is answered as one");
    };
    match result {
        Ok(answer) => answered(answer),
        Err(error) => refused(&request, error),
    }
}

/// What the coordinator is asked. `None` where the epoch is none.
fn heartbeat(
    call: &Call<'_>,
    request: &ConsumerGroupHeartbeatRequest,
) -> Option<ConsumerGroupHeartbeat> {
    let epoch = match request.member_epoch {
        0 => HeartbeatEpoch::Join,
        -1 => HeartbeatEpoch::Leave,
        -2 => HeartbeatEpoch::LeaveForAWhile,
        epoch if epoch > 0 => HeartbeatEpoch::At(epoch),
        _ => return None,
    };
    let text = |said: &Option<String>| said.as_deref().map(Into::into);
    let names = request.subscribed_topic_names.as_ref();
    Some(ConsumerGroupHeartbeat {
        group: request.group_id.as_str().into(),
        member: member_id(&request.member_id),
        may_lack_member_id: call.version() < VERSION_OF_OWN_IDS,
        epoch,
        instance: instance_id(request.instance_id.as_ref()),
        rack: text(&request.rack_id),
        client_id: client_id(call),
        client_host: client_host(call),
        // −1: as before.
        rebalance_timeout: (request.rebalance_timeout_ms != -1)
            .then(|| millis(request.rebalance_timeout_ms)),
        topics: names.map(|names| names.iter().map(|name| name.as_str().into()).collect()),
        topic_regex: text(&request.subscribed_topic_regex),
        assignor: text(&request.server_assignor),
        owned: request.topic_partitions.as_deref().map(owned),
    })
}

fn owned(topics: &[TopicPartitions]) -> Assignment {
    let mut owned = Assignment::new();
    for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        owned.entry(topic.topic_id).or_default().extend(&topic.partitions);
    }
    owned
}

fn answered(answer: HeartbeatAnswer) -> ConsumerGroupHeartbeatResponse {
    let assignment = answer.assignment.map(|assignment| {
        let topics = assignment.into_iter().map(|(topic_id, partitions)| {
            let partitions = partitions.into_iter().collect();
            response::TopicPartitions { topic_id, partitions }
        });
        response::Assignment { topic_partitions: topics.collect() }
    });
    // Who left has nothing more to send.
    let interval = if answer.member_epoch < 0 { Duration::ZERO } else { answer.interval };
    ConsumerGroupHeartbeatResponse {
        member_id: Some(answer.member.to_string()),
        member_epoch: answer.member_epoch,
        heartbeat_interval_ms: i32::try_from(interval.as_millis()).unwrap_or(i32::MAX),
        assignment,
        ..Default::default()
    }
}

fn refused(
    request: &ConsumerGroupHeartbeatRequest,
    error_code: ErrorCode,
) -> ConsumerGroupHeartbeatResponse {
    let error_message = why(request, error_code);
    ConsumerGroupHeartbeatResponse { error_code, error_message, ..Default::default() }
}

/// What a person is told: clients print it.
fn why(request: &ConsumerGroupHeartbeatRequest, error: ErrorCode) -> Option<String> {
    let (group, member, epoch) = (&request.group_id, &request.member_id, request.member_epoch);
    let instance = request.instance_id.as_deref().unwrap_or_default();
    let text = if error == ErrorCode::UnsupportedVersion {
        "The consumer group protocol is off: the cluster's group.version is 0, or the broker's \
         group.coordinator.rebalance.protocols leaves it out."
            .to_owned()
    } else if error == ErrorCode::InvalidRequest {
        invalid(request).to_owned()
    } else if error == ErrorCode::InvalidRegularExpression {
        let expression = request.subscribed_topic_regex.as_deref().unwrap_or_default();
        let why = TopicPattern::new(expression).err().unwrap_or_default();
        format!("SubscribedTopicRegex `{expression}` is not a valid regular expression: {why}.")
    } else if error == ErrorCode::UnsupportedAssignor {
        let assignor = request.server_assignor.as_deref().unwrap_or_default();
        format!("ServerAssignor {assignor} is not supported: see group.consumer.assignors.")
    } else if error == ErrorCode::GroupIdNotFound {
        format!(
            "Group {group} is not a consumer group: there is none, or it has members of the classic \
             protocol, who must leave first."
        )
    } else if error == ErrorCode::GroupMaxSizeReached {
        format!("The consumer group {group} has reached its maximum capacity.")
    } else if error == ErrorCode::UnknownMemberId {
        format!("Member {member} is not a member of group {group}.")
    } else if error == ErrorCode::FencedMemberEpoch {
        format!(
            "Member {member} is not in epoch {epoch} of group {group}: it must give up its \
             partitions and join again."
        )
    } else if error == ErrorCode::UnreleasedInstanceId {
        format!("Another member of group {group} has the instance id {instance} and did not leave.")
    } else if error == ErrorCode::FencedInstanceId {
        format!("Another member of group {group} has the instance id {instance} now.")
    } else {
        return None;
    };
    Some(text)
}

/// What is wrong with a request that is refused whatever the group is (Kafka:
/// `GroupCoordinatorService.throwIfConsumerGroupHeartbeatRequestIsInvalid`).
fn invalid(request: &ConsumerGroupHeartbeatRequest) -> &'static str {
    let is_blank = |text: &Option<String>| text.as_deref() == Some("");
    if request.group_id.is_empty() {
        "GroupId can't be empty."
    } else if is_blank(&request.instance_id) {
        "InstanceId can't be empty."
    } else if is_blank(&request.rack_id) {
        "RackId can't be empty."
    } else if request.member_epoch < -2 {
        "MemberEpoch is invalid."
    } else if request.member_epoch == 0 && request.rebalance_timeout_ms == -1 {
        "RebalanceTimeoutMs must be provided in first request."
    } else if request.member_epoch == 0
        && request.topic_partitions.as_ref().is_none_or(|topics| !topics.is_empty())
    {
        "TopicPartitions must be empty when (re-)joining."
    } else if request.member_epoch == 0
        && request.subscribed_topic_names.is_none()
        && request.subscribed_topic_regex.is_none()
    {
        "SubscribedTopicNames or SubscribedTopicRegex must be set in first request."
    } else if request.member_epoch == -2 && request.instance_id.is_none() {
        "InstanceId can't be null."
    } else {
        "MemberId can't be empty."
    }
}
