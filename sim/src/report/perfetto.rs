//! `trace.json`: a run in Chrome's trace format, which Perfetto opens (<https://ui.perfetto.dev>).
//!
//! A process is a node or a client; one more stands for what was done, one for the cluster as its controller committed it. What
//! lasts and never overlaps on its row is a complete slice (`X`), what may overlap an asynchronous one (`b` and `e`), a turn an
//! instant (`i`), a log's end and its high watermark counters (`C`). Times are microseconds, with nanoseconds behind the point.

use std::collections::BTreeMap;

use ottla::types::TopicPartition;
use serde_json::{Value, json};

use super::html::role_name;
use super::{bands, story};
use crate::chronicle::{Change, Replica, What};
use crate::event::Who;
use crate::scenario::duration::Span;
use crate::scenario::words::{EVENTS, Story};
use crate::stats::Fate;
use crate::verdict::SeedRun;
use crate::views::NodeTurn;

/// The process of what was done and of what went wrong.
const TESTBED: usize = 1;
/// The process of the cluster as its controller committed it.
const CLUSTER: usize = 2;
/// The first process of a node.
const NODES: usize = 3;

/// The rows of a node; those of its replicas follow.
const ROW_PROCESS: usize = 1;
const ROW_QUORUM: usize = 2;
const ROW_TURNS: usize = 3;
const ROW_REPLICAS: usize = 10;

/// The trace of one seed: one event a line.
#[must_use]
pub fn trace(seed: &SeedRun) -> String {
    let mut trace = Trace::new(seed);
    trace.faults();
    trace.violations();
    trace.partitions();
    trace.nodes();
    trace.replicas();
    trace.turns();
    trace.requests();
    let lines: Vec<String> = trace.out.iter().map(Value::to_string).collect();
    format!("{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n{}\n]}}\n", lines.join(",\n"))
}

/// What a row shows from each moment on; nothing where there is nothing to show.
type States = Vec<(Span, Option<String>)>;

/// Microseconds.
fn micros(at: Span) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
    let micros = at.nanos() as f64 / 1_000.0;
    json!(micros)
}

struct Trace<'a> {
    seed: &'a SeedRun,
    end: Span,
    nodes: Vec<&'a Who>,
    partitions: Vec<&'a TopicPartition>,
    out: Vec<Value>,
    /// How many asynchronous slices there are: each has a number of its own.
    slices: usize,
}

impl<'a> Trace<'a> {
    fn new(seed: &'a SeedRun) -> Self {
        let chronicle = &seed.stats.chronicle;
        let of_events = seed.events.iter().map(|event| &event.who);
        let mut nodes: Vec<&Who> =
            of_events.chain(chronicle.changes.iter().map(|change| &change.who)).collect();
        nodes.sort();
        nodes.dedup();
        nodes.retain(|who| **who != Who::Testbed);
        let partitions = chronicle.partitions().into_iter().map(|(_, name)| name).collect();
        let end = bands::end_of(seed);
        let mut trace = Self { seed, end, nodes, partitions, out: Vec::new(), slices: 0 };
        trace.name_process(TESTBED, "what was done");
        trace.name_process(CLUSTER, "cluster, as committed");
        for index in 0..trace.nodes.len() {
            let name = trace.nodes[index].to_string();
            trace.name_process(NODES + index, &name);
        }
        trace
    }

    fn process_of(&self, who: &Who) -> usize {
        self.nodes.binary_search(&who).map_or(TESTBED, |index| NODES + index)
    }

    // ── Events of the format ───────────────────────────────────────────────────────────────────────────────────────────

    fn name_process(&mut self, pid: usize, name: &str) {
        self.out.push(json!({ "ph": "M", "pid": pid, "tid": 0, "ts": 0, "name": "process_name", "args": { "name": name } }));
        self.out.push(json!({ "ph": "M", "pid": pid, "tid": 0, "ts": 0, "name": "process_sort_index", "args": { "sort_index": pid } }));
    }

