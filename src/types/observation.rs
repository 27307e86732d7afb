//! What the shapes say of themselves. The real build turns observations into `tracing` and metrics; the testbed feeds them
//! to its checkers and draws the timeline from them.

use super::{
    BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence,
    TopicId, TopicIdPartition,
};

/// When a produce request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Acks {
    /// `0`: never.
    None,
    /// `1`: when the leader has written it.
    Leader,
    /// `-1` or `all`: when it is below the high watermark.
    All,
}

/// Which producer wrote a batch, and where in that producer's sequence it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// The sequence of the batch's first record.
    pub base_sequence: Sequence,
}

/// Something a node did that a checker, a person or a metric wants to know. Plain data, without heap.
///
/// Ranges are half-open: `base_offset..end_offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the fields carry the project's ordinary names")]
pub enum Observation {
    /// The node is ready to serve.
    NodeStarted { broker: BrokerId, broker_epoch: BrokerEpoch },
    /// The node ends in good order.
    NodeStopping { broker: BrokerId },
    /// A producer's batch arrived for a partition that this node leads.
    ProduceReceived { partition: TopicIdPartition, acks: Acks, records: u32, bytes: u32 },
    /// A batch was written to the leader's log (not yet necessarily durable).
    ProduceAppended {
        partition: TopicIdPartition,
        leader_epoch: LeaderEpoch,
        base_offset: Offset,
        end_offset: Offset,
        producer: Option<ProducerStamp>,
        crc: u32,
    },
    /// A batch repeats one of the producer's last five: answered with the first one's offset, not written.
    ProduceDuplicate { partition: TopicIdPartition, base_offset: Offset, producer: ProducerStamp },
    /// A producer is told that its batch is stored.
    ProduceAcked {
        partition: TopicIdPartition,
        leader_epoch: LeaderEpoch,
        base_offset: Offset,
        end_offset: Offset,
        acks: Acks,
    },
    /// A producer is told that its batch is refused, or that its fate is not known.
    ProduceFailed { partition: TopicIdPartition, error: ErrorCode },
    /// Records were handed to a reader.
    FetchServed {
        partition: TopicIdPartition,
        fetch_offset: Offset,
        end_offset: Offset,
        high_watermark: Offset,
    },
    /// A reader was refused.
    FetchFailed { partition: TopicIdPartition, error: ErrorCode },
    /// The high watermark moved.
    HighWatermarkAdvanced { partition: TopicIdPartition, from: Offset, to: Offset },
    /// Everything below `end_offset` is durable.
    LogFlushed { partition: TopicIdPartition, end_offset: Offset },
    /// A new segment was begun.
    LogRolled { partition: TopicIdPartition, base_offset: Offset },
    /// The end of the log was cut back.
    LogTruncated { partition: TopicIdPartition, from: Offset, to: Offset },
    /// The start of the log moved up.
    LogStartMoved { partition: TopicIdPartition, from: Offset, to: Offset },
    /// The log was opened. After a clean stop nothing is scanned.
    LogRecovered {
        partition: TopicIdPartition,
        log_start_offset: Offset,
        log_end_offset: Offset,
        bytes_scanned: u64,
        bytes_cut: u64,
    },
    /// The log and its directory were removed.
    LogDeleted { partition: TopicIdPartition },
    /// Bytes on disk do not carry the checksum they were written with.
    SegmentCorrupt { partition: TopicIdPartition, segment: Offset, position: u64 },
    /// A log directory failed and is out of use until the next start. `index` counts the entries of `log.dirs`.
    LogDirOffline { index: u32 },
    /// An append found no space; the log stays as it was.
    LogDirFull { index: u32 },
    /// The state of an idle producer was dropped.
    ProducerExpired { partition: TopicIdPartition, producer: ProducerId },
    /// This node became the active controller.
    ControllerElected { broker: BrokerId, epoch: LeaderEpoch },
    /// This node is no longer the active controller.
    ControllerResigned { broker: BrokerId, epoch: LeaderEpoch },
    /// The controller committed metadata up to this offset, exclusive.
    MetadataCommitted { end_offset: Offset },
    /// A broker entered the cluster, fenced.
    BrokerRegistered { broker: BrokerId, broker_epoch: BrokerEpoch },
    /// A broker may lead no longer.
    BrokerFenced { broker: BrokerId, broker_epoch: BrokerEpoch },
    /// A broker may lead.
    BrokerUnfenced { broker: BrokerId, broker_epoch: BrokerEpoch },
    /// The controller created a topic.
    TopicCreated { topic_id: TopicId, partitions: u32 },
    /// The controller removed a topic.
    TopicDeleted { topic_id: TopicId },
    /// A partition has this leader, or none, from this epoch on.
    LeaderElected {
        partition: TopicIdPartition,
        leader: Option<BrokerId>,
        leader_epoch: LeaderEpoch,
        unclean: bool,
    },
    /// A producer id was handed out.
    ProducerIdAllocated { producer: ProducerId, epoch: ProducerEpoch },
    /// A connection was closed because what came over it was not a request we can frame or read.
    ConnectionRefused { error: ErrorCode },
}
