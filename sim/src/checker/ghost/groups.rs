//! What coordinators say of consumer groups: what each believes in its term, and what is true of a group whoever coordinates it.
//!
//! A coordinator that was replaced and does not know it yet goes on believing: what it says is kept apart by its term.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla::types::{
    Committer, CoordinatorTerm, GenerationId, GroupObservation, GroupPhase, GroupProtocol,
    LeaderEpoch, MemberEnd, Observation, Offset, PartitionIndex, ShortName, TopicId,
    TopicIdPartition,
};

use super::consumer_groups::{GhostConsumers, LoadedConsumers};
use crate::world::{NodeId, SimTime};

/// Of what was accepted and not told, this many are kept.
const ACCEPTED_MAX: usize = 1_000;

/// An offset of a group.
pub type GroupOffset = (ShortName, TopicIdPartition);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct GhostGroups {
    /// What each coordinator believes, by node and term.
    pub coordinators: BTreeMap<(NodeId, CoordinatorTerm), GhostCoordinator>,
    /// The partitions of `__consumer_offsets` that anybody ever coordinated.
    pub logs: BTreeSet<TopicIdPartition>,
    /// What was committed, whoever took it.
    pub offsets: BTreeMap<GroupOffset, GhostOffset>,
    /// The newest generation of each group that a member was told to have an assignment in, and in which term: it is in the log for good.
    /// Zero where the group was forgotten after that.
    pub durable: BTreeMap<ShortName, (LeaderEpoch, GenerationId)>,
    /// When each partition was heard of first.
    pub partitions: BTreeMap<TopicId, BTreeMap<PartitionIndex, SimTime>>,
    /// The commits that a client was told of after one of more, in the order of time.
    pub steps_back: Vec<(GroupOffset, Offset, SimTime)>,
    /// When a reader was last told that its position is out of a partition's range.
    pub out_of_range: BTreeMap<TopicIdPartition, SimTime>,
}

/// What a coordinator believes in a term.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GhostCoordinator {
    /// The partition that it leads, and up to where it read it; `None` while it reads.
    pub loaded: Option<(TopicIdPartition, Offset)>,
    /// The groups of the classic protocol that it read.
    pub loaded_groups: BTreeMap<ShortName, LoadedGroup>,
    /// The groups of the consumer protocol that it read.
    pub loaded_consumers: BTreeMap<ShortName, LoadedConsumers>,
    /// The offsets that it read.
    pub loaded_offsets: BTreeMap<GroupOffset, Offset>,
    /// The groups, as it goes on.
    pub groups: BTreeMap<ShortName, GhostGroup>,
}

/// A group of the classic protocol, as a coordinator read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedGroup {
    /// Its generation.
    pub generation: GenerationId,
    /// Its members, and the hash of what each was given.
    pub members: BTreeMap<ShortName, u32>,
}

/// A group, as its coordinator has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GhostGroup {
    /// Whether it is of the consumer protocol.
    pub is_consumer: bool,
    /// What is known of it where it is.
    pub consumers: GhostConsumers,
    /// Its state, since when, and how long it may stay in it.
    pub phase: Option<Phase>,
    /// Its generation.
    pub generation: GenerationId,
    /// How its leader is to assign, where that was told.
    pub assignor: Option<ShortName>,
    /// Its members.
    pub members: BTreeMap<ShortName, GhostMember>,
    /// What they read; `None` where that cannot be known.
    pub reads: Option<BTreeSet<TopicId>>,
    /// In which generation the assignments below were given.
    pub given_in: GenerationId,
    /// The hash of what each member was given.
    pub given: BTreeMap<ShortName, u32>,
    /// Who was given each partition.
    pub owners: BTreeMap<TopicIdPartition, BTreeSet<ShortName>>,
    /// A static member that was just replaced: its next process follows.
    replaced: Option<(GhostMember, Option<u32>)>,
}

/// A group's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Which.
    pub phase: GroupPhase,
    /// Since when; or since a static member went, for whose session it may have waited until then.
    pub since: SimTime,
    /// How long its members may let it wait.
    pub limit: Duration,
}

/// A member, as its coordinator has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GhostMember {
    /// Its name where it is a static one.
    pub instance: Option<ShortName>,
    /// The last generation that it was let into.
    pub joined: Option<GenerationId>,
    /// The last generation in which this coordinator told it what it has.
    pub told: Option<GenerationId>,
}

/// How far a group has read in a partition, as far as anybody was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GhostOffset {
    /// What coordinators took since the last commit that a client was told of; that one first, if there is any.
    pub accepted: Vec<Accepted>,
    /// The last commit that a client was told of, in which term, and when.
    pub told: Option<Told>,
    /// When it was last committed by somebody who is no member, deleted or expired.
    pub reset_at: Option<SimTime>,
    /// When somebody was last told that nothing is committed: whoever reads then begins where `auto.offset.reset` says.
    pub nothing_at: Option<SimTime>,
}

