//! The words of `ottla group`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List the groups of consumers.
    List {
        /// Show their states; with names, as in Stable,Empty, only the groups in one of them.
        #[arg(long, value_name = "STATE,STATE", num_args = 0..=1, value_delimiter = ',')]
        state: Option<Vec<String>>,
        /// Show their types; with names, as in classic,consumer, only the groups of one of them.
        #[arg(
            long = "type",
            value_name = "TYPE,TYPE",
            num_args = 0..=1,
            value_delimiter = ','
        )]
        types: Option<Vec<String>>,
    },
    /// Show how far groups have read, how much is left, and who reads it.
    Describe {
        #[command(flatten)]
        groups: Groups,
        /// Show offsets and lag by partition. The default.
        #[arg(long)]
        offsets: bool,
        /// Show the members.
        #[arg(long, conflicts_with = "offsets")]
        members: bool,
        /// Show coordinator, assignor, state and number of members.
        #[arg(long, conflicts_with_all = ["offsets", "members"])]
        state: bool,
        /// Show leader epochs, what each member reads, or the epochs of the group.
        #[arg(long)]
        verbose: bool,
    },
    /// Show the members of groups: the same as `describe --members`.
    Members {
        #[command(flatten)]
        groups: Groups,
        /// Show what each of them reads.
        #[arg(long)]
        verbose: bool,
    },
    /// Set how far groups without members have read; shows what would be done until --execute is given.
    Reset(ResetArgs),
    /// Delete groups without members, with all that they have committed.
    Delete {
        #[command(flatten)]
        groups: Groups,
    },
    /// Make a group forget how far it has read in topics that none of its members reads.
    DeleteOffsets {
        /// The group.
        group: String,
        /// A topic, or some partitions of it, as in orders:0,1; may be given more than once.
        #[arg(short, long = "topic", value_name = "TOPIC[:N,N]", required = true)]
        topics: Vec<String>,
    },
}

/// Which groups.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct Groups {
    /// The groups.
    #[arg(value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// The same, as in Kafka's tools; may be given more than once.
    #[arg(short = 'g', long = "group", value_name = "GROUP")]
    pub(crate) named: Vec<String>,
    /// All groups of consumers.
    #[arg(long, conflicts_with_all = ["groups", "named"])]
    pub(crate) all_groups: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ResetArgs {
    #[command(flatten)]
    pub(crate) groups: Groups,
    #[command(flatten)]
    pub(crate) way: WayArgs,
    /// A topic, or some partitions of it, as in orders:0,1; may be given more than once.
    #[arg(short, long = "topic", value_name = "TOPIC[:N,N]", conflicts_with = "from_file")]
    pub(crate) topics: Vec<String>,
    /// All partitions that the group has committed offsets of.
    #[arg(long, conflicts_with_all = ["topics", "from_file"])]
    pub(crate) all_topics: bool,
    /// Only show what would be done. The default.
    #[arg(long, conflicts_with = "execute")]
    pub(crate) dry_run: bool,
    /// Do it.
    #[arg(long)]
    pub(crate) execute: bool,
    /// Print the offsets as CSV, for --from-file.
    #[arg(long)]
    pub(crate) export: bool,
}

/// Where the groups are to go on.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct WayArgs {
    /// To the start of each partition.
    #[arg(long)]
    pub(crate) to_earliest: bool,
    /// To the end of each partition.
    #[arg(long)]
    pub(crate) to_latest: bool,
    /// To where the group is; to the end where it has committed nothing.
    #[arg(long)]
    pub(crate) to_current: bool,
    /// To this offset.
    #[arg(long, value_name = "OFFSET")]
    pub(crate) to_offset: Option<i64>,
    /// So many records forward, or backward where it is negative.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) shift_by: Option<i64>,
    /// To the first record since a time: 2026-01-31T12:00:00.000, in UTC, or with an offset as in +01:00.
    #[arg(long, value_name = "TIME")]
    pub(crate) to_datetime: Option<String>,
    /// To the first record of the last while: PT1H30M, P7D.
    #[arg(long, value_name = "DURATION")]
    pub(crate) by_duration: Option<String>,
    /// To the offsets of a CSV file: topic,partition,offset, or group,topic,partition,offset.
    #[arg(long, value_name = "FILE")]
    pub(crate) from_file: Option<PathBuf>,
}
