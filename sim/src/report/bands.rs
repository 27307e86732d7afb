//! The faults of a run as bands: what was done to whom, from when to when.
//!
//! Read from the steps as they were done, with every target filled in; that a process stood still or was dead is read from what
//! the world told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::chronicle::{Chronicle, What};
use crate::event::Who;
use crate::scenario::duration::Span;
use crate::scenario::target::Target;
use crate::verdict::SeedRun;
use crate::views::NodeTurn;

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    /// From when on.
    pub from: Span,
    /// Until when; `None` where it has no length.
    pub until: Option<Span>,
    /// The action, in the word of the file.
    pub action: String,
    /// To whom; nobody, where it was done to the network or the cluster as a whole.
    pub who: Vec<Who>,
    /// What else the step says, in the words of the file.
    pub details: String,
    /// Whether it breaks something; a start or a reassignment does not.
    pub is_fault: bool,
}

/// What has a length of its own beside what a step's `for` says.
enum Lasts {
    /// Until the process starts again.
    Dead,
    /// Until it goes on.
    Paused,
    /// Until it is lifted.
    Standing,
    /// It has none.
    Moment,
    /// It ends something, or is a change in good order.
    NoFault,
}

fn lasts(action: &str) -> Lasts {
    match action {
        "kill" | "power-loss" | "shutdown" | "kill-client" => Lasts::Dead,
        "pause" => Lasts::Paused,
        "partition" | "slow-link" | "loss" | "drop-request" | "drop-response" | "delay-request"
        | "delay-response" | "duplicate-request" | "disk-slow" | "disk-full" | "disk-error"
        | "clock-drift" => Lasts::Standing,
        "wipe" | "reset" | "corrupt" | "clock-jump" | "elect-unclean" => Lasts::Moment,
        // Starts, reassignments, marks; and whatever is added later is a line without length.
        _ => Lasts::NoFault,
    }
}

/// What was done in a run, in the order of time.
#[must_use]
pub fn of(run: &SeedRun) -> Vec<Band> {
    let heal_at = run.plan.heal_at();
    let end = end_of(run);
    let mut bands: Vec<(usize, Band)> = Vec::new();
    let mut sides: BTreeMap<usize, [BTreeSet<Who>; 2]> = BTreeMap::new();
    for fired in &run.fired {
        let Some(action) = fired.fixed.get("do").and_then(Value::as_str) else { continue };
        let who = targets(&fired.fixed);
        // A step that meant several was done to each at once.
        let like = bands.iter().rposition(|(step, band)| {
            *step == fired.step && band.from == fired.at && band.action == action
        });
        if fired.fixed.get("between").is_some()
            && let [one, other] = who.as_slice()
        {
            let sides = sides.entry(like.unwrap_or(bands.len())).or_default();
            sides[0].insert(one.clone());
            sides[1].insert(other.clone());
        }
        if let Some(like) = like {
            let band = &mut bands[like].1;
            band.who.extend(who);
            band.who.sort();
            band.who.dedup();
            continue;
        }
        let band = Band {
            from: fired.at,
            until: None,
            action: action.to_owned(),
            who,
            details: details(&fired.fixed),
            is_fault: !matches!(lasts(action), Lasts::NoFault),
        };
        bands.push((fired.step, band));
    }
    let heals: Vec<Span> =
        bands.iter().filter(|(_, band)| band.action == "heal").map(|(_, band)| band.from).collect();
    for (index, (step, band)) in bands.iter_mut().enumerate() {
        if let Some([one, other]) = sides.get(&index) {
            let parts =
                [format!("between {} and {}", names(one), names(other)), band.details.clone()];
            band.details = parts.join(", ").trim_end_matches([',', ' ']).to_owned();
        }
        let asked = run.fired.iter().find(|fired| fired.step == *step && fired.at == band.from);
        let asked = asked.and_then(|fired| Span::parse(fired.fixed.get("for")?.as_str()?).ok());
        let chronicle = &run.stats.chronicle;
        band.until = match lasts(&band.action) {
            Lasts::Dead => Some(turned(chronicle, band, &[NodeTurn::Started]).unwrap_or(end)),
            Lasts::Paused => {
                let turns = [NodeTurn::Resumed, NodeTurn::Ended];
                Some(turned(chronicle, band, &turns).unwrap_or(end))
            }
            Lasts::Standing => {
                let lifted = asked.map(|span| band.from.plus(span));
                // Where two cuts stand and one is healed, the file says which; to the eye the first end is the honest one.
                let is_of_network =
                    !band.action.starts_with("disk") && band.action != "clock-drift";
                let healed = heals.iter().copied().find(|at| is_of_network && *at > band.from);
                let until = [lifted, healed].into_iter().flatten().min().unwrap_or(heal_at);
                Some(until.min(heal_at.max(band.from)))
            }
            Lasts::Moment | Lasts::NoFault => None,
        };
    }
    bands.into_iter().map(|(_, band)| band).collect()
}

