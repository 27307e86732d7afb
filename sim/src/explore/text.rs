//! A summary as a person reads it: what was run, how it failed, what it reached, and by name what it never did.

use std::collections::BTreeMap;

use super::coverage::Coverage;
use super::groups::Group;
use super::states::State;
use super::summary::{Row, Summary, Tally};
use crate::report::{seeds_in_words, thousands};
use crate::scenario::words::INVARIANTS;
use crate::verdict::{Judgement, Verdict};

/// The width of a list of names.
const LINE_MAX: usize = 110;

/// The rarest states that are shown.
const RAREST: usize = 5;

/// The whole summary.
#[must_use]
pub fn summary(of: &Summary) -> String {
    let mut out = String::new();
    for tally in &of.scenarios {
        out.push_str(&tally_text(tally));
    }
    out.push_str(&failures(of));
    out.push_str(&coverage(&of.coverage));
    out.push_str(&format!("   {}\n", conclusion(of)));
    out
}

fn tally_text(of: &Tally) -> String {
    let seeds: Vec<u64> = of.seeds.iter().copied().collect();
    let varied = match of.varied {
        0 => String::new(),
        varied => {
            format!(", and {} runs of seeds that reached something new, varied", thousands(varied))
        }
    };
    let mut out = format!("━━ {}\n   {}\n", of.title(), of.claim);
    out.push_str(&format!(
        "   {} seeds ({}){varied}: {} of simulated time\n",
        thousands(of.seeds.len() as u64),
        seeds_in_words(&seeds),
        time(of.lasted_millis),
    ));
    out.push_str(&format!(
        "   {} records sent, {} acknowledged, {} of these lost\n",
        thousands(of.sent),
        thousands(of.acked),
        thousands(of.acked_lost)
    ));
    if let Some((seed, reason)) = &of.inconclusive_first {
        out.push_str(&format!(
            "   ? {} seeds show nothing; under seed {seed}, {reason}\n",
            thousands(of.inconclusive)
        ));
    }
    for row in &of.expectations {
        if let Judgement::Missed(reason) = row.judgement() {
            out.push_str(&missed(row, &reason));
        }
    }
    out.push('\n');
    out
}

fn missed(row: &Row, reason: &str) -> String {
    format!("   ✘ expected {} {}: {reason}\n", row.that, row.is)
}

