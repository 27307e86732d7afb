//! What a shrunk scenario says of itself: a claim, why it is there, and what was seen when it failed.

use std::collections::{BTreeMap, BTreeSet};

use ottla::types::TopicPartition;
use serde_json::Value;

use super::edit::{action, set_span, span, steps};
use super::reason::Reason;
use crate::event::{Event, Who};
use crate::report::story::{self, Line, Told};
use crate::report::{lines_in_words, thousands};
use crate::scenario::duration::Span;
use crate::scenario::target::Target;
use crate::scenario::words::INVARIANTS;
use crate::tally::partition_of;
use crate::verdict::{SeedRun, show_time};

/// Where a scenario comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The scenario's name, with its variant: `chaos/storm`.
    pub scenario: String,
    /// Its seed.
    pub seed: u64,
    /// The commit that failed.
    pub commit: String,
}

/// How large a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Events of the run: lines of `events.jsonl`.
    pub events: usize,
    /// What the trace covers: observations, disk operations, segments.
    pub trace: u64,
    /// Steps that were done, those of a storm among them; a fault between several pairs is one.
    pub steps: usize,
    /// Simulated time, from the start of the clients.
    pub lasted: Span,
}

impl Size {
    /// The size of a run that went on to its end.
    #[must_use]
    pub fn of(run: &SeedRun) -> Self {
        Self {
            events: run.events.len(),
            trace: run.trace_entries,
            steps: run
                .fired
                .iter()
                .map(|fired| (fired.step, fired.at))
                .collect::<BTreeSet<_>>()
                .len(),
            lasted: run.lasted,
        }
    }

    /// `events` in percent of another run's, with one decimal.
    #[must_use]
    pub fn percent_of(&self, whole: &Self) -> String {
        let permille = self.events.saturating_mul(1_000) / whole.events.max(1);
        format!("{}.{}", permille / 10, permille % 10)
    }
}

/// Puts claim and reason into a scenario, and pins the seed.
pub fn sign(
    scenario: &mut Value,
    reason: &Reason,
    origin: &Origin,
    run: &SeedRun,
    sizes: (Size, Size),
) {
    let Some(table) = scenario.as_object_mut() else { return };
    for key in ["claim", "why", "seeds", "variants"] {
        table.shift_remove(key);
    }
    let has_faults = ["timeline", "chaos"].iter().any(|key| table.contains_key(*key));
    if run.fired.is_empty() && !has_faults {
        // Nothing is done any more: no expectation can show that it was. (A file with steps is refused without one, also where they
        // come after what failed.)
        let expect = table.get_mut("expect").and_then(Value::as_array_mut);
        expect.into_iter().for_each(|all| all.retain(|one| one.get("bites").is_none()));
    }
    // A storm's steps are kept to the nanosecond, and in nanoseconds.
    let steps = table.get_mut("timeline").and_then(Value::as_array_mut);
    for step in steps.into_iter().flatten() {
        for key in ["at", "for", "delay"] {
            if let Some(exact) = span(step, key) {
                set_span(step, key, exact);
            }
        }
    }
    let told: Vec<Value> =
        table.get("timeline").and_then(Value::as_array).cloned().unwrap_or_default();
    let claim = claim(reason, run, &told);
    let why = why(reason, origin, run, sizes);
    let seeds = format!("{0}..={0}", run.seed);
    for (key, value) in [("seeds", seeds), ("why", why), ("claim", claim)] {
        table.shift_insert(0, key.into(), Value::from(value));
    }
}

