//! A storm: each of its faults comes again and again, at times and on nodes that the seed draws, or at the moment of an event.
//! What would break a guard of the plan is passed over.

mod guards;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::stage::{LOOK_EVERY, Stage, spawn};
use super::timeline::Meant;
use crate::event::{Moment, Who};
use crate::scenario::draw::rng_of;
use crate::scenario::duration::Span;
use crate::scenario::plan::{Action, ChaosFault, ChaosPlan, EVENT, Step, When};
use crate::verdict::Fired;
use guards::Troubles;

/// Where the faults stand in a scenario.
const FAULTS: &str = "/chaos/faults";

/// How much rarer or more frequent a swarm lets a fault come, in percent of its `every`.
const SWARM_PACE: std::ops::RangeInclusive<u64> = 40..=250;

/// A storm under way.
pub(super) struct Storm {
    stage: Arc<Stage>,
    tasks: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

struct Shared {
    /// The faults as their file has them, draws resolved: what fixed steps are made from.
    raw: Vec<Value>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    fired: Vec<Fired>,
    troubles: Troubles,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics with the storm locked")
    }
}

/// A fault of the storm, as a seed has drawn it.
#[derive(Clone, Copy)]
struct Drawn {
    index: usize,
    /// In percent of the plan's.
    pace: u64,
}

/// Lets the storm come, where the plan has one.
pub(super) fn start(stage: &Arc<Stage>, resolved: &Value) -> Storm {
    let raw = resolved.pointer(FAULTS).and_then(Value::as_array).cloned();
    let shared =
        Arc::new(Shared { raw: raw.unwrap_or_default(), state: Mutex::new(State::default()) });
    let mut tasks = Vec::new();
    if let Some(chaos) = &stage.plan.chaos {
        let drawn = draw(chaos, stage.plan.seed);
        if chaos.swarm {
            stage.record(Who::Testbed, "storm.drawn", words_of(chaos, &drawn));
            if !stage.plan.drawn.is_empty() {
                stage.record(Who::Testbed, "storm.drawn", stage.plan.drawn.join(", "));
            }
        }
        for one in drawn {
            let (stage, shared) = (Arc::clone(stage), Arc::clone(&shared));
            tasks.push(spawn(async move { again_and_again(&stage, &shared, one).await }));
        }
    }
    Storm { stage: Arc::clone(stage), tasks, shared }
}

impl Storm {
    /// The run is over. Returns the faults that came, and words for a storm that never did.
    pub(super) fn end(self) -> (Vec<Fired>, Vec<String>) {
        for task in &self.tasks {
            task.abort();
        }
        let fired = std::mem::take(&mut self.shared.lock().fired);
        let is_idle = self.stage.plan.chaos.is_some() && fired.is_empty();
        (fired, is_idle.then(|| "any fault of the storm".to_string()).into_iter().collect())
    }
}

/// Which faults come, and how often: as the file says, or else what the seed draws in a swarm. What the file says of one fault
/// changes nothing of what is drawn for the others.
fn draw(chaos: &ChaosPlan, seed: u64) -> Vec<Drawn> {
    let mut rng = rng_of(seed, "/chaos/swarm");
    let mut one = |(index, fault): (usize, &ChaosFault)| {
        let (is_in, pace) = if chaos.swarm {
            (rng.random_range(0..2) == 0, rng.random_range(SWARM_PACE))
        } else {
            (true, 100)
        };
        (fault.comes.unwrap_or(is_in), Drawn { index, pace: fault.pace.unwrap_or(pace) })
    };
    let mut drawn: Vec<(bool, Drawn)> = chaos.faults.iter().enumerate().map(&mut one).collect();
    if drawn.iter().all(|(is_in, _)| !is_in) {
        let at = rng.random_range(0..drawn.len());
        // A file that lets none come has asked for none.
        drawn[at].0 = chaos.faults[at].comes.is_none();
    }
    drawn.into_iter().filter(|(is_in, _)| *is_in).map(|(_, drawn)| drawn).collect()
}

