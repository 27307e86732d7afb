//! The stage of a run: nodes and clients by the names that scenarios give them, from their start to the end of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ottla::runtime::watch;
use ottla::types::{BrokerId, BrokerSet, ErrorCode, TopicId, TopicIdPartition};
use tokio::task::JoinHandle;

use super::admin::{Made, Setup};
use super::client::{Shared, bootstrap, final_reader, workload_client};
use super::ears::Ears;
use super::faults::SHUTDOWN_PATIENCE;
use super::here;
use super::node::Member;
use super::supervisor::{replace_disk, supervise};
use crate::checker::atlas::Fault;
use crate::checker::liveness::Missing;
use crate::checker::{ClusterFacts, TopicFacts, arrivals};
use crate::cluster::{Cluster, factory};
use crate::event::{Event, Recorder, Who};
use crate::history::{History, Outcome, SharedHistory};
use crate::scenario::Plan;
use crate::scenario::duration::Span;
use crate::scenario::plan::{Action, DiskOperation, Heal, Step, WorkloadKind};
use crate::scenario::target::PartitionName;
use crate::stats::LastViews;
use crate::verdict::show_time;
use crate::which::TIME;
use crate::world::{NodeId, Process, ProcessEnd, SimTime, World};

/// How often the testbed looks whether a healed cluster is whole.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A node of the cluster.
struct MemberNode {
    node: NodeId,
    needs_format: Arc<AtomicBool>,
}

/// A client of a workload.
struct ClientNode {
    node: NodeId,
    stop: watch::Sender<bool>,
}

/// See the module.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    pub(super) plan: Arc<Plan>,
    pub(super) ears: Arc<Ears>,
    shared: Arc<Shared>,
    members: BTreeMap<Member, MemberNode>,
    admin: NodeId,
    reader: NodeId,
    state: Mutex<State>,
    /// Never turned true: the last reader stops by itself.
    _reader_stop: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    clients: BTreeMap<(String, u32), ClientNode>,
    topics: BTreeMap<String, TopicId>,
    saved: BTreeMap<String, Vec<Who>>,
    /// The nodes that belong to the cluster: without brokers that are added later, or were removed.
    present: BTreeSet<Member>,
    /// Those that a step has removed, and when.
    removed: BTreeMap<Member, Span>,
    /// Those that stay as broken as they were where no more than a core is healed.
    left_out: BTreeSet<NodeId>,
    /// Which brokers were to hold each partition, the preferred leader first, as far as the testbed asked for it or was told.
    assignments: BTreeMap<PartitionName, Vec<u32>>,
    /// How many clients of the testbed itself there have been.
    helpers: u32,
    /// How many partitions the topic has that groups are kept in; 0 where there are no groups.
    offsets_partitions: u32,
    is_healed: bool,
}

