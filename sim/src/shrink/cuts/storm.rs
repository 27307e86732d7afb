//! A storm: turned into the steps that it was in the failing run, or made smaller where that run needs it.

use serde_json::Value;

use crate::shrink::edit::{self, action, at, steps};
use crate::shrink::{Cut, Effort, Failing, Search};

/// The faults that came, as fixed steps, instead of the storm. All draws of the run become others: worth many seeds.
pub(super) fn to_steps(search: &mut Search<'_>) -> bool {
    let best = &search.best;
    if best.scenario.get("chaos").is_none() {
        return false;
    }
    let healed = edit::heal_at(&best.scenario);
    let before_it: Vec<Value> = best
        .of_storm
        .iter()
        .filter(|step| at(step).is_some_and(|at| at <= best.at && at < healed))
        .cloned()
        .collect();
    let mut scenario = best.scenario.clone();
    edit::remove(&mut scenario, "chaos");
    let mut timeline = steps(&scenario).to_vec();
    let count = before_it.len();
    timeline.extend(merged(before_it));
    timeline.sort_by_key(at);
    edit::set_steps(&mut scenario, timeline);
    let what = format!("the storm: its {count} faults as fixed steps");
    search.take(vec![Cut { what, scenario }], Effort::Much).is_some()
}

/// One fault that struck several pairs is a step for each of them: together again, where they are all of a group.
fn merged(steps: Vec<Value>) -> Vec<Value> {
    let mut out: Vec<(Value, Vec<String>)> = Vec::new();
    for step in steps {
        let Some((one, other)) = sides(&step) else {
            out.push((step, Vec::new()));
            continue;
        };
        match out.last_mut() {
            Some((last, others))
                if !others.is_empty() && is_same_but_other_side(last, &step, &one) =>
            {
                if other != one {
                    others.push(other);
                }
            }
            _ if other == one => {} // nobody is cut off from himself
            _ => out.push((step, vec![other])),
        }
    }
    out.into_iter().flat_map(|(step, others)| together(step, others)).collect()
}

fn sides(step: &Value) -> Option<(String, String)> {
    match step.get("between")?.as_array()?.as_slice() {
        [one, other] => Some((one.as_str()?.into(), other.as_str()?.into())),
        _ => None,
    }
}

fn is_same_but_other_side(one: &Value, other: &Value, side: &str) -> bool {
    let without = |step: &Value| {
        let mut step = step.clone();
        edit::remove(&mut step, "between");
        step
    };
    sides(one).is_some_and(|(first, _)| first == side) && without(one) == without(other)
}

/// `others` as one step where there is a word for them; which nodes there are is not known here, so that three are a group only
/// where brokers and voters are both among them.
fn together(step: Value, others: Vec<String>) -> Vec<Value> {
    if others.is_empty() {
        return vec![step];
    }
    let (one, _) = sides(&step).expect("it has others");
    let is_all = |group: &str| {
        others.iter().chain([&one]).filter(|other| other.starts_with(group)).count() >= 3
    };
    let nodes = others
        .iter()
        .all(|other| other.starts_with("brokers(") || other.starts_with("controllers("));
    let with = |other: &str| {
        let mut step = step.clone();
        step["between"] = Value::from(vec![one.clone(), other.to_string()]);
        step
    };
    if nodes && is_all("brokers(") && is_all("controllers(") {
        return vec![with("nodes(*)")];
    }
    others.iter().map(|other| with(other)).collect()
}

/// Where a storm stays: fewer kinds of faults. In a swarm a fault that is told not to come changes nothing of what is drawn for
/// the others; one that is taken out of the list does.
pub(super) fn calmer(best: &Failing) -> Vec<Cut> {
    let Some(faults) = best.scenario.pointer("/chaos/faults").and_then(Value::as_array) else {
        return Vec::new();
    };
    let is_swarm = best.scenario.pointer("/chaos/swarm").and_then(Value::as_bool) == Some(true);
    let comes = |fault: &Value| fault.get("comes").and_then(Value::as_bool) != Some(false);
    let came = |fault: &&Value| {
        comes(fault) && best.of_storm.iter().any(|step| action(step) == action(fault))
    };
    let count = faults.iter().filter(came).count();
    let mut cuts = Vec::new();
    let mut with = |faults: Vec<Value>, what: String| {
        let mut scenario = best.scenario.clone();
        scenario["chaos"]["faults"] = Value::Array(faults);
        cuts.push(Cut { what, scenario });
    };
    for (index, fault) in
        faults.iter().enumerate().filter(|(_, fault)| is_swarm && count > 1 && came(fault))
    {
        let mut quieter = faults.clone();
        quieter[index]["comes"] = Value::from(false);
        with(quieter, format!("the storm: without {}", action(fault)));
    }
    let that_came: Vec<Value> = faults.iter().filter(came).cloned().collect();
    if that_came.len() < faults.len() && !that_came.is_empty() {
        with(that_came, "the storm: without faults that never came".into());
    }
    for index in (0..faults.len()).rev().filter(|_| faults.len() > 1) {
        let mut rest = faults.clone();
        let gone = rest.remove(index);
        with(rest, format!("the storm: without {}", action(&gone)));
    }
    cuts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cut(one: &str, other: &str) -> Value {
        json!({ "do": "partition", "between": [one, other], "at": "1s" })
    }

    #[test]
    fn pairs_that_are_all_nodes_become_one_step() {
        let others =
            ["brokers(2)", "brokers(3)", "controllers(1)", "controllers(2)", "controllers(3)"];
        let mut pairs: Vec<Value> = others.iter().map(|other| cut("brokers(1)", other)).collect();
        pairs.insert(0, cut("brokers(1)", "brokers(1)"));
        assert_eq!(merged(pairs), [cut("brokers(1)", "nodes(*)")]);
    }

    #[test]
    fn other_pairs_stay_as_they_are_but_nobody_is_cut_off_from_himself() {
        let pairs = vec![
            cut("brokers(1)", "brokers(2)"),
            cut("brokers(3)", "brokers(2)"),
            cut("brokers(3)", "brokers(3)"),
        ];
        assert_eq!(merged(pairs.clone()), pairs[..2]);
    }
}
