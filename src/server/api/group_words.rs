//! What the groups' APIs have in common: how the wire's words become the coordinator's.

use std::sync::Arc;
use std::time::Duration;

use super::Call;
use crate::coordinator::group::request::{InstanceId, MemberId, Topic};
use crate::metadata::{MetadataImage, TopicImage};
use crate::types::{ErrorCode, PartitionIndex, TopicId};

/// A member's id; the empty one is none.
pub(super) fn member_id(id: &str) -> Option<MemberId> {
    (!id.is_empty()).then(|| id.into())
}

/// A static member's name.
pub(super) fn instance_id(id: Option<&String>) -> Option<InstanceId> {
    id.map(|id| id.as_str().into())
}

/// A span as the wire has it; a negative one is none at all.
pub(super) fn millis(millis: impl TryInto<u64>) -> Duration {
    Duration::from_millis(millis.try_into().unwrap_or(0))
}

/// What the client calls itself.
pub(super) fn client_id(call: &Call<'_>) -> Arc<str> {
    call.head.header.client_id.as_deref().unwrap_or_default().into()
}

/// From where it connects, as Java prints addresses.
pub(super) fn client_host(call: &Call<'_>) -> Arc<str> {
    format!("/{}", call.source.peer.ip()).into()
}

/// The topic of a request that names it by id or, in older versions, by name.
///
/// Errors: `UNKNOWN_TOPIC_ID`, `UNKNOWN_TOPIC_OR_PARTITION`.
pub(super) fn find_topic<'a>(
    image: &'a MetadataImage,
    by_id: bool,
    name: &str,
    id: TopicId,
) -> Result<(Topic, &'a Arc<TopicImage>), ErrorCode> {
    if by_id {
        let topic = image.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId)?;
        Ok((Topic { name: topic.name.clone(), id: Some(id) }, topic))
    } else {
        let topic = image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        Ok((Topic { name: topic.name.clone(), id: None }, topic))
    }
}

/// What becomes of the partitions of a request, in its order: refused here, or decided by the coordinator.
pub(super) struct Verdicts(Vec<(PartitionIndex, Option<ErrorCode>)>);

impl Verdicts {
    /// With nothing said yet.
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// The next partition: refused here with `error`, or left to the coordinator.
    pub(super) fn push(&mut self, partition: PartitionIndex, error: Option<ErrorCode>) {
        self.0.push((partition, error));
    }

    /// Each partition and what became of it. `decided` are the coordinator's answers, in the same order.
    pub(super) fn with(
        self,
        mut decided: impl Iterator<Item = ErrorCode>,
    ) -> impl Iterator<Item = (PartitionIndex, ErrorCode)> {
        self.0.into_iter().map(move |(partition, refused)| {
            let error = refused.or_else(|| decided.next());
            (partition, error.expect("the coordinator answers for each partition"))
        })
    }
}
