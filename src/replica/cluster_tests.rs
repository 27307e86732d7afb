//! One partition on three brokers, as pure machines with files in memory: random appends, fetches, answers that are lost or come
//! twice, disks that are slow, brokers that are killed and lose what was not synced, leaders that change; and a controller that
//! decides as Kafka's does (KIP-966).
//!
//! Held against what only this model sees: which record was ever committed, and what each follower claimed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::test_replica::{TestReplica, node_config, produced};
use super::*;
use crate::log::EpochEndOffset;
use crate::protocol::record_batch::RawBatch;
use crate::types::{
    Acks, BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Monotonic, Observation, Offset,
    PartitionEpoch,
};

const NODES: usize = 3;
const MIN_ISR: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Step {
    Produce {
        node: usize,
        all: bool,
    },
    /// Writes that were started are complete.
    Write {
        node: usize,
    },
    /// Everything becomes durable.
    Sync {
        node: usize,
    },
    Send {
        node: usize,
    },
    Serve {
        node: usize,
        batches: usize,
    },
    Deliver {
        node: usize,
    },
    Drop {
        node: usize,
    },
    /// An answer that came before comes again.
    Again {
        node: usize,
        which: usize,
    },
    /// `often`: also a broker that hears little.
    Metadata {
        node: usize,
        often: bool,
    },
    Alter {
        lose_answer: bool,
    },
    Elect {
        which: usize,
    },
    /// The process dies; of what was not synced, so many batches are left.
    Kill {
        node: usize,
        kept: usize,
    },
    Fence {
        node: usize,
    },
    Start {
        node: usize,
    },
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 0..NODES;
    prop_oneof![
        6 => (node(), any::<bool>()).prop_map(|(node, all)| Step::Produce { node, all }),
        6 => node().prop_map(|node| Step::Write { node }),
        2 => node().prop_map(|node| Step::Sync { node }),
        10 => node().prop_map(|node| Step::Send { node }),
        10 => (node(), 0usize..4).prop_map(|(node, batches)| Step::Serve { node, batches }),
        10 => node().prop_map(|node| Step::Deliver { node }),
        1 => node().prop_map(|node| Step::Drop { node }),
        1 => (node(), 0usize..8).prop_map(|(node, which)| Step::Again { node, which }),
        8 => (node(), 0u8..6).prop_map(|(node, n)| Step::Metadata { node, often: n == 0 }),
        5 => (0u8..5).prop_map(|n| Step::Alter { lose_answer: n == 0 }),
        1 => (0usize..3).prop_map(|which| Step::Elect { which }),
        1 => (node(), 0usize..4).prop_map(|(node, kept)| Step::Kill { node, kept }),
        2 => node().prop_map(|node| Step::Fence { node }),
        3 => node().prop_map(|node| Step::Start { node }),
        3 => Just(Step::Pass),
    ]
}

/// What the controller committed.
#[derive(Clone, Debug)]
struct Version {
    leader: Option<BrokerId>,
    leader_epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    isr: BTreeSet<BrokerId>,
    elr: BTreeSet<BrokerId>,
    broker_epochs: BTreeMap<BrokerId, BrokerEpoch>,
}

struct Controller {
    versions: Vec<Version>,
    alters: VecDeque<(usize, IsrProposal)>,
}

#[derive(Clone, Debug)]
enum Answer {
    Records { batches: Vec<RawBatch>, high_watermark: Offset },
    Diverging(EpochEndOffset),
}

struct Node {
    replica: TestReplica,
    is_alive: bool,
    broker_epoch: BrokerEpoch,
    /// How many versions of the metadata it has heard.
    heard: usize,
    checkpointed_high_watermark: Offset,
    completions: VecDeque<Event>,
    request: Option<(FollowerFetch, usize)>,
    answer: Option<(FollowerFetch, Answer)>,
    answers_before: Vec<(FollowerFetch, Answer)>,
}

/// What names a record: its epoch, and the checksum of its batch.
type Record = (LeaderEpoch, u32);

