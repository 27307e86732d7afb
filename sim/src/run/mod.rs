//! One seed of one scenario, from an empty world to its findings.
//!
//! ```text
//! nodes start ─ topics made ─ clients work ──────────────── run-for ─ clients close ─ a fresh reader reads all ─ findings
//!                               │  safety: faults  │ heal-at: liveness │
//! ```
//!
//! Times of the scenario count from the moment the clients start. What happens is heard by `ears::Ears`, done by
//! `stage::Stage` and `timeline`, and judged by the checkers, the expectations and `findings`.

mod admin;
mod chaos;
mod client;
mod ears;
mod faults;
mod findings;
mod groups;
mod moves;
mod node;
mod possible;
mod reset;
mod resolve;
mod shapes;
mod stage;
mod supervisor;
mod timeline;

// What differs between the worlds: how nodes come into them, what can be done to them, what is heard of it.
#[cfg(not(madsim))]
#[path = "real/mod.rs"]
mod here;
#[cfg(madsim)]
#[path = "simulated/mod.rs"]
mod here;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::checker::liveness::Missing;
use crate::chunks::Chunks;
use crate::event::{Event, Who};
use crate::history::SharedHistory;
use crate::scenario::duration::Span;
use crate::scenario::plan::Heal;
use crate::scenario::{Plan, Scenario};
use crate::stats::LastViews;
use crate::verdict::{Fired, VariantRun, Violation};
use crate::world::{SimTime, World};
use ears::Ears;
pub use here::*;
use stage::{LOOK_EVERY, Stage};

/// How long the nodes may take to start and make the topics: ten times what real ones need.
const SETUP_WITHIN: Duration = Duration::from_secs(60);

/// What to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// Its variant; `None` is the file as it stands.
    pub variant: Option<String>,
    /// The seed.
    pub seed: u64,
    /// Whether to keep the trace's entries, to name the first that differs.
    pub is_recording: bool,
    /// Whether to keep everything that happened, failing or not.
    pub keeps_all: bool,
}

impl Job {
    /// The result of its variant, before any seed.
    #[must_use]
    pub fn variant_run(&self) -> VariantRun {
        let scenario = &self.scenario;
        VariantRun {
            scenario: scenario.name.clone(),
            path: scenario.path.clone(),
            variant: self.variant.clone(),
            claim: scenario.claim_of(self.variant.as_deref()).to_string(),
            settings: scenario.settings.clone(),
            seeds: Vec::new(),
        }
    }

    /// What messages call it.
    #[must_use]
    pub fn label(&self) -> String {
        let variant = self.variant.as_ref().map_or_else(String::new, |name| format!(" [{name}]"));
        format!("{}{variant}, seed {}", self.scenario.name, self.seed)
    }
}

/// What the main future of a world returns.
#[derive(Default)]
struct Finished {
    violations: Vec<Violation>,
    fired: Vec<Fired>,
    unfired: Vec<String>,
    converged_after: Option<Span>,
    not_converged: Option<String>,
    /// Why it could not, where that is certain: then it is no violation.
    impossible: Option<String>,
    /// The cluster as its nodes knew it; `None` where it never came up.
    views: Option<LastViews>,
}

/// The testbed's own code failed: told like a violation, because the run proves nothing.
fn testbed_panicked(message: &str) -> Finished {
    let violation = Violation {
        check: "panic",
        at: Span::ZERO,
        node: Some(Who::Testbed),
        partition: None,
        what: "the testbed itself panicked: this is a bug of the testbed".into(),
        evidence: message.lines().map(str::to_string).collect(),
    };
    Finished { violations: vec![violation], ..Finished::default() }
}

/// What a world is given before it begins.
struct Parts {
    plan: Arc<Plan>,
    resolved: Arc<Value>,
    ears: Arc<Ears>,
    history: SharedHistory,
    /// When every draw comes from another seed, and from which.
    reseed: Option<(Span, u64)>,
}

impl Parts {
    async fn run(self, world: Arc<World>) -> (Finished, Vec<&'static str>) {
        let plan = Arc::clone(&self.plan);
        let stage = Stage::new(Arc::clone(&world), self.plan, self.ears, self.history);
        let finished = match stage.set_up(SETUP_WITHIN).await {
            Ok(()) => {
                if let Some((at, seed)) = self.reseed {
                    here::reseed_at(&world, world.now() + at.as_duration(), seed);
                }
                play(&stage, &plan, &self.resolved).await
            }
            Err(reason) => not_set_up(reason),
        };
        // The marks are this thread's: whoever asks later asks another thread.
        (finished, ottla::types::marks_reached().into_iter().collect())
    }
}

