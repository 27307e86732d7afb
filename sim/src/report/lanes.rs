//! The shortest slice of a run that holds cause and effect: one column a node, time running down, the broken property last.
//!
//! What is shown is chosen by what can have caused it: what destroys, what was done to the nodes, who led and who was in sync,
//! and the last that flowed through the partition.

use std::collections::BTreeSet;

use ottla::types::TopicPartition;

use crate::event::{Event, Who};
use crate::report::story;
use crate::scenario::duration::Span;
use crate::verdict::{Violation, show_time};

/// How a group of events can have caused a broken property, and how many of each group a person is shown: the last ones.
const GROUPS: [(Group, usize); 6] = [
    (Group::Record, 10),
    (Group::Destroys, 6),
    (Group::Fault, 8),
    (Group::Process, 4),
    (Group::Leads, 8),
    (Group::Flows, 4),
];

/// How long before the broken property the last records still belong to it.
const NEAR: Span = Span::from_secs(2);

/// How an event can have caused a broken property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// The very record that the property names was written, copied, acknowledged.
    Record,
    /// Records, or bytes, or a disk are gone.
    Destroys,
    /// Something was done to the cluster.
    Fault,
    /// A node came or went, or who is the active controller changed.
    Process,
    /// Who leads, who follows, who is in sync.
    Leads,
    /// Records came, were copied, were acknowledged.
    Flows,
}

fn group(kind: &str, is_of_quorum: bool) -> Option<Group> {
    Some(match kind {
        "log.truncated"
        | "log.cut"
        | "leader.elected-unclean"
        | "disk.lost"
        | "segment.corrupt"
        | "log-dir.offline"
        | "log.deleted"
        | "log.start-moved" => Group::Destroys,
        "fault.started" | "fault.ended" => Group::Fault,
        "node.started"
        | "node.ended"
        | "node.left-out"
        | "node.stopping"
        | "controller.elected"
        | "controller.resigned"
        | "broker.fenced"
        | "broker.unfenced"
        | "metadata.snapshot-loaded" => Group::Process,
        "leader.elected" | "isr.shrunk" | "isr.expanded" | "isr.proposed" | "isr.refused"
        | "replica.leads" | "replica.follows" | "partition.moved" | "log.recovered" => Group::Leads,
        "quorum.role" | "vote.granted" if is_of_quorum => Group::Leads,
        "produce.appended" | "produce.duplicate" | "produce.acked" | "produce.failed"
        | "replica.appended" | "replica.fetched" | "hw.advanced" | "client.failed"
        | "client.unknown" | "client.refused" | "log-dir.full" => Group::Flows,
        _ => return None,
    })
}

/// A line of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which of the events: the first, where it stands for several.
    pub event: usize,
    /// The last that it stands for.
    pub last: usize,
}

/// Whether an event is about the partition that a violation names.
fn is_about(event: &Event, partition: Option<&TopicPartition>) -> bool {
    match (&event.partition, partition) {
        (Some(one), Some(other)) => one == other,
        (None, _) | (_, None) => true,
    }
}

/// The events that can have caused `violation`, in the order of time.
#[must_use]
pub fn rows(events: &[Event], violation: &Violation) -> Vec<Row> {
    let partition = violation.partition.as_ref();
    let is_of_quorum = violation.check.starts_with('Q')
        || partition.is_some_and(|partition| &*partition.topic == "__cluster_metadata");
    let offset = offset_of(violation);
    let candidates = events.iter().enumerate().filter_map(|(index, event)| {
        let group = group(event.kind, is_of_quorum)?;
        // How the cluster came up is told by every run.
        let is_setup = event.at == Span::ZERO && violation.at > Span::ZERO;
        let is_late = event.at > violation.at;
        if !is_about(event, partition) || is_setup || is_late {
            return None;
        }
        if group == Group::Flows && offset.is_some_and(|offset| holds(event, offset)) {
            return Some((index, Group::Record));
        }
        // Of a record that is named its own way says more than what others did last.
        let is_far = offset.is_some() || event.at.plus(NEAR) < violation.at;
        let is_mark = event.note.starts_with("mark: ");
        (!is_mark && (group != Group::Flows || !is_far)).then_some((index, group))
    });
    let candidates: Vec<(usize, Group)> = candidates.collect();
    let mut kept = Vec::new();
    for (group, most) in GROUPS {
        kept.extend(last_of(events, &candidates, group, most));
    }
    kept.sort_by_key(|row| row.event);
    kept
}

