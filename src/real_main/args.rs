//! The words of the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::group::args::GroupCommand;

/// A Kafka-compatible broker whose complete logic also runs under a deterministic simulation.
#[derive(Debug, Parser)]
#[command(name = "ottla", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Start here:\n  ottla dev                             a broker on localhost:9092, data in ./data\n  ottla topic create hello -p 3\n  echo hi | ottla produce hello\n  ottla consume hello -o start -n 1"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) global: Global,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// Brokers to ask first, as HOST:PORT,HOST:PORT.
    #[arg(
        short = 'b',
        long,
        global = true,
        env = "OTTLA_BROKERS",
        default_value = "localhost:9092",
        value_name = "HOST:PORT"
    )]
    pub(crate) bootstrap_server: String,
    /// A property of the client, in Kafka's name; may be given more than once.
    #[arg(short = 'X', long = "property", global = true, value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) properties: Vec<(String, String)>,
    /// A file of client properties, in Java's syntax; -X wins.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) command_config: Option<PathBuf>,
    /// How to print results.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// How long to wait for the cluster's answer, in seconds.
    #[arg(long, global = true, default_value_t = 30, value_name = "SECONDS")]
    pub(crate) timeout: u64,
    /// Say less: only errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables and lines for people.
    Text,
    /// One JSON document.
    Json,
    /// One JSON object per line.
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Prepare the log directories of a node.
    Format(FormatArgs),
    /// Run a node in the foreground.
    Start(StartArgs),
    /// A cluster to try things with: formats itself, each node a child process, says what to type next; and what to do to
    /// the nodes of the one that runs.
    Dev(DevArgs),
    /// Create, list, describe, change, move and delete topics.
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Show the brokers and the metadata quorum; take out a broker that is gone for good.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Write lines of standard input (or a file) to a topic.
    Produce(ProduceArgs),
    /// Read records from topics, alone or as a member of a group.
    Consume(ConsumeArgs),
    /// List, describe, reset and delete groups of consumers.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Measure a running broker.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// The version, and with --verbose the APIs served.
    Version {
        /// Print each API with the versions served.
        #[arg(long)]
        verbose: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct FormatArgs {
    /// The node's server.properties.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The cluster's id: 22 letters of base64url. Default: a new one.
    #[arg(short = 't', long, value_name = "ID")]
    pub(crate) cluster_id: Option<String>,
    /// Leave directories alone that are formatted already.
    #[arg(short = 'g', long)]
    pub(crate) ignore_formatted: bool,
    /// The level of a feature that is to differ from the default; may be given more than once.
    #[arg(short = 'f', long = "feature", value_name = "NAME=LEVEL", value_parser = parse_feature)]
    pub(crate) features: Vec<(String, i16)>,
    /// Set a property over the file's; may be given more than once.
    #[arg(long = "override", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) overrides: Vec<(String, String)>,
}

#[derive(Args, Debug)]
pub(crate) struct StartArgs {
    /// The node's server.properties.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Set a property over the file's; may be given more than once.
    #[arg(long = "override", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) overrides: Vec<(String, String)>,
    /// Warn of unknown properties instead of refusing to start.
    #[arg(long)]
    pub(crate) allow_unknown: bool,
    /// How to write the log: Kafka's line shape, or one JSON object per line.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Threads that serve connections. Default: one per core.
    #[arg(long, value_name = "N")]
    pub(crate) cores: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// `[2026-01-31 12:00:00,123] INFO message (target)`.
    Text,
    /// One JSON object per line.
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    pub(crate) command: Option<DevCommand>,
    /// Where the data stays.
    #[arg(long, global = true, default_value = "./data", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// How many nodes. Up to three of them, an odd number, are controllers too.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=99))]
    pub(crate) brokers: u16,
    /// Forget the data at the end.
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// The port of the first broker; each node takes this and the next one.
    #[arg(long, default_value_t = 9092, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// Set a property of every node; may be given more than once.
    #[arg(long = "override", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) overrides: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Kill a node (SIGKILL).
    Kill {
        /// Its number.
        node: u16,
    },
    /// Let a node hang (SIGSTOP).
    Pause {
        /// Its number.
        node: u16,
    },
    /// Let a node that hangs go on (SIGCONT).
    Resume {
        /// Its number.
        node: u16,
    },
    /// Stop a node in good order (SIGTERM).
    Stop {
        /// Its number.
        node: u16,
    },
    /// Start a node that was killed or stopped.
    Start {
        /// Its number.
        node: u16,
    },
    /// Cut a node off from the other nodes, though not from clients.
    Isolate {
        /// Its number.
        node: u16,
    },
    /// Let a node that is cut off reach the others again.
    Rejoin {
        /// Its number.
        node: u16,
    },
    /// Say which nodes run.
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic.
    Create {
        /// Its name.
        topic: String,
        /// How many partitions; the broker's num.partitions where not given.
        #[arg(short, long)]
        partitions: Option<i32>,
        /// How many copies of each; the broker's default.replication.factor where not given.
        #[arg(short, long)]
        replication_factor: Option<i16>,
        /// A topic property, in Kafka's name; may be given more than once.
        #[arg(short = 'c', long = "config", value_name = "NAME=VALUE", value_parser = parse_pair)]
        configs: Vec<(String, String)>,
        /// Succeed where the topic is there already.
        #[arg(long)]
        if_not_exists: bool,
    },
    /// List the topics.
    List,
    /// Show partitions, leaders, replicas and offsets, and how many losses they outlive.
    Describe {
        /// Their names; all where none is given.
        topics: Vec<String>,
        /// Print Kafka's own tab-separated layout.
        #[arg(long)]
        kafka: bool,
        /// Print again each second until Ctrl-C.
        #[arg(short, long)]
        watch: bool,
    },
    /// Change the configuration of a topic.
    Alter {
        /// Its name.
        topic: String,
        /// Set a topic property, in Kafka's name; may be given more than once.
        #[arg(short = 'c', long = "config", value_name = "NAME=VALUE", value_parser = parse_pair)]
        configs: Vec<(String, String)>,
        /// Take a topic property back to its default; may be given more than once.
        #[arg(long = "delete-config", value_name = "NAME")]
        delete_configs: Vec<String>,
    },
    /// Give a topic more partitions.
    AddPartitions {
        /// Its name.
        topic: String,
        /// How many it shall have in all.
        #[arg(short, long)]
        partitions: u32,
    },
    /// Move partitions to other brokers; without arguments, list the moves under way.
    Reassign {
        /// The topic.
        topic: Option<String>,
        /// Which partition; all where not given.
        #[arg(short, long, requires = "topic")]
        partition: Option<i32>,
        /// The brokers that shall hold it, the preferred leader first, as 1,2,3.
        #[arg(
            short,
            long,
            value_name = "ID,ID",
            value_delimiter = ',',
            requires = "topic",
            conflicts_with = "cancel"
        )]
        replicas: Vec<i32>,
        /// Take back a move that is under way.
        #[arg(long, requires = "topic")]
        cancel: bool,
        /// Wait until nothing of the topic moves any more.
        #[arg(short, long, requires = "topic")]
        wait: bool,
    },
    /// Elect leaders: the preferred ones, or with --unclean anyone that lives.
    Elect {
        /// The topic; all topics where not given.
        topic: Option<String>,
        /// Which partition; all where not given.
        #[arg(short, long, requires = "topic")]
        partition: Option<i32>,
        /// Where nobody leads, take a replica that may lack records: what it lacks is lost.
        #[arg(long, requires = "topic")]
        unclean: bool,
    },
    /// Delete topics and all that is in them.
    Delete {
        /// Their names.
        #[arg(required = true)]
        topics: Vec<String>,
        /// Succeed where a topic is not there.
        #[arg(long)]
        if_exists: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// List the brokers.
    Info,
    /// Show who leads the metadata quorum and how far its members are.
    Quorum,
    /// Take a broker that is gone for good out of the cluster.
    Unregister {
        /// Its id.
        broker: i32,
    },
}