fn time(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

fn failures(of: &Summary) -> String {
    if of.groups.is_empty() {
        return String::new();
    }
    let count: u64 = of.groups.iter().map(|group| group.count).sum();
    let kinds = of.groups.len();
    let mut out =
        format!("━━ Failures: {count} of {kinds} kind{}\n", if kinds == 1 { "" } else { "s" });
    for group in &of.groups {
        out.push_str(&group_text(group));
    }
    out.push('\n');
    out
}

fn group_text(group: &Group) -> String {
    let Group { kind, count, first, others } = group;
    let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
    let mut out = format!("   ✘ {} ({}), {times} in {}\n", kind.check, kind.site, kind.scenario);
    out.push_str(&format!("     under seed {}: {}\n", first.seed, first.what));
    let claim = INVARIANTS.iter().find(|(name, _)| *name == kind.check);
    if let Some((_, doc)) = claim {
        out.push_str(&format!("       claim: {doc}\n"));
    }
    for (index, fact) in first.evidence.iter().enumerate() {
        let head = if index == 0 { "fact: " } else { "      " };
        for line in fact.lines() {
            out.push_str(&format!("       {head} {line}\n"));
        }
    }
    out.push_str(&format!("     again: {}\n", first.again));
    if let Some(kept) = &first.kept {
        out.push_str(&format!("     kept:  {kept}\n"));
        out.push_str(&format!("            look at it: {kept}/report.html\n"));
        out.push_str(&format!("            shrink it:  cargo sim shrink {kept}/repro.json\n"));
    }
    for other in others.iter().take(3) {
        out.push_str(&format!("     also:  {other}\n"));
    }
    out
}

fn coverage(of: &Coverage) -> String {
    let [events, errors, marks] = Coverage::reachable();
    let mut out = String::from("━━ Reached\n");
    let mut line = |name: &str, reached: usize, all: usize| {
        out.push_str(&format!("   {name:<18} {reached:>5} of {all}\n"));
    };
    let (no_events, no_errors, no_marks) = (of.events_never(), of.errors_never(), of.marks_never());
    line("events", events - no_events.len(), events);
    line("error codes", errors - no_errors.len(), errors);
    line("marks", marks - no_marks.len(), marks);
    let others: Vec<&str> = of
        .errors
        .keys()
        .map(String::as_str)
        .filter(|name| !crate::explore::coverage::is_answered(name))
        .collect();
    if !others.is_empty() {
        out.push_str(&format!(
            "   {:<18} {:>5}, that no node answers: {}\n",
            "error codes",
            others.len(),
            others.join(", ")
        ));
    }
    for (name, is_of_quorum) in [("partition states", false), ("quorum states", true)] {
        let states: BTreeMap<u32, u64> =
            of.states_of(is_of_quorum).map(|(state, times)| (state.0, times)).collect();
        let steps = of.steps.iter().filter(|(from, _)| State(*from).is_of_quorum() == is_of_quorum);
        out.push_str(&format!(
            "   {name:<18} {:>5}, and {} different steps between them\n",
            thousands(states.len() as u64),
            thousands(steps.count() as u64)
        ));
        out.push_str(&rarest(states));
    }
    out.push_str("\n━━ Never reached\n");
    out.push_str(&names("events", &no_events));
    out.push_str(&names("error codes", &no_errors));
    out.push_str(&names("states", &of.words_never()));
    if no_marks.is_empty() {
        out.push_str("   marks: none\n");
    } else {
        out.push_str("   marks:\n");
        no_marks.iter().for_each(|mark| out.push_str(&format!("     {mark}\n")));
    }
    out.push('\n');
    out
}

/// The states that the fewest runs reached.
fn rarest(states: BTreeMap<u32, u64>) -> String {
    let mut rare: Vec<(u64, u32)> =
        states.into_iter().map(|(state, times)| (times, state)).collect();
    rare.sort_unstable();
    let lines = rare.into_iter().take(RAREST).map(|(times, state)| {
        let runs = if times == 1 { "1 run".to_owned() } else { format!("{times} runs") };
        format!("     in {runs}: {}\n", State(state))
    });
    lines.collect()
}

/// Names below a heading, as many on a line as fit.
fn names(what: &str, names: &[&str]) -> String {
    if names.is_empty() {
        return format!("   {what}: none\n");
    }
    let mut out = format!("   {what}:\n");
    let mut line = String::new();
    for (index, name) in names.iter().enumerate() {
        let more = if index + 1 < names.len() { "," } else { "" };
        if !line.is_empty() && line.chars().count() + name.chars().count() + 2 > LINE_MAX {
            out.push_str(&format!("     {}\n", line.trim_end()));
            line.clear();
        }
        line.push_str(&format!("{name}{more} "));
    }
    out + &format!("     {}\n", line.trim_end())
}

/// The last line.
#[must_use]
pub fn conclusion(of: &Summary) -> String {
    let (runs, kinds) = (thousands(of.runs()), of.groups.len());
    match of.verdict() {
        Verdict::Passed => format!("✔ {runs} runs, nothing failed"),
        Verdict::Inconclusive if of.runs() == 0 => "? INCONCLUSIVE: no seed was run".into(),
        Verdict::Inconclusive => format!("? INCONCLUSIVE: of {runs} runs most show nothing"),
        verdict @ (Verdict::Failed | Verdict::Nondeterministic) => {
            let plural = if kinds == 1 { "" } else { "s" };
            format!("✘ {}: {runs} runs, {kinds} kind{plural} of failure", verdict.name())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::Shard;
    use crate::explore::summary::tests::{green, red, run_of};
    use crate::which::COMMAND;

    #[test]
    fn a_kind_of_failure_is_told_once_with_its_count_and_first_seed() {
        let mut of = Summary::new("explore", Shard::WHOLE);
        for run in [green(1, &[4]), red(9, "R3", "9 differs"), red(2, "R3", "2 differs")] {
            of.add(&run_of("a.toml"), &run, false);
        }
        let text = summary(&of);
        assert_eq!(text.matches("✘ R3").count(), 1, "{text}");
        assert!(text.contains("✘ R3 (the cluster), 2 times in a\n"), "{text}");
        assert!(text.contains("under seed 2: R3 at 0.000s: 2 differs"), "{text}");
        assert!(text.contains(&format!("again: {COMMAND} a.toml --seed 2\n")), "{text}");
        assert!(text.contains("3 seeds (seeds 1, 2, 9)"), "{text}");
        assert!(text.contains("✘ FAILED: 3 runs, 1 kind of failure"), "{text}");
    }

    #[test]
    fn what_was_never_reached_is_told_by_name() {
        let mut of = Summary::new("explore", Shard::WHOLE);
        of.add(&run_of("a.toml"), &green(1, &[4]), false);
        let text = summary(&of);
        let never = &text[text.find("━━ Never reached").unwrap()..];
        for name in ["leader.elected-unclean", "NOT_LEADER_OR_FOLLOWER", "recovery cuts a log"] {
            assert!(never.contains(name), "{name}: {never}");
        }
        assert!(text.contains("partition states       1, and 0 different steps"), "{text}");
        assert!(text.contains("in 1 run: led"), "{text}");
        assert!(text.contains("✔ 1 runs, nothing failed"), "{text}");
    }

    #[test]
    fn long_lists_are_broken_into_lines() {
        let many = ["some-event-with-a-name"; 12];
        let text = names("events", &many);
        assert!(text.lines().count() > 2 && text.lines().all(|line| line.len() <= LINE_MAX + 5));
        assert_eq!(names("events", &[]), "   events: none\n");
    }
}
