//! The control records of the quorum: who leads, who votes, and the frame of a snapshot.
//!
//! Kafka: `MemoryRecordsBuilder.appendLeaderChangeMessage` and its neighbours; KIP-595, KIP-630, KIP-853.

use bytes::{Bytes, BytesMut};

use super::Voter;
use crate::protocol::compression::Compression;
use crate::protocol::messages::Message;
use crate::protocol::metadata_records::{
    KRaftVersionRecord, LeaderChangeMessage, SnapshotFooterRecord, SnapshotHeaderRecord,
    VotersRecord, leader_change_message, voters_record,
};
use crate::protocol::record_batch::{BatchBuilder, ControlRecordType};
use crate::protocol::wire::Writer;
use crate::types::{BrokerId, Timestamp};

/// What the first batch of an epoch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderChange {
    /// Who was elected.
    pub leader: BrokerId,
    /// Who voted.
    pub voters: Vec<Voter>,
    /// Who voted for it.
    pub granting_voters: Vec<Voter>,
}

/// The version of the leader-change message that carries directories (KIP-853).
const LEADER_CHANGE_VERSION: i16 = 1;

fn body(message: &impl Message, version: i16) -> Bytes {
    let mut out = Writer::new();
    message.encode(version, &mut out).expect("control records are numbers and short names");
    let slices = out.finish();
    slices
        .iter()
        .fold(BytesMut::new(), |mut all, slice| {
            all.extend_from_slice(slice);
            all
        })
        .freeze()
}

/// The control batch that a new leader appends first.
#[must_use]
pub fn encode_leader_change(change: &LeaderChange, timestamp: Timestamp) -> Bytes {
    let voters = |voters: &[Voter]| {
        let of = |voter: &Voter| leader_change_message::Voter {
            voter_id: voter.id,
            voter_directory_id: voter.directory_id,
        };
        voters.iter().map(of).collect()
    };
    let message = LeaderChangeMessage {
        version: LEADER_CHANGE_VERSION,
        leader_id: change.leader,
        voters: voters(&change.voters),
        granting_voters: voters(&change.granting_voters),
    };
    let mut builder = BatchBuilder::new(Compression::NONE);
    let value = body(&message, LEADER_CHANGE_VERSION);
    builder.append_control(timestamp, ControlRecordType::LeaderChange, &value);
    builder.build()
}

/// The first record of a snapshot.
pub(super) fn append_snapshot_header(builder: &mut BatchBuilder, timestamp: Timestamp) {
    let message = SnapshotHeaderRecord { version: 0, last_contained_log_timestamp: timestamp };
    builder.append_control(timestamp, ControlRecordType::SnapshotHeader, &body(&message, 0));
}

/// The last record of a snapshot.
pub(super) fn append_snapshot_footer(builder: &mut BatchBuilder, timestamp: Timestamp) {
    let message = SnapshotFooterRecord { version: 0 };
    builder.append_control(timestamp, ControlRecordType::SnapshotFooter, &body(&message, 0));
}

/// That the voters are kept in the log, and who they are.
pub(super) fn append_voters(builder: &mut BatchBuilder, timestamp: Timestamp, voters: &[Voter]) {
    let version = KRaftVersionRecord { version: 0, kraft_version: 1 };
    builder.append_control(timestamp, ControlRecordType::KRaftVersion, &body(&version, 0));
    let of = |voter: &Voter| voters_record::Voter {
        voter_id: voter.id,
        voter_directory_id: voter.directory_id,
        // A quorum of one is asked by nobody.
        endpoints: Vec::new(),
        kraft_version_feature: voters_record::KRaftVersionFeature {
            min_supported_version: 0,
            max_supported_version: 1,
        },
    };
    let message = VotersRecord { version: 0, voters: voters.iter().map(of).collect() };
    builder.append_control(timestamp, ControlRecordType::KRaftVoters, &body(&message, 0));
}
