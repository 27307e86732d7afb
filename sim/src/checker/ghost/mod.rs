//! The ghost: what the testbed knows because it heard everything, and the nodes do not know themselves.
//!
//! [`groups`]: consumer groups and their coordinators. [`log`]: a node's copy of a partition. [`partition`]: what is true of a
//! partition across all nodes. [`committed`]: what is committed of it. [`replica`]: what a node believes it is to a partition.
//! [`quorum`]: the metadata quorum. Here: the nodes, and where an event goes.

pub mod committed;
pub mod consumer_groups;
pub mod groups;
pub mod log;
mod node;
pub mod partition;
pub mod quorum;
pub mod replica;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla::types::{
    BrokerEpoch, BrokerId, LeaderEpoch, Observation, Offset, TopicId, TopicIdPartition, Uuid,
};

use super::disk_logs::SegmentFile;
use super::{Event, Occurrence, Stop};
use crate::scenario::duration::Span;
use crate::verdict::show_time;
use crate::world::{NodeId, SimTime};
pub use committed::CommittedLog;
pub use groups::GhostGroups;
pub use log::{GhostBatch, GhostLog};
pub use node::{DirtyEnd, GhostNode};
pub use partition::{Acked, Cut, Dirty, GhostPartition, PartitionState, Proposal};
pub use quorum::GhostQuorum;
pub use replica::{GhostReplica, Leading, Role};

/// How a node's copies came to be in U.
struct Dirt {
    has_stopped: bool,
    is_sure: bool,
    loses_bytes: bool,
}

impl Dirt {
    /// Bytes are gone.
    fn of_disk(has_stopped: bool) -> Self {
        Self { has_stopped, is_sure: true, loses_bytes: true }
    }
}

/// A broker as the controller committed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its incarnation.
    pub broker_epoch: BrokerEpoch,
    /// Which start of its node this incarnation is.
    pub boot: u32,
    /// The end of the metadata that says so.
    pub at: Offset,
    /// Whether it may not lead.
    pub is_fenced: bool,
    /// Whether it is leaving in good order.
    pub in_controlled_shutdown: bool,
    /// Since when it may lead, where it may: a broker that is gone may yet be heard, and is given a session again.
    pub unfenced_at: Option<SimTime>,
}

/// What the testbed knows of a topic from its own plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicFacts {
    /// `flush.messages=1`: everything below the high watermark is durable.
    pub flushes_each: bool,
    /// `unclean.leader.election.enable`: a cut may be declared although nobody lost a byte.
    pub allows_unclean: bool,
    /// `min.insync.replicas`.
    pub min_isr: usize,
}

/// What the testbed knows of the cluster from its own plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterFacts {
    /// `broker.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `replica.lag.time.max.ms`.
    pub lag_time_max: Duration,
    /// How much later than it was sent a heartbeat may arrive, by the plan's faults: whoever is gone may be heard for so long.
    pub heartbeat_delay_max: Duration,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Ghost {
    nodes: BTreeMap<NodeId, GhostNode>,
    logs: BTreeMap<(NodeId, TopicIdPartition), GhostLog>,
    replicas: BTreeMap<(NodeId, TopicIdPartition), GhostReplica>,
    partitions: BTreeMap<TopicIdPartition, GhostPartition>,
    registrations: BTreeMap<BrokerId, Registration>,
    quorum: GhostQuorum,
    groups: GhostGroups,
    /// Which node is which broker, and the other way round.
    node_of: BTreeMap<BrokerId, NodeId>,
    broker_of: BTreeMap<NodeId, BrokerId>,
    /// (partition, leader epoch, first offset) → what was written there first. Never forgotten.
    written: BTreeMap<(TopicIdPartition, LeaderEpoch, Offset), GhostBatch>,
    names: BTreeMap<TopicId, String>,
    facts: BTreeMap<TopicId, TopicFacts>,
    cluster: Option<ClusterFacts>,
    /// When the clients started; `None` before.
    story_began: Option<SimTime>,
}

// ── Questions ──────────────────────────────────────────────────────────────────────────────────────────────────────────

