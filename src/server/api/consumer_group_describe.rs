//! ConsumerGroupDescribe: groups of the consumer protocol, with their members, what each has and is to have (KIP-848).
//!
//! Kafka: `KafkaApis.handleConsumerGroupDescribe`, `GroupCoordinatorService.consumerGroupDescribe`.

use super::{Call, operations};
use crate::coordinator::group::assignor::Assignment as Owned;
use crate::coordinator::group::request::{DescribedConsumer, DescribedConsumerGroup};
use crate::coordinator::group::{Reply, Request};
use crate::metadata::MetadataImage;
use crate::protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use crate::protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use crate::types::ErrorCode;

/// A member says which protocol it speaks from this version on (KIP-1099).
const VERSION_OF_MEMBER_TYPES: i16 = 1;
/// A member that speaks the classic protocol (Kafka: `ConsumerGroupMember.asConsumerGroupDescribeMember`).
const CLASSIC_MEMBER: i8 = 0;
/// A member that speaks the consumer protocol (Kafka: `ConsumerGroupMember.asConsumerGroupDescribeMember`).
const CONSUMER_MEMBER: i8 = 1;
/// A member of which that is not said.
const UNKNOWN_MEMBER: i8 = -1;

pub(super) async fn handle(
    call: &Call<'_>,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let image = call.broker.image();
    let serves = call.broker.serves_consumer_protocol(&image);
    let refused = |group: &String| match group.is_empty() {
        _ if !serves => Some(ErrorCode::UnsupportedVersion),
        true => Some(ErrorCode::InvalidGroupId),
        false => None,
    };
    let asked = request.group_ids.iter().filter(|group| refused(group).is_none());
    let requests =
        asked.map(|id| (id.as_str(), Request::DescribeConsumerGroups(vec![id.as_str().into()])));
    let replies = call.broker.groups.ask_each(requests.collect::<Vec<_>>()).await;
    let mut described = replies.into_iter().flat_map(|reply| {
        let Reply::DescribeConsumerGroups(described) = reply else {
            unreachable!("a ConsumerGroupDescribe is answered as one");
        };
        described.into_iter().map(|(_, group)| group)
    });
    let show = Show { version: call.version(), image: &image };
    let groups = request.group_ids.iter().map(|id| {
        let group = match refused(id) {
            Some(error) => Err(error),
            None => described.next().expect("each group that was asked for is answered"),
        };
        let mut shown = show.group(id, group);
        if request.include_authorized_operations && shown.error_code.is_none() {
            shown.authorized_operations = operations::GROUP;
        }
        shown
    });
    ConsumerGroupDescribeResponse { groups: groups.collect(), ..Default::default() }
}

/// How groups are shown: with the topics' names as of one moment.
struct Show<'a> {
    version: i16,
    image: &'a MetadataImage,
}

impl Show<'_> {
    fn group(&self, id: &str, group: Result<DescribedConsumerGroup, ErrorCode>) -> DescribedGroup {
        let group_id = id.to_owned();
        match group {
            Ok(group) => DescribedGroup {
                group_id,
                group_state: group.state.name().to_owned(),
                group_epoch: group.epoch,
                assignment_epoch: group.assignment_epoch,
                assignor_name: group.assignor.to_owned(),
                members: group.members.into_iter().map(|member| self.member(member)).collect(),
                ..Default::default()
            },
            Err(error_code) => {
                let is_unknown = error_code == ErrorCode::GroupIdNotFound;
                let error_message =
                    is_unknown.then(|| format!("Group {group_id} is not a consumer group."));
                DescribedGroup { error_code, error_message, group_id, ..Default::default() }
            }
        }
    }

    fn member(&self, member: DescribedConsumer) -> Member {
        let member_type = match member.is_classic {
            _ if self.version < VERSION_OF_MEMBER_TYPES => UNKNOWN_MEMBER,
            true => CLASSIC_MEMBER,
            false => CONSUMER_MEMBER,
        };
        Member {
            member_id: member.member.to_string(),
            instance_id: member.instance,
            rack_id: member.rack,
            member_epoch: member.epoch,
            client_id: member.client_id,
            client_host: member.client_host,
            subscribed_topic_names: member.topics,
            subscribed_topic_regex: member.topic_regex.filter(|regex| !regex.is_empty()),
            assignment: self.assignment(&member.assignment),
            target_assignment: self.assignment(&member.target),
            member_type,
        }
    }

    /// Topics that are gone have no name any more, and are left out.
    fn assignment(&self, owned: &Owned) -> Assignment {
        let topics = owned.iter().filter_map(|(topic_id, partitions)| {
            let topic_name = self.image.topic_by_id(*topic_id)?.name.to_string();
            let partitions = partitions.iter().copied().collect();
            Some(TopicPartitions { topic_id: *topic_id, topic_name, partitions })
        });
        Assignment { topic_partitions: topics.collect() }
    }
}
