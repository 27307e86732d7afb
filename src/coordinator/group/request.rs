//! What the group coordinator is asked, and what it answers.
//!
//! Typed twins of Kafka's requests, free of versions and sentinels: the serving side translates. It also looks at what needs the
//! cluster's metadata: whether the topics of a commit exist, and their names and ids.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::assignor::Assignment;
use crate::types::{
    ErrorCode, GenerationId, GroupProtocol, LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId,
};

/// A group, as `group.id` names it.
pub type GroupId = Arc<str>;
/// A member of a group. The coordinator made the id (classic protocol), or the member itself (KIP-1082).
pub type MemberId = Arc<str>;
/// A static member's name, as `group.instance.id` gives it (KIP-345).
pub type InstanceId = Arc<str>;

/// Names a request whose reply is awaited. The driver's own; the ledger only hands it back, each exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Something that is asked of a group coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Enter a group, or enter its next generation.
    JoinGroup(JoinGroup),
    /// Get one's assignment; the leader brings them all.
    SyncGroup(SyncGroup),
    /// I am still here.
    Heartbeat(Heartbeat),
    /// Members leave.
    LeaveGroup(LeaveGroup),
    /// Store how far a group has read.
    CommitOffsets(CommitOffsets),
    /// Read how far a group has read.
    FetchOffsets(FetchOffsets),
    /// Forget how far a group has read in some partitions.
    DeleteOffsets(DeleteOffsets),
    /// Which groups are there?
    ListGroups(GroupFilter),
    /// Show groups with their members. Of the classic protocol only.
    DescribeGroups(Vec<GroupId>),
    /// Delete groups that have no members.
    DeleteGroups(Vec<GroupId>),
    /// Enter a consumer group, be in it, or leave it.
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeat),
    /// Show consumer groups with their members.
    DescribeConsumerGroups(Vec<GroupId>),
}

/// A member enters a group, or its next generation (Kafka: `JoinGroupRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroup {
    /// The group.
    pub group: GroupId,
    /// The member; `None` for one that has no id yet.
    pub member: Option<MemberId>,
    /// Its name where it is a static member.
    pub instance: Option<InstanceId>,
    /// What its client calls itself (`client.id`).
    pub client_id: Arc<str>,
    /// From where it connects.
    pub client_host: Arc<str>,
    /// How long it may be silent.
    pub session_timeout: Duration,
    /// How long it may take to come back in a rebalance. In version 0: its session timeout.
    pub rebalance_timeout: Duration,
    /// What the group is for: `consumer`, `connect`, …
    pub protocol_type: Arc<str>,
    /// The ways of assigning that it knows, the best first, and what it says to each.
    pub protocols: Vec<(Arc<str>, Bytes)>,
    /// Whether a member without id gets one and must ask again (version 4 and later, KIP-394).
    pub requires_known_member_id: bool,
    /// Whether a static leader that comes back can be told that it need not assign (version 9 and later, KIP-814).
    pub may_skip_assignment: bool,
}

/// A member asks for its assignment (Kafka: `SyncGroupRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroup {
    /// The group.
    pub group: GroupId,
    /// The generation it means.
    pub generation: Option<GenerationId>,
    /// The member.
    pub member: MemberId,
    /// Its name where it is a static member.
    pub instance: Option<InstanceId>,
    /// What it takes the group to be for, where it says so.
    pub protocol_type: Option<Arc<str>>,
    /// What it takes to be chosen, where it says so.
    pub protocol: Option<Arc<str>>,
    /// What each member gets: the leader says, nobody else.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// A member is still there (Kafka: `HeartbeatRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The group.
    pub group: GroupId,
    /// The generation it means.
    pub generation: Option<GenerationId>,
    /// The member.
    pub member: MemberId,
    /// Its name where it is a static member.
    pub instance: Option<InstanceId>,
}

/// Members leave (Kafka: `LeaveGroupRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroup {
    /// The group.
    pub group: GroupId,
    /// Who leaves.
    pub members: Vec<LeavingMember>,
}

