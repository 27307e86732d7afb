//! `cargo sim replay FILE --until T --state NODE`: what a node was at a moment of a kept run.

use std::time::Duration;

use super::repro::Repro;
use super::run::job;
use super::{ReplayArgs, Stop, print};
use crate::run::{Job, StateAt, run_once, state_at};
use crate::scenario::duration::Span;
use crate::scenario::plan::{Action, Plan};
use crate::scenario::target::{FORMS, Target};
use crate::verdict::{SeedRun, show_time};

/// Prints the state of a node at a moment. What else the run shows by then stands above it.
pub(super) fn state(args: &ReplayArgs, until: Duration, node: &str) -> Result<u8, Stop> {
    let until = Span::from_nanos(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX));
    let repro = Repro::read(&args.file)?;
    let job = job(&repro.load(&repro.resolved)?, None, repro.seed, false);
    let plan = job.scenario.plan(None, job.seed);
    let target = target_of(node).filter(|target| is_known(&plan, target));
    let target = target.ok_or_else(|| unknown(&plan, node))?;
    // The whole run first: whether it is the one that was kept, and where what is asked for stands in it.
    let (whole, _) = run_once(&job);
    let found = state_at(&job, until, &target)
        .map_err(|reason| Stop::bad_input(format!("{}: {reason}", args.file.display())))?;
    print(&headline(&job, &whole, &repro));
    print(&text(&found, until));
    Ok(0)
}

fn headline(job: &Job, whole: &SeedRun, repro: &Repro) -> String {
    let mut out = format!("━━ {}, seed {}\n", job.scenario.name, job.seed);
    if whole.trace_hash != repro.trace {
        out.push_str(&format!(
            "   Another trace than when it was kept (at commit {}): this is what this build does under the same seed.\n",
            repro.commit
        ));
    }
    if let Some(first) = whole.violations.first() {
        let words = format!("{} at {}", first.check, show_time(first.at));
        out.push_str(&format!(
            "   What goes wrong first in the whole run: {words}: {}\n",
            first.what
        ));
    }
    out
}

/// The state as a person reads it.
fn text(found: &StateAt, asked: Span) -> String {
    let mut out = String::new();
    if found.is_end {
        out.push_str(&format!(
            "   The run ended at {}, before {asked}: this is its end.\n",
            show_time(found.at)
        ));
    }
    for (name, rows) in &found.nodes {
        out.push_str(&format!("\n   {name} at {}\n", show_time(found.at)));
        out.extend(rows.iter().map(|row| format!("{}\n", format!("     {row}").trim_end())));
    }
    out
}

/// A node as the story names it (`broker 2`, `controller 1`), or as files do.
fn target_of(node: &str) -> Option<Target> {
    let number = |word: &str| node.trim().strip_prefix(word)?.trim().parse().ok();
    number("broker ")
        .map(Target::Broker)
        .or_else(|| number("controller ").map(Target::ControllerNumber))
        .or_else(|| Target::parse(node.trim()).ok())
}

/// Whether a run of this plan can have such a one. What a target means is found out at its moment.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others are roles: there always is somebody in them"
)]
fn is_known(plan: &Plan, target: &Target) -> bool {
    match target {
        Target::Broker(id) => (1..=plan.brokers_ever()).contains(id),
        Target::ControllerNumber(number) => (1..=plan.cluster.voters()).contains(number),
        Target::Client { workload, index } => *index < clients(plan, workload),
        Target::Coordinator(group) => plan.groups().contains_key(group.as_str()),
        Target::Clients { workload } => plan.workloads.contains_key(workload),
        // Only a step can keep one under a name, and it is kept when the step is done.
        Target::Saved(name) => plan.timeline.iter().any(|step| step.save_as.as_ref() == Some(name)),
        _ => true,
    }
}

/// How many clients of a workload there will be at most.
fn clients(plan: &Plan, workload: &str) -> u32 {
    let of = plan.workloads.get(workload).map_or(0, |of| of.clients);
    let adds =
        |action: &Action| matches!(action, Action::AddClient { workload: to } if to == workload);
    let added = plan.timeline.iter().filter(|step| adds(&step.action)).count();
    of.saturating_add(u32::try_from(added).unwrap_or(u32::MAX))
}

fn unknown(plan: &Plan, node: &str) -> Stop {
    let brokers = (1..=plan.brokers_ever()).map(|id| format!("broker {id}"));
    let controllers = (1..=plan.cluster.controllers_apart()).map(|id| format!("controller {id}"));
    let clients = plan.workloads.keys().flat_map(|workload| {
        (0..clients(plan, workload)).map(move |index| format!("{workload}/{index}"))
    });
    let known: Vec<String> = brokers.chain(controllers).chain(clients).collect();
    let roles = FORMS
        .iter()
        .map(|(form, _)| (*form).to_owned())
        .filter(|form| form.contains("(orders") || form.contains("active"));
    let groups = plan.groups().into_keys().map(|group| Target::Coordinator(group.into()));
    let roles: Vec<String> = roles.chain(groups.map(|target| target.to_string())).collect();
    Stop::bad_input(format!(
        "--state: `{node}` is nobody of this run: known are {}; or who it was at that moment: {}",
        known.join(", "),
        roles.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let text = r#"{ "claim": "x", "run-for": "1s", "topics": { "orders": {} },
            "cluster": { "controllers": 3, "brokers": 2 },
            "workloads": {
                "writer": { "kind": "producer", "topic": "orders", "clients": 2 },
                "billing": { "kind": "consumer", "topic": "orders", "group": "bills" } } }"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn nodes_are_named_as_the_story_does_or_as_files_do() {
        let known = |name: &str| target_of(name).filter(|target| is_known(&plan(), target));
        assert_eq!(known("broker 2"), Some(Target::Broker(2)));
        assert_eq!(known("brokers(2)"), Some(Target::Broker(2)));
        assert_eq!(known("controller 3"), Some(Target::ControllerNumber(3)));
        assert!(known("writer/1").is_some() && known("leader(orders-0)").is_some());
        assert!(known("coordinator(group:bills)").is_some());
        assert_eq!(known("coordinator(group:billing)"), None);
        for wrong in ["broker 3", "broker", "controller 4", "writer/2", "reader/0", "$victim", ""] {
            assert_eq!(known(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn who_is_not_known_is_told_who_is() {
        let stop = unknown(&plan(), "broker 9");
        assert_eq!(stop.exit_code, 2);
        assert!(
            stop.message.contains(
                "broker 1, broker 2, controller 1, controller 2, controller 3, billing/0, writer/0, \
                 writer/1; or"
            ),
            "{}",
            stop.message
        );
        assert!(
            stop.message.ends_with("preferred(orders-0), coordinator(group:bills)"),
            "{}",
            stop.message
        );
    }

    #[test]
    fn a_moment_after_the_end_is_said_to_be_that() {
        let nodes = vec![("broker 1".to_owned(), vec!["process      runs".to_owned()])];
        let found = StateAt { at: Span::from_secs(9), is_end: true, nodes };
        expect_test::expect![[r#"
            state:
               The run ended at 9.000s, before 20s: this is its end.

               broker 1 at 9.000s
                 process      runs
        "#]]
        .assert_eq(&format!("state:\n{}", text(&found, Span::from_secs(20))));
    }
}
