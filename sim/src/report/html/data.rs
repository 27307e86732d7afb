//! What the page is given of a run: columns of numbers, and tables of the words they stand for.
//!
//! Times are nanoseconds since the clients started, in columns of events each as the difference from the one before; JavaScript
//! counts whole numbers up to 2^53, which is 104 days of them. Nothing is −1.

use std::collections::BTreeMap;

use ottla::types::{BrokerSet, QuorumRole, TopicIdPartition};
use serde_json::{Value, json};

use crate::chronicle::{Replica, What};
use crate::event::{Event, Who};
use crate::report::{bands, beyond_budget, lanes, lost_in_words, repro_command, words_of};
use crate::scenario::duration::Span;
use crate::scenario::words::{EVENTS, INVARIANTS, Story, upheld};
use crate::stats::Fate;
use crate::verdict::{SeedRun, VariantRun, Violation};
use crate::views::NodeTurn;
use crate::which;

/// How many broken properties the page tells of, one by one. Later ones are consequences, and are counted.
const VIOLATIONS_MAX: usize = 200;

/// The data of one seed.
pub(super) fn of(run: &VariantRun, seed: &SeedRun) -> Value {
    let mut words = Words::new(seed);
    let events = events(seed, &mut words);
    json!({
        "schema": "sim.page/1",
        "scenario": run.scenario,
        "variant": run.variant,
        "path": run.path,
        "seed": seed.seed.to_string(),
        "claim": run.claim,
        "why": seed.plan.why,
        "verdict": verdict(seed),
        "inconclusive": seed.inconclusive(),
        "nondeterminism": seed.nondeterminism,
        "again": repro_command(run, seed),
        "time": which::TIME,
        "end": nanos(bands::end_of(seed)),
        "runFor": nanos(seed.plan.run_for),
        "healAt": nanos(seed.plan.heal_at()),
        "totals": seed.totals,
        "lost": lost_in_words(&seed.totals),
        "expectations": expectations(seed),
        "beyondBudget": beyond_budget(seed),
        "violations": violations(seed, &words),
        "violationsInAll": seed.violations.len(),
        "faults": faults(seed, &words),
        "events": events,
        "nodes": nodes(seed, &words),
        "replicas": replicas(seed, &words),
        "versions": versions(seed, &words),
        "clients": clients(seed, &words),
        "lanes": words.lanes.iter().map(lane).collect::<Vec<_>>(),
        "partitions": words.partitions.keys().collect::<Vec<_>>(),
        "kinds": kinds(),
        "errors": words.errors.names,
        "notes": words.notes.names,
    })
}

fn verdict(seed: &SeedRun) -> &'static str {
    if seed.nondeterminism.is_some() {
        "NONDETERMINISTIC"
    } else if seed.is_red() {
        "FAILED"
    } else if seed.inconclusive().is_some() {
        "INCONCLUSIVE"
    } else {
        "passed"
    }
}

fn nanos(at: Span) -> u64 {
    at.nanos()
}

// ── Words ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Texts by number, each once.
#[derive(Default)]
struct Table {
    names: Vec<String>,
    numbers: BTreeMap<String, usize>,
}

impl Table {
    fn number(&mut self, text: &str) -> usize {
        if let Some(known) = self.numbers.get(text) {
            return *known;
        }
        let number = self.names.len();
        self.names.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

struct Words {
    /// Brokers, controllers, clients: whoever did anything.
    lanes: Vec<Who>,
    /// The partitions by name, in the order of topic and number.
    partitions: BTreeMap<PartitionWord, usize>,
    /// What they were called before anybody told the names of their topics.
    unnamed: BTreeMap<PartitionWord, PartitionWord>,
    notes: Table,
    errors: Table,
}

/// A partition's name, ordered by topic and number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct PartitionWord(String, i32);

impl serde::Serialize for PartitionWord {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}-{}", self.0, self.1))
    }
}

impl PartitionWord {
    fn of(partition: &ottla::types::TopicPartition) -> Self {
        Self(partition.topic.to_string(), partition.partition.value())
    }
}

