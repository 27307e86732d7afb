//! Where the world, the checks and the reports meet: hears everything, keeps the ghost, and at the end says what was violated.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use bytes::Bytes;
use ottla::runtime::watch;
use ottla::types::{BrokerId, Observation, ShortName, TopicId, TopicIdPartition, TopicPartition};

use crate::checker::atlas::{self, Fault, Stake};
use crate::checker::ghost::GhostPartition;
use crate::checker::history_oracles::HeldLog;
use crate::checker::left_out::left_out;
use crate::checker::{
    Checkers, ClusterFacts, DeclaredCut, Disks, Event, Ghost, Occurrence, Removed, StepBack, Stop,
    TopicFacts, liveness, waiting,
};
use crate::event::Recorder;
use crate::explore::states::States;
use crate::tally::{self, partition_of};
use crate::verdict::Violation;
use crate::world::disk::Operation;
use crate::world::{Boot, EventSink, Look, NodeId, ProcessEnd, SimTime, World, WorldEvent};

/// Hears a run. Given to the world as its sink.
pub struct Oracle {
    recorder: Arc<Recorder>,
    inner: Mutex<Inner>,
    halting: OnceLock<Halting>,
}

/// Says of a violation whether a run may end there: nothing that follows is asked for.
#[derive(Clone)]
pub struct Halt(Arc<dyn Fn(&Violation) -> bool + Send + Sync>);

impl Halt {
    /// Halts at the first violation that `is_enough` says so of.
    pub fn new(is_enough: impl Fn(&Violation) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_enough))
    }
}

impl fmt::Debug for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Halt")
    }
}

struct Halting {
    at: Halt,
    /// How many violations were looked at.
    seen: AtomicUsize,
    is_due: watch::Sender<bool>,
}

#[derive(Default)]
struct Inner {
    checkers: Checkers,
    /// The brokers and their `log.dirs`.
    brokers: BTreeMap<NodeId, Vec<PathBuf>>,
    panics: Vec<(SimTime, NodeId, String)>,
    topics: BTreeMap<TopicId, String>,
    states: States,
}

impl Oracle {
    /// Tells `recorder` what is an event.
    #[must_use]
    pub fn new(recorder: Arc<Recorder>) -> Self {
        Self { recorder, inner: Mutex::default(), halting: OnceLock::new() }
    }

    /// From now on [`Oracle::halted`] returns once such a violation is found.
    pub fn halt_at(&self, at: Halt) {
        let halting = Halting { at, seen: AtomicUsize::new(0), is_due: watch::Sender::new(false) };
        // Asked for once, before the run.
        let _ = self.halting.set(halting);
    }