impl Stage {
    /// All nodes and their machines, none of them running.
    pub(super) fn new(
        world: Arc<World>,
        plan: Arc<Plan>,
        ears: Arc<Ears>,
        history: SharedHistory,
    ) -> Arc<Self> {
        let cluster = Cluster::new(Arc::clone(&world));
        let mut members = BTreeMap::new();
        for member in Member::all(&plan) {
            let needs_format = Arc::new(AtomicBool::new(true));
            let node = here::add_member(&cluster, &plan, member, &needs_format);
            ears.recorder.name_node(node.0, member.who());
            let id = broker_id(member.id()).expect("few nodes");
            ears.oracle.add_node(node, id, member.log_dirs(&plan, &here::places(&world)));
            members.insert(member, MemberNode { node, needs_format });
        }
        let voters = Member::voters(&plan);
        let is_voter = |(member, _): &(&Member, &MemberNode)| voters.contains(member);
        ears.oracle.describe_cluster(cluster_facts(&plan));
        ears.oracle.name_voters(members.iter().filter(is_voter).map(|(_, member)| member.node));
        here::settle_network(&world, &plan);
        let shared = Arc::new(Shared {
            world: Arc::clone(&world),
            plan: Arc::clone(&plan),
            history,
            recorder: Arc::clone(&ears.recorder),
            grown: Mutex::default(),
        });
        let (reader_stop, reader_stops) = watch::channel(false);
        let idle = factory(|_| async { ProcessEnd::Clean });
        let admin = cluster.add("admin", idle);
        let reader = cluster.add("reader", final_reader(&shared, reader_stops));
        let at_start = members.keys().copied().filter(|member| member.is_there_at_start(&plan));
        let state = State { present: at_start.collect(), ..State::default() };
        Arc::new(Self {
            cluster,
            plan,
            ears,
            shared,
            members,
            admin,
            reader,
            state: Mutex::new(state),
            _reader_stop: reader_stop,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics with the stage locked")
    }

    pub(super) fn world(&self) -> &Arc<World> {
        self.cluster.world()
    }

    pub(super) fn recorder(&self) -> &Recorder {
        &self.ears.recorder
    }

    /// Where clients find brokers first.
    pub(super) fn bootstrap(&self) -> String {
        bootstrap(&self.plan, &here::places(self.world()))
    }

    /// The time since the clients started.
    pub(super) fn time(&self) -> Span {
        self.recorder().time(self.world().now().nanos())
    }

    /// Notes an event of the testbed.
    pub(super) fn record(&self, who: Who, kind: &'static str, note: String) {
        let event = Event::new(self.time(), who, kind).note(note);
        here::show(self.world(), &event);
        self.recorder().record(event);
    }

    /// Notes that the cluster refused what an administrator asked for.
    pub(super) fn record_refused(&self, error: ErrorCode, note: String) {
        let event = Event::new(self.time(), Who::Testbed, "admin.refused").error(error).note(note);
        here::show(self.world(), &event);
        self.recorder().record(event);
    }

    // ── Beginning ──────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Starts the nodes and makes the topics.
    ///
    /// Errors: what did not happen within `patience`.
    pub(super) async fn set_up(&self, patience: Duration) -> Result<(), String> {
        for member in self.present() {
            self.cluster.start(self.member(member).node);
        }
        let (told, mut hear) = watch::channel(None);
        let setup = Arc::new(Setup::new(&self.plan, self.bootstrap(), told));
        self.cluster.replace(
            self.admin,
            factory(move |context| {
                let setup = Arc::clone(&setup);
                async move {
                    setup.run(&context.env).await;
                    ProcessEnd::Clean
                }
            }),
        );
        let process = self.cluster.start(self.admin);
        let is_ended = tokio::select! {
            biased;
            () = process.ended() => true,
            () = self.world().sleep(patience) => false,
        };
        match hear.borrow_and_update().clone() {
            Some(Ok(made)) if is_ended => {
                self.keep_topics(made);
                Ok(())
            }
            Some(Err(reason)) => Err(reason),
            Some(Ok(_)) | None => Err(format!("no topics within {patience:?} of {TIME}")),
        }
    }

    fn keep_topics(&self, made: Made) {
        for (name, id) in &made.ids {
            self.ears.oracle.name_topic(*id, name);
            self.ears.oracle.describe_topic(*id, topic_facts(&self.plan, name));
        }
        let mut state = self.lock();
        state.topics = made.ids;
        state.assignments = made.assignments;
        state.offsets_partitions = made.offsets_partitions;
        drop(state);
        self.check_disks();
    }

    /// The clients start now.
    pub(super) fn begin(&self, now: SimTime) {
        self.ears.oracle.begin(now);
        here::watch(self.world(), &self.plan);
    }

    /// Starts every client of the file, each at its time.
    pub(super) fn start_clients(self: &Arc<Self>) {
        for (name, workload) in &self.plan.workloads {
            for _ in 0..workload.clients {
                let (stage, name, wait) =
                    (Arc::clone(self), name.clone(), workload.start_at.as_duration());
                if wait.is_zero() {
                    self.add_client(&name);
                } else {
                    spawn(async move {
                        stage.world().sleep(wait).await;
                        stage.add_client(&name);
                    });
                }
            }
        }
    }

    /// Starts one more client of a workload, on a machine of its own.
    pub(super) fn add_client(&self, workload: &str) -> Who {
        let mut state = self.lock();
        let taken = state.clients.keys().filter(|(name, _)| name == workload).count();
        let index = u32::try_from(taken).expect("few clients");
        let (stop, stops) = watch::channel(false);
        let node = self.cluster.add(
            &format!("{workload}-{index}"),
            workload_client(&self.shared, workload, index, stops),
        );
        let who = Who::Client { workload: workload.into(), index };
        self.recorder().name_node(node.0, who.clone());
        state.clients.insert((workload.to_string(), index), ClientNode { node, stop });
        drop(state);
        self.cluster.start(node);
        who
    }

    // ── Names ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Keeps what a target was.
    pub(super) fn save(&self, name: &str, who: Vec<Who>) {
        self.lock().saved.insert(name.to_string(), who);
    }

    /// What a target was that was kept under this name.
    pub(super) fn saved(&self, name: &str) -> Option<Vec<Who>> {
        self.lock().saved.get(name).cloned()
    }

    /// All that was kept.
    pub(super) fn all_saved(&self) -> BTreeMap<String, Vec<Who>> {
        self.lock().saved.clone()
    }

    /// The clients of the workloads that `is_asked` names.
    pub(super) fn clients_of(&self, is_asked: impl Fn(&str) -> bool) -> Vec<Who> {
        let state = self.lock();
        let of = state.clients.keys().filter(|(name, _)| is_asked(name));
        of.map(|(name, index)| Who::Client { workload: name.as_str().into(), index: *index })
            .collect()
    }

    /// The id that the cluster gave a topic.
    pub(super) fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.lock().topics.get(name).copied()
    }

    /// Which brokers are to hold a partition, as far as the testbed asked for it or was told.
    pub(super) fn assignment(&self, partition: &PartitionName) -> Vec<u32> {
        let known = self.lock().assignments.get(partition).cloned();
        // With one broker nobody is asked.
        known.unwrap_or_else(|| vec![1])
    }

    /// From now on these brokers are to hold a partition.
    pub(super) fn assign(&self, partition: PartitionName, replicas: Vec<u32>) {
        self.lock().assignments.insert(partition, replicas);
    }

    /// How many partitions the topic has that groups are kept in; 0 where there are no groups.
    pub(super) fn offsets_partitions(&self) -> u32 {
        self.lock().offsets_partitions
    }

    /// How many partitions a topic of the file has now.
    pub(super) fn partitions_of(&self, topic: &str) -> u32 {
        self.shared.partitions_of(topic)
    }

    /// Learns which partitions there are more than was known: who asked for them may have had no answer yet (group-swarm, seed 2139).
    fn learn_growth(&self) {
        for topic in self.plan.topics.keys() {
            let known = self.partitions_of(topic);
            let is_there = |index: &u32| {
                let name = PartitionName { topic: topic.clone(), index: *index };
                self.partition_id(&name).is_some_and(|id| self.ears.views().partition(id).is_some())
            };
            let more = (known..).take_while(is_there).count();
            if more > 0 {
                self.grow(topic, known + u32::try_from(more).expect("a topic has that many"));
            }
        }
    }

    /// From now on a topic has so many partitions.
    pub(super) fn grow(&self, topic: &str, partitions: u32) {
        let mut grown = self.shared.grown.lock().expect("held for moments");
        grown.insert(topic.to_owned(), partitions);
    }

    /// Looks at what clients have written down so far.
    pub(super) fn look_at_history<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        look(&self.shared.history.lock())
    }