#[derive(Args, Debug)]
pub(crate) struct ProduceArgs {
    /// The topic.
    pub(crate) topic: String,
    /// The key of every record.
    #[arg(short = 'k', long, conflicts_with = "key_separator")]
    pub(crate) key: Option<String>,
    /// Each line is KEY, this separator, VALUE.
    #[arg(short = 'K', long, value_name = "SEPARATOR")]
    pub(crate) key_separator: Option<String>,
    /// The partition; the partitioner chooses where not given.
    #[arg(short, long)]
    pub(crate) partition: Option<i32>,
    /// When a record counts as written: 0, 1 or all.
    #[arg(long, default_value = "all")]
    pub(crate) acks: String,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(short = 'z', long, default_value = "none")]
    pub(crate) compression: String,
    /// A header of every record, NAME=VALUE, or NAME for one without a value; may be given more than once.
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    pub(crate) headers: Vec<String>,
    /// Read lines from this file instead of standard input.
    #[arg(short, long)]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct ConsumeArgs {
    /// The topics.
    #[arg(required = true)]
    pub(crate) topics: Vec<String>,
    /// Read as a member of this group: it shares the partitions with the others, goes on where the group is, and commits what it has
    /// printed. Ctrl-C leaves the group.
    #[arg(short, long)]
    pub(crate) group: Option<String>,
    /// Where to begin: start, end, an offset, -N for the last N, or @MILLIS for a time. In a group: start or end, where the group has
    /// committed nothing.
    #[arg(short = 'o', long, default_value = "end", allow_hyphen_values = true)]
    pub(crate) offset: String,
    /// Only this partition.
    #[arg(short, long, conflicts_with = "group")]
    pub(crate) partition: Option<i32>,
    /// Stop after this many records.
    #[arg(short = 'n', long)]
    pub(crate) count: Option<u64>,
    /// Stop at the end of every partition; in a group, of every one that this member has.
    #[arg(short = 'e', long)]
    pub(crate) exit_at_end: bool,
    /// What to print of each record: %t topic, %p partition, %o offset, %T timestamp, %k key, %v value, %h headers, \n, \t.
    #[arg(short = 'f', long, default_value = "%v\\n")]
    pub(crate) template: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Send prebuilt Produce frames and print Kafka's summary line, with the broker's CPU where --pid names it.
    Produce(BenchProduceArgs),
    /// Read a topic from its start and print Kafka's CSV lines.
    Consume(BenchConsumeArgs),
    /// Serve as the floor: answer every frame of `bench produce` with a fixed response and store nothing.
    Echo {
        /// The port to listen on.
        #[arg(long, default_value_t = 9192)]
        port: u16,
    },
}

