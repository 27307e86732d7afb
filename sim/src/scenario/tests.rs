//! Whole files: what is accepted, and what is said of those that are not.

use super::duration::Span;
use super::good_file::{GoodFile, load};
use super::*;
use expect_test::{Expect, expect};

const GOOD: &str = r#"
claim = "Records survive."
run-for = "20s"
heal-at = "15s"
seeds = "1..=200"

[topics.orders]
partitions = 2

[workloads.writer]
kind = "producer"
topic = "orders"
config = { acks = "all" }

[[timeline]]
id = "crash"
at = { uniform = ["2s", "5s"] }
do = "kill"
target = "leader(orders-0)"
save-as = "victim"

[[timeline]]
after = "crash"
delay = "3s"
do = "start"
target = "$victim"

[[expect]]
that = "event"
event = "fault.started"
is = 1
bites = true
"#;

#[track_caller]
fn check(text: &str, expected: Expect) {
    let out = match load(text) {
        Ok(_) => "fine\n".to_string(),
        Err(problems) => format!("{problems}\n"),
    };
    expected.assert_eq(&out);
}

/// The good file with one piece of text replaced.
#[track_caller]
fn check_change(from: &str, to: &str, expected: Expect) {
    check(&GoodFile(GOOD).with(from, to), expected);
}

