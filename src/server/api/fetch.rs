//! Fetch: record batches out of the logs of partitions that this broker leads, for consumers and for followers.
//!
//! What is there is read at once. Where that is less than `min_bytes`, the request waits, up to `max_wait_ms`, for one of
//! its partitions to have more: the partitions wake it, nothing is polled. What is there and has no room in the answer counts as far as there
//! would be room for it: batches come whole, and no waiting fills what they leave free. Who fetches again and again keeps a session (KIP-227)
//! and names only what changed.
//!
//! Kafka: `KafkaApis.handleFetchRequest`, `ReplicaManager.fetchMessages`, `DelayedFetch`.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::Call;
use crate::protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use crate::protocol::messages::{FetchRequest, FetchResponse};
use crate::protocol::{IsolationLevel, Records};
use crate::replica::driver::{
    FetchWatch, PartitionHandle, ReadAnswer, ReadRequest, ReadUpTo, Watching,
};
use crate::replica::fetch_session::{PartitionFetch, SessionPartition, SessionTopic, SessionUse};
use crate::replica::{FollowerFetch, FollowerRead, ServedBy};
use crate::runtime::Timer;
use crate::runtime::clock::wait_until;
use crate::server::fetch_sessions::{SessionCall, SessionInUse};
use crate::server::leader_hints::LeaderHints;
use crate::types::{
    BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Monotonic, Offset, TopicIdPartition,
};

/// Storage errors are known to clients from this version on; before, `NOT_LEADER_OR_FOLLOWER` makes them ask again.
const VERSION_OF_STORAGE_ERRORS: i16 = 6;
/// Consumers tell their rack from this version on, and can be sent to another replica (KIP-392).
const VERSION_OF_RACKS: i16 = 11;
/// Topics are named by id from this version on (KIP-516).
const VERSION_OF_TOPIC_IDS: i16 = 13;
/// Answers tell the leader of a partition that is led elsewhere from this version on (KIP-951).
const VERSION_OF_LEADER_HINTS: i16 = 16;

pub(super) async fn handle(call: &Call<'_>, request: FetchRequest) -> FetchResponse {
    let reader = Reader::of(&request);
    let rack = (call.version() >= VERSION_OF_RACKS && !request.rack_id.is_empty())
        .then(|| request.rack_id.clone());
    let sessions = call.broker.replicas.fetch_sessions();
    let now = call.broker.env.clock.now().monotonic;
    let plan = Plan::new(call, &request, reader, rack);
    let session = match sessions.begin(now, session_call(call, request, reader)) {
        Ok(session) => session,
        Err(error_code) => return FetchResponse { error_code, ..Default::default() },
    };
    let wants = wants(call, reader, &session);
    let reads = read_until_enough(call, &wants, &plan).await;
    answer(call, &wants, reads, session)
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Consumer(ReadUpTo),
    Follower { replica: BrokerId, broker_epoch: Option<BrokerEpoch> },
}

impl Reader {
    /// The replica's field moved when its epoch came (version 15, KIP-903).
    fn of(request: &FetchRequest) -> Self {
        match request.replica_state.replica_id.or(request.replica_id) {
            Some(replica) => {
                Self::Follower { replica, broker_epoch: request.replica_state.replica_epoch }
            }
            None => Self::Consumer(match request.isolation_level {
                IsolationLevel::ReadUncommitted => ReadUpTo::HighWatermark,
                IsolationLevel::ReadCommitted => ReadUpTo::LastStableOffset,
            }),
        }
    }

    /// Whether it is an incarnation of a broker that has a later one by now.
    ///
    /// Kafka: `Replica.updateFetchStateOrThrow`.
    fn is_outdated(self, call: &Call<'_>) -> bool {
        match self {
            Self::Follower { replica, broker_epoch: Some(epoch) } => {
                let image = call.broker.image();
                image.broker(replica).is_some_and(|broker| broker.broker_epoch > epoch)
            }
            Self::Follower { broker_epoch: None, .. } | Self::Consumer(_) => false,
        }
    }
}

fn session_call(call: &Call<'_>, request: FetchRequest, reader: Reader) -> SessionCall {
    let by_id = call.version() >= VERSION_OF_TOPIC_IDS;
    let name = |name: String, id| {
        if by_id { SessionTopic::Id(id) } else { SessionTopic::Name(name.into()) }
    };
    let mut partitions = Vec::new();
    for topic in request.topics {
        let name = name(topic.topic, topic.topic_id);
        for asked in &topic.partitions {
            let partition = SessionPartition { topic: name.clone(), partition: asked.partition };
            partitions.push((partition, PartitionFetch::from_wire(asked)));
        }
    }
    let mut forgotten = Vec::new();
    for topic in request.forgotten_topics_data {
        let name = name(topic.topic, topic.topic_id);
        let partition = |partition| SessionPartition { topic: name.clone(), partition };
        forgotten.extend(topic.partitions.into_iter().map(partition));
    }
    SessionCall {
        session: SessionUse::from_wire(request.session_id, request.session_epoch),
        by_id,
        privileged: matches!(reader, Reader::Follower { .. }),
        partitions,
        forgotten,
    }
}

