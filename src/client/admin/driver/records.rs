//! What the admin client asks of records: that old ones go.

use std::collections::BTreeMap;

use super::by_leader::{Answers, Led};
use super::{Admin, by_topic, succeeded};
use crate::client::error::ClientError;
use crate::protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use crate::protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse, Message};
use crate::types::{ErrorCode, Offset, TopicPartition};

/// Stands for the high watermark where records are deleted (Kafka: `DeleteRecordsRequest.HIGH_WATERMARK`).
const UP_TO_HIGH_WATERMARK: i64 = -1;

/// What is to be deleted: everything below an offset, or all that is committed.
type Wanted = BTreeMap<TopicPartition, Option<Offset>>;

impl Admin {
    /// Removes what lies below an offset of each partition, or with `None` all that is committed, at all its replicas (KIP-107). Returns
    /// where each log begins then: the lowest start among the live replicas.
    ///
    /// Each partition has an answer of its own; some may be done where others are refused. Errors: [`ClientError::Answer`] with
    /// `OFFSET_OUT_OF_RANGE` (beyond the high watermark), `POLICY_VIOLATION` (the topic is only compacted), `INVALID_TOPIC_EXCEPTION` (an
    /// internal topic), `UNKNOWN_TOPIC_OR_PARTITION`, …; [`ClientError::InvalidPartition`];
    /// [`ClientError::TimedOut`] after `default.api.timeout.ms`: the leader may have removed it, and not yet every follower.
    ///
    /// Kafka: `Admin.deleteRecords`, `DeleteRecordsHandler`.
    pub async fn delete_records(&self, wanted: &Wanted) -> Answers<Offset> {
        let question = |led: &[Led]| {
            let one = |at: &TopicPartition| DeleteRecordsPartition {
                partition_index: at.partition,
                offset: wanted
                    .get(at)
                    .copied()
                    .flatten()
                    .map_or(UP_TO_HIGH_WATERMARK, Offset::value),
            };
            let topics = by_topic(led.iter().map(|(at, _)| (at, one(at))));
            let topic = |(name, partitions)| DeleteRecordsTopic { name, partitions };
            let topics = topics.into_iter().map(topic).collect();
            DeleteRecordsRequest { topics, timeout_ms: self.timeout_ms() }
        };
        let partitions = wanted.keys().cloned().collect();
        self.ask_leaders(partitions, DeleteRecordsRequest::VERSIONS, question, deleted).await
    }
}

fn deleted(response: DeleteRecordsResponse) -> Answers<Offset> {
    let mut answers = Answers::new();
    for topic in response.topics {
        let name = topic.name.as_str();
        for one in topic.partitions {
            let at = TopicPartition { topic: name.into(), partition: one.partition_index };
            let begins = succeeded(one.error_code, None).and_then(|()| {
                one.low_watermark.ok_or_else(|| ClientError::Answer {
                    error: ErrorCode::UnknownServerError,
                    message: Some(format!("the answer does not say where {at} begins")),
                })
            });
            answers.insert(at, begins);
        }
    }
    answers
}