fn words_of(chaos: &ChaosPlan, drawn: &[Drawn]) -> String {
    let one = |drawn: &Drawn| {
        let name = chaos.faults[drawn.index].action.name();
        format!("{FAULTS}/{} {name} at {} % of its times", drawn.index, drawn.pace)
    };
    drawn.iter().map(one).collect::<Vec<_>>().join(", ")
}

async fn again_and_again(stage: &Arc<Stage>, shared: &Arc<Shared>, drawn: Drawn) {
    let Some(chaos) = &stage.plan.chaos else { return };
    let fault = &chaos.faults[drawn.index];
    let until = chaos.until.unwrap_or(stage.plan.heal_at());
    let pointer = format!("{FAULTS}/{}", drawn.index);
    let mut seed = stage.plan.seed;
    let mut rng = rng_of(seed, &pointer);
    stage.world().sleep(chaos.from.as_duration()).await;
    loop {
        if stage.world().seed() != seed {
            seed = stage.world().seed();
            rng = rng_of(seed, &pointer);
        }
        let wait = fault.every.0.sample(&mut rng).saturating_mul(drawn.pace) / 100;
        stage.world().sleep(Duration::from_nanos(wait.max(1_000_000))).await;
        if let Some(when) = &fault.when {
            let Some(moment) = moment(stage, when).await else { return };
            let delay = fault.delay.as_ref().map_or(0, |delay| delay.0.sample(&mut rng));
            stage.world().sleep(Duration::from_nanos(delay)).await;
            // Asked for below, before anything else can happen.
            stage.save(EVENT, vec![moment.who]);
        }
        if stage.time() >= until || stage.is_healed() {
            return;
        }
        let lasts = fault.lasts.as_ref().map(|lasts| Span::from_nanos(lasts.0.sample(&mut rng)));
        if let Err(reason) = once(stage, shared, fault, (drawn.index, lasts), &mut rng).await {
            let words = format!("{}: {reason}", fault.action.name());
            stage.record(Who::Testbed, "storm.passed", words);
        }
    }
}

/// Waits for an event. `None` where the run ends before; a storm that is over is noticed after it.
async fn moment(stage: &Stage, when: &When) -> Option<Moment> {
    stage.recorder().wait(when.clone()).await.ok()
}

/// Lets a fault come once.
///
/// Errors: why it does not.
async fn once(
    stage: &Arc<Stage>,
    shared: &Arc<Shared>,
    fault: &ChaosFault,
    (index, lasts): (usize, Option<Span>),
    rng: &mut StdRng,
) -> Result<(), String> {
    let pointer = format!("/chaos/faults/{index}");
    let ends_process = ends_process(&fault.action);
    let step = Step {
        id: None,
        at: Some(stage.time()),
        after: None,
        when: None,
        delay: Span::ZERO,
        why: None,
        save_as: None,
        lasts,
        action: fault.action.clone(),
    };
    let meant = Meant::find(stage, &step, &pointer, rng)?;
    let trouble = shared.lock().troubles.admit(stage, &fault.action, &meant)?;
    let at = stage.time();
    let at_stake = meant.at_stake(stage, &step.action);
    let are_clients = ends_process && meant.subjects.iter().flat_map(|(_, who)| who).any(is_client);
    let done = match meant.act(stage, &step, &pointer).await {
        Ok(done) => done,
        Err(reason) => {
            shared.lock().troubles.end(trouble);
            return Err(reason);
        }
    };
    let mut raw = shared.raw.get(index).cloned().unwrap_or_default();
    if let Some(table) = raw.as_object_mut() {
        // A step of a timeline that ends a process has no `for`: its start is a step of its own.
        table.shift_remove("for");
        if let Some(lasts) = lasts.filter(|_| !ends_process && done.undo.is_some()) {
            table.insert("for".into(), Value::from(lasts.exact()));
        }
    }
    let step_number = stage.plan.timeline.len() + index;
    let fixed = done.fixed(Some(&raw), at).into_iter();
    shared.lock().fired.extend(fixed.map(|fixed| Fired {
        step: step_number,
        at,
        fixed,
        at_stake: at_stake.clone(),
    }));
    let Some(lasts) = lasts else { return Ok(()) };
    let (stage, shared) = (Arc::clone(stage), Arc::clone(shared));
    let name = fault.action.name();
    let to_heal = Span::from_nanos(stage.plan.heal_at().nanos().saturating_sub(at.nanos()));
    // Nodes are started when everything heals; clients are not: those that the storm has ended are back by then.
    let lasts = if are_clients { lasts.min(to_heal) } else { lasts };
    spawn(async move {
        stage.world().sleep(lasts.as_duration()).await;
        let fallen = shared.lock().troubles.end(trouble);
        if let Some(undo) = done.undo.filter(|_| !stage.is_healed()) {
            undo(&stage);
            stage.record(done.who, "fault.ended", name.into());
        }
        if ends_process {
            for who in fallen {
                let started = restart(&stage, &who, step_number).await;
                shared.lock().fired.extend(started);
            }
        }
    });
    Ok(())
}

