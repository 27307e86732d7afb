//! Fetch: record batches out of the logs of partitions that this broker leads.
//!
//! What is there is read at once. Where that is less than `min_bytes`, the request waits, up to `max_wait_ms`, for one of
//! its partitions to have more: the partitions wake it, nothing is polled. Sessions (KIP-227) are declined, which the
//! protocol allows: each request names all its partitions.

use std::time::Duration;

use super::Call;
use crate::protocol::Records;
use crate::protocol::messages::fetch_request::FetchPartition;
use crate::protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use crate::protocol::messages::{FetchRequest, FetchResponse};
use crate::runtime::Timer;
use crate::runtime::clock::wait_until;
use crate::server::replica_manager::{FetchPosition, FetchRead, LeaderHint, ReadLimits};
use crate::types::{ErrorCode, Monotonic, TopicId, TopicIdPartition};

/// The whole answer has an error code from this version on.
const VERSION_OF_TOP_LEVEL_ERRORS: i16 = 7;
/// Storage errors are known to clients from this version on; before, `NOT_LEADER_OR_FOLLOWER` makes them ask again.
const VERSION_OF_STORAGE_ERRORS: i16 = 6;
/// Topics are named by id from this version on (KIP-516).
const VERSION_OF_TOPIC_IDS: i16 = 13;
/// Answers tell the leader of a partition that is led elsewhere from this version on (KIP-951).
const VERSION_OF_LEADER_HINTS: i16 = 16;

pub(super) async fn handle(call: &Call<'_>, request: FetchRequest) -> FetchResponse {
    if let Some(error_code) = refused(call, &request) {
        return FetchResponse { error_code, ..Default::default() };
    }
    let wants = wants(call, &request);
    let plan = Plan::new(call, &request);
    let reads = read_until_enough(call, &wants, &plan).await;
    answer(call, request, wants, reads)
}

/// Why the whole request is refused.
///
/// An epoch above 0 continues a session: there are none. Version 6 and older have no sessions and no place for the error.
fn refused(call: &Call<'_>, request: &FetchRequest) -> Option<ErrorCode> {
    let continues_session = request.session_epoch > 0;
    (call.version() >= VERSION_OF_TOP_LEVEL_ERRORS && continues_session)
        .then_some(ErrorCode::FetchSessionIdNotFound)
}

/// One partition of the request, in the request's order.
struct Want {
    partition: Result<TopicIdPartition, ErrorCode>,
    position: FetchPosition,
    bytes_max: usize,
}

fn wants(call: &Call<'_>, request: &FetchRequest) -> Vec<Want> {
    let image = call.broker.image();
    let from_replica = request.replica_id.is_some() || request.replica_state.replica_id.is_some();
    let mut wants = Vec::new();
    for topic in &request.topics {
        let topic_id: Result<TopicId, ErrorCode> = if call.version() >= VERSION_OF_TOPIC_IDS {
            let known = image.topic_by_id(topic.topic_id).map(|topic| topic.topic_id);
            known.ok_or(ErrorCode::UnknownTopicId)
        } else {
            let known = image.topic(&topic.topic).map(|topic| topic.topic_id);
            known.ok_or(ErrorCode::UnknownTopicOrPartition)
        };
        for one in &topic.partitions {
            let partition = match topic_id {
                // There are no followers yet: who says it is one has another idea of the cluster.
                Ok(_) if from_replica => Err(ErrorCode::NotLeaderOrFollower),
                Ok(topic_id) => Ok(TopicIdPartition { topic_id, partition: one.partition }),
                Err(error) => Err(error),
            };
            let bytes_max = usize::try_from(one.partition_max_bytes).unwrap_or(0);
            wants.push(Want { partition, position: position(one), bytes_max });
        }
    }
    wants
}

fn position(partition: &FetchPartition) -> FetchPosition {
    FetchPosition {
        fetch_offset: partition.fetch_offset,
        current_leader_epoch: partition.current_leader_epoch,
        last_fetched_epoch: partition.last_fetched_epoch,
    }
}

/// The limits of a whole request.
struct Plan {
    isolation: crate::protocol::IsolationLevel,
    bytes_min: usize,
    bytes_max: usize,
    deadline: Monotonic,
    may_wait: bool,
}

impl Plan {
    fn new(call: &Call<'_>, request: &FetchRequest) -> Self {
        let wire = |value: i32| usize::try_from(value).unwrap_or(0);
        let bytes_max = wire(request.max_bytes).min(call.broker.config.fetch_bytes_max);
        let span = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        Self {
            isolation: request.isolation_level,
            bytes_min: wire(request.min_bytes).min(bytes_max),
            bytes_max,
            deadline: call.broker.env.clock.now().monotonic + span,
            may_wait: !span.is_zero(),
        }
    }
}

