//! What happens in a run, by name.

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
    event(
        "group.rebalanced",
        Story::Each,
        "A consumer group is in a new generation, as the first of its members learned.",
    ),
    event("member.joined", Story::Summed, "A member is in a new generation of its group."),
    event("member.assigned", Story::Summed, "A member was given a partition."),
    event(
        "member.revoked",
        Story::Summed,
        "A partition was taken from a member in good order: nobody else had it yet.",
    ),
    event("member.lost", Story::Summed, "A member lost a partition: its group went on without it."),
    event(
        "member.paused",
        Story::Summed,
        "A member that processes beside polling has as much in hand as it may: it pauses its partitions.",
    ),
    event("member.resumed", Story::Summed, "A member takes its partitions into its polls again."),
    event(
        "member.left",
        Story::Each,
        "A member ended in good order: it left its group, unless it is a static one.",
    ),
    event(
        "consumer.processed",
        Story::Never,
        "A member of a group is done with records. Counts records.",
    ),
    event(
        "consumer.committed",
        Story::Never,
        "A member was told that offsets it asked to be committed are stored. What `enable.auto.commit` commits nobody tells it.",
    ),
    event(
        "consumer.commit-failed",
        Story::Summed,
        "A member was told that a commit it asked for failed.",
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
    event(
        "log.deleted",
        Story::Each,
        "A log and its directory were removed, or set aside as a stray.",
    ),
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
    event("isr.shrunk", Story::Each, "The controller committed an ISR that lacks a broker."),
    event(
        "isr.expanded",
        Story::Each,
        "The controller committed an ISR with a broker that was not in it.",
    ),
    event("isr.proposed", Story::Summed, "A leader asked the controller for another ISR."),
    event("isr.refused", Story::Summed, "The controller refused a leader another ISR."),
    event("replica.leads", Story::Each, "A replica leads its partition in a new term."),
    event("replica.follows", Story::Summed, "A replica follows in a new term or another leader."),
    event("replica.fetched", Story::Never, "A leader accepted a follower's fetch."),
    event(
        "replica.appended",
        Story::Never,
        "Records from the leader were written to a follower's log. Counts records.",
    ),
    event("quorum.role", Story::Summed, "A node took another role in the metadata quorum."),
    event("vote.granted", Story::Summed, "A voter gave its vote, pre-votes aside."),
    event(
        "metadata.snapshot-loaded",
        Story::Each,
        "A node replaced its metadata by a snapshot that it was sent or found at its start.",
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
    event(
        "node.left-out",
        Story::Each,
        "A node stays as it is although faults are over: no more than a core is healed (`heal = \"core\"`), and it is outside.",
    ),
    event("admin.refused", Story::Each, "The cluster refused what an administrator asked for."),
    event("partition.moved", Story::Each, "A partition's replicas are other ones."),
    event("storm.drawn", Story::Each, "What a seed has drawn for its storm."),
    event("storm.passed", Story::Summed, "A storm passed a fault over: a guard forbade it."),
    event("step.idle", Story::Each, "A step had its moment and could not do what it says."),
    event(
        "group.loaded",
        Story::Summed,
        "A broker has read a partition of __consumer_offsets and coordinates its groups.",
    ),
    event(
        "group.unloaded",
        Story::Summed,
        "A broker coordinates the groups of a partition no longer.",
    ),
    event("group.rebalance-started", Story::Each, "A coordinator calls a group's members to join."),
    event("group.generation", Story::Each, "The next generation of a group begins."),
    event("group.stable", Story::Each, "The members of a group are told what they have."),
    event("group.empty", Story::Each, "A group has no members any more."),
    event("group.deleted", Story::Each, "A group is in the log of its coordinator no longer."),
    event("member.came", Story::Each, "A coordinator let a member into its group."),
    event(
        "member.gone",
        Story::Each,
        "A member left its group, or was replaced by its static member's next process, or was turned away.",
    ),
    event(
        "member.expired",
        Story::Each,
        "A coordinator took a member out of its group that was silent, or too late for a generation.",
    ),
    event("offset.committed", Story::Never, "A coordinator accepted an offset: it is in its log."),
    event("offset.rejected", Story::Summed, "A coordinator refused who wanted to commit offsets."),
    event("offset.expired", Story::Each, "The time of a committed offset was over."),
    event(
        "offset.deleted",
        Story::Each,
        "A committed offset was deleted, by itself, with its group or with its topic.",
    ),
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