fn not_set_up(reason: String) -> Finished {
    let violation = Violation {
        check: "converged",
        at: Span::ZERO,
        node: None,
        partition: None,
        what: "the cluster did not come up, before any fault".into(),
        evidence: vec![reason.clone()],
    };
    Finished { violations: vec![violation], not_converged: Some(reason), ..Finished::default() }
}

/// The two phases, and the end. Where the run is halted, what came until then.
async fn play(stage: &Arc<Stage>, plan: &Plan, resolved: &Value) -> Finished {
    let world = stage.world();
    stage.begin(world.now());
    let timeline = timeline::start(stage, resolved);
    let storm = chaos::start(stage, resolved);
    let mut supervisors = Vec::new();
    let played = or_halted(stage, two_phases(stage, plan, &mut supervisors)).await;
    let (mut fired, mut unfired) = timeline.end();
    let (of_storm, idle) = storm.end();
    fired.extend(of_storm);
    fired.sort_by_key(|fired| (fired.at, fired.step));
    unfired.extend(idle);
    let deadline = world.now() + plan.converge_within.as_duration();
    let outcome = match played {
        Some(()) => or_halted(stage, stage.converge(deadline)).await,
        None => None,
    };
    let Some(outcome) = outcome else {
        supervisors.iter().for_each(JoinHandle::abort);
        return Finished { fired, ..Finished::default() };
    };
    let ended = stage.time();
    stage.check_disks();
    // What waits for what is asked at once: a moment later it may be over.
    let waiting = if outcome.is_ok() { Vec::new() } else { stage.waiting() };
    let impossible = if outcome.is_ok() { None } else { stage.why_impossible() };
    let settled = if outcome.is_ok() { settle(stage, deadline).await } else { Vec::new() };
    let stopped = outcome.iter().flatten().cloned();
    let missing: Vec<Missing> = settled.into_iter().chain(stopped).collect();
    let missing_why = if missing.is_empty() { Vec::new() } else { stage.waiting() };
    if outcome.is_ok() && missing.is_empty() {
        stage.check_end();
    }
    supervisors.iter().for_each(JoinHandle::abort);
    let views = Some(stage.last_views());
    let (converged_after, not_converged) = match outcome {
        Ok(_) => (Some(Span::from_nanos(ended.nanos().saturating_sub(plan.run_for.nanos()))), None),
        Err(reason) => (None, Some(reason)),
    };
    let broken = not_converged.iter().filter(|_| impossible.is_none());
    let violations = broken.map(|reason| Violation {
        check: "converged",
        at: ended,
        node: None,
        partition: None,
        what: format!(
            "{} after the end of the run, with {} healed, not all is well",
            plan.converge_within,
            if plan.heal == Heal::All { "everything" } else { "a core" }
        ),
        evidence: std::iter::once(reason.clone()).chain(waiting.iter().cloned()).collect(),
    });
    let not_come = missing.into_iter().map(|missing| Violation {
        check: missing.check,
        at: ended,
        node: None,
        partition: None,
        what: missing.what,
        evidence: missing_why.clone(),
    });
    let violations = violations.chain(not_come).collect();
    Finished { violations, fired, unfired, converged_after, not_converged, impossible, views }
}

/// `supervisors` watch the nodes from the moment on at which everything is healed.
async fn two_phases(stage: &Arc<Stage>, plan: &Plan, supervisors: &mut Vec<JoinHandle<()>>) {
    let world = stage.world();
    let origin = world.now();
    stage.start_clients();
    world.sleep_until(origin + plan.heal_at().as_duration()).await;
    *supervisors = stage.heal();
    world.sleep_until(origin + plan.run_for.as_duration()).await;
}

/// Waits for `future`, or until what the run is for has been seen: then `None`.
async fn or_halted<T>(stage: &Stage, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = here::halted(stage) => None,
        value = future => Some(value),
    }
}

/// Waits until all that must come about has; says what has not at `deadline`.
async fn settle(stage: &Arc<Stage>, deadline: SimTime) -> Vec<Missing> {
    loop {
        let missing = stage.missing();
        if missing.is_empty() || stage.world().now() >= deadline {
            return missing;
        }
        stage.world().sleep(LOOK_EVERY).await;
    }
}

/// What was told, with the events that only a finished history shows: in the order of time, of one moment what was told first.
fn merge(told: Chunks<Event>, mut more: Vec<Event>) -> Vec<Event> {
    more.sort_by_key(|event| event.at); // stable: those of one moment stay in order
    let mut all = Vec::with_capacity(told.len() + more.len());
    let mut more = more.into_iter().peekable();
    for event in told {
        all.extend(std::iter::from_fn(|| more.next_if(|other| other.at < event.at)));
        all.push(event);
    }
    all.extend(more);
    // Real processes are heard out of turn.
    if !all.is_sorted_by_key(|event| event.at) {
        all.sort_by_key(|event| event.at);
    }
    all
}
