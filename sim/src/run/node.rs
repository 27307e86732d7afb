//! A node of the cluster: its properties, its directories, and the life of its process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla::server::{Config, FormatOptions, Node, format};
use ottla::types::Uuid;

use crate::cluster::{NodeFactory, factory};
use crate::event::Who;
use crate::scenario::Plan;
use crate::world::{NodeContext, ProcessEnd};

/// Where brokers listen for clients.
pub(super) const PORT: u16 = 9092;
/// Where voters listen for each other and for brokers.
const CONTROLLER_PORT: u16 = 9093;
/// Voters that are no brokers have ids above this: there are never as many brokers.
const CONTROLLER_IDS: u32 = 100;

/// A node of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Member {
    /// The broker with this id; it may be a voter too.
    Broker(u32),
    /// The voter with this number, which is no broker.
    Controller(u32),
}

impl Member {
    /// Every node that a plan will ever have: those of the start first, then those that steps add.
    pub(super) fn all(plan: &Plan) -> Vec<Self> {
        let brokers = (1..=plan.brokers_ever()).map(Self::Broker);
        brokers.chain((1..=plan.cluster.controllers_apart()).map(Self::Controller)).collect()
    }

    /// The voters of the metadata quorum.
    pub(super) fn voters(plan: &Plan) -> Vec<Self> {
        let of = if plan.cluster.is_combined() { Self::Broker } else { Self::Controller };
        (1..=plan.cluster.voters()).map(of).collect()
    }

    /// Whether it is there from the start.
    pub(super) fn is_there_at_start(self, plan: &Plan) -> bool {
        match self {
            Self::Broker(id) => id <= plan.cluster.brokers,
            Self::Controller(_) => true,
        }
    }

    /// As the story calls it.
    pub(super) fn who(self) -> Who {
        match self {
            Self::Broker(id) => Who::Broker(id),
            Self::Controller(number) => Who::Controller(number),
        }
    }

    /// The node that the story calls so.
    pub(super) fn of(who: &Who) -> Option<Self> {
        match who {
            Who::Broker(id) => Some(Self::Broker(*id)),
            Who::Controller(number) => Some(Self::Controller(*number)),
            Who::Client { .. } | Who::Testbed => None,
        }
    }

    /// The node with this `node.id`.
    pub(super) fn of_id(id: u32) -> Self {
        match id.checked_sub(CONTROLLER_IDS) {
            Some(number @ 1..) => Self::Controller(number),
            Some(0) | None => Self::Broker(id),
        }
    }

    /// `node.id`.
    pub(super) fn id(self) -> u32 {
        match self {
            Self::Broker(id) => id,
            Self::Controller(number) => CONTROLLER_IDS + number,
        }
    }

    /// The name of its machine.
    pub(super) fn host(self) -> String {
        match self {
            Self::Broker(id) => format!("broker-{id}"),
            Self::Controller(number) => format!("controller-{number}"),
        }
    }

    /// The directories in `log.dirs`. A broker's metadata log lies apart, so that a failed log directory is no failed metadata log.
    pub(super) fn log_dirs(self, plan: &Plan) -> Vec<PathBuf> {
        match self {
            Self::Broker(_) => (0..plan.cluster.log_dirs).map(|at| log_dir(at).into()).collect(),
            Self::Controller(_) => Vec::new(),
        }
    }

    /// `server.properties`.
    fn properties(self, plan: &Plan) -> String {
        let mut text = match self {
            Self::Broker(id) => broker_properties(plan, id),
            Self::Controller(_) => format!(
                "node.id={id}\n\
                 process.roles=controller\n\
                 listeners=CONTROLLER://0.0.0.0:{CONTROLLER_PORT}\n\
                 controller.listener.names=CONTROLLER\n\
                 controller.quorum.voters={voters}\n\
                 log.dirs=/metadata\n",
                id = self.id(),
                voters = voters(plan),
            ),
        };
        for (name, value) in &plan.broker_config.0 {
            text.push_str(&format!("{name}={value}\n"));
        }
        text
    }

