//! What the shapes say of themselves. The real build turns observations into `tracing` and metrics; the testbed feeds them
//! to its checkers and draws the timeline from them. Where a testbed runs real nodes they travel between processes as JSON.

use serde::{Deserialize, Serialize};

use super::{
    BrokerEpoch, BrokerId, BrokerSet, CoordinatorTerm, ErrorCode, GroupObservation, LeaderEpoch,
    Offset, PartitionEpoch, ProducerEpoch, ProducerId, Sequence, TopicId, TopicIdPartition, Uuid,
};

/// When a produce request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Acks {
    /// `0`: never.
    None,
    /// `1`: when the leader has written it.
    Leader,
    /// `-1` or `all`: when it is below the high watermark.
    All,
}

/// Which producer wrote a batch, and where in that producer's sequence it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// The sequence of the batch's first record.
    pub base_sequence: Sequence,
}

/// What a node is in the metadata quorum (KIP-595, KIP-996).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum QuorumRole {
    /// A voter that knows no leader of its epoch.
    Unattached,
    /// A voter that asks whether an election would be of use (pre-vote).
    Prospective,
    /// A voter that asks for votes.
    Candidate,
    /// The leader; active only once a record of its own epoch is committed.
    Leader,
    /// A voter that follows a leader.
    Follower,
    /// A leader that gave up in its own epoch.
    Resigned,
    /// No voter: it only fetches.
    Observer,
}

