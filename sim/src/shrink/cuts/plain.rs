//! Plainer values: round times, one number instead of a distribution, steps without details.

use serde_json::{Value, json};

use crate::scenario::duration::Span;
use crate::shrink::edit::{self, nearest, set_span, steps};
use crate::shrink::{Cut, Effort, Failing, Search};

/// From the roundest on: a second, a tenth, ten milliseconds, one.
const UNITS: [u64; 4] = [1_000_000_000, 100_000_000, 10_000_000, 1_000_000];

/// Round times: all at once where that works, else step by step.
pub(super) fn rounder(search: &mut Search<'_>) -> bool {
    let mut any = search.take(all_round(&search.best), Effort::Usual).is_some();
    for index in 0..steps(&search.best.scenario).len() {
        any |= search.take(one_round(&search.best, index), Effort::Usual).is_some();
    }
    any
}

fn round(step: &mut Value, unit: u64) {
    for key in ["at", "for", "delay"] {
        let Some(span) = edit::span(step, key) else { continue };
        let new = nearest(span, unit);
        let least = Span::from_nanos(if key == "at" { 0 } else { unit });
        // What is round stays as it is, and nothing takes no time.
        if new >= least && !span.nanos().is_multiple_of(unit) {
            set_span(step, key, new);
        }
    }
}

fn all_round(best: &Failing) -> Vec<Cut> {
    let cut = |unit: u64| {
        let mut list = steps(&best.scenario).to_vec();
        list.iter_mut().for_each(|step| round(step, unit));
        with_steps(
            best,
            list,
            format!("all times: to whole multiples of {}", Span::from_nanos(unit)),
        )
    };
    UNITS.into_iter().map(cut).collect()
}

fn one_round(best: &Failing, index: usize) -> Vec<Cut> {
    let cut = |unit: u64| {
        let mut list = steps(&best.scenario).to_vec();
        round(&mut list[index], unit);
        with_steps(best, list, format!("the times of step {}: rounder", index + 1))
    };
    UNITS.into_iter().map(cut).collect()
}

fn with_steps(best: &Failing, list: Vec<Value>, what: String) -> Cut {
    let mut scenario = best.scenario.clone();
    edit::set_steps(&mut scenario, list);
    Cut { what, scenario }
}

/// Details that a step can do without, and the one number that a distribution is around.
pub(super) fn simpler(search: &mut Search<'_>) -> bool {
    search.exhaust(details) | search.exhaust(constants)
}

fn details(best: &Failing) -> Vec<Cut> {
    let mut cuts = Vec::new();
    for (index, step) in steps(&best.scenario).iter().enumerate() {
        let without =
            ["for", "direction", "mode", "chance", "count", "bits", "between", "id", "save-as"];
        for key in without.into_iter().filter(|key| step.get(key).is_some()) {
            let mut list = steps(&best.scenario).to_vec();
            edit::remove(&mut list[index], key);
            cuts.push(with_steps(best, list, format!("`{key}` of step {}", index + 1)));
        }
    }
    cuts
}

/// Every distribution by itself: its middle.
fn constants(best: &Failing) -> Vec<Cut> {
    let mut cuts = Vec::new();
    for at in ["/network/latency", "/disk/read", "/disk/write", "/disk/sync"] {
        cuts.extend(constant(best, at.into()));
    }
    for (index, step) in steps(&best.scenario).iter().enumerate() {
        let keys = step.as_object().into_iter().flatten().map(|(key, _)| key);
        cuts.extend(keys.filter_map(|key| constant(best, format!("/timeline/{index}/{key}"))));
    }
    let workloads = edit::table(&best.scenario, "workloads").into_iter().flatten();
    cuts.extend(
        workloads.filter_map(|(name, _)| constant(best, format!("/workloads/{name}/value-bytes"))),
    );
    cuts
}

fn constant(best: &Failing, at: String) -> Option<Cut> {
    let middle = middle(best.scenario.pointer(&at)?)?;
    let mut scenario = best.scenario.clone();
    *scenario.pointer_mut(&at)? = middle.clone();
    Some(Cut { what: format!("{at}: always {middle}"), scenario })
}

/// A value of the middle of a distribution; `None` where it is none.
fn middle(draw: &Value) -> Option<Value> {
    if let Some(p50) = draw.pointer("/lognormal/p50") {
        return Some(p50.clone());
    }
    if let Some(first) = draw.pointer("/one-of/0") {
        return Some(first.clone());
    }
    match (draw.pointer("/uniform/0")?, draw.pointer("/uniform/1")?) {
        (Value::String(low), Value::String(high)) => {
            let (low, high) = (Span::parse(low).ok()?, Span::parse(high).ok()?);
            Some(edit::written(Span::from_nanos(low.nanos() / 2 + high.nanos() / 2)))
        }
        (low, high) => Some(json!(low.as_u64()?.midpoint(high.as_u64()?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_distribution_is_one_of_its_values() {
        assert_eq!(
            middle(&json!({ "lognormal": { "p50": "1ms", "p99": "40ms" } })),
            Some(json!("1ms"))
        );
        assert_eq!(middle(&json!({ "uniform": ["0ms", "20ms"] })), Some(json!("10ms")));
        assert_eq!(middle(&json!({ "uniform": [32, 512] })), Some(json!(272)));
        assert_eq!(middle(&json!({ "one-of": [7, 8] })), Some(json!(7)));
        assert_eq!(middle(&json!("5ms")), None);
    }

    #[test]
    fn rounding_leaves_what_is_round_and_makes_nothing_instant() {
        let mut step = json!({ "at": "10243817265ns", "for": "300ms", "do": "pause" });
        round(&mut step, 1_000_000_000);
        assert_eq!(step, json!({ "at": "10s", "for": "300ms", "do": "pause" }));
    }
}
