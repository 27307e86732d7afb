//! What a group coordinator says of itself: of its groups, their members and offsets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    ErrorCode, GenerationId, LeaderEpoch, Offset, PartitionIndex, ShortName, TopicId,
    TopicIdPartition,
};

/// Which coordinator speaks: the one that leads this partition of `__consumer_offsets` in this term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CoordinatorTerm {
    /// Of `__consumer_offsets`.
    pub partition: PartitionIndex,
    /// The term in which it leads.
    pub leader_epoch: LeaderEpoch,
}

/// Which of the two protocols a group speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GroupProtocol {
    /// Members assign. A group that only keeps offsets counts as one of these.
    Classic,
    /// The coordinator assigns (KIP-848).
    Consumer,
}

impl GroupProtocol {
    /// Kafka's name of it, as in `classic` (Kafka: `Group.GroupType`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// Where a group stands between two generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GroupPhase {
    /// It has no members.
    Empty,
    /// Members are to join.
    PreparingRebalance,
    /// All have joined; the leader is to say who gets what.
    CompletingRebalance,
    /// The leader has said it.
    Stable,
}

impl GroupPhase {
    /// Kafka's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// Where a group of the consumer protocol stands (KIP-848).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConsumerPhase {
    /// It has no members.
    Empty,
    /// Its epoch has no target yet.
    Assigning,
    /// Some member has not come to the target.
    Reconciling,
    /// All have what they are to have.
    Stable,
}

impl ConsumerPhase {
    /// Kafka's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// Why a member is in its group no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MemberEnd {
    /// It left, or was taken out by an administrator.
    Left,
    /// It was silent for its session timeout.
    Silent,
    /// It did not join the next generation in time, or did not ask for its assignment.
    Late,
    /// Its static member's next process took its place (KIP-345).
    Replaced,
    /// The group is full.
    TurnedAway,
}

/// Why an offset is committed no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OffsetEnd {
    /// Its time was over (KIP-211).
    Expired,
    /// An administrator deleted it.
    Deleted,
    /// Its group was deleted.
    GroupDeleted,
    /// Its topic was deleted.
    TopicDeleted,
}

/// Who commits an offset, as it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Committer {
    /// The member; `None` for one that claims no membership.
    pub member: Option<ShortName>,
    /// Its name where it is a static member.
    pub instance: Option<ShortName>,
    /// The generation that it means, or the member epoch.
    pub generation: Option<GenerationId>,
}

/// Something that a group coordinator did. Plain data, without heap.
///
/// What the log carries ([`Self::is_of_log`]) is said when it was appended, and may be lost with the leadership; what a client was
/// told is said when it is committed and the answer leaves. The rest is said when it is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields carry the project's ordinary names")]
pub enum GroupObservation {
    /// The coordinator's log was read up to `end_offset`, exclusive, and from now on it answers. What it read was said just before.
    Loaded { partition: TopicIdPartition, end_offset: Offset },
    /// The coordinator answers no longer: somebody else leads, the broker stops, or its disk lost what it had taken.
    Unloaded,
    /// The log has this group, with so many members, of this generation (the epoch, in the consumer protocol).
    GroupLoaded {
        group: ShortName,
        protocol: GroupProtocol,
        generation: GenerationId,
        members: u32,
    },
    /// The log has this offset. Those of topics that the broker does not know are not told.
    OffsetLoaded { group: ShortName, partition: TopicIdPartition, offset: Offset },
    /// A group is in another state, in this generation. Also when a coordinator takes up a group that the log has. `limit` is the
    /// longest rebalance timeout of its members: so long may they let it wait in the states between two generations.
    PhaseChanged { group: ShortName, phase: GroupPhase, generation: GenerationId, limit: Duration },
    /// A member is in the group: it came, or the log has it. It need not have joined a generation yet.
    MemberCame { group: ShortName, member: ShortName, instance: Option<ShortName> },
    /// A member is in the group no longer.
    MemberGone { group: ShortName, member: ShortName, end: MemberEnd },
    /// The next generation begins, with so many members, of which the leader is to assign in this way.
    GenerationBegan {
        group: ShortName,
        generation: GenerationId,
        members: u32,
        assignor: Option<ShortName>,
    },
    /// A member is in this generation: its JoinGroup is answered so, unless the answer waits too long for what the log took before it.
    JoinAnswered { group: ShortName, member: ShortName, generation: GenerationId },
    /// What the members read was looked at, and is said next, a topic each. `is_known`: whether that can be known at all.
    SubscriptionsRead { group: ShortName, is_known: bool },
    /// Some member reads this topic, which exists.
    Subscribed { group: ShortName, topic_id: TopicId },
    /// The leader gave a member this in the generation; `hash` is that of the bytes. Its partitions are said next, where they can be
    /// read and are known.
    AssignmentGiven { group: ShortName, member: ShortName, generation: GenerationId, hash: u32 },
    /// A partition that is part of it.
    PartitionGiven {
        group: ShortName,
        member: ShortName,
        generation: GenerationId,
        partition: TopicIdPartition,
    },
    /// A member was told what it has in this generation.
    AssignmentTold { group: ShortName, member: ShortName, generation: GenerationId, hash: u32 },
    /// A member is in a group of the consumer protocol.
    ConsumerCame { group: ShortName, member: ShortName, instance: Option<ShortName> },
    /// A member is in a group of the consumer protocol no longer.
    ConsumerGone { group: ShortName, member: ShortName },
    /// A member of a group of the consumer protocol is to have what is said next, a partition each, and nothing else.
    TargetBegan { group: ShortName, member: ShortName },
    /// A partition that is part of it.
    PartitionTargeted { group: ShortName, member: ShortName, partition: TopicIdPartition },
    /// With that all of the consumer group is given away. What its members read is said next, a topic each.
    TargetsSaid { group: ShortName },
    /// Some member of the consumer group reads this topic, which exists.
    TargetsOf { group: ShortName, topic_id: TopicId },
    /// A member of a group of the consumer protocol came to this epoch, and has what is said next, a partition each, and nothing else.
    /// `None` before its first epoch, and for a static member that is away.
    EpochReached { group: ShortName, member: ShortName, epoch: Option<GenerationId> },
    /// A partition that is part of it, which it may still read where `is_given_up`; it has it since this epoch.
    PartitionHeld {
        group: ShortName,
        member: ShortName,
        partition: TopicIdPartition,
        since: Option<GenerationId>,
        is_given_up: bool,
    },
    /// After something of a group of the consumer protocol was said: so it stands now. `limit`: so long may its members let it wait.
    GroupStands {
        group: ShortName,
        phase: ConsumerPhase,
        epoch: GenerationId,
        target_epoch: GenerationId,
        limit: Duration,
    },
    /// A member of a group of the consumer protocol was told its epoch.
    EpochTold { group: ShortName, member: ShortName, epoch: GenerationId },
    /// A commit was accepted: it is in the log.
    OffsetCommitted {
        group: ShortName,
        protocol: GroupProtocol,
        partition: TopicIdPartition,
        offset: Offset,
        committer: Committer,
    },
    /// The committer was told that it is stored.
    CommitTold { group: ShortName, partition: TopicIdPartition, offset: Offset },
    /// A committer was refused, with all that it wanted to commit.
    CommitRefused { group: ShortName, committer: Committer, error: ErrorCode },
    /// Somebody was told how far the group has read.
    OffsetFetched { group: ShortName, partition: TopicIdPartition, offset: Option<Offset> },
    /// An offset is committed no longer.
    OffsetForgotten { group: ShortName, partition: TopicIdPartition, end: OffsetEnd },
    /// The group is in the log no longer.
    GroupForgotten { group: ShortName },
}

