//! What happened in a run, as a short story: each turn on a line, the rest summed between the turns.

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

/// The first `limit` lines and the last ones, with what was left out between; all where they are few.
#[must_use]
pub fn shorten(lines: Vec<Line>, limit: usize) -> (Vec<Line>, Option<(usize, usize)>) {
    if lines.len() <= limit {
        return (lines, None);
    }
    let head = limit * 2 / 3;
    let tail = limit - head;
    let left_out = lines.len() - limit;
    let mut kept = lines;
    let last = kept.split_off(kept.len() - tail);
    kept.truncate(head);
    kept.extend(last);
    (kept, Some((head, left_out)))
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

    #[test]
    fn long_stories_keep_their_beginning_and_their_end() {
        let events: Vec<Event> = (0..100).map(|millis| at(millis, "log.truncated")).collect();
        let (kept, left_out) = shorten(tell(&events), 30);
        assert_eq!((kept.len(), left_out), (30, Some((20, 70))));
        assert_eq!(kept.last().map(|line| line.at), Some(Span::from_nanos(99_000_000)));
    }
}
