//! What happened in a run, as a short story: each turn on a line, the rest summed between the turns.

use std::collections::BTreeSet;

use ottla::types::TopicPartition;

use crate::event::{Event, Who};
use crate::report::thousands;
use crate::scenario::duration::Span;
use crate::scenario::words::{EVENTS, Story};
use crate::verdict::show_time;

/// A line of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it began.
    pub at: Span,
    /// When the last of what it sums up happened, where it sums.
    pub until: Option<Span>,
    /// To whom.
    pub who: Who,
    /// The event's name.
    pub kind: &'static str,
    /// Of which partition, from what to what, with which error, and how many.
    pub what: String,
    /// Of which partition, for lanes.
    pub partition: Option<TopicPartition>,
}

impl Line {
    /// Its time, or its times.
    #[must_use]
    pub fn time(&self) -> String {
        match self.until {
            Some(until) if until > self.at => {
                format!("{} … {}", show_time(self.at), show_time(until))
            }
            _ => show_time(self.at),
        }
    }
}

/// Tells the story of `events`.
#[must_use]
pub fn tell(events: &[Event]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut sums: Vec<Sum> = Vec::new();
    for event in events {
        match EVENTS.iter().find(|word| word.name == event.kind).map(|word| word.story) {
            Some(Story::Each) => {
                lines.extend(sums.drain(..).map(Sum::into_line));
                lines.push(line(event));
            }
            Some(Story::Summed) => match sums.iter_mut().find(|sum| sum.is_like(event)) {
                Some(sum) => sum.add(event),
                None => sums.push(Sum {
                    first: event.clone(),
                    until: event.at,
                    count: event.count,
                    times: 1,
                }),
            },
            Some(Story::Never) | None => {}
        }
    }
    lines.extend(sums.drain(..).map(Sum::into_line));
    lines
}

/// What is shown of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// One of its lines.
    Line(Line),
    /// So many lines were left out here.
    LeftOut(usize),
}

/// At most `limit` of the lines, with how many were left out between them: what was done to the cluster and what came of it at once, and
/// how the story began and ended.
#[must_use]
pub fn shorten(lines: Vec<Line>, limit: usize) -> Vec<Told> {
    if lines.len() <= limit {
        return lines.into_iter().map(Told::Line).collect();
    }
    let kept = choose(&lines, limit);
    let mut told = Vec::new();
    for (index, line) in lines.into_iter().enumerate() {
        match told.last_mut() {
            _ if kept.contains(&index) => told.push(Told::Line(line)),
            Some(Told::LeftOut(count)) => *count += 1,
            Some(Told::Line(_)) | None => told.push(Told::LeftOut(1)),
        }
    }
    told
}

/// The places of the lines that are shown.
fn choose(lines: &[Line], limit: usize) -> BTreeSet<usize> {
    let turns = lines.iter().enumerate().filter(|(_, line)| is_turn(line.kind));
    let turns: Vec<usize> = turns.map(|(index, _)| index).collect();
    let most = limit / 2;
    let left_out = turns.len().saturating_sub(most);
    let head = if left_out == 0 { turns.len() } else { most * 2 / 3 };
    let mut kept: BTreeSet<usize> = turns.iter().take(head).copied().collect();
    kept.extend(turns.iter().skip(head + left_out));
    // The nearer behind a turn, the beginning, or before the end, the sooner.
    let mut rest: Vec<(usize, usize)> = Vec::new();
    let mut behind = 0;
    for index in 0..lines.len() {
        if kept.contains(&index) {
            behind = 0;
            continue;
        }
        rest.push((behind.min(lines.len() - 1 - index), index));
        behind += 1;
    }
    rest.sort_unstable();
    let room = limit - kept.len();
    kept.extend(rest.into_iter().take(room).map(|(_, index)| index));
    kept
}

/// Whether the testbed did it.
fn is_turn(kind: &str) -> bool {
    matches!(kind, "storm.drawn" | "fault.started" | "fault.ended")
}

struct Sum {
    first: Event,
    until: Span,
    count: u64,
    times: u64,
}

impl Sum {
    fn is_like(&self, event: &Event) -> bool {
        let first = &self.first;
        let is_same =
            first.kind == event.kind && first.who == event.who && first.error == event.error;
        is_same
            && first.partition == event.partition
            && (event.kind != "fault.bit" || first.note == event.note)
    }

