//! A scenario as types: what one seed of one variant does. Made from a checked file whose draws are resolved.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::condition::Condition;
use super::draw::{Draw, Unit};
use super::duration::Span;
use super::target::{PartitionName, Target};

/// What one seed of one variant does.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Plan {
    /// What the scenario shows.
    pub claim: String,
    /// Why it is so.
    pub why: Option<String>,
    #[serde(skip)]
    /// The seed that the draws were resolved with.
    pub seed: u64,
    /// How much simulated time the clients work.
    pub run_for: Span,
    /// When every fault ends; at the end of `run_for` where the file does not say.
    pub heal_at: Option<Span>,
    /// How long after `run_for` the cluster may take to answer everything.
    #[serde(default = "converge_within_default")]
    pub converge_within: Span,
    /// Whether loss is permitted where an expectation declares it.
    #[serde(default)]
    pub budget: Budget,
    /// The nodes.
    #[serde(default)]
    pub cluster: ClusterPlan,
    /// Properties of every broker.
    #[serde(default)]
    pub broker_config: Properties,
    /// How the network behaves when nothing is broken.
    #[serde(default)]
    pub network: NetworkPlan,
    /// How every disk behaves when nothing is broken.
    #[serde(default)]
    pub disk: DiskPlan,
    /// The topics.
    #[serde(default)]
    pub topics: BTreeMap<String, TopicPlan>,
    /// What clients do.
    #[serde(default)]
    pub workloads: BTreeMap<String, WorkloadPlan>,
    /// What is done to them.
    #[serde(default)]
    pub timeline: Vec<Step>,
    /// What must come of it.
    #[serde(default)]
    pub expect: Vec<Expectation>,
    /// Invariants that are switched off.
    #[serde(default)]
    pub without: Vec<Without>,
    /// Kept for the file, not for the run.
    #[serde(default, rename = "seeds")]
    _seeds: Value,
    #[serde(default, rename = "variants")]
    _variants: Value,
}

/// One minute: a broker's session, its restart, and a client's retries many times over.
fn converge_within_default() -> Span {
    Span::from_secs(60)
}

impl Plan {
    /// When every fault ends.
    #[must_use]
    pub fn heal_at(&self) -> Span {
        self.heal_at.unwrap_or(self.run_for)
    }

    /// The workloads whose acknowledged records the file says may be lost; `None` in it means any workload's.
    #[must_use]
    pub fn declared_losses(&self) -> Vec<Option<&str>> {
        let losses = self.expect.iter().filter_map(|expectation| {
            let ExpectationKind::AckedLost { of } = &expectation.kind else { return None };
            expectation.is.admits_more_than_zero().then_some(of.workload.as_deref())
        });
        if self.budget == Budget::Beyond { losses.collect() } else { Vec::new() }
    }

    /// Whether the invariant called `name` is switched off.
    #[must_use]
    pub fn is_without(&self, name: &str) -> bool {
        self.without.iter().any(|without| without.name == name)
    }
}

/// Which faults a scenario may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Budget {
    /// No acknowledged record may be lost.
    #[default]
    Tolerable,
    /// Loss is permitted where it is declared.
    Beyond,
}

/// Properties in Kafka's names, as their files write them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = BTreeMap::<String, Value>::deserialize(deserializer)?;
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
        Ok(Self(values.into_iter().map(|(name, value)| (name, text(value))).collect()))
    }
}

/// The nodes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ClusterPlan {
    /// How many brokers; their ids count from 1.
    pub brokers: u32,
    /// How many directories in `log.dirs`.
    pub log_dirs: u32,
}

impl Default for ClusterPlan {
    fn default() -> Self {
        Self { brokers: 1, log_dirs: 1 }
    }
}

/// A distribution over durations, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeDraw(pub Draw);

/// A distribution over numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountDraw(pub Draw);

impl<'de> Deserialize<'de> for TimeDraw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Draw::parse(&value, Unit::Time).map(Self).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for CountDraw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Draw::parse(&value, Unit::Count).map(Self).map_err(serde::de::Error::custom)
    }
}

