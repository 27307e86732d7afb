//! Every word of scenario files, in one place: the parser refuses what is not here, `schema` completes from here, `explain`
//! reads it out.
//!
//! A word stands here only once the testbed can do it: a step that would silently do nothing is worse than an error.

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
        "converge-within",
        Shape::Time,
        "How long after `run-for` the cluster may take to answer everything and to give all records to a fresh reader. Default 60s.",
    ),
    optional(
        "budget",
        Shape::Word { noun: "a fault budget", of: budgets },
        "`tolerable` (default): the faults are such that no acknowledged record may be lost. `beyond`: loss is permitted where an `acked-lost` expectation declares it.",
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

fn budgets() -> Vec<&'static str> {
    vec!["tolerable", "beyond"]
}

const CLUSTER: &[Field] = &[
    optional(
        "brokers",
        Shape::Count { min: 1, max: 1 },
        "How many brokers; ids count from 1. The first is also the controller. Default 1.",
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
        Shape::Count { min: 1, max: 1 },
        "Copies of each partition. Default 1.",
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
        doc: "Reads partitions it assigns itself, without a group, and remembers every record it was given.",
        fields: &[
            optional(
                "assign",
                Shape::Text,
                "`\"*\"` for all partitions (default), or their numbers: `\"0,2\"`.",
            ),
            optional(
                "from",
                Shape::Word { noun: "a place to start", of: starts },
                "Where it starts: `earliest` (default) or `latest`.",
            ),
        ],
    },
];

fn starts() -> Vec<&'static str> {
    vec!["earliest", "latest"]
}

// ── Timeline ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const STEP: Tagged = Tagged {
    key: "do",
    noun: "an action",
    words: ACTIONS,
    common: &[
        optional("id", Shape::Text, "A name for later steps and the report."),
        optional(
            "at",
            Shape::Time,
            "When: this long after the clients started. Exactly one of `at`, `after` and `when`.",
        ),
        optional("after", Shape::Text, "When: after the step with this id has been done."),
        optional("when", Shape::Table(WHEN), "When: as soon as an event happens."),
        optional("delay", Shape::Time, "How long to wait after that. Default 0s."),
        optional("why", Shape::Text, "A remark for the report."),
    ],
};

const WHEN: &[Field] = &[
    required(
        "event",
        Shape::Word { noun: "an event that a step can wait for", of: trigger_names },
        "The event.",
    ),
    optional(
        "nth",
        Shape::Count { min: 1, max: COUNT_MAX },
        "Which one of them. Events of records count records. Default 1.",
    ),
    optional("partition", Shape::Text, "Only of this partition: `orders-0`."),
    optional("node", Shape::Text, "Only of this node or client: `brokers(1)`, `writer/0`."),
    optional(
        "error",
        Shape::Word { noun: "an error code", of: error_names },
        "Only with this error.",
    ),
    optional("from", Shape::Time, "Only events after this time."),
];

const NODE: Field = required("target", Shape::Target, "Which nodes.");
const NODE_OR_CLIENT: Field = required("target", Shape::Target, "Which nodes or clients.");
const SAVE_AS: Field = optional(
    "save-as",
    Shape::Text,
    "Keeps what the target was under this name, for `$name` in later steps.",
);
const FOR: Field = optional(
    "for",
    Shape::Time,
    "How long; without it until `heal`, a step that ends it, or `heal-at`.",
);
const BETWEEN: Field = required(
    "between",
    Shape::Pair(&Shape::Target),
    "The two sides: `[\"brokers(1)\", \"writer/*\"]`.",
);
const API: Field = required(
    "api",
    Shape::Word { noun: "an API of Kafka's protocol", of: apis },
    "Of which requests.",
);
const CHANCE: Field = optional("chance", Shape::Ratio, "How likely each is hit. Default 1.");
const TIMES: Field = optional("count", AT_LEAST_ONE, "How many are hit at most. Default: all.");
const SIDES: Field = optional(
    "between",
    Shape::Pair(&Shape::Target),
    "Only between these two sides. Default: anywhere.",
);
const LOG_DIR: Field = optional(
    "log-dir",
    Shape::Count { min: 0, max: 7 },
    "Only this entry of `log.dirs`, from 0. Default: all.",
);