/// A member that leaves, or is removed by an administrator, who knows its name only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    /// The member; `None` where only its name is known.
    pub member: Option<MemberId>,
    /// Its name where it is a static member.
    pub instance: Option<InstanceId>,
}

/// Which of its epochs a member of a consumer group means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatEpoch {
    /// None: it enters, or enters anew (0 on the wire).
    Join,
    /// This one, 1 or more.
    At(i32),
    /// None any more: it leaves (−1).
    Leave,
    /// A static member leaves and will be back (−2).
    LeaveForAWhile,
}

/// A member of a consumer group says that it is there, and what changed (Kafka: `ConsumerGroupHeartbeatRequest`). What is `None` has
/// not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupHeartbeat {
    /// The group.
    pub group: GroupId,
    /// The member; `None` where the coordinator is to make an id.
    pub member: Option<MemberId>,
    /// Whether it may enter without an id (version 0; later ones bring their own, KIP-1082).
    pub may_lack_member_id: bool,
    /// The epoch it means.
    pub epoch: HeartbeatEpoch,
    /// Its name where it is a static member.
    pub instance: Option<InstanceId>,
    /// Where it stands.
    pub rack: Option<Arc<str>>,
    /// What its client calls itself.
    pub client_id: Arc<str>,
    /// From where it connects.
    pub client_host: Arc<str>,
    /// How long it may take to give partitions up.
    pub rebalance_timeout: Option<Duration>,
    /// The topics it reads, by name.
    pub topics: Option<Vec<Arc<str>>>,
    /// A regular expression: it reads the topics whose names fit it, too. Empty for none (version 1 and later).
    pub topic_regex: Option<Arc<str>>,
    /// The assignor it wants.
    pub assignor: Option<Arc<str>>,
    /// What it has.
    pub owned: Option<Assignment>,
}

/// A topic of the cluster, as the coordinator needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its id.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: u32,
}

/// The topics of the cluster, by name.
pub type TopicTable = BTreeMap<Arc<str>, TopicInfo>;

/// A topic, by name and, where the asker knows it, by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub id: Option<TopicId>,
}

/// A group's progress is stored (Kafka: `OffsetCommitRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffsets {
    /// The group.
    pub group: GroupId,
    /// The generation or member epoch that the committer means; `None` where it is no member.
    pub generation: Option<GenerationId>,
    /// The committer; `None` where it is no member.
    pub member: Option<MemberId>,
    /// Its name where it is a static member.
    pub instance: Option<InstanceId>,
    /// Whether it knows what a member epoch is (version 9 and later): members of consumer groups must.
    pub knows_member_epochs: bool,
    /// How long to keep the offsets, where the committer says so (versions 2 to 4).
    pub retention: Option<Duration>,
    /// What is committed.
    pub topics: Vec<(Topic, Vec<OffsetToCommit>)>,
}

/// An offset to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset of the next record to be read. `None` where the client sent a negative one: refused.
    pub offset: Option<Offset>,
    /// The leader epoch of the last record that was read.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the client wants to keep beside it. May be empty.
    pub metadata: Arc<str>,
}

/// A group's progress is read (Kafka: `OffsetFetchRequest`, one of its groups).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchOffsets {
    /// The group.
    pub group: GroupId,
    /// The asker, where it says so (KIP-848).
    pub member: Option<MemberId>,
    /// The member epoch that it means, where it says so (KIP-848).
    pub member_epoch: Option<i32>,
    /// The partitions; `None` for all that have an offset.
    pub topics: Option<Vec<(Topic, Vec<PartitionIndex>)>>,
}

/// A group's progress is forgotten (Kafka: `OffsetDeleteRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteOffsets {
    /// The group.
    pub group: GroupId,
    /// The partitions.
    pub topics: Vec<(Arc<str>, Vec<PartitionIndex>)>,
}