/// How the network behaves when nothing is broken.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct NetworkPlan {
    /// One way, for each segment.
    pub latency: TimeDraw,
    /// Of each link and direction.
    pub bandwidth_bytes_per_s: u64,
    /// The chance that a segment is lost.
    pub loss: f64,
}

impl Default for NetworkPlan {
    fn default() -> Self {
        Self {
            latency: TimeDraw(Draw::LogNormal { p50: 300_000, p99: 3_000_000 }),
            bandwidth_bytes_per_s: 125_000_000,
            loss: 0.0,
        }
    }
}

/// How every disk behaves when nothing is broken.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct DiskPlan {
    /// The time of a read.
    pub read: TimeDraw,
    /// The time of a write into the page cache.
    pub write: TimeDraw,
    /// The time of a sync.
    pub sync: TimeDraw,
    /// The size of each log directory's disk; without end where missing.
    pub capacity_bytes: Option<u64>,
    /// What a power loss leaves of what was not synced.
    pub on_power_loss: PowerLoss,
}

impl Default for DiskPlan {
    fn default() -> Self {
        Self {
            read: TimeDraw(Draw::Fixed(0)),
            write: TimeDraw(Draw::Fixed(0)),
            sync: TimeDraw(Draw::Uniform { low: 1_000_000, high: 10_000_000 }),
            capacity_bytes: None,
            on_power_loss: PowerLoss::default(),
        }
    }
}

/// What a power loss leaves of what was not synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerLoss {
    /// Everything.
    KeepAll,
    /// Nothing.
    LoseUnsynced,
    /// Each block and directory entry goes or stays by a draw.
    #[default]
    LoseRandomUnsynced,
    /// Everything but the end of the last write.
    TornLastWrite,
}

/// A topic.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct TopicPlan {
    /// How many partitions.
    pub partitions: u32,
    /// Copies of each.
    pub replication_factor: u16,
    /// The topic's properties.
    pub config: Properties,
}

impl Default for TopicPlan {
    fn default() -> Self {
        Self { partitions: 1, replication_factor: 1, config: Properties::default() }
    }
}

/// What the clients of a workload do.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WorkloadPlan {
    /// How many clients, each on a machine of its own.
    #[serde(default = "one")]
    pub clients: u32,
    /// The topic they use.
    pub topic: String,
    /// When they start.
    #[serde(default)]
    pub start_at: Span,
    /// Their properties.
    #[serde(default)]
    pub config: Properties,
    /// What they do.
    #[serde(flatten)]
    pub kind: WorkloadKind,
}

fn one() -> u32 {
    1
}

/// What the clients of a workload do.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// They send.
    #[serde(rename_all = "kebab-case")]
    Producer {
        /// Records a second of each client.
        #[serde(default = "rate_default")]
        rate_per_s: u64,
        /// The size of a value.
        #[serde(default = "value_bytes_default")]
        value_bytes: CountDraw,
        /// How many different keys; 0 for none.
        #[serde(default = "keys_default")]
        keys: u64,
        /// How many records at most.
        records: Option<u64>,
    },
    /// They read.
    #[serde(rename_all = "kebab-case")]
    Consumer {
        /// `*`, or the numbers of partitions.
        #[serde(default = "assign_default")]
        assign: String,
        /// Where they start.
        #[serde(default)]
        from: StartFrom,
    },
}

fn rate_default() -> u64 {
    50
}

fn value_bytes_default() -> CountDraw {
    CountDraw(Draw::Fixed(100))
}

fn keys_default() -> u64 {
    8
}

fn assign_default() -> String {
    "*".into()
}

/// Where a consumer starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartFrom {
    /// At the start of the log.
    #[default]
    Earliest,
    /// At its end.
    Latest,
}