/// Something a node did that a checker, a person or a metric wants to know. Plain data, without heap.
///
/// Ranges are half-open: `base_offset..end_offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields carry the project's ordinary names")]
pub enum Observation {
    /// The node is ready to serve.
    NodeStarted { broker: BrokerId, broker_epoch: BrokerEpoch },
    /// The node ends in good order.
    NodeStopping { broker: BrokerId },
    /// The broker has begun, and names this start of it: under this name it registers. Once in each process.
    IncarnationBegun { broker: BrokerId, incarnation_id: Uuid },
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
    /// A batch does not follow what is known of its producer: it is refused with OUT_OF_ORDER_SEQUENCE_NUMBER. `last_sequence` is that
    /// of the producer's last record, where its epoch has any.
    ProduceOutOfOrder {
        partition: TopicIdPartition,
        producer: ProducerStamp,
        last_sequence: Option<Sequence>,
    },
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
    /// Records were handed to a reader. Consumers only: followers read above the high watermark ([`Self::FollowerFetched`]).
    FetchServed {
        partition: TopicIdPartition,
        fetch_offset: Offset,
        end_offset: Offset,
        high_watermark: Offset,
    },
    /// A consumer was told the end of the log, the offset after the last record that it may read (ListOffsets). By the broker that
    /// answers; `leader_epoch` is the term in which it was asked.
    EndTold { partition: TopicIdPartition, leader_epoch: LeaderEpoch, end_offset: Offset },
    /// A reader was refused.
    FetchFailed { partition: TopicIdPartition, error: ErrorCode },
    /// The high watermark moved, at the leader or at a follower.
    ///
    /// At the leader `isr` is the ISR that the controller last committed and told it, and `maximal_isr` that with the pending
    /// proposal's members: over this one the watermark is computed (KIP-497). At a follower both are empty. `leader_epoch` is
    /// the term in which the replica leads or follows, `None` where it does neither.
    HighWatermarkAdvanced {
        partition: TopicIdPartition,
        from: Offset,
        to: Offset,
        is_leader: bool,
        leader_epoch: Option<LeaderEpoch>,
        isr: BrokerSet,
        maximal_isr: BrokerSet,
    },
    /// Everything below `end_offset` is durable.
    LogFlushed { partition: TopicIdPartition, end_offset: Offset },
    /// A new segment was begun.
    LogRolled { partition: TopicIdPartition, base_offset: Offset },
    /// The end of the log was cut back. Where `to` is not below `from`, all of the log is gone, and it begins anew there.
    LogTruncated { partition: TopicIdPartition, from: Offset, to: Offset },
    /// The start of the log moved up.
    LogStartMoved { partition: TopicIdPartition, from: Offset, to: Offset },
    /// The log was opened. After a clean stop nothing is scanned.
    LogRecovered {
        partition: TopicIdPartition,
        log_start_offset: Offset,
        log_end_offset: Offset,
        /// Everything below is held to be durable.
        durable_end_offset: Offset,
        /// Where the scan began: what the index files say of earlier batches is believed.
        scanned_from: Option<Offset>,
        bytes_scanned: u64,
        bytes_cut: u64,
    },
    /// The log and its directory were removed, or set aside: nobody claims it.
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
    /// The committed state of a partition as this node now knows it.
    ///
    /// By *every* node, brokers too, for each partition that differs between the images before and after it applied committed
    /// metadata (`MetadataDelta`): a controller that dies between commit and telling would else leave a hole. One version is
    /// one state: the checkers take the first and hold the others against it. `replicas` are all of them, those of a
    /// reassignment too, which has `adding` and `removing` among them. `is_unclean`: the leader changed to one that was in neither ISR nor ELR before.
    PartitionChanged {
        partition: TopicIdPartition,
        partition_epoch: PartitionEpoch,
        leader: Option<BrokerId>,
        leader_epoch: LeaderEpoch,
        replicas: BrokerSet,
        adding: BrokerSet,
        removing: BrokerSet,
        isr: BrokerSet,
        elr: BrokerSet,
        last_known_leader: Option<BrokerId>,
        is_recovering: bool,
        is_unclean: bool,
    },
    /// The effective minimum of in-sync replicas (the lesser of `min.insync.replicas` and the replication factor) changed within
    /// a term. By the leading partition's machine.
    MinIsrChanged { partition: TopicIdPartition, min_isr: u32 },
    /// The committed registration of a broker as this node now knows it. By every node, as [`Self::PartitionChanged`] and before
    /// those of the same delta; also where it is again what this node knew, and others know what was in between. `end_offset` is that of the image: of two words for one incarnation the later one counts.
    RegistrationChanged {
        end_offset: Offset,
        broker: BrokerId,
        broker_epoch: BrokerEpoch,
        incarnation_id: Uuid,
        is_fenced: bool,
        in_controlled_shutdown: bool,
    },
    /// A broker is registered no longer (UnregisterBroker). By every node, as above.
    RegistrationRemoved { end_offset: Offset, broker: BrokerId },
    /// This replica leads in a new term, and from now on takes appends. By the partition's machine, once in each term it leads;
    /// `start_offset` is the log's end at that moment, written into the epoch cache before anything is served.
    BecameLeader {
        partition: TopicIdPartition,
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
        start_offset: Offset,
        isr: BrokerSet,
        min_isr: u32,
    },
    /// This replica follows in a new term, or follows another leader. By the partition's machine. `log_end_offset` is its log's
    /// end at that moment, exclusive, with what it took in earlier terms and has not written yet.
    BecameFollower {
        partition: TopicIdPartition,
        leader: Option<BrokerId>,
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
        log_end_offset: Offset,
    },
    /// This leader accepted the fetch of a replica, which says by it that it holds everything below `fetch_offset`. By the
    /// leader's machine when it has noted that, before the watermark moves by it. Not for fetches that were refused, nor for
    /// those that were answered with a diverging epoch. `current_leader_epoch` is the replica's word for the term.
    FollowerFetched {
        partition: TopicIdPartition,
        leader_epoch: LeaderEpoch,
        replica: BrokerId,
        broker_epoch: Option<BrokerEpoch>,
        current_leader_epoch: Option<LeaderEpoch>,
        fetch_offset: Offset,
    },
    /// A batch from the leader was written to this follower's log: the same that [`Self::ProduceAppended`] says at the leader,
    /// once for each batch, at the same moment of the write. `leader_epoch` is the batch's own; `current_leader_epoch` the
    /// term in which this replica follows.
    FollowerAppended {
        partition: TopicIdPartition,
        current_leader_epoch: LeaderEpoch,
        leader_epoch: LeaderEpoch,
        base_offset: Offset,
        end_offset: Offset,
        producer: Option<ProducerStamp>,
        crc: u32,
    },
    /// This leader asks the controller for another ISR (AlterPartition). By the partition's machine when it decides so;
    /// `partition_epoch` is the version that the change is for. Ends with [`Self::IsrCommitted`], [`Self::IsrRefused`] or the
    /// end of the term.
    IsrProposed {
        partition: TopicIdPartition,
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
        isr: BrokerSet,
    },
    /// This leader took over the ISR that the controller committed, by AlterPartition's answer or by the metadata, within its
    /// term: nothing is pending now. By the partition's machine.
    IsrCommitted {
        partition: TopicIdPartition,
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
        isr: BrokerSet,
    },
    /// The controller refused a proposal for good: the leader goes back to the committed ISR. By the partition's machine.
    IsrRefused { partition: TopicIdPartition, leader_epoch: LeaderEpoch, error: ErrorCode },
    /// This node is something else in the metadata quorum, or the same in another epoch. By the quorum's machine at each
    /// transition, the first after a start included; where the state must be durable first, after it is.
    QuorumRoleChanged {
        node: BrokerId,
        epoch: LeaderEpoch,
        role: QuorumRole,
        leader: Option<BrokerId>,
    },
    /// This voter gave its vote, and the vote is durable (a pre-vote need not be). By the quorum's machine, right before the
    /// reply leaves; for its own candidacy too.
    VoteGranted { voter: BrokerId, epoch: LeaderEpoch, candidate: BrokerId, is_pre_vote: bool },
    /// A batch was written to this node's metadata log (not yet necessarily durable): by leader and followers, once for each
    /// batch. `epoch` is the batch's own. Its flushing, truncation, recovery and start are told as those of other logs, with
    /// the metadata topic's id.
    MetadataAppended { epoch: LeaderEpoch, base_offset: Offset, end_offset: Offset, crc: u32 },
    /// The quorum's high watermark as this node knows it moved: everything below is committed. By the quorum's machine, on
    /// leader, followers and observers. `epoch` is the node's current one.
    QuorumHighWatermark { node: BrokerId, epoch: LeaderEpoch, high_watermark: Offset },
    /// This node's published image holds all metadata below `end_offset`; `epoch` is that of the last record in it. By the
    /// metadata task of every node when it publishes.
    MetadataApplied { end_offset: Offset, epoch: LeaderEpoch },
    /// This node replaced its metadata by a snapshot that it read or was sent, instead of applying each record. `digest` is that of
    /// the whole image.
    MetadataSnapshotLoaded { end_offset: Offset, epoch: LeaderEpoch, digest: u64 },
    /// This node wrote its committed metadata down as a snapshot. `digest` is that of the whole image that it was made of.
    MetadataSnapshotSaved { end_offset: Offset, epoch: LeaderEpoch, digest: u64 },
    /// A producer id was handed out.
    ProducerIdAllocated { producer: ProducerId, epoch: ProducerEpoch },
    /// A connection was closed because what came over it was not a request we can frame or read.
    ConnectionRefused { error: ErrorCode },
    /// A group coordinator did something.
    Group { term: CoordinatorTerm, what: GroupObservation },
}
