//! What people and tools are shown of a run. No wall time, host or commit stands in what goes to standard output or
//! `reports/`: the same seeds give the same bytes everywhere.

pub mod bands;
pub mod html;
pub mod json;
pub mod junit;
pub mod lanes;
pub mod markdown;
pub mod perfetto;
pub mod picture;
#[cfg(test)]
pub(crate) mod sample;
pub mod story;
pub mod text;

use crate::scenario::duration::Span;
use crate::scenario::plan::{Action, Budget, Expectation, ExpectationKind, Of, OfGroup};
use crate::scenario::target::PartitionName;
use crate::stats::Totals;
use crate::verdict::{Fired, SeedRun, VariantRun, show_time};
use crate::which;

/// An expectation in the words of its file, without what is asked: `acked-lost of writer`.
#[must_use]
pub fn words_of(expectation: &Expectation) -> String {
    let of = |name: &str, of: &Of| {
        let parts =
            [of.workload.clone(), of.partition.as_ref().map(ToString::to_string), of.error.clone()];
        joined(name, parts)
    };
    let of_partition = |name: &str, partition: &Option<PartitionName>| {
        joined(name, [partition.as_ref().map(ToString::to_string), None, None])
    };
    let of_group = |name: &str, of: &OfGroup| {
        joined(name, [of.group.clone(), of.partition.as_ref().map(ToString::to_string), None])
    };
    let what = match &expectation.kind {
        ExpectationKind::UnprocessedAcked { of } => of_group("unprocessed-acked", of),
        ExpectationKind::ProcessedTwice { of } => of_group("processed-twice", of),
        ExpectationKind::ProcessedOutOfOrder { of } => of_group("processed-out-of-order", of),
        ExpectationKind::PollRecords { workload } => {
            joined("poll-records", [workload.clone(), None, None])
        }
        ExpectationKind::PollWait { workload, gave, percentile } => {
            let gave = gave.map(|gave| format!("that gave {}", gave.name()));
            joined(&format!("poll-wait p{percentile}"), [workload.clone(), gave, None])
        }
        ExpectationKind::KeysMoved { topic } => joined("keys-moved", [topic.clone(), None, None]),
        ExpectationKind::CommittedUnprocessed { of } => of_group("committed-unprocessed", of),
        ExpectationKind::CommitMovesBack { of } => of_group("commit-moves-back", of),
        ExpectationKind::Lag { of, at } => of_group("lag", of) + &at_time(*at),
        ExpectationKind::IdleFor { of } => of_group("idle-for", of),
        ExpectationKind::Rebalances { group } => joined("rebalances", [group.clone(), None, None]),
        ExpectationKind::OwnersPerPartition { of } => of_group("owners-per-partition", of),
        ExpectationKind::UnownedFor { of } => of_group("unowned-for", of),
        ExpectationKind::Imbalance { group, at } => {
            joined("imbalance", [Some(group.clone()), None, None]) + &at_time(*at)
        }
        ExpectationKind::PartitionsMoved { group } => {
            joined("partitions-moved", [Some(group.clone()), None, None])
        }
        ExpectationKind::InHand { group } => joined("in-hand", [group.clone(), None, None]),
        ExpectationKind::Acked { of: which } => of("acked", which),
        ExpectationKind::AckedLost { of: which } => of("acked-lost", which),
        ExpectationKind::FailedForGood { of: which } => of("failed-for-good", which),
        ExpectationKind::Unknown { of: which } => of("unknown", which),
        ExpectationKind::UnknownLost { of: which } => of("unknown-lost", which),
        ExpectationKind::Error { of: which } => of("error", which),
        ExpectationKind::DuplicatesInLog { of: which } => of("duplicates-in-log", which),
        ExpectationKind::ReorderedPerKey { of: which } => of("reordered-per-key", which),
        ExpectationKind::Read { of: which } => of("read", which),
        ExpectationKind::UnavailableFor { workload, partition } => {
            let partition = partition.as_ref().map(ToString::to_string);
            joined("unavailable-for", [workload.clone(), partition, None])
        }
        ExpectationKind::Leader { partition, who, at } => {
            format!("{partition} led by {who}{}", at_time(*at))
        }
        ExpectationKind::LeaderlessFor { partition } => of_partition("leaderless-for", partition),
        ExpectationKind::Isr { partition, at } => of_partition("isr", partition) + &at_time(*at),
        ExpectationKind::ActiveControllers { at } => format!("active-controllers{}", at_time(*at)),
        ExpectationKind::ControllerGap {} => "controller-gap".into(),
        ExpectationKind::MetadataIdentical {} => "metadata-identical".into(),
        ExpectationKind::Latency { workload, percentile } => {
            joined(&format!("latency p{percentile}"), [workload.clone(), None, None])
        }
        ExpectationKind::HwAdvance { partition } => of_partition("hw-advance", partition),
        ExpectationKind::Batches { partition } => of_partition("batches", partition),
        ExpectationKind::Converged {} => "converged".into(),
        ExpectationKind::Event { event, node, action, partition, error } => {
            let name = match action {
                Some(action) => format!("event {event} {action}"),
                None => format!("event {event}"),
            };
            let node = node.as_ref().map(ToString::to_string);
            joined(&name, [node, partition.as_ref().map(ToString::to_string), error.clone()])
        }
        ExpectationKind::Violations { check } => format!("violations of {check}"),
    };
    let mut window = String::new();
    if let Some((from, to)) = expectation.between {
        window.push_str(&format!(", {from} to {to}"));
    }
    if let Some(from) = expectation.after {
        window.push_str(&format!(", from {from}"));
    }
    if let Some(to) = expectation.by {
        window.push_str(&format!(", by {to}"));
    }
    what + &window
}