    fn name_row(&mut self, pid: usize, tid: usize, name: &str) {
        self.out.push(json!({ "ph": "M", "pid": pid, "tid": tid, "ts": 0, "name": "thread_name", "args": { "name": name } }));
        self.out.push(json!({ "ph": "M", "pid": pid, "tid": tid, "ts": 0, "name": "thread_sort_index", "args": { "sort_index": tid } }));
    }

    fn slice(&mut self, (pid, tid): (usize, usize), from: Span, until: Span, name: &str) {
        let lasts = Span::from_nanos(until.nanos().saturating_sub(from.nanos()));
        self.out.push(json!({ "ph": "X", "pid": pid, "tid": tid, "ts": micros(from), "dur": micros(lasts), "name": name, "cat": "state" }));
    }

    fn overlapping(
        &mut self,
        pid: usize,
        cat: &str,
        from: Span,
        until: Span,
        named: (&str, Value),
    ) {
        self.slices += 1;
        let (id, (name, args)) = (self.slices.to_string(), named);
        self.out.push(json!({ "ph": "b", "pid": pid, "tid": 0, "ts": micros(from), "id": id, "cat": cat, "name": name, "args": args }));
        self.out.push(json!({ "ph": "e", "pid": pid, "tid": 0, "ts": micros(until.max(from)), "id": id, "cat": cat, "name": name }));
    }

    fn instant(&mut self, (pid, tid): (usize, usize), at: Span, scope: &str, named: (&str, Value)) {
        let (name, args) = named;
        self.out.push(json!({ "ph": "i", "pid": pid, "tid": tid, "ts": micros(at), "s": scope, "name": name, "cat": "event", "args": args }));
    }

    fn counter(&mut self, pid: usize, at: Span, name: &str, value: i64) {
        self.out.push(json!({ "ph": "C", "pid": pid, "tid": 0, "ts": micros(at), "name": name, "args": { "offset": value } }));
    }

    /// States that follow each other on a row, the last until the end.
    fn states(&mut self, row: (usize, usize), states: &[(Span, Option<String>)]) {
        for (index, (from, name)) in states.iter().enumerate() {
            let until = states.get(index + 1).map_or(self.end, |(next, _)| *next);
            if let Some(name) = name.as_ref().filter(|_| until > *from) {
                self.slice(row, *from, until, name);
            }
        }
    }

    // ── What happened ──────────────────────────────────────────────────────────────────────────────────────────────────

    fn faults(&mut self) {
        for band in bands::of(self.seed) {
            let of: Vec<String> = band.who.iter().map(ToString::to_string).collect();
            let name = format!("{} {}", band.action, of.join(", "));
            let args = json!({ "details": band.details });
            let until = band.until.unwrap_or(band.from);
            self.overlapping(TESTBED, "fault", band.from, until, (name.trim_end(), args.clone()));
            for who in band.who.iter().filter(|_| band.is_fault) {
                let pid = self.process_of(who);
                self.overlapping(pid, "fault", band.from, until, (&band.action, args.clone()));
            }
        }
    }

    fn violations(&mut self) {
        self.name_row(TESTBED, ROW_PROCESS, "what went wrong");
        for violation in &self.seed.violations {
            let args = json!({ "what": violation.what, "evidence": violation.evidence.join("\n") });
            let name = format!("✘ {}", violation.check);
            self.instant((TESTBED, ROW_PROCESS), violation.at, "g", (&name, args));
        }
    }