impl Ghost {
    /// A node, if it was ever started.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&GhostNode> {
        self.nodes.get(&node)
    }

    /// Whether a node runs.
    #[must_use]
    pub fn is_running(&self, node: NodeId) -> bool {
        self.node(node).is_some_and(|state| state.is_running)
    }

    /// Whether a node runs and does not stand still.
    #[must_use]
    pub fn works(&self, node: NodeId) -> bool {
        self.node(node).is_some_and(GhostNode::works)
    }

    /// A node's copy of a partition.
    #[must_use]
    pub fn log(&self, node: NodeId, partition: TopicIdPartition) -> Option<&GhostLog> {
        self.logs.get(&(node, partition))
    }

    /// Whether any node has told which metadata it has applied.
    #[must_use]
    pub fn tells_metadata(&self) -> bool {
        self.nodes.values().any(|node| node.applied.is_some())
    }

    /// All copies of a partition.
    pub fn logs(&self, partition: TopicIdPartition) -> impl Iterator<Item = (NodeId, &GhostLog)> {
        let of = self.logs.iter().filter(move |((_, of), _)| *of == partition);
        of.map(|((node, _), log)| (*node, log))
    }

    /// A broker's copy of a partition.
    #[must_use]
    pub fn log_of(&self, broker: BrokerId, partition: TopicIdPartition) -> Option<&GhostLog> {
        self.log(self.node_of(broker)?, partition)
    }

    /// What a node believes it is to a partition, since its start.
    #[must_use]
    pub fn replica(&self, node: NodeId, partition: TopicIdPartition) -> Option<&GhostReplica> {
        self.replicas.get(&(node, partition))
    }

    /// What a node that believes it leads a partition knows.
    #[must_use]
    pub fn leading(&self, node: NodeId, partition: TopicIdPartition) -> Option<&Leading> {
        self.replica(node, partition)?.leading()
    }

    /// All that believe they lead a partition, in running nodes.
    pub fn leaders(&self) -> impl Iterator<Item = (NodeId, TopicIdPartition, &Leading)> {
        let running = self.replicas.iter().filter(|((node, _), _)| self.is_running(*node));
        running.filter_map(|((node, partition), replica)| {
            Some((*node, *partition, replica.leading()?))
        })
    }

    /// What is true of a partition, once anything was said of it.
    #[must_use]
    pub fn partition(&self, partition: TopicIdPartition) -> Option<&GhostPartition> {
        self.partitions.get(&partition)
    }

    /// All partitions.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicIdPartition, &GhostPartition)> {
        self.partitions.iter().map(|(id, partition)| (*id, partition))
    }

    /// The metadata quorum.
    #[must_use]
    pub fn quorum(&self) -> &GhostQuorum {
        &self.quorum
    }

    /// Consumer groups.
    #[must_use]
    pub fn groups(&self) -> &GhostGroups {
        &self.groups
    }

    /// When the clients started; `None` before.
    #[must_use]
    pub fn story_began(&self) -> Option<SimTime> {
        self.story_began
    }

    /// The node that is a broker.
    #[must_use]
    pub fn node_of(&self, broker: BrokerId) -> Option<NodeId> {
        self.node_of.get(&broker).copied()
    }

    /// The broker, or voter, that a node is.
    #[must_use]
    pub fn broker_of(&self, node: NodeId) -> Option<BrokerId> {
        self.broker_of.get(&node).copied()
    }

    /// Every broker that was named.
    pub fn brokers(&self) -> impl Iterator<Item = BrokerId> {
        self.node_of.keys().copied()
    }

    /// A broker's newest registration.
    #[must_use]
    pub fn registration(&self, broker: BrokerId) -> Option<&Registration> {
        self.registrations.get(&broker)
    }

    /// All registrations.
    pub fn registrations(&self) -> impl Iterator<Item = (BrokerId, &Registration)> {
        self.registrations.iter().map(|(broker, registration)| (*broker, registration))
    }

    /// Whom the leader on this node has heard to hold everything they must, its watermark and the start of its term, and as which
    /// incarnations.
    #[must_use]
    pub fn caught_up(
        &self,
        node: NodeId,
        partition: TopicIdPartition,
    ) -> BTreeMap<BrokerId, BrokerEpoch> {
        let Some(leading) = self.leading(node, partition) else { return BTreeMap::new() };
        let watermark = self.log(node, partition).and_then(|log| log.high_watermark);
        let due = watermark.unwrap_or(Offset::ZERO).max(leading.start_offset);
        let heard = leading.progress.iter().filter(|(_, progress)| progress.fetch_offset >= due);
        heard.filter_map(|(broker, progress)| Some((*broker, progress.broker_epoch?))).collect()
    }

    /// Whether a broker of a partition is in U, or may be, although it was registered since it stopped dirty.
    #[must_use]
    pub fn is_registered_dirty(&self, of: &GhostPartition, broker: BrokerId) -> bool {
        self.ends_registered(of, broker).next().is_some()
    }

    /// Whether a broker of a partition is surely in U although it was registered since it stopped dirty.
    #[must_use]
    pub fn is_surely_dirty(&self, of: &GhostPartition, broker: BrokerId) -> bool {
        self.ends_registered(of, broker).any(|is_sure| is_sure)
    }

    /// The dirty ends before the start that is registered, and whether each is sure.
    fn ends_registered<'a>(
        &self,
        of: &'a GhostPartition,
        broker: BrokerId,
    ) -> impl Iterator<Item = bool> + use<'a> {
        let registered = self.registration(broker).map_or(0, |registration| registration.boot);
        let ends = of.dirty.get(&broker).into_iter().flat_map(|dirty| &dirty.ends);
        ends.filter(move |(ended, _)| registered > **ended).map(|(_, is_sure)| *is_sure)
    }

    /// What was first written at this place, by whichever node.
    #[must_use]
    pub fn written(
        &self,
        partition: TopicIdPartition,
        epoch: LeaderEpoch,
        base_offset: Offset,
    ) -> Option<&GhostBatch> {
        self.written.get(&(partition, epoch, base_offset))
    }

    /// What was first written to a partition from this place on: first by term, then by offset.
    pub fn written_from(
        &self,
        partition: TopicIdPartition,
        epoch: LeaderEpoch,
        base_offset: Offset,
    ) -> impl Iterator<Item = ((LeaderEpoch, Offset), &GhostBatch)> {
        let rest = self.written.range((partition, epoch, base_offset)..);
        let of_partition = rest.take_while(move |((of, ..), _)| *of == partition);
        of_partition.map(|((_, epoch, offset), batch)| ((*epoch, *offset), batch))
    }

    /// The entry of `log.dirs` in which a node keeps a partition, once a disk was looked at.
    #[must_use]
    pub fn dir_of(&self, node: NodeId, partition: TopicIdPartition) -> Option<u32> {
        self.logs.get(&(node, partition)).and_then(|log| log.dir)
    }

    /// The name of a partition for people: `orders-0`.
    #[must_use]
    pub fn name(&self, partition: TopicIdPartition) -> String {
        if partition.topic_id == Uuid::METADATA_TOPIC {
            return "__cluster_metadata-0".to_owned();
        }
        match self.names.get(&partition.topic_id) {
            Some(name) => format!("{name}-{}", partition.partition),
            None => partition.to_string(),
        }
    }

    /// The id of the topic that bears a name.
    #[must_use]
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.names.iter().find(|(_, known)| *known == name).map(|(id, _)| *id)
    }

    /// A moment as people are told it everywhere: counted from the start of the clients, not of the world.
    #[must_use]
    pub fn clock(&self, at: SimTime) -> String {
        let since = self.story_began.map_or(0, |began| at.nanos().saturating_sub(began.nanos()));
        show_time(Span::from_nanos(since))
    }

    /// What the plan says of the cluster; `None` where nobody told.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterFacts> {
        self.cluster
    }

    /// What the plan says of a topic.
    #[must_use]
    pub fn facts(&self, topic_id: TopicId) -> TopicFacts {
        self.facts.get(&topic_id).copied().unwrap_or_default()
    }
}

