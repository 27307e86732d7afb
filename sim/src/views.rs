//! The cluster as its nodes know it: who leads what, who is in sync, who is the active controller; now and at every moment
//! before. Kept from what the nodes say of themselves. Targets are found here, and expectations about leaders are measured here.

use std::collections::{BTreeMap, BTreeSet};

use ottla::types::{
    BrokerId, BrokerSet, LeaderEpoch, Observation, Offset, PartitionEpoch, TopicIdPartition,
};

use crate::event::Who;
use crate::scenario::duration::Span;
use crate::scenario::target::PartitionName;

/// A partition as the controller committed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionView {
    /// Which version of it.
    pub epoch: Option<PartitionEpoch>,
    /// Who leads.
    pub leader: Option<BrokerId>,
    /// The leader's term.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Who holds a copy, those of a reassignment too.
    pub replicas: BrokerSet,
    /// Who is in sync.
    pub isr: BrokerSet,
}

/// What one node knows. Forgotten when its process ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct NodeView {
    applied: Option<Offset>,
    partitions: BTreeMap<TopicIdPartition, PartitionView>,
    /// Whether each broker is fenced.
    brokers: BTreeMap<BrokerId, bool>,
}

/// What can happen to a node that its own words do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeTurn {
    /// Its process began.
    Started,
    /// Its process ended.
    Ended,
    /// It stands still.
    Paused,
    /// It goes on.
    Resumed,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Views {
    /// The newest version of each partition that any node told of.
    partitions: BTreeMap<TopicIdPartition, PartitionView>,
    /// Every version, in the order they were told.
    versions: Versions,
    nodes: BTreeMap<Who, NodeView>,
    /// The node that was elected last, with its epoch, while nothing is known to have ended it.
    controller: Option<(LeaderEpoch, Who)>,
    /// The live nodes that believe to be the active controller.
    active: BTreeSet<Who>,
    /// How many they were from each moment on.
    active_counts: Vec<(Span, u64)>,
    /// Since when there has been no active controller.
    gap_since: Option<Span>,
    /// The times without an active controller that are over.
    gaps: Vec<(Span, Span)>,
}

/// Every version of each partition, in the order they were told.
pub type Versions = BTreeMap<TopicIdPartition, Vec<(Span, PartitionView)>>;

impl Views {
    /// A node spoke of itself. Returns whether a partition has other replicas than before.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others say nothing of the cluster")]
    pub fn observe(&mut self, at: Span, who: &Who, observation: &Observation) -> Moved {
        match observation {
            Observation::PartitionChanged { partition, .. } => {
                let Some(view) = view_of(observation) else { return Moved::No };
                self.node(who).partitions.insert(*partition, view);
                return self.learn(at, *partition, view);
            }
            Observation::LeaderElected { partition, leader, leader_epoch, .. } => {
                let known = self.partitions.get(partition).copied().unwrap_or_default();
                if known.leader_epoch < Some(*leader_epoch) {
                    let (leader, leader_epoch) = (*leader, Some(*leader_epoch));
                    self.keep(at, *partition, PartitionView { leader, leader_epoch, ..known });
                }
            }
            Observation::RegistrationChanged { broker, is_fenced, .. } => {
                self.node(who).brokers.insert(*broker, *is_fenced);
            }
            Observation::RegistrationRemoved { broker, .. } => {
                self.node(who).brokers.remove(broker);
            }
            Observation::MetadataApplied { end_offset, .. } => {
                self.node(who).applied = Some(*end_offset);
            }
            Observation::ControllerElected { epoch, .. } => self.elected(at, who, *epoch),
            Observation::ControllerResigned { .. } => self.ended_controller(at, who),
            _ => {}
        }
        Moved::No
    }

    /// Something happened to a node.
    pub fn turn(&mut self, at: Span, who: &Who, turn: NodeTurn) {
        match turn {
            NodeTurn::Ended => {
                self.nodes.remove(who);
                self.ended_controller(at, who);
            }
            NodeTurn::Paused if self.is_controller(who) => {
                self.gap_since = self.gap_since.or(Some(at));
            }
            NodeTurn::Resumed if self.is_controller(who) && self.active.contains(who) => {
                self.close_gap(at);
            }
            NodeTurn::Started | NodeTurn::Paused | NodeTurn::Resumed => {}
        }
    }

    fn node(&mut self, who: &Who) -> &mut NodeView {
        self.nodes.entry(who.clone()).or_default()
    }

