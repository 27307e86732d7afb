//! R13: within its term a leader's high watermark never falls, and a follower is asked into the ISR only when its log reaches both the
//! watermark and the start of the term; and no leader tells an end of the log that lies before what was committed in an earlier term
//! (KIP-207).

use ottla::types::{Observation, Offset};

use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// A leader asks for a member that is behind, cuts its own log below its watermark, or tells an end before it knows what is committed.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these observations are concerned")]
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(observation) = occurrence.event else { return };
    match observation {
        Observation::IsrProposed { partition, isr, .. } => {
            let Some(leading) = ghost.leading(occurrence.node, partition) else { return };
            let watermark = ghost
                .log(occurrence.node, partition)
                .and_then(|log| log.high_watermark)
                .unwrap_or(Offset::ZERO);
            let due = watermark.max(leading.start_offset);
            for member in isr.without(&leading.isr).iter() {
                let reached = leading.progress.get(&member).map(|progress| progress.fetch_offset);
                if ghost.broker_of(occurrence.node) != Some(member) && reached < Some(due) {
                    let what = format!("broker {member} is asked into the ISR and is behind");
                    let reached =
                        reached.map_or("nothing".to_owned(), |end| format!("all below {end}"));
                    let fact = format!(
                        "it has fetched {reached}; the high watermark is {watermark}, the term began at {}",
                        leading.start_offset
                    );
                    out.push(found("R13", ghost, occurrence, Some(partition), what, vec![fact]));
                }
            }
        }
        Observation::LogTruncated { partition, from, to } => {
            let is_leader = ghost.leading(occurrence.node, partition).is_some();
            let watermark =
                ghost.log(occurrence.node, partition).and_then(|log| log.high_watermark);
            if is_leader && to < from && Some(to) < watermark {
                let what = format!(
                    "a leader cut its log from {from} back to {to}, below its high watermark"
                );
                let fact = format!("the high watermark was {watermark:?}");
                out.push(found("R13", ghost, occurrence, Some(partition), what, vec![fact]));
            }
        }
        Observation::EndTold { partition, leader_epoch, end_offset } => {
            let Some(of) = ghost.partition(partition) else { return };
            let earlier = of.watermarks.range(..leader_epoch).map(|(_, watermark)| *watermark);
            let Some(known) = earlier.max().filter(|known| *known > end_offset) else { return };
            if of.cuts.is_empty() && !of.is_unsettled(leader_epoch) {
                let what = format!("a consumer was told that the log ends at {end_offset}");
                let fact = format!("all below {known} was committed before term {leader_epoch}");
                out.push(found("R13", ghost, occurrence, Some(partition), what, vec![fact]));
            }
        }
        _ => {}
    }
}