/// Starts somebody whom the storm has ended, where nobody else did.
async fn restart(stage: &Arc<Stage>, who: &Who, step: usize) -> Option<Fired> {
    let node = stage.node(who)?;
    if is_client(who) {
        // One that was asked to stop closes in its own time.
        while stage.cluster.is_running(node) {
            stage.world().sleep(LOOK_EVERY).await;
        }
    } else if stage.is_healed() || stage.cluster.is_running(node) {
        return None;
    }
    if stage.time() >= stage.plan.run_for {
        return None;
    }
    let at = stage.time();
    stage.record(who.clone(), "fault.ended", "start".into());
    stage.start_again(who);
    let target = super::timeline::target_of(who);
    let fixed = serde_json::json!({ "at": at.exact(), "do": "start", "target": target });
    Some(Fired { step, at, fixed, at_stake: None })
}

const fn is_client(who: &Who) -> bool {
    matches!(who, Who::Client { .. })
}

/// Whether what is left after it is a dead process.
const fn ends_process(action: &Action) -> bool {
    matches!(
        action,
        Action::Kill { .. }
            | Action::PowerLoss { .. }
            | Action::Shutdown { .. }
            | Action::KillClient { .. }
            | Action::StopClient { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swarm_draws_some_of_the_faults_and_another_seed_others() {
        let fault = |name: &str| serde_json::json!({ "do": name, "target": "random(nodes)", "every": "5s" });
        let chaos: ChaosPlan = serde_json::from_value(serde_json::json!({
            "swarm": true, "faults": [fault("kill"), fault("pause"), fault("power-loss")],
        }))
        .unwrap();
        let indexes = |seed| draw(&chaos, seed).iter().map(|one| one.index).collect::<Vec<_>>();
        let all: std::collections::BTreeSet<Vec<usize>> = (0..100).map(indexes).collect();
        assert_eq!(all.len(), 7, "every subset but the empty one");
        assert_eq!(indexes(3), indexes(3));
        let tame = ChaosPlan { swarm: false, ..chaos };
        let words = words_of(&tame, &draw(&tame, 1)[..1]);
        assert_eq!(words, "/chaos/faults/0 kill at 100 % of its times");
    }

    /// Its broker is killed whenever it has written something that nobody has copied or been told of.
    #[cfg(madsim)]
    const AT_MOMENTS: &str = r#"
        claim = "Records survive."
        run-for = "30s"
        heal-at = "20s"
        [cluster]
        brokers = 3
        [topics.orders]
        config = { "min.insync.replicas" = 2 }
        [workloads.writer]
        kind = "producer"
        topic = "orders"
        config = { acks = "all" }
        [chaos]
        from = "1s"
        [[chaos.faults]]
        do = "kill"
        target = "$event"
        when = { event = "produce.appended" }
        delay = "1ms"
        every = "3s"
        for = "500ms"
        [[expect]]
        that = "event"
        event = "fault.started"
        is = ">= 2"
        bites = true
    "#;

    #[cfg(madsim)]
    #[test]
    fn a_fault_at_a_moment_strikes_the_node_of_the_event_right_after_it() {
        use crate::run::{Job, run_once};
        use crate::scenario::Scenario;

        let scenario = Arc::new(Scenario::load("x.toml", AT_MOMENTS, &[]).unwrap());
        let job = Job { scenario, variant: None, seed: 1, is_recording: false, keeps_all: true };
        let run = run_once(&job).0;
        assert!(!run.is_red(), "{:?}", run.violations);
        let kills: Vec<_> =
            run.events.iter().filter(|event| event.kind == "fault.started").collect();
        assert!(kills.len() >= 2, "{} kills", kills.len());
        for kill in &kills {
            let moment = run.events.iter().rev().find(|event| {
                // The delay, and the microseconds that the simulator's timers take.
                let since = kill.at.nanos().saturating_sub(event.at.nanos());
                event.kind == "produce.appended"
                    && event.who == kill.who
                    && (1_000_000..1_100_000).contains(&since)
            });
            assert!(moment.is_some(), "{} at {:?}", kill.who, kill.at);
        }
        let fixed: Vec<&Value> = run.fired.iter().map(|fired| &fired.fixed).collect();
        let kill = fixed.iter().find(|fixed| fixed["do"] == "kill").unwrap();
        let target = kill["target"].as_str().unwrap();
        assert!(target.starts_with("brokers("), "a fixed step names its node: {kill}");
        assert!(kill.get("when").is_none() && kill.get("delay").is_none(), "{kill}");
    }

    #[cfg(madsim)]
    #[test]
    fn clients_that_a_storm_has_ended_are_back_when_everything_heals() {
        use crate::run::{Job, run_once};
        use crate::scenario::Scenario;

        for action in ["kill-client", "stop-client"] {
            let text = format!(
                r#"
                claim = "Clients come back."
                run-for = "8s"
                heal-at = "5s"
                [topics.orders]
                [workloads.writer]
                kind = "producer"
                topic = "orders"
                [workloads.reader]
                kind = "consumer"
                topic = "orders"
                [chaos]
                [[chaos.faults]]
                do = "{action}"
                target = "reader/*"
                every = "3s"
                for = "60s"
                [[expect]]
                that = "event"
                event = "fault.started"
                is = 1
                bites = true
                "#
            );
            let scenario = Arc::new(Scenario::load("x.toml", &text, &[]).unwrap());
            let job =
                Job { scenario, variant: None, seed: 1, is_recording: false, keeps_all: true };
            let run = run_once(&job).0;
            assert!(!run.is_red(), "{action}: {:?}", run.violations);
            let is_start = |event: &&crate::event::Event| {
                event.kind == "client.started" && event.who.to_string() == "reader/0"
            };
            let starts: Vec<Span> = run.events.iter().filter(is_start).map(|of| of.at).collect();
            assert!(starts.len() == 2 && starts[1] >= Span::from_secs(5), "{action}: {starts:?}");
        }
    }

    #[test]
    fn what_is_said_of_one_fault_changes_nothing_of_the_others() {
        let fault = |name: &str| serde_json::json!({ "do": name, "target": "random(nodes)", "every": "5s" });
        let plan = |second: &serde_json::Value| -> ChaosPlan {
            serde_json::from_value(serde_json::json!({
                "swarm": true, "faults": [fault("kill"), second, fault("power-loss")],
            }))
            .unwrap()
        };
        let mut said = fault("pause");
        said["comes"] = true.into();
        said["pace"] = 30.into();
        let (said, free) = (plan(&said), plan(&fault("pause")));
        for seed in 0..50 {
            let others = |plan: &ChaosPlan| -> Vec<(usize, u64)> {
                let drawn = draw(plan, seed).into_iter().filter(|one| one.index != 1);
                drawn.map(|one| (one.index, one.pace)).collect()
            };
            let own: Vec<u64> = draw(&said, seed)
                .into_iter()
                .filter(|one| one.index == 1)
                .map(|one| one.pace)
                .collect();
            assert_eq!(own, [30], "seed {seed}");
            if !others(&said).is_empty() {
                assert_eq!(others(&said), others(&free), "seed {seed}");
            }
        }
        let mut none = fault("kill");
        none["comes"] = false.into();
        let none: ChaosPlan =
            serde_json::from_value(serde_json::json!({ "swarm": true, "faults": [none] })).unwrap();
        assert!(draw(&none, 1).is_empty());
    }
}
