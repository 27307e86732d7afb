//! What runs reached of what there is to reach: events, error codes, rare branches, abstract states. And what none reached.

use std::collections::{BTreeMap, BTreeSet};

use ottla::types::ErrorCode;
use serde::{Deserialize, Serialize};

use super::states::{State, States};
use crate::event::Event;
use crate::scenario::words::event_names;

/// What there is to reach in the product's source.
mod reachable {
    include!(concat!(env!("OUT_DIR"), "/reachable.rs"));
}

/// What one run reached; its `mark!`s stand beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Which events happened.
    pub events: BTreeSet<&'static str>,
    /// Which error codes clients or nodes were told.
    pub errors: BTreeSet<ErrorCode>,
    /// Which abstract states there were.
    pub states: BTreeSet<u32>,
    /// Which steps from one to the next.
    pub steps: BTreeSet<(u32, u32)>,
}

impl Reached {
    /// What a finished run reached.
    #[must_use]
    pub fn of(events: &[Event], states: States) -> Self {
        Self {
            events: events.iter().map(|event| event.kind).collect(),
            errors: events.iter().filter_map(|event| event.error).collect(),
            states: states.seen,
            steps: states.steps,
        }
    }
}

/// In how many runs each thing was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Coverage {
    /// By the event's name.
    pub events: BTreeMap<String, u64>,
    /// By the code's name.
    pub errors: BTreeMap<String, u64>,
    /// By the `mark!`.
    pub marks: BTreeMap<String, u64>,
    /// By the abstract state.
    pub states: BTreeMap<u32, u64>,
    /// The steps between states.
    pub steps: BTreeSet<(u32, u32)>,
}

/// How much a run reached that nobody had reached before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct News {
    /// Events, error codes, marks.
    pub words: usize,
    /// Abstract states.
    pub states: usize,
    /// Steps between states.
    pub steps: usize,
}

impl News {
    /// Whether the run is worth varying: steps alone are too many to chase.
    #[must_use]
    pub const fn is_worth_keeping(self) -> bool {
        self.words > 0 || self.states > 0
    }
}

impl Coverage {
    /// Takes a run in. Returns what of it is new.
    pub fn add(&mut self, reached: &Reached, marks: &[&'static str]) -> News {
        let mut news = News::default();
        for event in &reached.events {
            news.words += count(&mut self.events, event);
        }
        for error in &reached.errors {
            news.words += count(&mut self.errors, error.name());
        }
        for mark in marks {
            news.words += count(&mut self.marks, mark);
        }
        for state in &reached.states {
            let times = self.states.entry(*state).or_insert(0);
            news.states += usize::from(*times == 0);
            *times += 1;
        }
        let before = self.steps.len();
        self.steps.extend(&reached.steps);
        news.steps = self.steps.len() - before;
        news
    }

    /// Adds what other runs reached.
    pub fn merge(&mut self, other: &Self) {
        let maps = [
            (&mut self.events, &other.events),
            (&mut self.errors, &other.errors),
            (&mut self.marks, &other.marks),
        ];
        for (own, others) in maps {
            for (name, times) in others {
                *own.entry(name.clone()).or_insert(0) += times;
            }
        }
        for (state, times) in &other.states {
            *self.states.entry(*state).or_insert(0) += times;
        }
        self.steps.extend(&other.steps);
    }

    /// The states of partitions, or of the quorum, and how many runs reached each.
    pub fn states_of(&self, quorum: bool) -> impl Iterator<Item = (State, u64)> {
        let states = self.states.iter().map(|(state, times)| (State(*state), *times));
        states.filter(move |(state, _)| state.is_of_quorum() == quorum)
    }

    /// The events that never happened.
    #[must_use]
    pub fn events_never(&self) -> Vec<&'static str> {
        event_names().into_iter().filter(|name| !self.events.contains_key(*name)).collect()
    }

    /// The error codes that nodes can answer with, as their source names them, and nobody was told.
    #[must_use]
    pub fn errors_never(&self) -> Vec<&'static str> {
        let names = reachable::ERROR_CODES.iter().map(|code| code.name());
        let mut never: Vec<_> = names.filter(|name| !self.errors.contains_key(*name)).collect();
        never.sort_unstable();
        never
    }

    /// The rare branches that no run went through.
    #[must_use]
    pub fn marks_never(&self) -> Vec<&'static str> {
        reachable::MARKS.iter().copied().filter(|mark| !self.marks.contains_key(*mark)).collect()
    }

    /// The words that no abstract state had.
    #[must_use]
    pub fn words_never(&self) -> Vec<&'static str> {
        let states = self.states.keys().map(|state| State(*state));
        let seen: BTreeSet<&str> = states.flat_map(State::words).collect();
        State::all_words().filter(|words| !seen.contains(words)).collect()
    }

    /// How many events, error codes and marks there are to reach.
    #[must_use]
    pub fn reachable() -> [usize; 3] {
        [event_names().len(), reachable::ERROR_CODES.len(), reachable::MARKS.len()]
    }
}

