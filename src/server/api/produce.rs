//! Produce: record batches into the logs of partitions that this broker leads.
//!
//! All partitions of a request are appended at once, each waits for what `acks` asks, and the answer goes out when the last
//! one is done or the request's time is over. The batches' bytes stay slices of the request's frame, up to the file.

use std::time::Duration;

use super::{Answer, Call, join_all_until};
use crate::protocol::Records;
use crate::protocol::compression::Codec;
use crate::protocol::messages::produce_request::PartitionProduceData;
use crate::protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse,
};
use crate::protocol::messages::{ProduceRequest, ProduceResponse};
use crate::protocol::record_batch::BatchHeader;
use crate::runtime::BoxFuture;
use crate::server::replica_manager::{AppendRefusal, LeaderHint};
use crate::types::{Acks, ErrorCode, PartitionIndex, TopicId, TopicIdPartition};

/// Batches compressed with zstd are taken from this version on (KIP-110).
const VERSION_OF_ZSTD: i16 = 7;
/// Answers tell the leader of a partition that is led elsewhere from this version on (KIP-951).
const VERSION_OF_LEADER_HINTS: i16 = 10;
/// Topics are named by id from this version on (KIP-516).
const VERSION_OF_TOPIC_IDS: i16 = 13;

pub(super) async fn handle(call: &Call<'_>, request: ProduceRequest) -> Answer {
    let acks = acks(request.acks);
    let is_silent = request.acks == 0;
    let response = match check(&request, acks) {
        Ok(acks) => append_all(call, request, acks).await,
        Err((error, message)) => refuse_all(&request, error, message),
    };
    if !is_silent {
        return call.answer(&response);
    }
    // Nobody reads an answer; a closed connection is the only way to tell that something went wrong.
    match first_error(&response) {
        None => Answer::Nothing,
        Some(error) => Answer::close(error, "a produce request with acks=0 failed"),
    }
}

fn acks(wire: i16) -> Option<Acks> {
    match wire {
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        -1 => Some(Acks::All),
        _ => None,
    }
}

fn check(request: &ProduceRequest, acks: Option<Acks>) -> Result<Acks, (ErrorCode, &'static str)> {
    if request.transactional_id.is_some() {
        let message = "Transactions are not supported by this broker yet.";
        return Err((ErrorCode::TransactionalIdAuthorizationFailed, message));
    }
    acks.ok_or((ErrorCode::InvalidRequiredAcks, "acks must be 0, 1 or -1."))
}

fn first_error(response: &ProduceResponse) -> Option<ErrorCode> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions.map(|partition| partition.error_code).find(|error| !error.is_none())
}

fn refuse_all(request: &ProduceRequest, error: ErrorCode, message: &str) -> ProduceResponse {
    let responses = request.topic_data.iter().map(|topic| TopicProduceResponse {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partition_responses: topic
            .partition_data
            .iter()
            .map(|partition| refused(partition.index, error, Some(message.to_owned())))
            .collect(),
    });
    ProduceResponse { responses: responses.collect(), ..Default::default() }
}

fn refused(
    index: PartitionIndex,
    error_code: ErrorCode,
    error_message: Option<String>,
) -> PartitionProduceResponse {
    PartitionProduceResponse { index, error_code, error_message, ..Default::default() }
}

/// A partition's answer, or what to wait for.
type Pending<'a> = BoxFuture<'a, PartitionProduceResponse>;

