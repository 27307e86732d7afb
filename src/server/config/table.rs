//! Every broker property of Kafka 4.x: its name, type, default, range, and what this broker does with it.
//!
//! The one place that knows them. `mod.rs` reads a file against it; `ottla config list` and `config explain` print it;
//! DescribeConfigs answers from it. Defaults are Kafka 4.0's (KIP-1030 included). Names of removed properties carry the
//! text that says what took their place.

/// What this broker does with a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It does what Kafka's documentation says.
    Used,
    /// Accepted; the thing it sets is arranged differently here, as the doc says. One line at start.
    Mapped,
    /// Accepted and without effect: named once at start.
    Inert,
    /// The node does not start. The text says what took its place.
    Refused(&'static str),
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number of 16 bits.
    Short,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
    /// A number with a fraction.
    Double,
    /// Text.
    String,
    /// Texts, separated by commas.
    List,
    /// The name of a Java class.
    Class,
    /// Text that is never printed.
    Password,
}

/// Which values of its kind a property takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// All of them.
    Any,
    /// This one and larger ones.
    AtLeast(i64),
    /// Both ends included.
    Between(i64, i64),
    /// These words only (of a list: each element).
    OneOf(&'static [&'static str]),
}

/// One property.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Kafka's name.
    pub name: &'static str,
    /// How its value is written.
    pub kind: Kind,
    /// Kafka's default as text; `None` where there is none.
    pub default: Option<&'static str>,
    /// Which values it takes.
    pub range: Range,
    /// What this broker does with it.
    pub class: Class,
    /// What it does, in a sentence.
    pub doc: &'static str,
}

/// The row of `name`; for a listener's own property (`listener.name.<name>.<property>`), the row of the property.
#[must_use]
pub fn row(name: &str) -> Option<&'static Row> {
    let own = name.strip_prefix("listener.name.").and_then(|rest| rest.split_once('.'));
    let name = own.map_or(name, |(_, property)| property);
    ROWS.iter().find(|row| row.name == name)
}

/// The reason why a family of properties is refused, for names that Kafka knows and the table does not list one by one.
#[must_use]
pub fn refused_family(name: &str) -> Option<&'static str> {
    let families = [
        ("zookeeper.", ZOOKEEPER_GONE),
        ("ssl.", TLS_MISSING),
        ("sasl.", SASL_MISSING),
        ("remote.log.", TIERED_MISSING),
        ("delegation.token.", SASL_MISSING),
    ];
    families.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, reason)| *reason)
}

/// The range in words, as in `1 or more`.
#[must_use]
pub fn range_in_words(range: Range) -> String {
    match range {
        Range::Any => "any".to_owned(),
        Range::AtLeast(least) => format!("{least} or more"),
        Range::Between(least, most) => format!("{least} to {most}"),
        Range::OneOf(words) => format!("one of {}", words.join(", ")),
    }
}

/// The kind in words, as in `a whole number`.
#[must_use]
pub const fn kind_in_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Boolean => "true or false",
        Kind::Short => "a whole number from -32768 to 32767",
        Kind::Int => "a whole number from -2147483648 to 2147483647",
        Kind::Long => "a whole number of 64 bits",
        Kind::Double => "a number",
        Kind::String => "a text",
        Kind::List => "texts separated by commas",
        Kind::Class => "the name of a class",
        Kind::Password => "a password",
    }
}

const ZOOKEEPER_GONE: &str = "Kafka 4 has no ZooKeeper: set process.roles, node.id, controller.listener.names and \
                              controller.quorum.voters (or controller.quorum.bootstrap.servers) instead";
const TLS_MISSING: &str =
    "TLS is not built in: remove it and use PLAINTEXT listeners (put a TLS proxy in front)";
const SASL_MISSING: &str = "SASL is not built in: remove it and use PLAINTEXT listeners";
const TIERED_MISSING: &str = "tiered storage is not built in: remove it";

const COMPRESSION: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
const POLICIES: &[&str] = &["compact", "delete"];
const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];
const SELECTORS: &[&str] = &[
    "org.apache.kafka.common.replica.LeaderSelector",
    "org.apache.kafka.common.replica.RackAwareReplicaSelector",
];
const ASSIGNORS: &[&str] = &[
    "uniform",
    "range",
    "org.apache.kafka.coordinator.group.assignor.UniformAssignor",
    "org.apache.kafka.coordinator.group.assignor.RangeAssignor",
];
const MIGRATION_POLICIES: &[&str] = &["disabled", "upgrade", "downgrade", "bidirectional"];
/// A century: what is longer is a slip of the pen, and would not fit in milliseconds.
const INTERVAL_SECONDS_MAX: i64 = 100 * 365 * 24 * 3600;
const LONG_MAX: &str = "9223372036854775807";
const INT_MAX: &str = "2147483647";