    /// A machine for a client of the testbed itself.
    pub(super) fn helper(&self) -> NodeId {
        let mut state = self.lock();
        state.helpers += 1;
        let name = format!("admin-{}", state.helpers);
        drop(state);
        self.cluster.add(&name, factory(|_| async { ProcessEnd::Clean }))
    }

    /// The machine of somebody.
    pub(super) fn node(&self, who: &Who) -> Option<NodeId> {
        match who {
            Who::Broker(_) | Who::Controller(_) => {
                Member::of(who).and_then(|member| self.members.get(&member)).map(|node| node.node)
            }
            Who::Client { workload, index } => {
                let state = self.lock();
                state.clients.get(&(workload.to_string(), *index)).map(|client| client.node)
            }
            Who::Testbed => None,
        }
    }

    /// Asks a client to close in good order; it does so in its own time.
    pub(super) fn stop_client(&self, who: &Who) {
        self.ask_to_stop(who, true);
    }

    /// Asks a client to close, or asks it no longer; other nodes are not asked so.
    fn ask_to_stop(&self, who: &Who, is_asked: bool) {
        let Who::Client { workload, index } = who else { return };
        if let Some(client) = self.lock().clients.get(&(workload.to_string(), *index)) {
            client.stop.send_replace(is_asked);
        }
    }