/// One partition of the request, in the order in which they are served.
struct Want {
    partition: Result<TopicIdPartition, ErrorCode>,
    fetch: PartitionFetch,
}

fn wants(call: &Call<'_>, reader: Reader, session: &SessionInUse) -> Vec<Want> {
    let image = call.broker.image();
    let is_outdated = reader.is_outdated(call);
    let find = |wanted: &SessionPartition| {
        let topic = match &wanted.topic {
            SessionTopic::Id(id) => image.topic_by_id(*id).ok_or(ErrorCode::UnknownTopicId),
            SessionTopic::Name(name) => image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition),
        };
        let topic_id = topic?.topic_id;
        if is_outdated {
            crate::mark!("an earlier incarnation of a follower fetches");
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        Ok(TopicIdPartition { topic_id, partition: wanted.partition })
    };
    let all = session.partitions().iter();
    all.map(|(wanted, fetch)| Want { partition: find(wanted), fetch }).collect()
}

/// The limits of a whole request.
struct Plan {
    reader: Reader,
    by: ServedBy,
    /// The rack of a consumer that may be sent to a replica in it.
    rack: Option<String>,
    bytes_min: usize,
    bytes_max: usize,
    deadline: Monotonic,
    may_wait: bool,
}

impl Plan {
    fn new(call: &Call<'_>, request: &FetchRequest, reader: Reader, rack: Option<String>) -> Self {
        let is_consumer = matches!(reader, Reader::Consumer(_));
        // Without a selector nobody is sent to a follower: who comes there has old metadata, and is told so.
        let selects = call.broker.config.replication.selects_by_rack && is_consumer;
        let is_of_today = call.version() >= VERSION_OF_RACKS;
        let wire = |value: i32| usize::try_from(value).unwrap_or(0);
        let bytes_max = match reader {
            Reader::Consumer(_) => wire(request.max_bytes).min(call.broker.config.fetch_bytes_max),
            Reader::Follower { .. } => wire(request.max_bytes),
        };
        let span = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        Self {
            reader,
            by: if selects && is_of_today { ServedBy::AnyReplica } else { ServedBy::Leader },
            rack: rack.filter(|_| selects),
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
    /// Batches for a consumer, or nothing yet.
    Records(ReadAnswer),
    /// The same for a follower.
    ToFollower(FollowerRead),
    /// Nothing: the consumer is to read from a replica in its own rack.
    Elsewhere { replica: BrokerId, answer: ReadAnswer },
    /// The reader's log went another way than this one: where they parted (KIP-595).
    Diverging { epoch: LeaderEpoch, end_offset: Offset },
}

impl Given {
    fn bytes(&self) -> usize {
        match self {
            Self::Records(answer) => answer.records.len(),
            Self::ToFollower(answer) => answer.records.len(),
            Self::Elsewhere { .. } | Self::Diverging { .. } => 0,
        }
    }

    /// Whether the partition has more, for which there was no room.
    fn has_more(&self) -> bool {
        match self {
            Self::Records(answer) => answer.has_more,
            Self::ToFollower(answer) => answer.has_more,
            Self::Elsewhere { .. } | Self::Diverging { .. } => false,
        }
    }
}

/// What was read of all partitions at once.
struct Round {
    reads: Vec<Read>,
    /// How many bytes were there for the reader: those that it gets, and of a partition that has more, all for which there was room.
    ///
    /// Kafka cuts batches off at the end of their room and counts what is left of them; `DelayedFetch.tryComplete` counts the same.
    bytes_there: usize,
}

/// Reads, and reads again once the partitions have enough more, until there is enough, something is wrong, or time is over.
async fn read_until_enough(call: &Call<'_>, wants: &[Want], plan: &Plan) -> Vec<Read> {
    let mut timer: Option<Box<dyn Timer>> = None;
    let mut is_repeated = false;
    loop {
        let Round { reads, bytes_there } = read_once(call, wants, plan, is_repeated).await;
        is_repeated = true;
        let is_final = |read: &Read| {
            matches!(read, Err(_) | Ok(Given::Diverging { .. } | Given::Elsewhere { .. }))
        };
        let is_over = call.broker.env.clock.now().monotonic >= plan.deadline;
        let is_enough = bytes_there >= plan.bytes_min || reads.iter().any(is_final);
        if is_enough || is_over || !plan.may_wait || wants.is_empty() {
            return reads;
        }
        let missing = plan.bytes_min - bytes_there;
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
        let (Ok(id), Ok(given)) = (want.partition, read) else { continue };
        let handle = call.broker.replicas.hosted(id)?;
        match given {
            Given::Records(answer) => watching.push(handle.watch(answer.high_watermark, watch)),
            Given::ToFollower(answer) => {
                watching.push(handle.watch_log_end(answer.log_end_offset, watch));
            }
            Given::Diverging { .. } | Given::Elsewhere { .. } => {}
        }
    }
    Ok(watching)
}

async fn read_once(call: &Call<'_>, wants: &[Want], plan: &Plan, is_repeated: bool) -> Round {
    let mut left = plan.bytes_max;
    // The first batch of the first partition that has one is given whatever its size, or a reader would hang there.
    let mut is_first = true;
    let mut round = Round { reads: Vec::with_capacity(wants.len()), bytes_there: 0 };
    for want in wants {
        let bytes_max = usize::try_from(want.fetch.bytes_max).unwrap_or(0);
        let room = Room { bytes_max: left.min(bytes_max), first_batch_whole: is_first };
        let read = read_partition(call, want, plan, room, is_repeated).await;
        if let Ok(given) = &read {
            let bytes = given.bytes();
            left = left.saturating_sub(bytes);
            is_first = is_first && bytes == 0;
            round.bytes_there += if given.has_more() { bytes.max(room.bytes_max) } else { bytes };
        }
        round.reads.push(read);
    }
    // Whoever gets nothing would only ask again.
    if is_first {
        round.bytes_there = 0;
    }
    round
}

/// How much of a partition fits into the answer.
#[derive(Clone, Copy)]
struct Room {
    bytes_max: usize,
    first_batch_whole: bool,
}

/// Kafka: `Partition.fetchRecords`.
async fn read_partition(
    call: &Call<'_>,
    want: &Want,
    plan: &Plan,
    room: Room,
    is_repeated: bool,
) -> Read {
    let handle = call.broker.replicas.hosted(want.partition?)?;
    let offset = want.fetch.fetch_offset.ok_or(ErrorCode::OffsetOutOfRange)?;
    match plan.reader {
        Reader::Consumer(up_to) => {
            if let Some(replica) = nearer_replica(call, &handle, plan, offset) {
                let request = ReadRequest {
                    offset,
                    max_bytes: 0,
                    first_batch_whole: false,
                    up_to,
                    leader_epoch: want.fetch.current_leader_epoch,
                };
                let answer = handle.read(request).await?;
                return Ok(Given::Elsewhere { replica, answer });
            }
            read_as_consumer(&handle, want.fetch, offset, Reading { up_to, by: plan.by, room })
                .await
        }
        Reader::Follower { replica, broker_epoch } => {
            let fetch = FollowerFetch {
                replica,
                broker_epoch,
                current_leader_epoch: want.fetch.current_leader_epoch,
                fetch_offset: offset,
                last_fetched_epoch: want.fetch.last_fetched_epoch,
                log_start_offset: want.fetch.log_start_offset.unwrap_or(Offset::ZERO),
                max_bytes: room.bytes_max,
                first_batch_whole: room.first_batch_whole,
                is_repeated,
            };
            let read = handle.fetch_as_follower(fetch).await?;
            Ok(match read.diverging {
                Some(end) => Given::Diverging { epoch: end.epoch, end_offset: end.end_offset },
                None => Given::ToFollower(read),
            })
        }
    }
}

/// The replica in the consumer's rack that a leader in another rack sends it to.
///
/// Kafka: `ReplicaManager.findPreferredReadReplica`, `RackAwareReplicaSelector`.
fn nearer_replica(
    call: &Call<'_>,
    handle: &PartitionHandle,
    plan: &Plan,
    offset: Offset,
) -> Option<BrokerId> {
    let rack = plan.rack.as_deref()?;
    let image = call.broker.image();
    let is_near = |broker: BrokerId| {
        let broker = image.broker(broker).filter(|broker| !broker.fenced);
        broker.is_some_and(|broker| {
            broker.rack.as_deref() == Some(rack) && broker.endpoint(call.source.listener).is_some()
        })
    };
    if is_near(call.broker.config.node_id) {
        return None;
    }
    let followers = handle.followers_with(offset)?;
    let near = followers.into_iter().filter(|follower| is_near(follower.broker));
    let best = near.max_by_key(|one| (one.log_end_offset, Reverse(one.behind_for), one.broker));
    best.map(|follower| follower.broker)
}

/// How a consumer reads.
#[derive(Clone, Copy)]
struct Reading {
    up_to: ReadUpTo,
    by: ServedBy,
    room: Room,
}

/// Kafka: `Partition.readRecords`.
async fn read_as_consumer(
    handle: &PartitionHandle,
    fetch: PartitionFetch,
    offset: Offset,
    reading: Reading,
) -> Read {
    let Reading { up_to, by, room } = reading;
    if let Some(fetched_epoch) = fetch.last_fetched_epoch {
        let end = handle.end_offset_for_epoch_by(fetched_epoch, fetch.current_leader_epoch, by)?;
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
        max_bytes: room.bytes_max,
        first_batch_whole: room.first_batch_whole,
        up_to,
        leader_epoch: fetch.current_leader_epoch,
    };
    handle.read_by(request, by).await.map(Given::Records)
}

fn answer(
    call: &Call<'_>,
    wants: &[Want],
    reads: Vec<Read>,
    session: SessionInUse,
) -> FetchResponse {
    let mut hints = LeaderHints::new(call.broker.image(), call.source.listener);
    let partitions = session.partitions().iter().map(|(wanted, _)| wanted.partition);
    let data = partitions.zip(wants).zip(reads).map(|((partition_index, want), read)| {
        let data = partition_data(call, want, read, &mut hints);
        PartitionData { partition_index, ..data }
    });
    let data = data.collect();
    let now = call.broker.env.clock.now().monotonic;
    let (session_id, told) = session.finish(now, data);
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mut last_topic = None;
    for (partition, data) in told {
        if last_topic.as_ref() != Some(&partition.topic) {
            let (topic, topic_id) = match &partition.topic {
                SessionTopic::Id(id) => (String::new(), *id),
                SessionTopic::Name(name) => (name.to_string(), crate::types::Uuid::ZERO),
            };
            responses.push(FetchableTopicResponse { topic, topic_id, partitions: Vec::new() });
            last_topic = Some(partition.topic);
        }
        responses.last_mut().expect("just pushed").partitions.push(data);
    }
    FetchResponse {
        session_id,
        responses,
        node_endpoints: node_endpoints(hints),
        ..Default::default()
    }
}

fn node_endpoints(hints: LeaderHints<'_>) -> Vec<NodeEndpoint> {
    let endpoint = |at: crate::server::leader_hints::NodeAddress| NodeEndpoint {
        node_id: at.node_id,
        host: at.host,
        port: at.port.into(),
        rack: at.rack,
    };
    hints.into_addresses().map(endpoint).collect()
}

fn partition_data(
    call: &Call<'_>,
    want: &Want,
    read: Read,
    hints: &mut LeaderHints<'_>,
) -> PartitionData {
    match read {
        Ok(Given::Records(answer)) => PartitionData {
            high_watermark: Some(answer.high_watermark),
            last_stable_offset: Some(answer.last_stable_offset),
            log_start_offset: Some(answer.log_start_offset),
            records: Some(answer.records),
            ..Default::default()
        },
        Ok(Given::ToFollower(answer)) => PartitionData {
            high_watermark: Some(answer.high_watermark),
            last_stable_offset: Some(answer.high_watermark),
            log_start_offset: Some(answer.log_start_offset),
            records: Some(answer.records),
            ..Default::default()
        },
        Ok(Given::Elsewhere { replica, answer }) => PartitionData {
            high_watermark: Some(answer.high_watermark),
            last_stable_offset: Some(answer.last_stable_offset),
            log_start_offset: Some(answer.log_start_offset),
            preferred_read_replica: Some(replica),
            records: Some(Records::new()),
            ..Default::default()
        },
        Ok(Given::Diverging { epoch, end_offset }) => PartitionData {
            diverging_epoch: EpochEndOffset { epoch: Some(epoch), end_offset: Some(end_offset) },
            records: Some(Records::new()),
            ..Default::default()
        },
        Err(error) => {
            let mut data = PartitionData {
                error_code: known_to(call.version(), error),
                // Java's consumer takes null for a broken answer.
                records: Some(Records::new()),
                ..Default::default()
            };
            let is_elsewhere =
                matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
            if is_elsewhere
                && call.version() >= VERSION_OF_LEADER_HINTS
                && let Some(hint) = want.partition.ok().and_then(|id| hints.leader(id))
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
