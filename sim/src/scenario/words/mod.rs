//! Every word of scenario files, in one place: the parser refuses what is not here, `schema` completes from here, `explain`
//! reads it out.
//!
//! A word stands here only once the testbed can do it: a step that would silently do nothing is worse than an error.

mod actions;
mod events;
mod expectations;
mod invariants;
mod upheld;

pub use actions::{ACTIONS, action_names, apis};
pub use events::{EVENTS, EventWord, Story, event_names, trigger_names};
pub use expectations::EXPECTATIONS;
pub use invariants::{INVARIANTS, invariants};
pub use upheld::upheld;

use actions::{CHAOS, STEP};
use expectations::EXPECTATION;

use super::draw::Unit;
use super::schema::{Field, Shape, Tagged, Word};

/// The largest plain number a file may hold: enough for a terabyte of bytes, small enough for every sum.
pub const COUNT_MAX: u64 = 1 << 40;

const fn required(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { name, shape, required: true, doc }
}

const fn optional(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { name, shape, required: false, doc }
}

const COUNT: Shape = Shape::Count { min: 0, max: COUNT_MAX };
const AT_LEAST_ONE: Shape = Shape::Count { min: 1, max: COUNT_MAX };
const PROPERTIES: Shape = Shape::Named(&Shape::Property);

/// A scenario file.
pub const SCENARIO: Shape = Shape::Table(&[
    required("claim", Shape::Text, "What the scenario shows, as one sentence."),
    optional("why", Shape::Text, "Why it is so, or where it comes from; printed below the claim."),
    optional(
        "seeds",
        Shape::Seeds,
        "The full range of seeds, `\"1..=200\"`; the command line's --seed and --seeds win. Default 1..=10.",
    ),
    required("run-for", Shape::Time, "How much simulated time the clients work."),
    optional(
        "heal-at",
        Shape::Time,
        "When every fault ends and dead nodes start; what is left of `run-for` is the liveness phase. Default: at the end of `run-for`.",
    ),
    optional(
        "heal",
        Shape::Word { noun: "what is healed", of: heals },
        "`all` (default), or `core`: no more than a core that should be able to work, a majority of the voters and of each partition a replica that may lead and `min.insync.replicas` in all. As many nodes as can be are left out of it, as the seed draws them: the dead stay dead, the others stand still for good.",
    ),
    optional(
        "converge-within",
        Shape::Time,
        "How long after `run-for` the cluster may take to answer everything and to give all records to a fresh reader. Default 60s.",
    ),
    optional(
        "budget",
        Shape::Word { noun: "a fault budget", of: budgets },
        "`tolerable` (default): the faults are such that no acknowledged record may be lost. `beyond`: faults may take all copies. What an election that the controller declared takes away may be lost, and more where an `acked-lost` expectation declares it.",
    ),
    optional("cluster", Shape::Table(CLUSTER), "The nodes."),
    optional(
        "broker-config",
        PROPERTIES,
        "Properties of every broker, in Kafka's names and units.",
    ),
    optional("network", Shape::Table(NETWORK), "How the network behaves when nothing is broken."),
    optional("disk", Shape::Table(DISK), "How every disk behaves when nothing is broken."),
    optional(
        "topics",
        Shape::Named(&Shape::Table(TOPIC)),
        "The topics, created before the clients start.",
    ),
    optional("workloads", Shape::Named(&Shape::Tagged(&WORKLOAD)), "What clients do."),
    optional("timeline", Shape::List(&Shape::Tagged(&STEP)), "What is done to them, and when."),
    optional("chaos", Shape::Table(CHAOS), "A storm: faults at random times, on random nodes."),
    optional(
        "expect",
        Shape::List(&Shape::Tagged(&EXPECTATION)),
        "What must come of it. The invariants are always on and need no mention.",
    ),
    optional(
        "without",
        Shape::List(&Shape::Table(WITHOUT)),
        "Invariants that are switched off, each with its reason.",
    ),
    optional(
        "variants",
        Shape::Named(&Shape::Table(VARIANT)),
        "The same scenario with some values changed; each runs with each seed.",
    ),
]);

