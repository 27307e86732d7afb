//! Which steps of the timeline are needed.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::shrink::edit::{self, action, at, steps, targets};
use crate::shrink::{Cut, Search, ddmin};

/// Fewer steps: first a fault together with what ends it, then each step for itself.
pub(super) fn fewer(search: &mut Search<'_>) -> bool {
    let pairs = units(steps(&search.best.scenario));
    let mut any = without(search, &pairs);
    let single: Vec<Vec<usize>> =
        (0..steps(&search.best.scenario).len()).map(|index| vec![index]).collect();
    if single.len() > 1 {
        any |= without(search, &single);
    }
    any
}

fn without(search: &mut Search<'_>, units: &[Vec<usize>]) -> bool {
    let base = search.best.scenario.clone();
    let list = steps(&base).to_vec();
    ddmin::minimize(search, units.len(), |kept| {
        let indexes: BTreeSet<usize> =
            kept.iter().flat_map(|unit| units[*unit].iter().copied()).collect();
        let rest: Vec<Value> = indexes.iter().map(|index| list[*index].clone()).collect();
        let mut scenario = base.clone();
        let what = format!("steps: {} to {}", list.len(), rest.len());
        edit::set_steps(&mut scenario, rest);
        Some(Cut { what, scenario })
    })
}

/// The steps that belong together: those of one fault (the same action at the same moment), and a fault with the step that
/// ends it for the same target.
fn units(steps: &[Value]) -> Vec<Vec<usize>> {
    let mut units: Vec<Vec<usize>> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let is_with = |unit: &&mut Vec<usize>| {
            let first = &steps[unit[0]];
            let is_same_fault =
                at(first).is_some() && at(first) == at(step) && action(first) == action(step);
            let last = unit.last().map(|last| action(&steps[*last]));
            is_same_fault
                || last.is_some_and(|last| ends(action(step), last))
                    && targets(first) == targets(step)
        };
        match units.iter_mut().rev().find(is_with) {
            Some(unit) => unit.push(index),
            None => units.push(vec![index]),
        }
    }
    units
}

/// Whether an action ends what another one began.
fn ends(action: &str, begun: &str) -> bool {
    match action {
        "start" => ["kill", "power-loss", "shutdown", "wipe"].contains(&begun),
        "resume" => begun == "pause",
        "heal" => begun == "partition",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fault_goes_with_its_end_and_the_pairs_of_one_cut_go_together() {
        let step =
            |at: &str, what: &str, target: &str| json!({ "at": at, "do": what, "target": target });
        let cut = |other: &str| json!({ "at": "3s", "do": "partition", "between": ["brokers(1)", other] });
        let timeline = [
            step("1s", "kill", "brokers(1)"),
            step("2s", "power-loss", "brokers(2)"),
            cut("brokers(2)"),
            cut("brokers(3)"),
            step("4s", "start", "brokers(1)"),
            step("5s", "kill", "brokers(1)"),
            step("6s", "start", "brokers(2)"),
        ];
        assert_eq!(units(&timeline), [vec![0, 4], vec![1, 6], vec![2, 3], vec![5]]);
    }
}