/// A member that commits, and its generation.
pub type Writer = (ShortName, GenerationId);

/// Something that a coordinator took into its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The coordinator's term.
    pub leader_epoch: LeaderEpoch,
    /// The offset; `None` where it is committed no longer.
    pub offset: Option<Offset>,
    /// The member that committed it.
    pub by: Option<Writer>,
}

/// A commit that a client was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The coordinator's term.
    pub leader_epoch: LeaderEpoch,
    /// The offset.
    pub offset: Offset,
    /// The member that committed it.
    pub by: Option<Writer>,
    /// When.
    pub at: SimTime,
}

impl Told {
    /// Whether it was told of this.
    fn is_of(&self, one: &Accepted) -> bool {
        one.offset == Some(self.offset) && one.leader_epoch == self.leader_epoch
    }
}

impl GhostOffset {
    /// Whether an offset that is not above this one was taken, since a client was told of the last commit, from that commit's own member
    /// in the same generation. Its requests may overtake each other: it gave a connection up, whose bytes the coordinator still had.
    /// In the consumer protocol in whatever epoch: one from before the last is taken too, where the member has had the partition since
    /// (KIP-1251; G6 sees whether it has).
    #[must_use]
    pub fn is_overtaken(&self, offset: Offset, is_consumer: bool) -> bool {
        let Some(last) = self.told.and_then(|told| told.by) else { return false };
        let is_own = |by: Writer| by == last || is_consumer && by.0 == last.0;
        let mut since = self.accepted.iter().filter(|one| one.by.is_some_and(is_own));
        since.any(|one| one.offset.is_some_and(|at| at <= offset))
    }

    /// Whether a coordinator of this term may answer `offset`: it is the last that a client was told of, or was taken since.
    #[must_use]
    pub fn may_be(&self, leader_epoch: LeaderEpoch, offset: Option<Offset>) -> bool {
        let of_older_term = self.told.is_some_and(|told| told.leader_epoch > leader_epoch);
        let is_nothing_told = self.told.is_none() && offset.is_none();
        of_older_term || is_nothing_told || self.accepted.iter().any(|one| one.offset == offset)
    }

    /// What was taken after the last commit that a client was told of.
    #[must_use]
    pub fn untold(&self) -> &[Accepted] {
        match (self.told, self.accepted.as_slice()) {
            (Some(told), [first, since @ ..]) if told.is_of(first) => since,
            (_, all) => all,
        }
    }

    fn accept(&mut self, accepted: Accepted) {
        // A coordinator that is replaced and does not know it: what it takes is never committed.
        let is_outdated = self.told.is_some_and(|told| told.leader_epoch > accepted.leader_epoch);
        if !is_outdated && self.accepted.last() != Some(&accepted) {
            self.accepted.push(accepted);
            if self.accepted.len() > ACCEPTED_MAX {
                self.accepted.remove(1);
            }
        }
    }

    fn tell(&mut self, mut told: Told) {
        if self.told.is_some_and(|known| known.leader_epoch > told.leader_epoch) {
            return;
        }
        if let Some(at) = self.accepted.iter().position(|one| told.is_of(one)) {
            told.by = self.accepted[at].by;
            self.accepted.drain(..at);
        }
        self.told = Some(told);
    }
}

impl GhostGroup {
    /// Whether a member may commit so.
    #[must_use]
    pub fn may_commit(&self, committer: &Committer) -> bool {
        let (Some(generation), Some(member)) = (committer.generation, committer.member) else {
            return committer.generation.is_none() && self.members.is_empty();
        };
        let known = self.members.get(&member);
        let is_itself = |known: &GhostMember| {
            committer.instance.is_none() || committer.instance == known.instance
        };
        generation == self.generation && known.is_some_and(is_itself)
    }

    /// Whether its members have something, so that offsets of what they read are in use.
    #[must_use]
    pub fn uses(&self, topic: TopicId) -> bool {
        let has_members = !self.members.is_empty() || !self.consumers.members.is_empty();
        has_members && self.reads.as_ref().is_none_or(|reads| reads.contains(&topic))
    }

    fn gone(&mut self, at: SimTime, member: ShortName, end: MemberEnd) {
        let Some(known) = self.members.remove(&member) else { return };
        if let (Some(_), Some(phase)) = (known.instance, &mut self.phase) {
            phase.since = at;
        }
        let given = self.given.remove(&member);
        self.replaced = (end == MemberEnd::Replaced).then_some((known, given));
    }

    fn came(
        &mut self,
        member: ShortName,
        instance: Option<ShortName>,
        joined: Option<GenerationId>,
    ) {
        let takes_over = |(before, _): &(GhostMember, _)| before.instance == instance;
        let before = self.replaced.take().filter(takes_over);
        if let Some(hash) = before.and_then(|(_, given)| given) {
            self.given.insert(member, hash);
        }
        self.members.insert(member, GhostMember { instance, joined, told: None });
    }