    /// Starts somebody who is not running. A client that was asked to stop is not any more.
    pub(super) fn start_again(&self, who: &Who) {
        let Some(node) = self.node(who) else { return };
        self.ask_to_stop(who, false);
        self.start(node);
    }

    /// The disk of a dead node is replaced; it formats it at its next start.
    pub(super) fn wipe(&self, who: &Who) {
        let Some(member) = Member::of(who).and_then(|member| self.members.get(&member)) else {
            return;
        };
        member.needs_format.store(true, Ordering::Relaxed);
        self.cluster.wipe(member.node);
    }

    fn member(&self, member: Member) -> &MemberNode {
        self.members.get(&member).expect("all members were made at the start")
    }

    /// The nodes that belong to the cluster now.
    pub(super) fn present(&self) -> Vec<Member> {
        self.lock().present.iter().copied().collect()
    }

    /// The ids of the brokers that belong to the cluster now.
    pub(super) fn broker_ids(&self) -> Vec<u32> {
        let ids = self.present().into_iter().filter_map(|member| match member {
            Member::Broker(id) => Some(id),
            Member::Controller(_) => None,
        });
        ids.collect()
    }

    /// Starts the next broker that was not there from the start.
    ///
    /// Errors: there is none left.
    pub(super) fn add_broker(&self) -> Result<Who, String> {
        let mut state = self.lock();
        let next = self.members.keys().copied().find(|member| {
            !member.is_there_at_start(&self.plan) && !state.present.contains(member)
        });
        let member = next.ok_or("every broker is there")?;
        state.present.insert(member);
        state.removed.remove(&member);
        drop(state);
        self.start(self.member(member).node);
        Ok(member.who())
    }

    /// A broker belongs to the cluster no longer: it is not started when everything heals.
    pub(super) fn forget(&self, who: &Who) {
        if let Some(member) = Member::of(who) {
            let at = self.time();
            let mut state = self.lock();
            state.present.remove(&member);
            state.removed.insert(member, at);
        }
    }

    /// The nodes that a step has removed, and when: of those that do not run all the same.
    pub(super) fn gone(&self) -> BTreeMap<Member, Span> {
        let mut removed = self.lock().removed.clone();
        removed.retain(|member, _| !self.cluster.is_running(self.member(*member).node));
        removed
    }

    /// The workloads of which a client runs.
    pub(super) fn running_workloads(&self) -> BTreeSet<String> {
        let state = self.lock();
        let running = state.clients.iter().filter(|(_, of)| self.cluster.is_running(of.node));
        running.map(|((name, _), _)| name.clone()).collect()
    }

    /// Lets the checkers look at every broker's disk.
    pub(super) fn check_disks(&self) {
        self.ears.oracle.barrier(self.world());
    }

    /// Lets the checkers look at all disks together: everything is healed and has settled.
    pub(super) fn check_end(&self) {
        self.ears.oracle.end(self.world());
    }

    /// What should have come about by now and has not, as the checkers see it.
    pub(super) fn missing(&self) -> Vec<Missing> {
        self.ears.oracle.missing(self.world().now())
    }

    /// Why the cluster has not converged, a line for each thing that waits for another.
    pub(super) fn waiting(&self) -> Vec<String> {
        self.ears.oracle.waiting()
    }

    // ── End ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Whether faults are over.
    pub(super) fn is_healed(&self) -> bool {
        self.lock().is_healed
    }

    /// Ends every fault and starts every dead node; where the scenario heals a core, of that alone. Whoever ends by itself from now on
    /// is started again, until the tasks that are returned are aborted.
    pub(super) fn heal(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let healed = match self.plan.heal {
            Heal::All => "everything is healed",
            Heal::Core => {
                self.leave_out();
                "a core is healed"
            }
        };
        self.lock().is_healed = true;
        let left_out = self.lock().left_out.clone();
        self.cluster.heal(&left_out);
        for node in left_out {
            let process = self.world().machine(node).process();
            if process.is_some_and(|process| !process.is_paused()) {
                self.cluster.pause(node);
            }
        }
        let mut supervisors = Vec::new();
        for member in self.present() {
            let node = self.member(member).node;
            here::settle(self.world(), &self.plan, node);
            let process = self.world().machine(node).process();
            let process = process.unwrap_or_else(|| self.start(node));
            supervisors.push(spawn(supervise(Arc::clone(self), member, process)));
            if self.plan.chaos.is_some() && self.ears.oracle.has_failed_dirs(node) {
                supervisors.push(spawn(replace_disk(Arc::clone(self), member)));
            }
        }
        self.record(Who::Testbed, "fault.ended", healed.into());
        supervisors
    }

