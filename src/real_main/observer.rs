//! What a node says of itself, as log lines: a constant phrase, and fields that always have the same names. At INFO only what
//! changed; requests and batches below.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use ottla::runtime::{Observer, real_wall_clock};
use ottla::types::{
    CoordinatorTerm, GroupObservation, Observation, Sequence, TopicId, TopicIdPartition, Uuid,
};
use tracing::{debug, error, info, trace, warn};

/// Looks up a topic's name.
type TopicNames = Box<dyn Fn(TopicId) -> Option<Arc<str>> + Send + Sync>;

/// Turns observations into `tracing` events.
#[derive(Default)]
pub(crate) struct LogObserver {
    names: OnceLock<TopicNames>,
}

impl LogObserver {
    /// From now on topics are logged by name. Until then, while a node starts, by id.
    pub(crate) fn name_topics(&self, names: TopicNames) {
        // A second call changes nothing: a process runs one node.
        let _ = self.names.set(names);
    }

    fn topic(&self, topic_id: TopicId) -> String {
        if topic_id == Uuid::METADATA_TOPIC {
            return "__cluster_metadata".to_owned();
        }
        let name = self.names.get().and_then(|names| names(topic_id));
        name.map_or_else(|| topic_id.to_string(), |name| name.to_string())
    }

    fn name(&self, partition: TopicIdPartition) -> String {
        format!("{}-{}", self.topic(partition.topic_id), partition.partition)
    }
}

/// Appends observations to a file too, each with its time, a line of JSON and a write each: what was said before a `kill -9` is
/// there.
pub(crate) struct FileObserver {
    file: File,
    next: Arc<dyn Observer>,
}

/// A line of that file.
#[derive(serde::Serialize)]
struct Line {
    /// The wall clock's milliseconds.
    at: i64,
    observation: Observation,
}

impl FileObserver {
    /// Tells `next` as well.
    ///
    /// Errors: the file cannot be opened.
    pub(crate) fn open(path: &Path, next: Arc<dyn Observer>) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().create(true).append(true).open(path)?, next })
    }
}

impl Observer for FileObserver {
    fn observe(&self, observation: Observation) {
        let line = Line { at: real_wall_clock().millis(), observation };
        let mut text = serde_json::to_vec(&line).expect("observations are plain data");
        text.push(b'\n');
        // One write: lines of several threads do not mix. Nobody can be told that it failed, but whoever reads misses a line.
        let _ = (&self.file).write_all(&text);
        self.next.observe(observation);
    }
}

impl Observer for LogObserver {
    fn observe(&self, observation: Observation) {
        use Observation as O;
        match observation {
            O::NodeStarted { broker, broker_epoch } => {
                info!(target: "broker", node = %broker, %broker_epoch, "the broker serves");
            }
            O::NodeStopping { broker } => {
                info!(target: "broker", node = %broker, "the broker stops")
            }
            O::LogDirOffline { index } => {
                error!(target: "log", index, "a log directory failed and is out of use until the next start; nothing on it is acknowledged any more");
            }
            O::LogDirFull { index } => {
                warn!(target: "log", index, "no space for an append: it was refused, and the log stays as it was");
            }
            O::ControllerElected { broker, epoch } => {
                info!(target: "controller", node = %broker, %epoch, "became the active controller")
            }
            O::ControllerResigned { broker, epoch } => {
                info!(target: "controller", node = %broker, %epoch, "is no longer the active controller")
            }
            O::BrokerRegistered { broker, broker_epoch } => {
                info!(target: "controller", %broker, %broker_epoch, "a broker registered")
            }
            O::BrokerUnfenced { broker, broker_epoch } => {
                info!(target: "controller", %broker, %broker_epoch, "a broker may lead")
            }
            O::BrokerFenced { broker, broker_epoch } => {
                warn!(target: "controller", %broker, %broker_epoch, "a broker may no longer lead")
            }
            O::MetadataCommitted { end_offset } => {
                debug!(target: "controller", offset = %end_offset, "metadata committed")
            }
            O::TopicCreated { topic_id, partitions } => {
                info!(target: "controller", topic = self.topic(topic_id), partitions, "topic created")
            }
            O::TopicDeleted { topic_id } => {
                info!(target: "controller", topic = self.topic(topic_id), "topic deleted")
            }
            O::ProducerIdAllocated { producer, epoch } => {
                debug!(target: "broker", producer_id = %producer, %epoch, "producer id handed out")
            }
            O::ConnectionRefused { error } => {
                debug!(target: "network", %error, "a connection was closed")
            }
            O::IncarnationBegun { .. }
            | O::RegistrationChanged { .. }
            | O::RegistrationRemoved { .. }
            | O::QuorumRoleChanged { .. }
            | O::VoteGranted { .. }
            | O::MetadataAppended { .. }
            | O::QuorumHighWatermark { .. }
            | O::MetadataApplied { .. }
            | O::MetadataSnapshotLoaded { .. }
            | O::MetadataSnapshotSaved { .. } => observe_quorum(observation),
            O::PartitionChanged { .. }
            | O::MinIsrChanged { .. }
            | O::BecameLeader { .. }
            | O::BecameFollower { .. }
            | O::FollowerFetched { .. }
            | O::FollowerAppended { .. }
            | O::IsrProposed { .. }
            | O::IsrCommitted { .. }
            | O::IsrRefused { .. } => self.observe_replication(observation),
            O::ProduceReceived { .. }
            | O::ProduceAppended { .. }
            | O::ProduceAcked { .. }
            | O::ProduceDuplicate { .. }
            | O::ProduceOutOfOrder { .. }
            | O::ProduceFailed { .. }
            | O::FetchServed { .. }
            | O::FetchFailed { .. }
            | O::EndTold { .. }
            | O::HighWatermarkAdvanced { .. } => self.observe_requests(observation),
            O::LogFlushed { .. }
            | O::LogRolled { .. }
            | O::LogTruncated { .. }
            | O::LogStartMoved { .. }
            | O::LogRecovered { .. }
            | O::LogDeleted { .. }
            | O::SegmentCorrupt { .. }
            | O::ProducerExpired { .. }
            | O::LeaderElected { .. } => self.observe_logs(observation),
            O::Group { term, what } => self.observe_group(term, what),
        }
    }
}

