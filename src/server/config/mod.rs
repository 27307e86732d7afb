//! `server.properties`, read into typed fields before anything starts.
//!
//! `table.rs` says which properties there are; here they are read, checked one by one and against each other, and
//! turned into the values the node uses. Unknown names are errors with the nearest known one (Kafka itself only warns).

mod cluster;
pub(super) mod dynamic;
pub mod endpoint;
mod error;
mod groups;
pub mod properties;
pub mod table;
pub mod topic;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::log::ConfigMap;
use crate::types::BrokerId;
pub use cluster::{LeaderBalanceConfig, ProcessRoles, QuorumConfig, ReplicationConfig};
pub use endpoint::Endpoint;
pub use error::{ConfigError, ConfigWarning, Problem, nearest_names};
pub use groups::{GroupsConfig, OffsetsTopicConfig};
use properties::parse_properties;
use table::{Class, Kind, Range, Row};

/// A node's configuration: typed, checked, complete. Each field names Kafka's property.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `node.id`.
    pub node_id: BrokerId,
    /// `process.roles`.
    pub roles: ProcessRoles,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `listeners` without those of the controller: what the broker binds. Empty where the node is no broker.
    pub listeners: Vec<Endpoint>,
    /// `listeners` that `controller.listener.names` names: what the controller binds. Empty where the node is no controller.
    pub controller_listeners: Vec<Endpoint>,
    /// `advertised.listeners` without those of the controller; each has a listener of the same name. A port of 0 is
    /// replaced by the bound one, an empty host by `localhost`.
    pub advertised_listeners: Vec<Endpoint>,
    /// `inter.broker.listener.name`; `PLAINTEXT` where the node is no broker and calls none.
    pub inter_broker_listener_name: String,
    /// `controller.quorum.*`.
    pub quorum: QuorumConfig,
    /// `replica.*`.
    pub replication: ReplicationConfig,
    /// `group.*`, `offsets.*`.
    pub groups: GroupsConfig,
    /// `leader.imbalance.*`; `None` where `auto.leader.rebalance.enable` is off.
    pub leader_balance: Option<LeaderBalanceConfig>,
    /// `log.dirs`, or `log.dir`: never empty, no directory twice.
    pub log_dirs: Vec<PathBuf>,
    /// `metadata.log.dir`, or the first of `log.dirs`.
    pub metadata_log_dir: PathBuf,
    /// `num.partitions`.
    pub partitions_default: i32,
    /// `default.replication.factor`.
    pub replication_factor_default: i16,
    /// `min.insync.replicas`, where a topic does not set it.
    pub min_insync_replicas_default: i32,
    /// `unclean.leader.election.enable`, where a topic does not set it.
    pub unclean_leader_election_default: bool,
    /// `metadata.log.segment.bytes`.
    pub metadata_segment_bytes: u64,
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub metadata_snapshot_bytes: u64,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// `socket.request.max.bytes`.
    pub request_bytes_max: usize,
    /// `fetch.max.bytes`.
    pub fetch_bytes_max: usize,
    /// `connections.max.idle.ms`; `None` for never.
    pub connection_idle_max: Option<Duration>,
    /// `max.connections`.
    pub connections_max: usize,
    /// `max.connections.per.ip`.
    pub connections_per_address_max: usize,
    /// `request.timeout.ms`: how long the broker waits for the controller.
    pub request_timeout: Duration,
    /// `controller.socket.timeout.ms`: how long one attempt to ask the controller may go without an answer.
    pub controller_socket_timeout: Duration,
    /// `socket.connection.setup.timeout.ms`: of connections to other nodes.
    pub connection_setup_timeout: Duration,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions_max: usize,
    /// `controlled.shutdown.enable`.
    pub controlled_shutdown: bool,
    /// `initial.broker.registration.timeout.ms`.
    pub registration_timeout: Duration,
    /// `broker.heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `broker.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval: Duration,
    /// `log.flush.scheduler.interval.ms`; `None` for never.
    pub flush_check_interval: Option<Duration>,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub recovery_point_checkpoint_interval: Duration,
    /// `log.flush.start.offset.checkpoint.interval.ms`.
    pub log_start_checkpoint_interval: Duration,
    /// `replica.high.watermark.checkpoint.interval.ms`.
    pub high_watermark_checkpoint_interval: Duration,
    /// `producer.id.expiration.ms`.
    pub producer_expiration: Duration,
    /// `producer.id.expiration.check.interval.ms`.
    pub producer_expiration_check_interval: Duration,
    /// `ottla.fetch.verify`.
    pub fetch_verify: bool,
    /// `ottla.fetch.tail.bytes`: memory for the newest batches of all partitions, which most readers want. An idle node stays below
    /// 50 MB with the default.
    pub fetch_tail_bytes: usize,
    settings: BTreeMap<String, Setting>,
}