#[derive(Args, Clone, Debug)]
pub(crate) struct BenchProduceArgs {
    /// The topic; it must exist unless the server is `bench echo`.
    #[arg(long, default_value = "bench")]
    pub(crate) topic: String,
    /// Records to send.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) num_records: u64,
    /// Bytes of each value.
    #[arg(long, default_value_t = 1024)]
    pub(crate) record_size: usize,
    /// Bytes of each batch, about.
    #[arg(long, default_value_t = 16_384)]
    pub(crate) batch_size: usize,
    /// 0, 1 or all.
    #[arg(long, default_value = "1")]
    pub(crate) acks: String,
    /// Requests in flight.
    #[arg(long, default_value_t = 5)]
    pub(crate) in_flight: usize,
    /// Connections, each with its own requests in flight.
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    /// The server is `bench echo`: ask it nothing first.
    #[arg(long)]
    pub(crate) echo: bool,
    /// The server's process, to print its CPU seconds.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct BenchConsumeArgs {
    /// The topic.
    #[arg(long, default_value = "bench")]
    pub(crate) topic: String,
    /// Records to read.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) messages: u64,
    /// Largest response, in bytes.
    #[arg(long, default_value_t = 1_048_576)]
    pub(crate) fetch_size: i32,
    /// The server's process, to print its CPU seconds.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

fn parse_feature(text: &str) -> Result<(String, i16), String> {
    let (name, level) = parse_pair(text)?;
    let level = level.parse().map_err(|_| format!("`{level}` is no level: a whole number"))?;
    Ok((name, level))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn pairs_need_a_name_and_an_equals_sign() {
        assert_eq!(parse_pair("acks=all"), Ok(("acks".to_owned(), "all".to_owned())));
        assert_eq!(parse_pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(parse_pair("=x").is_err());
        assert!(parse_pair("acks").is_err());
    }
}