/// When the last thing happened.
#[must_use]
pub fn end_of(run: &SeedRun) -> Span {
    let last = run.events.iter().map(|event| event.at).max().unwrap_or_default();
    let last_change = run.stats.chronicle.changes.last().map(|change| change.at);
    last.max(last_change.unwrap_or_default()).max(run.plan.run_for)
}

/// When all of them had made one of these turns after it began: that of the last.
fn turned(chronicle: &Chronicle, band: &Band, turns: &[NodeTurn]) -> Option<Span> {
    let of = |who: &Who| {
        let later = chronicle.changes.iter().filter(|change| change.at > band.from);
        let turn = |what: &What| matches!(what, What::Process(turn) if turns.contains(turn));
        later.filter(|change| change.who == *who).find(|change| turn(&change.what)).map(|c| c.at)
    };
    let all: Option<Vec<Span>> = band.who.iter().map(of).collect();
    all?.into_iter().max()
}

fn names(side: &BTreeSet<Who>) -> String {
    side.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whom a step as it was done names.
fn targets(fixed: &Value) -> Vec<Who> {
    let one = fixed.get("target").and_then(Value::as_str);
    let sides = fixed.get("between").and_then(Value::as_array).into_iter().flatten();
    let named = one.into_iter().chain(sides.filter_map(Value::as_str));
    named.filter_map(who_of).collect()
}

/// Somebody by the name that files give him.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all others were resolved when the step was done"
)]
fn who_of(name: &str) -> Option<Who> {
    match Target::parse(name).ok()? {
        Target::Broker(id) => Some(Who::Broker(id)),
        Target::ControllerNumber(number) => Some(Who::Controller(number)),
        Target::Client { workload, index } => {
            Some(Who::Client { workload: workload.into(), index })
        }
        _ => None,
    }
}

fn details(fixed: &Value) -> String {
    let Some(table) = fixed.as_object() else { return String::new() };
    let said = table.iter().filter(|(key, _)| {
        !["do", "at", "target", "between", "save-as", "why"].contains(&key.as_str())
    });
    let said = said.map(|(key, value)| format!("{key} {}", words(value)));
    said.collect::<Vec<_>>().join(", ")
}

/// A value in the words of a file, without its quotes and braces.
fn words(value: &Value) -> String {
    match value {
        // What was drawn is written to the nanosecond, and nobody reads that.
        Value::String(text) => Span::parse(text).map_or(text.clone(), |span| span.to_string()),
        Value::Array(values) => {
            let is_time =
                |value: &Value| value.as_str().is_some_and(|text| Span::parse(text).is_ok());
            let is_band = values.len() == 2 && values.iter().all(is_time);
            let between = if is_band { " to " } else { ", " };
            values.iter().map(words).collect::<Vec<_>>().join(between)
        }
        Value::Object(table) => {
            let said = table.iter().map(|(key, value)| format!("{key} {}", words(value)));
            said.collect::<Vec<_>>().join(" ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::sample;
    use crate::verdict::Fired;

    fn fired(step: usize, seconds: u64, fixed: Value) -> Fired {
        Fired { step, at: Span::from_secs(seconds), fixed, at_stake: None }
    }

    #[test]
    fn a_band_is_a_step_with_all_it_was_done_to() {
        let mut run = sample::red();
        run.plan = serde_json::from_str(r#"{ "claim": "x", "run-for": "20s", "heal-at": "10s" }"#)
            .unwrap();
        let cut = |one: &str, other: &str| json!({ "do": "partition", "between": [one, other], "for": "1500000001ns" });
        run.fired.extend([
            fired(2, 3, cut("brokers(1)", "brokers(2)")),
            fired(2, 3, cut("brokers(1)", "controllers(1)")),
            fired(3, 4, json!({ "do": "disk-slow", "target": "brokers(2)", "sync": "2s" })),
            fired(4, 5, json!({ "do": "slow-link", "between": ["brokers(1)", "brokers(2)"], "latency": { "lognormal": { "p50": "40000001ns", "p99": "2s" } } })),
            fired(5, 6, json!({ "do": "heal" })),
            fired(6, 7, json!({ "do": "clock-jump", "target": "brokers(2)", "by": "-5s" })),
        ]);
        let told: String = of(&run)
            .iter()
            .map(|band| {
                let who: Vec<String> = band.who.iter().map(ToString::to_string).collect();
                let until = band.until.map_or("-".to_owned(), |until| until.to_string());
                format!(
                    "{} {until} {} [{}] {} {}\n",
                    band.from,
                    band.action,
                    who.join(", "),
                    band.details,
                    band.is_fault
                )
            })
            .collect();
        expect_test::expect![[r#"
            500ms 1500ms kill [broker 1]  true
            1500ms - start [broker 1]  false
            3s 4.500s partition [broker 1, broker 2, controller 1] between broker 1 and broker 2, controller 1, for 1.500s true
            4s 10s disk-slow [broker 2] sync 2s true
            5s 6s slow-link [broker 1, broker 2] between broker 1 and broker 2, latency lognormal p50 0.040s p99 2s true
            6s - heal []  false
            7s - clock-jump [broker 2] by -5s true
        "#]]
        .assert_eq(&told);
    }
}