impl Words {
    fn new(seed: &SeedRun) -> Self {
        let chronicle = &seed.stats.chronicle;
        let of_events = seed.events.iter().map(|event| &event.who);
        let of_changes = chronicle.changes.iter().map(|change| &change.who);
        let mut lanes: Vec<&Who> = of_events.chain(of_changes).collect();
        lanes.sort();
        lanes.dedup();
        lanes.retain(|who| **who != Who::Testbed);
        let of_events = seed.events.iter().filter_map(|event| event.partition.as_ref());
        let unnamed: BTreeMap<PartitionWord, PartitionWord> = chronicle
            .names
            .iter()
            .map(|(id, name)| {
                let index = id.partition.value();
                (PartitionWord(id.topic_id.to_string(), index), PartitionWord::of(name))
            })
            .collect();
        let all = of_events.chain(chronicle.names.values()).map(PartitionWord::of);
        let known = all.map(|name| unnamed.get(&name).cloned().unwrap_or(name));
        let mut partitions: BTreeMap<PartitionWord, usize> = known.map(|name| (name, 0)).collect();
        for (number, (_, place)) in partitions.iter_mut().enumerate() {
            *place = number;
        }
        let lanes = lanes.into_iter().cloned().collect();
        Self { lanes, partitions, unnamed, notes: Table::default(), errors: Table::default() }
    }

    fn lane(&self, who: &Who) -> i64 {
        self.lanes.binary_search(who).map_or(-1, |lane| i64::try_from(lane).unwrap_or(-1))
    }

    fn partition(&self, partition: Option<&ottla::types::TopicPartition>) -> i64 {
        let name = partition.map(PartitionWord::of);
        let name = name.map(|name| self.unnamed.get(&name).cloned().unwrap_or(name));
        let number = name.and_then(|name| self.partitions.get(&name));
        number.map_or(-1, |number| i64::try_from(*number).unwrap_or(-1))
    }

    fn partition_of(&self, seed: &SeedRun, id: TopicIdPartition) -> i64 {
        self.partition(seed.stats.chronicle.names.get(&id))
    }
}

fn lane(who: &Who) -> Value {
    let (kind, id) = match who {
        Who::Broker(id) => ("broker", Some(*id)),
        Who::Controller(number) => ("controller", Some(*number)),
        Who::Client { .. } => ("client", None),
        Who::Testbed => ("testbed", None),
    };
    json!({ "name": who.to_string(), "kind": kind, "id": id })
}

fn kinds() -> Vec<Value> {
    let story = |story| match story {
        Story::Each => 2,
        Story::Summed => 1,
        Story::Never => 0,
    };
    EVENTS.iter().map(|word| json!([word.name, story(word.story), word.doc])).collect()
}

// ── What happened ──────────────────────────────────────────────────────────────────────────────────────────────────────

fn events(seed: &SeedRun, words: &mut Words) -> Value {
    let mut columns: [Vec<i64>; 9] = Default::default();
    let mut before = Span::ZERO;
    for event in &seed.events {
        let offset = |offset: Option<i64>| offset.unwrap_or(-1);
        let numbers = [
            signed(event.at.nanos().saturating_sub(before.nanos())),
            words.lane(&event.who),
            kind(event),
            words.partition(event.partition.as_ref()),
            signed(event.count),
            offset(event.offsets.map(|(from, _)| from.value())),
            offset(event.offsets.map(|(_, to)| to.value())),
            event.error.map_or(-1, |error| place(words.errors.number(error.name()))),
            if event.note.is_empty() { -1 } else { place(words.notes.number(&event.note)) },
        ];
        before = event.at;
        for (column, number) in columns.iter_mut().zip(numbers) {
            column.push(number);
        }
    }
    let names = ["at", "lane", "kind", "partition", "count", "from", "to", "error", "note"];
    names.into_iter().zip(columns).map(|(name, column)| (name, Value::from(column))).collect()
}

fn kind(event: &Event) -> i64 {
    EVENTS.iter().position(|word| word.name == event.kind).map_or(-1, place)
}

