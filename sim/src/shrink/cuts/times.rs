//! When: the end of the run, and the times between the steps.

use serde_json::Value;

use super::speaks_of_moments;
use crate::scenario::duration::Span;
use crate::shrink::edit::{self, at, heal_at, next_multiple, run_for, set_span, steps};
use crate::shrink::{Cut, Effort, Failing, Search};

const MILLIS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLIS;

/// An earlier end: just after what failed, where that was during the run; else less time after the last step.
pub(super) fn end(best: &Failing) -> Vec<Cut> {
    let (now, scenario) = (run_for(&best.scenario), &best.scenario);
    if speaks_of_moments(scenario) {
        return Vec::new();
    }
    let mut ends: Vec<Span> = Vec::new();
    if best.at < now {
        // Whole seconds read well; where there are few of them, tenths matter.
        let unit = if best.at < Span::from_secs(3) { 100 * MILLIS } else { SECOND };
        ends.push(next_multiple(best.at, unit));
    } else {
        let last = steps(scenario).iter().filter_map(at).max().unwrap_or(Span::ZERO);
        ends.extend(
            [1, 3, 10].map(|seconds| next_multiple(last, SECOND).plus(Span::from_secs(seconds))),
        );
        ends.extend([1, 2, 3].map(|quarters| next_multiple(part(now, quarters, 4), 100 * MILLIS)));
        // A cluster that is given no second shows what happens to fail, and under few seeds.
        ends.retain(|end| *end >= Span::from_secs(1));
    }
    let mut cuts: Vec<Cut> =
        ends.into_iter().filter(|end| *end < now).map(|end| ending(scenario, end)).collect();
    if heal_at(scenario) < now && best.at >= now {
        // The liveness phase is cut where it is not what failed.
        cuts.push(ending(scenario, heal_at(scenario)));
    }
    cuts
}

/// A round end, later than the earliest that still fails: the last cut of all, as the others would take it back.
pub(super) fn round_end(best: &Failing) -> Vec<Cut> {
    let now = run_for(&best.scenario);
    let units = [SECOND, 100 * MILLIS, 10 * MILLIS].into_iter();
    let later = units.map(|unit| Span::from_nanos(now.nanos().next_multiple_of(unit)));
    let heals = edit::span(&best.scenario, "heal-at").is_some();
    // Where it heals before the end, the time between the two is part of what is tried.
    let later = later.filter(|end| *end > now && !heals);
    let cut = |end: Span| {
        let mut scenario = best.scenario.clone();
        set_span(&mut scenario, "run-for", end);
        Cut { what: format!("the end: {now} to {end}, which is round"), scenario }
    };
    later.map(cut).collect()
}

/// The scenario with another end, and without what would come after it.
fn ending(scenario: &Value, end: Span) -> Cut {
    let mut scenario = scenario.clone();
    let was = run_for(&scenario);
    if heal_at(&scenario) >= end {
        edit::remove(&mut scenario, "heal-at");
    }
    set_span(&mut scenario, "run-for", end);
    let healed = heal_at(&scenario);
    let kept = steps(&scenario)
        .iter()
        .filter(|step| at(step).is_none_or(|at| at < healed))
        .cloned()
        .collect();
    edit::set_steps(&mut scenario, kept);
    if let Some(chaos) = scenario.get_mut("chaos")
        && edit::span(chaos, "until").is_some_and(|until| until >= healed)
    {
        edit::remove(chaos, "until");
    }
    Cut { what: format!("the end: {was} to {end}"), scenario }
}

fn part(span: Span, numerator: u64, denominator: u64) -> Span {
    let nanos = u128::from(span.nanos()) * u128::from(numerator) / u128::from(denominator);
    Span::from_nanos(u64::try_from(nanos).expect("a part of 64 bits"))
}

/// Less time between the steps, and before the first.
pub(super) fn closer(search: &mut Search<'_>) -> bool {
    let mut any = false;
    for gaps in [all_closer, each_gap, durations, occurrences] {
        while search.take(gaps(&search.best), Effort::Usual).is_some() {
            any = true;
        }
    }
    any
}

/// The times that can be moved: those of steps that have one, in their order.
fn moments(scenario: &Value) -> Vec<Span> {
    let mut moments: Vec<Span> = steps(scenario).iter().filter_map(at).collect();
    moments.sort_unstable();
    moments.dedup();
    moments
}

/// Moves every moment to where `moved` puts it; the rest of the run stays as long as it was.
fn moved(scenario: &Value, what: String, to: &[Span]) -> Option<Cut> {
    let from = moments(scenario);
    let (last, new_last) = (from.last()?, to.last()?);
    let earlier =
        last.nanos().checked_sub(new_last.nanos()).filter(|_| !speaks_of_moments(scenario))?;
    let mut scenario = scenario.clone();
    let sooner = |span: Span| Span::from_nanos(span.nanos().saturating_sub(earlier));
    for key in ["run-for", "heal-at"] {
        if let Some(span) = edit::span(&scenario, key) {
            set_span(&mut scenario, key, sooner(span));
        }
    }
    let mut list = steps(&scenario).to_vec();
    for step in &mut list {
        if let Some(index) = at(step).and_then(|at| from.binary_search(&at).ok()) {
            set_span(step, "at", to[index]);
        }
    }
    edit::set_steps(&mut scenario, list);
    Some(Cut { what, scenario })
}