    fn learn(&mut self, at: Span, partition: TopicIdPartition, view: PartitionView) -> Moved {
        let known = self.partitions.get(&partition).copied();
        if known.is_some_and(|known| known.epoch >= view.epoch) {
            return Moved::No;
        }
        self.keep(at, partition, view);
        match known.filter(|known| !known.replicas.is_empty()) {
            Some(known) if known.replicas != view.replicas => {
                Moved::Yes { from: known.replicas, to: view.replicas }
            }
            Some(_) | None => Moved::No,
        }
    }

    fn keep(&mut self, at: Span, partition: TopicIdPartition, view: PartitionView) {
        self.partitions.insert(partition, view);
        self.versions.entry(partition).or_default().push((at, view));
    }

    // ── The active controller ──────────────────────────────────────────────────────────────────────────────────────────

    fn elected(&mut self, at: Span, who: &Who, epoch: LeaderEpoch) {
        if self.controller.as_ref().is_none_or(|(known, _)| *known < epoch) {
            self.controller = Some((epoch, who.clone()));
            self.close_gap(at);
        }
        self.active.insert(who.clone());
        self.count_active(at);
    }

    fn ended_controller(&mut self, at: Span, who: &Who) {
        if self.active.remove(who) {
            self.count_active(at);
        }
        if self.is_controller(who) {
            self.gap_since = self.gap_since.or(Some(at));
        }
    }

    fn is_controller(&self, who: &Who) -> bool {
        self.controller.as_ref().is_some_and(|(_, controller)| controller == who)
    }

    fn close_gap(&mut self, at: Span) {
        if let Some(since) = self.gap_since.take() {
            self.gaps.push((since, at));
        }
    }

    fn count_active(&mut self, at: Span) {
        self.active_counts.push((at, self.active.len() as u64));
    }

    /// The node that was elected last, where it still believes so and is alive.
    #[must_use]
    pub fn controller(&self) -> Option<&Who> {
        self.controller.as_ref().map(|(_, who)| who).filter(|who| self.active.contains(*who))
    }

    /// How many live nodes believed at a moment that they are the active controller.
    #[must_use]
    pub fn active_at(&self, at: Span) -> u64 {
        last_before(&self.active_counts, at).copied().unwrap_or(0)
    }

    /// The most that believed so at once.
    #[must_use]
    pub fn active_most(&self, from: Span, to: Span) -> u64 {
        let within = self.active_counts.iter().filter(|(at, _)| *at > from && *at <= to);
        within.map(|(_, count)| *count).fold(self.active_at(from), u64::max)
    }

    /// The longest time without an active controller.
    #[must_use]
    pub fn longest_gap(&self, from: Span, to: Span) -> Span {
        let open = self.gap_since.map(|since| (since, to));
        let gaps = self.gaps.iter().copied().chain(open);
        let within = gaps
            .map(|(since, until)| until.min(to).nanos().saturating_sub(since.max(from).nanos()));
        Span::from_nanos(within.max().unwrap_or(0))
    }

    // ── Partitions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// A partition as the controller last committed it.
    #[must_use]
    pub fn partition(&self, partition: TopicIdPartition) -> Option<&PartitionView> {
        self.partitions.get(&partition)
    }

    /// A partition as it was at a moment.
    #[must_use]
    pub fn partition_at(&self, partition: TopicIdPartition, at: Span) -> Option<&PartitionView> {
        last_before(self.versions.get(&partition)?, at)
    }

    /// Every version of each partition.
    #[must_use]
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Every version of a partition that was in force between two moments.
    fn versions_within(
        &self,
        partition: TopicIdPartition,
        from: Span,
        to: Span,
    ) -> Vec<(Span, &PartitionView)> {
        let all = self.versions.get(&partition).map_or(&[][..], Vec::as_slice);
        let first = last_before(all, from).map(|view| (from, view));
        let later = all.iter().filter(|(at, _)| *at > from && *at <= to);
        first.into_iter().chain(later.map(|(at, view)| (*at, view))).collect()
    }

    /// The size of a partition's smallest ISR between two moments.
    #[must_use]
    pub fn isr_least(&self, partition: TopicIdPartition, from: Span, to: Span) -> Option<usize> {
        let versions = self.versions_within(partition, from, to);
        versions.iter().map(|(_, view)| view.isr.len()).min()
    }

    /// The longest time between two moments in which a partition had no leader.
    #[must_use]
    pub fn leaderless_longest(&self, partition: TopicIdPartition, from: Span, to: Span) -> Span {
        let mut longest = 0;
        let mut since = None;
        for (at, view) in self.versions_within(partition, from, to) {
            match (view.leader, since) {
                (None, None) => since = Some(at),
                (Some(_), Some(began)) => {
                    longest = longest.max(at.nanos() - Span::nanos(began));
                    since = None;
                }
                (None, Some(_)) | (Some(_), None) => {}
            }
        }
        let open = since.map_or(0, |began| to.nanos().saturating_sub(began.nanos()));
        Span::from_nanos(longest.max(open))
    }

