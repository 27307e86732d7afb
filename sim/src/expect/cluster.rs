//! Expectations about leaders, in-sync replicas and controllers, measured on what the nodes knew.

use ottla::types::TopicIdPartition;

use super::Window;
use crate::event::Who;
use crate::scenario::condition::Measured;
use crate::scenario::duration::Span;
use crate::scenario::plan::{Expectation, ExpectationKind};
use crate::scenario::target::{PartitionName, Target};
use crate::stats::LastViews;

/// Later than every moment of a run: what is asked of no time is asked of the end.
const END: Span = Span::from_nanos(u64::MAX);

/// The value of an expectation about the cluster; `None` where there is nothing to measure.
pub(super) fn measure(
    expectation: &Expectation,
    within: Window,
    run_for: Span,
    last: &LastViews,
) -> Option<Measured> {
    let views = &last.views;
    // Times that last end with the run: what healing takes is another question.
    let (from, to) = (within.from, within.to.unwrap_or(run_for));
    let has_window =
        expectation.between.is_some() || expectation.by.is_some() || expectation.after.is_some();
    let of = |asked: &Option<PartitionName>| -> Vec<TopicIdPartition> {
        let all = last.partitions.iter();
        let asked = all.filter(|(name, _)| asked.as_ref().is_none_or(|asked| asked == *name));
        asked.map(|(_, id)| *id).collect()
    };
    match &expectation.kind {
        ExpectationKind::Leader { partition, who, at } => {
            let id = last.partitions.get(partition)?;
            let view = views.partition_at(*id, at.unwrap_or(END))?;
            let leader = view.leader.and_then(|id| u32::try_from(id.value()).ok());
            let leader = leader.map(Who::Broker);
            Some(Measured::Flag(leader.is_some_and(|leader| means(last, who).contains(&leader))))
        }
        ExpectationKind::LeaderlessFor { partition } => {
            let gaps = of(partition).into_iter().map(|id| views.leaderless_longest(id, from, to));
            gaps.max().map(Measured::Time)
        }
        ExpectationKind::Isr { partition, at } => {
            let (from, to) = match at {
                Some(at) => (*at, *at),
                None if has_window => (from, to),
                None => (END, END),
            };
            let sizes = of(partition).into_iter().filter_map(|id| views.isr_least(id, from, to));
            sizes.min().map(|size| Measured::Count(size as u64))
        }
        ExpectationKind::ActiveControllers { at } => Some(Measured::Count(match at {
            Some(at) => views.active_at(*at),
            None if has_window => views.active_most(from, to),
            None => views.active_at(END),
        })),
        ExpectationKind::ControllerGap {} => Some(Measured::Time(views.longest_gap(from, to))),
        ExpectationKind::MetadataIdentical {} => Some(Measured::Flag(last.is_metadata_identical)),
        ExpectationKind::Acked { .. }
        | ExpectationKind::AckedLost { .. }
        | ExpectationKind::FailedForGood { .. }
        | ExpectationKind::Unknown { .. }
        | ExpectationKind::UnknownLost { .. }
        | ExpectationKind::Error { .. }
        | ExpectationKind::DuplicatesInLog { .. }
        | ExpectationKind::ReorderedPerKey { .. }
        | ExpectationKind::Read { .. }
        | ExpectationKind::UnavailableFor { .. }
        | ExpectationKind::Latency { .. }
        | ExpectationKind::HwAdvance { .. }
        | ExpectationKind::Batches { .. }
        | ExpectationKind::UnprocessedAcked { .. }
        | ExpectationKind::ProcessedTwice { .. }
        | ExpectationKind::ProcessedOutOfOrder { .. }
        | ExpectationKind::KeysMoved { .. }
        | ExpectationKind::PollRecords { .. }
        | ExpectationKind::PollWait { .. }
        | ExpectationKind::Imbalance { .. }
        | ExpectationKind::PartitionsMoved { .. }
        | ExpectationKind::InHand { .. }
        | ExpectationKind::CommittedUnprocessed { .. }
        | ExpectationKind::CommitMovesBack { .. }
        | ExpectationKind::Lag { .. }
        | ExpectationKind::IdleFor { .. }
        | ExpectationKind::Rebalances { .. }
        | ExpectationKind::OwnersPerPartition { .. }
        | ExpectationKind::UnownedFor { .. }
        | ExpectationKind::Converged {}
        | ExpectationKind::Event { .. }
        | ExpectationKind::Violations { .. } => None,
    }
}

/// Whom a target means when the run is over.
fn means(last: &LastViews, target: &Target) -> Vec<Who> {
    match target {
        Target::Broker(id) => vec![Who::Broker(*id)],
        Target::Preferred(partition) => {
            last.preferred.get(partition).cloned().into_iter().collect()
        }
        Target::Saved(name) => last.saved.get(name).cloned().unwrap_or_default(),
        Target::ControllerNumber(_)
        | Target::All(_)
        | Target::Controller
        | Target::Coordinator(_)
        | Target::Leader(_)
        | Target::Follower(..)
        | Target::Followers(_)
        | Target::Replicas(_)
        | Target::Isr(_)
        | Target::Osr(_)
        | Target::Random(_)
        | Target::Minority(_)
        | Target::Client { .. }
        | Target::Clients { .. }
        | Target::AllClients => Vec::new(),
    }
}