    fn add(&mut self, event: &Event) {
        self.until = event.at;
        self.count += event.count;
        self.times += 1;
        if let (Some((_, to)), Some((_, new))) = (&mut self.first.offsets, event.offsets) {
            *to = new;
        }
    }

    fn into_line(self) -> Line {
        let mut line = line(&Event { count: self.count, ..self.first });
        line.until = (self.times > 1).then_some(self.until);
        line
    }
}

/// An event as a line, by itself.
#[must_use]
pub fn line(event: &Event) -> Line {
    let mut parts = Vec::new();
    if let Some(partition) = &event.partition {
        parts.push(partition.to_string());
    }
    if let Some((from, to)) = event.offsets {
        parts.push(format!("{from} → {to}"));
    }
    if let Some(error) = event.error {
        parts.push(error.name().into());
    }
    if !event.note.is_empty() {
        parts.push(event.note.to_string());
    }
    if event.count != 1 && event.offsets.is_none() {
        parts.push(format!("× {}", thousands(event.count)));
    }
    Line {
        at: event.at,
        until: None,
        who: event.who.clone(),
        kind: event.kind,
        what: parts.join(", "),
        partition: event.partition.clone(),
    }
}

#[cfg(test)]
mod tests {
    use ottla::types::{ErrorCode, Offset, PartitionIndex};

    use super::*;

    fn at(millis: u64, kind: &'static str) -> Event {
        Event::new(Span::from_nanos(millis * 1_000_000), Who::Broker(1), kind)
    }

    #[test]
    fn turns_stand_alone_and_the_rest_is_summed_between_them() {
        let partition =
            TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(0) };
        let acked = |millis, from, to| {
            at(millis, "produce.acked")
                .partition(partition.clone())
                .count(to - from)
                .offsets(Offset::ZERO + from, Offset::ZERO + to)
        };
        let refused = at(40, "produce.failed")
            .partition(partition.clone())
            .error(ErrorCode::KafkaStorageError);
        let events = [
            acked(10, 0, 5),
            at(15, "hw.advanced"),
            acked(20, 5, 9),
            at(30, "fault.started").note("kill of broker 1"),
            refused.clone(),
            Event { at: Span::from_nanos(50_000_000), ..refused },
        ];
        let told: String = tell(&events)
            .iter()
            .map(|line| format!("{} | {} | {} | {}\n", line.time(), line.who, line.kind, line.what))
            .collect();
        expect_test::expect![[r#"
            0.010s … 0.020s | broker 1 | produce.acked | orders-0, 0 → 9
            0.030s | broker 1 | fault.started | kill of broker 1
            0.040s … 0.050s | broker 1 | produce.failed | orders-0, KAFKA_STORAGE_ERROR, × 2
        "#]]
        .assert_eq(&told);
    }

    fn shape(told: &[Told]) -> Vec<String> {
        let word = |one: &Told| match one {
            Told::Line(line) => line.at.as_duration().as_millis().to_string(),
            Told::LeftOut(count) => format!("({count})"),
        };
        told.iter().map(word).collect()
    }

    #[test]
    fn long_stories_keep_their_beginning_and_their_end() {
        let events: Vec<Event> = (0..100).map(|millis| at(millis, "log.truncated")).collect();
        let told = shorten(tell(&events), 6);
        assert_eq!(shape(&told), ["0", "1", "2", "(94)", "97", "98", "99"]);
        assert_eq!(shorten(tell(&events), 100).len(), 100);
    }

    #[test]
    fn long_stories_keep_what_was_done_and_what_came_of_it() {
        let kind = |millis| match millis {
            40 | 60 => "fault.started",
            50 | 70 => "fault.ended",
            _ => "log.truncated",
        };
        let events: Vec<Event> = (0..100).map(|millis| at(millis, kind(millis))).collect();
        let told = shorten(tell(&events), 10);
        let expected = [
            "0", "(39)", "40", "41", "(8)", "50", "51", "(8)", "60", "61", "(8)", "70", "71",
            "(27)", "99",
        ];
        assert_eq!(shape(&told), expected);
        // More turns than half of the lines: the first and the last of them.
        let told = shorten(tell(&events), 6);
        assert_eq!(
            shape(&told),
            ["0", "(39)", "40", "41", "(8)", "50", "51", "(18)", "70", "(29)"]
        );
    }
}
