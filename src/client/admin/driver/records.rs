//! What the admin client asks of records: that old ones go.

use std::collections::{BTreeMap, BTreeSet};

use super::{Admin, Tries, by_topic, lacks, succeeded};
use crate::client::cluster_view::Target;
use crate::client::error::ClientError;
use crate::protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use crate::protocol::messages::metadata_response::MetadataResponseTopic;
use crate::protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse, Message, Request};
use crate::rpc::network_client::RpcError;
use crate::types::{BrokerId, ErrorCode, Offset, TopicPartition};

/// Stands for the high watermark where records are deleted (Kafka: `DeleteRecordsRequest.HIGH_WATERMARK`).
const UP_TO_HIGH_WATERMARK: i64 = -1;

/// What is to be deleted: everything below an offset, or all that is committed.
type Wanted = BTreeMap<TopicPartition, Option<Offset>>;
type Answers = BTreeMap<TopicPartition, Result<Offset, ClientError>>;

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
    pub async fn delete_records(&self, wanted: &Wanted) -> Answers {
        let mut tries = Tries::new(self, DeleteRecordsRequest::API.name());
        let mut answers = Answers::new();
        loop {
            let open: Wanted = wanted
                .iter()
                .filter(|(at, _)| !answers.contains_key(*at))
                .map(|(at, before)| (at.clone(), *before))
                .collect();
            if open.is_empty() {
                return answers;
            }
            let not_yet = self.delete_where_led(&open, &tries, &mut answers).await;
            if open.keys().all(|at| answers.contains_key(at)) {
                return answers;
            }
            if let Err(error) = tries.failed(self, not_yet).await {
                let left = open.into_keys().filter(|at| !answers.contains_key(at));
                let failed: Vec<_> = left.map(|at| (at, Err(error.clone()))).collect();
                answers.extend(failed);
                return answers;
            }
        }
    }

    /// Asks each leader once for what is open. Returns why something still is.
    async fn delete_where_led(
        &self,
        open: &Wanted,
        tries: &Tries,
        answers: &mut Answers,
    ) -> String {
        let mut not_yet = String::new();
        let led = match self.leaders_of(open, answers, &mut not_yet).await {
            Ok(led) => led,
            Err(error) => {
                answers.extend(open.keys().map(|at| (at.clone(), Err(error.clone()))));
                return not_yet;
            }
        };
        for (target, partitions) in led.into_values() {
            let request = request_of(open, &partitions, self.timeout_ms());
            let versions = DeleteRecordsRequest::VERSIONS;
            match self.call(&target, request, versions, tries).await {
                Ok(response) => {
                    self.state().view.on_node_answered(target.node);
                    for at in partitions {
                        match answer_of(&response, &at) {
                            Err(ClientError::Answer { error, .. }) if error.is_retriable() => {
                                not_yet = format!("{at}: {error}");
                            }
                            answer => drop(answers.insert(at, answer)),
                        }
                    }
                }
                Err(RpcError::UnsupportedVersion { api }) => {
                    let error = ClientError::UnsupportedVersion { api: api.to_string() };
                    answers.extend(partitions.into_iter().map(|at| (at, Err(error.clone()))));
                }
                Err(error) => {
                    self.state().view.on_node_failed(target.node);
                    not_yet = error.to_string();
                }
            }
        }
        not_yet
    }

    /// Whom to ask for which of the open partitions. What is not there is answered here; `not_yet` says who is led by nobody.
    ///
    /// Errors: nobody tells who leads.
    async fn leaders_of(
        &self,
        open: &Wanted,
        answers: &mut Answers,
        not_yet: &mut String,
    ) -> Result<BTreeMap<BrokerId, (Target, Vec<TopicPartition>)>, ClientError> {
        for at in open.keys() {
            self.state().view.want(&at.topic);
        }
        let names: BTreeSet<&str> = open.keys().map(|at| &*at.topic).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let response = self.metadata(Some(&names)).await?;
        let mut led: BTreeMap<BrokerId, (Target, Vec<TopicPartition>)> = BTreeMap::new();
        for at in open.keys() {
            let topic = response.topics.iter().find(|one| one.name.as_deref() == Some(&*at.topic));
            if let Err(error) = is_there(at, topic) {
                answers.insert(at.clone(), Err(error));
                continue;
            }
            let target = {
                let view = &self.state().view;
                view.leader(at).and_then(|leader| Some((leader, view.broker(leader)?)))
            };
            match target {
                Some((leader, target)) => {
                    led.entry(leader).or_insert((target, Vec::new())).1.push(at.clone());
                }
                None => *not_yet = format!("{at} has no leader"),
            }
        }
        Ok(led)
    }
}

fn is_there(at: &TopicPartition, topic: Option<&MetadataResponseTopic>) -> Result<(), ClientError> {
    let topic = topic.ok_or_else(|| lacks(&format!("topic {}", at.topic)))?;
    succeeded(topic.error_code, Some(format!("topic {}", at.topic)))?;
    if topic.partitions.iter().any(|one| one.partition_index == at.partition) {
        return Ok(());
    }
    Err(ClientError::InvalidPartition {
        topic: at.topic.to_string(),
        partition: at.partition.value(),
        partitions: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
    })
}

fn request_of(
    open: &Wanted,
    partitions: &[TopicPartition],
    timeout_ms: i32,
) -> DeleteRecordsRequest {
    let one = |at: &TopicPartition| DeleteRecordsPartition {
        partition_index: at.partition,
        offset: open.get(at).copied().flatten().map_or(UP_TO_HIGH_WATERMARK, Offset::value),
    };
    let topics = by_topic(partitions.iter().map(|at| (at, one(at))));
    let topic = |(name, partitions)| DeleteRecordsTopic { name, partitions };
    DeleteRecordsRequest { topics: topics.into_iter().map(topic).collect(), timeout_ms }
}

fn answer_of(response: &DeleteRecordsResponse, at: &TopicPartition) -> Result<Offset, ClientError> {
    let topic = response.topics.iter().find(|topic| *topic.name == *at.topic);
    let mut answers = topic.into_iter().flat_map(|topic| &topic.partitions);
    let answer = answers.find(|one| one.partition_index == at.partition);
    let answer = answer.ok_or_else(|| lacks(&at.to_string()))?;
    succeeded(answer.error_code, None)?;
    answer.low_watermark.ok_or(ClientError::Answer {
        error: ErrorCode::UnknownServerError,
        message: Some(format!("the answer does not say where {at} begins")),
    })
}
