//! Guidance: a run that reached something new, with a few settings changed. What is changed is drawn from the seed and the
//! variation's number, and is nothing but `--set`: the command that runs it again is complete.

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::scenario::draw::rng_of;
use crate::scenario::parse::join;

/// More settings than these nobody reads any more; the oldest go.
const SETTINGS_MAX: usize = 8;

/// How often a fault comes, in percent of its `every`: less is more often.
const PACES: [u64; 4] = [10, 25, 50, 100];

/// What may be changed: the value at a pointer, to one of these.
#[derive(Clone, Debug, PartialEq)]
struct Knob {
    pointer: String,
    values: Vec<Value>,
}

/// The settings of variation `number` of a run of `root`, a checked scenario, under `seed` with `settings`.
#[must_use]
pub fn vary(root: &Value, seed: u64, settings: &[String], number: u32) -> Vec<String> {
    let mut rng = rng_of(seed, &format!("/explore/{number}/{}", settings.join(" ")));
    let knobs = knobs(root);
    let mut varied = settings.to_vec();
    if knobs.is_empty() {
        return varied;
    }
    for _ in 0..rng.random_range(1..=3) {
        turn(&knobs[rng.random_range(0..knobs.len())], &mut varied, &mut rng);
    }
    let too_many = varied.len().saturating_sub(SETTINGS_MAX);
    varied.drain(..too_many);
    varied
}

fn turn(knob: &Knob, settings: &mut Vec<String>, rng: &mut StdRng) {
    let value = &knob.values[rng.random_range(0..knob.values.len())];
    let head = format!("{}=", knob.pointer);
    settings.retain(|setting| !setting.starts_with(&head));
    settings.push(format!("{head}{}", in_toml(value)));
}

fn knobs(root: &Value) -> Vec<Knob> {
    let mut knobs = Vec::new();
    let faults = root.pointer("/chaos/faults").and_then(Value::as_array);
    for (index, fault) in faults.into_iter().flatten().enumerate() {
        let at = format!("/chaos/faults/{index}");
        let comes = format!("{at}/comes");
        knobs.push(Knob { pointer: comes, values: vec![json!(true), json!(false)] });
        knobs.push(Knob {
            pointer: format!("{at}/pace"),
            values: PACES.iter().map(|pace| json!(pace)).collect(),
        });
        if let Some(values) = fault.get("for").and_then(choices) {
            knobs.push(Knob { pointer: format!("{at}/for"), values });
        }
    }
    draws(root, "", &mut knobs);
    knobs.extend(world());
    knobs
}

/// Every draw of the file outside of its storm and timeline.
fn draws(value: &Value, at: &str, knobs: &mut Vec<Knob>) {
    if let Some(values) = choices(value) {
        knobs.push(Knob { pointer: at.to_owned(), values });
        return;
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let is_apart =
            at.is_empty() && ["chaos", "timeline", "variants", "expect"].contains(&key.as_str());
        if !is_apart {
            draws(inner, &join(at, key), knobs);
        }
    }
}

/// What a draw may be fixed to.
fn choices(draw: &Value) -> Option<Vec<Value>> {
    let table = draw.as_object().filter(|table| table.len() == 1)?;
    let values = table.get("one-of").or_else(|| table.get("uniform"))?.as_array()?;
    (!values.is_empty()).then(|| values.clone())
}

/// What every scenario has, whether its file says so or not.
fn world() -> Vec<Knob> {
    let knob =
        |pointer: &str, values: &[Value]| Knob { pointer: pointer.into(), values: values.to_vec() };
    vec![
        knob(
            "/network/latency",
            &[
                json!("100us"),
                json!({ "lognormal": { "p50": "2ms", "p99": "30ms" } }),
                json!({ "lognormal": { "p50": "15ms", "p99": "150ms" } }),
            ],
        ),
        knob("/network/loss", &[json!(0.0), json!(0.001), json!(0.01)]),
        knob(
            "/disk/sync",
            &[
                json!("100us"),
                json!({ "uniform": ["1ms", "40ms"] }),
                json!({ "uniform": ["20ms", "150ms"] }),
            ],
        ),
        knob(
            "/disk/on-power-loss",
            &[json!("lose-unsynced"), json!("lose-random-unsynced"), json!("torn-last-write")],
        ),
    ]
}

/// A value as an argument writes it.
fn in_toml(value: &Value) -> String {
    match value {
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(in_toml).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Object(table) => {
            let fields: Vec<String> =
                table.iter().map(|(key, value)| format!("{key} = {}", in_toml(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::scenario::Scenario;

    const TEXT: &str = include_str!("../../../scenarios/chaos/swarm.toml");

    #[test]
    fn a_variation_is_the_same_whenever_it_is_asked_for_and_another_is_another() {
        let scenario = Scenario::load("scenarios/chaos/swarm.toml", TEXT, &[]).unwrap();
        let of = |seed, number| vary(scenario.root(None), seed, &[], number);
        assert_eq!(of(7, 1), of(7, 1));
        let all: BTreeSet<_> = (1..=20).map(|number| of(7, number)).collect();
        assert!(all.len() > 15, "{all:?}");
        assert!(all.iter().all(|settings| (1..=3).contains(&settings.len())));
    }

    #[test]
    fn nearly_every_variation_is_a_scenario_and_says_so_on_the_command_line() {
        let scenario = Scenario::load("scenarios/chaos/swarm.toml", TEXT, &[]).unwrap();
        let mut settings = Vec::new();
        let mut refused = 0;
        for number in 1..=100 {
            let next = vary(scenario.root(None), 7, &settings, number);
            assert!(next.len() <= SETTINGS_MAX && !next.is_empty());
            match Scenario::load("scenarios/chaos/swarm.toml", TEXT, &next) {
                Ok(scenario) => {
                    assert_eq!(scenario.settings, next);
                    settings = next;
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused < 20, "{refused} of 100 are no scenarios");
    }

    #[test]
    fn a_setting_replaces_the_one_before_it() {
        let knob = Knob { pointer: "/a/b".into(), values: vec![json!({ "x": ["1s", 2] })] };
        let mut settings = vec!["/a/b=1".into(), "/a/bc=1".into()];
        turn(&knob, &mut settings, &mut rng_of(1, "x"));
        assert_eq!(settings, ["/a/bc=1", "/a/b={ x = [\"1s\", 2] }"]);
    }

    #[test]
    fn draws_outside_of_the_storm_are_knobs() {
        let root = json!({
            "cluster": { "brokers": { "one-of": [3, 5] } },
            "broker-config": { "a.b": { "one-of": ["x"] } },
            "chaos": { "faults": [{ "for": { "uniform": ["1s", "2s"] } }, {}] },
        });
        let pointers: Vec<String> = knobs(&root).into_iter().map(|knob| knob.pointer).collect();
        assert_eq!(
            pointers[..7],
            [
                "/chaos/faults/0/comes",
                "/chaos/faults/0/pace",
                "/chaos/faults/0/for",
                "/chaos/faults/1/comes",
                "/chaos/faults/1/pace",
                "/cluster/brokers",
                "/broker-config/a.b"
            ]
        );
    }
}
