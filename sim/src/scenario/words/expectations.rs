//! What a file says must come of a run: `[[expect]]`.

use super::actions::action_names;
use super::events::event_names;
use super::invariants::invariants;
use super::{error_names, optional, required};
use crate::scenario::schema::{Field, Shape, Tagged, Word};

pub(super) const EXPECTATION: Tagged = Tagged {
    key: "that",
    noun: "a kind of expectation",
    words: EXPECTATIONS,
    common: &[
        required(
            "is",
            Shape::Condition,
            "What the value must be: `0`, `\">= 1\"`, `\"<= 2s\"`, `true`, or a list of which it must be one.",
        ),
        optional(
            "over-seeds",
            Shape::Word { noun: "one of always, sometimes, never", of: over_seeds },
            "In which seeds: `always` (default), `sometimes` (at least one), `never`.",
        ),
        optional(
            "variant",
            Shape::Text,
            "Only in this variant; `\"-\"` is the file as it stands. Default: in all.",
        ),
        optional(
            "bites",
            Shape::Flag,
            "Whether this shows that the fault took effect: it must hold in at least half of the seeds.",
        ),
        optional(
            "compare",
            Shape::Flag,
            "Whether the report's page sets its values in all variants side by side.",
        ),
        optional("why", Shape::Text, "Why it must be so; printed where it is not."),
        optional(
            "between",
            Shape::Pair(&Shape::Time),
            "Counts only from the first to the second of two times.",
        ),
        optional("by", Shape::Time, "Counts only up to this time."),
        optional("after", Shape::Time, "Counts only from this time on."),
    ],
};

fn over_seeds() -> Vec<&'static str> {
    vec!["always", "sometimes", "never"]
}

fn gave() -> Vec<&'static str> {
    vec!["records", "nothing"]
}

const OF_WORKLOAD: Field = optional("workload", Shape::Text, "Only of this workload.");
const OF_PARTITION: Field =
    optional("partition", Shape::Text, "Only of this partition: `orders-0`.");
const OF_ERROR: Field = optional(
    "error",
    Shape::Word { noun: "an error code", of: error_names },
    "Only with this error.",
);

const OF_GROUP: Field = optional("group", Shape::Text, "Only of this consumer group.");

const AT: Field = optional("at", Shape::Time, "When. Default: at the end, when all has converged.");