struct Cluster {
    nodes: Vec<Node>,
    controller: Controller,
    millis: u64,
    produced: u64,
    broker_epochs: i64,
    /// By base offset; write-once.
    committed: BTreeMap<Offset, Record>,
    committed_end: Offset,
    /// By epoch and base offset; write-once.
    assigned: BTreeMap<(LeaderEpoch, Offset), u32>,
    /// What each follower told the leader of a term.
    claims: BTreeMap<(LeaderEpoch, BrokerId), Offset>,
    acked: u32,
    /// Brokers that lag behind the metadata.
    hears_little: [bool; NODES],
}

fn id(node: usize) -> BrokerId {
    BrokerId::new(i32::try_from(node).unwrap() + 1)
}

fn index(id: BrokerId) -> usize {
    usize::try_from(id.value()).unwrap() - 1
}

fn record(batch: &RawBatch) -> Record {
    (batch.header.leader_epoch.unwrap(), batch.header.crc)
}

impl Controller {
    fn now(&self) -> &Version {
        self.versions.last().unwrap()
    }

    fn commit(&mut self, change: impl FnOnce(&mut Version)) {
        self.commit_without(None, change);
    }

    /// `dirty` may lack what it had: it is no candidate for anything.
    fn commit_without(&mut self, dirty: Option<BrokerId>, change: impl FnOnce(&mut Version)) {
        let mut next = self.now().clone();
        let before = next.clone();
        change(&mut next);
        next.partition_epoch = next.partition_epoch.next();
        if next.leader.is_none_or(|leader| !next.broker_epochs.contains_key(&leader)) {
            next.leader = None;
        }
        if next.isr.len() >= MIN_ISR {
            next.elr.clear();
        } else {
            next.elr.extend(before.isr.difference(&next.isr).copied());
        }
        next.elr.retain(|id| Some(*id) != dirty);
        let is_alive = |id: &&BrokerId| next.broker_epochs.contains_key(id);
        if next.leader.is_none_or(|leader| !next.isr.contains(&leader)) {
            let from_isr = next.isr.iter().find(is_alive).copied();
            let from_elr = next.elr.iter().find(is_alive).copied();
            next.leader = from_isr.or(from_elr.filter(|_| next.isr.is_empty()));
            if let Some(leader) = next.leader {
                next.isr.insert(leader);
                next.elr.remove(&leader);
            }
        }
        if next.leader != before.leader {
            next.leader_epoch = before.leader_epoch.next();
        }
        self.versions.push(next);
    }

