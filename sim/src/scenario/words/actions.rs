//! What steps do, and when: `[[timeline]]` and `[chaos]`.

use super::events::trigger_names;
use super::{
    AT_LEAST_ONE, COUNT, COUNT_MAX, PROPERTIES, error_names, optional, power_losses, required,
};
use crate::scenario::draw::Unit;
use crate::scenario::schema::{Field, Shape, Tagged, Word};

pub(super) const STEP: Tagged = Tagged {
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

/// A storm.
pub(super) const CHAOS: &[Field] = &[
    optional("from", Shape::Time, "When it begins. Default 0s."),
    optional("until", Shape::Time, "When it ends. Default: `heal-at`."),
    optional(
        "swarm",
        Shape::Flag,
        "Whether each seed draws its own subset of the faults and their rates; the story tells which. Default false.",
    ),
    optional(
        "keep",
        Shape::Table(KEEP),
        "What it leaves whole: a fault that would break it is passed over.",
    ),
    required(
        "faults",
        Shape::List(&Shape::Tagged(&CHAOS_FAULT)),
        "Its faults; their targets are drawn anew each time.",
    ),
];

const KEEP: &[Field] = &[
    optional(
        "brokers-down-at-most",
        COUNT,
        "How many brokers may be dead, paused or cut off at once. Default: any number.",
    ),
    optional(
        "controller-majority",
        Shape::Flag,
        "Whether a majority of the voters stays alive and together. Default false.",
    ),
    optional(
        "last-copy-safe",
        Shape::Flag,
        "Whether the faults stay such that no acknowledged record may be lost. Default true.",
    ),
];

const CHAOS_FAULT: Tagged = Tagged {
    key: "do",
    noun: "an action",
    words: ACTIONS,
    common: &[
        required("every", Shape::Spread(Unit::Time), "The time from one to the next."),
        optional(
            "when",
            Shape::Table(WHEN),
            "It comes at the first such event after `every`, not at a time of its own; `$event` in its targets is the node of the event.",
        ),
        optional(
            "delay",
            Shape::Spread(Unit::Time),
            "How long after the event it comes. Default 0s.",
        ),
        optional(
            "comes",
            Shape::Flag,
            "Whether it comes. Default: it does, or in a `swarm` what the seed draws.",
        ),
        optional(
            "pace",
            Shape::Count { min: 1, max: 10_000 },
            "What its times are, in percent of `every`: more is rarer. Default 100, or in a `swarm` what the seed draws.",
        ),
        optional(
            "for",
            Shape::Spread(Unit::Time),
            "How long each lasts; of those that end a process, how long it is dead. Default: until everything heals.",
        ),
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
    "Only between these two sides; between nodes the first asks and the second answers. Default: anywhere.",
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
        doc: "Starts the process of a dead node on the disk it left, or of a client that was stopped or killed.",
        fields: &[NODE_OR_CLIENT],
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
        doc: "Cuts the network between two sides, or among nodes in a shape: nothing arrives, nobody is told. Whoever stands on both sides still reaches himself.",
        fields: &[
            optional(
                "between",
                Shape::Pair(&Shape::Target),
                "The two sides: `[\"leader(orders-0)\", \"nodes(*)\"]`. Either this or `shape`.",
            ),
            optional(
                "shape",
                Shape::Word { noun: "a shape of a cut", of: shapes },
                "How the cut lies among nodes, drawn by the seed: `one` apart from the others, two `halves`, a `majorities-ring` in which each reaches a majority and no two the same one, or a `bridge` of one node between two halves.",
            ),
            optional("among", Shape::Target, "Which nodes have the shape. Default `nodes(*)`."),
            optional(
                "save-as",
                Shape::Text,
                "Keeps the first side under this name, for `$name` in later steps.",
            ),
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
        name: "add-broker",
        doc: "Starts one more broker, with the next id and an empty disk.",
        fields: &[],
    },
    Word {
        name: "remove-broker",
        doc: "Stops a broker in good order and unregisters it: it is not started again. Its replicas are to be moved away before (`reassign`).",
        fields: &[NODE, SAVE_AS],
    },
    Word {
        name: "unregister-broker",
        doc: "Unregisters brokers that run, and lets them run: they find out by themselves, and register anew.",
        fields: &[NODE, SAVE_AS],
    },
    Word {
        name: "reassign",
        doc: "Asks the controller to move replicas; the brokers do so in their own time.",
        fields: &[
            optional(
                "partition",
                Shape::Text,
                "Only this partition: `orders-0`. Default: every one that it concerns.",
            ),
            optional(
                "replicas",
                Shape::List(&Shape::Count { min: 1, max: 64 }),
                "The ids of the brokers that are to hold it, the preferred leader first.",
            ),
            optional(
                "away-from",
                Shape::Target,
                "Moves each replica on these brokers to a live broker that holds none of the partition.",
            ),
            optional("cancel", Shape::Flag, "Whether moves under way are to be taken back."),
        ],
    },
    Word {
        name: "add-partitions",
        doc: "Gives a topic more partitions. What lies in the old ones stays there.",
        fields: &[
            required("topic", Shape::Text, "The topic."),
            required(
                "partitions",
                Shape::Count { min: 2, max: 10_000 },
                "How many it is to have in all.",
            ),
        ],
    },
    Word {
        name: "delete-records",
        doc: "Asks the leader of a partition to remove what is old, at all replicas: what is removed is lost by an administrator's will.",
        fields: &[
            required("partition", Shape::Text, "The partition: `orders-0`."),
            optional(
                "before",
                COUNT,
                "Everything below this offset. Default: all that is committed.",
            ),
        ],
    },
    Word {
        name: "reset-offsets",
        doc: "Sets how far a group has read in all partitions of its topics, as `ottla group reset` does; exactly one of the keys says where to. A group that has members refuses (`admin.refused`).",
        fields: &[
            required("group", Shape::Text, "The consumer group."),
            optional(
                "to",
                Shape::Word { noun: "a place to go on", of: reset_places },
                "At the start of each log (`earliest`), at its end (`latest`), or where the group is (`current`).",
            ),
            optional("to-offset", COUNT, "At this offset, or the nearest that a log has."),
            optional(
                "shift-by",
                Shape::Signed,
                "So many records on, or back where negative, or to the nearest place that a log has.",
            ),
            optional(
                "by-duration",
                Shape::Time,
                "At the first record that is not older than this; at the end where there is none.",
            ),
            optional(
                "to-datetime",
                Shape::Time,
                "At the first record since this moment of the run, by its time stamp; at the end where there is none.",
            ),
            optional(
                "from-file",
                Shape::Named(&COUNT),
                "At these offsets, one a partition (`orders-0 = 120`), or the nearest that the log has. Other partitions stay where they are.",
            ),
        ],
    },
    Word {
        name: "elect-preferred",
        doc: "Asks the controller to let the first replica lead, where it is in the ISR.",
        fields: &[optional("partition", Shape::Text, "Only this partition. Default: every one.")],
    },
    Word {
        name: "elect-unclean",
        doc: "Asks the controller to let any live replica lead a partition that has no leader: what it lacks is lost.",
        fields: &[optional("partition", Shape::Text, "Only this partition. Default: every one.")],
    },
    Word {
        name: "set-config",
        doc: "Changes properties of a topic or of brokers while they run.",
        fields: &[
            optional("topic", Shape::Text, "The topic. Either this or `target`."),
            optional("target", Shape::Target, "The brokers."),
            required("config", PROPERTIES, "The properties, in Kafka's names and units."),
        ],
    },
    Word {
        name: "mark",
        doc: "Does nothing but stand in the story.",
        fields: &[required("text", Shape::Text, "What the story says.")],
    },
];

fn reset_places() -> Vec<&'static str> {
    vec!["earliest", "latest", "current"]
}

fn shapes() -> Vec<&'static str> {
    vec!["one", "halves", "majorities-ring", "bridge"]
}