impl GroupObservation {
    /// Whether it tells of records: where the log refuses them it did not happen.
    #[must_use]
    pub const fn is_of_log(&self) -> bool {
        match self {
            Self::ConsumerCame { .. }
            | Self::ConsumerGone { .. }
            | Self::TargetBegan { .. }
            | Self::PartitionTargeted { .. }
            | Self::TargetsSaid { .. }
            | Self::TargetsOf { .. }
            | Self::EpochReached { .. }
            | Self::PartitionHeld { .. }
            | Self::GroupStands { .. }
            | Self::OffsetCommitted { .. }
            | Self::OffsetForgotten { .. }
            | Self::GroupForgotten { .. } => true,
            Self::Loaded { .. }
            | Self::Unloaded
            | Self::GroupLoaded { .. }
            | Self::OffsetLoaded { .. }
            | Self::PhaseChanged { .. }
            | Self::MemberCame { .. }
            | Self::MemberGone { .. }
            | Self::GenerationBegan { .. }
            | Self::JoinAnswered { .. }
            | Self::SubscriptionsRead { .. }
            | Self::Subscribed { .. }
            | Self::AssignmentGiven { .. }
            | Self::PartitionGiven { .. }
            | Self::AssignmentTold { .. }
            | Self::EpochTold { .. }
            | Self::CommitTold { .. }
            | Self::CommitRefused { .. }
            | Self::OffsetFetched { .. } => false,
        }
    }

    /// The group that it is about; `None` where it is about the coordinator.
    #[must_use]
    pub const fn group(&self) -> Option<ShortName> {
        match *self {
            Self::Loaded { .. } | Self::Unloaded => None,
            Self::GroupLoaded { group, .. }
            | Self::OffsetLoaded { group, .. }
            | Self::PhaseChanged { group, .. }
            | Self::MemberCame { group, .. }
            | Self::MemberGone { group, .. }
            | Self::GenerationBegan { group, .. }
            | Self::JoinAnswered { group, .. }
            | Self::SubscriptionsRead { group, .. }
            | Self::Subscribed { group, .. }
            | Self::AssignmentGiven { group, .. }
            | Self::PartitionGiven { group, .. }
            | Self::AssignmentTold { group, .. }
            | Self::ConsumerCame { group, .. }
            | Self::ConsumerGone { group, .. }
            | Self::TargetBegan { group, .. }
            | Self::PartitionTargeted { group, .. }
            | Self::TargetsSaid { group }
            | Self::TargetsOf { group, .. }
            | Self::EpochReached { group, .. }
            | Self::PartitionHeld { group, .. }
            | Self::GroupStands { group, .. }
            | Self::EpochTold { group, .. }
            | Self::OffsetCommitted { group, .. }
            | Self::CommitTold { group, .. }
            | Self::CommitRefused { group, .. }
            | Self::OffsetFetched { group, .. }
            | Self::OffsetForgotten { group, .. }
            | Self::GroupForgotten { group } => Some(group),
        }
    }
}
