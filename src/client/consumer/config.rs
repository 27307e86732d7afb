//! The consumer's properties (Kafka: `ConsumerConfig`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::assignors::Assignor;
use super::membership::MembershipConfig;
use crate::client::config::{CommonConfig, ConfigError, Names, Reader, common_names, property_map};
use crate::protocol::IsolationLevel;
use crate::types::GroupProtocol;

/// Where to go on where the position does not exist: `auto.offset.reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OffsetReset {
    /// At the start of the log.
    Earliest,
    /// At its end.
    Latest,
    /// Nowhere: `poll` fails.
    None,
}

/// What a [`super::Consumer`] is told once, parsed from Kafka's property names.
///
/// ```
/// use ottla::client::ConsumerConfig;
/// let config = ConsumerConfig::new([("bootstrap.servers", "a:9092"), ("auto.offset.reset", "earliest")]);
/// assert!(config.is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    pub(crate) common: CommonConfig,
    pub(crate) fetch_bytes_min: u32,
    pub(crate) fetch_wait_max: Duration,
    pub(crate) fetch_bytes_max: u32,
    pub(crate) partition_fetch_bytes_max: u32,
    pub(crate) poll_records_max: usize,
    pub(crate) offset_reset: OffsetReset,
    pub(crate) check_crcs: bool,
    pub(crate) isolation_level: IsolationLevel,
    pub(crate) api_timeout: Duration,
    pub(crate) client_rack: String,
    pub(crate) allow_auto_create: bool,
    /// `group.id`.
    pub(crate) group_id: Option<Arc<str>>,
    pub(crate) group_protocol: GroupProtocol,
    /// `group.remote.assignor`.
    pub(crate) remote_assignor: Option<Arc<str>>,
    /// `group.instance.id`.
    pub(crate) group_instance_id: Option<Arc<str>>,
    pub(crate) session_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) poll_interval_max: Duration,
    /// `None` without `enable.auto.commit`.
    pub(crate) auto_commit_interval: Option<Duration>,
    /// `partition.assignment.strategy`.
    pub(crate) assignors: Vec<Assignor>,
}

const NAMES: Names = Names {
    served: common_names![
        "fetch.min.bytes",
        "fetch.max.wait.ms",
        "fetch.max.bytes",
        "max.partition.fetch.bytes",
        "max.poll.records",
        "auto.offset.reset",
        "check.crcs",
        "isolation.level",
        "default.api.timeout.ms",
        "client.rack",
        "allow.auto.create.topics",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "group.remote.assignor",
        "session.timeout.ms",
        "heartbeat.interval.ms",
        "max.poll.interval.ms",
        "enable.auto.commit",
        "auto.commit.interval.ms",
        "partition.assignment.strategy",
    ],
    ignored: &[
        "key.deserializer",
        "value.deserializer",
        "receive.buffer.bytes",
        "send.buffer.bytes",
        "connections.max.idle.ms",
        "client.dns.lookup",
        "socket.connection.setup.timeout.max.ms",
        "enable.metrics.push",
    ],
    not_served: &[
        "interceptor.classes",
        "metric.reporters",
        "exclude.internal.topics",
        "security.protocol",
    ],
    removed: &[
        ("zookeeper.connect", "bootstrap.servers"),
        ("socket.timeout.ms", "request.timeout.ms"),
    ],
};

impl ConsumerConfig {
    /// Reads the properties given in code.
    ///
    /// Errors: as [`ConsumerConfig::from_properties`].
    pub fn new<K: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError> {
        Self::from_properties(&property_map(pairs))
    }

