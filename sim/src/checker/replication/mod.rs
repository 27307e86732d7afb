//! R: what holds of a partition and its replicas.

mod l6_reassignment_whole;
mod p1_answered;
mod p2_nobody_gone;
mod p3_watermark_alone;
mod r10_maximal_isr;
mod r11_watermark_over_maximal;
mod r12_offsets_in_order;
mod r13_admission;
mod r14_strict_min_isr;
mod r15_ack_rule;
mod r17_replica_sets;
mod r18_dirty_stays_out;
mod r19_admitted_incarnation;
mod r1_one_leader;
mod r20_epoch_fence;
mod r21_truncation;
mod r22_epoch_cache;
mod r23_follower_watermark;
mod r24_durability;
mod r25_equal_at_the_end;
mod r26_visibility;
mod r27_election;
mod r28_flushed_below_watermark;
mod r29_broker_epochs;
mod r2_epochs_rise;
mod r3_one_record;
mod r4_committed_prefix;
mod r5_repeatable_read;
mod r6_weak_isr;
mod r7_strong_isr;
mod r8_candidates_complete;
mod r9_leader_complete;
mod s8_log_start;

use super::{ClusterCheck, DiskCheck, EndCheck, EventCheck};

pub(super) const EVENT_CHECKS: &[EventCheck] = &[
    r1_one_leader::at_event,
    r2_epochs_rise::at_event,
    r3_one_record::at_event,
    r4_committed_prefix::at_event,
    r5_repeatable_read::at_event,
    r8_candidates_complete::at_event,
    r9_leader_complete::at_event,
    r10_maximal_isr::at_event,
    r11_watermark_over_maximal::at_event,
    r12_offsets_in_order::at_event,
    r13_admission::at_event,
    r14_strict_min_isr::at_event,
    r15_ack_rule::at_event,
    r17_replica_sets::at_event,
    r18_dirty_stays_out::at_event,
    r19_admitted_incarnation::at_event,
    r20_epoch_fence::at_event,
    r21_truncation::at_event,
    r23_follower_watermark::at_event,
    r24_durability::at_event,
    r26_visibility::at_event,
    r27_election::at_event,
    r28_flushed_below_watermark::at_event,
    r29_broker_epochs::at_event,
    l6_reassignment_whole::at_event,
    p2_nobody_gone::at_event,
    p3_watermark_alone::at_event,
    s8_log_start::at_event,
];

pub(super) const DISK_CHECKS: &[DiskCheck] = &[r3_one_record::on_disk, r22_epoch_cache::on_disk];

pub(super) const CLUSTER_CHECKS: &[ClusterCheck] = &[
    r6_weak_isr::at_barrier,
    r7_strong_isr::at_barrier,
    r17_replica_sets::at_barrier,
    r18_dirty_stays_out::at_barrier,
    r24_durability::at_barrier,
    p1_answered::at_barrier,
    p2_nobody_gone::at_barrier,
    p3_watermark_alone::at_barrier,
];

pub(super) const END_CHECKS: &[EndCheck] = &[r25_equal_at_the_end::at_end];
