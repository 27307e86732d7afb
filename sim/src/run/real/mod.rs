//! The real world: how nodes come into it, and what is heard of it.

mod faults;
mod refuse;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ottla::types::Observation;

use super::ears::Ears;
use super::node::Member;
use super::stage::Stage;
use super::{Finished, Job, Parts, findings, testbed_panicked};
use crate::checker::atlas::Fault;
use crate::cluster::Cluster;
use crate::event::{Event, Who};
use crate::history::SharedHistory;
use crate::scenario::Plan;
use crate::verdict::{SeedRun, show_time};
use crate::views::NodeTurn;
use crate::world::server::Server;
use crate::world::{
    Boot, EventSink, NodeId, Placed, ProcessEnd, SimTime, World, WorldEvent, WorldOptions,
};
pub use refuse::refuse;

/// How often whoever watches is told how far a run is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What a thread that panicked says first.
const PANIC: &str = "panicked at";

/// Runs a seed once, with processes of `program` whose files are below `dir`.
#[must_use]
pub fn run_once(job: &Job, program: &Path, dir: &Path) -> SeedRun {
    let plan = Arc::new(job.scenario.plan(job.variant.as_deref(), job.seed));
    let resolved = Arc::new(job.scenario.resolved(job.variant.as_deref(), job.seed));
    let history = SharedHistory::default();
    let ears = Arc::new(Ears::new());
    let options = WorldOptions {
        seed: job.seed,
        program: program.to_owned(),
        label: job.label(),
        dir: dir.to_owned(),
        sink: Arc::clone(&ears) as _,
    };
    let parts = Parts {
        plan: Arc::clone(&plan),
        resolved,
        ears: Arc::clone(&ears),
        history: history.clone(),
        reseed: None,
    };
    let ended = crate::world::run(options, move |world| async move { parts.run(world).await });
    let (finished, marks, end): (Finished, _, _) = match ended {
        Ok(ended) => (ended.value.0, ended.value.1, ended.lasted),
        Err(failed) => (testbed_panicked(&failed.to_string()), Vec::new(), SimTime::default()),
    };
    hear_panics(&ears, &plan, dir, end);
    let history = history.lock();
    let seen =
        findings::Seen { end, frames: 0, marks, trace_hash: String::new(), trace_entries: 0 };
    let findings = findings::Findings { job, plan: &plan, ears: &ears, history: &history, seen };
    findings.judge(finished)
}

/// Looks into what the nodes wrote to standard error.
fn hear_panics(ears: &Ears, plan: &Plan, dir: &Path, end: SimTime) {
    for (number, member) in (0..).zip(Member::all(plan)) {
        let log = dir.join(member.host()).join("node.log");
        // A node that never started has none.
        let text = std::fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines().skip_while(|line| !line.contains(PANIC)).take(2);
        if let Some(first) = lines.next() {
            let message = format!("{first} {}", lines.next().unwrap_or_default());
            ears.oracle.panicked(end, NodeId(number), message);
        }
    }
}

// ── Nodes ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Where nodes are and keep their files, in the words of their configuration.
pub(super) struct Places {
    placed: BTreeMap<String, Placed>,
    dir: PathBuf,
}

impl Places {
    fn of(&self, member: Member) -> &Placed {
        self.placed.get(&member.host()).expect("every node was placed before the first starts")
    }

    /// Where a node listens for clients.
    pub(super) fn listens(&self, member: Member) -> String {
        self.of(member).listens.to_string()
    }

    /// Where a voter listens for others.
    pub(super) fn listens_as_voter(&self, member: Member) -> String {
        self.of(member).listens_as_voter.to_string()
    }

    /// Where clients reach a node.
    pub(super) fn reached(&self, member: Member) -> String {
        self.of(member).reached.to_string()
    }

    /// Where others reach a voter.
    pub(super) fn reached_as_voter(&self, member: Member) -> String {
        self.of(member).reached_as_voter.to_string()
    }

    /// A directory of a node.
    pub(super) fn dir(&self, member: Member, name: &str) -> String {
        self.dir.join(member.host()).join(name).display().to_string()
    }
}

/// Where the nodes of a world are.
pub(super) fn places(world: &World) -> Places {
    Places { placed: world.placed(), dir: world.dir().clone() }
}