/// Whether nodes answer with this code, by their source.
#[must_use]
pub fn is_answered(name: &str) -> bool {
    reachable::ERROR_CODES.iter().any(|code| code.name() == name)
}

fn count(map: &mut BTreeMap<String, u64>, name: &str) -> usize {
    match map.get_mut(name) {
        Some(times) => {
            *times += 1;
            0
        }
        None => {
            map.insert(name.to_owned(), 1);
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Who;
    use crate::scenario::duration::Span;

    fn reached(events: &[(&'static str, Option<ErrorCode>)], states: &[u32]) -> Reached {
        let event = |(kind, error): &(&'static str, Option<ErrorCode>)| {
            let mut event = Event::new(Span::ZERO, Who::Testbed, kind);
            event.error = *error;
            event
        };
        let events: Vec<Event> = events.iter().map(event).collect();
        let seen: BTreeSet<u32> = states.iter().copied().collect();
        let steps = states.windows(2).map(|pair| (pair[0], pair[1])).collect();
        Reached { states: seen, steps, ..Reached::of(&events, States::default()) }
    }

    #[test]
    fn what_was_reached_before_is_no_news() {
        let mut coverage = Coverage::default();
        let first = reached(&[("isr.shrunk", None), ("isr.shrunk", None)], &[1, 2]);
        let news = coverage.add(&first, &["a branch"]);
        assert_eq!(news, News { words: 2, states: 2, steps: 1 });
        assert_eq!(coverage.add(&first, &["a branch"]), News::default());
        let other = reached(&[("fetch.failed", Some(ErrorCode::OffsetOutOfRange))], &[2, 1]);
        let news = coverage.add(&other, &[]);
        assert_eq!(news, News { words: 2, states: 0, steps: 1 });
        assert_eq!((coverage.events["isr.shrunk"], coverage.marks["a branch"]), (2, 2));
        assert_eq!(coverage.errors["OFFSET_OUT_OF_RANGE"], 1);
        assert!(!News { steps: 9, ..News::default() }.is_worth_keeping());
    }

    #[test]
    fn parts_add_up_to_the_whole_in_any_order() {
        let runs = [
            reached(&[("isr.shrunk", None)], &[1, 2]),
            reached(&[("isr.shrunk", None), ("isr.expanded", None)], &[2, 3]),
            reached(&[("fetch.failed", Some(ErrorCode::OffsetOutOfRange))], &[]),
        ];
        let of = |indexes: &[usize]| {
            let mut coverage = Coverage::default();
            for index in indexes {
                coverage.add(&runs[*index], &["m"]);
            }
            coverage
        };
        let whole = of(&[0, 1, 2]);
        let (mut one, mut other) = (of(&[0, 2]), of(&[1]));
        let (a, b) = (one.clone(), other.clone());
        one.merge(&b);
        other.merge(&a);
        assert_eq!((&one, &other), (&whole, &whole));
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Coverage>(&text).unwrap(), whole);
    }

    #[test]
    fn what_was_never_reached_has_its_name() {
        let mut coverage = Coverage::default();
        let [events, errors, marks] = Coverage::reachable();
        assert!(events > 50 && errors > 30 && marks > 60, "{events}, {errors}, {marks}");
        assert_eq!(coverage.marks_never().len(), marks);
        assert!(coverage.errors_never().contains(&"NOT_LEADER_OR_FOLLOWER"));
        let run = reached(&[("produce.failed", Some(ErrorCode::NotLeaderOrFollower))], &[4]);
        coverage.add(&run, &["producer waits for buffer.memory"]);
        assert!(!coverage.errors_never().contains(&"NOT_LEADER_OR_FOLLOWER"));
        assert_eq!(coverage.marks_never().len(), marks - 1);
        assert_eq!(coverage.events_never().len(), events - 1);
        assert!(!coverage.words_never().contains(&"led"));
        assert!(coverage.words_never().contains(&"no leader"));
    }
}