fn heals() -> Vec<&'static str> {
    vec!["all", "core"]
}

fn budgets() -> Vec<&'static str> {
    vec!["tolerable", "beyond"]
}

const CLUSTER: &[Field] = &[
    optional(
        "brokers",
        Shape::Count { min: 1, max: 64 },
        "How many brokers; ids count from 1. Default 1.",
    ),
    optional(
        "controllers",
        Shape::Count { min: 1, max: 9 },
        "How many voters the metadata quorum has, on machines of their own unless `combined`. Default: every broker is one of them.",
    ),
    optional(
        "combined",
        Shape::Flag,
        "Whether the first brokers are the voters. Default: true where `controllers` is not given.",
    ),
    optional(
        "racks",
        Shape::List(&Shape::Text),
        "`broker.rack` of the brokers in turn, over and over: `[\"a\", \"b\"]`. Default: none.",
    ),
    optional(
        "log-dirs",
        Shape::Count { min: 1, max: 8 },
        "How many directories in `log.dirs` of each broker. Default 1.",
    ),
];

const NETWORK: &[Field] = &[
    optional(
        "latency",
        Shape::Spread(Unit::Time),
        "One way, for each segment. Default log-normal, 0.3 ms and 3 ms.",
    ),
    optional(
        "bandwidth-bytes-per-s",
        AT_LEAST_ONE,
        "Of each link and direction. Default 125,000,000 (1 Gbit/s).",
    ),
    optional(
        "loss",
        Shape::Ratio,
        "The chance that a segment is lost; felt as the delay of a retransmission. Default 0.",
    ),
];

const DISK: &[Field] = &[
    optional(
        "read",
        Shape::Spread(Unit::Time),
        "The time of a read. Default 0s: it is in the page cache.",
    ),
    optional(
        "write",
        Shape::Spread(Unit::Time),
        "The time of a write into the page cache. Default 0s.",
    ),
    optional("sync", Shape::Spread(Unit::Time), "The time of a sync. Default uniform 1 to 10 ms."),
    optional(
        "capacity-bytes",
        AT_LEAST_ONE,
        "The size of each log directory's disk. Default: without end.",
    ),
    optional(
        "on-power-loss",
        Shape::Word { noun: "a way to lose power", of: power_losses },
        "What a power loss leaves of what was not synced. Default `lose-random-unsynced`.",
    ),
];

/// What a power loss leaves of what was not synced.
#[must_use]
pub fn power_losses() -> Vec<&'static str> {
    vec!["keep-all", "lose-unsynced", "lose-random-unsynced", "torn-last-write"]
}

const TOPIC: &[Field] = &[
    optional("partitions", Shape::Count { min: 1, max: 10_000 }, "How many partitions. Default 1."),
    optional(
        "replication-factor",
        Shape::Count { min: 1, max: 64 },
        "Copies of each partition. Default: as many as there are brokers, but three at most.",
    ),
    optional(
        "assignment",
        Shape::List(&Shape::List(&Shape::Count { min: 1, max: 64 })),
        "Which brokers hold each partition, the preferred leader first: `[[1, 2], [2, 3]]`. Default: the controller places them.",
    ),
    optional("config", PROPERTIES, "The topic's properties, in Kafka's names and units."),
];

const WITHOUT: &[Field] = &[
    required("name", Shape::Word { noun: "an invariant", of: invariants }, "The invariant."),
    required("why", Shape::Text, "Why it cannot hold here."),
];

const VARIANT: &[Field] = &[
    optional("claim", Shape::Text, "What this variant shows, where it differs."),
    required("set", Shape::Named(&Shape::Any), "JSON pointer to new value."),
];

// ── Workloads ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const WORKLOAD: Tagged = Tagged {
    key: "kind",
    noun: "a kind of workload",
    words: WORKLOADS,
    common: &[
        optional(
            "clients",
            Shape::Count { min: 1, max: 1_000 },
            "How many such clients, each on a machine of its own. Default 1.",
        ),
        required("topic", Shape::Text, "The topic they use."),
        optional("start-at", Shape::Time, "When they start. Default 0s."),
        optional("config", PROPERTIES, "Their properties, in Kafka's client names and units."),
    ],
};