/// Adds a machine for a node, which does not run yet. It formats its disk at a start while `needs_format` is set.
///
/// Panics where there are no free ports.
pub(super) fn add_member(
    cluster: &Cluster,
    plan: &Arc<Plan>,
    member: Member,
    needs_format: &Arc<AtomicBool>,
) -> NodeId {
    let world = cluster.world();
    world.place(&member.host()).expect("there are free ports");
    // The world holds the machines: not the other way round as well.
    let (of, plan) = (Arc::downgrade(world), Arc::clone(plan));
    let properties = move || {
        let world = of.upgrade().expect("the world starts its nodes");
        member.properties(&plan, &places(&world))
    };
    let server = Server {
        dir: world.dir().join(member.host()),
        properties: Box::new(properties),
        needs_format: Arc::clone(needs_format),
    };
    cluster.add_server(&member.host(), server)
}

/// Loopback is as it is.
pub(super) fn settle_network(_: &World, _: &Plan) {}

/// Disks are as they are.
pub(super) fn settle(_: &World, _: &Plan, _: NodeId) {}

/// What is drawn here is drawn once: there is nothing to begin anew.
pub(super) fn reseed_at(_: &World, _: SimTime, _: u64) {}

/// Real runs go on to their end.
pub(super) async fn halted(_: &Stage) {
    std::future::pending().await
}

/// Whether a fault puts no acknowledged record at stake: what may take a copy away waits until every copy is in sync.
pub(super) fn may(stage: &Stage, fault: Fault, _: NodeId) -> bool {
    match fault {
        Fault::Shutdown | Fault::Isolate | Fault::Fill | Fault::Clock => true,
        Fault::Kill
        | Fault::PowerLoss
        | Fault::Wipe
        | Fault::Unregister
        | Fault::FailWrite
        | Fault::FailSync
        | Fault::Rot => stage.is_whole(None).is_ok(),
    }
}

/// Whom a core can do without: nobody, for a scenario that asks for that is refused.
pub(super) fn left_out(_: &Stage, _: Vec<NodeId>, _: usize) -> BTreeSet<NodeId> {
    BTreeSet::new()
}

/// What a fault on these nodes together puts at stake; `None` where it is tolerable.
pub(super) fn at_stake(stage: &Stage, fault: Fault, nodes: &[NodeId]) -> Option<String> {
    let is_safe = nodes.iter().all(|node| may(stage, fault, *node));
    (!is_safe).then(|| "an acknowledged record".to_owned())
}

// ── What is seen and heard ─────────────────────────────────────────────────────────────────────────────────────────────

/// The clients start now: tells whoever watches, and again and again how far the run is.
pub(super) fn watch(world: &Arc<World>, plan: &Arc<Plan>) {
    world.say(&format!("the cluster is up, and the clients work for {}", plan.run_for));
    let (world, plan) = (Arc::downgrade(world), Arc::clone(plan));
    super::stage::spawn(async move {
        let mut passed = Duration::ZERO;
        loop {
            let Some(now) = world.upgrade() else { return };
            now.sleep(TELL_EVERY).await;
            passed += TELL_EVERY;
            let seconds = passed.as_secs();
            if passed < plan.run_for.as_duration() {
                now.say(&format!("{seconds}s of {}", plan.run_for));
            } else {
                now.say(&format!("{seconds}s: the clients close, and everything is read"));
            }
        }
    });
}

/// An event of the testbed happened: tells whoever watches.
pub(super) fn show(world: &World, event: &Event) {
    let Event { at, who, kind, note, .. } = event;
    world.say(&format!("{} {who} {kind} {note}", show_time(*at)));
}

impl EventSink for Ears {
    fn observation(&self, at: SimTime, node: NodeId, boot: Boot, observation: &Observation) {
        self.look(at, node, observation);
        self.oracle.observation(at, node, boot, observation);
    }