fn at_time(at: Option<Span>) -> String {
    at.map_or_else(String::new, |at| format!(" at {at}"))
}

fn joined(name: &str, parts: [Option<String>; 3]) -> String {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { name.into() } else { format!("{name} of {}", parts.join(" ")) }
}

/// The values that the seeds showed for an expectation: one, or the smallest and the largest.
#[must_use]
pub fn values_of(run: &VariantRun, index: usize) -> String {
    let measured = run.seeds.iter().filter_map(|seed| seed.measured.get(index)?.as_ref());
    let mut values: Vec<_> = measured.filter_map(|measurement| measurement.value.clone()).collect();
    values.sort();
    match (values.first(), values.last()) {
        (Some(low), Some(high)) if low == high => low.to_string(),
        (Some(low), Some(high)) => format!("{low} … {high}"),
        _ => "-".into(),
    }
}

/// The command that runs a seed again.
#[must_use]
pub fn repro_command(run: &VariantRun, seed: &SeedRun) -> String {
    let mut command = format!("{} {} --seed {}", which::COMMAND, run.path, seed.seed);
    if let Some(variant) = &run.variant {
        command.push_str(&format!(" --variant {variant}"));
    }
    for setting in &run.settings {
        command.push_str(&format!(" --set '{setting}'"));
    }
    command
}

/// `1 line`, `12 lines`.
#[must_use]
pub fn lines_in_words(count: usize) -> String {
    if count == 1 { "1 line".into() } else { format!("{count} lines") }
}

/// How many steps beyond the budget are told of one by one.
const BEYOND_MAX: usize = 3;

/// The steps of a failing seed that put an acknowledged record at stake although the file does not say so, a line each.
#[must_use]
pub fn beyond_budget(seed: &SeedRun) -> Vec<String> {
    if seed.plan.budget != Budget::Tolerable || seed.violations.is_empty() {
        return Vec::new();
    }
    let of_timeline = seed.plan.timeline.iter().map(|step| &step.action);
    let of_chaos = seed.plan.chaos.iter().flat_map(|chaos| &chaos.faults).map(|of| &of.action);
    let actions: Vec<&Action> = of_timeline.chain(of_chaos).collect();
    let mut fired: Vec<&Fired> =
        seed.fired.iter().filter(|fired| fired.at_stake.is_some()).collect();
    // What was done to several at once is kept as a step for each.
    fired.dedup_by_key(|fired| (fired.step, fired.at));
    let line = |fired: &&Fired| {
        let action = actions.get(fired.step)?;
        let targets: Vec<String> =
            action.targets().iter().map(|(_, target)| target.to_string()).collect();
        Some(format!(
            "beyond the tolerable budget: {} of {} at {}: {} was at stake; if that is meant, say `budget = \"beyond\"`",
            action.name(),
            targets.join(" and "),
            show_time(fired.at),
            fired.at_stake.as_deref()?,
        ))
    };
    let mut lines: Vec<String> = fired.iter().take(BEYOND_MAX).filter_map(line).collect();
    if fired.len() > BEYOND_MAX {
        lines.push(format!("beyond it too: {} more steps", fired.len() - BEYOND_MAX));
    }
    lines
}

/// How many acknowledged records are gone, were deleted, and were looked for by nobody: `3 acknowledged ones lost`.
#[must_use]
pub fn lost_in_words(of: &Totals) -> String {
    let gone = format!("{} acknowledged ones lost", thousands(of.acked_lost));
    let not_read = format!(
        "{} acknowledged ones not read, as the cluster did not converge",
        thousands(of.acked_not_read)
    );
    let deleted = format!("{} deleted by retention or DeleteRecords", thousands(of.acked_deleted));
    let said = [
        (of.acked_lost > 0 || of.acked_not_read == 0, gone),
        (of.acked_not_read > 0, not_read),
        (of.acked_deleted > 0, deleted),
    ];
    let said: Vec<String> =
        said.into_iter().filter_map(|(is, words)| is.then_some(words)).collect();
    said.join(", ")
}