/// The offset that a violation is about, where it names one: `at offset 17`, or the first of `17..19`.
fn offset_of(violation: &Violation) -> Option<i64> {
    let words: Vec<&str> = violation.what.split([' ', ',', ':']).collect();
    let named = words.windows(2).find(|pair| pair[0] == "offset").map(|pair| pair[1]);
    let range = words.iter().find_map(|word| word.split_once("..").map(|(first, _)| first));
    named.or(range)?.parse().ok()
}

/// Whether an event is about this very record.
fn holds(event: &Event, offset: i64) -> bool {
    event.offsets.is_some_and(|(from, to)| {
        let (from, to) = (from.value(), to.value());
        (from.min(to)..from.max(to)).contains(&offset)
    })
}

/// The last of a group; what repeats itself without a pause is one.
fn last_of(events: &[Event], all: &[(usize, Group)], group: Group, most: usize) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (index, _) in all.iter().rev().filter(|(_, of)| *of == group) {
        let (event, next) = (&events[*index], rows.last().map(|row| &events[row.event]));
        let repeats = next.is_some_and(|next| {
            (next.kind, &next.who, &next.partition, &next.note, next.error)
                == (event.kind, &event.who, &event.partition, &event.note, event.error)
                && event.offsets.is_none()
        });
        let is_full = rows.len() == most;
        match rows.last_mut().filter(|_| repeats) {
            Some(row) => row.event = *index,
            None if is_full => break,
            None => rows.push(Row { event: *index, last: *index }),
        }
    }
    rows
}

// ── Drawing ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// The slice as text, the broken property as its last line; empty where nothing happened before it.
#[must_use]
pub fn slice(events: &[Event], violation: &Violation) -> Vec<String> {
    let rows = rows(events, violation);
    if rows.is_empty() {
        return Vec::new();
    }
    let of_rows = rows.iter().map(|row| &events[row.event].who);
    let everybody: BTreeSet<&Who> = events.iter().map(|event| &event.who).collect();
    let named = everybody.into_iter().filter(|who| is_named(who, &violation.what));
    let mut lanes: Vec<&Who> = of_rows.chain(violation.node.as_ref()).chain(named).collect();
    lanes.sort();
    lanes.dedup();
    lanes.retain(|who| **who != Who::Testbed);
    let columns: Vec<Column> = lanes.into_iter().map(Column::new).collect();
    let mut out = header(&columns);
    let mut down: Vec<&Who> = Vec::new();
    let mut before: Option<usize> = None;
    for row in &rows {
        let event = &events[row.event];
        // Who died between two lines is shown dead in the second, whether or not the line is about it.
        for passed in &events[before.map_or(0, |before| before + 1)..row.event] {
            follow(&mut down, passed);
        }
        let sign = sign_of(event);
        out.push(line(&columns, &down, event.at, Some(&event.who), sign, &words(events, row)));
        follow(&mut down, event);
        before = Some(row.event);
    }
    let what = format!("{}: {}", violation.check, violation.what);
    out.push(line(&columns, &down, violation.at, violation.node.as_ref(), '✘', &what));
    out
}

/// Whether a sentence speaks of a node: of `broker 1`, and not of `broker 12`.
fn is_named(who: &Who, what: &str) -> bool {
    if !matches!(who, Who::Broker(_) | Who::Controller(_)) {
        return false;
    }
    let name = who.to_string();
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '/';
    what.match_indices(&name).any(|(from, _)| {
        !what[..from].ends_with(part_of_word)
            && !what[from + name.len()..].starts_with(part_of_word)
    })
}

