//! A node of the cluster: its names, its properties and its directories.

use std::path::PathBuf;

use super::here::Places;
use crate::event::Who;
use crate::scenario::Plan;

/// Where nodes keep the metadata log.
const METADATA_DIR: &str = "metadata";
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
    pub(super) fn log_dirs(self, plan: &Plan, places: &Places) -> Vec<PathBuf> {
        let dir = |index: u32| places.dir(self, &log_dir_name(index)).into();
        match self {
            Self::Broker(_) => (0..plan.cluster.log_dirs).map(dir).collect(),
            Self::Controller(_) => Vec::new(),
        }
    }

    /// `server.properties`.
    pub(super) fn properties(self, plan: &Plan, places: &Places) -> String {
        let mut text = match self {
            Self::Broker(id) => broker_properties(plan, places, id),
            Self::Controller(_) => format!(
                "node.id={id}\n\
                 process.roles=controller\n\
                 listeners=CONTROLLER://{listens}\n\
                 controller.listener.names=CONTROLLER\n\
                 controller.quorum.voters={voters}\n\
                 log.dirs={dir}\n",
                id = self.id(),
                listens = places.listens_as_voter(self),
                voters = voters(plan, places),
                dir = places.dir(self, METADATA_DIR),
            ),
        };
        text.push_str(&super::groups::properties(plan));
        for (name, value) in &plan.broker_config.0 {
            text.push_str(&format!("{name}={value}\n"));
        }
        text
    }
}

fn broker_properties(plan: &Plan, places: &Places, id: u32) -> String {
    let member = Member::Broker(id);
    let dirs = (0..plan.cluster.log_dirs).map(|index| places.dir(member, &log_dir_name(index)));
    let dirs: Vec<String> = dirs.collect();
    let is_voter = Member::voters(plan).contains(&member);
    let (roles, controller) = if is_voter {
        ("broker,controller", format!(",CONTROLLER://{}", places.listens_as_voter(member)))
    } else {
        ("broker", String::new())
    };
    let rack = plan.cluster.rack(id);
    format!(
        "node.id={id}\n\
         process.roles={roles}\n\
         listeners=PLAINTEXT://{listens}{controller}\n\
         advertised.listeners=PLAINTEXT://{reached}\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.voters={voters}\n\
         log.dirs={dirs}\n\
         metadata.log.dir={metadata}\n\
         {rack}",
        listens = places.listens(member),
        reached = places.reached(member),
        voters = voters(plan, places),
        metadata = places.dir(member, METADATA_DIR),
        dirs = dirs.join(","),
        rack = rack.map_or_else(String::new, |rack| format!("broker.rack={rack}\n")),
    )
}

/// `controller.quorum.voters`.
fn voters(plan: &Plan, places: &Places) -> String {
    let voter = |member: Member| format!("{}@{}", member.id(), places.reached_as_voter(member));
    Member::voters(plan).into_iter().map(voter).collect::<Vec<_>>().join(",")
}

/// The name of an entry of `log.dirs`.
pub(super) fn log_dir_name(index: u32) -> String {
    format!("data-{index}")
}

#[cfg(madsim)]
#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ottla::server::Config;

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
        let plan = plan(serde_json::json!({ "log-dirs": 2 }));
        let text = Member::Broker(1).properties(&plan, &Places);
        let (config, _) = Config::parse(&text, &BTreeMap::new()).unwrap();
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
        .assert_eq(&Member::Broker(2).properties(&plan, &Places));
        expect_test::expect![[r#"
            node.id=103
            process.roles=controller
            listeners=CONTROLLER://0.0.0.0:9093
            controller.listener.names=CONTROLLER
            controller.quorum.voters=101@controller-1:9093,102@controller-2:9093,103@controller-3:9093
            log.dirs=/metadata
            log.flush.interval.messages=1
        "#]]
        .assert_eq(&Member::Controller(3).properties(&plan, &Places));
        let names: Vec<String> = Member::all(&plan).iter().map(|member| member.host()).collect();
        assert_eq!(names, ["broker-1", "broker-2", "controller-1", "controller-2", "controller-3"]);
    }

    #[test]
    fn the_first_of_combined_brokers_are_the_voters() {
        let plan = plan(serde_json::json!({ "brokers": 4, "controllers": 3, "combined": true }));
        assert!(
            Member::Broker(3)
                .properties(&plan, &Places)
                .contains("process.roles=broker,controller\n")
        );
        assert!(Member::Broker(4).properties(&plan, &Places).contains("process.roles=broker\n"));
        assert_eq!(Member::of_id(4), Member::Broker(4));
        assert_eq!(Member::of_id(Member::Controller(3).id()), Member::Controller(3));
    }
}