/// Which groups are to be listed (Kafka: `ListGroupsRequest`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupFilter {
    /// Names of states, in any case; empty for all.
    pub states: Vec<String>,
    /// Names of types, in any case; empty for all.
    pub types: Vec<String>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::JoinGroup`].
    JoinGroup(Result<Joined, JoinRefused>),
    /// To [`Request::SyncGroup`].
    SyncGroup(Result<Synced, ErrorCode>),
    /// To [`Request::Heartbeat`].
    Heartbeat(Result<(), ErrorCode>),
    /// To [`Request::LeaveGroup`]: each member, in the order of the request.
    LeaveGroup(Result<Vec<(LeavingMember, ErrorCode)>, ErrorCode>),
    /// To [`Request::CommitOffsets`]. Versions before 9 know `GROUP_ID_NOT_FOUND` as `ILLEGAL_GENERATION`.
    CommitOffsets(Result<Vec<TopicResults>, ErrorCode>),
    /// To [`Request::FetchOffsets`].
    FetchOffsets(Result<Vec<FetchedTopic>, ErrorCode>),
    /// To [`Request::DeleteOffsets`].
    DeleteOffsets(Result<Vec<TopicResults>, ErrorCode>),
    /// To [`Request::ListGroups`], in the order of the ids.
    ListGroups(Result<Vec<ListedGroup>, ErrorCode>),
    /// To [`Request::DescribeGroups`], in the order of the request. Versions before 6 show an unknown group as a dead one, without
    /// an error.
    DescribeGroups(Vec<(GroupId, Result<DescribedGroup, ErrorCode>)>),
    /// To [`Request::DeleteGroups`], in the order of the request.
    DeleteGroups(Vec<(GroupId, ErrorCode)>),
    /// To [`Request::ConsumerGroupHeartbeat`].
    ConsumerGroupHeartbeat(Result<HeartbeatAnswer, ErrorCode>),
    /// To [`Request::DescribeConsumerGroups`], in the order of the request.
    DescribeConsumerGroups(Vec<(GroupId, Result<DescribedConsumerGroup, ErrorCode>)>),
}

/// What a member of a consumer group hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// Its id.
    pub member: MemberId,
    /// Its epoch now; −1 or −2 for one that left.
    pub member_epoch: i32,
    /// When it is to send the next heartbeat.
    pub interval: Duration,
    /// What it may read now; `None` where that has not changed.
    pub assignment: Option<Assignment>,
}

/// A group of the consumer protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumerGroup {
    /// Its state.
    pub state: GroupState,
    /// Its epoch.
    pub epoch: i32,
    /// The epoch of its target.
    pub assignment_epoch: i32,
    /// The assignor's name.
    pub assignor: &'static str,
    /// Its members, in the order of the ids.
    pub members: Vec<DescribedConsumer>,
}

/// A member of a group of the consumer protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumer {
    /// The member.
    pub member: MemberId,
    /// Whether it speaks the classic protocol (KIP-1099).
    pub is_classic: bool,
    /// Its name where it is a static member.
    pub instance: Option<String>,
    /// Where it stands.
    pub rack: Option<String>,
    /// Its epoch.
    pub epoch: i32,
    /// What its client calls itself.
    pub client_id: String,
    /// From where it connects.
    pub client_host: String,
    /// The topics it reads, by name.
    pub topics: Vec<String>,
    /// The regular expression by which it reads topics, too.
    pub topic_regex: Option<String>,
    /// What it has.
    pub assignment: Assignment,
    /// What it is to have.
    pub target: Assignment,
}

/// A member is in the generation that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The generation.
    pub generation: GenerationId,
    /// What the group is for.
    pub protocol_type: Option<Arc<str>>,
    /// The way of assigning that was chosen.
    pub protocol: Option<Arc<str>>,
    /// Who assigns.
    pub leader: Option<MemberId>,
    /// Whether the leader need not assign: the assignment stands (KIP-814).
    pub skip_assignment: bool,
    /// The member's id.
    pub member: MemberId,
    /// All members, for the leader; for others nobody.
    pub members: Vec<JoinedMember>,
}

/// A member, as its group's leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// The member.
    pub member: MemberId,
    /// Its name where it is a static member.
    pub instance: Option<InstanceId>,
    /// What it says to the chosen way of assigning.
    pub metadata: Bytes,
}

/// A member is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// Why.
    pub error: ErrorCode,
    /// The id to come back with, or the one it came with.
    pub member: Option<MemberId>,
}

/// What a member got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// What the group is for.
    pub protocol_type: Option<Arc<str>>,
    /// The way of assigning that was chosen.
    pub protocol: Option<Arc<str>>,
    /// The assignment, which only members understand. Empty where the leader gave none.
    pub assignment: Bytes,
}

/// A topic, and what came of each of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicResults {
    /// The topic, as it was named in the request.
    pub topic: Topic,
    /// The partitions, in the order of the request.
    pub partitions: Vec<(PartitionIndex, ErrorCode)>,
}

/// A topic, and how far a group has read in its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    /// The topic. Its id where the asker named it; where all topics were asked for, the one that was committed, if any.
    pub topic: Topic,
    /// The partitions, and what is committed; `None` where nothing is.
    pub partitions: Vec<(PartitionIndex, Option<CommittedOffset>)>,
}

/// How far a group has read in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record to be read.
    pub offset: Offset,
    /// The leader epoch of the last record that was read.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the client keeps beside it.
    pub metadata: Arc<str>,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// When it ends, where the committer said so.
    pub expires_at: Option<Timestamp>,
    /// The topic's id, where the committer knew it.
    pub topic_id: Option<TopicId>,
}

/// In which state a group is (Kafka: `ClassicGroupState`, `ConsumerGroup.ConsumerGroupState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupState {
    /// It has no members; it may have offsets.
    Empty,
    /// Classic: its members are to join the next generation.
    PreparingRebalance,
    /// Classic: all have joined, the leader is to say who gets what.
    CompletingRebalance,
    /// Consumer: it is to be said who gets what.
    Assigning,
    /// Consumer: members are on their way to what they are to have.
    Reconciling,
    /// Each member has what it is to have.
    Stable,
    /// There is no such group.
    Dead,
}