/// What must hold, and what is done against it.
fn claim(reason: &Reason, run: &SeedRun, told: &[Value]) -> String {
    let held = match reason {
        Reason::Missed(words) => {
            let expectation =
                run.plan.expect.iter().find(|one| crate::report::words_of(one) == *words);
            let is = expectation.map_or_else(String::new, |one| format!(" {}", one.is));
            format!("{words}{is}")
        }
        Reason::Violation { check, .. } => {
            let doc = INVARIANTS.iter().find(|(name, _)| name == check).map(|(_, doc)| *doc);
            doc.map_or_else(
                || check.clone(),
                |doc| format!("{} ({check})", doc.trim_end_matches('.')),
            )
        }
    };
    // A storm that stays is told by what it did in this run.
    let scripted = run.plan.timeline.len();
    let came = run
        .fired
        .iter()
        .filter(|fired| fired.step >= scripted)
        .map(|fired| deed(&fired.fixed, None));
    let at =
        |index: usize| run.fired.iter().find(|fired| fired.step == index).map(|fired| fired.at);
    let deeds = told.iter().enumerate().map(|(index, step)| deed(step, at(index)));
    let deeds: Vec<String> = deeds.chain(came).collect();
    match deeds.as_slice() {
        [] => format!("{held}, with nothing done to the cluster."),
        few if few.len() <= 6 => format!("{held}, although {}.", few.join(", ")),
        many => format!(
            "{held}, although {} and {} things more happen.",
            many[..4].join(", "),
            many.len() - 4
        ),
    }
}

/// A step in words: `broker 1 is killed at 1s`. `at` is when it was done, where the file does not say.
fn deed(step: &Value, at: Option<Span>) -> String {
    let text = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default();
    let target = plain(text("target"));
    let sides =
        step.get("between").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let between = match sides {
        [one, other] => {
            format!(
                "between {} and {}",
                plain(one.as_str().unwrap_or_default()),
                plain(other.as_str().unwrap_or_default())
            )
        }
        _ => String::new(),
    };
    let api = text("api");
    let what = match action(step) {
        "kill" => format!("{target} is killed"),
        "start" => format!("{target} starts"),
        "power-loss" => format!("{target} loses its power"),
        "shutdown" => format!("{target} is shut down"),
        "pause" => format!("{target} stands still"),
        "resume" => format!("{target} goes on"),
        "wipe" => format!("the disk of {target} is emptied"),
        "partition" => format!("the network {between} is cut"),
        "slow-link" => format!("the network {between} is slow"),
        "loss" => format!("segments {between} are lost"),
        "drop-request" => format!("{api} requests {between} are dropped"),
        "drop-response" => format!("{api} responses {between} are dropped"),
        "delay-request" => format!("{api} requests {between} are late"),
        "delay-response" => format!("{api} responses {between} are late"),
        "disk-slow" => format!("the disk of {target} is slow"),
        "disk-full" => format!("the disk of {target} is full"),
        "disk-error" => format!("the disk of {target} fails"),
        "corrupt" => format!("bits of {target} rot"),
        "clock-jump" => format!("the clock of {target} jumps by {}", text("by")),
        other => format!("{other} {target}"),
    };
    let words = what.split_whitespace().collect::<Vec<_>>().join(" ");
    let lasts = step.get("for").and_then(Value::as_str);
    let lasts = lasts.map_or_else(String::new, |lasts| format!(" for {}", short(lasts)));
    let at = if text("at").is_empty() {
        at.map_or_else(String::new, show_time)
    } else {
        short(text("at"))
    };
    if at.is_empty() { format!("{words}{lasts}") } else { format!("{words} at {at}{lasts}") }
}

fn short(span: &str) -> String {
    Span::parse(span).map_or_else(
        |_| span.into(),
        |span| {
            if span.nanos().is_multiple_of(1_000_000) { span.decimal() } else { show_time(span) }
        },
    )
}

/// `brokers(1)` as people say it.
fn plain(target: &str) -> String {
    match Target::parse(target) {
        Ok(Target::Broker(id)) => Who::Broker(id).to_string(),
        Ok(Target::ControllerNumber(number)) => Who::Controller(number).to_string(),
        Ok(_) | Err(_) => match target {
            "nodes(*)" => "all other nodes".into(),
            "brokers(*)" => "all brokers".into(),
            "controllers(*)" => "all controllers".into(),
            "clients(*)" => "all clients".into(),
            other => other.to_string(),
        },
    }
}

fn why(reason: &Reason, origin: &Origin, run: &SeedRun, (before, after): (Size, Size)) -> String {
    let found = match reason.violation(run) {
        Some(violation) => format!("{reason}: {}", violation.what),
        None => reason.to_string(),
    };
    format!(
        "Found in {}, seed {}, at commit {}, and shrunk from {} events and {} steps to {} and {}. Under seed {} it failed for {found}.",
        origin.scenario,
        origin.seed,
        origin.commit,
        thousands(before.events as u64),
        before.steps,
        thousands(after.events as u64),
        after.steps,
        run.seed,
    )
}