    /// Who leads and who is in sync, as committed.
    fn partitions(&mut self) {
        let chronicle = &self.seed.stats.chronicle;
        for (number, (id, name)) in chronicle.partitions().into_iter().enumerate() {
            let Some(versions) = chronicle.versions.get(&id) else { continue };
            let (leads, in_sync) = (1 + 2 * number, 2 + 2 * number);
            self.name_row(CLUSTER, leads, &format!("{name} leader"));
            self.name_row(CLUSTER, in_sync, &format!("{name} in sync"));
            let leader = |leader: Option<_>, epoch: Option<_>| {
                let epoch = epoch.map_or_else(|| "?".to_owned(), |epoch| format!("{epoch}"));
                leader.map_or_else(
                    || format!("no leader, epoch {epoch}"),
                    |leader| format!("broker {leader}, epoch {epoch}"),
                )
            };
            let leaders = versions
                .iter()
                .map(|(at, view)| (*at, Some(leader(view.leader, view.leader_epoch))));
            let sets = versions.iter().map(|(at, view)| (*at, Some(format!("isr {}", view.isr))));
            let (leaders, sets) = (changes_of(leaders), changes_of(sets));
            self.states((CLUSTER, leads), &leaders);
            self.states((CLUSTER, in_sync), &sets);
        }
    }

    /// Each node's process, and its part in the quorum.
    fn nodes(&mut self) {
        for index in 0..self.nodes.len() {
            let (who, pid) = (self.nodes[index], NODES + index);
            let of_node: Vec<&Change> = self
                .seed
                .stats
                .chronicle
                .changes
                .iter()
                .filter(|change| change.who == *who)
                .collect();
            let process = of_node.iter().filter_map(|change| match change.what {
                What::Process(turn) => Some((change.at, process_word(turn).map(str::to_owned))),
                What::Quorum { .. } | What::Voted { .. } | What::Active(_) | What::Replica(..) => {
                    None
                }
            });
            let process = changes_of(process);
            self.name_row(pid, ROW_PROCESS, "process");
            self.states((pid, ROW_PROCESS), &process);
            let quorum = of_node.iter().filter_map(|change| match change.what {
                What::Quorum { role, epoch, .. } => {
                    Some((change.at, Some(format!("{}, epoch {epoch}", role_name(role)))))
                }
                What::Process(NodeTurn::Ended) => Some((change.at, None)),
                What::Process(_) | What::Voted { .. } | What::Active(_) | What::Replica(..) => None,
            });
            let quorum = changes_of(quorum);
            if quorum.iter().any(|(_, state)| state.is_some()) {
                self.name_row(pid, ROW_QUORUM, "metadata quorum");
                self.states((pid, ROW_QUORUM), &quorum);
            }
        }
    }

    /// Each replica's role, its log's end and its high watermark.
    fn replicas(&mut self) {
        let mut roles: BTreeMap<(usize, usize), States> = BTreeMap::new();
        let chronicle = &self.seed.stats.chronicle;
        for change in &chronicle.changes {
            let pid = self.process_of(&change.who);
            match change.what {
                What::Process(NodeTurn::Ended) => {
                    let of_node = roles.iter_mut().filter(|((of, _), _)| *of == pid);
                    of_node.for_each(|(_, states)| states.push((change.at, None)));
                }
                What::Process(_) | What::Quorum { .. } | What::Voted { .. } | What::Active(_) => {}
                What::Replica(id, replica) => {
                    let Some(name) = chronicle.names.get(&id) else { continue };
                    let number = self.partitions.iter().position(|known| *known == name);
                    let row = (pid, ROW_REPLICAS + number.unwrap_or_default());
                    match replica {
                        Replica::End(end) => {
                            self.counter(pid, change.at, &format!("{name} log end"), end.value())
                        }
                        Replica::HighWatermark(to) => self.counter(
                            pid,
                            change.at,
                            &format!("{name} high watermark"),
                            to.value(),
                        ),
                        Replica::Leads(_) | Replica::Follows(..) | Replica::Deleted => {
                            roles.entry(row).or_default().push((change.at, role_word(replica)));
                        }
                    }
                }
            }
        }
        for ((pid, tid), states) in roles {
            let name = self.partitions[tid - ROW_REPLICAS].to_string();
            self.name_row(pid, tid, &name);
            let states = changes_of(states.into_iter());
            self.states((pid, tid), &states);
        }
    }