/// Appends to every partition at once, then waits for all.
async fn append_all(call: &Call<'_>, request: ProduceRequest, acks: Acks) -> ProduceResponse {
    let clock = call.broker.env.clock.as_ref();
    let span = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let deadline = clock.now().monotonic + span;
    let mut topics = Vec::with_capacity(request.topic_data.len());
    let mut appends: Vec<Pending<'_>> = Vec::new();
    for topic in request.topic_data {
        let topic_id = find_topic(call, &topic.name, topic.topic_id);
        let indexes: Vec<PartitionIndex> =
            topic.partition_data.iter().map(|partition| partition.index).collect();
        for partition in topic.partition_data {
            appends.push(Box::pin(append(call, topic_id, partition, acks)));
        }
        topics.push((topic.name, topic.topic_id, indexes));
    }
    let mut answers = join_all_until(clock, deadline, appends).await.into_iter();
    let responses = topics.into_iter().map(|(name, topic_id, indexes)| {
        let answers = indexes.into_iter().zip(answers.by_ref()).map(|(index, answer)| {
            answer.unwrap_or_else(|| refused(index, ErrorCode::RequestTimedOut, None))
        });
        TopicProduceResponse { name, topic_id, partition_responses: answers.collect() }
    });
    ProduceResponse { responses: responses.collect(), ..Default::default() }
}

fn find_topic(call: &Call<'_>, name: &str, topic_id: TopicId) -> Result<TopicId, ErrorCode> {
    let image = call.broker.image();
    if call.version() >= VERSION_OF_TOPIC_IDS {
        image.topic_by_id(topic_id).map(|topic| topic.topic_id).ok_or(ErrorCode::UnknownTopicId)
    } else {
        image.topic(name).map(|topic| topic.topic_id).ok_or(ErrorCode::UnknownTopicOrPartition)
    }
}

async fn append(
    call: &Call<'_>,
    topic_id: Result<TopicId, ErrorCode>,
    data: PartitionProduceData,
    acks: Acks,
) -> PartitionProduceResponse {
    let index = data.index;
    let partition = match topic_id {
        Ok(topic_id) => TopicIdPartition { topic_id, partition: index },
        Err(error) => return refused(index, error, None),
    };
    let records = match check_records(call.version(), data.records) {
        Ok(records) => records,
        Err((error, message)) => return refused(index, error, Some(message.to_owned())),
    };
    match call.broker.replicas.append(partition, records, acks).await {
        Ok(answer) => PartitionProduceResponse {
            index,
            base_offset: Some(answer.base_offset),
            log_append_time_ms: answer.log_append_time,
            log_start_offset: Some(answer.log_start_offset),
            ..Default::default()
        },
        Err(refusal) => refused_by_log(call, partition, refusal),
    }
}

/// Kafka: `ProduceRequest.validateRecords`; whether they are sound is the log's business.
fn check_records(
    version: i16,
    records: Option<Records>,
) -> Result<Records, (ErrorCode, &'static str)> {
    let Some(records) = records.filter(|records| !records.is_empty()) else {
        return Err((
            ErrorCode::InvalidRecord,
            "A produce request must have a record batch for each partition.",
        ));
    };
    // The attributes of a batch of format 2 tell the codec; what is none is left to the log, which refuses it.
    let codec = BatchHeader::parse(&records.slices()[0]).ok().map(|header| header.codec);
    if codec == Some(Codec::Zstd) && version < VERSION_OF_ZSTD {
        let message = "Produce requests of versions below 7 may not use ZStandard compression.";
        return Err((ErrorCode::UnsupportedCompressionType, message));
    }
    Ok(records)
}

fn refused_by_log(
    call: &Call<'_>,
    partition: TopicIdPartition,
    refusal: AppendRefusal,
) -> PartitionProduceResponse {
    let mut response = refused(partition.partition, refusal.error, refusal.message);
    let record_errors = refusal.records.into_iter().map(|(batch_index, message)| {
        BatchIndexAndErrorMessage { batch_index, batch_index_error_message: message }
    });
    response.record_errors = record_errors.collect();
    if refusal.error == ErrorCode::NotLeaderOrFollower && call.version() >= VERSION_OF_LEADER_HINTS
    {
        if let Some(LeaderHint { leader_id, leader_epoch }) = call.broker.replicas.hint(partition) {
            response.current_leader =
                LeaderIdAndEpoch { leader_id: Some(leader_id), leader_epoch: Some(leader_epoch) };
        }
    }
    response
}