impl LogObserver {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller has split the observations")]
    fn observe_requests(&self, observation: Observation) {
        use Observation as O;
        match observation {
            O::ProduceReceived { partition, acks, records, bytes } => {
                trace!(target: "produce", partition = self.name(partition), ?acks, records, bytes, "batch received");
            }
            O::ProduceAppended { partition, leader_epoch, base_offset, end_offset, .. } => {
                trace!(target: "produce", partition = self.name(partition), %leader_epoch, offset = %base_offset, %end_offset, "batch appended");
            }
            O::ProduceAcked { partition, base_offset, end_offset, .. } => {
                trace!(target: "produce", partition = self.name(partition), offset = %base_offset, %end_offset, "batch acknowledged");
            }
            O::ProduceDuplicate { partition, base_offset, producer } => {
                debug!(target: "produce", partition = self.name(partition), offset = %base_offset, producer_id = %producer.id, "batch repeated: answered with the first one's offset");
            }
            O::ProduceOutOfOrder { partition, producer, last_sequence } => {
                let last_sequence = last_sequence.map(Sequence::value);
                debug!(target: "produce", partition = self.name(partition), producer_id = %producer.id, sequence = %producer.base_sequence, last_sequence, "batch out of order")
            }
            O::ProduceFailed { partition, error } => {
                debug!(target: "produce", partition = self.name(partition), %error, "batch refused")
            }
            O::FetchServed { partition, fetch_offset, end_offset, high_watermark } => {
                trace!(target: "fetch", partition = self.name(partition), offset = %fetch_offset, %end_offset, %high_watermark, "records served");
            }
            O::EndTold { partition, leader_epoch, end_offset } => {
                trace!(target: "fetch", partition = self.name(partition), %leader_epoch, %end_offset, "end of the log told");
            }
            O::FetchFailed { partition, error } => {
                debug!(target: "fetch", partition = self.name(partition), %error, "fetch refused")
            }
            O::HighWatermarkAdvanced { partition, to, .. } => {
                trace!(target: "replication", partition = self.name(partition), high_watermark = %to, "high watermark advanced")
            }
            _ => {}
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller has split the observations")]
    fn observe_logs(&self, observation: Observation) {
        use Observation as O;
        match observation {
            O::LogFlushed { partition, end_offset } => {
                debug!(target: "log", partition = self.name(partition), offset = %end_offset, "log flushed")
            }
            O::LogRolled { partition, base_offset } => {
                debug!(target: "log", partition = self.name(partition), offset = %base_offset, "new segment")
            }
            O::LogTruncated { partition, from, to } => {
                info!(target: "log", partition = self.name(partition), %from, %to, "log truncated");
            }
            O::LogStartMoved { partition, from, to } => {
                info!(target: "log", partition = self.name(partition), %from, %to, "log start moved")
            }
            O::LogRecovered {
                partition,
                log_start_offset,
                log_end_offset,
                bytes_scanned,
                bytes_cut,
                ..
            } if bytes_cut > 0 => {
                warn!(target: "log", partition = self.name(partition), start = %log_start_offset, end = %log_end_offset, bytes_scanned, bytes_cut, "log recovered: bytes that made no whole batch were cut off");
            }
            O::LogRecovered {
                partition, log_start_offset, log_end_offset, bytes_scanned, ..
            } => {
                info!(target: "log", partition = self.name(partition), start = %log_start_offset, end = %log_end_offset, bytes_scanned, "log opened");
            }
            O::LogDeleted { partition } => {
                info!(target: "log", partition = self.name(partition), "log deleted")
            }
            O::SegmentCorrupt { partition, segment, position } => {
                error!(target: "log", partition = self.name(partition), %segment, position, "bytes on disk do not carry the checksum they were written with: they are not served");
            }
            O::ProducerExpired { partition, producer } => {
                debug!(target: "log", partition = self.name(partition), producer_id = %producer, "idle producer forgotten")
            }
            O::LeaderElected { partition, leader, leader_epoch, unclean } => {
                let leader = leader.map_or(-1, |leader| leader.value());
                info!(target: "controller", partition = self.name(partition), leader, %leader_epoch, unclean, "leader elected");
            }
            _ => {}
        }
    }
}

impl LogObserver {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller has split the observations")]
    fn observe_replication(&self, observation: Observation) {
        use Observation as O;
        match observation {
            O::PartitionChanged {
                partition,
                partition_epoch,
                leader,
                leader_epoch,
                isr,
                elr,
                ..
            } => {
                let leader = leader.map_or(-1, |leader| leader.value());
                debug!(target: "metadata", partition = self.name(partition), %partition_epoch, leader, %leader_epoch, %isr, %elr, "partition changed");
            }
            O::MinIsrChanged { partition, min_isr } => {
                info!(target: "replication", partition = self.name(partition), min_isr, "another number of in-sync replicas is required")
            }
            O::BecameLeader { partition, leader_epoch, start_offset, isr, .. } => {
                info!(target: "replication", partition = self.name(partition), %leader_epoch, offset = %start_offset, %isr, "leads");
            }
            O::BecameFollower { partition, leader, leader_epoch, .. } => {
                let leader = leader.map_or(-1, |leader| leader.value());
                info!(target: "replication", partition = self.name(partition), leader, %leader_epoch, "follows");
            }
            O::FollowerFetched { partition, replica, fetch_offset, .. } => {
                trace!(target: "replication", partition = self.name(partition), %replica, offset = %fetch_offset, "a follower fetched");
            }
            O::FollowerAppended { partition, leader_epoch, base_offset, end_offset, .. } => {
                trace!(target: "replication", partition = self.name(partition), %leader_epoch, offset = %base_offset, %end_offset, "batch replicated");
            }
            O::IsrProposed { partition, leader_epoch, isr, .. } => {
                info!(target: "replication", partition = self.name(partition), %leader_epoch, %isr, "another ISR is asked for");
            }
            O::IsrCommitted { partition, leader_epoch, partition_epoch, isr } => {
                info!(target: "replication", partition = self.name(partition), %leader_epoch, %partition_epoch, %isr, "the ISR is committed");
            }
            O::IsrRefused { partition, leader_epoch, error } => {
                warn!(target: "replication", partition = self.name(partition), %leader_epoch, %error, "the controller refused another ISR");
            }
            _ => {}
        }
    }
}

impl LogObserver {
    fn observe_group(&self, term: CoordinatorTerm, what: GroupObservation) {
        use GroupObservation as G;
        let CoordinatorTerm { partition: coordinator, leader_epoch } = term;
        match what {
            G::Loaded { end_offset, .. } => {
                debug!(target: "groups", %coordinator, %leader_epoch, offset = %end_offset, "the coordinator answers");
            }
            G::Unloaded => {
                debug!(target: "groups", %coordinator, %leader_epoch, "the coordinator answers no longer");
            }
            G::GroupLoaded { group, generation, members, .. } => {
                debug!(target: "groups", %group, %generation, members, "group read from the log");
            }
            G::PhaseChanged { group, phase, generation, .. } => {
                info!(target: "groups", %group, %generation, state = phase.name(), "group in another state");
            }
            G::MemberCame { group, member, .. } => {
                info!(target: "groups", %group, %member, "member came")
            }
            G::MemberGone { group, member, end } => {
                info!(target: "groups", %group, %member, ?end, "member gone")
            }
            G::ConsumerCame { group, member, .. } => {
                info!(target: "groups", %group, %member, "member came")
            }
            G::ConsumerGone { group, member } => {
                info!(target: "groups", %group, %member, "member gone")
            }
            G::EpochReached { group, member, epoch: Some(generation) } => {
                debug!(target: "groups", %group, %member, %generation, "member in another epoch");
            }
            G::GroupStands { group, phase, epoch: generation, .. } => {
                debug!(target: "groups", %group, %generation, state = phase.name(), "group of consumers changed");
            }
            G::GenerationBegan { group, generation, members, .. } => {
                info!(target: "groups", %group, %generation, members, "generation began");
            }
            G::CommitRefused { group, committer, error } => {
                let member = committer.member.map(|member| member.to_string()).unwrap_or_default();
                debug!(target: "groups", %group, member, %error, "commit refused");
            }
            G::OffsetForgotten { group, partition, end } => {
                debug!(target: "groups", %group, partition = self.name(partition), ?end, "offset forgotten");
            }
            G::GroupForgotten { group } => debug!(target: "groups", %group, "group forgotten"),
            G::OffsetCommitted { group, partition, offset, .. } => {
                trace!(target: "groups", %group, partition = self.name(partition), %offset, "offset committed");
            }
            G::OffsetLoaded { .. }
            | G::JoinAnswered { .. }
            | G::SubscriptionsRead { .. }
            | G::Subscribed { .. }
            | G::AssignmentGiven { .. }
            | G::PartitionGiven { .. }
            | G::AssignmentTold { .. }
            | G::TargetBegan { .. }
            | G::PartitionTargeted { .. }
            | G::TargetsSaid { .. }
            | G::TargetsOf { .. }
            | G::EpochReached { .. }
            | G::PartitionHeld { .. }
            | G::EpochTold { .. }
            | G::CommitTold { .. }
            | G::OffsetFetched { .. } => {}
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the caller has split the observations")]
fn observe_quorum(observation: Observation) {
    use Observation as O;
    match observation {
        O::IncarnationBegun { broker, incarnation_id } => {
            debug!(target: "metadata", %broker, incarnation = %incarnation_id, "to be registered");
        }
        O::RegistrationChanged {
            broker, broker_epoch, is_fenced, in_controlled_shutdown, ..
        } => {
            debug!(target: "metadata", %broker, %broker_epoch, is_fenced, in_controlled_shutdown, "registration changed");
        }
        O::RegistrationRemoved { broker, .. } => {
            debug!(target: "metadata", %broker, "registration removed")
        }
        O::QuorumRoleChanged { node, epoch, role, leader } => {
            let leader = leader.map_or(-1, |leader| leader.value());
            info!(target: "quorum", %node, %epoch, ?role, leader, "another role in the metadata quorum");
        }
        O::VoteGranted { voter, epoch, candidate, is_pre_vote } => {
            info!(target: "quorum", node = %voter, %epoch, %candidate, is_pre_vote, "vote granted");
        }
        O::MetadataAppended { epoch, base_offset, end_offset, .. } => {
            trace!(target: "quorum", %epoch, offset = %base_offset, %end_offset, "metadata appended");
        }
        O::QuorumHighWatermark { epoch, high_watermark, .. } => {
            trace!(target: "quorum", %epoch, %high_watermark, "metadata is committed");
        }
        O::MetadataApplied { end_offset, epoch } => {
            trace!(target: "metadata", offset = %end_offset, %epoch, "metadata applied")
        }
        O::MetadataSnapshotLoaded { end_offset, epoch, .. } => {
            info!(target: "metadata", offset = %end_offset, %epoch, "metadata loaded from a snapshot");
        }
        O::MetadataSnapshotSaved { end_offset, epoch, .. } => {
            debug!(target: "metadata", offset = %end_offset, %epoch, "metadata written down as a snapshot");
        }
        _ => {}
    }
}