/// Lines of the story that a head shows at most.
const STORY_MAX: usize = 30;

/// What was seen when it failed: the story up to the violation, then the violation with its evidence.
#[must_use]
pub fn head(reason: &Reason, run: &SeedRun) -> Vec<String> {
    let violation = reason.violation(run);
    let until = violation.map_or(run.lasted, |violation| violation.at);
    let is_told = |event: &&Event| event.at <= until && tells(event);
    let events: Vec<Event> = named(run).into_iter().filter(|event| is_told(&event)).collect();
    let lines = once(story::tell(&events));
    let mut head = vec![
        format!("What the testbed saw under seed {}, when this failed:", run.seed),
        String::new(),
    ];
    // What a violation follows from is before it; what an expectation is missed by may be anywhere.
    let from = match violation {
        Some(_) => lines.len().saturating_sub(STORY_MAX),
        None => 0,
    };
    if from > 0 {
        head.push(format!("  ({from} lines before)"));
    }
    for one in story::shorten(lines.into_iter().skip(from).collect(), STORY_MAX) {
        head.push(match one {
            Told::Line(line) => told(&line),
            Told::LeftOut(count) => format!("  ({})", lines_in_words(count)),
        });
    }
    match violation {
        Some(violation) => {
            head.push(cut(&format!("  ✘ {violation}")));
            head.extend(
                violation.evidence.iter().take(8).map(|line| cut(&format!("      {line}"))),
            );
        }
        None => head.push(cut(&format!("  ✘ {reason}"))),
    }
    head.push(String::new());
    head
}

/// What happens more often than this is told once.
const REPEATS_MAX: usize = 3;

/// Lines that say the same again and again (a reader that asks for a rotten batch every second) are told once, where they begin.
fn once(lines: Vec<Line>) -> Vec<Line> {
    let key = |line: &Line| (line.who.clone(), line.kind, line.what.clone());
    let mut all: BTreeMap<_, (usize, Span)> = BTreeMap::new();
    for line in &lines {
        let (count, last) = all.entry(key(line)).or_default();
        (*count, *last) = (*count + 1, line.at);
    }
    let mut told = BTreeSet::new();
    let tell = |mut line: Line| {
        let key = key(&line);
        let (count, last) = all[&key];
        if count <= REPEATS_MAX {
            return Some(line);
        }
        line.what.push_str(&format!(", × {count}, the last at {}", show_time(last)));
        told.insert(key).then_some(line)
    };
    lines.into_iter().filter_map(tell).collect()
}

/// Whether a reader needs it to understand what failed: the cluster's turns and the faults, not the traffic.
fn tells(event: &Event) -> bool {
    let not: [&str; 8] = [
        "produce.appended",
        "produce.acked",
        "client.stopped",
        "node.started",
        "storm.passed",
        "produce.duplicate",
        "client.refused",
        "quorum.role",
    ];
    // How a cluster comes up is known; only who led at the start is not.
    let is_setup =
        event.at == Span::ZERO && !["replica.leads", "controller.elected"].contains(&event.kind);
    !is_setup && !not.contains(&event.kind)
}

/// The events, with the names of topics also where they were known by their ids only: before the clients started.
fn named(run: &SeedRun) -> Vec<Event> {
    let names: BTreeMap<String, TopicPartition> = run
        .stats
        .cluster
        .iter()
        .flat_map(|cluster| &cluster.partitions)
        .filter_map(|(name, id)| Some((id.to_string(), partition_of(&name.to_string())?)))
        .collect();
    let mut events = run.events.clone();
    for event in &mut events {
        let name = event.partition.as_ref().and_then(|id| names.get(&id.to_string()));
        if let Some(name) = name {
            event.partition = Some(name.clone());
        }
    }
    events
}

fn told(line: &Line) -> String {
    cut(&format!(
        "  {:<9} {:<12} {} {}",
        show_time(line.at),
        line.who.to_string(),
        line.kind,
        line.what
    ))
}