    fn give(&mut self, generation: GenerationId, member: ShortName, hash: u32) {
        if self.given_in != generation {
            self.given_in = generation;
            self.given.clear();
            self.owners.clear();
        }
        self.given.insert(member, hash);
    }
}

impl GhostCoordinator {
    /// It has read its log: from now on what it has is more than that.
    fn keep_what_was_read(&mut self) {
        for (name, group) in &self.groups {
            if let Some(read) = self.loaded_groups.get_mut(name) {
                let given = |member: &ShortName| group.given.get(member).copied();
                let members = group.members.keys().map(|name| (*name, given(name).unwrap_or(0)));
                read.members = members.collect();
            }
            if let Some(read) = self.loaded_consumers.get_mut(name) {
                *read = group.consumers.as_read();
            }
        }
    }
}

impl GhostGroups {
    /// A group as the coordinator of a term has it.
    #[must_use]
    pub fn group(
        &self,
        node: NodeId,
        term: CoordinatorTerm,
        group: ShortName,
    ) -> Option<&GhostGroup> {
        self.coordinators.get(&(node, term))?.groups.get(&group)
    }

    /// What is known of a group's offset.
    #[must_use]
    pub fn offset(&self, group: ShortName, partition: TopicIdPartition) -> Option<&GhostOffset> {
        self.offsets.get(&(group, partition))
    }

    /// When what the group has read of a partition was last set by something else than its members' reading.
    #[must_use]
    pub fn reset_at(&self, group: ShortName, partition: TopicIdPartition) -> Option<SimTime> {
        let by_hand = self.offset(group, partition).and_then(|known| known.reset_at);
        by_hand.max(self.out_of_range.get(&partition).copied())
    }

