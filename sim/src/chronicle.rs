//! What each node was at every moment: its process, its part in the quorum, and of each replica its role, its log's end and its
//! high watermark. Kept from what the nodes say of themselves, a small entry for each change, for pictures: `report.html`,
//! `trace.json`, the pages of `reports/`.
//!
//! It judges nothing: the checks have a ghost of their own.

use std::collections::BTreeMap;

use ottla::types::{
    BrokerId, LeaderEpoch, Observation, Offset, QuorumRole, TopicIdPartition, TopicPartition, Uuid,
};

use crate::chunks::Chunks;
use crate::event::Who;
use crate::scenario::duration::Span;
use crate::views::{NodeTurn, Versions};

/// Something is otherwise from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// From when on.
    pub at: Span,
    /// With whom.
    pub who: Who,
    /// What.
    pub what: What,
}

/// What can be otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Its process.
    Process(NodeTurn),
    /// Its part in the metadata quorum.
    Quorum {
        /// Its role.
        role: QuorumRole,
        /// The epoch that it is in.
        epoch: LeaderEpoch,
        /// Whom it takes for the leader.
        leader: Option<BrokerId>,
    },
    /// It gave its vote.
    Voted {
        /// In which epoch.
        epoch: LeaderEpoch,
        /// To whom.
        candidate: BrokerId,
    },
    /// Whether it is the active controller.
    Active(bool),
    /// One of its replicas.
    Replica(TopicIdPartition, Replica),
}

/// What can be otherwise with a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replica {
    /// It leads in this term.
    Leads(LeaderEpoch),
    /// It follows in a term: this leader, if there is one.
    Follows(LeaderEpoch, Option<BrokerId>),
    /// Its log ends here, exclusive.
    End(Offset),
    /// Its high watermark, exclusive.
    HighWatermark(Offset),
    /// Its log is gone.
    Deleted,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Chronicle {
    /// In the order they happened.
    pub changes: Chunks<Change>,
    /// Every version of each partition, as the controller committed it and the first node told it.
    pub versions: Versions,
    /// What files call the partitions.
    pub names: BTreeMap<TopicIdPartition, TopicPartition>,
}

impl Chronicle {
    /// A node spoke of itself.
    pub fn observe(&mut self, at: Span, who: &Who, observation: &Observation) {
        if let Some(what) = change_of(observation) {
            self.changes.push(Change { at, who: who.clone(), what });
        }
    }

    /// Something happened to a node.
    pub fn turn(&mut self, at: Span, who: &Who, turn: NodeTurn) {
        self.changes.push(Change { at, who: who.clone(), what: What::Process(turn) });
    }

    /// The changes of one replica.
    pub fn of_replica<'a>(
        &'a self,
        who: &'a Who,
        partition: TopicIdPartition,
    ) -> impl Iterator<Item = (Span, Replica)> + 'a {
        self.changes.iter().filter_map(move |change| match change.what {
            What::Replica(of, replica) if of == partition && change.who == *who => {
                Some((change.at, replica))
            }
            What::Replica(..)
            | What::Process(_)
            | What::Quorum { .. }
            | What::Voted { .. }
            | What::Active(_) => None,
        })
    }

    /// The partitions that have a name and are no metadata, in the order of their names.
    #[must_use]
    pub fn partitions(&self) -> Vec<(TopicIdPartition, &TopicPartition)> {
        let of_topics = |(id, _): &(&TopicIdPartition, _)| id.topic_id != Uuid::METADATA_TOPIC;
        let mut all: Vec<_> =
            self.names.iter().filter(of_topics).map(|(id, name)| (*id, name)).collect();
        all.sort_by(|(_, one), (_, other)| {
            (&one.topic, one.partition).cmp(&(&other.topic, other.partition))
        });
        all
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others change nothing that is drawn")]
fn change_of(observation: &Observation) -> Option<What> {
    let (partition, replica) = match *observation {
        Observation::QuorumRoleChanged { epoch, role, leader, .. } => {
            return Some(What::Quorum { role, epoch, leader });
        }
        Observation::VoteGranted { epoch, candidate, is_pre_vote: false, .. } => {
            return Some(What::Voted { epoch, candidate });
        }
        Observation::ControllerElected { .. } => return Some(What::Active(true)),
        Observation::ControllerResigned { .. } => return Some(What::Active(false)),
        Observation::BecameLeader { partition, leader_epoch, .. } => {
            (partition, Replica::Leads(leader_epoch))
        }
        Observation::BecameFollower { partition, leader, leader_epoch, .. } => {
            (partition, Replica::Follows(leader_epoch, leader))
        }
        Observation::ProduceAppended { partition, end_offset, .. }
        | Observation::FollowerAppended { partition, end_offset, .. }
        | Observation::LogRecovered { partition, log_end_offset: end_offset, .. }
        | Observation::LogTruncated { partition, to: end_offset, .. } => {
            (partition, Replica::End(end_offset))
        }
        Observation::HighWatermarkAdvanced { partition, to, .. } => {
            (partition, Replica::HighWatermark(to))
        }
        Observation::LogDeleted { partition } => (partition, Replica::Deleted),
        _ => return None,
    };
    // The metadata log moves with every heartbeat of the cluster, and nobody looks at its curve.
    (partition.topic_id != Uuid::METADATA_TOPIC).then_some(What::Replica(partition, replica))
}

#[cfg(test)]
mod tests {
    use ottla::types::{PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn what_is_drawn_is_kept_and_the_rest_is_not() {
        let topic_id = TopicId::from_bytes([7; 16]);
        let partition = TopicIdPartition { topic_id, partition: PartitionIndex::new(0) };
        let metadata = TopicIdPartition { topic_id: Uuid::METADATA_TOPIC, ..partition };
        let (who, end) = (Who::Broker(2), Offset::new(9));
        let mut chronicle = Chronicle::default();
        chronicle.turn(Span::ZERO, &who, NodeTurn::Started);
        for partition in [metadata, partition] {
            let cut = Observation::LogTruncated { partition, from: Offset::new(12), to: end };
            chronicle.observe(Span::from_secs(3), &who, &cut);
        }
        let flushed = Observation::LogFlushed { partition, end_offset: end };
        chronicle.observe(Span::from_secs(4), &who, &flushed);
        let of_replica: Vec<_> = chronicle.of_replica(&who, partition).collect();
        assert_eq!(of_replica, [(Span::from_secs(3), Replica::End(end))]);
        assert_eq!(chronicle.changes.len(), 2, "the start, and the cut of the topic's partition");
    }
}
