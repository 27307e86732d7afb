//! `ottla format` and `ottla start`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use ottla::runtime::{Observer, real_env_at, signal};
use ottla::server::{self, Config, ConfigWarning, FormatOptions, Node, ParseOptions};
use ottla::types::Uuid;
use rustix::process::Signal;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use super::args::{FormatArgs, LogFormat, StartArgs};
use super::client::block_on;
use super::failure::{Exit, Failure};
use super::observer::{FileObserver, LogObserver};

/// Set by whoever runs nodes as child processes: the node ends in good order when its parent is gone, however that ended; at
/// once (SIGKILL) where the value is `kill`, which ends a node that hangs as well.
pub(crate) const STOP_WITH_PARENT: &str = "OTTLA_STOP_WITH_PARENT";

/// Set by whoever cuts links between nodes on one machine ([`ottla::runtime::links`]): the address that the node's connections
/// come from.
pub(crate) const SOURCE_ADDRESS: &str = "OTTLA_SOURCE_ADDRESS";

/// Set by the testbed: the file to which the node appends what it says of itself, a line of JSON each.
const OBSERVATIONS: &str = "OTTLA_OBSERVATIONS";

fn read_config(
    path: &Path,
    overrides: &[(String, String)],
    options: ParseOptions,
) -> Result<(Config, Vec<ConfigWarning>), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(Exit::Usage, "cannot read the configuration")
            .place(path.display().to_string())
            .why(error)
            .next("name the node's server.properties with -c")
    })?;
    let overrides: BTreeMap<String, String> = overrides.iter().cloned().collect();
    Config::parse_with(&text, &overrides, options).map_err(|error| {
        Failure::new(Exit::Usage, "the configuration cannot be used")
            .place(path.display().to_string())
            .why(error)
    })
}

/// `ottla format`.
pub(crate) fn format(args: &FormatArgs, quiet: bool) -> Result<(), Failure> {
    let (config, _) = read_config(&args.config, &args.overrides, ParseOptions::default())?;
    let cluster_id = match &args.cluster_id {
        None => None,
        Some(text) => Some(Uuid::parse(text).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("`{text}` is not a cluster id"))
                .why("it must be 22 letters of base64url, as Kafka's `kafka-storage random-uuid` prints them")
                .next("leave -t out: a new id is drawn")
        })?),
    };
    let options = FormatOptions {
        cluster_id,
        ignore_formatted: args.ignore_formatted,
        feature_levels: args.features.clone(),
    };
    block_on(|env| async move {
        let done = server::format(&config, options, &env).await;
        let done = done.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        if !quiet {
            for directory in &config.log_dirs {
                println!("Formatted {} with cluster id {}", directory.display(), done.cluster_id);
            }
        }
        Ok(())
    })
}

/// `ottla start`: runs until SIGTERM or SIGINT (exit code 0), a second SIGINT (130), or the last disk failed (1).
pub(crate) fn start(args: &StartArgs) -> ExitCode {
    match run(args) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

fn run(args: &StartArgs) -> Result<ExitCode, Failure> {
    if let Some(how) = std::env::var_os(STOP_WITH_PARENT) {
        let signal = if how == "kill" { Signal::KILL } else { Signal::TERM };
        rustix::process::set_parent_process_death_signal(Some(signal))
            .map_err(|error| Failure::new(Exit::Failed, "cannot start").why(error))?;
    }
    let options = ParseOptions { allow_unknown: args.allow_unknown };
    let (config, warnings) = read_config(&args.config, &args.overrides, options)?;
    log_to_stderr(args.log_format);
    info!(target: "start", version = env!("CARGO_PKG_VERSION"), node = %config.node_id, config = %args.config.display(), "ottla starts");
    for warning in &warnings {
        if warning.is_serious() {
            warn!(target: "config", "{warning}");
        } else {
            info!(target: "config", "{warning}");
        }
    }
    let cores =
        args.cores.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let observer = Arc::new(LogObserver::default());
    let hears: Arc<dyn Observer> = match std::env::var_os(OBSERVATIONS) {
        None => Arc::clone(&observer) as _,
        Some(path) => {
            let file = FileObserver::open(Path::new(&path), Arc::clone(&observer) as _);
            Arc::new(file.map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    format!("cannot open the file that {OBSERVATIONS} names"),
                )
                .why(error)
            })?)
        }
    };
    let env = real_env_at(source_address()?, hears, cores)
        .map_err(|error| Failure::new(Exit::Failed, "cannot start").why(error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failed, "cannot start").why(error))?;
    runtime.block_on(async {
        let mut stop = signal::Stop::new().map_err(|error| Failure::new(Exit::Failed, "cannot listen for signals").why(error))?;
        let node = Node::start(config, env).await;
        let node = node.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        observer.name_topics(Box::new(node.topic_names()));
        info!(target: "start", "Kafka Server started");
        tokio::select! {
            biased;
            signal = stop.wait() => {
                info!(target: "stop", signal, "shutting down");
                tokio::select! {
                    biased;
                    () = node.shutdown() => {
                        info!(target: "stop", "shut down completed");
                        Ok(ExitCode::SUCCESS)
                    }
                    _ = stop.wait() => {
                        warn!(target: "stop", "stopped at once: the next start recovers the logs");
                        Ok(ExitCode::from(Exit::Interrupted as u8))
                    }
                }
            }
            end = node.ended() => {
                let code = end.exit_code();
                Err(Failure::new(Exit::Failed, format!("the node cannot go on: {end}"))
                    .why("its last usable log directory failed; nothing more was acknowledged on it")
                    .next(format!("look at the disk and the log above, then start again (exit code {code})")))
            }
        }
    })
}

/// What [`SOURCE_ADDRESS`] says.
fn source_address() -> Result<Option<IpAddr>, Failure> {
    let Some(text) = std::env::var_os(SOURCE_ADDRESS) else { return Ok(None) };
    let address = text.to_str().and_then(|text| text.parse().ok());
    address.map(Some).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("{SOURCE_ADDRESS} is not an address: {text:?}"))
    })
}

/// Kafka's line shape (`[%d] %p %m (%c)`), so that pipelines that read Kafka's logs read these.
struct KafkaLines;

impl<S, N> tracing_subscriber::fmt::FormatEvent<S, N> for KafkaLines
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    N: for<'a> tracing_subscriber::fmt::FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &tracing_subscriber::fmt::FmtContext<'_, S, N>,
        mut writer: tracing_subscriber::fmt::format::Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let metadata = event.metadata();
        write!(writer, "[{}] {} ", wall_clock(), metadata.level())?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer, " ({})", metadata.target())
    }
}

/// Now as Kafka's log4j pattern prints it, in UTC: `2026-01-31 12:00:00,123`.
fn wall_clock() -> String {
    let now = ottla::runtime::real_wall_clock().millis();
    let (days, millis) = (now.div_euclid(86_400_000), now.rem_euclid(86_400_000));
    let (year, month, day) = civil_from_days(days);
    let (seconds, millis) = (millis / 1000, millis % 1000);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02},{millis:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// The Gregorian date of a day counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Levels come from `OTTLA_LOG`, as in `info,node=debug`.
fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_env("OTTLA_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let colors = std::io::IsTerminal::is_terminal(&std::io::stderr())
                && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colors).event_format(KafkaLines).init();
        }
        LogFormat::Json => builder.json().init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil_from_days(0), (1970, 1, 1));
        assert_eq!(civil_from_days(19_782), (2024, 2, 29));
        assert_eq!(civil_from_days(-1), (1969, 12, 31));
    }
}
