//! OffsetFetch: how far groups have read. Before version 8 it is one group, and from version 10 on topics are named by id.
//!
//! `RequireStable` changes nothing here: a reply always waits until all that it speaks of is committed, and there are no transactions yet.
//!
//! Kafka: `KafkaApis.handleOffsetFetchRequest`, `OffsetFetchResponse`.

use super::Call;
use super::group_words::{find_topic, member_id};
use crate::coordinator::group::request::{CommittedOffset, FetchOffsets, FetchedTopic, Topic};
use crate::coordinator::group::{Reply, Request};
use crate::metadata::MetadataImage;
use crate::protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic,
};
use crate::protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use crate::types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId, Uuid};

/// The answer has an error of its own from this version on; before, each partition has it.
const VERSION_OF_GROUP_ERRORS: i16 = 2;
/// Several groups are asked for at once from this version on (KIP-709).
const VERSION_OF_BATCHES: i16 = 8;
/// Topics are named by id from this version on (KIP-848).
const VERSION_OF_TOPIC_IDS: i16 = 10;

pub(super) async fn handle(call: &Call<'_>, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if call.version() < VERSION_OF_BATCHES {
        return one_group(call, request).await;
    }
    let image = call.broker.image();
    let by_id = call.version() >= VERSION_OF_TOPIC_IDS;
    let asked: Vec<_> = request.groups.iter().map(|group| fetch(&image, by_id, group)).collect();
    let names = request.groups.iter().map(|group| group.group_id.as_str());
    let requests = names.zip(asked.into_iter().map(Request::FetchOffsets));
    let replies = call.broker.groups.ask_each(requests).await;
    let groups = request.groups.into_iter().zip(replies);
    let groups = groups.map(|(group, reply)| group_response(&image, by_id, group, reply));
    OffsetFetchResponse { groups: groups.collect(), ..Default::default() }
}

async fn one_group(call: &Call<'_>, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let topics = request.topics.as_ref().map(|topics| {
        let named = topics.iter().map(|topic| {
            let name = topic.name.as_str().into();
            (Topic { name, id: None }, topic.partition_indexes.clone())
        });
        named.collect()
    });
    let group = request.group_id.into();
    let fetch = FetchOffsets { group, member: None, member_epoch: None, topics };
    match fetched(call.broker.groups.ask(Request::FetchOffsets(fetch)).await) {
        Ok(topics) => OffsetFetchResponse {
            topics: topics.into_iter().map(topic_of_one_group).collect(),
            ..Default::default()
        },
        Err(error) if call.version() < VERSION_OF_GROUP_ERRORS => {
            let topics = request.topics.into_iter().flatten();
            let topics = topics.map(|topic| refused_of_one_group(topic, error)).collect();
            OffsetFetchResponse { topics, ..Default::default() }
        }
        Err(error_code) => OffsetFetchResponse { error_code, ..Default::default() },
    }
}

fn fetched(reply: Reply) -> Result<Vec<FetchedTopic>, ErrorCode> {
    let Reply::FetchOffsets(result) = reply else {
        unreachable!("an OffsetFetch is answered as one");
    };
    result
}

fn topic_of_one_group(fetched: FetchedTopic) -> OffsetFetchResponseTopic {
    let partitions = fetched.partitions.into_iter();
    let partitions = partitions.map(|(partition_index, committed)| {
        let (committed_offset, committed_leader_epoch, metadata) = parts(committed);
        OffsetFetchResponsePartition {
            partition_index,
            committed_offset,
            committed_leader_epoch,
            metadata,
            error_code: ErrorCode::None,
        }
    });
    OffsetFetchResponseTopic {
        name: fetched.topic.name.to_string(),
        partitions: partitions.collect(),
    }
}

fn refused_of_one_group(
    topic: OffsetFetchRequestTopic,
    error_code: ErrorCode,
) -> OffsetFetchResponseTopic {
    let partitions = topic.partition_indexes.into_iter();
    let partitions = partitions.map(|partition_index| OffsetFetchResponsePartition {
        partition_index,
        metadata: Some(String::new()),
        error_code,
        ..Default::default()
    });
    OffsetFetchResponseTopic { name: topic.name, partitions: partitions.collect() }
}