    /// Kafka: `ReplicationControlManager.validateAlterPartitionData`.
    fn alter(&mut self, node: usize, proposal: &IsrProposal) -> IsrAnswer {
        let now = self.now();
        if now.leader != Some(id(node)) || now.leader_epoch != proposal.leader_epoch {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if now.partition_epoch != proposal.partition_epoch {
            return Err(ErrorCode::InvalidUpdateVersion);
        }
        let is_eligible = |(id, epoch): &(BrokerId, Option<BrokerEpoch>)| {
            let known = now.broker_epochs.get(id);
            known.is_some() && (epoch.is_none() || known == epoch.as_ref())
        };
        if !proposal.isr.iter().all(is_eligible) {
            return Err(ErrorCode::IneligibleReplica);
        }
        self.commit(|next| next.isr = proposal.isr.iter().map(|(id, _)| *id).collect());
        let now = self.now();
        Ok(IsrCommitted {
            leader_epoch: now.leader_epoch,
            partition_epoch: now.partition_epoch,
            isr: now.isr.iter().copied().collect(),
            is_recovering: false,
        })
    }

    fn fence(&mut self, broker: BrokerId) {
        self.commit(|next| {
            next.broker_epochs.remove(&broker);
            next.isr.remove(&broker);
            if next.leader == Some(broker) {
                next.leader = None;
            }
        });
    }

    /// A broker comes back after a kill: it may lack what it had.
    fn register(&mut self, broker: BrokerId, epoch: BrokerEpoch) {
        self.commit_without(Some(broker), |next| {
            next.broker_epochs.insert(broker, epoch);
            next.isr.remove(&broker);
            if next.leader == Some(broker) {
                next.leader = None;
            }
        });
    }

    /// A broker that was fenced is heard of again.
    fn unfence(&mut self, broker: BrokerId, epoch: BrokerEpoch) {
        self.commit(|next| {
            next.broker_epochs.insert(broker, epoch);
        });
    }
}

impl Cluster {
    fn new(hears_little: [bool; NODES]) -> Self {
        let config = |node| PartitionConfig {
            min_insync_replicas: u32::try_from(MIN_ISR).unwrap(),
            lag_time_max: std::time::Duration::from_millis(30),
            ..node_config(id(node).value())
        };
        let node = |node| Node {
            replica: TestReplica::empty(config(node), 400, Offset::ZERO),
            is_alive: true,
            broker_epoch: BrokerEpoch::new(1),
            heard: 0,
            checkpointed_high_watermark: Offset::ZERO,
            completions: VecDeque::new(),
            request: None,
            answer: None,
            answers_before: Vec::new(),
        };
        let first = Version {
            leader: Some(id(0)),
            leader_epoch: LeaderEpoch::new(0),
            partition_epoch: PartitionEpoch::new(0),
            isr: (0..NODES).map(id).collect(),
            elr: BTreeSet::new(),
            broker_epochs: (0..NODES).map(|node| (id(node), BrokerEpoch::new(1))).collect(),
        };
        Self {
            nodes: (0..NODES).map(node).collect(),
            controller: Controller { versions: vec![first], alters: VecDeque::new() },
            millis: 0,
            produced: 0,
            broker_epochs: 1,
            committed: BTreeMap::new(),
            committed_end: Offset::ZERO,
            assigned: BTreeMap::new(),
            claims: BTreeMap::new(),
            acked: 0,
            hears_little,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Produce { node, all } => self.produce(node, all),
            Step::Write { node } => self.complete(node),
            Step::Sync { node } => {
                if self.nodes[node].is_alive {
                    self.handle(node, Event::Flush);
                    self.complete(node);
                    let machine = &self.nodes[node].replica.machine;
                    self.nodes[node].checkpointed_high_watermark = machine.high_watermark();
                }
            }
            Step::Send { node } => self.send(node),
            Step::Serve { node, batches } => self.serve(node, batches),
            Step::Deliver { node } => {
                if let Some((fetch, answer)) = self.nodes[node].answer.take() {
                    self.nodes[node].answers_before.push((fetch, answer.clone()));
                    self.deliver(node, &fetch, answer);
                }
            }
            Step::Drop { node } => {
                (self.nodes[node].request, self.nodes[node].answer) = (None, None);
            }
            Step::Again { node, which } => {
                let before = &self.nodes[node].answers_before;
                let found = before.len().checked_sub(which + 1).map(|at| before[at].clone());
                if let Some((fetch, answer)) = found {
                    self.deliver(node, &fetch, answer);
                }
            }
            Step::Metadata { node, often } => {
                if often || !self.hears_little[node] {
                    self.hear(node);
                }
            }
            Step::Alter { lose_answer } => self.alter(lose_answer),
            Step::Elect { which } => self.elect(which),
            Step::Kill { node, kept } => self.kill(node, kept),
            Step::Fence { node } => {
                let known = self.controller.now().broker_epochs.contains_key(&id(node));
                if known && self.has_candidate_beside(node) {
                    self.controller.fence(id(node));
                }
            }
            Step::Start { node } => self.start(node),
            Step::Pass => {
                self.millis += 10;
                for node in 0..NODES {
                    self.nodes[node].replica.now.monotonic =
                        Monotonic::from_nanos(self.millis * 1_000_000);
                    if self.nodes[node].is_alive {
                        self.handle(node, Event::Tick);
                    }
                }
            }
        }
        self.check_candidates();
    }

    fn handle(&mut self, node: usize, event: Event) {
        let is_cut = matches!(event, Event::Truncate(_));
        let before = if is_cut { self.nodes[node].replica.file.clone() } else { Vec::new() };
        let role_before = self.nodes[node].replica.machine.role();
        let watermark_before = self.nodes[node].replica.machine.high_watermark();
        let effects = self.nodes[node].replica.handle(event);
        for effect in effects {
            self.perform(node, &before, effect);
        }
        let machine = &self.nodes[node].replica.machine;
        if let Role::Leader { .. } = machine.role()
            && machine.role() == role_before
        {
            assert!(machine.high_watermark() >= watermark_before, "R13: the watermark fell");
        }
    }