impl GroupState {
    /// Kafka's name, as in `PreparingRebalance`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// The group.
    pub group: GroupId,
    /// What it is for; empty where it never had members.
    pub protocol_type: Arc<str>,
    /// Its state.
    pub state: GroupState,
    /// Its type.
    pub group_type: GroupProtocol,
}

/// A group of the classic protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// Its state.
    pub state: GroupState,
    /// What it is for; empty where it never had members.
    pub protocol_type: Arc<str>,
    /// The way of assigning that was chosen; empty where the group is not stable.
    pub protocol: Arc<str>,
    /// Its members, in the order of the ids.
    pub members: Vec<DescribedMember>,
}

/// A member of a group of the classic protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// The member.
    pub member: MemberId,
    /// Its name where it is a static member.
    pub instance: Option<InstanceId>,
    /// What its client calls itself.
    pub client_id: Arc<str>,
    /// From where it connects.
    pub client_host: Arc<str>,
    /// What it said to the chosen way of assigning; empty where the group is not stable.
    pub metadata: Bytes,
    /// What it got.
    pub assignment: Bytes,
}

impl Request {
    /// The group that it concerns, where it is one: its coordinator must be asked. Others concern several.
    #[must_use]
    pub fn group(&self) -> Option<&GroupId> {
        match self {
            Self::JoinGroup(request) => Some(&request.group),
            Self::SyncGroup(request) => Some(&request.group),
            Self::Heartbeat(request) => Some(&request.group),
            Self::LeaveGroup(request) => Some(&request.group),
            Self::CommitOffsets(request) => Some(&request.group),
            Self::FetchOffsets(request) => Some(&request.group),
            Self::DeleteOffsets(request) => Some(&request.group),
            Self::ConsumerGroupHeartbeat(request) => Some(&request.group),
            Self::ListGroups(_)
            | Self::DescribeGroups(_)
            | Self::DeleteGroups(_)
            | Self::DescribeConsumerGroups(_) => None,
        }
    }

