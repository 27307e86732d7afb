//! Produce: record batches into the logs of partitions that this broker leads.
//!
//! All partitions of a request are appended at once, each waits for what `acks` asks, and the answer goes out when the last
//! one is done or the request's time is over. The batches' bytes stay slices of the request's frame, up to the file.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::{Answer, Call, is_internal};
use crate::protocol::Records;
use crate::protocol::compression::Codec;
use crate::protocol::messages::produce_request::PartitionProduceData;
use crate::protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    TopicProduceResponse,
};
use crate::protocol::messages::{ProduceRequest, ProduceResponse};
use crate::protocol::record_batch::BatchHeader;
use crate::replica::AppendAnswer;
use crate::replica::driver::{AppendError, Appending};
use crate::runtime::Timer;
use crate::server::leader_hints::{LeaderHint, LeaderHints};
use crate::types::{
    Acks, ErrorCode, Monotonic, Observation, PartitionIndex, TopicId, TopicIdPartition,
};

/// Batches compressed with zstd are taken from this version on (KIP-110).
const VERSION_OF_ZSTD: i16 = 7;
/// Answers tell the leader of a partition that is led elsewhere from this version on (KIP-951).
const VERSION_OF_LEADER_HINTS: i16 = 10;
/// Topics are named by id from this version on (KIP-516).
const VERSION_OF_TOPIC_IDS: i16 = 13;
/// What a tool calls itself that repairs internal topics (Kafka: `AdminUtils.ADMIN_CLIENT_ID`).
const ADMIN_CLIENT_ID: &str = "__admin_client";