/// A property as it was set: its text and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value as text, without blanks around it.
    pub text: String,
    /// Where it was set.
    pub source: Source,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This line of the file.
    Line(u32),
    /// The command line.
    Override,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Override => f.write_str("--override"),
        }
    }
}

/// How strictly to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// Unknown names are warnings, as in Kafka (`--allow-unknown`).
    pub allow_unknown: bool,
}

impl Config {
    /// Reads a file's text; `overrides` win over it.
    ///
    /// Errors: all problems found, each with its line and what to do.
    pub fn parse(
        text: &str,
        overrides: &BTreeMap<String, String>,
    ) -> Result<(Self, Vec<ConfigWarning>), ConfigError> {
        Self::parse_with(text, overrides, ParseOptions::default())
    }

    /// [`Config::parse`] with options.
    pub fn parse_with(
        text: &str,
        overrides: &BTreeMap<String, String>,
        options: ParseOptions,
    ) -> Result<(Self, Vec<ConfigWarning>), ConfigError> {
        let mut reader = Reader::read(text, overrides, options)?;
        reader.check_each();
        let config = reader.build();
        match config {
            Some(config) if reader.problems.is_empty() => Ok((config, reader.warnings)),
            Some(_) | None => Err(ConfigError { problems: reader.problems }),
        }
    }

    /// What was set in the file or by an override, by name.
    #[must_use]
    pub fn settings(&self) -> &BTreeMap<String, Setting> {
        &self.settings
    }

    /// What was set, as the log's configuration takes it: the defaults of topics' configs.
    #[must_use]
    pub fn broker_configs(&self) -> ConfigMap {
        let set = self.settings.iter();
        set.map(|(name, setting)| (name.clone(), setting.text.clone())).collect()
    }

    /// The value of a property as text: as set, or Kafka's default; `None` where there is neither.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        text_of(&self.settings, name)
    }
}

fn text_of<'a>(settings: &'a BTreeMap<String, Setting>, name: &str) -> Option<&'a str> {
    match settings.get(name) {
        Some(setting) => Some(&setting.text),
        None => table::row(name).and_then(|row| row.default),
    }
}

/// Collects settings, problems and warnings, so that one run tells all that is wrong.
struct Reader {
    settings: BTreeMap<String, Setting>,
    problems: Vec<Problem>,
    warnings: Vec<ConfigWarning>,
    options: ParseOptions,
}

impl Reader {
    fn read(
        text: &str,
        overrides: &BTreeMap<String, String>,
        options: ParseOptions,
    ) -> Result<Self, ConfigError> {
        let properties = parse_properties(text).map_err(|error| ConfigError {
            problems: vec![Problem {
                what: "the file is not in Java's properties syntax".to_owned(),
                place: format!("line {}", error.line),
                why: error.problem.to_owned(),
                next: "write a backslash as \\\\".to_owned(),
            }],
        })?;
        let mut settings: BTreeMap<String, Setting> = BTreeMap::new();
        let mut warnings = Vec::new();
        for property in properties {
            let source = Source::Line(property.line);
            let setting = Setting { text: property.value.trim().to_owned(), source };
            if let Some(earlier) = settings.insert(property.key.clone(), setting) {
                let name = property.key;
                let (line, place) = (property.line, earlier.source);
                warnings.push(ConfigWarning::SetTwice { name, line, earlier: place.to_string() });
            }
        }
        for (name, value) in overrides {
            let setting = Setting { text: value.trim().to_owned(), source: Source::Override };
            settings.insert(name.clone(), setting);
        }
        Ok(Self { settings, problems: Vec::new(), warnings, options })
    }

    /// Checks each setting for itself, and drops those that are not readable so that the defaults stand in for them.
    fn check_each(&mut self) {
        let mut inert = Vec::new();
        let mut unreadable = Vec::new();
        for (name, setting) in &self.settings {
            let Some(row) = table::row(name) else {
                let (problem, warning) = unknown(name, setting, self.options);
                self.problems.extend(problem);
                self.warnings.extend(warning);
                unreadable.push(name.clone());
                continue;
            };
            match row.class {
                Class::Used => {}
                Class::Mapped => self
                    .warnings
                    .push(ConfigWarning::Mapped { name: name.clone(), how: row.doc.to_owned() }),
                Class::Inert => inert.push(name.clone()),
                Class::Refused(instead) => {
                    self.problems.push(refused(name, setting, instead));
                    continue;
                }
            }
            if let Err(why) = check_value(row, &setting.text) {
                self.problems.push(Problem {
                    what: format!("{name}={} is not allowed", shown(row, &setting.text)),
                    place: setting.source.to_string(),
                    why,
                    next: next_for(row),
                });
                unreadable.push(name.clone());
            }
        }
        for name in unreadable {
            self.settings.remove(&name);
        }
        if !inert.is_empty() {
            self.warnings.push(ConfigWarning::Inert { names: inert });
        }
    }