    /// Reads the properties of a file or a scenario.
    ///
    /// Errors: an unknown name (with the nearest known one), a value out of range.
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let reader = Reader::new(properties, &NAMES)?;
        let resets = [
            ("earliest", OffsetReset::Earliest),
            ("latest", OffsetReset::Latest),
            ("none", OffsetReset::None),
        ];
        let isolations = [
            ("read_uncommitted", IsolationLevel::ReadUncommitted),
            ("read_committed", IsolationLevel::ReadCommitted),
        ];
        let group_protocol = group_protocol(&reader)?;
        let number = |name, default| {
            let number = reader.number(name, default, 0..=i32::MAX as u64)?;
            Ok(u32::try_from(number).expect("at most 2^31 − 1"))
        };
        Ok(Self {
            common: CommonConfig::read(&reader, "ottla-consumer")?,
            fetch_bytes_min: number("fetch.min.bytes", 1)?,
            fetch_wait_max: reader.millis("fetch.max.wait.ms", 500)?,
            fetch_bytes_max: number("fetch.max.bytes", 52_428_800)?,
            partition_fetch_bytes_max: number("max.partition.fetch.bytes", 1_048_576)?,
            poll_records_max: usize::try_from(reader.number(
                "max.poll.records",
                500,
                1..=i32::MAX as u64,
            )?)
            .expect("at most 2^31 − 1"),
            offset_reset: reader.word("auto.offset.reset", OffsetReset::Latest, &resets)?,
            check_crcs: reader.flag("check.crcs", true)?,
            isolation_level: reader.word(
                "isolation.level",
                IsolationLevel::ReadUncommitted,
                &isolations,
            )?,
            api_timeout: reader.millis("default.api.timeout.ms", 60_000)?,
            client_rack: reader.text("client.rack").unwrap_or_default().to_owned(),
            allow_auto_create: reader.flag("allow.auto.create.topics", true)?,
            group_id: reader.text("group.id").filter(|id| !id.is_empty()).map(Arc::from),
            group_protocol,
            remote_assignor: reader.text("group.remote.assignor").map(Arc::from),
            group_instance_id: reader.text("group.instance.id").map(Arc::from),
            session_timeout: reader.millis("session.timeout.ms", 45_000)?,
            heartbeat_interval: heartbeat_interval(&reader)?,
            poll_interval_max: reader.millis("max.poll.interval.ms", 300_000)?,
            auto_commit_interval: auto_commit_interval(&reader)?,
            assignors: assignors(&reader)?,
        })
    }

    /// What a group's member is told; `None` without `group.id`.
    pub(crate) fn membership(&self) -> Option<MembershipConfig> {
        let rack = Some(self.client_rack.as_str()).filter(|rack| !rack.is_empty());
        Some(MembershipConfig {
            group: self.group_id.clone()?,
            protocol: self.group_protocol,
            remote_assignor: self.remote_assignor.clone(),
            instance: self.group_instance_id.clone(),
            rack: rack.map(Arc::from),
            session_timeout: self.session_timeout,
            heartbeat_interval: self.heartbeat_interval,
            poll_interval_max: self.poll_interval_max,
            auto_commit_interval: self.auto_commit_interval,
            assignors: self.assignors.clone(),
            backoff: self.common.retry_backoff(),
            api_timeout: self.api_timeout,
        })
    }
}

fn refused(name: &str, value: &str, expected: String) -> ConfigError {
    let (name, value) = (name.to_owned(), value.to_owned());
    ConfigError::Value { name, value, expected, nearest: None }
}

/// Errors: a property that the other protocol reads (Kafka: `ConsumerConfig.checkUnsupportedConfigsPostProcess`).
fn group_protocol(reader: &Reader<'_>) -> Result<GroupProtocol, ConfigError> {
    let words = [("classic", GroupProtocol::Classic), ("consumer", GroupProtocol::Consumer)];
    let protocol = reader.word("group.protocol", GroupProtocol::Classic, &words)?;
    let (not_read, instead): (&[&str], &str) = match protocol {
        GroupProtocol::Classic => {
            (&["group.remote.assignor"], "classic: see partition.assignment.strategy")
        }
        GroupProtocol::Consumer => (
            &["partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"],
            "consumer: the coordinator decides (group.remote.assignor, group.consumer.session.timeout.ms, \
             group.consumer.heartbeat.interval.ms of the broker)",
        ),
    };
    match not_read.iter().find(|name| reader.is_set(name)) {
        None => Ok(protocol),
        Some(name) => {
            let value = reader.text(name).unwrap_or_default();
            let expected = format!("cannot be set with group.protocol={instead}");
            Err(refused(name, value, expected))
        }
    }
}

/// Must be shorter than the session (Kafka: `Heartbeat`).
fn heartbeat_interval(reader: &Reader<'_>) -> Result<Duration, ConfigError> {
    let name = "heartbeat.interval.ms";
    let interval = reader.millis(name, 3_000)?;
    let session = reader.millis("session.timeout.ms", 45_000)?;
    if interval < session {
        return Ok(interval);
    }
    let expected = format!("less than session.timeout.ms={}", session.as_millis());
    Err(refused(name, &interval.as_millis().to_string(), expected))
}

fn auto_commit_interval(reader: &Reader<'_>) -> Result<Option<Duration>, ConfigError> {
    // Also checks the word where there is no group.
    let is_automatic = reader.flag("enable.auto.commit", true)?;
    let interval = reader.millis("auto.commit.interval.ms", 5_000)?;
    Ok(is_automatic.then_some(interval))
}