// ── What the testbed tells ─────────────────────────────────────────────────────────────────────────────────────────────

impl Ghost {
    pub(super) fn begin(&mut self, at: SimTime) {
        self.story_began = Some(at);
    }

    pub(super) fn name_topic(&mut self, topic_id: TopicId, name: &str) {
        self.names.insert(topic_id, name.to_owned());
    }

    pub(super) fn describe_topic(&mut self, topic_id: TopicId, facts: TopicFacts) {
        self.facts.insert(topic_id, facts);
    }

    pub(super) fn describe_cluster(&mut self, facts: ClusterFacts) {
        self.cluster = Some(facts);
    }

    pub(super) fn name_node(&mut self, node: NodeId, broker: BrokerId) {
        self.node_of.insert(broker, node);
        self.broker_of.insert(node, broker);
    }

    pub(super) fn name_voters(&mut self, voters: BTreeSet<NodeId>) {
        self.quorum.voters = voters;
        self.quorum.are_voters_told = true;
    }

    /// Learns from the disk in which entry of `log.dirs` a partition lies.
    pub(super) fn place(&mut self, node: NodeId, partition: TopicIdPartition, dir: u32) {
        self.log_mut(node, partition).dir = Some(dir);
    }

    /// Takes in whole batches that stand in the files behind the end that the node told of.
    pub(super) fn learn_untold(
        &mut self,
        node: NodeId,
        partition: TopicIdPartition,
        segments: &[SegmentFile],
    ) {
        let Some(log) = self.logs.get_mut(&(node, partition)) else { return };
        for batch in log.learn_untold(segments) {
            self.written.entry((partition, batch.leader_epoch, batch.base_offset)).or_insert(batch);
        }
    }