pub(super) async fn handle(call: &Call<'_>, request: ProduceRequest) -> Answer {
    let is_silent = request.acks == 0;
    let response = match check(&request) {
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

/// When to answer; or why the whole request is refused.
fn check(request: &ProduceRequest) -> Result<Acks, (ErrorCode, &'static str)> {
    if request.transactional_id.is_some() {
        let message = "Transactions are not supported by this broker yet.";
        return Err((ErrorCode::TransactionalIdAuthorizationFailed, message));
    }
    match request.acks {
        0 => Ok(Acks::None),
        1 => Ok(Acks::Leader),
        -1 => Ok(Acks::All),
        _ => Err((ErrorCode::InvalidRequiredAcks, "acks must be 0, 1 or -1.")),
    }
}

fn first_error(response: &ProduceResponse) -> Option<ErrorCode> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions.map(|partition| partition.error_code).find(|error| !error.is_none())
}

fn refuse_all(request: &ProduceRequest, error: ErrorCode, message: &str) -> ProduceResponse {
    let responses = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter();
        TopicProduceResponse {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partition_responses: partitions
                .map(|partition| refused(partition.index, error, Some(message.to_owned())))
                .collect(),
        }
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

/// A partition of the request, on its way.
struct Pending {
    index: PartitionIndex,
    /// Known where the topic is.
    id: Option<TopicIdPartition>,
    /// Waits for the answer, where there is one to wait for.
    appending: Option<Appending>,
    result: Option<Result<AppendAnswer, AppendError>>,
}

/// Appends to every partition at once, then waits for all.
async fn append_all(call: &Call<'_>, request: ProduceRequest, acks: Acks) -> ProduceResponse {
    let span = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let deadline = call.broker.env.clock.now().monotonic + span;
    let mut topics = Vec::with_capacity(request.topic_data.len());
    let mut pending = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let topic_id = find_topic(call, &topic.name, topic.topic_id);
        topics.push((topic.name, topic.topic_id, topic.partition_data.len()));
        for partition in topic.partition_data {
            pending.push(append(call, topic_id, partition, acks));
        }
    }
    wait_for_all(call, &mut pending, deadline).await;
    let mut pending = pending.into_iter();
    let mut hints = LeaderHints::new(call.broker.image(), call.source.listener);
    let responses = topics.into_iter().map(|(name, topic_id, count)| {
        let some = pending.by_ref().take(count);
        let partition_responses = some.map(|one| answer(call, one, &mut hints)).collect();
        TopicProduceResponse { name, topic_id, partition_responses }
    });
    let responses = responses.collect();
    let node_endpoints = hints.into_addresses().map(|at| NodeEndpoint {
        node_id: at.node_id,
        host: at.host,
        port: at.port.into(),
        rack: at.rack,
    });
    ProduceResponse { responses, node_endpoints: node_endpoints.collect(), ..Default::default() }
}

/// The topic's id. What coordinators keep is not for clients to write.
///
/// Kafka: `ReplicaManager.appendToLocalLog`.
fn find_topic(call: &Call<'_>, name: &str, topic_id: TopicId) -> Result<TopicId, ErrorCode> {
    let image = call.broker.image();
    let topic = if call.version() >= VERSION_OF_TOPIC_IDS {
        image.topic_by_id(topic_id).ok_or(ErrorCode::UnknownTopicId)?
    } else {
        image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?
    };
    let may_write = call.head.header.client_id.as_deref() == Some(ADMIN_CLIENT_ID);
    if is_internal(&topic.name) && !may_write {
        return Err(ErrorCode::InvalidTopicException);
    }
    Ok(topic.topic_id)
}

/// Appends to one partition; the answer may be there at once.
fn append(
    call: &Call<'_>,
    topic_id: Result<TopicId, ErrorCode>,
    data: PartitionProduceData,
    acks: Acks,
) -> Pending {
    let index = data.index;
    let id = topic_id.ok().map(|topic_id| TopicIdPartition { topic_id, partition: index });
    let started = topic_id.map_err(AppendError::from).and_then(|topic_id| {
        let records = check_records(call.version(), data.records)?;
        let id = TopicIdPartition { topic_id, partition: index };
        Ok(call.broker.replicas.hosted(id)?.append(&records, acks))
    });
    match started {
        Ok(mut appending) => {
            let result = appending.take_ready();
            let appending = result.is_none().then_some(appending);
            Pending { index, id, appending, result }
        }
        Err(error) => Pending { index, id, appending: None, result: Some(Err(error)) },
    }
}

/// Kafka: `ProduceRequest.validateRecords`; whether they are sound is the log's business.
fn check_records(version: i16, records: Option<Records>) -> Result<Records, AppendError> {
    let refuse = |code, message: &str| AppendError {
        message: Some(message.to_owned()),
        ..AppendError::from(code)
    };
    let Some(records) = records.filter(|records| !records.is_empty()) else {
        let message = "A produce request must have a record batch for each partition.";
        return Err(refuse(ErrorCode::InvalidRecord, message));
    };
    // What is no batch of format 2 is left to the log, which refuses it.
    let codec = BatchHeader::parse(&records.slices()[0]).ok().map(|header| header.codec);
    if codec == Some(Codec::Zstd) && version < VERSION_OF_ZSTD {
        let message = "Produce requests of versions below 7 may not use ZStandard compression.";
        return Err(refuse(ErrorCode::UnsupportedCompressionType, message));
    }
    Ok(records)
}

/// Waits until all answers are there or the deadline is. A timer is made only where something has to wait: most appends
/// are done when they are asked for.
async fn wait_for_all(call: &Call<'_>, pending: &mut [Pending], deadline: Monotonic) {
    let mut timer: Option<Box<dyn Timer>> = None;
    poll_fn(|cx| {
        let mut is_waiting = false;
        for one in pending.iter_mut() {
            let Some(appending) = &mut one.appending else { continue };
            match Pin::new(appending).poll(cx) {
                Poll::Ready(result) => {
                    one.result = Some(result);
                    one.appending = None;
                }
                Poll::Pending => is_waiting = true,
            }
        }
        if !is_waiting {
            return Poll::Ready(());
        }
        timer.get_or_insert_with(|| call.broker.env.clock.timer()).poll_at(deadline, cx)
    })
    .await;
}

fn answer(call: &Call<'_>, one: Pending, hints: &mut LeaderHints<'_>) -> PartitionProduceResponse {
    let index = one.index;
    match one.result {
        Some(Ok(answer)) => PartitionProduceResponse {
            index,
            base_offset: Some(answer.base_offset),
            log_append_time_ms: answer.log_append_time,
            log_start_offset: Some(answer.log_start_offset),
            ..Default::default()
        },
        Some(Err(error)) => {
            let hint = (call.version() >= VERSION_OF_LEADER_HINTS
                && error.code == ErrorCode::NotLeaderOrFollower)
                .then(|| hints.leader(one.id?))
                .flatten();
            refused_by_log(index, error, hint)
        }
        // The batch is in the log, or will be: whether it stays is not known.
        None => {
            let error = ErrorCode::RequestTimedOut;
            if let Some(partition) = one.id {
                call.broker.env.observe(Observation::ProduceFailed { partition, error });
            }
            refused(index, error, None)
        }
    }
}

fn refused_by_log(
    index: PartitionIndex,
    error: AppendError,
    hint: Option<LeaderHint>,
) -> PartitionProduceResponse {
    let mut response = refused(index, error.code, error.message);
    let record_errors = error.record_errors.into_iter().map(|wrong| BatchIndexAndErrorMessage {
        batch_index: i32::try_from(wrong.batch_index).unwrap_or(i32::MAX),
        batch_index_error_message: Some(wrong.message),
    });
    response.record_errors = record_errors.collect();
    if let Some(hint) = hint {
        response.current_leader = LeaderIdAndEpoch {
            leader_id: Some(hint.leader_id),
            leader_epoch: Some(hint.leader_epoch),
        };
    }
    response
}