/// What became of all records under all seeds, as a sentence.
#[must_use]
pub fn totals_in_words(run: &VariantRun) -> String {
    let total = |of: fn(&SeedRun) -> u64| run.seeds.iter().map(of).sum::<u64>();
    let sum = |of| thousands(total(of));
    let lost = lost_in_words(&Totals {
        acked_lost: total(|seed| seed.totals.acked_lost),
        acked_not_read: total(|seed| seed.totals.acked_not_read),
        acked_deleted: total(|seed| seed.totals.acked_deleted),
        ..Totals::default()
    });
    format!(
        "In all seeds: {} records sent, {} acknowledged, {} failed, {} unknown; {lost}, {} duplicates.",
        sum(|seed| seed.totals.sent),
        sum(|seed| seed.totals.acked),
        sum(|seed| seed.totals.failed),
        sum(|seed| seed.totals.unknown),
        sum(|seed| seed.totals.duplicates),
    )
}

/// A number with its thousands apart: `1,234,567`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `seed 7`, or `seeds 1 to 10`, or `seeds 1, 5, 9 and 12 more`.
#[must_use]
pub fn seeds_in_words(seeds: &[u64]) -> String {
    match seeds {
        [] => "no seed".into(),
        [one] => format!("seed {one}"),
        [first, .., last] if *last - *first == seeds.len() as u64 - 1 && seeds.is_sorted() => {
            format!("seeds {first} to {last}")
        }
        many => {
            let shown: Vec<String> = many.iter().take(8).map(ToString::to_string).collect();
            let more = many.len().saturating_sub(shown.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("seeds {}{more}", shown.join(", "))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A seed of three brokers that lose power at once, with a record at stake.
    fn powerless(budget: &str) -> SeedRun {
        let mut seed = sample::red();
        seed.plan = serde_json::from_value(serde_json::json!({
            "claim": "x", "run-for": "2s", "budget": budget,
            "timeline": [
                { "at": "1s", "do": "kill", "target": "brokers(1)" },
                { "at": "1500ms", "do": "power-loss", "target": "brokers(*)" },
            ],
        }))
        .unwrap();
        let stake = Some("an acknowledged record of orders-0".to_owned());
        let struck = Fired { at_stake: stake, ..seed.fired[1].clone() };
        seed.fired.splice(1.., [struck.clone(), struck.clone(), struck]);
        seed
    }

    #[test]
    fn a_step_beyond_the_budget_is_told_once_where_the_file_does_not_say_so() {
        let line = "beyond the tolerable budget: power-loss of brokers(*) at 1.500s: an acknowledged record of orders-0 was at stake; if that is meant, say `budget = \"beyond\"`";
        assert_eq!(beyond_budget(&powerless("tolerable")), [line]);
        assert!(beyond_budget(&powerless("beyond")).is_empty());
        assert!(beyond_budget(&sample::red()).is_empty(), "nothing was at stake");
        let green = SeedRun { violations: Vec::new(), ..powerless("tolerable") };
        assert!(beyond_budget(&green).is_empty());
    }

    #[test]
    fn what_nobody_looked_for_is_not_called_lost() {
        let said = |acked_lost, acked_not_read, acked_deleted| {
            let totals = Totals { acked_lost, acked_not_read, acked_deleted, ..Totals::default() };
            lost_in_words(&totals)
        };
        assert_eq!(said(0, 0, 0), "0 acknowledged ones lost");
        assert_eq!(said(1_200, 0, 0), "1,200 acknowledged ones lost");
        let not_read = "80 acknowledged ones not read, as the cluster did not converge";
        assert_eq!(said(0, 80, 0), not_read);
        assert_eq!(said(3, 80, 0), format!("3 acknowledged ones lost, {not_read}"));
        assert_eq!(
            said(0, 0, 5),
            "0 acknowledged ones lost, 5 deleted by retention or DeleteRecords"
        );
    }

    #[test]
    fn numbers_and_seeds_read_well() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(seeds_in_words(&[7]), "seed 7");
        assert_eq!(seeds_in_words(&[1, 2, 3]), "seeds 1 to 3");
        assert_eq!(seeds_in_words(&[1, 3]), "seeds 1, 3");
        assert_eq!(
            seeds_in_words(&(0..40).step_by(2).collect::<Vec<_>>()),
            "seeds 0, 2, 4, 6, 8, 10, 12, 14 and 12 more"
        );
    }
}
