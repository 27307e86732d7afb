//! The ledger with replicas around it, as small as they can be: logs are lists, nodes learn of metadata when chance lets them,
//! and crashes cost what was not synced. What was committed is in the log of every leader that was not declared to have lost it
//! (R9), whatever happens in which order. The real replicas stand elsewhere; here it is the controller's decisions that are judged.

use proptest::prelude::*;

use super::*;
use crate::metadata::PartitionImage;

const BROKERS: std::ops::RangeInclusive<i32> = 1..=4;

/// A record: the leader epoch it was written in, and a number of its own.
type Entry = (LeaderEpoch, u32);

/// What a node knows of the partition.
#[derive(Clone, Debug)]
struct Seen {
    partition: PartitionImage,
    min_isr: usize,
}

/// A node that leads, as far as it knows.
#[derive(Clone, Debug)]
struct Leading {
    epoch: LeaderEpoch,
    /// Where its term begins.
    start: usize,
    /// How far each follower has come in this term, and which incarnation of it.
    progress: BTreeMap<i32, (usize, BrokerEpoch)>,
    /// What it proposed and has not heard of.
    pending: Vec<BrokerId>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    log: Vec<Entry>,
    synced: usize,
    high_watermark: usize,
    /// Its incarnation; `None` while it is down.
    running: Option<BrokerEpoch>,
    /// Its last incarnation, if that one stopped in good order.
    clean: Option<BrokerEpoch>,
    seen: Option<Seen>,
    leading: Option<Leading>,
}

struct World {
    harness: Harness,
    nodes: BTreeMap<i32, Node>,
    committed: Vec<Entry>,
    /// The term of the last leader that was declared to have lost something.
    cut: Option<LeaderEpoch>,
    next: u32,
    incarnations: u8,
}

#[derive(Clone, Debug)]
enum Step {
    Append { node: i32 },
    Fetch { node: i32, records: usize },
    Learn { node: i32 },
    LearnAll,
    Propose { node: i32, members: u8, is_answered: bool },
    Sync { node: i32 },
    Crash { node: i32, lost: usize },
    Stop { node: i32 },
    Start { node: i32 },
    Beat { node: i32 },
    BeatAll,
    Wait { seconds: u64 },
    MinIsr { value: i32 },
    Unclean { allowed: bool },
    Prefer,
    Move { first: i32, count: i32 },
    Cancel,
    TakeOver,
}

fn step() -> impl Strategy<Value = Step> {
    let node = || BROKERS;
    prop_oneof![
        8 => node().prop_map(|node| Step::Append { node }),
        14 => (node(), 1..4usize).prop_map(|(node, records)| Step::Fetch { node, records }),
        6 => node().prop_map(|node| Step::Learn { node }),
        3 => Just(Step::LearnAll),
        10 => (node(), any::<u8>(), any::<bool>())
            .prop_map(|(node, members, is_answered)| Step::Propose { node, members, is_answered }),
        2 => node().prop_map(|node| Step::Sync { node }),
        3 => (node(), 0..4usize).prop_map(|(node, lost)| Step::Crash { node, lost }),
        2 => node().prop_map(|node| Step::Stop { node }),
        6 => node().prop_map(|node| Step::Start { node }),
        4 => node().prop_map(|node| Step::Beat { node }),
        4 => Just(Step::BeatAll),
        4 => (3..11u64).prop_map(|seconds| Step::Wait { seconds }),
        2 => (1..4).prop_map(|value| Step::MinIsr { value }),
        1 => prop::bool::weighted(0.2).prop_map(|allowed| Step::Unclean { allowed }),
        1 => Just(Step::Prefer),
        1 => (node(), 1..4).prop_map(|(first, count)| Step::Move { first, count }),
        1 => Just(Step::Cancel),
        1 => Just(Step::TakeOver),
    ]
}