/// The kinds of workloads.
pub const WORKLOADS: &[Word] = &[
    Word {
        name: "producer",
        doc: "Sends records with unique values, and remembers what it was told of each: acknowledged, failed, or unknown.",
        fields: &[
            optional(
                "rate-per-s",
                Shape::Count { min: 1, max: 1_000_000 },
                "Records a second of each client. Default 50.",
            ),
            optional(
                "value-bytes",
                Shape::Spread(Unit::Count),
                "The size of a value; at least the 24 bytes that identify the record. Default 100.",
            ),
            optional(
                "keys",
                Shape::Count { min: 0, max: 1_000_000 },
                "How many different keys; 0 sends records without a key. Default 8.",
            ),
            optional(
                "records",
                AT_LEAST_ONE,
                "How many records each client sends at most. Default: until `run-for` ends.",
            ),
        ],
    },
    Word {
        name: "consumer",
        doc: "Reads, and remembers every record it was given: partitions that it assigns itself, or as a member of a `group` what the group gives it. A member processes what a poll gave it before it polls again.",
        fields: &[
            optional(
                "assign",
                Shape::Text,
                "`\"*\"` for all partitions of the start (default), or their numbers: `\"0,2\"`. Not with `group`.",
            ),
            optional(
                "from",
                Shape::Word { noun: "a place to start", of: starts },
                "Where it starts: `earliest` (default), `latest`, or `none`: its polls fail; in a group only where nothing is committed or what is committed is not in the log (`auto.offset.reset`).",
            ),
            optional(
                "poll-timeout",
                Shape::Time,
                "How long a poll waits for its first record. Default 500ms.",
            ),
            optional(
                "group",
                Shape::Text,
                "The consumer group that its clients are members of. Several workloads may be of one group. Default: none.",
            ),
            optional(
                "topics",
                Shape::List(&Shape::Text),
                "What members subscribe to besides `topic`.",
            ),
            optional(
                "static-members",
                Shape::Flag,
                "Whether each member has a `group.instance.id` of its own, so that it comes back as the same one. Default false.",
            ),
            optional(
                "commit",
                Shape::Word { noun: "a way to commit", of: commit_styles },
                "When members commit: `auto` (default; the client does, within polls, what earlier ones gave), `after-processing` all of a poll, `before-processing` it, `async` after it without waiting, `async-and-sync` (the same, and waiting where partitions are taken away and at the end), `each-record` its own offset, `never`; `with-results`: never, where they are is kept beside the results, outside of the cluster, result and offset in one step, and read where partitions are assigned; `with-results-fenced`: the same, and a result is stored only where nobody has stored it.",
            ),
            optional(
                "processing",
                Shape::Spread(Unit::Time),
                "How long a member takes for a record, drawn for each. Default 0s.",
            ),
            optional(
                "seek-every",
                Shape::Spread(Unit::Time),
                "How long it reads on until it goes elsewhere in one of its partitions: to the start of the log, its end, or the middle, drawn each time. Not with `group`. Default: never.",
            ),
            optional(
                "pause-at",
                AT_LEAST_ONE,
                "With so many records in hand a member pauses its partitions, and resumes them with half as many; it processes beside polling, and polls on all the while. Only with `commit` `auto` or `after-processing`. Default: it processes what a poll gave before it polls again.",
            ),
        ],
    },
];

fn starts() -> Vec<&'static str> {
    vec!["earliest", "latest", "none"]
}

fn commit_styles() -> Vec<&'static str> {
    vec![
        "auto",
        "after-processing",
        "before-processing",
        "async",
        "async-and-sync",
        "each-record",
        "never",
        "with-results",
        "with-results-fenced",
    ]
}

/// Kafka's error codes.
#[must_use]
pub fn error_names() -> Vec<&'static str> {
    ottla::types::ErrorCode::ALL.iter().map(|code| code.name()).collect()
}
