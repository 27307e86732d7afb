//! What must come of a run.

use serde::{Deserialize, Serialize};

use crate::scenario::condition::Condition;
use crate::scenario::duration::Span;
use crate::scenario::target::{PartitionName, Target};

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
    /// Whether reports set its values in all variants side by side.
    #[serde(default)]
    pub compare: bool,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// Which consumer groups, and what of them.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct OfGroup {
    /// Only this group.
    pub group: Option<String>,
    /// Only of this partition.
    pub partition: Option<PartitionName>,
}

/// What a poll gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gave {
    /// At least one.
    Records,
    /// None, for as long as it waited.
    Nothing,
}

impl Gave {
    /// Its word in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Nothing => "nothing",
        }
    }
}

/// What is measured.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "that", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "`words/` says what each word and key means")]
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
        partition: Option<PartitionName>,
    },
    Leader {
        partition: PartitionName,
        who: Target,
        at: Option<Span>,
    },
    LeaderlessFor {
        partition: Option<PartitionName>,
    },
    Isr {
        partition: Option<PartitionName>,
        at: Option<Span>,
    },
    ActiveControllers {
        at: Option<Span>,
    },
    ControllerGap {},
    MetadataIdentical {},
    Latency {
        workload: Option<String>,
        #[serde(default = "percentile_default")]
        percentile: u64,
    },
    HwAdvance {
        partition: Option<PartitionName>,
    },
    Batches {
        partition: Option<PartitionName>,
    },
    UnprocessedAcked {
        #[serde(flatten)]
        of: OfGroup,
    },
    ProcessedTwice {
        #[serde(flatten)]
        of: OfGroup,
    },
    ProcessedOutOfOrder {
        #[serde(flatten)]
        of: OfGroup,
    },
    PollRecords {
        workload: Option<String>,
    },
    PollWait {
        workload: Option<String>,
        gave: Option<Gave>,
        #[serde(default = "percentile_default")]
        percentile: u64,
    },
    KeysMoved {
        topic: Option<String>,
    },
    CommittedUnprocessed {
        #[serde(flatten)]
        of: OfGroup,
    },
    CommitMovesBack {
        #[serde(flatten)]
        of: OfGroup,
    },
    Lag {
        #[serde(flatten)]
        of: OfGroup,
        at: Option<Span>,
    },
    IdleFor {
        #[serde(flatten)]
        of: OfGroup,
    },
    Rebalances {
        group: Option<String>,
    },
    OwnersPerPartition {
        #[serde(flatten)]
        of: OfGroup,
    },
    UnownedFor {
        #[serde(flatten)]
        of: OfGroup,
    },
    Imbalance {
        group: String,
        at: Option<Span>,
    },
    PartitionsMoved {
        group: String,
    },
    InHand {
        group: Option<String>,
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

impl ExpectationKind {
    /// Whether only the reader shows it that reads everything once all has converged.
    #[must_use]
    pub const fn is_of_the_end(&self) -> bool {
        matches!(
            self,
            Self::AckedLost { .. }
                | Self::UnknownLost { .. }
                | Self::DuplicatesInLog { .. }
                | Self::ReorderedPerKey { .. }
                | Self::CommittedUnprocessed { .. }
        )
    }
}

fn percentile_default() -> u64 {
    99
}