impl World {
    fn new(min_isr: i32) -> Self {
        let mut harness = Harness::new();
        let mut nodes = BTreeMap::new();
        for broker in BROKERS {
            let running = Some(harness.join(broker));
            nodes.insert(broker, Node { running, ..Node::default() });
        }
        harness.create(vec![manual("t", &[(0, &[1, 2, 3])])], false);
        harness.min_isr("t", min_isr);
        let incarnations = 100;
        let mut world =
            Self { harness, nodes, committed: vec![], cut: None, next: 0, incarnations };
        world.step(Step::LearnAll);
        world
    }

    fn partition(&self) -> PartitionImage {
        let name = self.harness.name("t", 0);
        self.harness.ledger.image().partition(name).unwrap().clone()
    }

    fn step(&mut self, step: Step) {
        let before = self.partition();
        self.perform(step);
        self.harness.text.clear();
        self.note_cut(&before);
    }

    fn perform(&mut self, step: Step) {
        match step {
            Step::Append { node } => {
                self.next += 1;
                let entry = self.next;
                let node = self.nodes.get_mut(&node).unwrap();
                if let Some(leading) = &node.leading {
                    node.log.push((leading.epoch, entry));
                }
            }
            Step::Fetch { node, records } => self.fetch(node, records),
            Step::Learn { node } => self.learn(node),
            Step::LearnAll => BROKERS.for_each(|node| self.learn(node)),
            Step::Propose { node, members, is_answered } => {
                self.propose(node, members, is_answered)
            }
            Step::Sync { node } => {
                let node = self.nodes.get_mut(&node).unwrap();
                node.synced = node.log.len();
            }
            Step::Crash { node, lost } => {
                let node = self.nodes.get_mut(&node).unwrap();
                if node.running.is_some() {
                    let end = node.log.len().saturating_sub(lost).max(node.synced);
                    node.log.truncate(end);
                    let (log, high_watermark) = (node.log.clone(), node.high_watermark.min(end));
                    *node = Node { log, synced: end, high_watermark, ..Node::default() };
                }
            }
            Step::Stop { node } => self.stop(node),
            Step::Start { node } => self.start(node),
            Step::Beat { node } => self.beat(node),
            Step::BeatAll => BROKERS.for_each(|node| self.beat(node)),
            Step::Wait { seconds } => self.harness.wait(seconds),
            Step::MinIsr { value } => self.harness.min_isr("t", value),
            Step::Unclean { allowed } => {
                let value = allowed.to_string();
                self.harness.set_config("t", "unclean.leader.election.enable", &value);
                self.harness.wait(0);
            }
            Step::Prefer => {
                let election = ElectionType::Preferred;
                let request = ElectLeadersRequest { election, partitions: None };
                self.harness.ask(Request::ElectLeaders(request));
            }
            Step::Move { first, count } => {
                let replicas: Vec<i32> =
                    (0..count).map(|step| (first + step - 1) % 4 + 1).collect();
                self.harness.reassign("t", 0, Some(&replicas));
            }
            Step::Cancel => self.harness.reassign("t", 0, None),
            Step::TakeOver => self.harness.take_over(),
        }
    }

    /// A declared loss: what the new leader does not have counts no longer.
    fn note_cut(&mut self, before: &PartitionImage) {
        let now = self.partition();
        let Some(leader) = now.leader else { return };
        let declared = now.leader_recovery_state == LeaderRecoveryState::Recovering
            && now.leader_epoch > before.leader_epoch
            && now.isr == [leader]
            && now.eligible_leader_replicas.is_empty();
        if declared {
            let log = &self.nodes[&leader.value()].log;
            let same = self.committed.iter().zip(log).take_while(|(a, b)| a == b).count();
            self.committed.truncate(same);
            self.cut = Some(now.leader_epoch);
        }
    }