    /// Waits until a violation is found that the run is to be halted at; for ever, where nobody asked for it.
    pub async fn halted(&self) {
        if let Some(halting) = self.halting.get()
            && halting.is_due.subscribe().wait_for(|is_due| *is_due).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    /// Looks whether the run is to be halted now. The caller holds no lock.
    fn notice(&self) {
        let Some(halting) = self.halting.get() else { return };
        let inner = self.lock();
        let count = inner.checkers.violations().len() + inner.panics.len();
        drop(inner);
        if halting.seen.swap(count, Ordering::Relaxed) < count
            && self.violations().iter().any(|found| (halting.at.0)(found))
        {
            halting.is_due.send_replace(true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics with the oracle locked")
    }

    /// From now on `node` is the broker or controller `id`, with these log directories (none, where it is no broker).
    pub fn add_node(&self, node: NodeId, id: BrokerId, log_dirs: Vec<PathBuf>) {
        let mut inner = self.lock();
        inner.checkers.name_node(node, id);
        inner.brokers.insert(node, log_dirs);
    }

    /// Tells which nodes vote in the metadata quorum.
    pub fn name_voters(&self, voters: impl IntoIterator<Item = NodeId>) {
        self.lock().checkers.name_voters(voters);
    }

    /// The clients start now: times count from here.
    pub fn begin(&self, at: SimTime) {
        self.recorder.start(at.nanos());
        self.lock().checkers.begin(at);
    }

    /// Tells what the plan says of a topic.
    pub fn describe_topic(&self, topic_id: TopicId, facts: TopicFacts) {
        self.lock().checkers.describe_topic(topic_id, facts);
    }

    /// Tells what the plan says of the cluster.
    pub fn describe_cluster(&self, facts: ClusterFacts) {
        self.lock().checkers.describe_cluster(facts);
    }

    /// Whether a fault on a node is tolerable now: see [`checker::atlas`].
    #[must_use]
    pub fn may(&self, fault: Fault, node: NodeId) -> bool {
        atlas::may(self.lock().checkers.ghost(), fault, node)
    }

    /// What a fault puts at stake that strikes these nodes together now, in words; `None` where it is tolerable.
    #[must_use]
    pub fn at_stake(&self, fault: Fault, nodes: &[NodeId]) -> Option<String> {
        let inner = self.lock();
        let ghost = inner.checkers.ghost();
        let words = |stake| match stake {
            Stake::Vote => "the word of a voter that forgets its vote".to_owned(),
            Stake::Record(id) => format!("an acknowledged record of {}", ghost.name(id)),
            Stake::Mending => {
                "the mending of what rots, on a disk whose files are written anew,".to_owned()
            }
        };
        atlas::at_stake(ghost, fault, nodes).map(words)
    }

    /// Whom a core can do without ([`left_out`]).
    #[must_use]
    pub fn left_out(&self, order: &[NodeId], usual_min_isr: usize) -> BTreeSet<NodeId> {
        left_out(self.lock().checkers.ghost(), order, usual_min_isr)
    }

    /// Whether a log directory of a node has failed since the node started, or could not be opened for want of space.
    #[must_use]
    pub fn has_failed_dirs(&self, node: NodeId) -> bool {
        let known = self.lock();
        known.checkers.ghost().node(node).is_some_and(|node| !node.has_all_dirs())
    }

    /// What has not come about yet of what must, once everything is healed.
    #[must_use]
    pub fn missing(&self, now: SimTime) -> Vec<liveness::Missing> {
        liveness::missing(self.lock().checkers.ghost(), now)
    }

    /// Which groups have fewer members than clients of theirs run.
    #[must_use]
    pub fn outside(&self, running: &BTreeMap<Arc<str>, usize>) -> Vec<liveness::Missing> {
        liveness::outside(self.lock().checkers.ghost(), running)
    }

    /// Why the cluster has not converged, as far as its nodes tell.
    #[must_use]
    pub fn waiting(&self) -> Vec<String> {
        waiting::waiting(self.lock().checkers.ghost())
    }

    /// The abstract states that there were.
    #[must_use]
    pub fn states(&self) -> States {
        self.lock().states.clone()
    }

    /// The declared cuts of the run.
    #[must_use]
    pub fn cuts(&self) -> Vec<DeclaredCut> {
        let inner = self.lock();
        let ghost = inner.checkers.ghost();
        let of = |(id, of): (TopicIdPartition, &GhostPartition)| {
            let partition = partition_of(&ghost.name(id));
            let cuts = of.cuts.clone().into_iter();
            cuts.filter_map(move |cut| {
                Some(DeclaredCut { partition: partition.clone()?, at: cut.at, from: cut.from })
            })
        };
        ghost.partitions().flat_map(of).collect()
    }

    /// What the leaders have, of the partitions of these topics, for a reader that began at `read_from`.
    #[must_use]
    pub fn held(&self, topics: &dyn Fn(&str) -> bool, read_from: SimTime) -> Vec<HeldLog> {
        let inner = self.lock();
        let ghost = inner.checkers.ghost();
        let of = |(id, of): (TopicIdPartition, &GhostPartition)| {
            let name = partition_of(&ghost.name(id)).filter(|name| topics(&name.topic))?;
            HeldLog::of(ghost, id, of, name, read_from)
        };
        ghost.partitions().filter_map(of).collect()
    }

    /// What was removed from the start of logs.
    #[must_use]
    pub fn removed(&self) -> Vec<Removed> {
        let inner = self.lock();
        let ghost = inner.checkers.ghost();
        let mut all = Vec::new();
        for (id, of) in ghost.partitions() {
            let Some(partition) = partition_of(&ghost.name(id)) else { continue };
            let removed = of.removed.iter().map(|(at, to)| (*at, *to));
            all.extend(removed.map(|(at, to)| Removed { partition: partition.clone(), at, to }));
        }
        all.sort_by_key(|one: &Removed| one.at);
        all
    }

    /// Where groups were set past something, or back, by something else than their members' reading.
    #[must_use]
    pub fn resets(&self) -> Vec<(ShortName, TopicPartition)> {
        let inner = self.lock();
        let ghost = inner.checkers.ghost();
        let known = ghost.groups().offsets.keys();
        let reset = known.filter(|(group, id)| ghost.groups().reset_at(*group, *id).is_some());
        reset.filter_map(|(group, id)| Some((*group, partition_of(&ghost.name(*id))?))).collect()
    }

    /// Where coordinators told clients of a commit after one of more.
    #[must_use]
    pub fn steps_back(&self) -> Vec<StepBack> {
        let inner = self.lock();
        let ghost = inner.checkers.ghost();
        let told = ghost.groups().steps_back.iter();
        let named = told.filter_map(|((group, id), offset, at)| {
            let partition = partition_of(&ghost.name(*id))?;
            Some(StepBack { group: *group, partition, offset: *offset, at: *at })
        });
        named.collect()
    }

    /// When the groups were last told that they have committed nothing in a partition.
    pub fn begun(&self) -> BTreeMap<(ShortName, TopicPartition), SimTime> {
        let inner = self.lock();
        let ghost = inner.checkers.ghost();
        let known = ghost.groups().offsets.iter();
        let begun = known.filter_map(|((group, id), offset)| {
            Some(((*group, partition_of(&ghost.name(*id))?), offset.nothing_at?))
        });
        begun.collect()
    }

    /// From now on the topic of this id is known by its name.
    pub fn name_topic(&self, topic_id: TopicId, name: &str) {
        let mut inner = self.lock();
        inner.checkers.name_topic(topic_id, name);
        inner.topics.insert(topic_id, name.to_owned());
        drop(inner);
        self.recorder.name_topic(topic_id, name);
    }

    /// Looks at the disks of every broker: once the topics are there, after each stop and start, and at the end.
    pub fn barrier(&self, world: &World) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let disks = WorldDisks { world, brokers: &inner.brokers };
        for node in inner.brokers.keys() {
            inner.checkers.at_barrier(&disks, *node, world.now());
        }
        inner.checkers.at_cluster_barrier(world.now());
        drop(guard);
        self.notice();
    }

    /// Learns what a node that has stopped has on its disk and did not live to tell: before it is started again. And what rotted: before
    /// the node has cut it off (swarm-disk, seed 73).
    pub fn learn(&self, world: &World, node: NodeId) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        if inner.brokers.contains_key(&node) {
            let disks = WorldDisks { world, brokers: &inner.brokers };
            inner.checkers.learn_places(&disks, node);
        }
    }

    /// Looks at all disks together: once everything is healed and has settled.
    pub fn end(&self, world: &World) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let disks = WorldDisks { world, brokers: &inner.brokers };
        inner.checkers.at_end(&disks, world.now());
    }