/// The actions.
pub const ACTIONS: &[Word] = &[
    Word {
        name: "kill",
        doc: "Ends the process: its tasks vanish, what it wrote stays in the page cache, peers get a reset.",
        fields: &[NODE, SAVE_AS],
    },
    Word {
        name: "start",
        doc: "Starts the process of a dead node on the disk it left.",
        fields: &[NODE],
    },
    Word {
        name: "power-loss",
        doc: "Ends the machine: unsynced bytes go as the disk's model says, peers get silence.",
        fields: &[
            NODE,
            SAVE_AS,
            optional(
                "mode",
                Shape::Word { noun: "a way to lose power", of: power_losses },
                "What is left of what was not synced. Default: what `[disk]` says.",
            ),
        ],
    },
    Word {
        name: "shutdown",
        doc: "Asks the process to end in good order, as SIGTERM does, and waits for it.",
        fields: &[NODE, SAVE_AS],
    },
    Word {
        name: "pause",
        doc: "Stops the process as SIGSTOP or a long garbage collection does: its kernel still accepts and buffers.",
        fields: &[NODE_OR_CLIENT, SAVE_AS, FOR],
    },
    Word {
        name: "resume",
        doc: "Lets a paused process go on; its overdue timers fire.",
        fields: &[NODE_OR_CLIENT],
    },
    Word {
        name: "wipe",
        doc: "Replaces the disk of a dead node by an empty, freshly formatted one under the same id.",
        fields: &[NODE],
    },
    Word {
        name: "partition",
        doc: "Cuts the network between two sides: nothing arrives, nobody is told.",
        fields: &[
            BETWEEN,
            FOR,
            optional(
                "direction",
                Shape::Word { noun: "a direction", of: directions },
                "`both` (default), or `one-way`: from the first side to the second nothing arrives.",
            ),
        ],
    },
    Word {
        name: "heal",
        doc: "Ends all cuts, slow links and losses of the network, or those between two sides.",
        fields: &[SIDES],
    },
    Word {
        name: "slow-link",
        doc: "Makes the links between two sides slow.",
        fields: &[
            BETWEEN,
            FOR,
            optional("latency", Shape::Spread(Unit::Time), "The new latency, one way."),
            optional("bandwidth-bytes-per-s", AT_LEAST_ONE, "The new bandwidth."),
        ],
    },
    Word {
        name: "loss",
        doc: "Loses segments between two sides; felt as delays of retransmission, never as missing bytes.",
        fields: &[BETWEEN, FOR, required("chance", Shape::Ratio, "How likely a segment is lost.")],
    },
    Word { name: "reset", doc: "Resets all connections between two sides.", fields: &[BETWEEN] },
    Word {
        name: "drop-request",
        doc: "Loses requests of one API on their way: the server never sees them.",
        fields: &[API, CHANCE, TIMES, SIDES, FOR],
    },
    Word {
        name: "drop-response",
        doc: "Loses responses of one API on their way: the server did the work, the client never hears of it.",
        fields: &[API, CHANCE, TIMES, SIDES, FOR],
    },
    Word {
        name: "delay-request",
        doc: "Delays requests of one API; what follows on the connection waits behind.",
        fields: &[
            API,
            CHANCE,
            TIMES,
            SIDES,
            FOR,
            required("by", Shape::Spread(Unit::Time), "How long."),
        ],
    },
    Word {
        name: "delay-response",
        doc: "Delays responses of one API; what follows on the connection waits behind.",
        fields: &[
            API,
            CHANCE,
            TIMES,
            SIDES,
            FOR,
            required("by", Shape::Spread(Unit::Time), "How long."),
        ],
    },
    Word {
        name: "duplicate-request",
        doc: "Delivers requests of one API twice.",
        fields: &[API, CHANCE, TIMES, SIDES, FOR],
    },
    Word {
        name: "disk-slow",
        doc: "Makes a disk slow.",
        fields: &[
            NODE,
            FOR,
            optional("read", Shape::Spread(Unit::Time), "The new time of a read."),
            optional("write", Shape::Spread(Unit::Time), "The new time of a write."),
            optional("sync", Shape::Spread(Unit::Time), "The new time of a sync."),
        ],
    },
    Word {
        name: "disk-full",
        doc: "Leaves a disk no more than this much space.",
        fields: &[NODE, FOR, optional("free-bytes", COUNT, "How many bytes still fit. Default 0.")],
    },
    Word {
        name: "disk-error",
        doc: "Lets reads, writes or syncs of a disk fail. A failed sync drops what was dirty.",
        fields: &[
            NODE,
            LOG_DIR,
            FOR,
            CHANCE,
            TIMES,
            required(
                "operation",
                Shape::Word { noun: "a disk operation", of: operations },
                "Which operations: read, write or sync.",
            ),
        ],
    },
    Word {
        name: "corrupt",
        doc: "Flips bits in a file, as a rotting disk does: unseen until it is read.",
        fields: &[
            NODE,
            LOG_DIR,
            required(
                "file",
                Shape::Text,
                "The file below the log directory; `*` stands for any text: `orders-0/*.log`.",
            ),
            optional("bits", Shape::Count { min: 1, max: 1_000 }, "How many bits. Default 1."),
        ],
    },
    Word {
        name: "clock-jump",
        doc: "Sets a wall clock forward or back. The monotonic clock goes on.",
        fields: &[
            NODE_OR_CLIENT,
            required("by", Shape::SignedTime, "How far: `\"1h\"`, `\"-10m\"`."),
        ],
    },
    Word {
        name: "clock-drift",
        doc: "Lets the clocks of a machine run fast or slow.",
        fields: &[
            NODE_OR_CLIENT,
            FOR,
            required("ppm", Shape::Signed, "Millionths fast, or slow where negative."),
        ],
    },
    Word {
        name: "add-client",
        doc: "Starts one more client of a workload.",
        fields: &[required("workload", Shape::Text, "The workload.")],
    },
    Word {
        name: "stop-client",
        doc: "Closes clients in good order: what they hold is sent first.",
        fields: &[NODE_OR_CLIENT],
    },
    Word {
        name: "kill-client",
        doc: "Ends the process of clients: what they had not sent is gone.",
        fields: &[NODE_OR_CLIENT],
    },
    Word {
        name: "mark",
        doc: "Does nothing but stand in the story.",
        fields: &[required("text", Shape::Text, "What the story says.")],
    },
];