    /// A node applies the metadata.
    fn learn(&mut self, id: i32) {
        let partition = self.partition();
        let topic = self.harness.ledger.image().topic("t").unwrap().clone();
        let rules = self.harness.ledger.election_rules(&topic);
        let min_isr = rules.min_isr.min(partition.replicas.len());
        let node = self.nodes.get_mut(&id).unwrap();
        if node.running.is_none() {
            return;
        }
        let own = BrokerId::new(id);
        let is_recovering = partition.leader_recovery_state == LeaderRecoveryState::Recovering;
        if !partition.replicas.contains(&own) {
            node.log.clear();
            (node.synced, node.high_watermark) = (0, 0);
        }
        if partition.leader == Some(own) {
            let epoch = partition.leader_epoch;
            match &mut node.leading {
                Some(leading) if leading.epoch == epoch => leading.pending.clear(),
                _ => {
                    let start = node.log.len();
                    let progress = BTreeMap::new();
                    node.leading = Some(Leading { epoch, start, progress, pending: vec![] });
                    let held = node.log.starts_with(&self.committed);
                    assert!(held || is_recovering, "{:?} of {:?}", node.log, self.committed);
                }
            }
        } else {
            node.leading = None;
        }
        node.seen = Some(Seen { partition, min_isr });
        self.advance(id);
    }

    /// A follower asks its leader, if both mean the same term.
    fn fetch(&mut self, id: i32, records: usize) {
        let follower = self.nodes[&id].clone();
        let (Some(epoch), Some(seen)) = (follower.running, &follower.seen) else { return };
        let Some(leader) = seen.partition.leader.map(BrokerId::value).filter(|one| *one != id)
        else {
            return;
        };
        if !seen.partition.replicas.contains(&BrokerId::new(id)) {
            return;
        }
        let source = self.nodes.get_mut(&leader).unwrap();
        let Some(leading) = &mut source.leading else { return };
        if source.running.is_none() || leading.epoch != seen.partition.leader_epoch {
            return;
        }
        let same = follower.log.iter().zip(&source.log).take_while(|(a, b)| a == b).count();
        // It tells where it stands, and then gets more.
        leading.progress.insert(id, (same, epoch));
        let end = (same + records).min(source.log.len());
        let (log, high_watermark) = (source.log[..end].to_vec(), source.high_watermark);
        let node = self.nodes.get_mut(&id).unwrap();
        node.synced = node.synced.min(same);
        node.log = log;
        node.high_watermark = high_watermark.min(end);
        self.advance(leader);
    }

    /// The leader's high watermark, and with it what is committed.
    fn advance(&mut self, id: i32) {
        let node = self.nodes.get_mut(&id).unwrap();
        let (Some(leading), Some(seen)) = (&node.leading, &node.seen) else { return };
        if seen.partition.isr.len() < seen.min_isr {
            return;
        }
        let members = seen.partition.isr.iter().chain(&leading.pending);
        let end_of = |member: &BrokerId| match member.value() {
            own if own == id => node.log.len(),
            other => leading.progress.get(&other).map_or(0, |(end, _)| *end),
        };
        let end = members.map(end_of).min().unwrap_or(0);
        if end <= node.high_watermark {
            return;
        }
        node.high_watermark = end;
        let is_stale = self.cut.is_some_and(|cut| leading.epoch < cut);
        if !is_stale && end > self.committed.len() {
            assert!(node.log.starts_with(&self.committed), "{id} commits another history");
            self.committed = node.log[..end].to_vec();
            self.check_present_leader();
        }
    }

    /// Whoever leads already holds what an earlier leader commits now.
    fn check_present_leader(&self) {
        let partition = self.partition();
        let Some(leader) = partition.leader else { return };
        let node = &self.nodes[&leader.value()];
        let leads = node.leading.as_ref().is_some_and(|one| one.epoch == partition.leader_epoch);
        assert!(!leads || node.log.starts_with(&self.committed), "a deposed leader commits");
    }