/// Names or Kafka's classes, separated by commas; the default takes a group from eager to cooperative (KIP-429).
fn assignors(reader: &Reader<'_>) -> Result<Vec<Assignor>, ConfigError> {
    let name = "partition.assignment.strategy";
    let Some(text) = reader.text(name) else {
        return Ok(vec![Assignor::Range, Assignor::CooperativeSticky]);
    };
    let known = Assignor::ALL.map(Assignor::name).join(", ");
    let parse = |word: &str| {
        let word = word.trim();
        let by_class = || Assignor::ALL.into_iter().find(|known| known.class_name() == word);
        Assignor::from_name(word)
            .or_else(by_class)
            .ok_or_else(|| refused(name, word, format!("one or several of {known}")))
    };
    let mut assignors: Vec<Assignor> = Vec::new();
    for word in text.split(',') {
        let assignor = parse(word)?;
        if !assignors.contains(&assignor) {
            assignors.push(assignor);
        }
    }
    Ok(assignors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn parse(pairs: &[(&str, &str)]) -> Result<ConsumerConfig, ConfigError> {
        let bootstrap = [("bootstrap.servers", "a:9092")];
        ConsumerConfig::new(bootstrap.iter().chain(pairs).copied())
    }

    #[track_caller]
    fn check(pairs: &[(&str, &str)], expected: &Expect) {
        expected.assert_eq(&parse(pairs).unwrap_err().to_string());
    }

    #[test]
    fn a_member_is_told_what_kafka_would_tell_it() {
        assert_eq!(parse(&[]).unwrap().membership(), None);
        let member = parse(&[("group.id", "g")]).unwrap().membership().unwrap();
        assert_eq!(member.session_timeout, Duration::from_secs(45));
        assert_eq!(member.heartbeat_interval, Duration::from_secs(3));
        assert_eq!(member.poll_interval_max, Duration::from_secs(300));
        assert_eq!(member.auto_commit_interval, Some(Duration::from_secs(5)));
        assert_eq!(member.assignors, [Assignor::Range, Assignor::CooperativeSticky]);
        assert_eq!((member.instance, member.rack), (None, None));
        let class = "org.apache.kafka.clients.consumer.StickyAssignor, roundrobin,sticky";
        let pairs = [
            ("group.id", "g"),
            ("group.protocol", "classic"),
            ("enable.auto.commit", "false"),
            ("partition.assignment.strategy", class),
            ("client.rack", "r"),
        ];
        let member = parse(&pairs).unwrap().membership().unwrap();
        assert_eq!(member.assignors, [Assignor::Sticky, Assignor::RoundRobin]);
        assert_eq!(member.auto_commit_interval, None);
        assert_eq!(member.rack.as_deref(), Some("r"));
    }

    #[test]
    fn what_no_member_can_do_is_refused() {
        check(
            &[("partition.assignment.strategy", "range,uniform")],
            &expect![[
                r#"partition.assignment.strategy=uniform: one or several of range, roundrobin, sticky, cooperative-sticky"#
            ]],
        );
        check(
            &[("heartbeat.interval.ms", "6000"), ("session.timeout.ms", "6000")],
            &expect![[r#"heartbeat.interval.ms=6000: less than session.timeout.ms=6000"#]],
        );
        check(
            &[("group.protocol", "comsumer")],
            &expect![[
                r#"group.protocol=comsumer: one of classic, consumer; did you mean consumer?"#
            ]],
        );
    }

    #[test]
    fn what_the_other_protocol_reads_is_refused() {
        let read = [
            ("partition.assignment.strategy", "range"),
            ("session.timeout.ms", "45000"),
            ("heartbeat.interval.ms", "3000"),
        ];
        for (name, value) in read {
            let refused = parse(&[("group.protocol", "consumer"), (name, value)]).unwrap_err();
            let expected = format!("{name}={value}: cannot be set with group.protocol=consumer: ");
            assert!(refused.to_string().starts_with(&expected), "{refused}");
        }
        check(
            &[("group.remote.assignor", "uniform")],
            &expect![[
                r#"group.remote.assignor=uniform: cannot be set with group.protocol=classic: see partition.assignment.strategy"#
            ]],
        );
        let pairs =
            [("group.protocol", "CONSUMER"), ("group.id", "g"), ("group.remote.assignor", "range")];
        let member = parse(&pairs).unwrap().membership().unwrap();
        assert_eq!(member.protocol, GroupProtocol::Consumer);
        assert_eq!(member.remote_assignor.as_deref(), Some("range"));
    }
}
