//! The checks that are always on.

/// The checks that are always on, with what they say.
pub const INVARIANTS: &[(&str, &str)] = &[
    ("R3", "(partition, leader epoch, offset) names one record for ever, on every disk."),
    (
        "R12",
        "Log start offset <= high watermark <= log end offset, and the last record below the high watermark can be read if it is retained.",
    ),
    (
        "R15",
        "A producer is told OK only of what its leader's log holds, and with acks=all only of what is below the high watermark.",
    ),
    ("S1", "Recovery is idempotent, a crash in the middle of recovery included."),
    (
        "S2",
        "A recovered log is a batch-aligned prefix of some version of the log since the last sync, and holds every synced byte that was not later cut off or deleted.",
    ),
    (
        "S3",
        "The indexes agree with the segment or are rebuilt; no lookup returns a position past its batch.",
    ),
    (
        "S4",
        "Segments tile the offsets: no gap, no overlap, no base offset twice; no offset is given twice.",
    ),
    (
        "S5",
        "Where the clean-shutdown file stands everything was flushed; the recovery point is never past what was flushed.",
    ),
    (
        "S6",
        "Created and renamed files are durable only after their directory was synced; checkpoints are replaced whole.",
    ),
    (
        "S9",
        "After a failed write (but for want of space) or a failed sync nothing later succeeds in that log directory.",
    ),
    ("S10", "A corrupt batch is never served, nor handed to an application."),
    (
        "T1",
        "In a partition's log the sequences of a producer epoch are contiguous, and each stands at one offset.",
    ),
    ("T2", "The epoch of a producer id never falls on a partition."),
    ("T11", "A producer-state snapshot equals the fold of the log below it."),
    (
        "T14",
        "Within `producer.id.expiration.ms` no old sequence is appended again as new, restarts or not.",
    ),
    (
        "T15",
        "A duplicate is answered with the original offset or an error, never with another offset.",
    ),
    ("phantom", "Every value read was sent, to that partition."),
    (
        "lost-write",
        "Every acknowledged record is found by a fresh reader at the end, unless the file declares its loss.",
    ),
    ("unseen", "Every acknowledged record was given to some reader by the end."),
    ("duplicate", "With idempotence, no sent record stands at two offsets."),
    ("inconsistent-offsets", "No offset of a partition ever gave two different records."),
    ("int-poll-skip", "No poll skips a record of a partition that is known to exist."),
    ("int-nonmonotonic-poll", "No poll gives records of a partition out of order or twice."),
    (
        "poll-skip",
        "No poll starts beyond the record that follows the last one the consumer was given.",
    ),
    ("nonmonotonic-poll", "No poll starts at or before the last record the consumer was given."),
    ("int-nonmonotonic-send", "Records of one send stand in the log in the order they were given."),
    (
        "nonmonotonic-send",
        "With idempotence or one request in flight, records of one client and partition stand in the log in the order they were sent.",
    ),
    ("panic", "No node, client or check panics."),
    ("converged", "After healing everything is answered and readable within `converge-within`."),
];

/// The names of the invariants.
#[must_use]
pub fn invariants() -> Vec<&'static str> {
    INVARIANTS.iter().map(|(name, _)| *name).collect()
}