    fn world(&self, at: SimTime, event: &WorldEvent) {
        let (node, turn, words) = match event {
            WorldEvent::Started { node, .. } => (*node, Some(NodeTurn::Started), None),
            WorldEvent::Killed { node } => (*node, Some(NodeTurn::Ended), None),
            WorldEvent::Paused { node } => (*node, Some(NodeTurn::Paused), None),
            WorldEvent::Resumed { node } => (*node, Some(NodeTurn::Resumed), None),
            WorldEvent::Ended { node, end } => {
                let words = match end {
                    ProcessEnd::Clean => "in good order".to_owned(),
                    ProcessEnd::Failed(reason) => reason.clone(),
                };
                (*node, Some(NodeTurn::Ended), Some(words))
            }
            WorldEvent::Panicked { node, message } => {
                (*node, Some(NodeTurn::Ended), Some(format!("panicked: {message}")))
            }
        };
        if let Some(turn) = turn {
            self.turn(at, node, turn);
        }
        self.oracle.world(at, event);
        let who = self.recorder.who(node.0);
        let kind = match (&who, event) {
            // The testbed's own clients are not in the story.
            (Who::Testbed, _) => return,
            (Who::Client { .. }, WorldEvent::Started { .. }) => "client.started",
            (Who::Client { .. }, _) => "client.stopped",
            (Who::Broker(_) | Who::Controller(_), _) => "node.ended",
        };
        // The timeline tells what is done to nodes, with the words of the file.
        if words.is_some() || kind == "client.started" {
            let event = Event::new(self.recorder.time(at.nanos()), who, kind);
            self.recorder.record(event.note(words.unwrap_or_default()));
        }
    }
}

#[cfg(test)]
mod tests {
    use ottla::types::{Acks, Offset, PartitionIndex, TopicPartition};

    use super::*;
    use crate::history::{FINAL_READER, History, Outcome, Poll, Read, SendId, Sent};
    use crate::scenario::Scenario;
    use crate::scenario::duration::Span;

    /// A run of which clients tell `records`: each with whether it was acknowledged and whether the last reader found it.
    fn run_of(records: &[(bool, bool)]) -> SeedRun {
        let text = "claim = \"x\"\nrun-for = \"9s\"\n[topics.orders]\npartitions = 1\n\
                    [[expect]]\nthat = \"acked-lost\"\nis = 0\n";
        let scenario = Scenario::load("s.toml", text, &[]).unwrap();
        let scenario = Arc::new(scenario);
        let plan = Arc::new(scenario.plan(None, 1));
        let job = Job { scenario, variant: None, seed: 1, is_recording: false, keeps_all: false };
        let partition =
            TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(0) };
        let at = |index: usize| Offset::new(i64::try_from(index).unwrap());
        let mut history = History { final_read_complete: true, ..History::default() };
        for (index, (is_acked, _)) in records.iter().enumerate() {
            let reason = String::new();
            history.sent.push(Sent {
                id: SendId(index as u64),
                client: "writer/0".into(),
                incarnation: 1,
                partition: Some(partition.clone()),
                key: None,
                acks: Acks::All,
                is_idempotent: true,
                is_ordered: true,
                sent_at: SimTime(1),
                done_at: Some(SimTime(2)),
                outcome: if *is_acked {
                    Outcome::Acked { offset: Some(at(index)) }
                } else {
                    Outcome::Unknown { error: None, reason }
                },
            });
        }
        let found = records.iter().enumerate().filter(|(_, (_, is_found))| *is_found);
        let read = |(index, _)| Read {
            partition: partition.clone(),
            offset: at(index),
            id: Some(SendId(index as u64)),
            content: index as u64,
        };
        history.polls.push(Poll {
            client: FINAL_READER.into(),
            at: SimTime(3),
            records: found.map(read).collect(),
            repositioned: vec![partition.clone()],
            seeks: Vec::new(),
        });
        let ears = Ears::new();
        let (end, trace_hash) = (SimTime(4), String::new());
        let seen =
            findings::Seen { end, frames: 0, marks: Vec::new(), trace_hash, trace_entries: 0 };
        let finished = Finished {
            violations: Vec::new(),
            fired: Vec::new(),
            unfired: Vec::new(),
            converged_after: Some(Span::from_secs(1)),
            not_converged: None,
            impossible: None,
            views: None,
        };
        findings::Findings { job: &job, plan: &plan, ears: &ears, history: &history, seen }
            .judge(finished)
    }

    #[test]
    fn a_real_run_that_lost_an_acknowledged_record_is_red() {
        let green = run_of(&[(true, true), (true, true), (false, false)]);
        assert!(!green.is_red(), "{:?}", green.violations);
        let red = run_of(&[(true, true), (true, false), (false, false)]);
        let checks: Vec<&str> = red.violations.iter().map(|violation| violation.check).collect();
        assert_eq!(checks, ["lost-write", "unseen"]);
        assert_eq!(red.missed(), [0], "the expectation is missed too");
    }
}