    fn build(&mut self) -> Option<Config> {
        let node_id = self.node_id();
        let roles = self.roles();
        let quorum = self.quorum(node_id, roles);
        let replication = self.replication();
        let groups = self.groups();
        self.check_against_each_other();
        let listeners = self.listeners(roles.unwrap_or(ProcessRoles::Combined));
        let log_dirs = self.log_dirs();
        let listeners = listeners?;
        let log_dirs = log_dirs?;
        let metadata_log_dir =
            self.text("metadata.log.dir").map_or_else(|| log_dirs[0].clone(), PathBuf::from);
        Some(Config {
            node_id: node_id?,
            roles: roles?,
            rack: self.text("broker.rack").map(str::to_owned),
            listeners: listeners.broker,
            controller_listeners: listeners.controller,
            advertised_listeners: listeners.advertised,
            inter_broker_listener_name: listeners.inter_broker,
            quorum,
            replication,
            groups,
            leader_balance: self.leader_balance(),
            log_dirs,
            metadata_log_dir,
            partitions_default: self.int("num.partitions"),
            replication_factor_default: i16::try_from(self.int("default.replication.factor"))
                .unwrap_or(i16::MAX),
            min_insync_replicas_default: self.int("min.insync.replicas"),
            unclean_leader_election_default: self.boolean("unclean.leader.election.enable"),
            metadata_segment_bytes: self.bytes("metadata.log.segment.bytes"),
            metadata_snapshot_bytes: self.bytes("metadata.log.max.record.bytes.between.snapshots"),
            auto_create_topics: self.boolean("auto.create.topics.enable"),
            delete_topics: self.boolean("delete.topic.enable"),
            request_bytes_max: self.size("socket.request.max.bytes"),
            fetch_bytes_max: self.size("fetch.max.bytes"),
            connection_idle_max: self.span_or_never("connections.max.idle.ms"),
            connections_max: self.size("max.connections"),
            connections_per_address_max: self.size("max.connections.per.ip"),
            request_timeout: self.span("request.timeout.ms"),
            controller_socket_timeout: self.span("controller.socket.timeout.ms"),
            connection_setup_timeout: self.span("socket.connection.setup.timeout.ms"),
            fetch_sessions_max: self.size("max.incremental.fetch.session.cache.slots"),
            controlled_shutdown: self.boolean("controlled.shutdown.enable"),
            registration_timeout: self.span("initial.broker.registration.timeout.ms"),
            heartbeat_interval: self.span("broker.heartbeat.interval.ms"),
            session_timeout: self.span("broker.session.timeout.ms"),
            retention_check_interval: self.span("log.retention.check.interval.ms"),
            flush_check_interval: self.span_or_never("log.flush.scheduler.interval.ms"),
            recovery_point_checkpoint_interval: self
                .span("log.flush.offset.checkpoint.interval.ms"),
            log_start_checkpoint_interval: self
                .span("log.flush.start.offset.checkpoint.interval.ms"),
            high_watermark_checkpoint_interval: self
                .span("replica.high.watermark.checkpoint.interval.ms"),
            producer_expiration: self.span("producer.id.expiration.ms"),
            producer_expiration_check_interval: self
                .span("producer.id.expiration.check.interval.ms"),
            fetch_verify: self.boolean("ottla.fetch.verify"),
            fetch_tail_bytes: self.size("ottla.fetch.tail.bytes"),
            settings: self.settings.clone(),
        })
    }

    fn node_id(&mut self) -> Option<BrokerId> {
        let Some(text) = self.text("node.id") else {
            self.missing("node.id", "every node has a number of its own", "node.id=1");
            return None;
        };
        let node_id: i32 = text.parse().ok()?;
        let broker_id = self.int("broker.id");
        if broker_id >= 0 && broker_id != node_id {
            self.conflict(
                "broker.id",
                format!("broker.id={broker_id} and node.id={node_id} name different nodes"),
                "they are the old and the new name of one thing",
                "remove broker.id",
            );
        }
        BrokerId::from_wire(node_id)
    }