fn directions() -> Vec<&'static str> {
    vec!["both", "one-way"]
}

fn operations() -> Vec<&'static str> {
    vec!["read", "write", "sync"]
}

/// The APIs that clients, brokers and controllers send each other.
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
        "Vote",
        "BeginQuorumEpoch",
        "EndQuorumEpoch",
        "FetchSnapshot",
        "BrokerRegistration",
        "BrokerHeartbeat",
        "AlterPartition",
        "AllocateProducerIds",
        "AssignReplicasToDirs",
        "Envelope",
        "CreatePartitions",
        "AlterPartitionReassignments",
        "ListPartitionReassignments",
        "ElectLeaders",
        "IncrementalAlterConfigs",
        "UnregisterBroker",
        "DescribeQuorum",
        "FindCoordinator",
        "JoinGroup",
        "SyncGroup",
        "Heartbeat",
        "LeaveGroup",
        "OffsetCommit",
        "OffsetFetch",
        "OffsetDelete",
        "DescribeGroups",
        "ListGroups",
        "DeleteGroups",
        "ConsumerGroupHeartbeat",
        "ConsumerGroupDescribe",
        "DeleteRecords",
    ]
}

/// The names of the actions.
#[must_use]
pub fn action_names() -> Vec<&'static str> {
    ACTIONS.iter().map(|action| action.name).collect()
}
