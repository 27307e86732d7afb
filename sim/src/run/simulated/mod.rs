//! The simulated world: how nodes come into it, and what is heard of it.

mod draws;
mod faults;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla::server::{Config, FormatOptions, Node, format};
use ottla::types::{Observation, Uuid};
use rand::seq::SliceRandom as _;

use super::ears::Ears;
use super::node::Member;
use super::stage::Stage;
use super::{Job, Parts, findings, testbed_panicked};
use crate::checker::atlas::Fault;
use crate::cluster::{Cluster, NodeFactory, factory};
use crate::event::{Event, Who};
use crate::history::SharedHistory;
use crate::oracle::Halt;
use crate::scenario::Plan;
use crate::scenario::draw::rng_of;
use crate::scenario::duration::Span;
use crate::trace::TraceResult;
use crate::verdict::SeedRun;
use crate::views::NodeTurn;
use crate::world::{
    Boot, EventSink, NodeContext, NodeId, ProcessEnd, SimTime, World, WorldEvent, WorldOptions,
};
use draws::{latency, ordinary_link};
pub use state::{StateAt, state_at};

/// How a run differs from an ordinary one. By default in nothing.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// Ends the run as soon as this is found: what follows shows nothing more.
    pub halt: Option<Halt>,
    /// From this time on (counted as the scenario's) every draw comes from this seed.
    pub reseed: Option<(Span, u64)>,
}

/// Runs a seed once, on a thread of its own.
#[must_use]
pub fn run_once(job: &Job) -> (SeedRun, Option<TraceResult>) {
    run_as(job, &How::default())
}

/// Runs a seed once, on a thread of its own, and not quite as usual.
#[must_use]
pub fn run_as(job: &Job, how: &How) -> (SeedRun, Option<TraceResult>) {
    let plan = Arc::new(job.scenario.plan(job.variant.as_deref(), job.seed));
    let resolved = Arc::new(job.scenario.resolved(job.variant.as_deref(), job.seed));
    let history = SharedHistory::default();
    let ears = Arc::new(Ears::new());
    if let Some(halt) = &how.halt {
        ears.oracle.halt_at(halt.clone());
    }
    let mut options = WorldOptions::new(job.seed).sink(Arc::clone(&ears) as _);
    if job.is_recording {
        options = options.recording();
    }
    let parts = Parts {
        plan: Arc::clone(&plan),
        resolved,
        ears: Arc::clone(&ears),
        history: history.clone(),
        reseed: how.reseed,
    };
    let ended = crate::world::run(options, move |world| async move { parts.run(world).await });
    let frames = ended.as_ref().map_or(0, |ended| ended.frames);
    let (finished, marks, trace, end) = match ended {
        Ok(ended) => (ended.value.0, ended.value.1, Some(ended.trace), ended.lasted),
        Err(failed) => (testbed_panicked(&failed.message), Vec::new(), None, SimTime::default()),
    };
    let history = history.lock();
    let seen = findings::Seen {
        end,
        frames,
        marks,
        trace_hash: trace.as_ref().map(|trace| trace.hash.to_string()).unwrap_or_default(),
        trace_entries: trace.as_ref().map_or(0, |trace| trace.entries),
    };
    let findings = findings::Findings { job, plan: &plan, ears: &ears, history: &history, seen };
    let run = findings.judge(finished);
    drop(history);
    (run, trace)
}

/// Runs a seed twice and compares the traces; where they differ and were not recorded, twice more to name the first difference.
#[must_use]
pub fn run_twice(job: &Job) -> SeedRun {
    let ((mut run, one), (_, other)) = (run_once(job), run_once(job));
    let Err(difference) = compare(one.as_ref(), other.as_ref()) else { return run };
    if job.is_recording {
        run.nondeterminism = Some(difference);
        return run;
    }
    let recorded = Job { is_recording: true, ..job.clone() };
    let ((kept, one), (_, other)) = (run_once(&recorded), run_once(&recorded));
    run.history = kept.history;
    run.nondeterminism = Some(match compare(one.as_ref(), other.as_ref()) {
        Err(named) => named,
        Ok(()) => format!(
            "{difference}; the third and the fourth run agree: something outlives a run in this process"
        ),
    });
    run
}

fn compare(one: Option<&TraceResult>, other: Option<&TraceResult>) -> Result<(), String> {
    match (one, other) {
        (Some(one), Some(other)) => one.compare(other).map_err(|difference| difference.to_string()),
        _ => Err("a trace is missing: nothing was compared".into()),
    }
}