    fn propose(&mut self, id: i32, members: u8, is_answered: bool) {
        let node = self.nodes[&id].clone();
        let (Some(leading), Some(seen)) = (&node.leading, &node.seen) else { return };
        let Some(broker_epoch) = node.running else { return };
        let caught_up = node.high_watermark.max(leading.start);
        let mut isr = Vec::new();
        for replica in &seen.partition.replicas {
            let wanted = members & (1 << replica.value()) != 0;
            let progress = leading.progress.get(&replica.value());
            let registered =
                self.harness.ledger.image().broker(*replica).map(|one| one.broker_epoch);
            if replica.value() == id {
                isr.push((*replica, Some(broker_epoch)));
            } else if wanted && seen.partition.isr.contains(replica) {
                // Of a member it knows the incarnation from the metadata, or from its fetches.
                isr.push((*replica, progress.map(|(_, epoch)| *epoch).or(registered)));
            } else if wanted && progress.is_some_and(|(end, _)| *end >= caught_up) {
                isr.push((*replica, progress.map(|(_, epoch)| *epoch)));
            }
        }
        let proposed: Vec<BrokerId> = isr.iter().map(|(replica, _)| *replica).collect();
        self.harness.proposed = proposed.clone();
        let change = IsrChange {
            partition: self.harness.name("t", 0),
            leader_epoch: leading.epoch,
            partition_epoch: seen.partition.partition_epoch,
            isr,
            leader_recovery_state: LeaderRecoveryState::Recovered,
        };
        let broker = BrokerId::new(id);
        let request = AlterPartitionRequest { broker, broker_epoch, partitions: vec![change] };
        let Reply::AlterPartition(reply) = self.harness.ask(Request::AlterPartition(request))
        else {
            panic!("another request's reply");
        };
        let node = self.nodes.get_mut(&id).unwrap();
        let (Some(leading), Some(seen)) = (&mut node.leading, &mut node.seen) else { return };
        leading.pending.extend(proposed);
        let state = reply.ok().and_then(|mut results| results.remove(0).result.ok());
        if let Some(state) = state.filter(|_| is_answered) {
            leading.pending.clear();
            seen.partition.isr = state.isr;
            seen.partition.partition_epoch = state.partition_epoch;
        }
        self.advance(id);
    }

    fn stop(&mut self, id: i32) {
        let Some(broker_epoch) = self.nodes[&id].running else { return };
        let request = BrokerHeartbeatRequest {
            broker: BrokerId::new(id),
            broker_epoch,
            metadata_end_offset: self.harness.next_offset,
            want_fence: false,
            want_shutdown: true,
            offline_log_dirs: vec![],
        };
        let reply = self.harness.ask(Request::BrokerHeartbeat(request));
        if let Reply::BrokerHeartbeat(Ok(answer)) = reply
            && answer.should_shut_down
        {
            let node = self.nodes.get_mut(&id).unwrap();
            let synced = node.log.len();
            let (log, high_watermark) = (node.log.clone(), node.high_watermark);
            let clean = Some(broker_epoch);
            *node = Node { log, synced, high_watermark, clean, ..Node::default() };
        }
    }

    fn start(&mut self, id: i32) {
        if self.nodes[&id].running.is_some() {
            return;
        }
        self.incarnations = self.incarnations.wrapping_add(1);
        let previous = self.nodes[&id].clean.map(BrokerEpoch::value);
        let epoch = self.harness.register(id, self.incarnations, previous);
        let node = self.nodes.get_mut(&id).unwrap();
        if epoch.is_some() {
            node.running = epoch;
            node.clean = None;
        }
    }

    fn beat(&mut self, id: i32) {
        if let Some(epoch) = self.nodes[&id].running {
            self.harness.heartbeat(id, epoch, false);
        }
    }
}

proptest! {
    #[test]
    fn what_was_committed_is_in_the_log_of_every_leader_that_was_not_declared_to_have_lost_it(
        min_isr in 1..4,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut world = World::new(min_isr);
        for step in steps {
            world.step(step);
            world.harness.check();
        }
    }
}