    // ── All of it ──────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The furthest that any node has applied metadata.
    #[must_use]
    pub fn applied_most(&self) -> Option<Offset> {
        self.nodes.values().filter_map(|node| node.applied).max()
    }

    /// Whether every one of `nodes` knows the same of every partition and broker.
    ///
    /// Errors: the first difference.
    pub fn identical(&self, nodes: &[Who]) -> Result<(), String> {
        let Some((first, rest)) = nodes.split_first() else { return Ok(()) };
        let nothing = NodeView::default();
        let view = |who: &Who| self.nodes.get(who).unwrap_or(&nothing);
        for who in rest {
            let (one, other) = (view(first), view(who));
            if one.brokers != other.brokers {
                return Err(format!("{first} and {who} know the brokers differently"));
            }
            if one.partitions != other.partitions {
                return Err(format!("{first} and {who} know the partitions differently"));
            }
        }
        Ok(())
    }

    /// Whether a healed cluster is whole: each of `nodes` has applied what there was up to `until`; the brokers among `live`
    /// are not fenced; each partition has a leader, and every live replica of it is in sync.
    ///
    /// Errors: what is not so.
    pub fn whole(
        &self,
        nodes: &[Who],
        live: &BrokerSet,
        until: Option<Offset>,
        partitions: &[(PartitionName, TopicIdPartition)],
    ) -> Result<(), String> {
        if self.controller().is_none() {
            return Err("no node is the active controller".into());
        }
        for who in nodes {
            let view = self.nodes.get(who);
            let view = view.ok_or_else(|| format!("{who} has applied no metadata"))?;
            if view.applied < until {
                let end =
                    |end: Option<Offset>| end.map_or_else(|| "0".into(), |end| end.to_string());
                let (own, all) = (end(view.applied), end(until));
                return Err(format!("{who} is behind with the metadata: below {own} of {all}"));
            }
            for broker in live.iter() {
                match view.brokers.get(&broker) {
                    Some(false) => {}
                    Some(true) => return Err(format!("{who} knows broker {broker} as fenced")),
                    None => return Err(format!("{who} does not know broker {broker}")),
                }
            }
        }
        for (name, partition) in partitions {
            let view =
                self.partitions.get(partition).ok_or_else(|| format!("nobody knows {name}"))?;
            if view.leader.is_none() {
                return Err(format!("{name} has no leader"));
            }
            let missing = view.replicas.without(&view.isr);
            if let Some(broker) = missing.iter().find(|broker| live.contains(*broker)) {
                return Err(format!("broker {broker} is not in the ISR of {name}"));
            }
        }
        Ok(())
    }
}

/// Whether the replicas of a partition are others now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// They are not.
    No,
    /// They are.
    Yes {
        /// Who held a copy before.
        from: BrokerSet,
        /// Who holds one now.
        to: BrokerSet,
    },
}

fn view_of(observation: &Observation) -> Option<PartitionView> {
    let Observation::PartitionChanged {
        partition_epoch, leader, leader_epoch, replicas, isr, ..
    } = *observation
    else {
        return None;
    };
    Some(PartitionView {
        epoch: Some(partition_epoch),
        leader,
        leader_epoch: Some(leader_epoch),
        replicas,
        isr,
    })
}