// ── Nodes ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Where brokers listen for clients.
const PORT: u16 = 9092;
/// Where voters listen for each other and for brokers.
const CONTROLLER_PORT: u16 = 9093;

/// Where nodes are and keep their files, in the words of their configuration.
pub(super) struct Places;

impl Places {
    /// Where a node listens for clients.
    pub(super) fn listens(&self, _: Member) -> String {
        format!("0.0.0.0:{PORT}")
    }

    /// Where a voter listens for others.
    pub(super) fn listens_as_voter(&self, _: Member) -> String {
        format!("0.0.0.0:{CONTROLLER_PORT}")
    }

    /// Where clients reach a node.
    pub(super) fn reached(&self, member: Member) -> String {
        format!("{}:{PORT}", member.host())
    }

    /// Where others reach a voter.
    pub(super) fn reached_as_voter(&self, member: Member) -> String {
        format!("{}:{CONTROLLER_PORT}", member.host())
    }

    /// A directory of a node.
    pub(super) fn dir(&self, _: Member, name: &str) -> String {
        format!("/{name}")
    }
}

/// Where the nodes of a world are.
pub(super) fn places(_: &World) -> Places {
    Places
}

/// From `at` on every draw comes from another seed.
pub(super) fn reseed_at(world: &World, at: SimTime, seed: u64) {
    world.reseed_at(at, seed);
}

/// Waits until the violation is found that the run is to be halted at; for ever, where it is not.
pub(super) async fn halted(stage: &Stage) {
    stage.ears.oracle.halted().await;
}

/// Whether a fault puts no acknowledged record at stake, by the checkers' atlas.
pub(super) fn may(stage: &Stage, fault: Fault, node: NodeId) -> bool {
    stage.ears.oracle.may(fault, node)
}

/// Whom of these nodes a core can do without, as the seed draws them.
pub(super) fn left_out(
    stage: &Stage,
    mut nodes: Vec<NodeId>,
    usual_min_isr: usize,
) -> BTreeSet<NodeId> {
    nodes.shuffle(&mut rng_of(stage.plan.seed, "/heal"));
    stage.ears.oracle.left_out(&nodes, usual_min_isr)
}

/// What a fault on these nodes together puts at stake, by the checkers' atlas; `None` where it is tolerable.
pub(super) fn at_stake(stage: &Stage, fault: Fault, nodes: &[NodeId]) -> Option<String> {
    stage.ears.oracle.at_stake(fault, nodes)
}

/// The clients start now: nobody watches.
pub(super) fn watch(_: &World, _: &Plan) {}

/// An event of the testbed happened: nobody watches.
pub(super) fn show(_: &World, _: &Event) {}

/// Adds a machine for a node, which does not run yet. It formats its disk at a start while `needs_format` is set.
pub(super) fn add_member(
    cluster: &Cluster,
    plan: &Arc<Plan>,
    member: Member,
    needs_format: &Arc<AtomicBool>,
) -> NodeId {
    let (config, _) = Config::parse(&member.properties(plan, &Places), &BTreeMap::new())
        .expect("checked before the run");
    let node = cluster.add(&member.host(), process(config, Arc::clone(needs_format)));
    settle(cluster.world(), plan, node);
    node
}

/// How the network is when nothing is broken.
pub(super) fn settle_network(world: &World, plan: &Plan) {
    world.network().set_ordinary_link(ordinary_link(plan));
}

/// Gives a machine the disk that the plan gives it when nothing is broken.
pub(super) fn settle(world: &World, plan: &Plan, node: NodeId) {
    let machine = world.machine(node);
    machine.disk.set_latency(latency(&plan.disk));
    machine.disk.set_capacity(plan.disk.capacity_bytes);
}

/// Makes a node's process at each start. While `needs_format` is set it formats the directories first.
fn process(config: Config, needs_format: Arc<AtomicBool>) -> NodeFactory {
    factory(move |context| {
        let (config, needs_format) = (config.clone(), Arc::clone(&needs_format));
        async move {
            match live(context, config, &needs_format).await {
                Ok(()) => ProcessEnd::Clean,
                Err(reason) => ProcessEnd::Failed(reason),
            }
        }
    })
}

