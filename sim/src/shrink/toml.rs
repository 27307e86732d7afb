//! A scenario as TOML that people read: what belongs together stands together, in the order of the hand-written files.

use serde_json::{Map, Value};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table};

/// The keys of a file in their order; others come last.
const ORDER: &[&str] = &[
    "claim",
    "why",
    "seeds",
    "run-for",
    "heal-at",
    "converge-within",
    "budget",
    "cluster",
    "broker-config",
    "network",
    "disk",
    "topics",
    "workloads",
    "timeline",
    "chaos",
    "expect",
    "without",
    "variants",
];

/// The keys of a step in their order: when, what, to whom, how long; the rest after.
const STEP_ORDER: &[&str] =
    &["id", "at", "after", "when", "delay", "do", "target", "between", "shape", "api", "for"];

/// A line longer than this is broken up, where it can be.
const WIDTH: usize = 120;

/// Writes a scenario. `head` stands above it as comments, and `notes` above the steps of the timeline, one for each.
#[must_use]
pub fn write(scenario: &Value, head: &[String], notes: &[Option<String>]) -> String {
    let empty = Map::new();
    let root = scenario.as_object().unwrap_or(&empty);
    let mut document = DocumentMut::new();
    for (key, value) in in_order(root, ORDER) {
        let item = match (key, value) {
            ("timeline", Value::Array(steps)) => {
                Item::ArrayOfTables(tables(steps, STEP_ORDER, notes))
            }
            (_, Value::Array(list)) if list.iter().all(Value::is_object) => {
                Item::ArrayOfTables(tables(list, &["that", "name"], &[]))
            }
            ("topics" | "workloads" | "variants", Value::Object(entries)) => named(entries),
            (_, Value::Object(entries)) => Item::Table(table(entries, &[])),
            (_, other) => Item::Value(inline(other)),
        };
        document.insert(key, item);
    }
    let comments: String = head.iter().map(|line| comment(line)).collect();
    // The first line of a document holds what stands above it.
    let body = document.to_string();
    format!("{comments}{}", body.trim_start())
}

fn comment(line: &str) -> String {
    if line.is_empty() { "#\n".into() } else { format!("# {line}\n") }
}

fn in_order<'v>(table: &'v Map<String, Value>, order: &[&str]) -> Vec<(&'v str, &'v Value)> {
    let mut all: Vec<(&str, &Value)> =
        table.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let place = |key: &str| order.iter().position(|known| *known == key).unwrap_or(order.len());
    all.sort_by_key(|(key, _)| place(key)); // stable: the others stay in order
    all
}

fn named(entries: &Map<String, Value>) -> Item {
    let mut outer = Table::new();
    outer.set_implicit(true);
    for (name, value) in entries {
        let item = match value.as_object() {
            Some(inner) => Item::Table(table(inner, &["kind"])),
            None => Item::Value(inline(value)),
        };
        outer.insert(name, item);
    }
    Item::Table(outer)
}

fn tables(list: &[Value], order: &[&str], notes: &[Option<String>]) -> ArrayOfTables {
    let mut all = ArrayOfTables::new();
    for (index, value) in list.iter().enumerate() {
        let empty = Map::new();
        let mut one = table(value.as_object().unwrap_or(&empty), order);
        if let Some(Some(note)) = notes.get(index) {
            one.decor_mut().set_prefix(format!("\n{}", comment(note)));
        }
        all.push(one);
    }
    all
}

/// A table; those in it stand on one line, where they are short enough, and lists of tables below it.
fn table(entries: &Map<String, Value>, order: &[&str]) -> Table {
    let mut out = Table::new();
    for (key, value) in in_order(entries, order) {
        let item = match (value.as_array(), value.as_object()) {
            (Some(list), _) if !list.is_empty() && list.iter().all(Value::is_object) => {
                Item::ArrayOfTables(tables(list, STEP_ORDER, &[]))
            }
            (_, Some(inner)) if key.len() + 3 + inline(value).to_string().len() > WIDTH => {
                Item::Table(table(inner, &[]))
            }
            _ => Item::Value(inline(value)),
        };
        out.insert(key, item);
    }
    out
}

