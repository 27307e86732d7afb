//! The steps of a scenario: each waits for its moment, finds out who its target is then, and does what it says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ottla::runtime::watch;
use rand::rngs::StdRng;
use serde_json::{Map, Value};
use tokio::task::JoinHandle;

use super::faults::{Doing, Undo};
use super::node::Member;
use super::shapes;
use super::stage::{Stage, spawn};
use crate::event::{Moment, Who};
use crate::scenario::draw::rng_of;
use crate::scenario::duration::Span;
use crate::scenario::plan::{Action, Cut, Step};
use crate::scenario::target::Group;
use crate::verdict::Fired;

/// Steps under way.
pub(super) struct Timeline {
    stage: Arc<Stage>,
    tasks: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

struct Shared {
    /// The steps as their file has them, draws resolved: what fixed steps are made from.
    resolved: Vec<Value>,
    /// When each step was done, for those that come after it.
    done: Vec<watch::Sender<bool>>,
    ids: BTreeMap<String, usize>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    fired: Vec<Fired>,
    /// Why a step that had its moment did nothing.
    idle: BTreeMap<usize, String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics with the timeline locked")
    }
}

/// Lets every step wait for its moment.
pub(super) fn start(stage: &Arc<Stage>, resolved: &Value) -> Timeline {
    let steps = &stage.plan.timeline;
    let raw = resolved.get("timeline").and_then(Value::as_array).cloned().unwrap_or_default();
    let ids = steps.iter().enumerate().filter_map(|(index, step)| Some((step.id.clone()?, index)));
    let shared = Arc::new(Shared {
        resolved: raw,
        done: steps.iter().map(|_| watch::channel(false).0).collect(),
        ids: ids.collect(),
        state: Mutex::new(State::default()),
    });
    // Asked for before anything runs: an event must not slip by.
    let tasks = (0..steps.len()).map(|index| {
        let (stage, shared) = (Arc::clone(stage), Arc::clone(&shared));
        let event = stage.plan.timeline[index].when.clone().map(|when| stage.recorder().wait(when));
        spawn(async move { step(&stage, &shared, index, event).await })
    });
    let tasks = tasks.collect();
    Timeline { stage: Arc::clone(stage), tasks, shared }
}

impl Timeline {
    /// The run is over: what has not happened will not. Returns the steps that were done, and those whose moment never came.
    pub(super) fn end(self) -> (Vec<Fired>, Vec<String>) {
        for task in &self.tasks {
            task.abort();
        }
        let mut state = self.shared.lock();
        let mut fired = std::mem::take(&mut state.fired);
        fired.sort_by_key(|fired| (fired.at, fired.step));
        let steps = self.stage.plan.timeline.iter().enumerate();
        let unfired = steps.filter(|(index, _)| fired.iter().all(|fired| fired.step != *index));
        let unfired = unfired.map(|(index, step)| {
            let words = format!("{} ({})", step.label(index), step.action.name());
            match state.idle.get(&index) {
                Some(reason) => format!("{words}: {reason}; it"),
                None => words,
            }
        });
        let unfired = unfired.collect();
        drop(state);
        (fired, unfired)
    }
}

type EventWait = tokio::sync::oneshot::Receiver<Moment>;

async fn step(stage: &Arc<Stage>, shared: &Arc<Shared>, index: usize, event: Option<EventWait>) {
    let step = &stage.plan.timeline[index];
    if wait_for_moment(stage, shared, step, event).await.is_none() {
        return;
    }
    stage.world().sleep(step.delay.as_duration()).await;
    if step.action.is_fault() && stage.is_healed() {
        shared.lock().idle.insert(index, "its moment came after everything was healed".into());
        return;
    }
    match perform(stage, shared, index, step).await {
        Ok(()) => drop(shared.done[index].send_replace(true)),
        Err(reason) => {
            stage.record(Who::Testbed, "step.idle", format!("{}: {reason}", step.label(index)));
            shared.lock().idle.insert(index, reason);
        }
    }
}

async fn wait_for_moment(
    stage: &Arc<Stage>,
    shared: &Shared,
    step: &Step,
    event: Option<EventWait>,
) -> Option<()> {
    if let Some(at) = step.at {
        let now = stage.time();
        let wait = at.nanos().saturating_sub(now.nanos());
        stage.world().sleep(Duration::from_nanos(wait)).await;
    }
    if let Some(id) = &step.after {
        let before = *shared.ids.get(id).expect("the scenario was checked");
        let mut done = shared.done[before].subscribe();
        done.wait_for(|done| *done).await.ok()?;
    }
    match event {
        Some(event) => event.await.ok().map(drop),
        None => Some(()),
    }
}

/// Does a step, tells the story, and keeps it as a fixed step.
async fn perform(
    stage: &Arc<Stage>,
    shared: &Shared,
    index: usize,
    step: &Step,
) -> Result<(), String> {
    let pointer = format!("/timeline/{index}");
    let at = stage.time();
    let meant = Meant::find(stage, step, &pointer, &mut rng_of(stage.world().seed(), &pointer))?;
    let at_stake = meant.at_stake(stage, &step.action);
    let done = meant.act(stage, step, &pointer).await?;
    if let Some(name) = &step.save_as
        && let Some((_, who)) = done.meant.subjects.first()
    {
        stage.save(name, who.clone());
    }
    let fixed = done.fixed(shared.resolved.get(index), at);
    let fired =
        fixed.into_iter().map(|fixed| Fired { step: index, at, fixed, at_stake: at_stake.clone() });
    shared.lock().fired.extend(fired);
    if let (Some(lasts), Some(undo)) = (step.lasts, done.undo) {
        end_later(stage, step, lasts, undo, done.who);
    }
    Ok(())
}