fn place(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(-1)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn faults(seed: &SeedRun, words: &Words) -> Vec<Value> {
    let one = |band: &bands::Band| {
        json!({
            "from": nanos(band.from),
            "until": band.until.map(nanos),
            "action": band.action,
            "details": band.details,
            "lanes": band.who.iter().map(|who| words.lane(who)).collect::<Vec<_>>(),
            "isFault": band.is_fault,
        })
    };
    bands::of(seed).iter().map(one).collect()
}

// ── What went wrong ────────────────────────────────────────────────────────────────────────────────────────────────────

fn violations(seed: &SeedRun, words: &Words) -> Vec<Value> {
    let one = |(index, violation): (usize, &Violation)| {
        let claim = INVARIANTS.iter().find(|(name, _)| *name == violation.check);
        // The later ones are consequences: whoever wants their cause looks at the first.
        let rows = if index == 0 { lanes::rows(&seed.events, violation) } else { Vec::new() };
        json!({
            "check": violation.check,
            "claim": claim.map(|(_, doc)| *doc),
            "code": upheld(violation.check),
            "at": nanos(violation.at),
            "lane": violation.node.as_ref().map_or(-1, |who| words.lane(who)),
            "node": violation.node.as_ref().map(ToString::to_string),
            "partition": words.partition(violation.partition.as_ref()),
            "what": violation.what,
            "evidence": violation.evidence,
            "slice": rows.iter().map(|row| [row.event, row.last]).collect::<Vec<_>>(),
        })
    };
    seed.violations.iter().take(VIOLATIONS_MAX).enumerate().map(one).collect()
}

/// What the file asks for, and what this seed shows of it.
fn expectations(seed: &SeedRun) -> Vec<Value> {
    let missed = seed.missed();
    let asked = seed.plan.expect.iter().zip(&seed.measured).enumerate();
    let shown = asked.filter_map(|(index, (expectation, measurement))| {
        let measurement = measurement.as_ref()?;
        let seen = measurement.value.as_ref().map(ToString::to_string);
        Some(json!({
            "that": words_of(expectation),
            "is": expectation.is.to_string(),
            "why": expectation.why,
            "seen": seen.unwrap_or_else(|| "nothing to measure".to_owned()),
            "holds": measurement.holds,
            "over": expectation.over_seeds.name(),
            "missed": missed.contains(&index),
        }))
    });
    shown.collect()
}

// ── States ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Each lane's process, part in the quorum, votes, and whether it is the active controller.
fn nodes(seed: &SeedRun, words: &Words) -> Vec<Value> {
    let mut all: Vec<[Vec<Value>; 4]> = vec![Default::default(); words.lanes.len()];
    for change in &seed.stats.chronicle.changes {
        let lane = usize::try_from(words.lane(&change.who)).ok();
        let Some(of_lane) = lane.and_then(|lane| all.get_mut(lane)) else { continue };
        let at = nanos(change.at);
        match change.what {
            What::Process(turn) => of_lane[0].push(json!([at, turn_name(turn)])),
            What::Quorum { role, epoch, leader } => {
                let leader = leader.map_or(-1, |leader| leader.value());
                of_lane[1].push(json!([at, role_name(role), epoch.value(), leader]));
            }
            What::Voted { epoch, candidate } => {
                of_lane[2].push(json!([at, epoch.value(), candidate.value()]));
            }
            What::Active(is_active) => of_lane[3].push(json!([at, is_active])),
            What::Replica(..) => {}
        }
    }
    let named = |[process, quorum, votes, active]: [Vec<Value>; 4]| json!({ "process": process, "quorum": quorum, "votes": votes, "active": active });
    all.into_iter().map(named).collect()
}

/// The process's turn in a word.
fn turn_name(turn: NodeTurn) -> &'static str {
    match turn {
        NodeTurn::Started => "started",
        NodeTurn::Ended => "ended",
        NodeTurn::Paused => "paused",
        NodeTurn::Resumed => "resumed",
    }
}

/// A role in the quorum in a word.
pub(in crate::report) fn role_name(role: QuorumRole) -> &'static str {
    match role {
        QuorumRole::Unattached => "unattached",
        QuorumRole::Prospective => "prospective",
        QuorumRole::Candidate => "candidate",
        QuorumRole::Leader => "leader",
        QuorumRole::Follower => "follower",
        QuorumRole::Resigned => "resigned",
        QuorumRole::Observer => "observer",
    }
}

/// The curves of each replica.
#[derive(Default)]
struct Curves {
    end: (Vec<u64>, Vec<i64>),
    high_watermark: (Vec<u64>, Vec<i64>),
    roles: Vec<Value>,
}

