//! R12: 0 ≤ log start ≤ high watermark ≤ log end on each replica, and what is served lies between them.

use ottla::types::{Observation, Offset, TopicIdPartition, Uuid};

use crate::checker::{Event, Ghost, Occurrence, Violation};

/// A high watermark or a served range that is not within the log.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these observations carry watermarks")]
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(observation) = occurrence.event else { return };
    match observation {
        Observation::HighWatermarkAdvanced { partition, from, to, .. }
            if partition.topic_id != Uuid::METADATA_TOPIC =>
        {
            let (start, end, known) = ends(ghost, occurrence, partition);
            if to > end || from < start || to <= from || known.is_some_and(|known| from != known) {
                let what = format!("the high watermark moved from {from} to {to}");
                out.push(violation(
                    ghost,
                    occurrence,
                    partition,
                    what,
                    format!("log {start}..{end}, high watermark before {known:?}"),
                ));
            }
        }
        Observation::FetchServed { partition, fetch_offset, end_offset, high_watermark } => {
            let (start, end, _) = ends(ghost, occurrence, partition);
            let beyond = end_offset > fetch_offset && end_offset > high_watermark;
            if fetch_offset < start || beyond || high_watermark > end {
                let what = format!(
                    "{fetch_offset}..{end_offset} was served under a high watermark of {high_watermark}"
                );
                out.push(violation(
                    ghost,
                    occurrence,
                    partition,
                    what,
                    format!("log {start}..{end}"),
                ));
            }
        }
        Observation::LogRecovered { partition, log_start_offset, log_end_offset, .. }
            if log_start_offset > log_end_offset =>
        {
            let what = format!(
                "a log was opened whose start {log_start_offset} lies after its end {log_end_offset}"
            );
            out.push(violation(ghost, occurrence, partition, what, String::new()));
        }
        _ => {}
    }
}

fn ends(
    ghost: &Ghost,
    occurrence: &Occurrence,
    partition: TopicIdPartition,
) -> (Offset, Offset, Option<Offset>) {
    ghost
        .log(occurrence.node, partition)
        .map_or((Offset::ZERO, Offset::ZERO, None), |log| (log.start, log.end, log.high_watermark))
}

fn violation(
    ghost: &Ghost,
    occurrence: &Occurrence,
    partition: TopicIdPartition,
    what: String,
    fact: String,
) -> Violation {
    Violation {
        check: "R12",
        at: occurrence.at,
        node: Some(occurrence.node),
        partition: Some(ghost.name(partition)),
        what,
        evidence: vec![fact],
    }
}