#[test]
fn a_good_file_is_read() {
    check(
        GOOD,
        expect![[r#"
        fine
    "#]],
    );
    let scenario = Scenario::load("scenarios/smoke/x.toml", GOOD, &[]).unwrap();
    assert_eq!(scenario.name, "smoke/x");
    assert_eq!(scenario.seeds.count(), 200);
    let plan = scenario.plan(None, 7);
    assert_eq!(plan.topics["orders"].partitions, 2);
    assert_eq!(plan.timeline[1].after.as_deref(), Some("crash"));
    let at = plan.timeline[0].at.unwrap();
    assert!(Span::from_secs(2) <= at && at <= Span::from_secs(5));
    assert_eq!(scenario.plan(None, 7).timeline[0].at, Some(at), "the same seed draws the same");
    assert_ne!(scenario.plan(None, 8).timeline[0].at, Some(at), "another seed draws another");
}

#[test]
fn a_resolved_file_is_a_file_that_does_the_same() {
    let scenario = Scenario::load("x.toml", GOOD, &[]).unwrap();
    let resolved = serde_json::to_string_pretty(&scenario.resolved(None, 7)).unwrap();
    let again = Scenario::load("x.json", &resolved, &[]).unwrap();
    assert_eq!(again.plan(None, 99).timeline[0].at, scenario.plan(None, 7).timeline[0].at);
}

#[test]
fn unknown_keys_and_words_name_the_nearest() {
    check_change(
        "run-for",
        "runfor",
        expect![[r#"
        x.toml:1:1: the file: `run-for` is missing
        x.toml:3:1: `runfor` is not a key of the file: did you mean `run-for`?
    "#]],
    );
    check_change(
        "partitions = 2",
        "partition = 2",
        expect![[r#"
        x.toml:8:1: `partition` is not a key of `orders`: did you mean `partitions`?
    "#]],
    );
    check_change(
        "do = \"kill\"",
        "do = \"kil\"",
        expect![[r#"
        x.toml:18:7: `kil` is not an action: did you mean `kill`?
    "#]],
    );
    check_change(
        "do = \"kill\"",
        "do = \"evict\"",
        expect![[r#"
        x.toml:18:7: `evict` is not an action
    "#]],
    );
    check_change(
        "that = \"event\"",
        "that = \"evnt\"",
        expect![[r#"
        x.toml:29:9: `evnt` is not a kind of expectation: did you mean `event`?
    "#]],
    );
    check_change(
        "fault.started",
        "fault.start",
        expect![[r#"
        x.toml:30:10: `event`: `fault.start` is not an event: did you mean `fault.started`?
    "#]],
    );
    check_change(
        "kind = \"producer\"",
        "kind = \"producr\"",
        expect![[r#"
        x.toml:11:9: `producr` is not a kind of workload: did you mean `producer`?
    "#]],
    );
    check_change(
        "save-as",
        "save",
        expect![[r#"
            x.toml:20:1: `save` is not a key of `kill`: did you mean `save-as`?
        "#]],
    );
}

#[test]
fn wrong_types_and_units_are_named() {
    check_change(
        "\"20s\"",
        "20",
        expect![[r#"
        x.toml:3:11: `run-for`: the duration `20` has no unit: write `"20s"` or `"20ms"`
    "#]],
    );
    check_change(
        "\"20s\"",
        "\"20\"",
        expect![[r#"
        x.toml:3:12: `run-for`: the duration `20` has no unit: did you mean `20s` or `20ms`?
    "#]],
    );
    check_change(
        "partitions = 2",
        "partitions = \"2\"",
        expect![[r#"
        x.toml:8:15: `partitions`: expected a whole number, found the text "2"
    "#]],
    );
    check_change(
        "partitions = 2",
        "partitions = 99999999999",
        expect![[r#"
        x.toml:8:14: `partitions`: 99999999999 is not within 1 to 10000
    "#]],
    );
    check_change(
        "\"5s\"]",
        "5]",
        expect![[r#"
        x.toml:17:6: `at`: the duration `5` has no unit: write `"5s"` or `"5ms"`
    "#]],
    );
    check_change(
        "bites = true",
        "bites = 1",
        expect![[r#"
        x.toml:32:9: `bites`: expected `true` or `false`, found the number 1
    "#]],
    );
    check_change(
        "is = 1\n",
        "is = \">= 1s\"\n",
        expect![[r#"
        x.toml:31:7: `1s` is not a number: this measures how many
    "#]],
    );
    check_change(
        "is = 1\n",
        "is = []\n",
        expect![[r#"
        x.toml:31:6: `is`: expected a condition such as `0`, `">= 1"` or `"<= 2s"`, found a list
    "#]],
    );
    check_change(
        "\"1..=200\"",
        "\"200..=1\"",
        expect![[r#"
        x.toml:5:10: `seeds`: the range of seeds `200..=1` is empty
    "#]],
    );
    check_change(
        "[topics.orders]\npartitions = 2",
        "topics = 3",
        expect![[r#"
        x.toml:7:10: `topics`: expected a table, found the number 3
    "#]],
    );
}

#[test]
fn sides_are_two() {
    check_change(
        "do = \"kill\"\ntarget = \"leader(orders-0)\"",
        "do = \"partition\"\nbetween = [\"leader(orders-0)\"]",
        expect![[r#"
            x.toml:19:11: `between`: expected two values, found 1
        "#]],
    );
}

#[test]
fn impossible_targets_are_named() {
    check_change(
        "leader(orders-0)",
        "leader(orders-2)",
        expect![[r#"
        x.toml:19:11: there is no partition `orders-2`: `orders` has 2, from 0
    "#]],
    );
    check_change(
        "leader(orders-0)",
        "leader(order-0)",
        expect![[r#"
        x.toml:19:11: there is no topic `order`: did you mean `orders`?
    "#]],
    );
    check_change(
        "leader(orders-0)",
        "leadr(orders-0)",
        expect![[r#"
        x.toml:19:11: `target`: `leadr` is not a kind of target: did you mean `leader`?
    "#]],
    );
    check_change(
        "leader(orders-0)",
        "brokers(4)",
        expect![[r#"
            x.toml:19:11: there is no broker 4: the only one is 1
        "#]],
    );
    check_change(
        "leader(orders-0)",
        "writer/0",
        expect![[r#"
            x.toml:19:11: kill: its target is nodes, not clients
        "#]],
    );
    check_change(
        "$victim",
        "$victims",
        expect![[r#"
        x.toml:26:11: no other step saves its target as `victims`: did you mean $victim?
    "#]],
    );
    check_change(
        "topic = \"orders\"",
        "topic = \"order\"",
        expect![[r#"
        x.toml:12:10: there is no topic `order`: did you mean `orders`?
    "#]],
    );
}

#[test]
fn triggers_must_be_possible() {
    check_change(
        "after = \"crash\"",
        "after = \"crsh\"",
        expect![[r#"
        x.toml:23:10: there is no step `crsh`: did you mean `crash`?
    "#]],
    );
    check_change(
        "after = \"crash\"",
        "after = \"crash\"\nat = \"1s\"",
        expect![[r#"
        x.toml:22:1: a step has exactly one of `at`, `after` and `when`
    "#]],
    );
    check_change(
        "at = { uniform = [\"2s\", \"5s\"] }",
        "at = \"16s\"",
        expect![[r#"
        x.toml:17:7: a fault at 16s is not before everything heals (15s)
    "#]],
    );
    check_change(
        "at = { uniform = [\"2s\", \"5s\"] }",
        "at = \"21s\"",
        expect![[r#"
        x.toml:17:7: 21s is after the end of the run (20s)
    "#]],
    );
    check_change(
        "heal-at = \"15s\"",
        "heal-at = \"25s\"",
        expect![[r#"
        x.toml:4:12: 25s is after the end of the run (20s)
    "#]],
    );
    check_change(
        "at = { uniform = [\"2s\", \"5s\"] }",
        "after = \"b\"\ndo = \"mark\"\ntext = \"x\"\n[[timeline]]\nid = \"b\"\nafter = \"crash\"",
        expect![[r#"
            x.toml:17:10: these steps wait for each other: crash after b after crash
        "#]],
    );
}

#[test]
fn properties_are_read_by_those_who_will_use_them() {
    check_change(
        "acks = \"all\"",
        "akcs = \"all\"",
        expect![[r#"
        x.toml:13:20: unknown property akcs: did you mean acks?
    "#]],
    );
    check_change(
        "acks = \"all\"",
        "acks = \"most\"",
        expect![[r#"
        x.toml:13:20: acks=most: one of all, -1, 1, 0
    "#]],
    );
    check_change(
        "[topics.orders]",
        "[broker-config]\n\"log.flush.interval.message\" = 1\n[topics.orders]",
        expect![[r#"
            x.toml:8:32: `log.flush.interval.message` is not a property of a broker: did you mean `log.flush.interval.messages`?
        "#]],
    );
    check_change(
        "[topics.orders]",
        "[broker-config]\n\"log.flush.interval.messages\" = 0\n[topics.orders]",
        expect![[r#"
            x.toml:8:33: log.flush.interval.messages=0: it must be 1 or more
        "#]],
    );
    check_change(
        "[topics.orders]",
        "[broker-config]\n\"node.id\" = 0\n[topics.orders]",
        expect![[r#"
            x.toml:8:13: `node.id` is set by the testbed
        "#]],
    );
    check_change(
        "[topics.orders]",
        "[broker-config]\n\"replica.fetch.wait.max.ms\" = 31000\n[topics.orders]",
        expect![[r#"
            x.toml:8:31: no node starts with it: replica.fetch.wait.max.ms is above replica.lag.time.max.ms: followers of idle partitions would leave the in-sync replicas: set it to a fraction of replica.lag.time.max.ms
            x.toml:8:31: no node starts with it: replica.fetch.wait.max.ms is above replica.socket.timeout.ms: followers would give up on leaders that only wait for records: set it below replica.socket.timeout.ms
        "#]],
    );
}

#[test]
fn loss_needs_a_declaration_and_faults_must_bite() {
    check_change(
        "bites = true",
        "",
        expect![[r#"
        x.toml:15:1: no expectation shows that the faults took effect: give one of them `bites = true`
    "#]],
    );
    let loss = "is = 1\nbites = true\n[[expect]]\nthat = \"acked-lost\"\nis = \">= 1\"";
    check_change(
        "is = 1\nbites = true",
        loss,
        expect![[r#"
        x.toml:35:7: this allows acknowledged records to be lost, and the tolerable budget does not: say `budget = "beyond"` at the top
    "#]],
    );
}

#[test]
fn every_problem_of_a_file_is_told_at_once() {
    let text = GOOD
        .replace("claim", "clam")
        .replace("\"20s\"", "20")
        .replace("partitions = 2", "partitions = 0")
        .replace("do = \"start\"", "do = \"begin\"");
    check(
        &text,
        expect![[r#"
        x.toml:1:1: the file: `claim` is missing
        x.toml:2:1: `clam` is not a key of the file: did you mean `claim`?
        x.toml:3:11: `run-for`: the duration `20` has no unit: write `"20s"` or `"20ms"`
        x.toml:8:14: `partitions`: 0 is not within 1 to 10000
        x.toml:25:7: `begin` is not an action
    "#]],
    );
}

#[test]
fn broken_text_is_named_with_its_place() {
    check(
        "claim = ",
        expect![[r#"
        x.toml:1:9: not TOML: unexpected eof encountered
    "#]],
    );
    check(
        "claim = 'x'\nclaim = 'y'\n",
        expect![[r#"
        x.toml:2:1: not TOML: duplicate key: `claim`
    "#]],
    );
    check(
        "",
        expect![[r#"
        x.toml:1:1: the file: `claim` is missing
        x.toml:1:1: the file: `run-for` is missing
    "#]],
    );
    check(
        &format!("x = {}", "[".repeat(100_000)),
        expect![[r#"
            x.toml:1:133: not TOML: input exceeds the maximum allowed nesting depth
        "#]],
    );
    check(
        &" ".repeat(FILE_BYTES_MAX + 1),
        expect![[r#"
        x.toml:1:1: 1048577 bytes are too many for a scenario: at most 1048576
    "#]],
    );
}

#[test]
fn variants_change_values_and_are_checked_with_the_file() {
    let text = format!(
        "{GOOD}\n[variants.four]\nclaim = 'Four survive.'\nset = {{ \"/workloads/writer/clients\" = 4 }}\n"
    );
    let scenario = Scenario::load("x.toml", &text, &[]).unwrap();
    assert_eq!(scenario.variants, ["four"]);
    assert_eq!(scenario.claim_of(Some("four")), "Four survive.");
    assert_eq!(scenario.plan(None, 1).workloads["writer"].clients, 1);
    assert_eq!(scenario.plan(Some("four"), 1).workloads["writer"].clients, 4);
    check(
        &text.replace("= 4", "= 'four'"),
        expect![[r#"
        x.toml:36:40: `clients`: expected a whole number, found the text "four"
    "#]],
    );
    check(
        &text.replace("clients\" = 4", "client\" = 4"),
        expect![[r#"
        x.toml:36:38: `client` is not a key of `producer`: did you mean `clients`?
    "#]],
    );
    check(
        &text.replace("/workloads", "workloads"),
        expect![[r#"
        x.toml:36:38: `workloads/writer/clients` is not a JSON pointer: write `/workloads/writer/clients`
    "#]],
    );
}

#[test]
fn the_command_line_sets_values() {
    let load = |setting: &str| Scenario::load("x.toml", GOOD, &[setting.to_string()]);
    assert_eq!(
        load("/topics/orders/partitions=3").unwrap().plan(None, 1).topics["orders"].partitions,
        3
    );
    assert_eq!(
        load("/workloads/writer/config/acks=1").unwrap().plan(None, 1).workloads["writer"].config.0
            ["acks"],
        "1"
    );
    let refused = |setting: &str| load(setting).unwrap_err().to_string();
    assert_eq!(
        refused("/topics/orders/partition=3"),
        "--set /topics/orders/partition=3: `partition` is not a key of `orders`: did you mean `partitions`?"
    );
    assert_eq!(refused("x"), "--set x: expected `/pointer=value`");
}

#[test]
fn without_a_seed_range_there_are_ten() {
    let scenario = Scenario::load("x.toml", &GOOD.replace("seeds = \"1..=200\"", ""), &[]).unwrap();
    assert_eq!(scenario.seeds.count(), 10);
}

#[test]
fn names_come_from_the_path() {
    assert_eq!(name_of("scenarios/storage/a.toml"), "storage/a");
    assert_eq!(name_of("./x/scenarios/storage/deep/a.toml"), "storage/deep/a");
    assert_eq!(name_of("a.toml"), "a");
    assert_eq!(name_of("/tmp/y/a.json"), "y/a");
}

#[test]
fn every_file_of_the_project_is_a_scenario() {
    let mut directories = vec![std::path::PathBuf::from("../scenarios")];
    let mut found = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|ending| ending == "toml") {
                let text = std::fs::read_to_string(&path).unwrap();
                let loaded = Scenario::load(&path.to_string_lossy(), &text, &[]);
                loaded.unwrap_or_else(|problems| panic!("{problems}"));
                found += 1;
            }
        }
    }
    assert!(found > 20, "only {found} were found");
}