    /// Notes what rotted of a node's log.
    pub(super) fn learn_rot(
        &mut self,
        node: NodeId,
        partition: TopicIdPartition,
        segments: &[SegmentFile],
    ) {
        if let Some(log) = self.logs.get_mut(&(node, partition)) {
            log.learn_rot(segments);
        }
    }

    /// The same of the metadata log (group-swarm, seed 2363).
    pub(super) fn learn_untold_metadata(&mut self, node: NodeId, segments: &[SegmentFile]) {
        self.quorum.learn_untold(node, segments);
    }
}

// ── Events ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

impl Ghost {
    /// Takes an event in.
    pub(super) fn apply(&mut self, occurrence: &Occurrence) {
        let node = occurrence.node;
        match occurrence.event {
            Event::Started => self.on_started(node),
            Event::Stopped(stop) => self.on_stopped(occurrence.at, node, stop),
            Event::Wiped => {
                self.logs.retain(|(owner, _), _| *owner != node);
                self.quorum.on_wiped(node);
                self.nodes.entry(node).or_default().has_rot = false;
                self.mark_dirty(node, Dirt::of_disk(true));
            }
            Event::DiskFailed { log_dir } => {
                self.nodes.entry(node).or_default().failed_dirs.push(log_dir);
                self.mark_dirty(node, Dirt::of_disk(false));
            }
            Event::DiskRotted => {
                self.nodes.entry(node).or_default().has_rot = true;
                self.mark_dirty(node, Dirt::of_disk(false));
            }
            Event::DiskFull(is_full) => self.nodes.entry(node).or_default().is_full = is_full,
            Event::DiskErrors { of_syncs, begin } => {
                let state = self.nodes.entry(node).or_default();
                let armed = if of_syncs { &mut state.armed_syncs } else { &mut state.armed_writes };
                *armed = if begin { *armed + 1 } else { armed.saturating_sub(1) };
                state.has_bad_disk = true;
            }
            Event::SpaceRefused => {
                let state = self.nodes.entry(node).or_default();
                state.lacked_space |= state.is_stopping;
                state.lacked_space_to_open |= !state.has_opened;
            }
            Event::StopAsked => self.nodes.entry(node).or_default().is_stopping = true,
            Event::Paused => self.nodes.entry(node).or_default().is_paused = true,
            Event::Resumed => {
                let state = self.nodes.entry(node).or_default();
                state.is_paused = false;
                state.resumed_at = Some(occurrence.at);
            }
            Event::Observed(observation) => {
                self.apply_to_node(node, &observation);
                self.apply_to_logs(occurrence.at, node, &observation);
                self.apply_to_replicas(occurrence, &observation);
                self.apply_to_metadata(occurrence, &observation);
                self.quorum.apply(occurrence, &observation);
                self.groups.apply(occurrence.at, node, &observation);
            }
        }
    }

