//! A scenario as types: what one seed of one variant does. Made from a checked file whose draws are resolved.
mod chaos;
mod expectation;
mod step;

pub use chaos::{ChaosFault, ChaosPlan, EVENT, Keep};
pub use expectation::{Expectation, ExpectationKind, Gave, Of, OfGroup, OverSeeds};
pub use step::{
    Action, Cut, CutShape, Direction, DiskOperation, Frames, ResetTo, ResetWay, Scope, Sides,
    SignedSpan, Step, When,
};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::draw::{Draw, Unit};
use super::duration::Span;

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
    #[serde(skip)]
    /// What the seed drew for the file's fields, as the command line would set it: `/cluster/brokers=5`.
    pub drawn: Vec<String>,
    /// How much simulated time the clients work.
    pub run_for: Span,
    /// When every fault ends; at the end of `run_for` where the file does not say.
    pub heal_at: Option<Span>,
    /// What is healed then.
    #[serde(default)]
    pub heal: Heal,
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
    /// What is done to them at random.
    pub chaos: Option<ChaosPlan>,
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

    /// Copies of each partition of a topic.
    #[must_use]
    pub fn replication_factor(&self, topic: &TopicPlan) -> u16 {
        let usual = u16::try_from(self.cluster.brokers.min(3)).unwrap_or(3);
        topic.replication_factor.unwrap_or(usual)
    }

    /// How many brokers there are at most: those of the start, and those that steps add.
    #[must_use]
    pub fn brokers_ever(&self) -> u32 {
        let added = self.timeline.iter().filter(|step| matches!(step.action, Action::AddBroker {}));
        self.cluster.brokers.saturating_add(u32::try_from(added.count()).unwrap_or(u32::MAX))
    }

    /// The consumer groups, each with the topics that its members subscribe to.
    #[must_use]
    pub fn groups(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for workload in self.workloads.values() {
            if let Some(group) = workload.group() {
                groups.entry(group).or_default().extend(workload.topics());
            }
        }
        groups
    }

    /// How many partitions a topic has at most: those of the start, and those that steps add. 0 for a topic that the file does not know.
    #[must_use]
    pub fn partitions_ever(&self, topic: &str) -> u32 {
        let added = self.timeline.iter().filter_map(|step| {
            let Action::AddPartitions { topic: of, partitions } = &step.action else { return None };
            (of == topic).then_some(*partitions)
        });
        let at_start = self.topics.get(topic).map_or(0, |topic| topic.partitions);
        added.fold(at_start, u32::max)
    }

    /// Whether something is broken on purpose.
    #[must_use]
    pub fn has_faults(&self) -> bool {
        self.chaos.is_some() || self.timeline.iter().any(|step| step.action.is_fault())
    }

    /// Whether the invariant called `name` is switched off.
    #[must_use]
    pub fn is_without(&self, name: &str) -> bool {
        self.without.iter().any(|without| without.name == name)
    }
}

/// What is healed where faults end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heal {
    /// Everything.
    #[default]
    All,
    /// A core that should be able to work. Who is dead outside of it stays dead, who runs stands still.
    Core,
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
    /// How many voters the metadata quorum has.
    pub controllers: Option<u32>,
    /// Whether the voters are brokers too.
    pub combined: Option<bool>,
    /// `broker.rack` of the brokers, over and over; none where empty.
    pub racks: Vec<String>,
    /// How many directories in `log.dirs`.
    pub log_dirs: u32,
}

impl Default for ClusterPlan {
    fn default() -> Self {
        Self { brokers: 1, controllers: None, combined: None, racks: Vec::new(), log_dirs: 1 }
    }
}

impl ClusterPlan {
    /// Whether the voters are brokers too: where nobody says so and no controllers are asked for.
    #[must_use]
    pub fn is_combined(&self) -> bool {
        self.combined.unwrap_or(self.controllers.is_none())
    }

    /// How many voters the metadata quorum has: all brokers, where nobody says.
    #[must_use]
    pub fn voters(&self) -> u32 {
        self.controllers.unwrap_or(self.brokers)
    }

    /// How many nodes are controllers and nothing else.
    #[must_use]
    pub fn controllers_apart(&self) -> u32 {
        if self.is_combined() { 0 } else { self.voters() }
    }

