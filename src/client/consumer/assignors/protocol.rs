//! What members of a group tell each other through the coordinator, which hands the bytes on and does not read them.
//!
//! Each begins with its version. A newer one than ours is read as ours: later versions only add fields at the end. Versions 0 to 3 of
//! both formats exist: the first added what is held, the second the generation, the third the rack.
//!
//! Kafka: `ConsumerProtocol`, `ConsumerProtocolSubscription.json`, `ConsumerProtocolAssignment.json`, and the schemas in `StickyAssignor`
//! and `CooperativeStickyAssignor`.

use std::sync::Arc;

use bytes::Bytes;

use super::{Assignment, Subscription};
use crate::protocol::coordinator_records::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, consumer_protocol_assignment,
    consumer_protocol_subscription,
};
use crate::protocol::messages::Message;
use crate::protocol::wire::{DecodeError, DecodeProblem, EncodeError, Reader, Writer};
use crate::types::{GenerationId, PartitionIndex};

/// What groups of consumers are for, in `JoinGroup` (Kafka: `ConsumerProtocol.PROTOCOL_TYPE`).
pub const PROTOCOL_TYPE: &str = "consumer";

/// The version in which Kafka's consumer writes both formats.
pub const NEWEST: i16 = 3;

/// What stands for no generation.
const NO_GENERATION: i32 = -1;

/// The fewest bytes of a topic with its partitions.
const TOPIC_BYTES_MIN: usize = 6;

/// The bytes of a subscription. What the version lacks is left out.
///
/// Errors: a topic's name or the rack's is too long, or the version is not one of 0 to 3.
pub fn subscription_bytes(subscription: &Subscription, version: i16) -> Result<Bytes, EncodeError> {
    let owned = subscription.owned.iter().map(|(topic, partitions)| {
        consumer_protocol_subscription::TopicPartition {
            topic: topic.to_string(),
            partitions: partitions.iter().copied().collect(),
        }
    });
    let message = ConsumerProtocolSubscription {
        topics: subscription.topics.iter().map(ToString::to_string).collect(),
        user_data: subscription.user_data.clone(),
        owned_partitions: owned.collect(),
        generation_id: subscription.generation.map_or(NO_GENERATION, GenerationId::value),
        rack_id: subscription.rack.as_deref().map(str::to_owned),
    };
    versioned_bytes(version, &message)
}

/// Reads a subscription. Takes bytes of unknown origin.
///
/// Errors: the bytes end too early, or hold a version or number below 0.
pub fn read_subscription(bytes: Bytes) -> Result<Subscription, DecodeError> {
    let message: ConsumerProtocolSubscription = read_versioned(bytes)?;
    let owned = message.owned_partitions.into_iter().map(|of| (of.topic, of.partitions));
    Ok(Subscription {
        topics: message.topics.into_iter().map(Arc::from).collect(),
        user_data: message.user_data,
        owned: collect(owned),
        generation: GenerationId::from_wire(message.generation_id),
        rack: message.rack_id.filter(|rack| !rack.is_empty()).map(Arc::from),
    })
}

/// The bytes of what a member gets.
///
/// Errors: as of [`subscription_bytes`].
pub fn assignment_bytes(assignment: &Assignment, version: i16) -> Result<Bytes, EncodeError> {
    let assigned =
        assignment.iter().map(|(topic, partitions)| consumer_protocol_assignment::TopicPartition {
            topic: topic.to_string(),
            partitions: partitions.iter().copied().collect(),
        });
    let message =
        ConsumerProtocolAssignment { assigned_partitions: assigned.collect(), user_data: None };
    versioned_bytes(version, &message)
}

/// Reads what a member gets. Takes bytes of unknown origin.
///
/// Errors: as of [`read_subscription`].
pub fn read_assignment(bytes: Bytes) -> Result<Assignment, DecodeError> {
    let message: ConsumerProtocolAssignment = read_versioned(bytes)?;
    let assigned = message.assigned_partitions.into_iter().map(|of| (of.topic, of.partitions));
    Ok(collect(assigned))
}

/// What a sticky member had, for the leader: it gave it up before it joined.
///
/// Errors: a topic's name is too long.
pub(super) fn sticky_user_data(
    assignment: &Assignment,
    generation: Option<GenerationId>,
) -> Result<Bytes, EncodeError> {
    let mut out = Writer::new();
    out.at("StickyAssignor.previous_assignment");
    out.length(assignment.len(), false)?;
    for (topic, partitions) in assignment {
        out.string(topic, false)?;
        out.length(partitions.len(), false)?;
        for partition in partitions {
            out.int32(partition.value());
        }
    }
    out.int32(generation.map_or(NO_GENERATION, GenerationId::value));
    Ok(one_piece(out))
}

/// Reads what [`sticky_user_data`] wrote, or an older member that did not say its generation. What cannot be read says nothing.
pub(super) fn read_sticky_user_data(
    subscription: &Subscription,
) -> (Assignment, Option<GenerationId>) {
    let Some(bytes) = &subscription.user_data else { return Default::default() };
    let mut input = Reader::new(bytes.clone());
    let topics = input.list(false, TOPIC_BYTES_MIN, |input| {
        let topic = input.string(false)?;
        let partitions = input.list(false, size_of::<i32>(), Reader::typed::<PartitionIndex>)?;
        Ok((topic, partitions))
    });
    let Ok(topics) = topics else { return Default::default() };
    let generation = input.int32().ok().and_then(GenerationId::from_wire);
    (collect(topics.into_iter()), generation)
}

/// The last generation of a cooperative member, for leaders that do not know version 2.
pub(super) fn cooperative_user_data(generation: Option<GenerationId>) -> Bytes {
    let generation = generation.map_or(NO_GENERATION, GenerationId::value);
    Bytes::copy_from_slice(&generation.to_be_bytes())
}

/// Reads what [`cooperative_user_data`] wrote.
pub(super) fn read_cooperative_user_data(subscription: &Subscription) -> Option<GenerationId> {
    let mut input = Reader::new(subscription.user_data.clone()?);
    input.int32().ok().and_then(GenerationId::from_wire)
}

fn collect(topics: impl Iterator<Item = (String, Vec<PartitionIndex>)>) -> Assignment {
    let mut assignment = Assignment::new();
    for (topic, partitions) in topics.filter(|(_, partitions)| !partitions.is_empty()) {
        assignment.entry(topic.into()).or_default().extend(partitions);
    }
    assignment
}

fn versioned_bytes<M: Message>(version: i16, message: &M) -> Result<Bytes, EncodeError> {
    let mut out = Writer::new();
    out.int16(version);
    message.encode(version, &mut out)?;
    Ok(one_piece(out))
}

fn one_piece(out: Writer) -> Bytes {
    let mut slices = out.finish();
    let bytes = slices.pop().expect("a number was written");
    assert!(slices.is_empty(), "what members tell each other holds no record batches");
    bytes
}

fn read_versioned<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut input = Reader::new(bytes);
    input.at(M::NAME);
    let version = input.int16()?;
    if version < 0 {
        return Err(input.error(DecodeProblem::Version(version)));
    }
    M::decode(version.min(M::VERSIONS.max), &mut input)
}