    /// A directory that could not be opened for want of space stays offline although there is space again (swarm-disk, seed 690). One that
    /// goes offline later for that must not.
    fn apply_to_node(&mut self, node: NodeId, observation: &Observation) {
        let state = self.nodes.entry(node).or_default();
        if matches!(observation, Observation::NodeStarted { .. }) {
            state.has_opened = true;
        } else if let Observation::LogDirOffline { index } = observation {
            let waits = state.lacked_space_to_open && !state.has_opened;
            if waits && !state.unopened_dirs.contains(index) {
                state.unopened_dirs.push(*index);
            }
        }
    }

    fn on_started(&mut self, node: NodeId) {
        let state = self.nodes.entry(node).or_default();
        state.is_running = true;
        state.is_paused = false;
        state.boots += 1;
        state.is_stopping = false;
        state.lacked_space = false;
        state.failed_dirs.clear();
        state.unopened_dirs.clear();
        state.has_opened = false;
        state.lacked_space_to_open = false;
        state.told.clear();
        state.told_brokers.clear();
        state.applied = None;
        self.logs_of(node).for_each(|log| log.is_open = false);
        self.replicas.retain(|(owner, _), _| *owner != node);
        self.quorum.on_started(node);
        self.groups.forget(node);
    }

    fn on_stopped(&mut self, at: SimTime, node: NodeId, stop: Stop) {
        let state = self.nodes.entry(node).or_default();
        state.stopped_at = Some(at);
        let was_well_stopped = state.is_well_stopped();
        let was_unsure = state.may_be_well_stopped();
        state.is_running = false;
        state.is_paused = false;
        state.last_stop = Some(stop);
        let is_well_stopped = state.is_well_stopped();
        let is_unsure = was_unsure || state.may_be_well_stopped();
        let may_lack = !state.failed_dirs.is_empty() || stop == Stop::PowerLoss;
        let was_clean = state.is_clean;
        state.is_clean = was_clean || is_well_stopped;
        if may_lack {
            self.logs_of(node).for_each(|log| log.may_lack = true);
        }
        self.quorum.on_stopped(node);
        self.groups.forget(node);
        if !is_well_stopped && !was_well_stopped {
            let how = Dirt {
                has_stopped: true,
                is_sure: !was_clean && !is_unsure,
                loses_bytes: stop == Stop::PowerLoss && !was_clean,
            };
            self.mark_dirty(node, how);
        }
    }

    fn logs_of(&mut self, node: NodeId) -> impl Iterator<Item = &mut GhostLog> {
        let of_node = self.logs.iter_mut().filter(move |((owner, _), _)| *owner == node);
        of_node.map(|(_, log)| log)
    }

    /// A broker's replicas are in U from now on, and where bytes may be gone in D if they were eligible.
    fn mark_dirty(&mut self, node: NodeId, how: Dirt) {
        let Dirt { has_stopped, is_sure, loses_bytes } = how;
        let Some(broker) = self.broker_of(node) else { return };
        let boot = self.node(node).map_or(0, |state| state.boots);
        let registered = self.registration(broker).map(|known| known.broker_epoch);
        if has_stopped {
            self.nodes.entry(node).or_default().dirty_end = Some(DirtyEnd { boot, is_sure });
        }
        let facts = &self.facts;
        for (id, partition) in &mut self.partitions {
            let flushes = facts.get(&id.topic_id).is_some_and(|facts| facts.flushes_each);
            let is_damaged = loses_bytes && !flushes;
            let ends = has_stopped.then_some((boot, is_sure)).into_iter().collect();
            let how = Dirty { boot, ends, is_damaged };
            partition.mark_dirty(broker, registered, how);
        }
    }