/// A step of the timeline.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// A name for later steps and the report.
    pub id: Option<String>,
    /// When: this long after the clients started.
    pub at: Option<Span>,
    /// When: after this step.
    pub after: Option<String>,
    /// When: as soon as this happens.
    pub when: Option<When>,
    /// How long to wait after that.
    #[serde(default)]
    pub delay: Span,
    /// A remark for the report.
    pub why: Option<String>,
    /// Keeps what the target was.
    pub save_as: Option<String>,
    /// How long the fault lasts.
    #[serde(rename = "for")]
    pub lasts: Option<Span>,
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
}

impl Step {
    /// How messages and the story call the step: its id, or its place in the file.
    #[must_use]
    pub fn label(&self, index: usize) -> String {
        self.id.clone().unwrap_or_else(|| format!("step {}", index + 1))
    }
}

/// An event to wait for.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct When {
    /// Its name.
    pub event: String,
    /// Which one; events of records count records.
    #[serde(default = "first")]
    pub nth: u64,
    /// Only of this partition.
    pub partition: Option<PartitionName>,
    /// Only of this node or client.
    pub node: Option<Target>,
    /// Only with this error.
    pub error: Option<String>,
    /// Only after this time.
    pub from: Option<Span>,
}

fn first() -> u64 {
    1
}

/// What a step does.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "`words.rs` says what each word and key means")]
pub enum Action {
    Kill {
        target: Target,
    },
    Start {
        target: Target,
    },
    PowerLoss {
        target: Target,
        mode: Option<PowerLoss>,
    },
    Shutdown {
        target: Target,
    },
    Pause {
        target: Target,
    },
    Resume {
        target: Target,
    },
    Wipe {
        target: Target,
    },
    Partition {
        between: Sides,
        #[serde(default)]
        direction: Direction,
    },
    Heal {
        between: Option<Sides>,
    },
    #[serde(rename_all = "kebab-case")]
    SlowLink {
        between: Sides,
        latency: Option<TimeDraw>,
        bandwidth_bytes_per_s: Option<u64>,
    },
    Loss {
        between: Sides,
        chance: f64,
    },
    Reset {
        between: Sides,
    },
    DropRequest {
        #[serde(flatten)]
        frames: Frames,
    },
    DropResponse {
        #[serde(flatten)]
        frames: Frames,
    },
    DelayRequest {
        #[serde(flatten)]
        frames: Frames,
        by: TimeDraw,
    },
    DelayResponse {
        #[serde(flatten)]
        frames: Frames,
        by: TimeDraw,
    },
    DuplicateRequest {
        #[serde(flatten)]
        frames: Frames,
    },
    #[serde(rename_all = "kebab-case")]
    DiskSlow {
        target: Target,
        read: Option<TimeDraw>,
        write: Option<TimeDraw>,
        sync: Option<TimeDraw>,
    },
    #[serde(rename_all = "kebab-case")]
    DiskFull {
        target: Target,
        #[serde(default)]
        free_bytes: u64,
    },
    #[serde(rename_all = "kebab-case")]
    DiskError {
        target: Target,
        log_dir: Option<u32>,
        operation: DiskOperation,
        #[serde(default = "certain")]
        chance: f64,
        count: Option<u64>,
    },
    #[serde(rename_all = "kebab-case")]
    Corrupt {
        target: Target,
        log_dir: Option<u32>,
        file: String,
        #[serde(default = "one")]
        bits: u32,
    },
    ClockJump {
        target: Target,
        by: SignedSpan,
    },
    ClockDrift {
        target: Target,
        ppm: i64,
    },
    AddClient {
        workload: String,
    },
    StopClient {
        target: Target,
    },
    KillClient {
        target: Target,
    },
    Mark {
        text: String,
    },
}

fn certain() -> f64 {
    1.0
}

