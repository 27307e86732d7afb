//! The checks that are always on.

/// The checks that are always on, with what they say.
pub const INVARIANTS: &[(&str, &str)] = &[
    (
        "R1",
        "A partition has one leader in each leader epoch, it is the one that the controller elected, and it begins once.",
    ),
    (
        "R2",
        "Leader epoch and partition epoch never go down: not in the metadata, not at a replica between its starts.",
    ),
    ("R3", "(partition, leader epoch, offset) names one record for ever, on every disk."),
    ("R4", "What is below the high watermark is the same on every replica."),
    (
        "R5",
        "What was once readable keeps its content on every later leader, unless a declared election lost it.",
    ),
    (
        "R6",
        "Whoever believes it leads holds below its high watermark what each member of its own ISR holds; those that stopped dirty aside.",
    ),
    (
        "R7",
        "Each member of the controller's ISR holds everything that is committed; those that stopped dirty aside.",
    ),
    (
        "R8",
        "Whoever may be elected without loss (ISR and ELR) has a log that reaches the high watermark.",
    ),
    (
        "R9",
        "A leader that was elected without a declared loss holds all that is committed and all that was acknowledged with acks=all.",
    ),
    (
        "R10",
        "The replicas that the current leader waits for contain all that the controller may elect; without a pending change they are the ISR.",
    ),
    (
        "R11",
        "The high watermark is the least log end of the maximal ISR (committed and proposed), never of a smaller set.",
    ),
    (
        "R12",
        "Log start offset <= high watermark <= log end offset, and the last record below the high watermark can be read if it is retained.",
    ),
    (
        "R13",
        "Within its term a leader's high watermark never falls; a follower is asked into the ISR only when its log reaches the watermark and the start of the term; no leader tells an end of the log that lies before what was committed in an earlier term.",
    ),
    (
        "R14",
        "The high watermark advances only while the leader's committed ISR has at least min.insync.replicas members.",
    ),
    (
        "R15",
        "A producer is told OK only of what its leader's log holds, and with acks=all only of what is below the high watermark; when the watermark passed it, min.insync.replicas replicas held it.",
    ),
    ("R16", "A record that its producer was told is refused for good is never read."),
    (
        "R17",
        "ISR and ELR are of the replicas and share no member; the ELR is empty where the ISR is large enough; the leader is in the ISR; no fenced or leaving broker is in the ISR.",
    ),
    (
        "R18",
        "A replica whose broker stopped dirty is outside ISR and ELR until its new incarnation has caught up; the leader of a declared election aside.",
    ),
    (
        "R19",
        "A member is admitted to the ISR under the incarnation that is registered, not under an earlier one.",
    ),
    (
        "R20",
        "What a replica asks or writes takes effect only where both sides are of the same leader epoch.",
    ),
    ("R21", "Truncation never removes a committed record."),
    (
        "R22",
        "The epoch cache of a log rises strictly, and names for every record the record's own epoch.",
    ),
    ("R23", "A follower's high watermark never passes the largest one that a leader had."),
    (
        "R24",
        "What was acknowledged with acks=all is in some broker's log; an election loses it only where an eligible replica had lost bytes.",
    ),
    ("R25", "At the end, with everything healed, all replicas of a partition hold equal records."),
    ("R26", "Nothing is served to a consumer before it is committed."),
    (
        "R27",
        "A leader is elected from ISR and ELR; another one only if it is declared to be recovering, and then it is the last known leader or unclean elections are allowed.",
    ),
    (
        "R28",
        "With flush.messages=1 everything below the high watermark is durable on min.insync.replicas replicas.",
    ),
    (
        "R29",
        "The registration of a broker never goes back to an earlier incarnation, and it is unfenced only with metadata that registers it.",
    ),
    (
        "P1",
        "Nobody waits for what has happened: a producer whose batch is below the high watermark was answered.",
    ),
    (
        "P2",
        "Nobody waits for who is gone: a broker that is down is fenced within its session timeout, and a follower that is silent is asked out of the ISR within replica.lag.time.max.ms.",
    ),
    (
        "P3",
        "No high watermark waits for nobody: where the leader alone is in sync and that is enough, all of its log is below it.",
    ),
    ("Q1", "No two nodes name different leaders of the metadata quorum in one epoch."),
    (
        "Q2",
        "A voter gives one vote in an epoch, also over a restart, and the vote is durable before it is told.",
    ),
    ("Q3", "The quorum epoch of a node never goes down, and what it told of it is durable."),
    (
        "Q4",
        "The quorum's high watermark never goes down: not on a node between its starts, not from one leader to the next.",
    ),
    ("Q5", "Everything below the quorum's high watermark is durable on a majority of the voters."),
    (
        "Q6",
        "Committed metadata is the same on all nodes, and in one epoch one thing is written at one offset.",
    ),
    ("Q7", "No node truncates committed metadata."),
    (
        "Q8",
        "A leader becomes the active controller, and moves the high watermark, only when a record of its own epoch is committed.",
    ),
    ("Q9", "The active controller never replaces its state by a snapshot."),
    ("Q10", "Where the metadata log does not begin at 0, a snapshot stands for what is not there."),
    ("Q11", "A node that led the quorum in an epoch does not lead in it again after a restart."),
    (
        "Q12",
        "A leader of the quorum that lost its majority stops acting within one and a half fetch timeouts.",
    ),
    (
        "Q14",
        "One version of a partition, and one registration at one moment, is the same in the image of every node, and a snapshot holds the whole image.",
    ),
    (
        "Q15",
        "What a node publishes of the metadata is committed, never goes back, and is never older than the node's start.",
    ),
    ("Q16", "Committed metadata survives: each new active controller holds all of it."),
    (
        "Q17",
        "Roles of the quorum make sense: only voters vote and stand, a leader was a candidate of the same epoch, a term is not led and then followed; who hears a leader would vote for nobody else.",
    ),
    (
        "G1",
        "In one generation of a group no two members are given one partition, and nobody is given any who is no member; in the consumer protocol no two members have one.",
    ),
    (
        "G2",
        "With range, roundrobin and sticky, and where the coordinator assigns, every partition of the topics that a group reads is given to somebody, and none of another topic.",
    ),
    (
        "G3",
        "In the consumer protocol a member that has come to the epoch of the target has nothing that is meant for somebody else.",
    ),
    (
        "G4",
        "In a stable group every member has joined the generation, was given something in it, and is told what it was given; in the consumer protocol it is in the epoch of the group, and has what it is to have.",
    ),
    (
        "G5",
        "The generations of a group rise one by one, epochs never fall, and no new coordinator begins with one that is older than what members were told.",
    ),
    (
        "G6",
        "Offsets are committed only by a member, under its own name and in the generation of the moment, or by nobody's member while there are none.",
    ),
    (
        "G7",
        "What a group has committed never moves back, unless it was set by hand, expired, or lost by declaration, or its reader was out of range.",
    ),
    (
        "G8",
        "A coordinator begins with what its log adds up to, and answers nobody before it has read it.",
    ),
    (
        "G9",
        "No offset expires of a topic that members of the group read, and none while they rebalance.",
    ),
    (
        "G10",
        "Every record between where a group began and what it has committed was given to one of its members, unless the group was set past it.",
    ),
    ("G11", "No group waits longer in a rebalance than its members' longest rebalance timeout."),
    (
        "G12",
        "What a client was told to be committed is read back, or what was committed since; never an offset that nobody committed.",
    ),
    (
        "L2",
        "After healing every replica is in sync and has what its leader has, and the high watermark is the end and known to each.",
    ),
    ("L3", "After healing every running broker may lead."),
    ("L4", "A leader that asked for another ISR is answered."),
    ("L5", "After healing all nodes publish the same metadata."),
    ("L6", "A reassignment ends when all that are to hold the partition are in sync, not before."),
    ("L7", "After healing some node is the active controller."),
    ("L9", "After healing every group has a coordinator, and those with members are stable."),
    (
        "L10",
        "Whoever reads from the start comes to the end once everything is healed and nobody sends any more; so does every group whose members leave nothing out.",
    ),
    ("L11", "Once everything is healed, whoever reads in a group is a member of it."),
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
    ("S8", "What retention removes from a log is committed, and the start of a log never falls."),
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
    (
        "T16",
        "One of the last five batches of a producer, sent again, is known: it is not refused as out of order.",
    ),
    ("phantom", "Every value read was sent, to that partition."),
    (
        "lost-write",
        "Every acknowledged record is found by a fresh reader at the end, unless the file declares its loss.",
    ),
    (
        "oracles",
        "What the leaders told of their logs and what a fresh reader was given at the end are the same: the checks inside and outside agree.",
    ),
    ("unseen", "Every acknowledged record was given to some reader by the end."),
    ("duplicate", "With idempotence, no sent record stands at two offsets."),
    (
        "inconsistent-offsets",
        "No offset of a partition ever gave two different records, or another than its producer was told of.",
    ),
    (
        "late",
        "While nothing is broken every record is answered, and given to whoever reads its partition, within three seconds; or stands in a queue of its sender that moves.",
    ),
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