/// The kinds of expectations.
pub const EXPECTATIONS: &[Word] = &[
    Word {
        name: "acked",
        doc: "How many records producers were told are stored.",
        fields: &[OF_WORKLOAD, OF_PARTITION],
    },
    Word {
        name: "acked-lost",
        doc: "How many acknowledged records a fresh reader did not find at the end, deleted ones among them. Keyed by the record's identity, never by offset: after a loss new records reuse the offsets.",
        fields: &[OF_WORKLOAD, OF_PARTITION],
    },
    Word {
        name: "failed-for-good",
        doc: "How many records producers gave up that are surely not in the log.",
        fields: &[OF_WORKLOAD, OF_PARTITION, OF_ERROR],
    },
    Word {
        name: "unknown",
        doc: "How many records producers gave up without knowing whether they are in the log.",
        fields: &[OF_WORKLOAD, OF_PARTITION, OF_ERROR],
    },
    Word {
        name: "unknown-lost",
        doc: "How many records of unknown outcome a fresh reader did not find at the end.",
        fields: &[OF_WORKLOAD, OF_PARTITION],
    },
    Word {
        name: "error",
        doc: "How many answers or outcomes carried an error code.",
        fields: &[
            OF_WORKLOAD,
            OF_PARTITION,
            required(
                "error",
                Shape::Word { noun: "an error code", of: error_names },
                "The error code.",
            ),
        ],
    },
    Word {
        name: "duplicates-in-log",
        doc: "How many records stand in the log more often than they were sent.",
        fields: &[OF_WORKLOAD, OF_PARTITION],
    },
    Word {
        name: "reordered-per-key",
        doc: "How many records stand in the log before one that the same client sent earlier with the same key.",
        fields: &[OF_WORKLOAD, OF_PARTITION],
    },
    Word {
        name: "read",
        doc: "How many records consumers were given.",
        fields: &[OF_WORKLOAD, OF_PARTITION],
    },
    Word {
        name: "unavailable-for",
        doc: "The longest time in which a workload that was sending got no acknowledgement.",
        fields: &[OF_WORKLOAD, OF_PARTITION],
    },
    Word {
        name: "leader",
        doc: "Whether a partition is led by one of those whom a target means, as the controller last committed it.",
        fields: &[
            required("partition", Shape::Text, "The partition: `orders-0`."),
            required(
                "who",
                Shape::Target,
                "Who is to lead: `brokers(1)`, `preferred(orders-0)`, or `$name` of a step.",
            ),
            AT,
        ],
    },
    Word {
        name: "leaderless-for",
        doc: "The longest time in which a partition had no leader, as the controller committed it.",
        fields: &[OF_PARTITION],
    },
    Word {
        name: "isr",
        doc: "How many replicas the smallest ISR has: at a time, or with `between`, `by` or `after` at its worst in these.",
        fields: &[OF_PARTITION, AT],
    },
    Word {
        name: "active-controllers",
        doc: "How many live nodes believe that they are the active controller: at a time, or with `between`, `by` or `after` at most in these. One that was cut off or paused may believe so for a while.",
        fields: &[AT],
    },
    Word {
        name: "controller-gap",
        doc: "The longest time from the end of an active controller (it resigned, was killed or paused) to the election of the next.",
        fields: &[],
    },
    Word {
        name: "metadata-identical",
        doc: "Whether at the end every node knows the same metadata.",
        fields: &[],
    },
    Word {
        name: "latency",
        doc: "The time from send to acknowledgement, at a quantile.",
        fields: &[
            OF_WORKLOAD,
            optional(
                "percentile",
                Shape::Count { min: 1, max: 100 },
                "Which percentile; 100 is the largest. Default 99.",
            ),
        ],
    },
    Word {
        name: "hw-advance",
        doc: "By how many records the high watermark moved.",
        fields: &[OF_PARTITION],
    },
    Word {
        name: "batches",
        doc: "How many batches of producers leaders wrote to their logs.",
        fields: &[OF_PARTITION],
    },
    Word {
        name: "unprocessed-acked",
        doc: "How many acknowledged records of a group's topics none of its members ever processed.",
        fields: &[OF_GROUP, OF_PARTITION],
    },
    Word {
        name: "processed-twice",
        doc: "How many records a group's members processed more than once.",
        fields: &[OF_GROUP, OF_PARTITION],
    },
    Word {
        name: "processed-out-of-order",
        doc: "How many records a group first processed before one that the same client had sent earlier with the same key.",
        fields: &[OF_GROUP, OF_PARTITION],
    },
    Word {
        name: "poll-records",
        doc: "How many records a consumer was given by one poll at most.",
        fields: &[OF_WORKLOAD],
    },
    Word {
        name: "poll-wait",
        doc: "How long polls of a consumer took, at a quantile. Polls that failed do not count.",
        fields: &[
            OF_WORKLOAD,
            optional(
                "gave",
                Shape::Word { noun: "what a poll gives", of: gave },
                "Only polls that gave `records`, or `nothing`. Default: all.",
            ),
            optional(
                "percentile",
                Shape::Count { min: 1, max: 100 },
                "Which percentile; 1 is about the shortest, 100 the longest. Default 99.",
            ),
        ],
    },
    Word {
        name: "keys-moved",
        doc: "How many keys have records in more than one partition of a topic.",
        fields: &[optional("topic", Shape::Text, "Only of this topic.")],
    },
    Word {
        name: "committed-unprocessed",
        doc: "How many records lie below an offset that a group had committed before any of its members had processed them. Commits that the client makes by itself are looked at when all is over.",
        fields: &[OF_GROUP, OF_PARTITION],
    },
    Word {
        name: "commit-moves-back",
        doc: "How often members were told that an offset is committed that is lower than one that was committed before they asked.",
        fields: &[OF_GROUP, OF_PARTITION],
    },
    Word {
        name: "lag",
        doc: "How many records a group is behind. At the end: from what it has committed to the ends of the logs; at a time: acknowledged by then and not processed by then.",
        fields: &[
            OF_GROUP,
            OF_PARTITION,
            optional("at", Shape::Time, "When. Default: at the end, when all members are gone."),
        ],
    },
    Word {
        name: "idle-for",
        doc: "The longest time in which no member of a group processed a record, from the first one to the end of the run.",
        fields: &[OF_GROUP, OF_PARTITION],
    },
    Word {
        name: "rebalances",
        doc: "How many generations of a group its members saw begin.",
        fields: &[OF_GROUP],
    },
    Word {
        name: "owners-per-partition",
        doc: "How many members of a group at most held one partition at once, as they saw it themselves.",
        fields: &[OF_GROUP, OF_PARTITION],
    },
    Word {
        name: "unowned-for",
        doc: "How long partitions of a group were without a member, as the members saw it themselves: added up over those that had one before.",
        fields: &[OF_GROUP, OF_PARTITION],
    },
    Word {
        name: "imbalance",
        doc: "How many partitions the member of a group that has the most has more than the one that has the fewest, as they saw it themselves.",
        fields: &[
            required("group", Shape::Text, "The consumer group."),
            optional("at", Shape::Time, "When. Default: at the end of the run."),
        ],
    },
    Word {
        name: "partitions-moved",
        doc: "How many partitions are another member's at the end of a time than at its beginning (`between`, or the whole run). What nobody had at one of the two does not count.",
        fields: &[required("group", Shape::Text, "The consumer group.")],
    },
    Word {
        name: "in-hand",
        doc: "How many records a member at most was given and was not done with.",
        fields: &[OF_GROUP],
    },
    Word {
        name: "converged",
        doc: "Whether, within `converge-within`, every operation was answered and a fresh reader was given every record.",
        fields: &[],
    },
    Word {
        name: "event",
        doc: "How many of an event happened; events of records count records, events of bytes count bytes.",
        fields: &[
            required("event", Shape::Word { noun: "an event", of: event_names }, "The event."),
            OF_PARTITION,
            OF_ERROR,
            optional("node", Shape::Text, "Only of this node or client: `brokers(1)`, `writer/0`."),
            optional(
                "action",
                Shape::Word { noun: "an action", of: action_names },
                "Only faults of this action.",
            ),
        ],
    },
    Word {
        name: "violations",
        doc: "How many violations a check found. For scenarios that show a check at work; a violation fails the run all the same.",
        fields: &[required(
            "check",
            Shape::Word { noun: "an invariant", of: invariants },
            "The check.",
        )],
    },
];
