//! Sending a snapshot, part by part, to who ends before the leader's log begins; and receiving it (KIP-630).
//!
//! Kafka: `KafkaRaftClient.handleFetchSnapshotRequest`, `handleFetchSnapshotResponse`.

use super::follower::FETCH_BYTES_MAX;
use super::message::{METADATA_TOPIC, PARTITION, fetch_snapshot_response, only};
use super::{Effect, QuorumRequest, QuorumResponse, Raft, Reply, Role, SnapshotId, Voter};
use crate::protocol::messages::{
    FetchSnapshotRequest, FetchSnapshotResponse, fetch_snapshot_request,
    fetch_snapshot_response as wire,
};
use crate::types::{BrokerId, ErrorCode, Now, Offset};

/// A larger snapshot is not believed, in bytes: Kafka's positions in one are below 2^31.
const SNAPSHOT_BYTES_MAX: u64 = i32::MAX as u64;

/// A snapshot while it is being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SnapshotFetch {
    id: SnapshotId,
    /// How many bytes are here.
    position: u64,
}

impl Raft {
    /// Answers who asks for a part of a snapshot.
    pub(super) fn on_fetch_snapshot(&mut self, now: Now, request: &FetchSnapshotRequest) -> Reply {
        let Some((name, partition)) = partition_of(request) else {
            let request = QuorumRequest::FetchSnapshot(FetchSnapshotRequest::default());
            return Reply::Whole(request.refused(ErrorCode::InvalidRequest));
        };
        if name != METADATA_TOPIC || partition.partition != PARTITION {
            return self.refuse_snapshot(ErrorCode::UnknownTopicOrPartition);
        }
        if let Some(error) = self.leader_request_error(partition.current_leader_epoch) {
            return self.refuse_snapshot(error);
        }
        let asked = &partition.snapshot_id;
        let (Some(end_offset), Some(epoch)) = (asked.end_offset, asked.epoch) else {
            return self.refuse_snapshot(ErrorCode::SnapshotNotFound);
        };
        let id = SnapshotId { end_offset, epoch };
        let Some(size) = self.log.sendable_snapshot(id) else {
            crate::mark!("a snapshot is asked for that is gone");
            return self.refuse_snapshot(ErrorCode::SnapshotNotFound);
        };
        let position = u64::try_from(partition.position).ok().filter(|position| *position < size);
        let Some(position) = position else {
            return self.refuse_snapshot(ErrorCode::PositionOutOfRange);
        };
        if let (Role::Leader(leader), Some(replica)) = (&mut self.role, request.replica_id)
            && replica != self.config.node
        {
            let member = Voter::new(replica, partition.replica_directory_id);
            leader.on_contact(now, member, &self.config);
        }
        let rest = wire::PartitionSnapshot {
            snapshot_id: wire::SnapshotId { end_offset: Some(end_offset), epoch: Some(epoch) },
            size: i64::try_from(size).unwrap_or(i64::MAX),
            position: partition.position,
            ..Default::default()
        };
        let response = fetch_snapshot_response(self.standing(ErrorCode::None), rest);
        let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0);
        Reply::SnapshotPart { response, id, position, max_bytes }
    }

    fn refuse_snapshot(&self, error: ErrorCode) -> Reply {
        let nothing = wire::PartitionSnapshot::default();
        let response = fetch_snapshot_response(self.standing(error), nothing);
        Reply::Whole(QuorumResponse::FetchSnapshot(response))
    }

    /// The leader says that its snapshot comes first. Returns whether that can be: it must bring more than there is here, and
    /// all of what is committed.
    pub(super) fn begin_snapshot(&mut self, id: SnapshotId) -> bool {
        let own = (self.log.last_epoch(), self.log.written_end);
        if (id.epoch, id.end_offset) <= own
            || Some(id.end_offset) < self.high_watermark
            || id.epoch > self.epoch
        {
            crate::mark!("a follower refuses a snapshot that brings nothing");
            return false;
        }
        let Role::Follower(follower) = &mut self.role else { return false };
        follower.snapshot = Some(SnapshotFetch { id, position: 0 });
        true
    }

    pub(super) fn fetch_snapshot_request(&self, fetch: SnapshotFetch) -> FetchSnapshotRequest {
        let partition = fetch_snapshot_request::PartitionSnapshot {
            partition: PARTITION,
            current_leader_epoch: Some(self.epoch),
            snapshot_id: fetch_snapshot_request::SnapshotId {
                end_offset: Some(fetch.id.end_offset),
                epoch: Some(fetch.id.epoch),
            },
            position: i64::try_from(fetch.position).expect("positions stay below 2^31"),
            replica_directory_id: self.config.directory_id,
        };
        let topic = fetch_snapshot_request::TopicSnapshot {
            name: METADATA_TOPIC.to_owned(),
            partitions: vec![partition],
        };
        FetchSnapshotRequest {
            cluster_id: Some(self.config.cluster_id.clone()),
            replica_id: Some(self.config.node),
            max_bytes: FETCH_BYTES_MAX,
            topics: vec![topic],
        }
    }

    /// Takes a part of the snapshot. Returns whether it was of use.
    pub(super) fn on_snapshot_fetched(
        &mut self,
        now: Now,
        from: BrokerId,
        response: &FetchSnapshotResponse,
        out: &mut Vec<Effect>,
    ) -> bool {
        let partition = only(&response.topics).and_then(|topic| only(&topic.partitions));
        let Some(partition) = partition.filter(|_| response.error_code.is_none()) else {
            return false;
        };
        let leader = &partition.current_leader;
        let said = (leader.leader_id, leader.leader_epoch);
        let Some(error) = self.heard(now, partition.error_code, said, out) else { return false };
        if Some(from) != self.leader {
            return false;
        }
        let Role::Follower(follower) = &mut self.role else { return true };
        let Some(fetch) = follower.snapshot else { return true };
        match next_part(fetch, error, partition) {
            Some(is_last) => {
                let bytes = partition.unaligned_records.to_bytes();
                let position = fetch.position + bytes.len() as u64;
                follower.snapshot = Some(SnapshotFetch { position, ..fetch });
                out.push(Effect::KeepSnapshotPart { position: fetch.position, bytes });
                if is_last {
                    follower.snapshot = None;
                    self.log.is_changing = true;
                    out.push(Effect::InstallSnapshot { id: fetch.id });
                }
                self.refresh_patience(now);
                true
            }
            None => {
                // The leader may have a newer one by now: begin again with an ordinary fetch.
                crate::mark!("the fetch of a snapshot begins anew");
                follower.snapshot = None;
                false
            }
        }
    }

    pub(super) fn on_snapshot_installed(
        &mut self,
        id: SnapshotId,
        size: u64,
        out: &mut Vec<Effect>,
    ) {
        assert!(Some(id.end_offset) >= self.high_watermark, "a snapshot covers what is committed");
        self.log.replaced(id, size);
        self.commit(id.end_offset, out);
    }

    pub(super) fn on_snapshot_refused(&mut self, now: Now) {
        self.log.is_changing = false;
        self.leave_leader_alone(now);
    }
}

/// Whether the part is what was asked for, and then whether it is the last.
fn next_part(
    fetch: SnapshotFetch,
    error: ErrorCode,
    part: &wire::PartitionSnapshot,
) -> Option<bool> {
    let id = SnapshotId {
        end_offset: part.snapshot_id.end_offset.unwrap_or(Offset::MAX),
        epoch: part.snapshot_id.epoch?,
    };
    let size = u64::try_from(part.size).ok()?;
    let end = fetch.position + part.unaligned_records.len() as u64;
    let fits = error.is_none()
        && id == fetch.id
        && u64::try_from(part.position) == Ok(fetch.position)
        && fetch.position < end
        && end <= size
        && size <= SNAPSHOT_BYTES_MAX;
    fits.then_some(end == size)
}

fn partition_of(
    request: &FetchSnapshotRequest,
) -> Option<(&str, &fetch_snapshot_request::PartitionSnapshot)> {
    let topic = only(&request.topics)?;
    Some((topic.name.as_str(), only(&topic.partitions)?))
}