fn words(events: &[Event], row: &Row) -> String {
    let event = &events[row.event];
    let what = story::line(event).what;
    let times = row.last - row.event;
    let until =
        if times > 0 { format!(" … {}", show_time(events[row.last].at)) } else { String::new() };
    format!("{} {what}{until}", event.kind).trim_end().to_owned()
}

/// Whether a process lives after an event: what kills tells so itself.
fn follow<'a>(down: &mut Vec<&'a Who>, event: &'a Event) {
    match event.kind {
        "fault.started" if ends_process(&event.note) => down.push(&event.who),
        "node.ended" => down.push(&event.who),
        "fault.started" | "fault.ended" => {}
        // Who speaks lives.
        _ => down.retain(|who| **who != event.who),
    }
}

fn ends_process(note: &str) -> bool {
    ["kill ", "power-loss", "shutdown", "kill-client"].iter().any(|action| note.starts_with(action))
}

fn sign_of(event: &Event) -> char {
    match event.kind {
        "fault.started" if ends_process(&event.note) => '✗',
        "fault.started" => '▼',
        "fault.ended" => '▲',
        _ => '●',
    }
}

struct Column<'a> {
    who: &'a Who,
    /// The word that stands over it and its like.
    above: String,
    name: String,
}

impl<'a> Column<'a> {
    fn new(who: &'a Who) -> Self {
        let full = who.to_string();
        let (above, name) = full.split_once([' ', '/']).unwrap_or(("", &full));
        Self { who, above: above.to_owned(), name: name.to_owned() }
    }
}

/// How wide a column is, in characters.
const WIDTH: usize = 4;