    /// What the story tells one by one, where it happened.
    fn turns(&mut self) {
        for index in 0..self.nodes.len() {
            self.name_row(NODES + index, ROW_TURNS, "turns");
        }
        self.name_row(TESTBED, ROW_TURNS, "turns");
        let is_turn = |kind: &str| {
            EVENTS.iter().any(|word| word.name == kind && word.story == Story::Each)
                || kind.starts_with("isr.")
        };
        for event in self.seed.events.iter().filter(|event| is_turn(event.kind)) {
            let row = (self.process_of(&event.who), ROW_TURNS);
            self.instant(
                row,
                event.at,
                "t",
                (event.kind, json!({ "what": story::line(event).what })),
            );
        }
    }

    /// The records of a client that were answered at one moment, as one request.
    fn requests(&mut self) {
        let mut requests: BTreeMap<_, (Span, u64)> = BTreeMap::new();
        for outcome in &self.seed.stats.outcomes {
            let who = Who::Client { workload: outcome.workload.clone(), index: outcome.client };
            let partition = outcome.partition.as_ref().map(ToString::to_string);
            let key = (outcome.done_at, who, partition, outcome.fate);
            let (from, records) = requests.entry(key).or_insert((outcome.sent_at, 0));
            *from = (*from).min(outcome.sent_at);
            *records += 1;
        }
        for ((until, who, partition, fate), (from, records)) in requests {
            let fate = match fate {
                Fate::Acked => "acknowledged",
                Fate::Failed => "failed",
                Fate::Unknown => "unknown",
            };
            let name = format!("produce {}, {fate}", partition.unwrap_or_default());
            let pid = self.process_of(&who);
            self.overlapping(pid, "request", from, until, (&name, json!({ "records": records })));
        }
    }
}

/// Only what differs from the state before; of one moment the last.
fn changes_of(states: impl Iterator<Item = (Span, Option<String>)>) -> States {
    let mut out = States::new();
    for (at, state) in states {
        if out.last().is_some_and(|(before, _)| *before == at) {
            out.pop();
        }
        if out.last().is_none_or(|(_, before)| *before != state) {
            out.push((at, state));
        }
    }
    out
}

fn process_word(turn: NodeTurn) -> Option<&'static str> {
    match turn {
        NodeTurn::Started | NodeTurn::Resumed => Some("runs"),
        NodeTurn::Paused => Some("paused"),
        NodeTurn::Ended => None,
    }
}