    /// Chooses whom the core does without, and tells it.
    fn leave_out(&self) {
        let present = self.present();
        let nodes = present.iter().map(|member| self.member(*member).node).collect();
        let left_out = here::left_out(self, nodes, topic_facts(&self.plan, "").min_isr);
        for member in present {
            let node = self.member(member).node;
            if left_out.contains(&node) {
                let runs = self.cluster.is_running(node);
                let how = if runs { "it stands still from now on" } else { "it stays dead" };
                self.record(member.who(), "node.left-out", how.to_owned());
                self.lock().present.remove(&member);
            }
        }
        self.lock().left_out = left_out;
    }

    /// Whether a node stays as it is although faults are over.
    pub(super) fn is_left_out(&self, node: NodeId) -> bool {
        self.lock().left_out.contains(&node)
    }

    /// Starts a node of the cluster, once what it left on its disk is known: a write may have reached it after the process was gone.
    pub(super) fn start(&self, node: NodeId) -> Arc<Process> {
        self.ears.oracle.learn(self.world(), node);
        self.cluster.start(node)
    }

    /// The process of a node. Where none runs one is started, which is told with the reason.
    pub(super) fn running_or_started(&self, member: Member, why: &str) -> Arc<Process> {
        let node = self.member(member).node;
        self.world().machine(node).process().unwrap_or_else(|| {
            self.record(member.who(), "fault.ended", format!("start: {why}"));
            self.start(node)
        })
    }

    /// Asks a node to end in good order, and waits until it has, or hangs.
    pub(super) async fn shut_down(&self, member: Member) {
        self.cluster.shutdown(self.member(member).node, SHUTDOWN_PATIENCE).await;
    }

    /// Asks all clients to close, waits for them, and lets a fresh reader read everything. Returns who stopped on the way to the end.
    ///
    /// Errors: what did not happen before `deadline`.
    pub(super) async fn converge(&self, deadline: SimTime) -> Result<Vec<Missing>, String> {
        let sends = |name: &str| {
            let workload = self.plan.workloads.get(name);
            workload.is_some_and(|of| matches!(of.kind, WorkloadKind::Producer { .. }))
        };
        self.close_clients(deadline, sends).await?;
        // Nobody sends any more: who reads comes to the end before it closes.
        self.learn_growth();
        let stopped = self.drain(deadline).await;
        let outside = self.gather(deadline).await;
        self.close_clients(deadline, |name| !sends(name)).await?;
        if self.members.len() > 1 {
            self.become_whole(deadline).await?;
        }
        let process = self.cluster.start(self.reader);
        let read = self.before(deadline, process.ended()).await;
        if read.is_none() || !self.shared.history.lock().final_read_complete {
            return Err(format!(
                "a fresh reader did not come to the end of every partition: {}",
                self.read_so_far()
            ));
        }
        let mut missing = self.look_at_history(|history| arrivals::missing(history, &stopped));
        missing.extend(outside);
        Ok(missing)
    }

    /// Asks clients of some workloads to close, and waits for them.
    ///
    /// Errors: who has not before `deadline`.
    async fn close_clients(
        &self,
        deadline: SimTime,
        is_asked: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let clients: Vec<(String, NodeId)> = {
            let state = self.lock();
            let asked = || state.clients.iter().filter(|((name, _), _)| is_asked(name));
            for (_, client) in asked() {
                client.stop.send_replace(true);
            }
            asked()
                .map(|((name, index), client)| (format!("{name}/{index}"), client.node))
                .collect()
        };
        for (name, node) in clients {
            let Some(process) = self.world().machine(node).process() else { continue };
            self.before(deadline, process.ended())
                .await
                .ok_or_else(|| format!("{name} has not closed: {}", self.unanswered(&name)))?;
        }
        Ok(())
    }