    fn perform(
        &mut self,
        node: usize,
        before: &[super::test_replica::StoredBatch],
        effect: Effect,
    ) {
        match effect {
            Effect::Write { end_offset, generation, .. } => {
                let written = Event::Written { end_offset, generation };
                self.nodes[node].completions.push_back(written);
            }
            Effect::Sync { end_offset, generation, .. } => {
                let synced = Event::Synced { end_offset, generation };
                self.nodes[node].completions.push_back(synced);
            }
            Effect::SaveCheckpoint(checkpoint) => {
                let saved = Event::CheckpointSaved { end_offset: checkpoint.end_offset };
                self.nodes[node].completions.push_back(saved);
            }
            Effect::ProposeIsr(proposal) => {
                self.check_proposal(node, &proposal);
                self.controller.alters.push_back((node, proposal));
            }
            Effect::Truncate { end_offset, .. } => {
                for gone in before.iter().filter(|stored| stored.end_offset() > end_offset) {
                    let base = gone.batch.header.base_offset;
                    let is_committed = self.committed.get(&base) == Some(&record(&gone.batch));
                    assert!(!is_committed, "R21: a committed record at {base} is truncated");
                }
            }
            Effect::Answer { result: Ok(answer), .. } => {
                self.acked += 1;
                let _ = answer;
            }
            Effect::Observe(observation) => self.observe(node, &observation),
            Effect::Answer { result: Err(_), .. }
            | Effect::Roll { .. }
            | Effect::Cut { .. }
            | Effect::SaveEpochs { .. }
            | Effect::Restart { .. }
            | Effect::RemoveSegments { .. }
            | Effect::Readable { .. } => {}
            Effect::FailDir => panic!("no disk fails"),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not checked here is of no concern")]
    fn observe(&mut self, node: usize, observation: &Observation) {
        match *observation {
            Observation::ProduceAppended { leader_epoch, base_offset, crc, .. } => {
                let known = *self.assigned.entry((leader_epoch, base_offset)).or_insert(crc);
                assert_eq!(known, crc, "R3: two records at {base_offset} of epoch {leader_epoch}");
            }
            Observation::HighWatermarkAdvanced {
                to, is_leader: true, isr, maximal_isr, ..
            } => {
                assert!(isr.len() >= MIN_ISR, "R14: the watermark moves below the min ISR");
                let epoch = self.nodes[node].replica.machine.leader_epoch().unwrap();
                for member in maximal_isr.iter().filter(|member| *member != id(node)) {
                    let claimed = self.claims.get(&(epoch, member)).copied();
                    assert!(claimed >= Some(to), "R11: {member} has not claimed {to}");
                }
                let now = self.controller.now();
                if now.leader_epoch == epoch && now.leader == Some(id(node)) {
                    let wanted = now.isr.union(&now.elr);
                    for member in wanted.filter(|member| **member != id(node)) {
                        assert!(maximal_isr.contains(*member), "R10: {member} is not waited for");
                    }
                }
                self.commit_below(node, to);
            }
            Observation::HighWatermarkAdvanced { to, is_leader: false, .. } => {
                assert!(
                    to <= self.committed_end,
                    "R23: a follower's watermark is beyond the true one"
                );
                self.check_prefix(node, to);
            }
            Observation::ProduceAcked { end_offset, acks: Acks::All, .. } => {
                assert!(end_offset <= self.committed_end, "R15: acknowledged and not committed");
            }
            _ => {}
        }
    }

    /// A leader says that all below `to` is committed.
    fn commit_below(&mut self, node: usize, to: Offset) {
        for stored in &self.nodes[node].replica.file {
            let base = stored.batch.header.base_offset;
            if stored.end_offset() > to {
                break;
            }
            let known = *self.committed.entry(base).or_insert_with(|| record(&stored.batch));
            assert_eq!(known, record(&stored.batch), "R4: two records are committed at {base}");
        }
        self.committed_end = self.committed_end.max(to);
        self.check_prefix(node, to);
    }

    /// All that is committed below `to` is in the node's file.
    fn check_prefix(&self, node: usize, to: Offset) {
        let file = &self.nodes[node].replica.file;
        let here: BTreeMap<Offset, Record> = file
            .iter()
            .filter(|stored| stored.end_offset() <= to)
            .map(|stored| (stored.batch.header.base_offset, record(&stored.batch)))
            .collect();
        let all: BTreeMap<Offset, Record> =
            self.committed.range(..to).map(|(base, record)| (*base, *record)).collect();
        assert_eq!(here, all, "R4: node {} below {to}", id(node));
    }

    /// R8, R9: who may be elected has all that is committed.
    fn check_candidates(&self) {
        let now = self.controller.now();
        for member in now.isr.union(&now.elr) {
            let node = &self.nodes[index(*member)];
            let is_registered = now.broker_epochs.get(member) == Some(&node.broker_epoch);
            if node.is_alive && is_registered {
                let end = node.replica.machine.log().log_end_offset();
                assert!(end >= self.committed_end, "R8: {member} lacks committed records: {now:?}");
                self.check_prefix(index(*member), self.committed_end);
            }
        }
    }

    /// R13: who is taken in has reached the watermark and the start of the term.
    fn check_proposal(&self, node: usize, proposal: &IsrProposal) {
        let machine = &self.nodes[node].replica.machine;
        let Role::Leader { epoch, start_offset } = machine.role() else { unreachable!() };
        let (committed, _) = machine.in_sync_replicas().unwrap();
        for (added, broker_epoch) in &proposal.isr {
            if committed.contains(added) {
                continue;
            }
            let claimed = self.claims.get(&(epoch, *added)).copied();
            assert!(claimed >= Some(machine.high_watermark()), "R13: below the watermark");
            assert!(claimed >= Some(start_offset), "R13: below the start of the term");
            assert!(broker_epoch.is_some(), "R19: without an incarnation");
        }
    }

    fn produce(&mut self, node: usize, all: bool) {
        if !self.nodes[node].is_alive {
            return;
        }
        self.produced += 1;
        let batch = produced(1 + (self.produced % 3) as u32, &self.produced.to_be_bytes(), None);
        let acks = if all { Acks::All } else { Acks::Leader };
        let waiter = WaiterId(self.produced);
        self.handle(node, Event::Append(Append { waiter, acks, batch }));
    }

    fn complete(&mut self, node: usize) {
        while self.nodes[node].is_alive
            && let Some(event) = self.nodes[node].completions.pop_front()
        {
            self.handle(node, event);
        }
    }

    fn send(&mut self, node: usize) {
        let one = &mut self.nodes[node];
        if !one.is_alive || one.request.is_some() || one.answer.is_some() {
            return;
        }
        let Ok(state) = one.replica.machine.fetch_state() else { return };
        let Some(leader) = state.leader else { return };
        let fetch = FollowerFetch {
            replica: id(node),
            broker_epoch: Some(one.broker_epoch),
            current_leader_epoch: Some(state.leader_epoch),
            fetch_offset: state.offset,
            last_fetched_epoch: state.last_fetched_epoch,
            log_start_offset: state.log_start_offset,
            max_bytes: 0,
            first_batch_whole: true,
            is_repeated: false,
        };
        one.request = Some((fetch, index(leader)));
    }

    fn serve(&mut self, node: usize, batches: usize) {
        let Some((fetch, leader)) = self.nodes[node].request.take() else { return };
        if !self.nodes[leader].is_alive {
            return;
        }
        let machine = &self.nodes[leader].replica.machine;
        let answer = match machine.check_follower_fetch(&fetch) {
            Err(_) => return,
            Ok(Some(end)) => Answer::Diverging(end),
            Ok(None) => {
                let epoch = fetch.current_leader_epoch.unwrap();
                self.claims.insert((epoch, fetch.replica), fetch.fetch_offset);
                let fetched = FollowerFetched {
                    replica: fetch.replica,
                    broker_epoch: fetch.broker_epoch,
                    current_leader_epoch: fetch.current_leader_epoch,
                    fetch_offset: fetch.fetch_offset,
                    log_start_offset: fetch.log_start_offset,
                };
                self.handle(leader, Event::FollowerFetched(fetched));
                let replica = &self.nodes[leader].replica;
                let end = replica.machine.replica_end_offset();
                let readable = replica.file.iter().filter(|stored| {
                    stored.batch.header.base_offset >= fetch.fetch_offset
                        && stored.end_offset() <= end
                });
                Answer::Records {
                    batches: readable.take(batches).map(|one| one.batch.clone()).collect(),
                    high_watermark: replica.machine.high_watermark(),
                }
            }
        };
        self.nodes[node].answer = Some((fetch, answer));
    }

    fn deliver(&mut self, node: usize, fetch: &FollowerFetch, answer: Answer) {
        // An answer goes to the life that asked.
        if !self.nodes[node].is_alive || fetch.broker_epoch != Some(self.nodes[node].broker_epoch) {
            return;
        }
        let epoch = fetch.current_leader_epoch.unwrap();
        let machine = &self.nodes[node].replica.machine;
        match answer {
            Answer::Records { batches, high_watermark } => {
                let from = machine.fetched_from(epoch, fetch.fetch_offset);
                if from.and_then(|_| machine.check_follower_append(epoch, &batches)).is_ok() {
                    let leader_high_watermark = Some(high_watermark);
                    let leader_log_start_offset = Some(Offset::ZERO);
                    self.handle(
                        node,
                        Event::AppendAsFollower(FollowedBatches {
                            batches,
                            leader_high_watermark,
                            leader_log_start_offset,
                        }),
                    );
                }
            }
            Answer::Diverging(end) => {
                // The driver waits until the log is settled.
                self.complete(node);
                let machine = &self.nodes[node].replica.machine;
                // As the fetcher: an answer counts only for the place that was asked for.
                let is_current = machine.fetch_state().is_ok_and(|state| {
                    state.leader_epoch == epoch
                        && state.offset == fetch.fetch_offset
                        && state.last_fetched_epoch == fetch.last_fetched_epoch
                });
                if is_current && machine.is_settled() {
                    let to = TruncateTo::EpochEnd(end);
                    let truncation = self.nodes[node].replica.truncation(to);
                    self.handle(node, Event::Truncate(truncation));
                }
            }
        }
    }

    fn hear(&mut self, node: usize) {
        let one = &mut self.nodes[node];
        let Some(version) = self.controller.versions.get(one.heard).filter(|_| one.is_alive) else {
            return;
        };
        one.heard += 1;
        let event = if version.leader == Some(id(node)) {
            Event::BecomeLeader(LeaderState {
                leader_epoch: version.leader_epoch,
                partition_epoch: version.partition_epoch,
                replicas: (0..NODES).map(id).collect(),
                isr: version.isr.iter().copied().collect(),
                is_recovering: false,
                broker_epochs: version.broker_epochs.clone(),
            })
        } else {
            Event::BecomeFollower(FollowerState {
                leader: version.leader,
                leader_epoch: version.leader_epoch,
                partition_epoch: version.partition_epoch,
            })
        };
        self.handle(node, event);
    }

    fn alter(&mut self, lose_answer: bool) {
        let Some((node, proposal)) = self.controller.alters.pop_front() else { return };
        let answer = self.controller.alter(node, &proposal);
        let answer = if lose_answer { Err(ErrorCode::NetworkException) } else { answer };
        if self.nodes[node].is_alive {
            self.handle(node, Event::IsrAnswered { proposal, answer });
        }
    }

    fn elect(&mut self, which: usize) {
        let now = self.controller.now();
        let alive = now.isr.iter().filter(|id| now.broker_epochs.contains_key(id));
        let found = alive.copied().nth(which);
        if let Some(leader) = found.filter(|leader| now.leader != Some(*leader)) {
            self.controller.commit(|next| next.leader = Some(leader));
        }
    }

    /// Whether another one may lead that surely has everything; also once the controller has agreed to what it was asked for, by a
    /// leader that may be gone by then.
    fn has_candidate_beside(&self, node: usize) -> bool {
        let now = self.controller.now();
        let may_lead = |member: &BrokerId| {
            let other = &self.nodes[index(*member)];
            let registered = now.broker_epochs.get(member);
            *member != id(node) && other.is_alive && registered == Some(&other.broker_epoch)
        };
        let open = self.controller.alters.iter().map(|(_, asked)| asked);
        let mut open = open.filter(|asked| asked.partition_epoch == now.partition_epoch);
        now.isr.union(&now.elr).any(may_lead)
            && open.all(|asked| asked.isr.iter().any(|(member, _)| may_lead(member)))
    }

    /// Never the last one that surely has everything: more than that nobody promises.
    fn kill(&mut self, node: usize, kept: usize) {
        if !self.nodes[node].is_alive || !self.has_candidate_beside(node) {
            return;
        }
        let one = &mut self.nodes[node];
        one.is_alive = false;
        one.completions.clear();
        (one.request, one.answer) = (None, None);
        one.answers_before.clear();
        let machine = &one.replica.machine;
        let synced = machine.synced_end_offset();
        let durable = one.replica.file.iter().filter(|stored| stored.end_offset() <= synced);
        let left = durable.count() + kept;
        let recovery_point = machine.recovery_point();
        let watermark = one.checkpointed_high_watermark;
        one.replica = one.replica.reopened(left, watermark, recovery_point);
    }

    /// Registers under a new epoch, and learns of all that was decided before.
    fn start(&mut self, node: usize) {
        if self.nodes[node].is_alive {
            let epoch = self.nodes[node].broker_epoch;
            if !self.controller.now().broker_epochs.contains_key(&id(node)) {
                self.controller.unfence(id(node), epoch);
            }
            return;
        }
        self.broker_epochs += 1;
        let epoch = BrokerEpoch::new(self.broker_epochs);
        self.controller.register(id(node), epoch);
        let one = &mut self.nodes[node];
        one.is_alive = true;
        one.broker_epoch = epoch;
        one.heard = self.controller.versions.len() - 1;
        self.handle(node, Event::Flush);
        self.hear(node);
    }
}

fn run(hears_little: [bool; NODES], steps: &[Step]) -> u32 {
    let mut cluster = Cluster::new(hears_little);
    for node in 0..NODES {
        cluster.hear(node);
    }
    for step in steps {
        cluster.step(*step);
    }
    cluster.converge();
    cluster.acked
}

impl Cluster {
    fn is_converged(&self) -> bool {
        let is_whole = |node: &Node| {
            let machine = &node.replica.machine;
            let end = machine.log().log_end_offset();
            end == self.committed_end
                && machine.high_watermark() == end
                && node.heard == self.controller.versions.len()
        };
        self.controller.now().isr.len() == NODES && self.nodes.iter().all(is_whole)
    }

    /// Everybody starts, and nothing is lost any more: in the end all logs are equal and committed.
    fn converge(&mut self) {
        for _ in 0..150 {
            for node in 0..NODES {
                self.step(Step::Start { node });
                self.step(Step::Metadata { node, often: true });
                self.step(Step::Write { node });
                self.step(Step::Send { node });
                self.step(Step::Serve { node, batches: 100 });
                self.step(Step::Deliver { node });
                self.step(Step::Write { node });
            }
            self.step(Step::Alter { lose_answer: false });
            if self.is_converged() {
                break;
            }
        }
        let now = self.controller.now();
        assert_eq!(now.isr.len(), NODES, "all are in sync again: {now:?}");
        let ends: BTreeSet<Offset> =
            self.nodes.iter().map(|node| node.replica.machine.log().log_end_offset()).collect();
        assert_eq!(ends, BTreeSet::from([self.committed_end]), "all is committed everywhere");
        for node in 0..NODES {
            self.check_prefix(node, self.committed_end);
            let watermark = self.nodes[node].replica.machine.high_watermark();
            assert_eq!(watermark, self.committed_end, "R25: node {}", id(node));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_committed_stays_whatever_happens(
        hears_little in any::<[bool; NODES]>(),
        steps in prop::collection::vec(step(), 1..250),
    ) {
        run(hears_little, &steps);
    }
}
