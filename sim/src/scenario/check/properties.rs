//! Whether a node would start with the properties that a scenario gives it: each by itself, and all of them together.

use std::collections::BTreeMap;

use ottla::server::config::{Config, check_value, table as config_table};

use super::super::error::suggest;
use super::super::parse::join;
use super::Check;

/// What the testbed itself decides.
const OWN_PROPERTIES: &[&str] = &[
    "node.id",
    "broker.id",
    "process.roles",
    "listeners",
    "advertised.listeners",
    "controller.quorum.voters",
    "controller.quorum.bootstrap.servers",
    "controller.listener.names",
    "log.dir",
    "log.dirs",
    "metadata.log.dir",
    "broker.rack",
];

/// A node that is all that a node may be. What the testbed gives its own contradicts no property.
const ANY_NODE: &str = "node.id=1\n\
    process.roles=broker,controller\n\
    listeners=PLAINTEXT://n1:9092,CONTROLLER://n1:9093\n\
    controller.listener.names=CONTROLLER\n\
    controller.quorum.voters=1@n1:9093\n\
    log.dirs=/data\n";

impl Check<'_> {
    pub(super) fn properties(&mut self) {
        let before = self.problems.len();
        for (name, value) in &self.plan.broker_config.0 {
            let at = at(name);
            if OWN_PROPERTIES.contains(&name.as_str()) {
                self.refuse(&at, format!("`{name}` is set by the testbed"), None);
                continue;
            }
            match config_table::row(name) {
                Some(row) => {
                    if let Err(what) = check_value(row, value) {
                        self.refuse(&at, format!("{name}={value}: {what}"), None);
                    }
                }
                None => {
                    let help = suggest(name, config_table::ROWS.iter().map(|row| row.name));
                    self.refuse(&at, format!("`{name}` is not a property of a broker"), help);
                }
            }
        }
        if self.problems.len() == before {
            self.properties_together();
        }
    }

    fn properties_together(&mut self) {
        let given = &self.plan.broker_config.0;
        let lines = given.iter().map(|(name, value)| format!("{name}={value}\n"));
        let text = lines.fold(ANY_NODE.to_owned(), |text, line| text + &line);
        let Err(error) = Config::parse(&text, &BTreeMap::new()) else { return };
        for problem in error.problems {
            let named = given.keys().filter(|name| problem.what.contains(name.as_str()));
            let first = named.min_by_key(|name| problem.what.find(name.as_str()));
            let pointer = first.map_or("/broker-config".to_owned(), |name| at(name));
            let (what, why) = (&problem.what, &problem.why);
            self.refuse(
                &pointer,
                format!("no node starts with it: {what}: {why}"),
                Some(problem.next),
            );
        }
    }
}

/// Where a property is written.
fn at(name: &str) -> String {
    join("/broker-config", name)
}