async fn live(
    mut context: NodeContext,
    config: Config,
    needs_format: &AtomicBool,
) -> Result<(), String> {
    if needs_format.load(Ordering::Relaxed) {
        // One cluster id in all runs: a random one would differ between nodes formatted apart.
        let cluster_id = Some(Uuid::from_bytes(*b"ottla-simulation"));
        // A start that was killed while it formatted left some directories done.
        let options =
            FormatOptions { cluster_id, ignore_formatted: true, ..FormatOptions::default() };
        format(&config, options, &context.env).await.map_err(|error| error.to_string())?;
        needs_format.store(false, Ordering::Relaxed);
    }
    let node = Node::start(config, context.env.clone()).await.map_err(|error| error.to_string())?;
    tokio::select! {
        biased;
        end = node.ended() => Err(format!("{end:?}")),
        () = context.shutdown_asked() => {
            node.shutdown().await;
            Ok(())
        }
    }
}

// ── What is heard ──────────────────────────────────────────────────────────────────────────────────────────────────────

impl Ears {
    fn turn_of(&self, at: SimTime, event: &WorldEvent) {
        let turn = match event {
            WorldEvent::Killed { .. }
            | WorldEvent::PowerLost { .. }
            | WorldEvent::Ended { .. }
            | WorldEvent::Panicked { .. } => NodeTurn::Ended,
            WorldEvent::Paused { .. } => NodeTurn::Paused,
            WorldEvent::Resumed { .. } => NodeTurn::Resumed,
            WorldEvent::Started { .. } => NodeTurn::Started,
            WorldEvent::ShutdownAsked { .. }
            | WorldEvent::Wiped { .. }
            | WorldEvent::DiskFailed { .. }
            | WorldEvent::SpaceRefused { .. }
            | WorldEvent::Fault { .. } => return,
        };
        if let Some(node) = event.node() {
            self.turn(at, node, turn);
        }
    }

    /// What the story tells of it.
    fn event_of(&self, at: SimTime, event: &WorldEvent) -> Option<Event> {
        let who = event.node().map_or(Who::Testbed, |node| self.recorder.who(node.0));
        let is_client = matches!(who, Who::Client { .. });
        let of = |kind| Event::new(self.recorder.time(at.nanos()), who.clone(), kind);
        match event {
            WorldEvent::Started { .. } if is_client => Some(of("client.started")),
            WorldEvent::PowerLost { loss, .. } if loss.bytes_lost > 0 || loss.files_torn > 0 => {
                let note = format!("{} files, {} of them torn", loss.files.len(), loss.files_torn);
                Some(of("disk.lost").count(loss.bytes_lost).note(note))
            }
            WorldEvent::Ended { end, .. } => {
                let kind = if is_client { "client.stopped" } else { "node.ended" };
                Some(of(kind).note(words_of(end))).filter(|_| who != Who::Testbed)
            }
            WorldEvent::Panicked { message, .. } => {
                let kind = if is_client { "client.stopped" } else { "node.ended" };
                let first = message.lines().next().unwrap_or_default();
                Some(of(kind).note(format!("panicked: {first}")))
            }
            WorldEvent::DiskFailed { operation, path, .. } => {
                Some(of("fault.bit").note(format!("disk-error {operation:?} of {path}")))
            }
            WorldEvent::Fault { what, .. } => Some(of("fault.bit").note(what.clone())),
            // The timeline tells these, with the words of the file.
            WorldEvent::Started { .. }
            | WorldEvent::Killed { .. }
            | WorldEvent::PowerLost { .. }
            | WorldEvent::Paused { .. }
            | WorldEvent::Resumed { .. }
            | WorldEvent::ShutdownAsked { .. }
            | WorldEvent::Wiped { .. } => None,
            // As a fault it is told too, once it can be.
            WorldEvent::SpaceRefused { .. } => None,
        }
    }
}

fn words_of(end: &ProcessEnd) -> String {
    match end {
        ProcessEnd::Clean => "in good order".to_string(),
        ProcessEnd::Failed(reason) => reason.lines().next().unwrap_or_default().to_string(),
    }
}

impl EventSink for Ears {
    fn observation(&self, at: SimTime, node: NodeId, boot: Boot, observation: &Observation) {
        self.look(at, node, observation);
        // The oracle hands it on to the recorder.
        self.oracle.observation(at, node, boot, observation);
    }

    fn world(&self, at: SimTime, event: &WorldEvent) {
        self.turn_of(at, event);
        self.oracle.world(at, event);
        if let Some(event) = self.event_of(at, event) {
            self.recorder.record(event);
        }
    }
}

#[cfg(test)]
mod tests;