    /// Shows what the ghost knows and what is on the disks, to people.
    pub fn show<T>(&self, world: &World, show: impl FnOnce(&Ghost, &dyn Disks) -> T) -> T {
        let inner = self.lock();
        let disks = WorldDisks { world, brokers: &inner.brokers };
        show(inner.checkers.ghost(), &disks)
    }

    /// Tells that bytes of a broker's files were changed behind its back.
    pub fn rotted(&self, at: SimTime, node: NodeId) {
        self.lock().checkers.on_event(&Occurrence { at, node, event: Event::DiskRotted });
    }

    /// Tells that nearly nothing fits on a node's disk from now on, or as much as ever.
    pub fn filled(&self, at: SimTime, node: NodeId, is_full: bool) {
        self.lock().checkers.on_event(&Occurrence { at, node, event: Event::DiskFull(is_full) });
    }

    /// Tells that from now on a node's writes, or syncs, fail when they come, or no longer.
    pub fn armed(&self, at: SimTime, node: NodeId, of_syncs: bool, begin: bool) {
        let event = Event::DiskErrors { of_syncs, begin };
        self.lock().checkers.on_event(&Occurrence { at, node, event });
    }

    /// What the online checks found, panics among it.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let inner = self.lock();
        let panics = inner.panics.iter().map(|(at, node, message)| Violation {
            check: "panic",
            at: self.recorder.time(at.nanos()),
            node: Some(self.recorder.who(node.0)),
            partition: None,
            what: message.lines().next().unwrap_or("a panic").to_owned(),
            evidence: message.lines().skip(1).map(str::to_owned).collect(),
        });
        let online =
            inner.checkers.violations().iter().map(|found| tally::show(&self.recorder, found));
        let mut all: Vec<Violation> = panics.chain(online).collect();
        all.sort_by_key(|violation| violation.at);
        all
    }
}

impl EventSink for Oracle {
    fn observation(&self, at: SimTime, node: NodeId, _boot: Boot, observation: &Observation) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        if inner.brokers.contains_key(&node) {
            inner.checkers.on_event(&Occurrence { at, node, event: Event::Observed(*observation) });
            inner.states.observe(inner.checkers.ghost(), observation);
        }
        drop(guard);
        self.recorder.observation(self.recorder.time(at.nanos()), node.0, observation);
        self.notice();
    }

    fn world(&self, at: SimTime, event: &WorldEvent) {
        self.hear(at, event);
        self.notice();
    }
}