    /// The answer that refuses the request as a whole: the coordinator is loading, is elsewhere, or its log failed.
    ///
    /// While it loads (`COORDINATOR_LOAD_IN_PROGRESS`) a heartbeat is answered as if all were well, so that nobody rejoins because
    /// of it (Kafka: `GroupCoordinatorService.heartbeat`).
    #[must_use]
    pub fn refused(&self, error: ErrorCode) -> Reply {
        match self {
            Self::JoinGroup(request) => Reply::join_refused(error, request.member.clone()),
            Self::SyncGroup(_) => Reply::SyncGroup(Err(error)),
            Self::Heartbeat(_) if error == ErrorCode::CoordinatorLoadInProgress => {
                Reply::Heartbeat(Ok(()))
            }
            Self::Heartbeat(_) => Reply::Heartbeat(Err(error)),
            Self::LeaveGroup(_) => Reply::LeaveGroup(Err(error)),
            Self::CommitOffsets(_) => Reply::CommitOffsets(Err(error)),
            Self::FetchOffsets(_) => Reply::FetchOffsets(Err(error)),
            Self::DeleteOffsets(_) => Reply::DeleteOffsets(Err(error)),
            Self::ListGroups(_) => Reply::ListGroups(Err(error)),
            Self::DescribeGroups(groups) => Reply::DescribeGroups(
                groups.iter().map(|group| (Arc::clone(group), Err(error))).collect(),
            ),
            Self::DeleteGroups(groups) => {
                Reply::DeleteGroups(groups.iter().map(|group| (Arc::clone(group), error)).collect())
            }
            Self::ConsumerGroupHeartbeat(_) => Reply::ConsumerGroupHeartbeat(Err(error)),
            Self::DescribeConsumerGroups(groups) => Reply::DescribeConsumerGroups(
                groups.iter().map(|group| (Arc::clone(group), Err(error))).collect(),
            ),
        }
    }
}

impl Reply {
    pub(super) fn join_refused(error: ErrorCode, member: Option<MemberId>) -> Self {
        Self::JoinGroup(Err(JoinRefused { error, member }))
    }

    /// What is answered instead where the records that this reply depends on were not committed. `error` is how the append ended.
    ///
    /// Kafka: `GroupMetadataManager.appendGroupMetadataErrorToResponseError`, `CoordinatorOperationExceptionHelper`.
    #[must_use]
    pub fn failed(&self, error: ErrorCode) -> Self {
        let error = error_of_append(error);
        match self {
            Self::JoinGroup(Ok(_)) => Self::join_refused(error, None),
            Self::JoinGroup(Err(refused)) => Self::join_refused(error, refused.member.clone()),
            Self::SyncGroup(_) => Self::SyncGroup(Err(error)),
            Self::Heartbeat(_) => Self::Heartbeat(Err(error)),
            Self::LeaveGroup(_) => Self::LeaveGroup(Err(error)),
            Self::CommitOffsets(_) => Self::CommitOffsets(Err(error)),
            Self::FetchOffsets(_) => Self::FetchOffsets(Err(error)),
            Self::DeleteOffsets(_) => Self::DeleteOffsets(Err(error)),
            Self::ListGroups(_) => Self::ListGroups(Err(error)),
            Self::DescribeGroups(groups) => Self::DescribeGroups(
                groups.iter().map(|(group, _)| (Arc::clone(group), Err(error))).collect(),
            ),
            Self::DeleteGroups(groups) => Self::DeleteGroups(
                groups.iter().map(|(group, _)| (Arc::clone(group), error)).collect(),
            ),
            Self::ConsumerGroupHeartbeat(_) => Self::ConsumerGroupHeartbeat(Err(error)),
            Self::DescribeConsumerGroups(groups) => Self::DescribeConsumerGroups(
                groups.iter().map(|(group, _)| (Arc::clone(group), Err(error))).collect(),
            ),
        }
    }
}

/// What a client hears of an append to the coordinator's log that failed.
fn error_of_append(error: ErrorCode) -> ErrorCode {
    if matches!(
        error,
        ErrorCode::UnknownTopicOrPartition
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::NotEnoughReplicasAfterAppend
            | ErrorCode::RequestTimedOut
    ) {
        ErrorCode::CoordinatorNotAvailable
    } else if matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError) {
        ErrorCode::NotCoordinator
    } else if matches!(
        error,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize
    ) {
        ErrorCode::UnknownServerError
    } else {
        error
    }
}