    fn log_mut(&mut self, node: NodeId, partition: TopicIdPartition) -> &mut GhostLog {
        self.logs.entry((node, partition)).or_default()
    }

    fn apply_to_logs(&mut self, at: SimTime, node: NodeId, observation: &Observation) {
        if log::is_of_metadata(observation) {
            return; // kept with the quorum
        }
        if matches!(observation, Observation::LogRecovered { .. }) {
            self.nodes.entry(node).or_default().is_clean = false;
        }
        if let Some((partition, batch)) = log::appended(observation) {
            self.written.entry((partition, batch.leader_epoch, batch.base_offset)).or_insert(batch);
            self.log_mut(node, partition).append(batch);
        } else if let Observation::LogDeleted { partition } = observation {
            self.logs.remove(&(node, *partition));
            self.replicas.remove(&(node, *partition));
        } else if let Some(partition) = log::partition_of(observation) {
            self.log_mut(node, partition).apply(observation);
        }
        if let Observation::LogStartMoved { partition, to, .. } = *observation {
            let of = self.partitions.entry(partition).or_default();
            if of.removed.last().is_none_or(|(_, known)| *known < to) {
                of.removed.push((at, to));
            }
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a new observation does not concern the replicas unless it says so here"
    )]
    fn apply_to_replicas(&mut self, occurrence: &Occurrence, observation: &Observation) {
        let node = occurrence.node;
        match *observation {
            Observation::BecameLeader { partition, leader_epoch, start_offset, .. } => {
                self.rebase(occurrence, partition, leader_epoch, start_offset);
                self.partitions
                    .entry(partition)
                    .or_default()
                    .leaders
                    .entry(leader_epoch)
                    .or_insert(node);
            }
            Observation::IsrProposed { partition, leader_epoch, partition_epoch, isr } => {
                let mut caught_up = self.caught_up(node, partition);
                caught_up.retain(|broker, _| isr.contains(*broker));
                let of = self.partitions.entry(partition).or_default();
                // A leader that was replaced and does not know it is asked by nobody (group-swarm, seed 1916).
                let is_outdated =
                    of.proposal.as_ref().is_some_and(|known| known.leader_epoch > leader_epoch);
                if !is_outdated {
                    of.proposal = Some(Proposal { leader_epoch, partition_epoch, caught_up });
                }
            }
            Observation::ProduceAppended { partition, leader_epoch, base_offset, .. } => {
                self.rebase(occurrence, partition, leader_epoch, base_offset);
                let of = self.partitions.entry(partition).or_default();
                of.leaders.entry(leader_epoch).or_insert(node);
            }
            Observation::HighWatermarkAdvanced {
                partition,
                from,
                to,
                is_leader: true,
                leader_epoch,
                ..
            } => {
                let log = self.logs.entry((node, partition)).or_default();
                let of = self.partitions.entry(partition).or_default();
                of.commit(leader_epoch, log.batches_in(from, to), to);
            }
            Observation::ProduceAcked { partition, leader_epoch, base_offset, acks, .. } => {
                let log = self.logs.entry((node, partition)).or_default();
                if let (ottla::types::Acks::All, Some(batch)) = (acks, log.batch_at(base_offset)) {
                    let of = self.partitions.entry(partition).or_default();
                    of.acknowledge(occurrence.at, leader_epoch, *batch);
                }
            }
            _ => {}
        }
        if let Some(partition) = replica::partition_of(observation) {
            let replica = self.replicas.entry((node, partition)).or_default();
            replica.apply(occurrence.at, observation);
        }
    }

