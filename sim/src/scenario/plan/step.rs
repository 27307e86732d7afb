//! What is done to a cluster, and when.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::{PowerLoss, Properties, TimeDraw, one};
use crate::scenario::duration::Span;
use crate::scenario::target::{PartitionName, Target};

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
#[expect(missing_docs, reason = "`words/` says what each word and key means")]
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
        #[serde(flatten)]
        cut: Cut,
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
    AddBroker {},
    RemoveBroker {
        target: Target,
    },
    UnregisterBroker {
        target: Target,
    },
    #[serde(rename_all = "kebab-case")]
    Reassign {
        partition: Option<PartitionName>,
        #[serde(default)]
        replicas: Vec<u32>,
        away_from: Option<Target>,
        #[serde(default)]
        cancel: bool,
    },
    AddPartitions {
        topic: String,
        partitions: u32,
    },
    DeleteRecords {
        partition: PartitionName,
        before: Option<u64>,
    },
    #[serde(rename_all = "kebab-case")]
    ResetOffsets {
        group: String,
        #[serde(flatten)]
        way: ResetWay,
    },
    ElectPreferred {
        partition: Option<PartitionName>,
    },
    ElectUnclean {
        partition: Option<PartitionName>,
    },
    SetConfig {
        topic: Option<String>,
        target: Option<Target>,
        config: Properties,
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
            Self::AddBroker { .. } => "add-broker",
            Self::RemoveBroker { .. } => "remove-broker",
            Self::UnregisterBroker { .. } => "unregister-broker",
            Self::Reassign { .. } => "reassign",
            Self::AddPartitions { .. } => "add-partitions",
            Self::DeleteRecords { .. } => "delete-records",
            Self::ResetOffsets { .. } => "reset-offsets",
            Self::ElectPreferred { .. } => "elect-preferred",
            Self::ElectUnclean { .. } => "elect-unclean",
            Self::SetConfig { .. } => "set-config",
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
                | Self::AddBroker { .. }
                | Self::RemoveBroker { .. }
                | Self::Reassign { .. }
                | Self::AddPartitions { .. }
                | Self::DeleteRecords { .. }
                | Self::ResetOffsets { .. }
                | Self::ElectPreferred { .. }
                | Self::SetConfig { .. }
                | Self::Mark { .. }
        )
    }

    /// Whether a storm may let it come again and again: what breaks something, and what people ask of the controller and may ask of it
    /// any number of times.
    #[must_use]
    pub const fn may_come_again(&self) -> bool {
        // Who leaves in good order is no fault; that it does so again and again is a storm.
        self.is_fault()
            || matches!(
                self,
                Self::Reassign { .. } | Self::ElectPreferred { .. } | Self::StopClient { .. }
            )
    }

    /// What its targets may be.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        match self {
            Self::Kill { .. }
            | Self::PowerLoss { .. }
            | Self::Shutdown { .. }
            | Self::Wipe { .. }
            | Self::DiskSlow { .. }
            | Self::DiskFull { .. }
            | Self::DiskError { .. }
            | Self::Corrupt { .. }
            | Self::RemoveBroker { .. }
            | Self::UnregisterBroker { .. }
            | Self::Reassign { .. }
            | Self::SetConfig { .. } => Scope::Nodes,
            Self::StopClient { .. } | Self::KillClient { .. } => Scope::Clients,
            Self::Start { .. }
            | Self::Pause { .. }
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
            | Self::AddBroker { .. }
            | Self::AddPartitions { .. }
            | Self::DeleteRecords { .. }
            | Self::ResetOffsets { .. }
            | Self::ElectPreferred { .. }
            | Self::ElectUnclean { .. }
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
            | Self::KillClient { target }
            | Self::RemoveBroker { target }
            | Self::UnregisterBroker { target } => vec![("target".into(), target)],
            Self::Partition { cut } => {
                cut.between.as_ref().map_or_else(Vec::new, |between| between.named().into())
            }
            Self::SlowLink { between, .. }
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
            Self::Reassign { away_from, .. } => {
                away_from.iter().map(|target| ("away-from".into(), target)).collect()
            }
            Self::SetConfig { target, .. } => {
                target.iter().map(|target| ("target".into(), target)).collect()
            }
            Self::AddClient { .. }
            | Self::AddBroker { .. }
            | Self::AddPartitions { .. }
            | Self::DeleteRecords { .. }
            | Self::ResetOffsets { .. }
            | Self::ElectPreferred { .. }
            | Self::ElectUnclean { .. }
            | Self::Mark { .. } => Vec::new(),
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

/// Where the network is cut: between two sides, or in a shape.
#[derive(Clone, Debug, Deserialize)]
pub struct Cut {
    /// The two sides.
    pub between: Option<Sides>,
    /// The shape, drawn by the seed.
    pub shape: Option<CutShape>,
    /// Which nodes have the shape; every node of the cluster, where nobody says.
    pub among: Option<Target>,
    /// Which way it works.
    #[serde(default)]
    pub direction: Direction,
}

/// How a cut lies among nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutShape {
    /// One node apart from all others.
    One,
    /// Two halves.
    Halves,
    /// Each node reaches a majority, and no two the same one.
    MajoritiesRing,
    /// Two halves, and one node that reaches both.
    Bridge,
}

impl CutShape {
    /// Its word in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Halves => "halves",
            Self::MajoritiesRing => "majorities-ring",
            Self::Bridge => "bridge",
        }
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

/// Where a group is to go on: exactly one of these is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResetWay {
    /// At a place with a name.
    pub to: Option<ResetTo>,
    /// At this offset.
    pub to_offset: Option<u64>,
    /// So far from where it is.
    pub shift_by: Option<i64>,
    /// At the first record that is not older than this.
    pub by_duration: Option<Span>,
    /// At the first record since this moment of the run.
    pub to_datetime: Option<Span>,
    /// In each of these partitions here, and nowhere else.
    pub from_file: Option<BTreeMap<PartitionName, u64>>,
}

/// A place with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResetTo {
    /// The start of each log.
    Earliest,
    /// Its end.
    Latest,
    /// Where the group is.
    Current,
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