    /// Which records of a client nobody answered.
    fn unanswered(&self, client: &str) -> String {
        let history = self.shared.history.lock();
        let open = history
            .sent
            .iter()
            .filter(|sent| *sent.client == *client && matches!(sent.outcome, Outcome::Pending));
        let mut of: BTreeMap<String, (u64, SimTime)> = BTreeMap::new();
        for sent in open {
            let partition = sent.partition.as_ref();
            let name = partition.map_or_else(|| "no partition yet".into(), ToString::to_string);
            of.entry(name).or_insert((0, sent.sent_at)).0 += 1;
        }
        drop(history);
        if of.is_empty() {
            return "all of its records are answered".into();
        }
        let words = of.iter().map(|(partition, (count, first))| {
            let first = show_time(self.recorder().time(first.nanos()));
            format!("{count} records of {partition} are not answered, the first sent at {first}")
        });
        words.collect::<Vec<_>>().join("; ")
    }

    /// How far the last reader came.
    fn read_so_far(&self) -> String {
        let mut read: BTreeMap<String, u64> =
            self.partition_names().iter().map(|name| (name.to_string(), 0)).collect();
        for (partition, records) in self.shared.history.lock().final_log() {
            read.insert(partition.to_string(), records.len() as u64);
        }
        let words = read.iter().map(|(name, count)| format!("{count} records of {name}"));
        format!("it has read {}", words.collect::<Vec<_>>().join(", "))
    }

    /// Waits until every node knows all metadata, no broker is fenced, and every live replica is in sync.
    async fn become_whole(&self, deadline: SimTime) -> Result<(), String> {
        let until = self.ears.views().applied_most();
        loop {
            let Err(reason) = self.is_whole(until) else { return Ok(()) };
            if self.world().now() >= deadline {
                return Err(reason);
            }
            self.world().sleep(LOOK_EVERY).await;
        }
    }

    /// Errors: what of it is not whole.
    pub(super) fn is_whole(&self, until: Option<ottla::types::Offset>) -> Result<(), String> {
        self.is_whole_of(until, |_| true)
    }

    /// [`Stage::is_whole`], of the partitions that `is_asked` names.
    ///
    /// Errors: what of it is not whole.
    pub(super) fn is_whole_of(
        &self,
        until: Option<ottla::types::Offset>,
        is_asked: impl Fn(&PartitionName) -> bool,
    ) -> Result<(), String> {
        let nodes: Vec<Who> = self.present().into_iter().map(Member::who).collect();
        let live: BrokerSet = self.broker_ids().into_iter().filter_map(broker_id).collect();
        let names = self.partition_names().into_iter().filter(is_asked);
        let with_id = |name: PartitionName| Some((name.clone(), self.partition_id(&name)?));
        let partitions: Vec<(PartitionName, TopicIdPartition)> =
            names.filter_map(with_id).collect();
        let views = self.ears.views();
        views.whole(&nodes, &live, until, &partitions)?;
        views.identical(&nodes)
    }

    /// Whether every node knows the same metadata now.
    pub(super) fn is_metadata_identical(&self) -> bool {
        let nodes: Vec<Who> = self.present().into_iter().map(Member::who).collect();
        self.ears.views().identical(&nodes).is_ok()
    }

    /// Whether a fault may be done to a node now without putting an acknowledged record at stake.
    ///
    /// Errors: it may not.
    pub(super) fn may(&self, action: &Action, who: &Who) -> Result<(), String> {
        let (Some(fault), Some(node)) = (fault_of(action), self.node(who)) else { return Ok(()) };
        if here::may(self, fault, node) {
            return Ok(());
        }
        Err(format!("an acknowledged record would be at stake with {who}"))
    }

    /// What an action puts at stake that is done to these nodes together now; `None` where no acknowledged record is.
    pub(super) fn at_stake(&self, action: &Action, who: &[&Who]) -> Option<String> {
        let fault = fault_of(action)?;
        let nodes: Vec<NodeId> = who.iter().filter_map(|who| self.node(who)).collect();
        here::at_stake(self, fault, &nodes)
    }

