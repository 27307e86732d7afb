//! Each check fires on a hand-made violation, and none fires on a run without one: a file for each subject, and here the words in
//! which the runs are told.

mod atlas;
mod cluster;
mod consumer_groups;
mod disks;
mod elections;
mod gone;
mod group_state;
mod groups;
mod histories;
mod in_sync;
mod leaders;
mod left_out;
mod loaded_groups;
mod logs;
mod quorum;

use ottla::types::{
    Acks, BrokerSet, LeaderEpoch, Observation, Offset, PartitionIndex, ProducerEpoch, ProducerId,
    ProducerStamp, Sequence, TopicIdPartition, Uuid,
};

use super::{Checkers, Event, Occurrence, Violation};
use crate::world::{NodeId, SimTime};

const NODE: NodeId = NodeId(0);

fn partition() -> TopicIdPartition {
    TopicIdPartition { topic_id: Uuid::from_bytes([7; 16]), partition: PartitionIndex::new(0) }
}

fn stamp(epoch: i16, sequence: i32) -> ProducerStamp {
    ProducerStamp {
        id: ProducerId::new(9),
        epoch: ProducerEpoch::new(epoch),
        base_sequence: Sequence::new(sequence),
    }
}

fn appended(base: i64, end: i64, crc: u32, producer: Option<ProducerStamp>) -> Event {
    Event::Observed(Observation::ProduceAppended {
        partition: partition(),
        leader_epoch: LeaderEpoch::new(0),
        base_offset: Offset::new(base),
        end_offset: Offset::new(end),
        producer,
        crc,
    })
}

fn flushed(end: i64) -> Event {
    Event::Observed(Observation::LogFlushed {
        partition: partition(),
        end_offset: Offset::new(end),
    })
}

/// The log was opened as a clean stop left it.
fn recovered(end: i64) -> Event {
    opened(end, None)
}

/// The log was opened after a crash, and all of it scanned.
fn scanned(end: i64) -> Event {
    scanned_from(0, end)
}

/// The log was opened after a crash, and scanned from an offset on.
fn scanned_from(from: i64, end: i64) -> Event {
    opened(end, Some(Offset::new(from)))
}

fn opened(end: i64, scanned_from: Option<Offset>) -> Event {
    opened_durable(0, end, scanned_from)
}

/// The log was opened, and its node holds what is below an offset to be durable.
fn opened_durable(durable: i64, end: i64, scanned_from: Option<Offset>) -> Event {
    Event::Observed(Observation::LogRecovered {
        partition: partition(),
        log_start_offset: Offset::ZERO,
        log_end_offset: Offset::new(end),
        durable_end_offset: Offset::new(durable),
        scanned_from,
        bytes_scanned: if scanned_from.is_some() { 100 } else { 0 },
        bytes_cut: 0,
    })
}

fn acked(base: i64, end: i64) -> Event {
    Event::Observed(Observation::ProduceAcked {
        partition: partition(),
        leader_epoch: LeaderEpoch::new(0),
        base_offset: Offset::new(base),
        end_offset: Offset::new(end),
        acks: Acks::All,
    })
}

fn watermark(from: i64, to: i64) -> Event {
    Event::Observed(Observation::HighWatermarkAdvanced {
        partition: partition(),
        from: Offset::new(from),
        to: Offset::new(to),
        is_leader: true,
        leader_epoch: Some(LeaderEpoch::new(0)),
        isr: BrokerSet::EMPTY,
        maximal_isr: BrokerSet::EMPTY,
    })
}

/// The names of the checks that fire.
fn fired(events: &[Event]) -> Vec<&'static str> {
    let mut checkers = Checkers::new();
    for (index, event) in events.iter().enumerate() {
        checkers.on_event(&Occurrence { at: SimTime(index as u64), node: NODE, event: *event });
    }
    names(checkers.violations())
}

fn names(violations: &[Violation]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = violations.iter().map(|violation| violation.check).collect();
    names.dedup();
    names
}