/// At most as many characters as a line of a file has.
fn cut(line: &str) -> String {
    const WIDTH: usize = 130;
    if line.chars().count() <= WIDTH {
        line.trim_end().into()
    } else {
        line.chars().take(WIDTH - 1).chain(['…']).collect()
    }
}

/// A note for each step of a scenario: what its target was to the cluster then, as the run told.
#[must_use]
pub fn notes(scenario: &Value, run: &SeedRun) -> Vec<Option<String>> {
    let list = steps(scenario);
    let of = |(index, _): (usize, &Value)| {
        let fired = run.fired.iter().find(|fired| fired.step == index)?;
        let target = Target::parse(fired.fixed.get("target")?.as_str()?).ok()?;
        let who = match target_who(&target) {
            Some(who) if action(&fired.fixed) != "start" => who,
            _ => return None,
        };
        let is = roles(run, &who, fired.at);
        (!is.is_empty()).then(|| format!("{who} {}", is.join(", ")))
    };
    list.iter().enumerate().map(of).collect()
}

fn target_who(target: &Target) -> Option<Who> {
    if let Target::Broker(id) = target {
        return Some(Who::Broker(*id));
    }
    if let Target::ControllerNumber(number) = target {
        return Some(Who::Controller(*number));
    }
    None
}

/// What somebody was at a moment: whom the last election before it made leader, active controller.
fn roles(run: &SeedRun, who: &Who, at: Span) -> Vec<String> {
    let mut leads: BTreeMap<String, bool> = BTreeMap::new();
    let mut is_controller = false;
    for event in named(run).iter().take_while(|event| event.at <= at) {
        if event.kind == "replica.leads"
            && let Some(partition) = &event.partition
        {
            leads.insert(partition.to_string(), event.who == *who);
        }
        if event.kind == "controller.elected" {
            is_controller = event.who == *who;
        }
    }
    let led: Vec<&String> = leads.iter().filter(|(_, is)| **is).map(|(name, _)| name).collect();
    let mut roles = match led.as_slice() {
        [] => Vec::new(),
        few if few.len() <= 3 => few.iter().map(|name| format!("leads {name}")).collect(),
        many => vec![format!("leads {} partitions", many.len())],
    };
    if is_controller {
        roles.push("is the active controller".into());
    }
    roles
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_told_in_words() {
        let check = |step: Value, expected: &str| assert_eq!(deed(&step, None), expected);
        check(
            json!({ "at": "1.5s", "do": "kill", "target": "brokers(1)" }),
            "broker 1 is killed at 1.5s",
        );
        check(
            json!({ "at": "2s", "do": "partition", "between": ["brokers(2)", "nodes(*)"], "for": "500ms" }),
            "the network between broker 2 and all other nodes is cut at 2s for 500ms",
        );
        check(
            json!({ "at": "10243817265ns", "do": "drop-request", "api": "Fetch" }),
            "Fetch requests are dropped at 10.243s",
        );
    }

    #[test]
    fn what_repeats_itself_is_told_where_it_begins() {
        let line = |seconds: u64, kind: &'static str| Line {
            at: Span::from_secs(seconds),
            until: None,
            who: Who::Broker(1),
            kind,
            what: "orders-0".into(),
            partition: None,
        };
        let mut lines = vec![line(1, "broker.fenced"), line(2, "broker.fenced")];
        for seconds in 3..7 {
            lines.extend([line(seconds, "segment.corrupt"), line(seconds, "fetch.failed")]);
        }
        let told: Vec<String> = once(lines).iter().map(told).collect();
        assert_eq!(
            told,
            [
                "  1.000s    broker 1     broker.fenced orders-0",
                "  2.000s    broker 1     broker.fenced orders-0",
                "  3.000s    broker 1     segment.corrupt orders-0, × 4, the last at 6.000s",
                "  3.000s    broker 1     fetch.failed orders-0, × 4, the last at 6.000s",
            ]
        );
    }

    #[test]
    fn percents_have_one_decimal() {
        let size = |events| Size { events, ..Size::default() };
        assert_eq!(size(29).percent_of(&size(1_000)), "2.9");
        assert_eq!(size(1_000).percent_of(&size(1_000)), "100.0");
        assert_eq!(size(1).percent_of(&size(0)), "100.0");
    }
}
