//! Reading and changing scenarios as plain values: times, steps, tables.

use serde_json::{Map, Value};

use crate::scenario::duration::Span;

/// The time under a key of a table; `None` where there is none, or it is drawn.
#[must_use]
pub fn span(value: &Value, key: &str) -> Option<Span> {
    value.get(key)?.as_str().and_then(|text| Span::parse(text).ok())
}

/// A time as a file writes it.
#[must_use]
pub fn written(span: Span) -> Value {
    Value::from(span.decimal())
}

/// Puts a time under a key.
pub fn set_span(value: &mut Value, key: &str, span: Span) {
    if let Some(table) = value.as_object_mut() {
        table.insert(key.into(), written(span));
    }
}

/// Takes a key away, in its order.
pub fn remove(value: &mut Value, key: &str) {
    if let Some(table) = value.as_object_mut() {
        table.shift_remove(key);
    }
}

/// The steps of the timeline.
#[must_use]
pub fn steps(scenario: &Value) -> &[Value] {
    scenario.get("timeline").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Puts other steps into the timeline; none: no timeline.
pub fn set_steps(scenario: &mut Value, steps: Vec<Value>) {
    set_list(scenario, "timeline", steps);
}

/// Puts a list under a key; where it is empty, takes the key away.
pub fn set_list(scenario: &mut Value, key: &str, list: Vec<Value>) {
    let Some(table) = scenario.as_object_mut() else { return };
    if list.is_empty() {
        table.shift_remove(key);
    } else {
        table.insert(key.into(), Value::Array(list));
    }
}

/// The table under a key.
#[must_use]
pub fn table<'v>(scenario: &'v Value, key: &str) -> Option<&'v Map<String, Value>> {
    scenario.get(key)?.as_object()
}

/// When a step is done, where the file says so by the clock.
#[must_use]
pub fn at(step: &Value) -> Option<Span> {
    span(step, "at")
}

/// How long the clients work.
#[must_use]
pub fn run_for(scenario: &Value) -> Span {
    span(scenario, "run-for").unwrap_or(Span::ZERO)
}

/// When everything heals.
#[must_use]
pub fn heal_at(scenario: &Value) -> Span {
    span(scenario, "heal-at").unwrap_or_else(|| run_for(scenario))
}

/// The smallest multiple of `unit` nanoseconds that is above `at`.
#[must_use]
pub fn next_multiple(at: Span, unit: u64) -> Span {
    Span::from_nanos((at.nanos() / unit + 1).saturating_mul(unit))
}

/// The multiple of `unit` nanoseconds that is nearest to `at`.
#[must_use]
pub fn nearest(at: Span, unit: u64) -> Span {
    Span::from_nanos((at.nanos() + unit / 2) / unit * unit)
}

/// The word of a step's action.
#[must_use]
pub fn action(step: &Value) -> &str {
    step.get("do").and_then(Value::as_str).unwrap_or_default()
}

/// Every text in a step that names somebody it is done to.
#[must_use]
pub fn targets(step: &Value) -> Vec<&str> {
    let one = ["target", "away-from", "among"].iter().filter_map(|key| step.get(key)?.as_str());
    let sides = step.get("between").and_then(Value::as_array).into_iter().flatten();
    one.chain(sides.filter_map(Value::as_str)).collect()
}

/// Puts `new` in the place of every text in a step that is exactly `old`.
pub fn rename_target(step: &mut Value, rename: &impl Fn(&str) -> Option<String>) {
    let replace = |value: &mut Value| {
        if let Some(new) = value.as_str().and_then(rename) {
            *value = Value::from(new);
        }
    };
    for key in ["target", "away-from", "among"] {
        if let Some(value) = step.get_mut(key) {
            replace(value);
        }
    }
    if let Some(sides) = step.get_mut("between").and_then(Value::as_array_mut) {
        sides.iter_mut().for_each(replace);
    }
}

/// The number in `brokers(3)`, where the text has that form for `group`.
#[must_use]
pub fn number_of(target: &str, group: &str) -> Option<u32> {
    target.strip_prefix(group)?.strip_prefix('(')?.strip_suffix(')')?.parse().ok()
}