impl Oracle {
    fn hear(&self, at: SimTime, event: &WorldEvent) {
        let mut inner = self.lock();
        let Some(node) = event.node().filter(|node| inner.brokers.contains_key(node)) else {
            if let WorldEvent::Panicked { node, message, .. } = event {
                inner.panics.push((at, *node, message.clone()));
            }
            return;
        };
        let mut tell = |event| inner.checkers.on_event(&Occurrence { at, node, event });
        match event {
            WorldEvent::Started { .. } => tell(Event::Started),
            WorldEvent::Killed { .. } => tell(Event::Stopped(Stop::Kill)),
            WorldEvent::PowerLost { .. } => tell(Event::Stopped(Stop::PowerLoss)),
            WorldEvent::Ended { end: ProcessEnd::Clean, .. } => {
                tell(Event::Stopped(Stop::Shutdown))
            }
            WorldEvent::Ended { end: ProcessEnd::Failed(_), .. } => {
                tell(Event::Stopped(Stop::Ended))
            }
            WorldEvent::Panicked { message, .. } => {
                tell(Event::Stopped(Stop::Ended));
                inner.panics.push((at, node, message.clone()));
            }
            WorldEvent::Wiped { .. } => tell(Event::Wiped),
            WorldEvent::DiskFailed { operation, path, .. } => {
                let log_dir = inner.brokers.get(&node).and_then(|dirs| dir_of(dirs, path));
                // Failed reads harm nobody; a name that could not be made or changed is the write of a directory.
                let harms = !matches!(operation, Operation::Read | Operation::Open);
                if let Some(log_dir) = log_dir.filter(|_| harms) {
                    inner.checkers.on_event(&Occurrence {
                        at,
                        node,
                        event: Event::DiskFailed { log_dir },
                    });
                }
            }
            WorldEvent::Paused { .. } => tell(Event::Paused),
            WorldEvent::Resumed { .. } => tell(Event::Resumed),
            WorldEvent::SpaceRefused { path, .. } => {
                let log_dir = inner.brokers.get(&node).and_then(|dirs| dir_of(dirs, path));
                if log_dir.is_some() {
                    let event = Event::SpaceRefused;
                    inner.checkers.on_event(&Occurrence { at, node, event });
                }
            }
            WorldEvent::ShutdownAsked { .. } => tell(Event::StopAsked),
            WorldEvent::Fault { .. } => {}
        }
        let inner = &mut *inner;
        inner.states.turn(inner.checkers.ghost());
    }
}

fn dir_of(dirs: &[PathBuf], path: &str) -> Option<u32> {
    let index = dirs.iter().position(|dir| Path::new(path).starts_with(dir))?;
    u32::try_from(index).ok()
}

/// The disks of the world's brokers.
struct WorldDisks<'a> {
    world: &'a World,
    brokers: &'a BTreeMap<NodeId, Vec<PathBuf>>,
}

impl Disks for WorldDisks<'_> {
    fn log_dirs(&self, node: NodeId) -> Vec<PathBuf> {
        self.brokers.get(&node).cloned().unwrap_or_default()
    }

    fn files(&self, node: NodeId) -> Vec<PathBuf> {
        self.world.machine(node).disk.files().into_iter().map(PathBuf::from).collect()
    }

    fn cached(&self, node: NodeId, path: &Path, from: usize) -> Option<Bytes> {
        self.world.machine(node).disk.content_from(path, from).ok()
    }

    fn durable(&self, node: NodeId, path: &Path, from: usize) -> Option<Bytes> {
        self.world.machine(node).disk.durable_from(path, from).ok()
    }

    fn look(&self, node: NodeId, path: &Path) -> Option<Look> {
        self.world.machine(node).disk.look(path).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn only_the_violation_that_is_asked_for_halts_a_run() {
        let (node, boot) = (NodeId(1), Boot(1));
        let ends = |message: &str| {
            let oracle = Oracle::new(Arc::new(Recorder::default()));
            oracle.add_node(node, BrokerId::new(1), Vec::new());
            oracle.halt_at(Halt::new(|violation| violation.what.contains("asked for")));
            let mut cx = Context::from_waker(Waker::noop());
            let mut halted = pin!(oracle.halted());
            assert!(halted.as_mut().poll(&mut cx).is_pending());
            oracle.world(SimTime(1), &WorldEvent::Started { node, boot });
            assert!(halted.as_mut().poll(&mut cx).is_pending());
            let message = message.to_string();
            oracle.world(SimTime(2), &WorldEvent::Panicked { node, boot, message });
            halted.as_mut().poll(&mut cx).is_ready()
        };
        assert!(ends("what was asked for"));
        assert!(!ends("another one"));
    }

    #[test]
    fn a_run_that_is_to_be_halted_at_nothing_goes_on() {
        let oracle = Oracle::new(Arc::new(Recorder::default()));
        let mut cx = Context::from_waker(Waker::noop());
        let mut halted = pin!(oracle.halted());
        let message = "what was asked for".to_string();
        oracle.world(SimTime(2), &WorldEvent::Panicked { node: NodeId(1), boot: Boot(1), message });
        assert!(halted.as_mut().poll(&mut cx).is_pending());
    }
}