    fn check_against_each_other(&mut self) {
        if self.span("broker.heartbeat.interval.ms") >= self.span("broker.session.timeout.ms") {
            self.conflict(
                "broker.session.timeout.ms",
                "broker.session.timeout.ms is not above broker.heartbeat.interval.ms".to_owned(),
                "the controller would fence the broker between two heartbeats",
                "set it to three heartbeats or more",
            );
        }
        let retention = ["log.retention.ms", "log.retention.minutes", "log.retention.hours"];
        for name in retention {
            if self.text(name) == Some("0") {
                self.conflict(
                    name,
                    format!("{name}=0 would keep nothing"),
                    "a retention time is -1 for ever, or 1 and more",
                    "set one of these",
                );
            }
        }
        if self.list("log.cleanup.policy").iter().any(|policy| policy == "compact") {
            self.conflict(
                "log.cleanup.policy",
                "log.cleanup.policy=compact is not built in yet".to_owned(),
                "records would be kept for ever instead",
                "set log.cleanup.policy=delete",
            );
        }
    }

    fn listeners(&mut self, roles: ProcessRoles) -> Option<endpoint::Listeners> {
        let raw = endpoint::RawListeners {
            roles,
            listeners: self.list("listeners"),
            advertised: self
                .settings
                .contains_key("advertised.listeners")
                .then(|| self.list("advertised.listeners")),
            protocol_map: self.list("listener.security.protocol.map"),
            protocol_map_is_set: self.settings.contains_key("listener.security.protocol.map"),
            controller_names: self.list("controller.listener.names"),
            inter_broker: self.text("inter.broker.listener.name").map(str::to_owned),
        };
        match endpoint::resolve(&raw) {
            Ok(listeners) => {
                self.check_listeners_of(roles, &listeners);
                for endpoint in &listeners.advertised {
                    if endpoint.host.is_empty() {
                        let name = endpoint.name.clone();
                        self.warnings.push(ConfigWarning::AdvertisesLocalhost { name });
                    }
                }
                Some(listeners)
            }
            Err(wrong) => {
                self.conflict(wrong.property, wrong.what, &wrong.why, wrong.next);
                None
            }
        }
    }

    fn log_dirs(&mut self) -> Option<Vec<PathBuf>> {
        if !self.settings.contains_key("log.dirs") && !self.settings.contains_key("log.dir") {
            let why = "Kafka's default, /tmp/kafka-logs, is lost at the next reboot";
            self.missing("log.dirs", why, "log.dirs=/var/lib/ottla");
            return None;
        }
        let name = if self.settings.contains_key("log.dirs") { "log.dirs" } else { "log.dir" };
        let mut dirs: Vec<PathBuf> = Vec::new();
        for dir in self.list(name).into_iter().map(PathBuf::from) {
            if dirs.contains(&dir) {
                let what = format!("{name} names {} twice", dir.display());
                let why = "two log directories in one place would overwrite each other";
                self.conflict(name, what, why, "name each directory once");
                return None;
            }
            dirs.push(dir);
        }
        if dirs.is_empty() {
            self.missing(name, "data must go somewhere", "log.dirs=/var/lib/ottla");
            return None;
        }
        Some(dirs)
    }

    fn missing(&mut self, name: &str, why: &str, line: &str) {
        self.problems.push(Problem {
            what: format!("{name} is not set"),
            place: "nowhere in the file".to_owned(),
            why: why.to_owned(),
            next: format!("add a line such as {line}"),
        });
    }

    fn conflict(&mut self, name: &str, what: String, why: &str, next: &str) {
        let place = self
            .settings
            .get(name)
            .map_or_else(|| "the default".to_owned(), |setting| setting.source.to_string());
        let (why, next) = (why.to_owned(), next.to_owned());
        self.problems.push(Problem { what, place, why, next });
    }

    fn text(&self, name: &str) -> Option<&str> {
        text_of(&self.settings, name)
    }

    fn list(&self, name: &str) -> Vec<String> {
        split_list(self.text(name).unwrap_or(""))
    }

    // The getters below are called for properties with a default, after `check_each` has removed what is not readable.

    fn long(&self, name: &str) -> i64 {
        let text = self.text(name).expect("the property has a default");
        text.parse().expect("the value was checked")
    }

    fn int(&self, name: &str) -> i32 {
        i32::try_from(self.long(name)).expect("the value was checked")
    }

    fn size(&self, name: &str) -> usize {
        usize::try_from(self.long(name)).expect("the range was checked")
    }

    fn bytes(&self, name: &str) -> u64 {
        u64::try_from(self.long(name)).expect("the range was checked")
    }