fn directions() -> Vec<&'static str> {
    vec!["both", "one-way"]
}

fn operations() -> Vec<&'static str> {
    vec!["read", "write", "sync"]
}

/// The APIs that one broker serves.
#[must_use]
pub fn apis() -> Vec<&'static str> {
    vec![
        "Produce",
        "Fetch",
        "ListOffsets",
        "Metadata",
        "ApiVersions",
        "CreateTopics",
        "DeleteTopics",
        "InitProducerId",
        "OffsetForLeaderEpoch",
        "DescribeConfigs",
        "DescribeCluster",
    ]
}

/// Kafka's error codes.
#[must_use]
pub fn error_names() -> Vec<&'static str> {
    ottla::types::ErrorCode::ALL.iter().map(|code| code.name()).collect()
}

// ── Events ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Something that happens in a run: for `when`, `that = "event"`, and the story.
#[derive(Clone, Copy, Debug)]
pub struct EventWord {
    /// Its name.
    pub name: &'static str,
    /// What it says, and what it counts.
    pub doc: &'static str,
    /// How the story tells it.
    pub story: Story,
}

/// How the story of a run tells an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// Each one, on a line of its own.
    Each,
    /// The first after any line of the story, with how many there were up to the next line.
    Summed,
    /// Never.
    Never,
}

const fn event(name: &'static str, story: Story, doc: &'static str) -> EventWord {
    EventWord { name, doc, story }
}