/// The moments with other gaps before them. No gap becomes shorter than 10 ms.
fn with_gaps(moments: &[Span], gap: impl Fn(usize, u64) -> u64) -> Vec<Span> {
    let mut before = 0;
    let mut sum = 0;
    let of = |(index, moment): (usize, &Span)| {
        let old = moment.nanos() - before;
        before = moment.nanos();
        sum += gap(index, old).clamp((10 * MILLIS).min(old), old);
        Span::from_nanos(sum)
    };
    moments.iter().enumerate().map(of).collect()
}

/// A gap this short is left as it is.
const SHORT: u64 = 200 * MILLIS;

/// Less time between all steps together.
pub(super) fn all_closer(best: &Failing) -> Vec<Cut> {
    let from = moments(&best.scenario);
    let tries = [(1, 10), (1, 4), (1, 2), (3, 4)];
    let cuts = tries.into_iter().filter_map(|(numerator, denominator)| {
        let to = with_gaps(
            &from,
            |_, gap| if gap <= SHORT { gap } else { gap / denominator * numerator },
        );
        moved(&best.scenario, format!("all times: to {numerator}/{denominator}"), &to)
    });
    let is_shorter = |cut: &Cut| run_for(&cut.scenario) < run_for(&best.scenario);
    cuts.filter(is_shorter).collect()
}

/// One gap, the longest first.
fn each_gap(best: &Failing) -> Vec<Cut> {
    let from = moments(&best.scenario);
    let mut longest: Vec<(u64, usize)> = Vec::new();
    let mut before = 0;
    for (index, moment) in from.iter().enumerate() {
        longest.push((moment.nanos() - before, index));
        before = moment.nanos();
    }
    longest.sort_unstable_by_key(|(gap, index)| (std::cmp::Reverse(*gap), *index));
    let long = longest.into_iter().filter(|(gap, _)| *gap > SHORT);
    let cuts = long.flat_map(|(gap, which)| {
        [8, 2].into_iter().filter_map({
            let from = &from;
            move |part| {
                let to =
                    with_gaps(from, |index, old| if index == which { gap / part } else { old });
                let what = format!(
                    "the time before step {}: {} to {}",
                    which + 1,
                    short(gap),
                    short(gap / part)
                );
                moved(&best.scenario, what, &to)
            }
        })
    });
    cuts.collect()
}

fn short(nanos: u64) -> Span {
    Span::from_nanos(nanos / MILLIS * MILLIS)
}

/// The first time that something happens, rather than the fourth.
fn occurrences(best: &Failing) -> Vec<Cut> {
    let list = steps(&best.scenario);
    let mut cuts = Vec::new();
    for (index, step) in list.iter().enumerate() {
        let Some(nth) = step.pointer("/when/nth").and_then(Value::as_u64) else { continue };
        for sooner in [1, nth / 4, nth / 2] {
            if sooner >= 1 && sooner < nth {
                let mut list = list.to_vec();
                list[index]["when"]["nth"] = Value::from(sooner);
                let mut scenario = best.scenario.clone();
                edit::set_steps(&mut scenario, list);
                let what = format!("`nth` of step {}: {nth} to {sooner}", index + 1);
                cuts.push(Cut { what, scenario });
            }
        }
    }
    cuts
}

/// How long faults last, and steps wait for what they come after.
fn durations(best: &Failing) -> Vec<Cut> {
    let list = steps(&best.scenario);
    let mut cuts = Vec::new();
    for part in [8, 2] {
        for (index, step) in list.iter().enumerate() {
            for key in ["for", "delay"] {
                let long = edit::span(step, key).filter(|span| span.nanos() > SHORT);
                let Some(long) = long else { continue };
                let shorter = Span::from_nanos(long.nanos() / part);
                let mut list = list.to_vec();
                set_span(&mut list[index], key, shorter);
                let mut scenario = best.scenario.clone();
                edit::set_steps(&mut scenario, list);
                let (now, was) = (short(shorter.nanos()), short(long.nanos()));
                let what = format!("`{key}` of step {}: {was} to {now}", index + 1);
                cuts.push(Cut { what, scenario });
            }
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_step_comes_the_first_time_that_something_happens_where_that_is_enough() {
        let step = |nth: u64| json!({ "do": "kill", "target": "brokers(1)", "when": { "event": "log.rolled", "nth": nth } });
        let scenario = |nth: u64| json!({ "run-for": "5s", "timeline": [step(nth)] });
        let best = |nth| Failing {
            scenario: scenario(nth),
            seed: 1,
            at: Span::from_secs(5),
            of_storm: Vec::new(),
        };
        let sooner: Vec<Value> =
            occurrences(&best(8)).into_iter().map(|cut| cut.scenario).collect();
        assert_eq!(sooner, [scenario(1), scenario(2), scenario(4)]);
        assert_eq!(occurrences(&best(1)), []);
    }
}