type Read = Result<FetchRead, ErrorCode>;

/// Reads, and reads again whenever a partition has more, until there is enough, something is wrong, or time is over.
async fn read_until_enough(call: &Call<'_>, wants: &[Want], plan: &Plan) -> Vec<Read> {
    let mut timer: Option<Box<dyn Timer>> = None;
    loop {
        let reads = read_once(call, wants, plan).await;
        let bytes: usize = reads.iter().flatten().map(|read| read.records.len()).sum();
        let is_wrong = reads.iter().any(|read| match read {
            Ok(read) => read.diverging_epoch.is_some(),
            Err(_) => true,
        });
        let is_over = call.broker.env.clock.now().monotonic >= plan.deadline;
        if is_wrong || bytes >= plan.bytes_min || is_over || !plan.may_wait || wants.is_empty() {
            return reads;
        }
        let seen = wants.iter().zip(&reads).filter_map(|(want, read)| {
            Some((want.partition.ok()?, read.as_ref().ok()?.seen_end_offset))
        });
        let timer = timer.get_or_insert_with(|| call.broker.env.clock.timer());
        let more = call.broker.replicas.more_than(seen, plan.bytes_min - bytes);
        tokio::select! {
            biased;
            () = more => {}
            () = wait_until(timer.as_mut(), Some(plan.deadline)) => {}
        }
    }
}

async fn read_once(call: &Call<'_>, wants: &[Want], plan: &Plan) -> Vec<Read> {
    let mut left = plan.bytes_max;
    // The first batch of the first partition that has one is returned whatever its size, or a reader would hang there.
    let mut is_first = true;
    let mut reads = Vec::with_capacity(wants.len());
    for want in wants {
        let partition = match want.partition {
            Ok(partition) => partition,
            Err(error) => {
                reads.push(Err(error));
                continue;
            }
        };
        let limits = ReadLimits {
            bytes_max: want.bytes_max.min(left),
            at_least_one_batch: is_first,
            isolation: plan.isolation,
        };
        let read = call.broker.replicas.read(partition, want.position, limits).await;
        if let Ok(read) = &read {
            left = left.saturating_sub(read.records.len());
            is_first = is_first && read.records.is_empty();
        }
        reads.push(read);
    }
    reads
}

fn answer(
    call: &Call<'_>,
    request: FetchRequest,
    wants: Vec<Want>,
    reads: Vec<Read>,
) -> FetchResponse {
    let mut results = wants.into_iter().zip(reads);
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let count = topic.partitions.len();
        let partitions = topic.partitions.iter().zip(results.by_ref().take(count));
        let partitions =
            partitions.map(|(one, (want, read))| partition_data(call, one, &want, read));
        responses.push(FetchableTopicResponse {
            partitions: partitions.collect(),
            topic: topic.topic,
            topic_id: topic.topic_id,
        });
    }
    FetchResponse { responses, ..Default::default() }
}

fn partition_data(
    call: &Call<'_>,
    asked: &FetchPartition,
    want: &Want,
    read: Read,
) -> PartitionData {
    let partition_index = asked.partition;
    match read {
        Ok(read) => PartitionData {
            partition_index,
            high_watermark: Some(read.high_watermark),
            last_stable_offset: Some(read.last_stable_offset),
            log_start_offset: Some(read.log_start_offset),
            diverging_epoch: read.diverging_epoch.map_or_else(
                EpochEndOffset::default,
                |(epoch, end)| EpochEndOffset { epoch: Some(epoch), end_offset: Some(end) },
            ),
            records: Some(read.records),
            ..Default::default()
        },
        Err(error) => {
            let mut data = PartitionData {
                partition_index,
                error_code: known_to(call.version(), error),
                // Java's consumer takes null for a broken answer.
                records: Some(Records::new()),
                ..Default::default()
            };
            if error == ErrorCode::NotLeaderOrFollower && call.version() >= VERSION_OF_LEADER_HINTS
            {
                let hint = want.partition.ok().and_then(|one| call.broker.replicas.hint(one));
                if let Some(LeaderHint { leader_id, leader_epoch }) = hint {
                    data.current_leader = LeaderIdAndEpoch {
                        leader_id: Some(leader_id),
                        leader_epoch: Some(leader_epoch),
                    };
                }
            }
            data
        }
    }
}

fn known_to(version: i16, error: ErrorCode) -> ErrorCode {
    if error == ErrorCode::KafkaStorageError && version < VERSION_OF_STORAGE_ERRORS {
        ErrorCode::NotLeaderOrFollower
    } else {
        error
    }
}
