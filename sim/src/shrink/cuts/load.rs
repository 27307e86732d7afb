//! How much is asked of the cluster: workloads, clients, rates, topics, partitions.

use serde_json::{Map, Value};

use crate::shrink::edit::{self, table};
use crate::shrink::{Cut, Failing, Search};

/// Less load.
pub(super) fn less(search: &mut Search<'_>) -> bool {
    let mut any = false;
    for kind in [workloads, topics, numbers] {
        any |= search.exhaust(kind);
    }
    any
}

/// Without a workload, or a topic that no workload uses.
fn workloads(best: &Failing) -> Vec<Cut> {
    let names = table(&best.scenario, "workloads").into_iter().flat_map(Map::keys);
    let cuts = names.map(|name| {
        let mut scenario = best.scenario.clone();
        edit::remove(&mut scenario["workloads"], name);
        Cut { what: format!("the workload {name}"), scenario }
    });
    // Without any client nothing is shown of a log.
    cuts.filter(|cut| table(&cut.scenario, "workloads").is_some_and(|left| !left.is_empty()))
        .collect()
}

fn topics(best: &Failing) -> Vec<Cut> {
    let topics = table(&best.scenario, "topics").into_iter().flat_map(Map::keys);
    let uses = |name: &str| {
        let mut all = table(&best.scenario, "workloads").into_iter().flat_map(Map::values);
        all.any(|workload| workload.get("topic").and_then(Value::as_str) == Some(name))
    };
    let unused = topics.filter(|name| !uses(name)).map(|name| {
        let mut scenario = best.scenario.clone();
        edit::remove(&mut scenario["topics"], name);
        Cut { what: format!("the topic {name}"), scenario }
    });
    unused.collect()
}

/// Smaller numbers: the smallest first, then half.
fn numbers(best: &Failing) -> Vec<Cut> {
    let mut cuts = Vec::new();
    // (table, key, where it is missing, the smallest that is tried)
    let fields = [
        ("workloads", "clients", 1, 1),
        ("topics", "partitions", 1, 1),
        ("workloads", "rate-per-s", 50, 10),
    ];
    for (of, key, default, least) in fields {
        for (name, entry) in table(&best.scenario, of).into_iter().flatten() {
            let is_consumer = entry.get("kind").and_then(Value::as_str) == Some("consumer");
            let now = entry.get(key).and_then(Value::as_u64).unwrap_or(default);
            if key == "rate-per-s" && is_consumer {
                continue;
            }
            for fewer in [least, now / 4, now / 2] {
                if fewer >= least && fewer < now {
                    cuts.push(with_number(best, (of, name, key), now, fewer));
                }
            }
        }
    }
    cuts
}

fn with_number(best: &Failing, (of, name, key): (&str, &str, &str), now: u64, fewer: u64) -> Cut {
    let mut scenario = best.scenario.clone();
    let entry = &mut scenario[of][name];
    entry[key] = Value::from(fewer);
    if key == "partitions" {
        // One list of brokers for each partition.
        if let Some(lists) = entry.get_mut("assignment").and_then(Value::as_array_mut) {
            lists.truncate(usize::try_from(fewer).unwrap_or(usize::MAX));
        }
    }
    Cut { what: format!("{name}: {key} {now} to {fewer}"), scenario }
}
