//! What a seed chooses: any leaf of a file, each by its own place, and checked as it is drawn.

use std::collections::BTreeSet;

use super::good_file::GoodFile;
use super::*;

const FILE: GoodFile = GoodFile(
    r#"
claim = "Records survive."
seeds = "1..=100"
run-for = "20s"
heal-at = "15s"

[cluster]
brokers = { one-of = [3, 5] }
controllers = 3
combined = { one-of = [true, false] }
racks = { one-of = [[], ["a", "b"]] }

[broker-config]
"log.segment.bytes" = { one-of = [20000, 1000000] }
"log.roll.ms" = { uniform = [1000, 9000] }

[network]
loss = { one-of = [0.0, 0.01] }

[disk]
on-power-loss = { one-of = ["keep-all", "lose-unsynced"] }

[topics.orders]
config = { "min.insync.replicas" = { one-of = [1, 2] } }

[workloads.writer]
kind = "producer"
topic = "orders"
config = { acks = "all", "linger.ms" = { one-of = [0, 50] } }

[chaos]
swarm = true

[[chaos.faults]]
do = "kill"
target = "$event"
when = { event = "produce.appended" }
delay = { uniform = ["0ms", "4ms"] }
every = "3s"
for = "1s"

[[expect]]
that = "event"
event = "fault.started"
is = ">= 1"
bites = true
"#,
);

#[test]
fn every_seed_chooses_and_what_it_chose_is_told() {
    let scenario = FILE.load().unwrap();
    let all: Vec<Plan> = (0..100).map(|seed| scenario.plan(None, seed)).collect();
    let shapes: BTreeSet<_> =
        all.iter().map(|plan| (plan.cluster.brokers, plan.cluster.is_combined())).collect();
    assert_eq!(shapes.len(), 4);
    let losses: BTreeSet<_> = all.iter().map(|plan| plan.network.loss.to_string()).collect();
    assert_eq!(losses.len(), 2);
    let rolls: Vec<u64> =
        all.iter().map(|plan| plan.broker_config.0["log.roll.ms"].parse().unwrap()).collect();
    assert!(rolls.iter().all(|roll| (1_000..=9_000).contains(roll)));
    assert!(rolls.iter().collect::<BTreeSet<_>>().len() > 90);
    let pointers: Vec<&str> =
        all[0].drawn.iter().filter_map(|drawn| Some(drawn.split_once('=')?.0)).collect();
    assert_eq!(
        pointers,
        [
            "/cluster/brokers",
            "/cluster/combined",
            "/cluster/racks",
            "/broker-config/log.segment.bytes",
            "/broker-config/log.roll.ms",
            "/network/loss",
            "/disk/on-power-loss",
            "/topics/orders/config/min.insync.replicas",
            "/workloads/writer/config/linger.ms",
        ]
    );
}

#[test]
fn what_was_drawn_can_be_set_and_then_all_else_is_drawn_as_before() {
    let scenario = FILE.load().unwrap();
    let plan = scenario.plan(None, 7);
    let again = Scenario::load("x.toml", FILE.0, &plan.drawn).unwrap();
    assert_eq!(again.resolved(None, 7), scenario.resolved(None, 7));
    assert_eq!(again.resolved(None, 8), scenario.resolved(None, 7), "nothing is left to draw");
    let one = ["/cluster/brokers=5".to_owned()];
    let one = Scenario::load("x.toml", FILE.0, &one).unwrap();
    for seed in 0..20 {
        let (set, free) = (one.plan(None, seed), scenario.plan(None, seed));
        assert_eq!(set.cluster.brokers, 5);
        assert_eq!(set.broker_config, free.broker_config);
    }
}

#[test]
fn every_choice_is_checked_not_only_the_first() {
    FILE.refused("[true, false]", "[true, \"no\"]", "`combined`: expected `true` or `false`");
    FILE.refused("[true, false]", "[]", "`one-of` takes at least one value");
    FILE.refused("[0.0, 0.01]", "[0.0, 2.0]", "expected a number of 0 to 1");
    FILE.refused("\"lose-unsynced\"]", "\"lose-unsinced\"]", "did you mean `lose-unsynced`?");
    FILE.refused("[20000, 1000000]", "[20000, 3]", "log.segment.bytes=3");
    FILE.refused("[1000, 9000]", "[9000, 1000]", "`uniform` takes the smaller value first");
    FILE.refused(
        "brokers = { one-of = [3, 5] }",
        "brokers = { one-of = [2, 5] }",
        "combined controllers need",
    );
    FILE.refused("{ one-of = [0, 50] }", "{ one-of = [0, -5] }", "linger.ms");
}

#[test]
fn a_fault_at_a_moment_says_which() {
    FILE.refused(
        "when = { event = \"produce.appended\" }\n",
        "",
        "no other step saves its target as `event`",
    );
    FILE.refused(
        "target = \"$event\"\nwhen = { event = \"produce.appended\" }\n",
        "target = \"brokers(1)\"\n",
        "a delay after what? it goes with `when`",
    );
    FILE.refused("produce.appended", "produce.apended", "did you mean `produce.appended`?");
    FILE.refused(
        "target = \"$event\"",
        "target = \"$even\"",
        "no other step saves its target as `even`",
    );
    FILE.refused(
        "event = \"produce.appended\" }",
        "event = \"produce.appended\", partition = \"orders-7\" }",
        "orders-7",
    );
}