/// The events.
pub const EVENTS: &[EventWord] = &[
    event("produce.received", Story::Never, "Records arrived at the leader. Counts records."),
    event(
        "produce.appended",
        Story::Summed,
        "Records were written to the leader's log, not yet necessarily durable. Counts records.",
    ),
    event(
        "produce.duplicate",
        Story::Summed,
        "A batch repeated one of the producer's last five: answered with the first one's offset, not written again.",
    ),
    event(
        "produce.acked",
        Story::Summed,
        "The broker told a producer that its records are stored. Counts records.",
    ),
    event(
        "produce.failed",
        Story::Summed,
        "The broker refused a batch, or told the producer that its fate is not known.",
    ),
    event(
        "client.acked",
        Story::Never,
        "A producer client was told that records are stored. Counts records.",
    ),
    event(
        "client.failed",
        Story::Summed,
        "A producer client gave a record up: surely not in the log. Counts records.",
    ),
    event(
        "client.unknown",
        Story::Summed,
        "A producer client gave a record up without knowing whether it is in the log. Counts records.",
    ),
    event("client.started", Story::Never, "A client started."),
    event("client.stopped", Story::Each, "A client ended, in good order or not."),
    event("consumer.polled", Story::Never, "A consumer was given records. Counts records."),
    event(
        "client.refused",
        Story::Summed,
        "A client's call failed: a read that was refused, or a send that was not taken over.",
    ),
    event("fetch.served", Story::Never, "Records were handed to a reader."),
    event("fetch.failed", Story::Summed, "A reader was refused."),
    event("hw.advanced", Story::Never, "The high watermark moved. Counts records."),
    event("log.flushed", Story::Never, "Everything up to an offset is durable."),
    event("log.rolled", Story::Never, "A new segment was begun."),
    event("log.truncated", Story::Each, "The end of a log was cut back. Counts records."),
    event("log.start-moved", Story::Each, "The start of a log moved up. Counts records."),
    event(
        "log.recovered",
        Story::Each,
        "A log was opened; shows its offsets, the bytes scanned and the bytes cut off.",
    ),
    event(
        "log.cut",
        Story::Each,
        "Opening a log cut bytes off its end that were no whole batch. Counts bytes.",
    ),
    event("log.deleted", Story::Each, "A log and its directory were removed."),
    event(
        "segment.corrupt",
        Story::Each,
        "Bytes on disk do not carry the checksum they were written with.",
    ),
    event(
        "log-dir.offline",
        Story::Each,
        "A log directory failed and is out of use until the next start.",
    ),
    event("log-dir.full", Story::Summed, "An append found no space."),
    event("producer.expired", Story::Never, "The state of an idle producer was dropped."),
    event("producer-id.allocated", Story::Never, "A producer id was handed out."),
    event("controller.elected", Story::Each, "A node became the active controller."),
    event("controller.resigned", Story::Each, "A node is no longer the active controller."),
    event("metadata.committed", Story::Never, "The controller committed metadata."),
    event("broker.registered", Story::Each, "A broker entered the cluster, fenced."),
    event("broker.fenced", Story::Each, "A broker may lead no longer."),
    event("broker.unfenced", Story::Each, "A broker may lead."),
    event("topic.created", Story::Each, "The controller created a topic."),
    event("topic.deleted", Story::Each, "The controller removed a topic."),
    event("leader.elected", Story::Each, "A partition has a new leader, or none."),
    event(
        "leader.elected-unclean",
        Story::Each,
        "A partition has a leader that may lack committed records.",
    ),
    event(
        "connection.refused",
        Story::Summed,
        "A connection was closed because what came over it could not be framed or read.",
    ),
    event("node.started", Story::Each, "A node is ready to serve."),
    event("node.stopping", Story::Each, "A node ends in good order."),
    event("node.ended", Story::Each, "A node's process ended by itself."),
    event(
        "disk.lost",
        Story::Each,
        "A power loss took bytes that were written but not synced. Counts bytes.",
    ),
    event(
        "fault.started",
        Story::Each,
        "A step of the timeline was done; the detail is the action.",
    ),
    event(
        "fault.bit",
        Story::Summed,
        "A fault touched something: a frame dropped, an operation failed or held up.",
    ),
    event(
        "fault.ended",
        Story::Each,
        "A fault was lifted, by its `for`, by a step or at `heal-at`.",
    ),
    event("step.idle", Story::Each, "A step had its moment and could not do what it says."),
];

/// Events that only a finished history shows: nothing can be triggered by them.
const ONLY_AFTERWARDS: &[&str] =
    &["client.acked", "client.failed", "client.unknown", "client.refused", "consumer.polled"];

/// The names of the events that a step can wait for.
#[must_use]
pub fn trigger_names() -> Vec<&'static str> {
    event_names().into_iter().filter(|name| !ONLY_AFTERWARDS.contains(name)).collect()
}

/// The names of the events.
#[must_use]
pub fn event_names() -> Vec<&'static str> {
    EVENTS.iter().map(|event| event.name).collect()
}

// ── Expectations ───────────────────────────────────────────────────────────────────────────────────────────────────────

const EXPECTATION: Tagged = Tagged {
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

const OF_WORKLOAD: Field = optional("workload", Shape::Text, "Only of this workload.");
const OF_PARTITION: Field =
    optional("partition", Shape::Text, "Only of this partition: `orders-0`.");
const OF_ERROR: Field = optional(
    "error",
    Shape::Word { noun: "an error code", of: error_names },
    "Only with this error.",
);

/// The kinds of expectations.
pub const EXPECTATIONS: &[Word] = &[
    Word {
        name: "acked",
        doc: "How many records producers were told are stored.",
        fields: &[OF_WORKLOAD, OF_PARTITION],
    },
    Word {
        name: "acked-lost",
        doc: "How many acknowledged records a fresh reader did not find at the end. Keyed by the record's identity, never by offset: after a loss new records reuse the offsets.",
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
        fields: &[OF_WORKLOAD],
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

/// The names of the actions.
#[must_use]
pub fn action_names() -> Vec<&'static str> {
    ACTIONS.iter().map(|action| action.name).collect()
}

// ── Invariants ─────────────────────────────────────────────────────────────────────────────────────────────────────────

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
