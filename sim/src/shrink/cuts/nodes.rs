//! How many nodes there are.

use serde_json::Value;

use crate::shrink::edit::{self, number_of, rename_target, steps, targets};
use crate::shrink::{Cut, Failing};

/// Fewer brokers, fewer voters. What is done to nodes that are gone is not done, or is done to others.
pub(super) fn fewer(best: &Failing) -> Vec<Cut> {
    let count =
        |key: &str| best.scenario.pointer(&format!("/cluster/{key}")).and_then(Value::as_u64);
    let mut cuts = Vec::new();
    let groups = [("brokers", count("brokers")), ("controllers", count("controllers"))];
    for (group, now) in groups {
        let Some(now) = now.and_then(|now| u32::try_from(now).ok()) else { continue };
        for fewer in 1..now {
            cuts.push(with(best, group, (now, fewer), true));
            cuts.push(with(best, group, (now, fewer), false));
        }
    }
    cuts
}

/// With `fewer` nodes of a group. `renames`: the nodes that steps name are counted anew, those that come first in them first;
/// else the steps of nodes that are gone go too.
fn with(best: &Failing, group: &str, (now, fewer): (u32, u32), renames: bool) -> Cut {
    let mut scenario = best.scenario.clone();
    scenario["cluster"][group] = Value::from(fewer);
    let mut list = steps(&scenario).to_vec();
    if renames {
        let named = named(&list, group);
        let new = |target: &str| {
            let number = number_of(target, group)?;
            let place = named.iter().position(|known| *known == number)?;
            Some(format!("{group}({})", place + 1))
        };
        list.iter_mut().for_each(|step| rename_target(step, &new));
    }
    let is_gone = |target: &&str| number_of(target, group).is_some_and(|number| number > fewer);
    list.retain(|step| !targets(step).iter().any(is_gone));
    edit::set_steps(&mut scenario, list);
    for topic in scenario.get_mut("topics").and_then(Value::as_object_mut).into_iter().flatten() {
        let factor = topic.1.get("replication-factor").and_then(Value::as_u64);
        if group == "brokers" && factor.is_some_and(|factor| factor > u64::from(fewer)) {
            topic.1["replication-factor"] = Value::from(fewer);
        }
    }
    Cut { what: format!("{group}: {now} to {fewer}"), scenario }
}

/// The numbers of a group that steps name, in the order in which they first do.
fn named(steps: &[Value], group: &str) -> Vec<u32> {
    let mut named = Vec::new();
    for number in steps.iter().flat_map(targets).filter_map(|target| number_of(target, group)) {
        if !named.contains(&number) {
            named.push(number);
        }
    }
    named
}
