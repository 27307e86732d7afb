//! The cuts: each makes a failing scenario smaller, or plainer. Bold ones first; what makes runs shorter before the rest.

mod keys;
mod load;
mod nodes;
mod plain;
mod steps;
mod storm;
mod times;

use serde_json::{Value, json};

use super::edit::{self, remove};
use super::{Cut, Effort, Failing, Reason, Search};
use crate::report::words_of;
use crate::scenario::plan::Expectation;

/// One round of all cuts; whether one of them worked.
pub(super) fn round(search: &mut Search<'_>, reason: &Reason) -> bool {
    let mut any = false;
    any |= search.exhaust(times::end);
    any |= storm::to_steps(search);
    any |= search.exhaust(storm::calmer);
    // What makes runs shorter comes before what needs many runs.
    any |= load::less(search);
    any |= search.exhaust(times::all_closer);
    any |= search.exhaust(times::end);
    any |= steps::fewer(search);
    any |= search.exhaust(times::end);
    any |= times::closer(search);
    any |= search.exhaust(times::end);
    any |= search.exhaust(nodes::fewer);
    any |= keys::fewer(search, reason);
    any |= plain::rounder(search);
    any |= plain::simpler(search);
    any
}

/// What makes nothing smaller, and reads better: once, when nothing more can be cut.
pub(super) fn finish(search: &mut Search<'_>) {
    let cuts = times::round_end(&search.best);
    search.take(cuts, Effort::Usual);
}

/// Without the expectations that the reason does not need. One that shows that the faults took effect must stay: a file with
/// faults is refused without it.
pub(super) fn expectations(best: &Failing, reason: &Reason) -> Cut {
    let mut scenario = best.scenario.clone();
    let all = scenario.get("expect").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut kept: Vec<Value> = all.into_iter().filter(|one| is_of(one, reason)).collect();
    kept.push(json!({
        "that": "event", "event": "fault.started", "is": ">= 1", "bites": true,
        "why": "the faults above were done",
    }));
    kept.iter_mut().for_each(|one| remove(one, "variant"));
    edit::set_list(&mut scenario, "expect", kept);
    remove(&mut scenario, "variants");
    Cut { what: "the expectations that have nothing to do with it".into(), scenario }
}

/// Whether an expectation is the one that was missed.
fn is_of(expectation: &Value, reason: &Reason) -> bool {
    match (reason, serde_json::from_value::<Expectation>(expectation.clone())) {
        (Reason::Missed(words), Ok(expectation)) => words_of(&expectation) == *words,
        (Reason::Violation { .. } | Reason::Missed(_), _) => false,
    }
}

/// Whether an expectation of the file speaks of moments: then times are not moved, or it would be missed for another reason.
fn speaks_of_moments(scenario: &Value) -> bool {
    let all = scenario.get("expect").and_then(Value::as_array).into_iter().flatten();
    all.into_iter()
        .any(|one| ["at", "by", "after", "between"].iter().any(|key| one.get(key).is_some()))
}