fn replicas(seed: &SeedRun, words: &Words) -> Vec<Value> {
    let mut all: BTreeMap<(i64, i64), Curves> = BTreeMap::new();
    for change in &seed.stats.chronicle.changes {
        let What::Replica(id, what) = change.what else { continue };
        let key = (words.partition_of(seed, id), words.lane(&change.who));
        let (curves, at) = (all.entry(key).or_default(), nanos(change.at));
        match what {
            Replica::End(end) => step(&mut curves.end, at, end.value()),
            Replica::HighWatermark(to) => step(&mut curves.high_watermark, at, to.value()),
            Replica::Leads(epoch) => curves.roles.push(json!([at, "leads", epoch.value(), -1])),
            Replica::Follows(epoch, leader) => {
                let leader = leader.map_or(-1, |leader| leader.value());
                curves.roles.push(json!([at, "follows", epoch.value(), leader]));
            }
            Replica::Deleted => {
                step(&mut curves.end, at, -1);
                curves.roles.push(json!([at, "gone", -1, -1]));
            }
        }
    }
    let shown = all.into_iter().filter(|((partition, lane), _)| *partition >= 0 && *lane >= 0);
    let named = shown.map(|((partition, lane), curves)| {
        json!({
            "partition": partition, "lane": lane, "roles": curves.roles,
            "end": { "at": differences(&curves.end.0), "is": curves.end.1 },
            "hw": { "at": differences(&curves.high_watermark.0), "is": curves.high_watermark.1 },
        })
    });
    named.collect()
}

/// The last value of a moment is the one that counts.
fn step((times, values): &mut (Vec<u64>, Vec<i64>), at: u64, value: i64) {
    match (times.last(), values.last_mut()) {
        (Some(last), Some(known)) if *last == at => *known = value,
        (_, Some(known)) if *known == value => {}
        _ => {
            times.push(at);
            values.push(value);
        }
    }
}

fn differences(times: &[u64]) -> Vec<u64> {
    let mut before = 0;
    let step = |at: &u64| {
        let step = at.saturating_sub(before);
        before = *at;
        step
    };
    times.iter().map(step).collect()
}

/// Each partition as the controller committed it.
fn versions(seed: &SeedRun, words: &Words) -> Vec<Vec<Value>> {
    let mut all: Vec<Vec<Value>> = vec![Vec::new(); words.partitions.len()];
    let ids = |set: &BrokerSet| set.iter().map(|broker| broker.value()).collect::<Vec<_>>();
    for (id, versions) in &seed.stats.chronicle.versions {
        let number = usize::try_from(words.partition_of(seed, *id)).ok();
        let Some(of) = number.and_then(|number| all.get_mut(number)) else { continue };
        of.extend(versions.iter().map(|(at, view)| {
            json!([
                nanos(*at),
                view.leader.map_or(-1, |leader| leader.value()),
                view.leader_epoch.map_or(-1, |epoch| epoch.value()),
                ids(&view.isr),
                ids(&view.replicas),
                view.epoch.map_or(-1, |epoch| epoch.value()),
            ])
        }));
    }
    all
}

/// When each client sent its records, and when it was told what of them.
fn clients(seed: &SeedRun, words: &Words) -> Vec<Value> {
    let mut all: BTreeMap<i64, [Vec<u64>; 4]> = BTreeMap::new();
    for outcome in &seed.stats.outcomes {
        let who = Who::Client { workload: outcome.workload.clone(), index: outcome.client };
        let columns = all.entry(words.lane(&who)).or_default();
        columns[0].push(nanos(outcome.sent_at));
        let fate = match outcome.fate {
            Fate::Acked => 1,
            Fate::Failed => 2,
            Fate::Unknown => 3,
        };
        columns[fate].push(nanos(outcome.done_at));
    }
    let named = all.into_iter().filter(|(lane, _)| *lane >= 0).map(|(lane, mut columns)| {
        columns.iter_mut().for_each(|column| column.sort_unstable());
        let [sent, acked, failed, unknown] = columns.map(|column| differences(&column));
        json!({ "lane": lane, "sent": sent, "acked": acked, "failed": failed, "unknown": unknown })
    });
    named.collect()
}