    /// Its configuration.
    ///
    /// Errors: what the node says of it.
    pub(super) fn config(self, plan: &Plan) -> Result<Config, String> {
        match Config::parse(&self.properties(plan), &BTreeMap::new()) {
            Ok((config, _)) => Ok(config),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn broker_properties(plan: &Plan, id: u32) -> String {
    let dirs: Vec<String> = (0..plan.cluster.log_dirs).map(log_dir).collect();
    let host = Member::Broker(id).host();
    let is_voter = Member::voters(plan).contains(&Member::Broker(id));
    let (roles, controller) = if is_voter {
        ("broker,controller", format!(",CONTROLLER://0.0.0.0:{CONTROLLER_PORT}"))
    } else {
        ("broker", String::new())
    };
    let rack = plan.cluster.rack(id);
    format!(
        "node.id={id}\n\
         process.roles={roles}\n\
         listeners=PLAINTEXT://0.0.0.0:{PORT}{controller}\n\
         advertised.listeners=PLAINTEXT://{host}:{PORT}\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.voters={voters}\n\
         log.dirs={dirs}\n\
         metadata.log.dir=/metadata\n\
         {rack}",
        voters = voters(plan),
        dirs = dirs.join(","),
        rack = rack.map_or_else(String::new, |rack| format!("broker.rack={rack}\n")),
    )
}

/// `controller.quorum.voters`.
fn voters(plan: &Plan) -> String {
    let voter = |member: Member| format!("{}@{}:{CONTROLLER_PORT}", member.id(), member.host());
    Member::voters(plan).into_iter().map(voter).collect::<Vec<_>>().join(",")
}

/// One entry of `log.dirs`.
pub(super) fn log_dir(index: u32) -> String {
    format!("/data-{index}")
}

/// Makes a node's process at each start. While `needs_format` is set it formats the directories first.
pub(super) fn process(config: Config, needs_format: Arc<AtomicBool>) -> NodeFactory {
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
        // One cluster id in all runs: a random one would differ between nodes formatted apart.
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

    fn plan(cluster: serde_json::Value) -> Plan {
        serde_json::from_value(serde_json::json!({
            "claim": "x", "run-for": "1s", "cluster": cluster,
            "broker-config": { "log.flush.interval.messages": 1 },
        }))
        .unwrap()
    }

    #[test]
    fn the_properties_of_a_plain_scenario_are_a_configuration() {
        let config = Member::Broker(1).config(&plan(serde_json::json!({ "log-dirs": 2 }))).unwrap();
        assert_eq!(config.log_dirs, [PathBuf::from("/data-0"), PathBuf::from("/data-1")]);
    }

    #[test]
    fn controllers_apart_have_ids_and_machines_of_their_own() {
        let plan = plan(serde_json::json!({ "brokers": 2, "controllers": 3, "racks": ["a", "b"] }));
        expect_test::expect![[r#"
            node.id=2
            process.roles=broker
            listeners=PLAINTEXT://0.0.0.0:9092
            advertised.listeners=PLAINTEXT://broker-2:9092
            controller.listener.names=CONTROLLER
            controller.quorum.voters=101@controller-1:9093,102@controller-2:9093,103@controller-3:9093
            log.dirs=/data-0
            metadata.log.dir=/metadata
            broker.rack=b
            log.flush.interval.messages=1
        "#]]
        .assert_eq(&Member::Broker(2).properties(&plan));
        expect_test::expect![[r#"
            node.id=103
            process.roles=controller
            listeners=CONTROLLER://0.0.0.0:9093
            controller.listener.names=CONTROLLER
            controller.quorum.voters=101@controller-1:9093,102@controller-2:9093,103@controller-3:9093
            log.dirs=/metadata
            log.flush.interval.messages=1
        "#]]
        .assert_eq(&Member::Controller(3).properties(&plan));
        let names: Vec<String> = Member::all(&plan).iter().map(|member| member.host()).collect();
        assert_eq!(names, ["broker-1", "broker-2", "controller-1", "controller-2", "controller-3"]);
    }

    #[test]
    fn the_first_of_combined_brokers_are_the_voters() {
        let plan = plan(serde_json::json!({ "brokers": 4, "controllers": 3, "combined": true }));
        assert!(Member::Broker(3).properties(&plan).contains("process.roles=broker,controller\n"));
        assert!(Member::Broker(4).properties(&plan).contains("process.roles=broker\n"));
        assert_eq!(Member::of_id(4), Member::Broker(4));
        assert_eq!(Member::of_id(Member::Controller(3).id()), Member::Controller(3));
    }
}
