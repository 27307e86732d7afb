//! A small run for the tests of reports: a leader dies, and what it alone had acknowledged is gone.

use ottla::types::{BrokerId, BrokerSet, LeaderEpoch, Offset, PartitionEpoch, PartitionIndex};
use ottla::types::{QuorumRole, TopicId, TopicIdPartition, TopicPartition};
use serde_json::json;

use crate::chronicle::{Change, Chronicle, Replica, What};
use crate::event::{Event, Who};
use crate::scenario::duration::Span;
use crate::stats::{Fate, Outcome, Stats};
use crate::verdict::{Fired, SeedRun, VariantRun, Violation};
use crate::views::{NodeTurn, PartitionView};

fn millis(millis: u64) -> Span {
    Span::from_nanos(millis * 1_000_000)
}

/// The partition of the run.
fn partition() -> (TopicIdPartition, TopicPartition) {
    let index = PartitionIndex::new(0);
    let id = TopicIdPartition { topic_id: TopicId::from_bytes([7; 16]), partition: index };
    (id, TopicPartition { topic: "orders".into(), partition: index })
}

fn chronicle() -> Chronicle {
    let (id, name) = partition();
    let change = |at, who, what| Change { at: millis(at), who, what };
    let replica = |at, broker, what| change(at, Who::Broker(broker), What::Replica(id, what));
    let (one, two) = (LeaderEpoch::new(1), LeaderEpoch::new(2));
    let quorum = |role| What::Quorum { role, epoch: one, leader: Some(BrokerId::new(101)) };
    let mut changes = vec![
        change(0, Who::Broker(1), What::Process(NodeTurn::Started)),
        change(0, Who::Broker(2), What::Process(NodeTurn::Started)),
        change(0, Who::Controller(1), What::Process(NodeTurn::Started)),
        change(0, Who::Controller(1), quorum(QuorumRole::Leader)),
        change(0, Who::Controller(1), What::Active(true)),
        change(0, Who::Broker(1), quorum(QuorumRole::Observer)),
        replica(1, 1, Replica::Leads(one)),
        replica(2, 2, Replica::Follows(one, Some(BrokerId::new(1)))),
    ];
    for record in 1..=4_u32 {
        let (at, end) = (u64::from(record) * 100, Offset::new(i64::from(record)));
        changes.push(replica(at, 1, Replica::End(end)));
        if record < 4 {
            changes.push(replica(at + 5, 2, Replica::End(end)));
        }
        changes.push(replica(at + 10, 1, Replica::HighWatermark(end)));
    }
    changes.extend([
        change(500, Who::Broker(1), What::Process(NodeTurn::Ended)),
        replica(900, 2, Replica::Leads(two)),
        replica(910, 2, Replica::HighWatermark(Offset::new(3))),
        change(1_500, Who::Broker(1), What::Process(NodeTurn::Started)),
        replica(1_600, 1, Replica::Follows(two, Some(BrokerId::new(2)))),
        replica(1_610, 1, Replica::End(Offset::new(3))),
    ]);
    let view = |version: i32, leader, epoch, isr: &[i32]| PartitionView {
        epoch: Some(PartitionEpoch::new(version)),
        leader: Some(BrokerId::new(leader)),
        leader_epoch: Some(epoch),
        replicas: [1, 2].into_iter().map(BrokerId::new).collect(),
        isr: isr.iter().map(|id| BrokerId::new(*id)).collect::<BrokerSet>(),
    };
    let versions = vec![
        (Span::ZERO, view(0, 1, one, &[1, 2])),
        (millis(900), view(1, 2, two, &[2])),
        (millis(1_700), view(2, 2, two, &[1, 2])),
    ];
    let changes = changes.into_iter().collect();
    Chronicle { changes, versions: [(id, versions)].into(), names: [(id, name)].into() }
}

/// The red run.
pub(crate) fn red() -> SeedRun {
    let (_, name) = partition();
    let writer = Who::Client { workload: "writer".into(), index: 0 };
    let event = |at, who, kind| Event::new(millis(at), who, kind);
    let records = |at, kind, from: i64, to: i64| {
        event(at, Who::Broker(1), kind)
            .partition(name.clone())
            .count(from.abs_diff(to))
            .offsets(Offset::new(from), Offset::new(to))
    };
    let events = vec![
        event(0, Who::Controller(1), "controller.elected").note("epoch 1"),
        records(400, "produce.appended", 3, 4),
        records(410, "produce.acked", 3, 4),
        event(411, writer, "client.acked").partition(name.clone()),
        event(500, Who::Broker(1), "fault.started").note("kill leader(orders-0)"),
        event(900, Who::Controller(1), "leader.elected")
            .partition(name.clone())
            .note("broker 2, epoch 2 </script>"),
        records(1_610, "log.truncated", 4, 3),
    ];
    let outcome = |record: u64| Outcome {
        workload: "writer".into(),
        client: 0,
        partition: Some(name.clone()),
        sent_at: millis(record * 100 - 2),
        done_at: millis(record * 100 + 11),
        fate: Fate::Acked,
        error: None,
        found: u32::from(record < 4),
        deleted: false,
        reordered: false,
    };
    let stats = Stats {
        outcomes: (1..=4).map(outcome).collect(),
        chronicle: chronicle(),
        ..Stats::default()
    };
    let lost = Violation {
        check: "lost-write",
        at: millis(2_000),
        node: None,
        partition: Some(name),
        what: "record 3 of writer/0 was acknowledged at offset 3 and is not in the log".into(),
        evidence: vec!["a fresh reader read the partition from 0 to its end".into()],
    };
    let fired = |step, at, action| {
        let fixed = json!({ "at": format!("{at}ms"), "do": action, "target": "brokers(1)" });
        Fired { step, at: millis(at), fixed, at_stake: None }
    };
    SeedRun {
        seed: 7,
        variant: None,
        plan: serde_json::from_str(r#"{ "claim": "x", "run-for": "2s" }"#).unwrap(),
        events,
        totals: stats.totals(),
        stats,
        measured: Vec::new(),
        violations: vec![lost],
        fired: vec![fired(0, 500, "kill"), fired(1, 1_500, "start")],
        unfired: Vec::new(),
        impossible: None,
        trace_hash: "x".into(),
        trace_entries: 1,
        lasted: millis(2_000),
        frames: 0,
        history: Vec::new(),
        marks: Vec::new(),
        reached: Default::default(),
        nondeterminism: None,
    }
}

/// The red run as the only one of its scenario.
pub(crate) fn variant() -> VariantRun {
    VariantRun {
        scenario: "replication/sample".into(),
        path: "scenarios/replication/sample.toml".into(),
        variant: None,
        claim: "What is acknowledged stays.".into(),
        settings: Vec::new(),
        seeds: vec![red()],
    }
}