    /// At the first word of a leader whose election was declared to lose records: what it lacks is lost.
    fn rebase(
        &mut self,
        occurrence: &Occurrence,
        partition: TopicIdPartition,
        leader_epoch: LeaderEpoch,
        end: Offset,
    ) {
        let Some(of) = self.partitions.get_mut(&partition) else { return };
        if of.is_declared(leader_epoch) && !of.is_rebased(leader_epoch) {
            let log = self.logs.entry((occurrence.node, partition)).or_default();
            of.rebase(occurrence.at, leader_epoch, log, end);
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a new observation does not concern the metadata unless it says so here"
    )]
    fn apply_to_metadata(&mut self, occurrence: &Occurrence, observation: &Observation) {
        let teller = self.nodes.entry(occurrence.node).or_default();
        match *observation {
            Observation::PartitionChanged { partition, partition_epoch, leader_epoch, .. } => {
                teller.told.insert(partition, (partition_epoch, leader_epoch));
                let state = PartitionState::of(observation).expect("it is one");
                let registrations = &self.registrations;
                let boot_of = |broker| registrations.get(&broker).map(|known| known.boot);
                let of = self.partitions.entry(partition).or_default();
                let is_new = of.states.is_empty();
                of.learn(partition_epoch, state, boot_of);
                if is_new {
                    self.begin_dirty(partition, &state);
                }
            }
            Observation::IncarnationBegun { incarnation_id, .. } => {
                teller.incarnations.insert(incarnation_id, teller.boots);
            }
            Observation::RegistrationChanged {
                end_offset,
                broker,
                broker_epoch,
                incarnation_id,
                is_fenced,
                in_controlled_shutdown,
            } => {
                teller.told_brokers.insert(broker, broker_epoch);
                // It may be told long after it was asked for, and after its process has ended (storm 6608).
                let node = self.node_of(broker).and_then(|node| self.node(node));
                let boot = node.and_then(|node| node.incarnations.get(&incarnation_id).copied());
                let (at, boot) = (end_offset, boot.unwrap_or(0));
                let unfenced_at = (!is_fenced).then_some(occurrence.at);
                let new = Registration {
                    broker_epoch,
                    boot,
                    at,
                    is_fenced,
                    in_controlled_shutdown,
                    unfenced_at,
                };
                self.register(broker, new);
            }
            Observation::RegistrationRemoved { end_offset, broker } => {
                self.unregister(broker, end_offset);
            }
            Observation::MetadataApplied { end_offset, .. } => teller.applied = Some(end_offset),
            Observation::MetadataSnapshotLoaded { .. } => {
                teller.told.clear();
                teller.told_brokers.clear();
            }
            Observation::TopicDeleted { topic_id } => {
                self.partitions.retain(|id, _| id.topic_id != topic_id);
            }
            _ => {}
        }
    }

    /// A partition was made. Who has stopped dirty, and is registered as before it did, begins in U: the controller hears of it later, and
    /// strikes it from this partition too (group-swarm, seed 1163).
    fn begin_dirty(&mut self, partition: TopicIdPartition, state: &PartitionState) {
        for broker in state.replicas.iter() {
            let Some(registered) = self.registration(broker).map(|known| known.boot) else {
                continue;
            };
            let end = self.node_of(broker).and_then(|node| self.node(node)?.dirty_end);
            if let Some(DirtyEnd { boot, is_sure }) = end.filter(|end| registered <= end.boot) {
                let ends = BTreeMap::from([(boot, is_sure)]);
                let how = Dirty { boot, ends, is_damaged: false };
                let of = self.partitions.entry(partition).or_default();
                of.dirty.insert(broker, how);
            }
        }
    }

    /// A registration is gone. It may be there anew by the time that a node which lags behind tells of it.
    fn unregister(&mut self, broker: BrokerId, end_offset: Offset) {
        if self.registration(broker).is_some_and(|known| known.at < end_offset) {
            self.registrations.remove(&broker);
        }
    }

    /// Takes a registration in, unless a node that lags behind tells of it.
    fn register(&mut self, broker: BrokerId, mut new: Registration) {
        let known = self.registrations.get(&broker).copied();
        let was_unfenced = known.filter(|known| known.broker_epoch == new.broker_epoch);
        if let (Some(since), Some(_)) = (was_unfenced.and_then(|k| k.unfenced_at), new.unfenced_at)
        {
            new.unfenced_at = Some(since);
        }
        if known.is_some_and(|known| known.at >= new.at || known.broker_epoch > new.broker_epoch) {
            return;
        }
        self.registrations.insert(broker, new);
    }
}
