//! Fetch: record batches out of the logs of partitions that this broker leads.
//!
//! What is there is read at once. Where that is less than `min_bytes`, the request waits, up to `max_wait_ms`, for one of
//! its partitions to have more: the partitions wake it, nothing is polled. Sessions (KIP-227) are declined, which the
//! protocol allows: each request names all its partitions.

use std::sync::Arc;
use std::time::Duration;

use super::Call;
use crate::protocol::IsolationLevel;
use crate::protocol::Records;
use crate::protocol::messages::fetch_request::FetchPartition;
use crate::protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use crate::protocol::messages::{FetchRequest, FetchResponse};
use crate::replica::driver::{FetchWatch, ReadAnswer, ReadRequest, ReadUpTo, Watching};
use crate::runtime::Timer;
use crate::runtime::clock::wait_until;
use crate::types::{ErrorCode, LeaderEpoch, Monotonic, Offset, TopicId, TopicIdPartition};

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
    fetch_offset: Option<Offset>,
    current_leader_epoch: Option<LeaderEpoch>,
    last_fetched_epoch: Option<LeaderEpoch>,
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
            wants.push(Want {
                partition,
                fetch_offset: one.fetch_offset,
                current_leader_epoch: one.current_leader_epoch,
                last_fetched_epoch: one.last_fetched_epoch,
                bytes_max: usize::try_from(one.partition_max_bytes).unwrap_or(0),
            });
        }
    }
    wants
}

/// The limits of a whole request.
struct Plan {
    up_to: ReadUpTo,
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
            up_to: match request.isolation_level {
                IsolationLevel::ReadUncommitted => ReadUpTo::HighWatermark,
                IsolationLevel::ReadCommitted => ReadUpTo::LastStableOffset,
            },
            bytes_min: wire(request.min_bytes).min(bytes_max),
            bytes_max,
            deadline: call.broker.env.clock.now().monotonic + span,
            may_wait: !span.is_zero(),
        }
    }
}

/// What a partition gives, or why it gives nothing.
type Read = Result<Given, ErrorCode>;

enum Given {
    /// Batches, or nothing yet.
    Records(ReadAnswer),
    /// The reader's log went another way than this one: where they parted (KIP-595).
    Diverging { epoch: LeaderEpoch, end_offset: Offset },
}

impl Given {
    fn bytes(&self) -> usize {
        match self {
            Self::Records(answer) => answer.records.len(),
            Self::Diverging { .. } => 0,
        }
    }
}

/// Reads, and reads again once the partitions have enough more, until there is enough, something is wrong, or time is over.
async fn read_until_enough(call: &Call<'_>, wants: &[Want], plan: &Plan) -> Vec<Read> {
    let mut timer: Option<Box<dyn Timer>> = None;
    loop {
        let reads = read_once(call, wants, plan).await;
        let bytes: usize = reads.iter().flatten().map(Given::bytes).sum();
        let is_final = |read: &Read| !matches!(read, Ok(Given::Records(_)));
        let is_over = call.broker.env.clock.now().monotonic >= plan.deadline;
        let is_enough = bytes >= plan.bytes_min || reads.iter().any(is_final);
        if is_enough || is_over || !plan.may_wait || wants.is_empty() {
            return reads;
        }
        let missing = plan.bytes_min - bytes;
        let watch = FetchWatch::new(u64::try_from(missing).unwrap_or(u64::MAX));
        let Ok(_watching) = watch_all(call, wants, &reads, &watch) else { continue };
        let timer = timer.get_or_insert_with(|| call.broker.env.clock.timer());
        tokio::select! {
            biased;
            () = watch.ready() => {}
            () = wait_until(timer.as_mut(), Some(plan.deadline)) => {}
        }
    }
}

/// Has `watch` told of more in each partition.
///
/// Errors: a partition is gone meanwhile.
fn watch_all(
    call: &Call<'_>,
    wants: &[Want],
    reads: &[Read],
    watch: &Arc<FetchWatch>,
) -> Result<Vec<Watching>, ErrorCode> {
    let mut watching = Vec::with_capacity(wants.len());
    for (want, read) in wants.iter().zip(reads) {
        if let (Ok(id), Ok(Given::Records(answer))) = (want.partition, read) {
            let handle = call.broker.replicas.hosted(id)?;
            watching.push(handle.watch(answer.high_watermark, watch));
        }
    }
    Ok(watching)
}

async fn read_once(call: &Call<'_>, wants: &[Want], plan: &Plan) -> Vec<Read> {
    let mut left = plan.bytes_max;
    // The first batch of the first partition that has one is given whatever its size, or a reader would hang there.
    let mut is_first = true;
    let mut reads = Vec::with_capacity(wants.len());
    for want in wants {
        let read = read_partition(call, want, plan, left.min(want.bytes_max), is_first).await;
        if let Ok(given) = &read {
            left = left.saturating_sub(given.bytes());
            is_first = is_first && given.bytes() == 0;
        }
        reads.push(read);
    }
    reads
}

/// Kafka: `Partition.readRecords`.
async fn read_partition(
    call: &Call<'_>,
    want: &Want,
    plan: &Plan,
    max_bytes: usize,
    first_batch_whole: bool,
) -> Read {
    let handle = call.broker.replicas.hosted(want.partition?)?;
    let offset = want.fetch_offset.ok_or(ErrorCode::OffsetOutOfRange)?;
    if let Some(fetched_epoch) = want.last_fetched_epoch {
        let end = handle.end_offset_for_epoch(fetched_epoch, want.current_leader_epoch)?;
        let end = end.ok_or(ErrorCode::OffsetOutOfRange)?;
        if offset < handle.log_start_offset() {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        if end.epoch < fetched_epoch || end.end_offset < offset {
            return Ok(Given::Diverging { epoch: end.epoch, end_offset: end.end_offset });
        }
    }
    let request = ReadRequest {
        offset,
        max_bytes,
        first_batch_whole,
        up_to: plan.up_to,
        leader_epoch: want.current_leader_epoch,
    };
    handle.read(request).await.map(Given::Records)
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
        Ok(Given::Records(answer)) => PartitionData {
            partition_index,
            high_watermark: Some(answer.high_watermark),
            last_stable_offset: Some(answer.last_stable_offset),
            log_start_offset: Some(answer.log_start_offset),
            records: Some(answer.records),
            ..Default::default()
        },
        Ok(Given::Diverging { epoch, end_offset }) => PartitionData {
            partition_index,
            diverging_epoch: EpochEndOffset { epoch: Some(epoch), end_offset: Some(end_offset) },
            records: Some(Records::new()),
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
            if error == ErrorCode::NotLeaderOrFollower
                && call.version() >= VERSION_OF_LEADER_HINTS
                && let Some(hint) = want.partition.ok().and_then(|id| call.broker.replicas.hint(id))
            {
                data.current_leader = LeaderIdAndEpoch {
                    leader_id: Some(hint.leader_id),
                    leader_epoch: Some(hint.leader_epoch),
                };
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