    fn boolean(&self, name: &str) -> bool {
        self.text(name).expect("the property has a default").eq_ignore_ascii_case("true")
    }

    fn span(&self, name: &str) -> Duration {
        Duration::from_millis(u64::try_from(self.long(name)).unwrap_or(0))
    }

    /// `None` where the value is negative or Java's largest number: both mean never.
    fn span_or_never(&self, name: &str) -> Option<Duration> {
        let millis = u64::try_from(self.long(name)).ok()?;
        (millis < u64::MAX >> 1).then(|| Duration::from_millis(millis))
    }
}

fn unknown(
    name: &str,
    setting: &Setting,
    options: ParseOptions,
) -> (Option<Problem>, Option<ConfigWarning>) {
    if let Some(reason) = table::refused_family(name) {
        return (Some(refused(name, setting, reason)), None);
    }
    if options.allow_unknown {
        return (None, Some(ConfigWarning::Unknown { name: name.to_owned() }));
    }
    let nearest = nearest_names(name, table::ROWS.iter().map(|row| row.name));
    let next = match nearest.as_slice() {
        [] => "remove it, or start with --allow-unknown".to_owned(),
        names => {
            format!("did you mean {}? (--allow-unknown ignores unknown names)", names.join(", "))
        }
    };
    let problem = Problem {
        what: format!("{name} is not a property of Kafka's"),
        place: setting.source.to_string(),
        why: "a misspelled property would silently have no effect".to_owned(),
        next,
    };
    (Some(problem), None)
}

fn refused(name: &str, setting: &Setting, instead: &str) -> Problem {
    Problem {
        what: format!("{name} is refused"),
        place: setting.source.to_string(),
        why: "what it sets is not there, and ignoring it would hide that".to_owned(),
        next: instead.to_owned(),
    }
}

/// The elements of a list: blanks around them and empty ones dropped.
#[must_use]
pub fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

fn shown<'a>(row: &Row, text: &'a str) -> &'a str {
    if row.kind == Kind::Password { "[hidden]" } else { text }
}

fn next_for(row: &Row) -> String {
    match row.default {
        Some(default) if !default.is_empty() => format!("Kafka's default is {default}"),
        Some(_) | None => "correct or remove it".to_owned(),
    }
}

/// Whether `text` is a value of the row's kind and in its range; else what it must be.
pub fn check_value(row: &Row, text: &str) -> Result<(), String> {
    check_text(row.kind, row.range, text)
}

/// Whether `text` is a value of this kind in this range; else what it must be.
///
/// Kafka: `ConfigDef.parseType` and its validators.
pub fn check_text(kind: Kind, range: Range, text: &str) -> Result<(), String> {
    let wrong_kind = || format!("it must be {}", table::kind_in_words(kind));
    let wrong_range = || format!("it must be {}", table::range_in_words(range));
    let number: Option<i64> = match kind {
        Kind::Boolean => {
            let known = text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false");
            if !known {
                return Err(wrong_kind());
            }
            None
        }
        Kind::Short => Some(text.parse::<i16>().map_err(|_| wrong_kind())?.into()),
        Kind::Int => Some(text.parse::<i32>().map_err(|_| wrong_kind())?.into()),
        Kind::Long => Some(text.parse::<i64>().map_err(|_| wrong_kind())?),
        Kind::Double => {
            let number: f64 = text.parse().map_err(|_| wrong_kind())?;
            return if is_double_in_range(number, range) { Ok(()) } else { Err(wrong_range()) };
        }
        Kind::String | Kind::List | Kind::Class | Kind::Password => None,
    };
    let in_range = match (range, number) {
        (Range::Any, _) | (Range::AtLeast(_) | Range::Between(..), None) => true,
        (Range::AtLeast(least), Some(number)) => number >= least,
        (Range::Between(least, most), Some(number)) => (least..=most).contains(&number),
        (Range::OneOf(words), _) if kind == Kind::List => {
            split_list(text).iter().all(|one| words.contains(&one.as_str()))
        }
        (Range::OneOf(words), _) => words.contains(&text),
    };
    if in_range { Ok(()) } else { Err(wrong_range()) }
}

#[expect(clippy::cast_precision_loss, reason = "the limits in the tables are small")]
fn is_double_in_range(number: f64, range: Range) -> bool {
    match range {
        Range::Any | Range::OneOf(_) => !number.is_nan(),
        Range::AtLeast(least) => number >= least as f64,
        Range::Between(least, most) => number >= least as f64 && number <= most as f64,
    }
}

#[cfg(test)]
mod tests;