    /// A node starts or has stopped: it believes nothing any more.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.coordinators.retain(|(owner, _), _| *owner != node);
    }

    /// Takes an observation in.
    #[expect(clippy::wildcard_enum_match_arm, reason = "others say nothing of groups")]
    pub(super) fn apply(&mut self, at: SimTime, node: NodeId, observation: &Observation) {
        match *observation {
            Observation::Group { term, what } => self.apply_to_coordinator(at, node, term, what),
            Observation::PartitionChanged { partition, .. } => {
                let known = self.partitions.entry(partition.topic_id).or_default();
                known.entry(partition.partition).or_insert(at);
            }
            Observation::TopicDeleted { topic_id } => _ = self.partitions.remove(&topic_id),
            Observation::FetchFailed {
                partition,
                error: ottla::types::ErrorCode::OffsetOutOfRange,
            } => {
                self.out_of_range.insert(partition, at);
            }
            _ => {}
        }
    }

    fn apply_to_coordinator(
        &mut self,
        at: SimTime,
        node: NodeId,
        term: CoordinatorTerm,
        what: GroupObservation,
    ) {
        use GroupObservation as G;
        self.apply_to_offsets(at, term, what);
        if what == G::Unloaded {
            self.coordinators.remove(&(node, term));
            return;
        }
        let coordinator = self.coordinators.entry((node, term)).or_default();
        let is_loading = coordinator.loaded.is_none();
        match what {
            G::Loaded { partition, end_offset } => {
                coordinator.loaded = Some((partition, end_offset));
                coordinator.keep_what_was_read();
                self.logs.insert(partition);
            }
            G::GroupLoaded { group, protocol, generation, .. } => {
                let is_consumer = protocol == GroupProtocol::Consumer;
                if is_consumer {
                    coordinator.loaded_consumers.entry(group).or_default();
                } else {
                    let read = LoadedGroup { generation, ..LoadedGroup::default() };
                    coordinator.loaded_groups.insert(group, read);
                }
                let group = coordinator.groups.entry(group).or_default();
                group.generation = generation;
                group.is_consumer = is_consumer;
            }
            G::OffsetLoaded { group, partition, offset } => {
                coordinator.loaded_offsets.insert((group, partition), offset);
            }
            G::GroupForgotten { group } => _ = coordinator.groups.remove(&group),
            G::CommitTold { .. }
            | G::CommitRefused { .. }
            | G::OffsetCommitted { .. }
            | G::OffsetFetched { .. }
            | G::OffsetForgotten { .. }
            | G::Unloaded => {}
            G::PhaseChanged { group, .. }
            | G::MemberCame { group, .. }
            | G::MemberGone { group, .. }
            | G::GenerationBegan { group, .. }
            | G::JoinAnswered { group, .. }
            | G::SubscriptionsRead { group, .. }
            | G::Subscribed { group, .. }
            | G::AssignmentGiven { group, .. }
            | G::PartitionGiven { group, .. }
            | G::AssignmentTold { group, .. } => {
                let group = coordinator.groups.entry(group).or_default();
                apply_to_group(group, at, is_loading, what);
            }
            G::ConsumerCame { group, .. }
            | G::ConsumerGone { group, .. }
            | G::TargetBegan { group, .. }
            | G::PartitionTargeted { group, .. }
            | G::EpochReached { group, .. }
            | G::PartitionHeld { group, .. }
            | G::GroupStands { group, .. } => {
                let group = coordinator.groups.entry(group).or_default();
                group.is_consumer = true;
                group.consumers.apply(at, is_loading, what);
            }
            G::EpochTold { group, member, epoch } => {
                let group = coordinator.groups.entry(group).or_default();
                group.consumers.tell(member, epoch);
            }
            G::TargetsSaid { group } => {
                let group = coordinator.groups.entry(group).or_default();
                group.reads = Some(BTreeSet::new());
                group.consumers.is_assigned_anew = true;
            }
            G::TargetsOf { group, topic_id } => {
                let group = coordinator.groups.entry(group).or_default();
                group.reads.get_or_insert_default().insert(topic_id);
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "others say nothing of offsets")]
    fn apply_to_offsets(&mut self, at: SimTime, term: CoordinatorTerm, what: GroupObservation) {
        use GroupObservation as G;
        let leader_epoch = term.leader_epoch;
        match what {
            G::OffsetCommitted { group, partition, offset, committer, .. } => {
                let known = self.offsets.entry((group, partition)).or_default();
                let by = committer.member.zip(committer.generation);
                known.accept(Accepted { leader_epoch, offset: Some(offset), by });
                if committer.member.is_none() {
                    known.reset_at = Some(at);
                }
            }
            G::OffsetForgotten { group, partition, .. } => {
                let known = self.offsets.entry((group, partition)).or_default();
                known.accept(Accepted { leader_epoch, offset: None, by: None });
                known.reset_at = Some(at);
            }
            G::OffsetFetched { group, partition, offset: None } => {
                self.offsets.entry((group, partition)).or_default().nothing_at = Some(at);
            }
            G::CommitTold { group, partition, offset } => {
                let known = self.offsets.entry((group, partition)).or_default();
                let is_back = known
                    .told
                    .is_some_and(|told| told.leader_epoch <= leader_epoch && told.offset > offset);
                if is_back {
                    self.steps_back.push(((group, partition), offset, at));
                }
                known.tell(Told { leader_epoch, offset, by: None, at });
            }
            G::AssignmentTold { group, generation, .. }
            | G::EpochTold { group, epoch: generation, .. } => {
                let known = self.durable.get(&group);
                if known.is_none_or(|known| *known < (leader_epoch, generation)) {
                    self.durable.insert(group, (leader_epoch, generation));
                }
            }
            // What a former coordinator tells its members after that is of a group that is no more (group-swarm, seed 1757).
            G::GroupForgotten { group } => {
                let known = self.durable.get(&group);
                if known.is_none_or(|(term, _)| *term <= leader_epoch) {
                    self.durable.insert(group, (leader_epoch, GenerationId::ZERO));
                }
            }
            _ => {}
        }
    }
}

/// Takes in what a coordinator says of one group.
#[expect(clippy::wildcard_enum_match_arm, reason = "the caller has split what is said")]
fn apply_to_group(group: &mut GhostGroup, at: SimTime, is_loading: bool, what: GroupObservation) {
    use GroupObservation as G;
    match what {
        G::PhaseChanged { phase, generation, limit, .. } => {
            group.generation = generation;
            group.phase = Some(Phase { phase, since: at, limit });
        }
        G::MemberCame { member, instance, .. } => {
            let joined = is_loading.then_some(group.generation);
            group.came(member, instance, joined);
        }
        G::MemberGone { member, end, .. } => group.gone(at, member, end),
        G::GenerationBegan { generation, assignor, .. } => {
            group.generation = generation;
            group.assignor = assignor;
        }
        G::JoinAnswered { member, generation, .. } => {
            if let Some(known) = group.members.get_mut(&member) {
                known.joined = Some(generation);
            }
        }
        G::AssignmentTold { member, generation, .. } => {
            if let Some(known) = group.members.get_mut(&member) {
                known.told = Some(generation);
            }
        }
        G::SubscriptionsRead { is_known, .. } => {
            group.reads = is_known.then(BTreeSet::new);
        }
        G::Subscribed { topic_id, .. } => {
            if let Some(reads) = &mut group.reads {
                reads.insert(topic_id);
            }
        }
        G::AssignmentGiven { member, generation, hash, .. } => group.give(generation, member, hash),
        G::PartitionGiven { member, partition, .. } => {
            group.owners.entry(partition).or_default().insert(member);
        }
        _ => {}
    }
}