fn inline(value: &Value) -> toml_edit::Value {
    match value {
        // There is no null in TOML, nor in a scenario.
        Value::Null => toml_edit::Value::from(""),
        Value::Bool(flag) => toml_edit::Value::from(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => toml_edit::Value::from(whole),
            (None, Some(some)) => toml_edit::Value::from(some),
            (None, None) => toml_edit::Value::from(number.to_string()),
        },
        Value::String(text) => toml_edit::Value::from(text.as_str()),
        Value::Array(list) => toml_edit::Value::Array(list.iter().map(inline).collect::<Array>()),
        Value::Object(entries) => {
            let mut out = InlineTable::new();
            for (key, value) in entries {
                out.insert(key, inline(value));
            }
            toml_edit::Value::InlineTable(out)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenario::Scenario;
    use crate::scenario::parse::Document;

    fn scenario() -> Value {
        json!({
            "run-for": "5s", "claim": "Nothing is lost.", "seeds": "7..=7",
            "cluster": { "brokers": 3, "racks": ["a", "b"] },
            "network": { "latency": { "lognormal": { "p50": "1ms", "p99": "40ms" } }, "loss": 0.25 },
            "topics": { "orders": { "partitions": 1, "config": { "min.insync.replicas": 2 } } },
            "workloads": { "writer": { "topic": "orders", "kind": "producer", "config": { "acks": "all" } } },
            "timeline": [
                { "do": "kill", "target": "brokers(1)", "at": "1s" },
                { "do": "partition", "between": ["brokers(2)", "nodes(*)"], "at": "2s", "for": "500ms" },
            ],
            "expect": [{ "that": "event", "event": "fault.started", "is": ">= 1", "bites": true }],
        })
    }

    #[test]
    fn a_scenario_reads_well() {
        let text = write(
            &scenario(),
            &["From a storm.".into(), String::new()],
            &[Some("leads orders-0".into())],
        );
        expect_test::expect![[r#"
            # From a storm.
            #
            claim = "Nothing is lost."
            seeds = "7..=7"
            run-for = "5s"

            [cluster]
            brokers = 3
            racks = ["a", "b"]

            [network]
            latency = { lognormal = { p50 = "1ms", p99 = "40ms" } }
            loss = 0.25

            [topics.orders]
            partitions = 1
            config = { "min.insync.replicas" = 2 }

            [workloads.writer]
            kind = "producer"
            topic = "orders"
            config = { acks = "all" }

            # leads orders-0
            [[timeline]]
            at = "1s"
            do = "kill"
            target = "brokers(1)"

            [[timeline]]
            at = "2s"
            do = "partition"
            between = ["brokers(2)", "nodes(*)"]
            for = "500ms"

            [[expect]]
            that = "event"
            event = "fault.started"
            is = ">= 1"
            bites = true
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn what_is_written_says_the_same_when_it_is_read() {
        let mut odd = scenario();
        odd["claim"] = json!("quotes \" and \\ and\nlines, é, \t");
        odd["chaos"] = json!({ "from": "1s", "keep": { "last-copy-safe": true }, "faults": [{ "do": "kill", "target": "random(brokers)", "every": { "uniform": ["1s", "2s"] } }] });
        let text = write(&odd, &["comment".into()], &[]);
        assert_eq!(Document::parse("x.toml", &text).unwrap().root, odd);
        Scenario::load("x.toml", &write(&scenario(), &[], &[]), &[]).unwrap();
    }

    #[test]
    fn long_tables_are_not_put_on_one_line() {
        let mut long = scenario();
        for index in 0..10 {
            long["topics"]["orders"]["config"][format!("some.long.property.{index}")] =
                json!(index);
        }
        let text = write(&long, &[], &[]);
        assert!(text.contains("\n[topics.orders.config]\n"), "{text}");
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert_eq!(Document::parse("x.toml", &text).unwrap().root, long);
    }
}