/// The names over the columns: `broker` once over 1, 2, 3.
fn header(columns: &[Column<'_>]) -> Vec<String> {
    let (mut above, mut names) = (String::new(), String::new());
    let mut last = "";
    for column in columns {
        if column.above != last {
            // A group's word may be longer than its columns are wide.
            let room = above.chars().count() + usize::from(!above.is_empty());
            let gap = room.saturating_sub(names.chars().count());
            let gap = if last.is_empty() { 0 } else { gap.max(2) };
            names.push_str(&" ".repeat(gap));
            above = format!("{above:<width$}{}", column.above, width = names.chars().count());
            last = &column.above;
        }
        names.push_str(&format!("{:<WIDTH$}", column.name));
    }
    let indent = " ".repeat(12);
    vec![format!("{indent}{}", above.trim_end()), format!("{indent}{}", names.trim_end())]
}

fn line(
    columns: &[Column<'_>],
    down: &[&Who],
    at: Span,
    who: Option<&Who>,
    sign: char,
    what: &str,
) -> String {
    let names = header(columns).pop().unwrap_or_default();
    let places = places(columns);
    let width = names.chars().count().max(places.last().map_or(0, |place| place + 1)) + 2;
    let mut cells: Vec<char> = vec![' '; width];
    for (column, place) in columns.iter().zip(places) {
        cells[place] = match who {
            Some(who) if who == column.who => sign,
            // What is done to the whole network goes through every lane.
            _ if down.contains(&column.who) => ' ',
            _ => '│',
        };
    }
    let time = show_time(at);
    let lanes: String = cells.into_iter().skip(12).collect();
    let sign = match who {
        None | Some(Who::Testbed) => format!("{sign} "),
        Some(_) => String::new(),
    };
    format!("{time:>10}  {lanes}{sign}{what}").trim_end().to_owned()
}

/// Where each column's line is, in characters from the left.
fn places(columns: &[Column<'_>]) -> Vec<usize> {
    let mut places = Vec::new();
    for count in 1..=columns.len() {
        let names = header(&columns[..count]).pop().unwrap_or_default();
        let name = columns[count - 1].name.chars().count();
        places.push(names.chars().count().saturating_sub(name));
    }
    places
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use ottla::types::{Offset, PartitionIndex};

    use super::*;

    fn partition(index: i32) -> TopicPartition {
        TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(index) }
    }

    fn event(millis: u64, who: Who, kind: &'static str) -> Event {
        Event::new(Span::from_nanos(millis * 1_000_000), who, kind)
    }

    fn records(millis: u64, broker: u32, kind: &'static str, from: i64, to: i64) -> Event {
        event(millis, Who::Broker(broker), kind)
            .partition(partition(0))
            .count(from.abs_diff(to))
            .offsets(Offset::new(from), Offset::new(to))
    }

    fn violation(millis: u64, what: &str) -> Violation {
        Violation {
            check: "lost-write",
            at: Span::from_nanos(millis * 1_000_000),
            node: None,
            partition: Some(partition(0)),
            what: what.into(),
            evidence: Vec::new(),
        }
    }

    #[test]
    fn cause_and_effect_stand_under_each_other_and_the_rest_is_left_out() {
        let mut events = vec![event(0, Who::Broker(1), "node.started")];
        events.push(records(900, 1, "produce.appended", 17, 18));
        events.push(records(910, 1, "produce.acked", 17, 18));
        events.push(records(920, 1, "produce.acked", 18, 19).partition(partition(1)));
        let kill = event(1_000, Who::Broker(1), "fault.started").note("kill leader(orders-0)");
        events.push(kill);
        events.push(
            event(2_000, Who::Controller(2), "leader.elected")
                .partition(partition(0))
                .note("broker 2, epoch 2"),
        );
        // What flowed long before, and of other records, says nothing.
        events.extend((0..50).map(|step| records(2_100 + step * 10, 2, "produce.acked", 30, 31)));
        events.push(records(8_000, 1, "log.truncated", 19, 12));
        events.push(event(9_500, Who::Broker(2), "node.stopping"));
        let what = "record 4 of writer/0 was acknowledged at offset 17 and is not in the log";
        let slice = slice(&events, &violation(9_000, what)).join("\n");
        expect![[r#"
            slice:
                        broker controller
                        1      2
                0.900s  ●      │  produce.appended orders-0, 17 → 18
                0.910s  ●      │  produce.acked orders-0, 17 → 18
                1.000s  ✗      │  fault.started kill leader(orders-0)
                2.000s         ●  leader.elected orders-0, broker 2, epoch 2
                8.000s  ●      │  log.truncated orders-0, 19 → 12
                9.000s  │      │  ✘ lost-write: record 4 of writer/0 was acknowledged at offset 17 and is not in the log"#]]
        .assert_eq(&format!("slice:\n{slice}"));
    }

    #[test]
    fn who_is_named_in_words_only_has_a_lane() {
        let killed = event(1_000, Who::Broker(1), "fault.started").note("kill leader(orders-0)");
        let others = [2, 3, 31].map(|id| event(500, Who::Broker(id), "produce.acked"));
        let events: Vec<Event> = others.into_iter().chain([killed]).collect();
        let what = "broker 3 holds offset 17, and controller 31 said so";
        let slice = slice(&events, &violation(9_000, what));
        assert_eq!(slice[1].trim(), "1   3", "{slice:#?}");
    }

    #[test]
    fn a_slice_is_never_longer_than_a_screen() {
        let kinds = ["fault.started", "log.truncated", "node.ended", "isr.shrunk", "produce.acked"];
        let of = |step: u64| {
            let kind = kinds[usize::try_from(step % 5).unwrap()];
            records(9_000 + step, 1, kind, 17, 18).note(step.to_string())
        };
        let events: Vec<Event> = (0..500).map(of).collect();
        let slice = slice(&events, &violation(9_990, "at offset 17"));
        assert!((20..=40).contains(&slice.len()), "{slice:#?}");
        assert!(slice.last().is_some_and(|line| line.contains("✘ lost-write")));
    }
}