const fn new(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    range: Range,
    class: Class,
    doc: &'static str,
) -> Row {
    Row { name, kind, default, range, class, doc }
}

/// A property without effect here.
const fn inert(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    doc: &'static str,
) -> Row {
    new(name, kind, default, Range::Any, Class::Inert, doc)
}

/// A property that keeps the node from starting.
const fn refused(name: &'static str, kind: Kind, instead: &'static str) -> Row {
    new(name, kind, None, Range::Any, Class::Refused(instead), "Removed or not built in.")
}

use Class::{Mapped, Used};
use Kind::{Boolean, Double, Int, List, Long, Password, Short, String as Text};
use Range::{Any, AtLeast, Between, OneOf};

/// The table, by subject. One line a property: it is read as a table.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    // The node and its roles.
    new("process.roles", List, Some(""), OneOf(&["broker", "controller"]), Used,
        "Which parts of a cluster this node plays: `broker`, `controller`, or both. Required."),
    new("node.id", Int, None, AtLeast(0), Used, "The node's number in the cluster. Required."),
    new("broker.id", Int, Some("-1"), AtLeast(-1), Used, "The old name of node.id: must agree with it where given."),
    new("broker.rack", Text, None, Any, Used, "Where the broker stands: replicas of a partition are spread over racks, Metadata tells clients."),
    refused("broker.id.generation.enable", Boolean, "it came with ZooKeeper: set node.id"),
    refused("reserved.broker.max.id", Int, "it came with ZooKeeper: set node.id"),
    new("initial.broker.registration.timeout.ms", Int, Some("60000"), Any, Used,
        "How long the broker tries to register with the controller at start."),
    new("broker.heartbeat.interval.ms", Int, Some("2000"), AtLeast(1), Used, "How often the broker tells the controller that it lives."),
    new("broker.session.timeout.ms", Int, Some("9000"), AtLeast(1), Used, "Without a heartbeat for so long the controller fences a broker."),
    inert("server.max.startup.time.ms", Long, Some(LONG_MAX), "How long a start may take."),
    // Listeners.
    new("listeners", List, Some("PLAINTEXT://:9092"), Any, Used, "Where to listen: `NAME://host:port`, separated by commas; an empty host is every address."),
    new("advertised.listeners", List, None, Any, Used, "What clients are told to connect to; the listeners themselves where not given."),
    new("listener.security.protocol.map", List, Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"), Any, Used,
        "The protocol behind each listener's name; only PLAINTEXT is built in."),
    new("controller.listener.names", List, None, Any, Used, "Which listeners belong to the controller. A controller binds them; a broker only knows their name."),
    new("inter.broker.listener.name", Text, None, Any, Used, "The listener by which brokers call each other."),
    new("security.inter.broker.protocol", Text, Some("PLAINTEXT"), OneOf(&["PLAINTEXT"]), Used, "The protocol among brokers; only PLAINTEXT is built in."),
    refused("control.plane.listener.name", Text, "it came with ZooKeeper: set controller.listener.names"),
    inert("early.start.listeners", Text, None, "Listeners opened before the broker is ready."),
    refused("port", Int, "set listeners=PLAINTEXT://host:port"),
    refused("host.name", Text, "set listeners=PLAINTEXT://host:port"),
    refused("advertised.host.name", Text, "set advertised.listeners"),
    refused("advertised.port", Int, "set advertised.listeners"),
    // The controller's quorum and its log.
    new("controller.quorum.voters", List, Some(""), Any, Used, "The voters as `id@host:port`, separated by commas; the same on every node."),
    new("controller.quorum.bootstrap.servers", List, Some(""), Any, Used, "The controllers as `host:port`. Taken instead of the voters where the quorum is this node alone."),
    new("controller.quorum.election.timeout.ms", Int, Some("1000"), AtLeast(1), Used, "How long a voter waits before it stands for election."),
    new("controller.quorum.fetch.timeout.ms", Int, Some("2000"), AtLeast(1), Used, "How long a voter waits for the leader."),
    new("controller.quorum.election.backoff.max.ms", Int, Some("1000"), AtLeast(0), Used, "The longest wait between elections."),
    inert("controller.quorum.append.linger.ms", Int, Some("25"), "How long the controller gathers records before it writes; ours writes at once."),
    new("controller.quorum.request.timeout.ms", Int, Some("2000"), AtLeast(1), Used, "How long a member of the quorum waits for an answer."),
    new("controller.quorum.retry.backoff.ms", Int, Some("20"), AtLeast(0), Used, "The wait before a member of the quorum asks again."),
    inert("controller.quorum.auto.join.enable", Boolean, Some("false"), "Whether a controller joins the voters by itself."),
    new("metadata.log.dir", Text, None, Any, Used, "The directory of the metadata log; the first of log.dirs where not given."),
    new("metadata.log.segment.bytes", Int, Some("1073741824"), AtLeast(12), Used, "The size of a segment of the metadata log."),
    new("metadata.log.segment.ms", Long, Some("604800000"), Any, Used, "The age of a segment of the metadata log."),
    new("metadata.max.retention.bytes", Long, Some("104857600"), Any, Used, "How much metadata log is kept behind a snapshot."),
    new("metadata.max.retention.ms", Long, Some("604800000"), Any, Used, "How long metadata log is kept behind a snapshot."),
    new("metadata.max.idle.interval.ms", Int, Some("500"), AtLeast(0), Used, "How often an idle controller writes a record that does nothing."),
    new("metadata.log.max.record.bytes.between.snapshots", Long, Some("20971520"), AtLeast(1), Used, "A metadata snapshot is due after so many bytes."),
    new("metadata.log.max.snapshot.interval.ms", Long, Some("3600000"), AtLeast(0), Used, "A metadata snapshot is due after so long."),
    refused("eligible.leader.replicas.enable", Boolean, "it is a feature level since Kafka 4.0: format with -f eligible.leader.replicas.version=1"),
    refused("inter.broker.protocol.version", Text, "Kafka 4 takes it from metadata.version, which `ottla format` writes: remove it"),
    // Log directories and the log.
    new("log.dir", Text, Some("/tmp/kafka-logs"), Any, Used, "Where data is kept, if log.dirs is not given. Kafka's default is lost at reboot, so it is not taken silently."),
    new("log.dirs", List, None, Any, Used, "The directories where data is kept, separated by commas: one for each disk."),
    new("log.segment.bytes", Int, Some("1073741824"), AtLeast(14), Used, "The size of a segment file. Kafka 4 refuses less than 1 MiB; smaller ones are taken here, for tests."),
    new("log.roll.ms", Long, None, AtLeast(1), Used, "The age at which a segment is closed; log.roll.hours where not given."),
    new("log.roll.hours", Int, Some("168"), AtLeast(1), Used, "The age at which a segment is closed."),
    new("log.roll.jitter.ms", Long, None, AtLeast(0), Used, "How much of that age is drawn at random; log.roll.jitter.hours where not given."),
    new("log.roll.jitter.hours", Int, Some("0"), AtLeast(0), Used, "How much of that age is drawn at random."),
    new("log.retention.ms", Long, None, AtLeast(-1), Used, "How long records are kept, -1 for ever; log.retention.minutes where not given."),
    new("log.retention.minutes", Int, None, AtLeast(-1), Used, "How long records are kept; log.retention.hours where not given."),
    new("log.retention.hours", Int, Some("168"), AtLeast(-1), Used, "How long records are kept."),
    new("log.retention.bytes", Long, Some("-1"), AtLeast(-1), Used, "How many bytes a partition keeps, -1 without limit."),
    new("log.retention.check.interval.ms", Long, Some("300000"), AtLeast(1), Used, "How often retention looks for old segments."),
    new("log.cleanup.policy", List, Some("delete"), OneOf(POLICIES), Used, "Whether old records are deleted or compacted; compaction is not built in yet."),
    new("log.index.size.max.bytes", Int, Some("10485760"), AtLeast(4), Used, "The size of an index file: a full one closes the segment."),
    new("log.index.interval.bytes", Int, Some("4096"), AtLeast(0), Used, "An index entry is written after so many bytes of log."),
    new("log.flush.interval.messages", Long, Some(LONG_MAX), AtLeast(1), Used, "A partition is synced after so many records."),
    new("log.flush.interval.ms", Long, None, AtLeast(0), Used, "A partition is synced after so long; log.flush.scheduler.interval.ms where not given."),
    new("log.flush.scheduler.interval.ms", Long, Some(LONG_MAX), AtLeast(0), Used, "How often partitions are looked at for a sync that is due by time."),
    new("log.flush.offset.checkpoint.interval.ms", Int, Some("60000"), AtLeast(0), Used, "How often recovery points are written down."),
    new("log.flush.start.offset.checkpoint.interval.ms", Int, Some("60000"), AtLeast(0), Used, "How often log start offsets are written down."),
    new("log.segment.delete.delay.ms", Long, Some("60000"), AtLeast(0), Used, "How long a removed segment's file stays, for readers."),
    new("log.preallocate", Boolean, Some("false"), Any, Used, "Whether a new segment's file takes its space at once."),
    new("log.message.timestamp.type", Text, Some("CreateTime"), OneOf(TIMESTAMP_TYPES), Used, "Whose clock stamps the records."),
    new("log.message.timestamp.before.max.ms", Long, Some(LONG_MAX), AtLeast(0), Used, "How far a record's time may lie behind the broker's clock."),
    new("log.message.timestamp.after.max.ms", Long, Some("3600000"), AtLeast(0), Used, "How far a record's time may lie ahead of the broker's clock."),
    inert("log.initial.task.delay.ms", Long, Some("30000"), "The wait before retention looks for the first time."),
    inert("log.dir.failure.timeout.ms", Long, Some("30000"), "How long the controller may take to move a failed directory's leaders."),
    refused("log.message.format.version", Text, "Kafka 4 writes format v2 only: remove it"),
    refused("log.message.timestamp.difference.max.ms", Long, "set log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms"),
    refused("log.message.downconversion.enable", Boolean, "Kafka 4 never converts down: remove it"),
    new("num.recovery.threads.per.data.dir", Int, Some("2"), AtLeast(1), Mapped, "Directories recover one after another, reading as fast as the disk gives."),
    inert("num.replica.alter.log.dirs.threads", Int, None, "Threads that move partitions between directories."),
    inert("background.threads", Int, Some("10"), "Threads for work behind the scenes; ours needs none."),
    // Compaction.
    inert("log.cleaner.enable", Boolean, Some("true"), "Whether compaction runs; not built in yet."),
    inert("log.cleaner.threads", Int, Some("1"), "Threads that compact; not built in yet."),
    inert("log.cleaner.io.max.bytes.per.second", Double, Some("1.7976931348623157E308"), "How fast compaction may read and write."),
    inert("log.cleaner.dedupe.buffer.size", Long, Some("134217728"), "Memory for compaction's map of keys."),
    inert("log.cleaner.io.buffer.size", Int, Some("524288"), "Memory for compaction's reading and writing."),
    inert("log.cleaner.io.buffer.load.factor", Double, Some("0.9"), "How full compaction's map may be."),
    inert("log.cleaner.backoff.ms", Long, Some("15000"), "The wait when there is nothing to compact."),
    new("log.cleaner.min.cleanable.ratio", Double, Some("0.5"), Between(0, 1), Class::Inert, "How much of a log must be new before it is compacted."),
    new("log.cleaner.delete.retention.ms", Long, Some("86400000"), AtLeast(0), Class::Inert, "How long compaction keeps tombstones."),
    new("log.cleaner.min.compaction.lag.ms", Long, Some("0"), AtLeast(0), Class::Inert, "How long a record is safe from compaction."),
    new("log.cleaner.max.compaction.lag.ms", Long, Some(LONG_MAX), AtLeast(1), Class::Inert, "After how long a record must be compacted."),
    // Topics.
    new("num.partitions", Int, Some("1"), AtLeast(1), Used, "How many partitions a topic gets that does not say."),
    new("default.replication.factor", Int, Some("1"), AtLeast(1), Used, "How many replicas a topic gets that does not say."),
    new("min.insync.replicas", Int, Some("1"), AtLeast(1), Used, "With fewer replicas in sync, acks=all is refused."),
    new("auto.create.topics.enable", Boolean, Some("true"), Any, Used, "Whether asking for an unknown topic's metadata creates it."),
    new("delete.topic.enable", Boolean, Some("true"), Any, Used, "Whether topics may be deleted."),
    new("message.max.bytes", Int, Some("1048588"), AtLeast(0), Used, "The largest batch a producer may send."),
    new("compression.type", Text, Some("producer"), OneOf(COMPRESSION), Used, "How batches are compressed in the log; `producer` keeps them as they came."),
    inert("compression.gzip.level", Int, Some("-1"), "The level when the broker compresses with gzip itself."),
    inert("compression.lz4.level", Int, Some("9"), "The level when the broker compresses with lz4 itself."),
    inert("compression.zstd.level", Int, Some("3"), "The level when the broker compresses with zstd itself."),
    inert("create.topic.policy.class.name", Kind::Class, None, "A plugin that may refuse topics."),
    inert("alter.config.policy.class.name", Kind::Class, None, "A plugin that may refuse configurations."),
    new("unclean.leader.election.enable", Boolean, Some("false"), Any, Used, "Whether a replica outside the ISR may lead when no other is left."),
    inert("unclean.leader.election.interval.ms", Long, Some("300000"), "How often the controller looks for partitions to elect uncleanly; ours looks when a config changes."),
    // Replication.
    new("replica.lag.time.max.ms", Long, Some("30000"), AtLeast(1), Used, "A follower that has not caught up for so long leaves the in-sync replicas."),
    new("replica.socket.timeout.ms", Int, Some("30000"), AtLeast(1), Used, "How long a follower waits for the answer to a fetch."),
    new("replica.socket.receive.buffer.bytes", Int, Some("65536"), AtLeast(-1), Mapped, "The kernel sizes its buffers itself."),
    new("replica.fetch.max.bytes", Int, Some("1048576"), AtLeast(0), Used, "How many bytes of one partition a follower asks for at once."),
    new("replica.fetch.wait.max.ms", Int, Some("500"), AtLeast(0), Used, "How long a leader may keep a follower waiting that has everything."),
    new("replica.fetch.min.bytes", Int, Some("1"), AtLeast(0), Used, "A follower is answered at once where there are so many bytes."),
    new("replica.fetch.backoff.ms", Int, Some("1000"), AtLeast(0), Used, "How long a follower waits after a fetch that failed."),
    new("replica.fetch.response.max.bytes", Int, Some("10485760"), AtLeast(0), Used, "How many bytes a follower asks for at once in all."),
    new("replica.selector.class", Kind::Class, None, OneOf(SELECTORS), Used, "Which replica consumers are sent to: by default the leader."),
    new("num.replica.fetchers", Int, Some("1"), AtLeast(1), Mapped, "One task a leader copies all its partitions, with several requests in flight."),
    new("replica.high.watermark.checkpoint.interval.ms", Long, Some("5000"), AtLeast(1), Used, "How often high watermarks are written down."),
    new("auto.leader.rebalance.enable", Boolean, Some("true"), Any, Used, "Whether leadership goes back to preferred replicas by itself."),
    new("leader.imbalance.per.broker.percentage", Int, Some("10"), Between(0, 100), Used, "How many of the partitions that prefer a broker may be led elsewhere."),
    new("leader.imbalance.check.interval.seconds", Long, Some("300"), Between(1, INTERVAL_SECONDS_MAX), Used, "How often the controller looks for leaders that are not the preferred ones."),
    new("controller.socket.timeout.ms", Int, Some("30000"), AtLeast(1), Used, "How long a broker waits for one answer of the controller before it asks again."),
    new("controlled.shutdown.enable", Boolean, Some("true"), Any, Used, "Whether a stop first tells the controller."),
    new("controlled.shutdown.max.retries", Int, Some("3"), AtLeast(0), Mapped, "A stop asks again until the controller agrees, or does not answer for broker.session.timeout.ms."),
    new("controlled.shutdown.retry.backoff.ms", Long, Some("5000"), AtLeast(0), Mapped, "A stop asks again until the controller agrees, or does not answer for broker.session.timeout.ms."),
    // Requests and connections.
    new("socket.request.max.bytes", Int, Some("104857600"), AtLeast(1), Used, "The largest request; a larger one closes the connection."),
    new("socket.send.buffer.bytes", Int, Some("102400"), AtLeast(-1), Mapped, "The kernel sizes its buffers itself."),
    new("socket.receive.buffer.bytes", Int, Some("102400"), AtLeast(-1), Mapped, "The kernel sizes its buffers itself."),
    inert("socket.listen.backlog.size", Int, Some("50"), "How many connections wait to be accepted."),
    new("num.network.threads", Int, Some("3"), AtLeast(1), Mapped, "One thread a core serves its connections from socket to file."),
    new("num.io.threads", Int, Some("8"), AtLeast(1), Mapped, "One thread a core serves its connections from socket to file."),
    new("queued.max.requests", Int, Some("500"), AtLeast(1), Mapped, "A connection's requests wait in its socket: there is no queue to bound."),
    new("queued.max.request.bytes", Long, Some("-1"), Any, Mapped, "A connection's requests wait in its socket: there is no queue to bound."),
    new("connections.max.idle.ms", Long, Some("600000"), Any, Used, "A connection without a request for so long is closed; -1 never."),
    new("max.connections", Int, Some(INT_MAX), AtLeast(0), Used, "How many connections may be open."),
    new("max.connections.per.ip", Int, Some(INT_MAX), AtLeast(0), Used, "How many connections may be open from one address."),
    inert("max.connections.per.ip.overrides", Text, Some(""), "Other limits for named addresses."),
    inert("max.connection.creation.rate", Int, Some(INT_MAX), "How many connections may be opened a second."),
    inert("connection.failed.authentication.delay.ms", Int, Some("100"), "The wait before a failed login is closed."),
    inert("connections.max.reauth.ms", Long, Some("0"), "When a login must be renewed."),
    new("request.timeout.ms", Int, Some("30000"), AtLeast(1), Used, "How long the broker waits for the controller's answer."),
    new("fetch.max.bytes", Int, Some("57671680"), AtLeast(1024), Used, "The most bytes in one answer to a fetch."),
    new("max.incremental.fetch.session.cache.slots", Int, Some("1000"), AtLeast(0), Used, "How many fetch sessions are kept."),
    inert("max.request.partition.size.limit", Int, Some("2000"), "How many partitions DescribeTopicPartitions answers at once."),
    inert("fetch.purgatory.purge.interval.requests", Int, Some("1000"), "Waiting fetches are removed when they end."),
    inert("producer.purgatory.purge.interval.requests", Int, Some("1000"), "Waiting produce requests are removed when they end."),
    inert("delete.records.purgatory.purge.interval.requests", Int, Some("1"), "Waiting requests are removed when they end."),
    new("socket.connection.setup.timeout.ms", Long, Some("10000"), AtLeast(1), Used, "How long connecting to another node may take."),
    inert("socket.connection.setup.timeout.max.ms", Long, Some("30000"), "Connecting never takes longer the second time."),
    // Idempotent and transactional producers.
    new("producer.id.expiration.ms", Int, Some("86400000"), AtLeast(1), Used, "An idle producer's state is dropped after so long."),
    new("producer.id.expiration.check.interval.ms", Int, Some("600000"), AtLeast(1), Used, "How often idle producers are looked for."),
    inert("transaction.state.log.num.partitions", Int, Some("50"), "Partitions of __transaction_state; transactions are not built in yet."),
    inert("transaction.state.log.segment.bytes", Int, Some("104857600"), "Segment size of __transaction_state."),
    inert("transaction.state.log.replication.factor", Short, Some("3"), "Replicas of __transaction_state."),
    inert("transaction.state.log.min.isr", Int, Some("2"), "Replicas in sync of __transaction_state."),
    inert("transaction.state.log.load.buffer.size", Int, Some("5242880"), "Memory for loading __transaction_state."),
    inert("transaction.partition.verification.enable", Boolean, Some("true"), "Whether transactional batches are verified."),
    inert("transaction.two.phase.commit.enable", Boolean, Some("false"), "Whether transactions of other systems may take part."),
    inert("transaction.max.timeout.ms", Int, Some("900000"), "The longest transaction."),
    inert("transactional.id.expiration.ms", Int, Some("604800000"), "When an unused transactional id is dropped."),
    inert("transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, Some("10000"), "How often timed-out transactions are aborted."),
    inert("transaction.remove.expired.transaction.cleanup.interval.ms", Int, Some("3600000"), "How often unused transactional ids are dropped."),
    // Groups.
    new("group.min.session.timeout.ms", Int, Some("6000"), AtLeast(0), Used, "The shortest session timeout that a member may ask for."),
    new("group.max.session.timeout.ms", Int, Some("1800000"), AtLeast(0), Used, "The longest session timeout that a member may ask for."),
    new("group.initial.rebalance.delay.ms", Int, Some("3000"), AtLeast(0), Used, "How long an empty group waits for more members after the first has come."),
    new("group.max.size", Int, Some(INT_MAX), AtLeast(1), Used, "How many members a group may have."),
    inert("group.coordinator.new.enable", Boolean, Some("true"), "Whether the new coordinator runs."),
    new("group.coordinator.rebalance.protocols", List, Some("classic,consumer"), OneOf(&["classic", "consumer"]), Used, "Which group protocols are spoken; the classic one always is."),
    inert("group.coordinator.append.linger.ms", Int, Some("5"), "How long a coordinator gathers records before it writes."),
    new("group.coordinator.threads", Int, Some("4"), AtLeast(1), Mapped, "One task for each partition of __consumer_offsets that the broker leads."),
    new("group.consumer.session.timeout.ms", Int, Some("45000"), AtLeast(1), Used, "How long a member of a consumer group may be silent."),
    new("group.consumer.min.session.timeout.ms", Int, Some("45000"), AtLeast(1), Used, "The shortest that group.consumer.session.timeout.ms may be."),
    new("group.consumer.max.session.timeout.ms", Int, Some("60000"), AtLeast(1), Used, "The longest that group.consumer.session.timeout.ms may be."),
    new("group.consumer.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), Used, "How often members of consumer groups are to send heartbeats."),
    new("group.consumer.min.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), Used, "The shortest that group.consumer.heartbeat.interval.ms may be."),
    new("group.consumer.max.heartbeat.interval.ms", Int, Some("15000"), AtLeast(1), Used, "The longest that group.consumer.heartbeat.interval.ms may be."),
    new("group.consumer.max.size", Int, Some(INT_MAX), AtLeast(1), Used, "How many members a consumer group may have."),
    new("group.consumer.assignors", List, Some("uniform,range"), OneOf(ASSIGNORS), Used, "The assignors of consumer groups; the first is for groups whose members want none."),
    new("group.consumer.migration.policy", Text, Some("bidirectional"), OneOf(MIGRATION_POLICIES), Used, "Whether a group that has members may change from the classic to the consumer protocol (upgrade), back (downgrade), both, or neither."),
    new("group.consumer.regex.refresh.interval.ms", Int, Some("600000"), AtLeast(10_000), Mapped, "Subscribed patterns are matched again when topics change, and then only."),
    inert("group.share.enable", Boolean, Some("false"), "Whether share groups are served."),
    inert("group.share.delivery.count.limit", Int, Some("5"), "How often a share group tries a record."),
    inert("group.share.record.lock.duration.ms", Int, Some("30000"), "How long a share group's member holds a record."),
    inert("group.share.min.record.lock.duration.ms", Int, Some("15000"), "The shortest such time."),
    inert("group.share.max.record.lock.duration.ms", Int, Some("60000"), "The longest such time."),
    inert("group.share.partition.max.record.locks", Int, Some("2000"), "How many records a share partition may have in hand."),
    inert("group.share.max.groups", Short, Some("10"), "How many share groups there may be."),
    inert("group.share.max.size", Int, Some("200"), "How many members a share group may have."),
    inert("group.share.session.timeout.ms", Int, Some("45000"), "A share member's session."),
    inert("group.share.min.session.timeout.ms", Int, Some("45000"), "The shortest such session."),
    inert("group.share.max.session.timeout.ms", Int, Some("60000"), "The longest such session."),
    inert("group.share.heartbeat.interval.ms", Int, Some("5000"), "How often share members report."),
    inert("group.share.min.heartbeat.interval.ms", Int, Some("5000"), "The shortest such interval."),
    inert("group.share.max.heartbeat.interval.ms", Int, Some("15000"), "The longest such interval."),
    inert("share.coordinator.state.topic.num.partitions", Int, Some("50"), "Partitions of __share_group_state."),
    inert("share.coordinator.state.topic.replication.factor", Short, Some("3"), "Replicas of __share_group_state."),
    inert("share.coordinator.state.topic.min.isr", Int, Some("2"), "Replicas in sync of __share_group_state."),
    inert("share.coordinator.state.topic.segment.bytes", Int, Some("104857600"), "Segment size of __share_group_state."),
    new("offset.metadata.max.bytes", Int, Some("4096"), AtLeast(0), Used, "The largest text beside a committed offset."),
    new("offsets.load.buffer.size", Int, Some("5242880"), AtLeast(1), Used, "How much of __consumer_offsets a new coordinator reads at once."),
    new("offsets.retention.minutes", Int, Some("10080"), AtLeast(1), Used, "How long an empty group's offsets are kept."),
    new("offsets.retention.check.interval.ms", Long, Some("600000"), AtLeast(1), Used, "How often old offsets are looked for."),
    new("offsets.topic.num.partitions", Int, Some("50"), AtLeast(1), Used, "Partitions of __consumer_offsets, which is made when the first group is looked for."),
    new("offsets.topic.segment.bytes", Int, Some("104857600"), AtLeast(1_048_576), Used, "Segment size of __consumer_offsets."),
    new("offsets.topic.replication.factor", Short, Some("3"), AtLeast(1), Used, "Replicas of __consumer_offsets; groups wait until there are so many brokers."),
    new("offsets.topic.compression.codec", Int, Some("0"), Between(0, 4), Used, "How groups and offsets are compressed: 0 not, 1 gzip, 2 snappy, 3 lz4, 4 zstd."),
    new("offsets.commit.timeout.ms", Int, Some("5000"), AtLeast(1), Used, "How long the coordinator waits until a commit is replicated."),
    refused("offsets.commit.required.acks", Short, "Kafka 4 always commits with acks=all: remove it"),
    // Quotas.
    inert("quota.window.num", Int, Some("11"), "Quotas are not built in yet."),
    inert("quota.window.size.seconds", Int, Some("1"), "Quotas are not built in yet."),
    inert("controller.quota.window.num", Int, Some("11"), "Quotas are not built in yet."),
    inert("controller.quota.window.size.seconds", Int, Some("1"), "Quotas are not built in yet."),
    inert("replication.quota.window.num", Int, Some("11"), "Quotas are not built in yet."),
    inert("replication.quota.window.size.seconds", Int, Some("1"), "Quotas are not built in yet."),
    inert("alter.log.dirs.replication.quota.window.num", Int, Some("11"), "Quotas are not built in yet."),
    inert("alter.log.dirs.replication.quota.window.size.seconds", Int, Some("1"), "Quotas are not built in yet."),
    inert("client.quota.callback.class", Kind::Class, None, "A plugin for quotas."),
    // Metrics, plugins, and the rest.
    inert("metric.reporters", List, Some(""), "Plugins for metrics; ours are served over HTTP."),
    inert("metrics.num.samples", Int, Some("2"), "Windows of a metric."),
    inert("metrics.sample.window.ms", Long, Some("30000"), "The length of a metric's window."),
    inert("metrics.recording.level", Text, Some("INFO"), "Which metrics are recorded."),
    inert("auto.include.jmx.reporter", Boolean, Some("true"), "Whether metrics go to JMX."),
    inert("kafka.metrics.reporters", List, Some(""), "Plugins for metrics."),
    inert("kafka.metrics.polling.interval.secs", Int, Some("10"), "How often such plugins are asked."),
    inert("telemetry.max.bytes", Int, Some("1048576"), "The largest report of a client's metrics."),
    inert("config.providers", List, Some(""), "Plugins that look values up."),
    inert("unstable.api.versions.enable", Boolean, Some("false"), "Whether unfinished versions are served; here never."),
    inert("unstable.feature.versions.enable", Boolean, Some("false"), "Whether unfinished features are served; here never."),
    inert("principal.builder.class", Kind::Class, None, "A plugin that names who connects."),
    new("authorizer.class.name", Text, Some(""), OneOf(&[""]), Used, "A plugin that allows or refuses; none is built in, so it must be empty."),
    inert("allow.everyone.if.no.acl.found", Boolean, Some("false"), "Part of Kafka's authorizer."),
    refused("super.users", Password, "authorization is not built in: remove it"),
    refused("password.encoder.secret", Password, "it came with ZooKeeper: remove it"),
    refused("zookeeper.connect", Text, ZOOKEEPER_GONE),
    refused("zookeeper.metadata.migration.enable", Boolean, "Kafka 4 has no ZooKeeper to migrate from: remove it"),
    new("remote.log.storage.system.enable", Boolean, Some("false"), OneOf(&["false"]), Used, "Tiered storage; not built in, so it must be false."),
    // Ours.
    new("ottla.fetch.verify", Boolean, Some("true"), Any, Used, "Whether batches read from disk are held against their checksum before they are served."),
    new("ottla.fetch.tail.bytes", Long, Some("33554432"), AtLeast(0), Used, "How much of the newest batches a broker keeps in memory, of all partitions together: readers at the end of a log find them there. 0 keeps none."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_there_once_and_docs_are_sentences() {
        let mut names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "a property stands in the table twice");
        for row in ROWS {
            assert!(!row.doc.is_empty(), "{} has no doc", row.name);
        }
    }

    #[test]
    fn a_listeners_own_property_has_the_row_of_the_property() {
        let row = row("listener.name.external.max.connections").unwrap();
        assert_eq!(row.name, "max.connections");
        assert!(refused_family("ssl.keystore.location").is_some());
        assert!(refused_family("log.dirs").is_none());
    }
}
