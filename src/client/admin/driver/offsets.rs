//! What the admin client asks of logs: their offsets, and where leader epochs end.

use std::collections::{BTreeMap, BTreeSet};

use super::by_leader::{Answers, Led};
use super::{Admin, by_topic, lacks, succeeded};
use crate::client::admin::{EpochEnd, ListedOffset};
use crate::client::error::ClientError;
use crate::protocol::OffsetSpec;
use crate::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use crate::protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse, Message, OffsetForLeaderEpochRequest,
};
use crate::types::{LeaderEpoch, TopicPartition};

/// Versions before this one do not know the largest timestamp (KIP-734).
const MAX_TIMESTAMP_SINCE: i16 = 7;

impl Admin {
    /// Offsets of partitions, asked of their leaders, in the order of the questions. The end of a log is its high watermark
    /// (`read_uncommitted`).
    ///
    /// Each question has an answer of its own. Errors: [`ClientError::Answer`], [`ClientError::InvalidPartition`],
    /// [`ClientError::UnsupportedVersion`]; [`ClientError::TimedOut`] where no leader answers within `default.api.timeout.ms`.
    ///
    /// Kafka: `Admin.listOffsets`, `ListOffsetsHandler`.
    pub async fn list_offsets(
        &self,
        questions: &[(TopicPartition, OffsetSpec)],
    ) -> Vec<Result<ListedOffset, ClientError>> {
        // A request names each partition once.
        let mut rounds: Vec<BTreeMap<TopicPartition, (usize, OffsetSpec)>> = Vec::new();
        for (index, (at, offset)) in questions.iter().enumerate() {
            let question = (at.clone(), (index, *offset));
            match rounds.iter_mut().find(|round| !round.contains_key(at)) {
                Some(round) => round.extend([question]),
                None => rounds.push(BTreeMap::from([question])),
            }
        }
        let mut answers = BTreeMap::new();
        for round in rounds {
            let mut told = self.list_each(&round).await;
            for (at, (index, _)) in round {
                let answer = told.remove(&at).unwrap_or_else(|| Err(lacks(&at.to_string())));
                answers.insert(index, answer);
            }
        }
        answers.into_values().collect()
    }

    async fn list_each(
        &self,
        wanted: &BTreeMap<TopicPartition, (usize, OffsetSpec)>,
    ) -> Answers<ListedOffset> {
        let mut versions = ListOffsetsRequest::VERSIONS;
        if wanted.values().any(|(_, offset)| *offset == OffsetSpec::MaxTimestamp) {
            versions.min = MAX_TIMESTAMP_SINCE;
        }
        let question = |led: &[Led]| {
            let one = |(at, leader_epoch): &Led| ListOffsetsPartition {
                partition_index: at.partition,
                current_leader_epoch: *leader_epoch,
                timestamp: wanted.get(at).expect("only what is wanted is asked").1,
            };
            let topics = by_topic(led.iter().map(|led| (&led.0, one(led))));
            let topic = |(name, partitions)| ListOffsetsTopic { name, partitions };
            ListOffsetsRequest {
                topics: topics.into_iter().map(topic).collect(),
                timeout_ms: self.timeout_ms(),
                ..ListOffsetsRequest::default()
            }
        };
        let partitions = wanted.keys().cloned().collect();
        self.ask_leaders(partitions, versions, question, listed).await
    }

    /// Where a leader epoch ends (KIP-101), asked of the partition's leader.
    pub async fn offset_for_leader_epoch(
        &self,
        partition: &TopicPartition,
        leader_epoch: LeaderEpoch,
    ) -> Result<EpochEnd, ClientError> {
        let question = |led: &[Led]| {
            let one = |current_leader_epoch| OffsetForLeaderPartition {
                partition: partition.partition,
                current_leader_epoch,
                leader_epoch: Some(leader_epoch),
            };
            let topic = OffsetForLeaderTopic {
                topic: partition.topic.to_string(),
                partitions: led.iter().map(|(_, epoch)| one(*epoch)).collect(),
            };
            OffsetForLeaderEpochRequest {
                topics: vec![topic],
                ..OffsetForLeaderEpochRequest::default()
            }
        };
        let versions = OffsetForLeaderEpochRequest::VERSIONS;
        let wanted = BTreeSet::from([partition.clone()]);
        let mut answers = self
            .ask_leaders(wanted, versions, question, |response| {
                let mut answers = Answers::new();
                for topic in response.topics {
                    let name = topic.topic.as_str();
                    for one in topic.partitions {
                        let at = TopicPartition { topic: name.into(), partition: one.partition };
                        let (leader_epoch, end_offset) = (one.leader_epoch, one.end_offset);
                        let end = EpochEnd { leader_epoch, end_offset };
                        answers.insert(at, succeeded(one.error_code, None).map(|()| end));
                    }
                }
                answers
            })
            .await;
        answers.remove(partition).unwrap_or_else(|| Err(lacks(&partition.to_string())))
    }
}

fn listed(response: ListOffsetsResponse) -> Answers<ListedOffset> {
    let mut answers = Answers::new();
    for topic in response.topics {
        let name = topic.name.as_str();
        for one in topic.partitions {
            let at = TopicPartition { topic: name.into(), partition: one.partition_index };
            let listed = ListedOffset {
                offset: one.offset,
                timestamp: one.timestamp.filter(|time| time.millis() >= 0),
                leader_epoch: one.leader_epoch,
            };
            answers.insert(at, succeeded(one.error_code, None).map(|()| listed));
        }
    }
    answers
}