    /// What expectations about the cluster are measured on.
    pub(super) fn last_views(&self) -> LastViews {
        let names = self.partition_names().into_iter();
        // Before the literal: a guard that lives in it would be held while others ask for the lock.
        let views = self.ears.views().clone();
        LastViews {
            is_metadata_identical: self.is_metadata_identical(),
            views,
            partitions: names
                .filter_map(|name| Some((name.clone(), self.partition_id(&name)?)))
                .collect(),
            preferred: self.preferred_leaders(),
            saved: self.all_saved(),
        }
    }

    async fn before<T>(&self, deadline: SimTime, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            value = future => Some(value),
            () = self.world().sleep_until(deadline) => None,
        }
    }
}

/// What the checks must know of the cluster. Where the plan does not say Kafka's defaults count.
#[expect(clippy::wildcard_enum_match_arm, reason = "only one action delays heartbeats")]
fn cluster_facts(plan: &Plan) -> ClusterFacts {
    let millis = |name: &str, default: u64| {
        let set = plan.broker_config.0.get(name).and_then(|text| text.parse().ok());
        Duration::from_millis(set.unwrap_or(default))
    };
    let of_chaos = plan.chaos.iter().flat_map(|chaos| &chaos.faults).map(|fault| &fault.action);
    let all = plan.timeline.iter().map(|step| &step.action).chain(of_chaos);
    let delays = all.filter_map(|action| match action {
        Action::DelayRequest { frames, by } if frames.api == "BrokerHeartbeat" => {
            Some(Duration::from_nanos(by.0.largest()))
        }
        _ => None,
    });
    ClusterFacts {
        session_timeout: millis("broker.session.timeout.ms", 9_000),
        lag_time_max: millis("replica.lag.time.max.ms", 30_000),
        heartbeat_delay_max: delays.max().unwrap_or_default(),
    }
}

/// What the checks must know of a topic.
fn topic_facts(plan: &Plan, name: &str) -> TopicFacts {
    let is = |of_topic: &str, of_broker: &str, value: &str| {
        let topic = plan.topics.get(name).and_then(|topic| topic.config.0.get(of_topic));
        topic.or_else(|| plan.broker_config.0.get(of_broker)).is_some_and(|is| is == value)
    };
    let unclean = "unclean.leader.election.enable";
    let by_hand = |step: &Step| matches!(step.action, Action::ElectUnclean { .. });
    let is_elected_by_hand = plan.timeline.iter().any(by_hand);
    let min_isr = plan.topics.get(name).and_then(|topic| topic.config.0.get("min.insync.replicas"));
    let min_isr = min_isr.or_else(|| plan.broker_config.0.get("min.insync.replicas"));
    TopicFacts {
        min_isr: min_isr.and_then(|text| text.parse().ok()).unwrap_or(1),
        flushes_each: is("flush.messages", "log.flush.interval.messages", "1"),
        allows_unclean: is(unclean, unclean, "true") || is_elected_by_hand,
    }
}

/// What an action is to the atlas of faults; `None` for what harms no copy.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others leave every disk as it is")]
const fn fault_of(action: &Action) -> Option<Fault> {
    match action {
        Action::Kill { .. } => Some(Fault::Kill),
        Action::Shutdown { .. } => Some(Fault::Shutdown),
        Action::PowerLoss { .. } => Some(Fault::PowerLoss),
        Action::Wipe { .. } => Some(Fault::Wipe),
        Action::Corrupt { .. } => Some(Fault::Rot),
        Action::DiskError { operation: DiskOperation::Write, .. } => Some(Fault::FailWrite),
        Action::DiskError { operation: DiskOperation::Sync, .. } => Some(Fault::FailSync),
        Action::Pause { .. } | Action::Partition { .. } => Some(Fault::Isolate),
        Action::DiskFull { .. } => Some(Fault::Fill),
        Action::UnregisterBroker { .. } => Some(Fault::Unregister),
        _ => None,
    }
}

/// A broker's id as the product writes it.
pub(super) fn broker_id(id: u32) -> Option<BrokerId> {
    BrokerId::from_wire(i32::try_from(id).ok()?)
}

/// A task of the testbed itself, on no node.
#[allow(clippy::disallowed_methods, reason = "on no node, in both worlds")]
pub(super) fn spawn(
    future: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(future)
}