impl Action {
    /// Its word in files.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::Start { .. } => "start",
            Self::PowerLoss { .. } => "power-loss",
            Self::Shutdown { .. } => "shutdown",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::Wipe { .. } => "wipe",
            Self::Partition { .. } => "partition",
            Self::Heal { .. } => "heal",
            Self::SlowLink { .. } => "slow-link",
            Self::Loss { .. } => "loss",
            Self::Reset { .. } => "reset",
            Self::DropRequest { .. } => "drop-request",
            Self::DropResponse { .. } => "drop-response",
            Self::DelayRequest { .. } => "delay-request",
            Self::DelayResponse { .. } => "delay-response",
            Self::DuplicateRequest { .. } => "duplicate-request",
            Self::DiskSlow { .. } => "disk-slow",
            Self::DiskFull { .. } => "disk-full",
            Self::DiskError { .. } => "disk-error",
            Self::Corrupt { .. } => "corrupt",
            Self::ClockJump { .. } => "clock-jump",
            Self::ClockDrift { .. } => "clock-drift",
            Self::AddClient { .. } => "add-client",
            Self::StopClient { .. } => "stop-client",
            Self::KillClient { .. } => "kill-client",
            Self::Mark { .. } => "mark",
        }
    }

    /// Whether it breaks something: then an expectation must show that it did.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        !matches!(
            self,
            Self::Start { .. }
                | Self::Resume { .. }
                | Self::Heal { .. }
                | Self::AddClient { .. }
                | Self::StopClient { .. }
                | Self::Mark { .. }
        )
    }

    /// What its targets may be.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        match self {
            Self::Kill { .. }
            | Self::Start { .. }
            | Self::PowerLoss { .. }
            | Self::Shutdown { .. }
            | Self::Wipe { .. }
            | Self::DiskSlow { .. }
            | Self::DiskFull { .. }
            | Self::DiskError { .. }
            | Self::Corrupt { .. } => Scope::Nodes,
            Self::StopClient { .. } | Self::KillClient { .. } => Scope::Clients,
            Self::Pause { .. }
            | Self::Resume { .. }
            | Self::Partition { .. }
            | Self::Heal { .. }
            | Self::SlowLink { .. }
            | Self::Loss { .. }
            | Self::Reset { .. }
            | Self::DropRequest { .. }
            | Self::DropResponse { .. }
            | Self::DelayRequest { .. }
            | Self::DelayResponse { .. }
            | Self::DuplicateRequest { .. }
            | Self::ClockJump { .. }
            | Self::ClockDrift { .. }
            | Self::AddClient { .. }
            | Self::Mark { .. } => Scope::Any,
        }
    }

    /// Who it is done to, each with the key it stands under.
    #[must_use]
    pub fn targets(&self) -> Vec<(String, &Target)> {
        match self {
            Self::Kill { target }
            | Self::Start { target }
            | Self::PowerLoss { target, .. }
            | Self::Shutdown { target }
            | Self::Pause { target }
            | Self::Resume { target }
            | Self::Wipe { target }
            | Self::DiskSlow { target, .. }
            | Self::DiskFull { target, .. }
            | Self::DiskError { target, .. }
            | Self::Corrupt { target, .. }
            | Self::ClockJump { target, .. }
            | Self::ClockDrift { target, .. }
            | Self::StopClient { target }
            | Self::KillClient { target } => vec![("target".into(), target)],
            Self::Partition { between, .. }
            | Self::SlowLink { between, .. }
            | Self::Loss { between, .. }
            | Self::Reset { between } => between.named().into(),
            Self::Heal { between } => {
                between.as_ref().map_or_else(Vec::new, |between| between.named().into())
            }
            Self::DropRequest { frames }
            | Self::DropResponse { frames }
            | Self::DelayRequest { frames, .. }
            | Self::DelayResponse { frames, .. }
            | Self::DuplicateRequest { frames } => {
                frames.between.as_ref().map_or_else(Vec::new, |between| between.named().into())
            }
            Self::AddClient { .. } | Self::Mark { .. } => Vec::new(),
        }
    }
}

/// What the targets of an action may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Only nodes.
    Nodes,
    /// Only clients.
    Clients,
    /// Both.
    Any,
}

/// The two sides of a fault of the network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Sides(pub Target, pub Target);