/// A step that was done.
pub(super) struct Done {
    /// Whom it was done to.
    meant: Meant,
    /// How it ends.
    pub(super) undo: Option<Undo>,
    /// The first whom it was done to.
    pub(super) who: Who,
    /// What the seed drew of it besides its targets.
    drawn: Map<String, Value>,
}

/// Whom a step means at its moment.
pub(super) struct Meant {
    /// Those of each target, with the key that it stands under.
    pub(super) subjects: Vec<(String, Vec<Who>)>,
    /// Who is cut off from whom, where a cut has a shape.
    pub(super) shaped: Option<Vec<(Who, Who)>>,
}

impl Meant {
    /// Finds out whom a step means now.
    ///
    /// Errors: why it means nobody.
    pub(super) fn find(
        stage: &Stage,
        step: &Step,
        pointer: &str,
        rng: &mut StdRng,
    ) -> Result<Self, String> {
        let mut subjects = Vec::new();
        for (key, target) in step.action.targets() {
            let who = if pointer.starts_with("/chaos") {
                stage.resolve_by(target, rng)?
            } else {
                // By the target's own place: what one target draws does not change what another means.
                stage.resolve(target, &format!("{pointer}/{key}"))?
            };
            subjects.push((key.clone(), who));
        }
        let shaped = shape_of(stage, step, rng)?;
        Ok(Self { subjects, shaped })
    }

    /// What would be at stake if it were done to them now; `None` where no acknowledged record would.
    pub(super) fn at_stake(&self, stage: &Stage, action: &Action) -> Option<String> {
        let nodes = self.subjects.iter().flat_map(|(_, who)| who);
        let nodes: Vec<&Who> = nodes.filter(|who| Member::of(who).is_some()).collect();
        stage.at_stake(action, &nodes)
    }

    /// Does the step to them.
    ///
    /// Errors: why it cannot be done now.
    pub(super) async fn act(
        self,
        stage: &Arc<Stage>,
        step: &Step,
        pointer: &str,
    ) -> Result<Done, String> {
        let shaped = self.shaped.as_deref();
        let drawn = Mutex::default();
        let doing = Doing { stage, step, pointer, subjects: &self.subjects, shaped, drawn };
        let undo = doing.act().await?;
        let who = doing.first_subject();
        let drawn = doing.drawn.into_inner().expect("held for moments");
        Ok(Done { meant: self, undo, who, drawn })
    }
}

fn shape_of(
    stage: &Stage,
    step: &Step,
    rng: &mut StdRng,
) -> Result<Option<Vec<(Who, Who)>>, String> {
    let Action::Partition { cut: Cut { shape: Some(shape), among, .. } } = &step.action else {
        return Ok(None);
    };
    let nodes = match among {
        Some(target) => stage.resolve_by(target, rng)?,
        None => stage.group(Group::Nodes),
    };
    Ok(Some(shapes::pairs(*shape, &nodes, rng)))
}

impl Done {
    /// The step as it was done: at a fixed time, to fixed targets. A target that meant several becomes a step for each.
    pub(super) fn fixed(&self, raw: Option<&Value>, at: Span) -> Vec<Value> {
        let Some(Value::Object(raw)) = raw else { return Vec::new() };
        let mut fixed = raw.clone();
        for key in ["id", "at", "after", "when", "delay", "every", "comes", "pace"] {
            fixed.shift_remove(key);
        }
        fixed.insert("at".into(), Value::from(at.exact()));
        fixed.extend(self.drawn.clone());
        if let Some(pairs) = &self.meant.shaped {
            return pairs.iter().map(|pair| fixed_pair(&fixed, pair)).collect();
        }
        let mut steps = vec![fixed];
        for (key, who) in &self.meant.subjects {
            steps = steps.iter().flat_map(|step| for_each(step, key, who)).collect();
        }
        // Expectations may name what was kept: the first that the target meant keeps the name.
        for step in steps.iter_mut().skip(1) {
            step.shift_remove("save-as");
        }
        steps.into_iter().map(Value::Object).collect()
    }
}

fn fixed_pair(step: &Map<String, Value>, (one, other): &(Who, Who)) -> Value {
    let mut step = step.clone();
    step.shift_remove("shape");
    step.shift_remove("among");
    step.insert("between".into(), Value::from(vec![target_of(one), target_of(other)]));
    Value::Object(step)
}

/// A step for each of those whom the target at `key` meant.
fn for_each(step: &Map<String, Value>, key: &str, who: &[Who]) -> Vec<Map<String, Value>> {
    let (field, side) = key.split_once('/').unwrap_or((key, ""));
    let one = |who: &Who| {
        let mut step = step.clone();
        let target = Value::from(target_of(who));
        match (step.get_mut(field), side.parse::<usize>()) {
            (Some(Value::Array(sides)), Ok(side)) if side < sides.len() => sides[side] = target,
            _ => drop(step.insert(field.into(), target)),
        }
        step
    };
    who.iter().map(one).collect()
}

/// Somebody as files write him.
pub(super) fn target_of(who: &Who) -> String {
    match who {
        Who::Broker(id) => format!("brokers({id})"),
        Who::Controller(number) => format!("controllers({number})"),
        Who::Client { .. } | Who::Testbed => who.to_string(),
    }
}

/// Ends a fault after a while, where everything is not healed before.
fn end_later(stage: &Arc<Stage>, step: &Step, lasts: Span, undo: Undo, who: Who) {
    let stage = Arc::clone(stage);
    let words = step.action.name();
    spawn(async move {
        stage.world().sleep(lasts.as_duration()).await;
        if !stage.is_healed() {
            undo(&stage);
            stage.record(who, "fault.ended", words.into());
        }
    });
}
