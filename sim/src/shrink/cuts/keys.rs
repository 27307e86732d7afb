//! Keys that a scenario can do without: then its defaults hold.

use serde_json::Value;

use crate::scenario::parse::join;
use crate::shrink::{Cut, Reason, Search, ddmin};

/// Tables all of whose keys may be left out, and single keys of the file.
const TABLES: &[&str] = &["/broker-config", "/network", "/disk"];
const SINGLE: &[&str] = &[
    "/why",
    "/converge-within",
    "/cluster/racks",
    "/cluster/combined",
    "/cluster/log-dirs",
    "/without",
    "/heal-at",
    "/budget",
];

/// Keys of each entry of a table that may be left out; tables among them key by key.
const OF_EACH: &[(&str, &[&str])] = &[
    ("/topics", &["config", "assignment", "replication-factor"]),
    (
        "/workloads",
        &["config", "start-at", "value-bytes", "keys", "records", "assign", "from", "clients"],
    ),
];

/// Fewer keys.
pub(super) fn fewer(search: &mut Search<'_>, reason: &Reason) -> bool {
    let base = search.best.scenario.clone();
    // `converged` is missed by whoever is given no time for it, and a budget says what a loss means.
    let is_part_of_it = |pointer: &str| match pointer {
        "/converge-within" | "/heal-at" => reason.name() == "converged",
        "/budget" => matches!(reason, Reason::Missed(_)),
        _ => false,
    };
    let pointers: Vec<String> =
        droppable(&base).into_iter().filter(|one| !is_part_of_it(one)).collect();
    ddmin::minimize(search, pointers.len(), |kept| {
        let mut scenario = base.clone();
        let gone = pointers.iter().enumerate().filter(|(index, _)| !kept.contains(index));
        let gone: Vec<&str> = gone.map(|(_, pointer)| pointer.as_str()).collect();
        gone.iter().for_each(|pointer| drop_key(&mut scenario, pointer));
        let what = match gone.as_slice() {
            [one] => format!("the key {one}"),
            [.., last] => format!("{} keys, {last} the last", gone.len()),
            [] => return None,
        };
        Some(Cut { what, scenario })
    })
}

/// Every key that may be left out, by its pointer.
fn droppable(scenario: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for at in TABLES {
        keys_below(scenario, at, &mut all);
    }
    all.extend(SINGLE.iter().filter(|at| scenario.pointer(at).is_some()).map(ToString::to_string));
    for (at, keys) in OF_EACH {
        let entries = scenario.pointer(at).and_then(Value::as_object).into_iter().flatten();
        for (name, _) in entries {
            for key in *keys {
                let pointer = join(&join(at, name), key);
                match scenario.pointer(&pointer) {
                    Some(Value::Object(_)) if *key == "config" => {
                        keys_below(scenario, &pointer, &mut all)
                    }
                    Some(_) => all.push(pointer),
                    None => {}
                }
            }
        }
    }
    all
}

fn keys_below(scenario: &Value, at: &str, all: &mut Vec<String>) {
    let keys = scenario.pointer(at).and_then(Value::as_object).into_iter().flatten();
    all.extend(keys.map(|(key, _)| join(at, key)));
}

/// Takes a key away, and the table that it leaves empty.
fn drop_key(scenario: &mut Value, pointer: &str) {
    let Some((table, key)) = pointer.rsplit_once('/') else { return };
    let key = key.replace("~1", "/").replace("~0", "~");
    let Some(Value::Object(entries)) = scenario.pointer_mut(table) else { return };
    entries.shift_remove(&key);
    let is_free = TABLES.contains(&table) || table.ends_with("/config");
    if entries.is_empty() && is_free {
        drop_key(scenario, table);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_many_clients_and_whether_nodes_have_both_roles_is_not_said_where_it_does_not_matter() {
        let scenario = json!({
            "claim": "x", "run-for": "1s", "cluster": { "brokers": 1, "combined": false },
            "workloads": { "writer": { "kind": "producer", "topic": "orders", "clients": 1 } },
        });
        assert_eq!(droppable(&scenario), ["/cluster/combined", "/workloads/writer/clients"]);
    }

    #[test]
    fn only_keys_with_a_default_can_go_and_empty_tables_go_with_them() {
        let mut scenario = json!({
            "claim": "x", "run-for": "1s", "broker-config": { "a.b": 1 },
            "topics": { "orders": { "partitions": 1, "config": { "min.insync.replicas": 2 } } },
            "workloads": { "writer": { "kind": "producer", "topic": "orders", "keys": 3 } },
        });
        let pointers = droppable(&scenario);
        assert_eq!(
            pointers,
            [
                "/broker-config/a.b",
                "/topics/orders/config/min.insync.replicas",
                "/workloads/writer/keys"
            ]
        );
        pointers.iter().for_each(|pointer| drop_key(&mut scenario, pointer));
        assert_eq!(
            scenario,
            json!({
                "claim": "x", "run-for": "1s", "topics": { "orders": { "partitions": 1 } },
                "workloads": { "writer": { "kind": "producer", "topic": "orders" } },
            })
        );
    }
}