    /// `broker.rack` of a broker.
    #[must_use]
    pub fn rack(&self, id: u32) -> Option<&str> {
        let index = id.saturating_sub(1) as usize;
        let at = index.checked_rem(self.racks.len())?;
        self.racks.get(at).map(String::as_str)
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
    /// Copies of each; where nobody says, as many as there are brokers, but three at most.
    pub replication_factor: Option<u16>,
    /// Whose replicas are where: for each partition the ids of its brokers, the preferred leader first.
    pub assignment: Vec<Vec<u32>>,
    /// The topic's properties.
    pub config: Properties,
}

impl Default for TopicPlan {
    fn default() -> Self {
        Self {
            partitions: 1,
            replication_factor: None,
            assignment: Vec::new(),
            config: Properties::default(),
        }
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

impl WorkloadPlan {
    /// The group that its clients are members of.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        match &self.kind {
            WorkloadKind::Consumer { group, .. } => group.as_deref(),
            WorkloadKind::Producer { .. } => None,
        }
    }

    /// The topics that its clients use.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        let more = match &self.kind {
            WorkloadKind::Consumer { topics, .. } => topics.as_slice(),
            WorkloadKind::Producer { .. } => &[],
        };
        std::iter::once(self.topic.as_str()).chain(more.iter().map(String::as_str))
    }
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
        /// `*`, or the numbers of partitions; all of them, where nobody says. Not with `group`.
        assign: Option<String>,
        /// Where they start.
        #[serde(default)]
        from: StartFrom,
        /// How long a poll waits for its first record.
        #[serde(default = "poll_timeout_default")]
        poll_timeout: Span,
        /// The group that they are members of.
        group: Option<String>,
        /// What they subscribe to besides `topic`.
        #[serde(default)]
        topics: Vec<String>,
        /// Whether each has a `group.instance.id`.
        #[serde(default)]
        static_members: bool,
        /// When they commit; only with `group`.
        commit: Option<CommitStyle>,
        /// How long a record takes; only with `group`.
        processing: Option<TimeDraw>,
        /// How long they read on before they go elsewhere; not with `group`.
        seek_every: Option<TimeDraw>,
        /// With how many records in hand members pause their partitions; they process beside polling then.
        pause_at: Option<u64>,
    },
}

fn rate_default() -> u64 {
    50
}

/// Half a second: long enough that an idle client asks seldom, short enough that it is soon asked to stop.
fn poll_timeout_default() -> Span {
    Span::from_nanos(500_000_000)
}

fn value_bytes_default() -> CountDraw {
    CountDraw(Draw::Fixed(100))
}

fn keys_default() -> u64 {
    8
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
    /// Nowhere: polls fail until somebody decides.
    None,
}

impl StartFrom {
    /// Its word in files, and Kafka's for `auto.offset.reset`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Earliest => "earliest",
            Self::Latest => "latest",
            Self::None => "none",
        }
    }
}

/// When the members of a group commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommitStyle {
    /// The client does so by itself, within `poll`.
    #[default]
    Auto,
    /// When all of a poll is processed, and they wait for the answer.
    AfterProcessing,
    /// When a poll has given records, before they are processed.
    BeforeProcessing,
    /// When all of a poll is processed, and they do not wait.
    Async,
    /// The same; and they wait where partitions are taken away, and at the end.
    AsyncAndSync,
    /// After each record, that partition's offset, and they wait.
    EachRecord,
    /// Never.
    Never,
    /// Never: where they are is kept beside the results, outside of the cluster, and each record's result is stored with it in one step.
    WithResults,
    /// The same; and a result is stored only where nobody has stored it.
    WithResultsFenced,
}

impl CommitStyle {
    /// Whether members keep where they are beside their results.
    #[must_use]
    pub const fn is_with_results(self) -> bool {
        match self {
            Self::WithResults | Self::WithResultsFenced => true,
            Self::Auto
            | Self::AfterProcessing
            | Self::BeforeProcessing
            | Self::Async
            | Self::AsyncAndSync
            | Self::EachRecord
            | Self::Never => false,
        }
    }
}

/// An invariant that is switched off.
#[derive(Clone, Debug, Deserialize)]
pub struct Without {
    /// The invariant.
    pub name: String,
    /// Why it cannot hold here.
    pub why: String,
}
