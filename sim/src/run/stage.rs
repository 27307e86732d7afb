//! The stage of a run: brokers and clients by the names that scenarios give them, and every fault that can be done to them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ottla::client::{Admin, AdminConfig, ClientError, NewTopic};
use ottla::runtime::watch;
use ottla::runtime::{Env, clock};
use ottla::types::{TopicId, TopicIdPartition};
use rand::RngExt;

use super::broker;
use super::client::{Shared, bootstrap, final_reader, workload_client};
use super::ears::Ears;
use crate::cluster::{Cluster, factory};
use crate::event::{Event, Recorder, Who};
use crate::history::SharedHistory;
use crate::scenario::Plan;
use crate::scenario::draw::{Draw, rng_of};
use crate::scenario::duration::Span;
use crate::scenario::plan::{DiskPlan, TimeDraw};
use crate::scenario::target::{PartitionName, Target};
use crate::world::disk::DiskLatency;
use crate::world::net::LinkConfig;
use crate::world::{Distribution, NodeId, ProcessEnd, SimTime, World};

/// How long the testbed's admin client waits after a call that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// A broker.
struct Broker {
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
    brokers: BTreeMap<u32, Broker>,
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
    is_healed: bool,
}

impl Stage {
    /// Brokers and machines, none of them running.
    pub(super) fn new(
        world: Arc<World>,
        plan: Arc<Plan>,
        ears: Arc<Ears>,
        history: SharedHistory,
    ) -> Arc<Self> {
        let cluster = Cluster::new(Arc::clone(&world));
        let recorder = Arc::clone(&ears.recorder);
        let mut brokers = BTreeMap::new();
        for id in 1..=plan.cluster.brokers {
            let needs_format = Arc::new(AtomicBool::new(true));
            let config = broker::config(&plan, id).expect("checked before the run");
            let node =
                cluster.add(&broker::host(id), broker::broker(config, Arc::clone(&needs_format)));
            recorder.name_node(node.0, Who::Broker(id));
            ears.oracle.add_broker(node, broker::log_dirs(&plan));
            world.machine(node).disk.set_latency(latency(&plan.disk));
            world.machine(node).disk.set_capacity(plan.disk.capacity_bytes);
            brokers.insert(id, Broker { node, needs_format });
        }
        world.network().set_ordinary_link(ordinary_link(&plan));
        let shared =
            Arc::new(Shared { world: Arc::clone(&world), plan: Arc::clone(&plan), history });
        let (reader_stop, reader_stops) = watch::channel(false);
        let idle = factory(|_| async { ProcessEnd::Clean });
        let admin = cluster.add("admin", idle);
        let reader = cluster.add("reader", final_reader(&shared, reader_stops));
        Arc::new(Self {
            cluster,
            plan,
            ears,
            shared,
            brokers,
            admin,
            reader,
            state: Mutex::new(State::default()),
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

    /// The time since the clients started.
    pub(super) fn time(&self) -> Span {
        self.recorder().time(self.world().now().nanos())
    }

    /// Notes an event of the testbed.
    pub(super) fn record(&self, who: Who, kind: &'static str, note: String) {
        self.recorder().record(Event::new(self.time(), who, kind).note(note));
    }

    // ── Beginning ──────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Starts the brokers and makes the topics.
    ///
    /// Errors: what did not happen within `patience`.
    pub(super) async fn set_up(&self, patience: Duration) -> Result<(), String> {
        for broker in self.brokers.values() {
            self.cluster.start(broker.node);
        }
        let (told, mut hear) = watch::channel(None);
        let told = Arc::new(told);
        let topics = new_topics(&self.plan);
        let bootstrap = bootstrap(&self.plan);
        self.cluster.replace(
            self.admin,
            factory(move |context| {
                let (told, topics, bootstrap) =
                    (Arc::clone(&told), topics.clone(), bootstrap.clone());
                async move {
                    make_topics(&context.env, bootstrap, &topics, &told).await;
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
            Some(Ok(ids)) if is_ended => {
                self.name_topics(ids);
                Ok(())
            }
            Some(Err(reason)) => Err(reason),
            Some(Ok(_)) | None => Err(format!("no topics within {patience:?} of simulated time")),
        }
    }

    fn name_topics(&self, ids: BTreeMap<String, TopicId>) {
        for (name, id) in &ids {
            self.ears.oracle.name_topic(*id, name);
        }
        self.lock().topics = ids;
        self.check_disks();
    }

    /// The clients start now.
    pub(super) fn begin(&self, now: SimTime) {
        self.recorder().start(now.nanos());
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

    /// Who a target means now, in the order of their names.
    ///
    /// Errors: why it means nobody.
    pub(super) fn resolve(&self, target: &Target, pointer: &str) -> Result<Vec<Who>, String> {
        let found = match target {
            Target::Broker(id) => vec![Who::Broker(*id)],
            Target::Brokers => self.brokers.keys().map(|id| Who::Broker(*id)).collect(),
            Target::RandomBroker => {
                let at = rng_of(self.plan.seed, pointer).random_range(0..self.brokers.len());
                self.brokers.keys().nth(at).map(|id| Who::Broker(*id)).into_iter().collect()
            }
            Target::Controller => {
                let id = self.ears.controller().ok_or("no node is the active controller")?;
                vec![Who::Broker(id)]
            }
            Target::Leader(partition) => vec![self.leader(partition)?],
            // One broker: it is the first replica of everything.
            Target::Preferred(_) => vec![Who::Broker(1)],
            Target::Client { workload, index } => {
                vec![Who::Client { workload: workload.as_str().into(), index: *index }]
            }
            Target::Clients { workload } => self.clients_of(workload),
            Target::Saved(name) => {
                let saved = self.lock().saved.get(name).cloned();
                saved.ok_or_else(|| format!("no step has saved `{name}` yet"))?
            }
        };
        match found.iter().find(|who| self.node(who).is_none()) {
            Some(nobody) => Err(format!("{nobody} is not there")),
            None if found.is_empty() => Err(format!("{target} means nobody now")),
            None => Ok(found),
        }
    }

    fn leader(&self, partition: &PartitionName) -> Result<Who, String> {
        let topic_id = self.lock().topics.get(&partition.topic).copied();
        let topic_id = topic_id.ok_or_else(|| format!("there is no topic {}", partition.topic))?;
        let index = super::client::partition(&partition.topic, partition.index).partition;
        let leader = self.ears.leader(TopicIdPartition { topic_id, partition: index });
        let leader = leader.ok_or_else(|| format!("{partition} has no leader"))?;
        Ok(Who::Broker(leader.value().unsigned_abs()))
    }

    fn clients_of(&self, workload: &str) -> Vec<Who> {
        let state = self.lock();
        let of = state.clients.keys().filter(|(name, _)| name == workload);
        of.map(|(name, index)| Who::Client { workload: name.as_str().into(), index: *index })
            .collect()
    }

    /// Keeps what a target was.
    pub(super) fn save(&self, name: &str, who: Vec<Who>) {
        self.lock().saved.insert(name.to_string(), who);
    }

    /// The machine of somebody.
    pub(super) fn node(&self, who: &Who) -> Option<NodeId> {
        match who {
            Who::Broker(id) => self.brokers.get(id).map(|broker| broker.node),
            Who::Client { workload, index } => {
                let state = self.lock();
                state.clients.get(&(workload.to_string(), *index)).map(|client| client.node)
            }
            Who::Testbed => None,
        }
    }

    /// Asks a client to close in good order; it does so in its own time.
    pub(super) fn stop_client(&self, who: &Who) {
        let Who::Client { workload, index } = who else { return };
        if let Some(client) = self.lock().clients.get(&(workload.to_string(), *index)) {
            client.stop.send_replace(true);
        }
    }

    /// The disk of a dead broker is replaced; it formats it at its next start.
    pub(super) fn wipe(&self, who: &Who) {
        let Who::Broker(id) = who else { return };
        let Some(broker) = self.brokers.get(id) else { return };
        broker.needs_format.store(true, Ordering::Relaxed);
        self.cluster.wipe(broker.node);
    }

    /// Lets the checkers look at every broker's disk.
    pub(super) fn check_disks(&self) {
        self.ears.oracle.barrier(self.world());
    }

    /// Tells the checkers that bytes of a broker's files were changed.
    pub(super) fn rotted(&self, node: NodeId) {
        self.ears.oracle.rotted(self.world().now(), node);
    }

    // ── End ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Whether faults are over.
    pub(super) fn is_healed(&self) -> bool {
        self.lock().is_healed
    }

    /// Ends every fault and starts every dead broker.
    pub(super) fn heal(&self) {
        self.lock().is_healed = true;
        self.cluster.heal();
        for (id, broker) in &self.brokers {
            let machine = self.world().machine(broker.node);
            machine.disk.set_latency(latency(&self.plan.disk));
            machine.disk.set_capacity(self.plan.disk.capacity_bytes);
            if !self.cluster.is_running(broker.node) {
                self.start_broker(*id);
            }
        }
        self.record(Who::Testbed, "fault.ended", "everything is healed".into());
    }

    /// Starts a dead broker.
    fn start_broker(&self, id: u32) {
        let Some(broker) = self.brokers.get(&id) else { return };
        self.cluster.start(broker.node);
    }

    /// Asks all clients to close, waits for them, and lets a fresh reader read everything.
    ///
    /// Errors: what did not happen before `deadline`.
    pub(super) async fn converge(&self, deadline: SimTime) -> Result<(), String> {
        let clients: Vec<(String, NodeId)> = {
            let state = self.lock();
            for client in state.clients.values() {
                client.stop.send_replace(true);
            }
            let names = state.clients.iter();
            names.map(|((name, index), client)| (format!("{name}/{index}"), client.node)).collect()
        };
        for (name, node) in clients {
            let Some(process) = self.world().machine(node).process() else { continue };
            self.before(deadline, process.ended()).await.ok_or_else(|| {
                format!("{name} has not closed: some of its records are not answered")
            })?;
        }
        let process = self.cluster.start(self.reader);
        let read = self.before(deadline, process.ended()).await;
        if read.is_none() || !self.shared.history.lock().final_read_complete {
            return Err("a fresh reader did not come to the end of every partition".into());
        }
        Ok(())
    }

    async fn before<T>(&self, deadline: SimTime, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            value = future => Some(value),
            () = self.world().sleep_until(deadline) => None,
        }
    }
}

/// A task of the testbed itself, on no node.
pub(super) fn spawn(
    future: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(future)
}

fn new_topics(plan: &Plan) -> Vec<NewTopic> {
    let topic = |(name, topic): (&String, &crate::scenario::plan::TopicPlan)| {
        let new = NewTopic::new(name.as_str())
            .partitions(topic.partitions)
            .replication_factor(topic.replication_factor);
        topic
            .config
            .0
            .iter()
            .fold(new, |new, (key, value)| new.config(key.as_str(), value.as_str()))
    };
    plan.topics.iter().map(topic).collect()
}

type Told = watch::Sender<Option<Result<BTreeMap<String, TopicId>, String>>>;

/// Makes the topics, trying again for as long as it is let where the brokers are not there yet.
async fn make_topics(env: &Env, bootstrap: String, topics: &[NewTopic], told: &Told) {
    let properties = BTreeMap::from([
        ("bootstrap.servers".to_string(), bootstrap),
        ("client.id".into(), "admin".into()),
    ]);
    let config = AdminConfig::from_properties(&properties).expect("the testbed's own properties");
    let admin = Admin::new(config, env.clone());
    loop {
        match admin.create_topics(topics).await {
            Ok(answers) => {
                let names = topics.iter().map(|topic| topic.name.clone());
                let made: Result<BTreeMap<_, _>, String> = names
                    .zip(answers)
                    .map(|(name, answer)| match answer {
                        Ok(id) => Ok((name, id)),
                        Err(error) => Err(format!("topic {name}: {error}")),
                    })
                    .collect();
                told.send_replace(Some(made));
                return;
            }
            Err(error) => told.send_replace(Some(Err(not_yet(&error)))),
        };
        clock::sleep(env.clock.as_ref(), PAUSE).await;
    }
}

fn not_yet(error: &ClientError) -> String {
    format!("the admin client could not make the topics: {error}")
}

/// A draw of durations as the world draws them.
pub(super) fn distribution(draw: &TimeDraw) -> Distribution {
    let nanos = Duration::from_nanos;
    match &draw.0 {
        Draw::Fixed(value) => Distribution::Fixed(nanos(*value)),
        Draw::Uniform { low, high } => {
            Distribution::Uniform { low: nanos(*low), high: nanos(*high) }
        }
        Draw::LogNormal { p50, p99 } => Distribution::lognormal(nanos(*p50), nanos(*p99)),
        Draw::OneOf(values) => Distribution::OneOf(values.clone().into()),
    }
}

/// A chance in a million.
pub(super) fn per_million(chance: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the scenario was checked: 0 to 1"
    )]
    let parts = (chance * 1e6).round() as u32;
    parts
}

/// How the disks are when nothing is broken.
pub(super) fn latency(disk: &DiskPlan) -> DiskLatency {
    DiskLatency {
        read: distribution(&disk.read),
        write: distribution(&disk.write),
        sync: distribution(&disk.sync),
        name: Distribution::ZERO,
    }
}

/// How links are when nothing is broken.
pub(super) fn ordinary_link(plan: &Plan) -> LinkConfig {
    LinkConfig {
        latency: distribution(&plan.network.latency),
        bandwidth: Some(plan.network.bandwidth_bytes_per_s),
        loss: per_million(plan.network.loss),
    }
}

/// The files of a broker that a pattern means, sorted.
pub(super) fn files_matching(
    world: &World,
    node: NodeId,
    dirs: &[String],
    pattern: &str,
) -> Vec<String> {
    let disk = &world.machine(node).disk;
    let files = disk.files().into_iter().filter(|path| {
        let below = dirs.iter().find_map(|dir| path.strip_prefix(dir.as_str())?.strip_prefix('/'));
        below.is_some_and(|below| matches(pattern, below))
    });
    files
        .filter(|path| disk.view(Path::new(path)).is_ok_and(|view| !view.content.is_empty()))
        .collect()
}

/// Whether `text` is what `pattern` says; `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(found) = rest.find(part) else { return false };
        rest = &rest[found + part.len()..];
    }
    rest.ends_with(last)
}