impl Sides {
    fn named(&self) -> [(String, &Target); 2] {
        [("between/0".into(), &self.0), ("between/1".into(), &self.1)]
    }
}

/// Which frames a fault hits.
#[derive(Clone, Debug, Deserialize)]
pub struct Frames {
    /// Those of this API.
    pub api: String,
    /// How likely each is hit.
    #[serde(default = "certain")]
    pub chance: f64,
    /// How many at most.
    pub count: Option<u64>,
    /// Only between these.
    pub between: Option<Sides>,
}

/// Which way a cut works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Nothing arrives on either side.
    #[default]
    Both,
    /// Nothing arrives on the second side.
    OneWay,
}

/// What fails on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskOperation {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Making durable.
    Sync,
}

impl DiskOperation {
    /// Its word in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
        }
    }
}

/// A duration with a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedSpan {
    /// Whether it goes back.
    pub is_negative: bool,
    /// How far.
    pub span: Span,
}

impl<'de> Deserialize<'de> for SignedSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span =
            Span::parse(text.trim_start_matches(['+', '-'])).map_err(serde::de::Error::custom)?;
        Ok(Self { is_negative: text.starts_with('-'), span })
    }
}

impl std::fmt::Display for SignedSpan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.is_negative { "-" } else { "+" }, self.span)
    }
}

/// What must come of a run.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Expectation {
    /// What the value must be.
    pub is: Condition,
    /// In which seeds.
    #[serde(default)]
    pub over_seeds: OverSeeds,
    /// Only in this variant; `-` is the file as it stands.
    pub variant: Option<String>,
    /// Whether it shows that the fault took effect.
    #[serde(default)]
    pub bites: bool,
    /// Why it must be so.
    pub why: Option<String>,
    /// Counts only from the first to the second.
    pub between: Option<(Span, Span)>,
    /// Counts only up to this time.
    pub by: Option<Span>,
    /// Counts only from this time on.
    pub after: Option<Span>,
    /// What is measured.
    #[serde(flatten)]
    pub kind: ExpectationKind,
}

/// In which seeds an expectation must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverSeeds {
    /// In each.
    #[default]
    Always,
    /// In at least one.
    Sometimes,
    /// In none.
    Never,
}

impl OverSeeds {
    /// Its word in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Sometimes => "sometimes",
            Self::Never => "never",
        }
    }
}

/// Which records, of all.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Of {
    /// Only of this workload.
    pub workload: Option<String>,
    /// Only of this partition.
    pub partition: Option<PartitionName>,
    /// Only with this error.
    pub error: Option<String>,
}

/// What is measured.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "that", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "`words.rs` says what each word and key means")]
pub enum ExpectationKind {
    Acked {
        #[serde(flatten)]
        of: Of,
    },
    AckedLost {
        #[serde(flatten)]
        of: Of,
    },
    FailedForGood {
        #[serde(flatten)]
        of: Of,
    },
    Unknown {
        #[serde(flatten)]
        of: Of,
    },
    UnknownLost {
        #[serde(flatten)]
        of: Of,
    },
    Error {
        #[serde(flatten)]
        of: Of,
    },
    DuplicatesInLog {
        #[serde(flatten)]
        of: Of,
    },
    ReorderedPerKey {
        #[serde(flatten)]
        of: Of,
    },
    Read {
        #[serde(flatten)]
        of: Of,
    },
    UnavailableFor {
        workload: Option<String>,
    },
    Latency {
        workload: Option<String>,
        #[serde(default = "percentile_default")]
        percentile: u64,
    },
    HwAdvance {
        partition: Option<PartitionName>,
    },
    Converged {},
    Event {
        event: String,
        node: Option<Target>,
        action: Option<String>,
        partition: Option<PartitionName>,
        error: Option<String>,
    },
    Violations {
        check: String,
    },
}

fn percentile_default() -> u64 {
    99
}

/// An invariant that is switched off.
#[derive(Clone, Debug, Deserialize)]
pub struct Without {
    /// The invariant.
    pub name: String,
    /// Why it cannot hold here.
    pub why: String,
}
