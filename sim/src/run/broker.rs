//! A broker of a scenario: its properties, its directories, and the life of its process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla::server::{Config, FormatOptions, Node, format};
use ottla::types::Uuid;

use crate::cluster::{NodeFactory, factory};
use crate::scenario::Plan;
use crate::world::{NodeContext, ProcessEnd};

/// Where brokers listen for clients.
pub(super) const PORT: u16 = 9092;

/// The host name of a broker.
pub(super) fn host(id: u32) -> String {
    format!("broker-{id}")
}

/// The directories in `log.dirs`. The metadata log lies apart, so that a failed log directory is no failed metadata log.
pub(super) fn log_dirs(plan: &Plan) -> Vec<PathBuf> {
    (0..plan.cluster.log_dirs).map(|index| PathBuf::from(log_dir(index))).collect()
}

/// One entry of `log.dirs`.
pub(super) fn log_dir(index: u32) -> String {
    format!("/data-{index}")
}

/// `server.properties` of a broker.
fn properties(plan: &Plan, id: u32) -> String {
    let dirs: Vec<String> = (0..plan.cluster.log_dirs).map(log_dir).collect();
    let mut text = format!(
        "node.id={id}\n\
         process.roles=broker,controller\n\
         listeners=PLAINTEXT://0.0.0.0:{PORT},CONTROLLER://0.0.0.0:9093\n\
         advertised.listeners=PLAINTEXT://{host}:{PORT}\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.voters={id}@{host}:9093\n\
         log.dirs={dirs}\n\
         metadata.log.dir=/metadata\n",
        host = host(id),
        dirs = dirs.join(","),
    );
    for (name, value) in &plan.broker_config.0 {
        text.push_str(&format!("{name}={value}\n"));
    }
    text
}

/// Whether the properties of a plan make a configuration.
///
/// Errors: what the broker says of them.
pub(super) fn config(plan: &Plan, id: u32) -> Result<Config, String> {
    match Config::parse(&properties(plan, id), &BTreeMap::new()) {
        Ok((config, _)) => Ok(config),
        Err(error) => Err(error.to_string()),
    }
}

/// Makes a broker's process at each start. While `needs_format` is set it formats the directories first.
pub(super) fn broker(config: Config, needs_format: Arc<AtomicBool>) -> NodeFactory {
    factory(move |context| {
        let (config, needs_format) = (config.clone(), Arc::clone(&needs_format));
        async move {
            match live(context, config, &needs_format).await {
                Ok(()) => ProcessEnd::Clean,
                Err(reason) => ProcessEnd::Failed(reason),
            }
        }
    })
}

async fn live(
    mut context: NodeContext,
    config: Config,
    needs_format: &AtomicBool,
) -> Result<(), String> {
    if needs_format.load(Ordering::Relaxed) {
        // One cluster id in all runs: a random one would differ between brokers formatted apart.
        let cluster_id = Some(Uuid::from_bytes(*b"ottla-simulation"));
        // A start that was killed while it formatted left some directories done.
        let options =
            FormatOptions { cluster_id, ignore_formatted: true, ..FormatOptions::default() };
        format(&config, options, &context.env).await.map_err(|error| error.to_string())?;
        needs_format.store(false, Ordering::Relaxed);
    }
    let node = Node::start(config, context.env.clone()).await.map_err(|error| error.to_string())?;
    tokio::select! {
        biased;
        end = node.ended() => Err(format!("{end:?}")),
        () = context.shutdown_asked() => {
            node.shutdown().await;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_properties_of_a_plain_scenario_are_a_configuration() {
        let plan: Plan = serde_json::from_value(serde_json::json!({
            "claim": "x", "run-for": "1s", "cluster": { "log-dirs": 2 },
            "broker-config": { "log.flush.interval.messages": 1 },
        }))
        .unwrap();
        let config = config(&plan, 1).unwrap();
        assert_eq!(config.log_dirs, [PathBuf::from("/data-0"), PathBuf::from("/data-1")]);
    }
}