/// The last value that was there at a moment.
fn last_before<T>(values: &[(Span, T)], at: Span) -> Option<&T> {
    values.iter().rev().find(|(since, _)| *since <= at).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use ottla::types::{PartitionIndex, TopicId};

    use super::*;

    const PARTITION: TopicIdPartition = TopicIdPartition {
        topic_id: TopicId::from_bytes([7; 16]),
        partition: PartitionIndex::new(0),
    };

    fn seconds(seconds: u64) -> Span {
        Span::from_secs(seconds)
    }

    fn set(ids: &[i32]) -> BrokerSet {
        ids.iter().map(|id| BrokerId::new(*id)).collect()
    }

    fn changed(epoch: i32, leader: Option<i32>, isr: &[i32], replicas: &[i32]) -> Observation {
        Observation::PartitionChanged {
            partition: PARTITION,
            partition_epoch: PartitionEpoch::new(epoch),
            leader: leader.map(BrokerId::new),
            leader_epoch: LeaderEpoch::new(epoch),
            replicas: set(replicas),
            adding: BrokerSet::EMPTY,
            removing: BrokerSet::EMPTY,
            isr: set(isr),
            elr: set(&[]),
            last_known_leader: None,
            is_recovering: false,
            is_unclean: false,
        }
    }

    fn elected(epoch: i32) -> Observation {
        Observation::ControllerElected { broker: BrokerId::new(1), epoch: LeaderEpoch::new(epoch) }
    }

    #[test]
    fn the_newest_version_counts_whoever_tells_it_and_when() {
        let mut views = Views::default();
        let (one, two) = (Who::Broker(1), Who::Broker(2));
        views.observe(seconds(1), &one, &changed(1, Some(1), &[1, 2, 3], &[1, 2, 3]));
        views.observe(seconds(4), &one, &changed(2, None, &[1], &[1, 2, 3]));
        views.observe(seconds(5), &two, &changed(1, Some(1), &[1, 2, 3], &[1, 2, 3]));
        let moved = views.observe(seconds(9), &two, &changed(3, Some(2), &[2], &[2, 3]));
        assert_eq!(moved, Moved::Yes { from: set(&[1, 2, 3]), to: set(&[2, 3]) });
        assert_eq!(views.partition(PARTITION).unwrap().leader, Some(BrokerId::new(2)));
        assert_eq!(views.partition_at(PARTITION, seconds(6)).unwrap().leader, None);
        assert_eq!(views.isr_least(PARTITION, seconds(2), seconds(3)), Some(3));
        assert_eq!(views.isr_least(PARTITION, seconds(2), seconds(20)), Some(1));
        assert_eq!(views.leaderless_longest(PARTITION, seconds(0), seconds(20)), seconds(5));
        assert_eq!(views.leaderless_longest(PARTITION, seconds(6), seconds(8)), seconds(2));
    }

    #[test]
    fn a_gap_lasts_from_the_end_of_a_controller_to_the_next_election() {
        let mut views = Views::default();
        let (one, two) = (Who::Controller(1), Who::Controller(2));
        views.observe(seconds(1), &one, &elected(1));
        assert_eq!(views.controller(), Some(&one));
        views.turn(seconds(5), &one, NodeTurn::Paused);
        views.observe(seconds(8), &two, &elected(2));
        views.turn(seconds(9), &one, NodeTurn::Resumed);
        assert_eq!((views.controller(), views.active_at(seconds(9))), (Some(&two), 2));
        views.observe(
            seconds(10),
            &one,
            &Observation::ControllerResigned {
                broker: BrokerId::new(101),
                epoch: LeaderEpoch::new(1),
            },
        );
        views.turn(seconds(12), &two, NodeTurn::Ended);
        assert_eq!(views.controller(), None);
        assert_eq!(views.longest_gap(seconds(0), seconds(14)), seconds(3));
        assert_eq!(views.longest_gap(seconds(0), seconds(20)), seconds(8));
        assert_eq!(views.active_most(seconds(0), seconds(20)), 2);
        assert_eq!(views.active_at(seconds(20)), 0);
    }

    #[test]
    fn a_cluster_is_whole_when_all_know_the_same_and_all_copies_are_in_sync() {
        let mut views = Views::default();
        let nodes = [Who::Broker(1), Who::Broker(2)];
        let live = set(&[1, 2]);
        let partitions = [(PartitionName { topic: "orders".into(), index: 0 }, PARTITION)];
        let whole = |views: &Views| views.whole(&nodes, &live, None, &partitions);
        assert!(whole(&views).unwrap_err().contains("active controller"));
        views.observe(seconds(1), &nodes[0], &elected(1));
        for (who, id) in nodes.iter().flat_map(|who| [(who, 1), (who, 2)]) {
            let registration = |is_fenced| Observation::RegistrationChanged {
                end_offset: Offset::new(7),
                broker: BrokerId::new(id),
                broker_epoch: ottla::types::BrokerEpoch::new(1),
                incarnation_id: ottla::types::Uuid::from_bytes([1; 16]),
                is_fenced,
                in_controlled_shutdown: false,
            };
            views.observe(seconds(1), who, &registration(true));
            assert!(whole(&views).is_err());
            views.observe(seconds(1), who, &registration(false));
        }
        assert!(whole(&views).unwrap_err().contains("nobody knows"));
        views.observe(seconds(2), &nodes[0], &changed(1, Some(1), &[1], &[1, 2, 3]));
        assert_eq!(whole(&views).unwrap_err(), "broker 2 is not in the ISR of orders-0");
        views.observe(seconds(3), &nodes[0], &changed(2, Some(1), &[1, 2], &[1, 2, 3]));
        assert_eq!(whole(&views), Ok(()), "broker 3 is not among the living");
        assert!(views.identical(&nodes).is_err());
        views.observe(seconds(4), &nodes[1], &changed(2, Some(1), &[1, 2], &[1, 2, 3]));
        assert_eq!(views.identical(&nodes), Ok(()));
    }
}