/// What the coordinator is asked: topics whose ids are not known are left out.
fn fetch(image: &MetadataImage, by_id: bool, group: &OffsetFetchRequestGroup) -> FetchOffsets {
    let topics = group.topics.as_ref().map(|topics| {
        let known = topics.iter().filter_map(|topic| {
            let name = named(image, by_id, &topic.name, topic.topic_id)?;
            Some((name, topic.partition_indexes.clone()))
        });
        known.collect()
    });
    FetchOffsets {
        group: group.group_id.as_str().into(),
        member: group.member_id.as_deref().and_then(member_id),
        member_epoch: (group.member_epoch >= 0).then_some(group.member_epoch),
        topics,
    }
}

/// A topic that is asked for. By name it need not exist: nothing is committed of it then.
fn named(image: &MetadataImage, by_id: bool, name: &str, id: TopicId) -> Option<Topic> {
    if by_id {
        find_topic(image, by_id, name, id).ok().map(|(topic, _)| topic)
    } else {
        Some(Topic { name: name.into(), id: None })
    }
}

fn group_response(
    image: &MetadataImage,
    by_id: bool,
    group: OffsetFetchRequestGroup,
    reply: Reply,
) -> OffsetFetchResponseGroup {
    let group_id = group.group_id;
    let fetched = match fetched(reply) {
        Ok(fetched) => fetched,
        Err(error_code) => {
            return OffsetFetchResponseGroup { group_id, error_code, ..Default::default() };
        }
    };
    let topics = match group.topics {
        None => {
            let shown = fetched.into_iter().filter_map(|topic| of_all(image, by_id, topic));
            shown.collect()
        }
        Some(asked) => {
            let mut fetched = fetched.into_iter();
            let topics = asked.into_iter().map(|topic| {
                let known = named(image, by_id, &topic.name, topic.topic_id);
                match known.and_then(|_| fetched.next()) {
                    Some(found) => fetched_topic(topic.name, topic.topic_id, found.partitions),
                    None => unknown_topic(topic.topic_id, topic.partition_indexes),
                }
            });
            topics.collect()
        }
    };
    OffsetFetchResponseGroup { group_id, topics, error_code: ErrorCode::None }
}

/// A topic where all were asked for. By id only one that exists, and that it was committed of.
fn of_all(
    image: &MetadataImage,
    by_id: bool,
    fetched: FetchedTopic,
) -> Option<OffsetFetchResponseTopics> {
    let FetchedTopic { topic, partitions } = fetched;
    if !by_id {
        return Some(fetched_topic(topic.name.to_string(), Uuid::ZERO, partitions));
    }
    let id = image.topic(&topic.name)?.topic_id;
    let is_same = topic.id.is_none_or(|committed| committed == id);
    is_same.then(|| fetched_topic(String::new(), id, partitions))
}

fn fetched_topic(
    name: String,
    topic_id: TopicId,
    partitions: Vec<(PartitionIndex, Option<CommittedOffset>)>,
) -> OffsetFetchResponseTopics {
    let partitions = partitions.into_iter().map(|(partition_index, committed)| {
        let (committed_offset, committed_leader_epoch, metadata) = parts(committed);
        OffsetFetchResponsePartitions {
            partition_index,
            committed_offset,
            committed_leader_epoch,
            metadata,
            error_code: ErrorCode::None,
        }
    });
    OffsetFetchResponseTopics { name, topic_id, partitions: partitions.collect() }
}

fn unknown_topic(topic_id: TopicId, partitions: Vec<PartitionIndex>) -> OffsetFetchResponseTopics {
    let partitions = partitions.into_iter().map(|partition_index| OffsetFetchResponsePartitions {
        partition_index,
        metadata: Some(String::new()),
        error_code: ErrorCode::UnknownTopicId,
        ..Default::default()
    });
    OffsetFetchResponseTopics { topic_id, partitions: partitions.collect(), ..Default::default() }
}

type Parts = (Option<Offset>, Option<LeaderEpoch>, Option<String>);

/// What is told of an offset; where nothing is committed the metadata are empty, not missing.
fn parts(committed: Option<CommittedOffset>) -> Parts {
    match committed {
        Some(one) => (Some(one.offset), one.leader_epoch, Some(one.metadata.to_string())),
        None => (None, None, Some(String::new())),
    }
}
