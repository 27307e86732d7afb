//! What a node says of itself, as log lines: only state changes at INFO, requests below.

use ottla::runtime::Observer;
use ottla::types::Observation;
use tracing::{Level, debug, error, info, trace, warn};

/// Turns observations into `tracing` events.
#[derive(Debug)]
pub(crate) struct LogObserver;

impl Observer for LogObserver {
    fn observe(&self, observation: Observation) {
        if tracing::level_filters::LevelFilter::current() >= level_of(&observation) {
            log(observation);
        }
    }
}

/// The level at which an observation is worth a line. Requests and batches are not worth one at INFO.
const fn level_of(observation: &Observation) -> Level {
    use Observation as O;
    match observation {
        O::LogDirOffline { .. } => Level::ERROR,
        O::SegmentCorrupt { .. } | O::LogDirFull { .. } | O::BrokerFenced { .. } => Level::WARN,
        O::ProduceReceived { .. }
        | O::ProduceAppended { .. }
        | O::ProduceAcked { .. }
        | O::FetchServed { .. }
        | O::HighWatermarkAdvanced { .. } => Level::TRACE,
        O::ProduceDuplicate { .. }
        | O::ProduceFailed { .. }
        | O::FetchFailed { .. }
        | O::LogFlushed { .. }
        | O::LogRolled { .. }
        | O::MetadataCommitted { .. }
        | O::ProducerExpired { .. }
        | O::ProducerIdAllocated { .. } => Level::DEBUG,
        O::NodeStarted { .. }
        | O::NodeStopping { .. }
        | O::LogTruncated { .. }
        | O::LogStartMoved { .. }
        | O::LogRecovered { .. }
        | O::LogDeleted { .. }
        | O::ControllerElected { .. }
        | O::ControllerResigned { .. }
        | O::BrokerRegistered { .. }
        | O::BrokerUnfenced { .. }
        | O::TopicCreated { .. }
        | O::TopicDeleted { .. }
        | O::LeaderElected { .. }
        | O::ConnectionRefused { .. } => Level::INFO,
    }
}

fn log(observation: Observation) {
    match level_of(&observation) {
        Level::ERROR => error!(target: "node", "{observation:?}"),
        Level::WARN => warn!(target: "node", "{observation:?}"),
        Level::INFO => info!(target: "node", "{observation:?}"),
        Level::DEBUG => debug!(target: "node", "{observation:?}"),
        Level::TRACE => trace!(target: "node", "{observation:?}"),
    }
}