fn role_word(replica: Replica) -> Option<String> {
    match replica {
        Replica::Leads(epoch) => Some(format!("leads, epoch {epoch}")),
        Replica::Follows(epoch, Some(leader)) => Some(format!("follows {leader}, epoch {epoch}")),
        Replica::Follows(epoch, None) => Some(format!("no leader, epoch {epoch}")),
        Replica::Deleted | Replica::End(_) | Replica::HighWatermark(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    /// What the format asks for: Google's "Trace Event Format", and what Perfetto's importer counts as an error.
    fn check(text: &str) -> Result<Vec<Value>, String> {
        let trace: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let events = trace["traceEvents"].as_array().ok_or("no list of events")?.clone();
        let mut open: BTreeMap<String, (Value, f64)> = BTreeMap::new();
        let mut rows: BTreeMap<(u64, u64), Vec<(f64, f64)>> = BTreeMap::new();
        let mut named = std::collections::BTreeSet::new();
        for event in &events {
            let wrong = |what: &str| format!("{what}: {event}");
            let ph = event["ph"].as_str().ok_or_else(|| wrong("ph"))?;
            let pid = event["pid"].as_u64().ok_or_else(|| wrong("pid"))?;
            let tid = event["tid"].as_u64().ok_or_else(|| wrong("tid"))?;
            let ts = event["ts"].as_f64().filter(|ts| *ts >= 0.0).ok_or_else(|| wrong("ts"))?;
            event["name"].as_str().filter(|name| !name.is_empty()).ok_or_else(|| wrong("name"))?;
            let key = || format!("{pid} {} {}", event["cat"], event["id"]);
            match ph {
                "M" => {
                    let of = event["name"].as_str().unwrap_or_default();
                    let args =
                        ["name", "sort_index"].iter().any(|key| !event["args"][key].is_null());
                    args.then_some(()).ok_or_else(|| wrong("args"))?;
                    if !of.ends_with("_name") {
                        continue;
                    }
                    named.insert(if of.starts_with("process") { (pid, 0) } else { (pid, tid) });
                }
                "X" => {
                    let lasts = event["dur"].as_f64().filter(|dur| *dur > 0.0);
                    let lasts = lasts.ok_or_else(|| wrong("dur"))?;
                    rows.entry((pid, tid)).or_default().push((ts, ts + lasts));
                }
                "b" => {
                    let name = event["name"].clone();
                    if open.insert(key(), (name, ts)).is_some() {
                        return Err(wrong("begun twice"));
                    }
                }
                "e" => {
                    let begun = open.remove(&key()).ok_or_else(|| wrong("never begun"))?;
                    if begun.0 != event["name"] || begun.1 > ts {
                        return Err(wrong("ends what it did not begin"));
                    }
                }
                "i" => {
                    let scope = event["s"].as_str().unwrap_or_default();
                    ["g", "p", "t"].contains(&scope).then_some(()).ok_or_else(|| wrong("s"))?;
                }
                "C" => {
                    let args = event["args"].as_object().filter(|args| !args.is_empty());
                    let args = args.ok_or_else(|| wrong("args"))?;
                    args.values()
                        .all(Value::is_number)
                        .then_some(())
                        .ok_or_else(|| wrong("args"))?;
                }
                _ => return Err(wrong("ph")),
            }
            if !named.contains(&(pid, 0))
                || (["X", "i"].contains(&ph) && !named.contains(&(pid, tid)))
            {
                return Err(wrong("a row without a name"));
            }
        }
        if let Some(key) = open.keys().next() {
            return Err(format!("never ends: {key}"));
        }
        for ((pid, tid), mut slices) in rows {
            slices.sort_by(|one, other| one.0.total_cmp(&other.0));
            // A nanosecond is what decimals of microseconds may be off by.
            if let Some(pair) = slices.windows(2).find(|pair| pair[0].1 > pair[1].0 + 0.001) {
                return Err(format!("slices of process {pid}, row {tid} overlap: {pair:?}"));
            }
        }
        Ok(events)
    }

    #[test]
    fn the_trace_of_a_run_is_what_the_format_asks_for() {
        let text = trace(&sample::red());
        let events = check(&text).unwrap();
        let count = |ph: &str| events.iter().filter(|event| event["ph"] == ph).count();
        for ph in ["M", "X", "b", "e", "i", "C"] {
            assert!(count(ph) > 0, "none of {ph}");
        }
        let named = |name: &str| events.iter().filter(|event| event["name"] == name).count();
        assert_eq!(named("✘ lost-write"), 1);
        assert_eq!(named("broker 2, epoch 2"), 1, "the election");
        assert_eq!(named("kill"), 2, "in the lane of the node: its beginning and its end");
        assert_eq!(trace(&sample::red()), text);
    }

    #[test]
    fn the_check_of_the_format_finds_what_is_wrong() {
        let text = trace(&sample::red());
        for (right, wrong) in [
            ("\"ph\":\"e\"", "\"ph\":\"n\""),
            ("\"pid\":3", "\"pid\":77"),
            ("\"s\":\"t\"", "\"s\":\"x\""),
            ("\"dur\":", "\"length\":"),
        ] {
            assert!(text.contains(right), "{right}");
            assert!(check(&text.replacen(right, wrong, 1)).is_err(), "{right} → {wrong}");
        }
    }
}
