//! Where a development cluster keeps its nodes, and what their configurations say.
//!
//! ```text
//! DIR/cluster.properties        how many nodes; written once
//! DIR/control.sock              while it runs
//! DIR/1/server.properties       written at each start
//! DIR/1/logs/                   the node's data
//! DIR/1/node.log                what it says, where there is more than one node
//! ```

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use ottla::types::Uuid;

use super::links::{own_address, proxy_address};
use crate::real_main::args::DevArgs;
use crate::real_main::client::world;
use crate::real_main::failure::{Exit, Failure};

/// More voters make the metadata log safer and slower; three outlive one of them.
const CONTROLLERS_MAX: u16 = 3;

/// A development cluster, as it lies on disk.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) nodes: Vec<NodeLayout>,
    controllers: u16,
}

/// One of its nodes.
#[derive(Debug)]
pub(super) struct NodeLayout {
    pub(super) id: u16,
    pub(super) dir: PathBuf,
    /// For clients and brokers. The controller's port is the next one.
    pub(super) port: u16,
}

impl NodeLayout {
    pub(super) fn config(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("node.log")
    }

    fn controller_port(&self) -> u16 {
        self.port + 1
    }

    /// Where the proxies before it listen, and where it listens behind them: for brokers, and for voters. The latter where
    /// tools look for it.
    pub(super) fn proxies(&self) -> [(SocketAddr, SocketAddr); 2] {
        let own = own_address(self.id);
        let controller = (Ipv4Addr::LOCALHOST, self.controller_port());
        [
            ((proxy_address(self.id), self.port).into(), (own, self.port).into()),
            (controller.into(), (own, self.controller_port()).into()),
        ]
    }
}

impl Layout {
    /// Errors: the ports do not fit, or the directory belongs to a cluster of another size.
    pub(super) fn new(args: &DevArgs) -> Result<Self, Failure> {
        let count = args.brokers;
        let last = u32::from(args.port) + 2 * u32::from(count);
        if last > u32::from(u16::MAX) {
            return Err(Failure::new(
                Exit::Usage,
                format!("{count} nodes need the ports {}..{last}", args.port),
            )
            .why("a port is at most 65535")
            .next("ottla dev --port 9092"));
        }
        fs::create_dir_all(&args.dir)
            .map_err(|error| cannot("make the data directory", &args.dir, error))?;
        let dir = fs::canonicalize(&args.dir)
            .map_err(|error| cannot("find the data directory", &args.dir, error))?;
        let node = |id: u16| NodeLayout {
            id,
            dir: dir.join(id.to_string()),
            port: args.port + 2 * (id - 1),
        };
        let nodes: Vec<NodeLayout> = (1..=count).map(node).collect();
        let layout = Self { dir, nodes, controllers: controllers(count) };
        layout.keep_size(args)?;
        Ok(layout)
    }

    /// The voters of the metadata log are fixed when it is made: a cluster keeps its size.
    fn keep_size(&self, args: &DevArgs) -> Result<(), Failure> {
        let path = self.dir.join("cluster.properties");
        let written = format!("brokers={}\n", self.nodes.len());
        match fs::read_to_string(&path) {
            Ok(text) if text == written => Ok(()),
            Ok(text) => {
                let known = text.trim().trim_start_matches("brokers=").to_owned();
                Err(Failure::new(
                    Exit::Usage,
                    format!("the data is of a cluster of {known}, not of {}", self.nodes.len()),
                )
                .place(self.dir.display().to_string())
                .why("the voters of the metadata log were fixed when it was made")
                .next(format!("ottla dev --brokers {known}, or another --dir")))
            }
            Err(_) if self.dir.join("logs").is_dir() => {
                Err(Failure::new(Exit::Usage, "the data was made by an older `ottla dev`")
                    .place(self.dir.display().to_string())
                    .why("each node has a directory of its own now")
                    .next(format!(
                        "mkdir {0}/1 && mv {0}/logs {0}/1/, or another --dir",
                        args.dir.display()
                    )))
            }
            Err(_) => fs::write(&path, written)
                .map_err(|error| cannot("write the cluster's size", &path, error)),
        }
    }

    /// `host:port` of every broker.
    pub(super) fn bootstrap(&self) -> String {
        let all: Vec<String> =
            self.nodes.iter().map(|node| format!("localhost:{}", node.port)).collect();
        all.join(",")
    }

    pub(super) fn controllers(&self) -> u16 {
        self.controllers
    }

    /// Writes each node's configuration and formats what is not formatted, all with one cluster id.
    pub(super) fn prepare(
        &self,
        program: &Path,
        overrides: &[(String, String)],
    ) -> Result<(), Failure> {
        let known = self.nodes.iter().find_map(cluster_id);
        let cluster_id = match known {
            Some(id) => id,
            None => Uuid::random(&mut world()?.rng("cluster id")).to_string(),
        };
        for node in &self.nodes {
            fs::create_dir_all(&node.dir)
                .map_err(|error| cannot("make the node's directory", &node.dir, error))?;
            fs::write(node.config(), self.properties(node, overrides))
                .map_err(|error| cannot("write the node's configuration", &node.config(), error))?;
            format(program, node, &cluster_id)?;
        }
        Ok(())
    }

    fn properties(&self, node: &NodeLayout, overrides: &[(String, String)]) -> String {
        let is_controller = node.id <= self.controllers;
        let (port, controller) = (node.port, node.controller_port());
        let roles = if is_controller { "broker,controller" } else { "broker" };
        let mut listen = format!("PLAINTEXT://127.0.0.1:{port}");
        let mut advertised = format!("PLAINTEXT://localhost:{port}");
        let mut between = String::new();
        let own = if self.nodes.len() > 1 {
            // Others come through a proxy, which can be cut off; clients do not.
            let (own, proxy) = (own_address(node.id), proxy_address(node.id));
            listen.push_str(&format!(",INTERNAL://{own}:{port}"));
            advertised.push_str(&format!(",INTERNAL://{proxy}:{port}"));
            between.push_str(
                "inter.broker.listener.name=INTERNAL\n\
                 listener.security.protocol.map=PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT\n",
            );
            own
        } else {
            Ipv4Addr::LOCALHOST.into()
        };
        if is_controller {
            listen.push_str(&format!(",CONTROLLER://{own}:{controller}"));
        }
        let voters: Vec<String> = self
            .nodes
            .iter()
            .take(usize::from(self.controllers))
            .map(|voter| format!("{}@127.0.0.1:{}", voter.id, voter.controller_port()))
            .collect();
        let copies = self.nodes.len().min(3);
        let in_sync = copies.saturating_sub(1).max(1);
        let mut text = format!(
            "# Written by `ottla dev` at each start.\n\
             process.roles={roles}\nnode.id={}\n\
             listeners={listen}\n\
             advertised.listeners={advertised}\n\
             controller.listener.names=CONTROLLER\n\
             {between}\
             controller.quorum.voters={}\n\
             default.replication.factor={copies}\nmin.insync.replicas={in_sync}\n\
             offsets.topic.replication.factor={copies}\ngroup.initial.rebalance.delay.ms=0\n\
             log.dirs={}\n",
            node.id,
            voters.join(","),
            node.dir.join("logs").display(),
        );
        for (name, value) in overrides {
            text.push_str(&format!("{name}={value}\n"));
        }
        text
    }
}

/// An odd number: of two voters the loss of either stops the quorum, so the second would only do harm.
fn controllers(nodes: u16) -> u16 {
    let most = nodes.min(CONTROLLERS_MAX);
    if most.is_multiple_of(2) { most - 1 } else { most }
}

/// The id with which a node was formatted.
fn cluster_id(node: &NodeLayout) -> Option<String> {
    let text = fs::read_to_string(node.dir.join("logs").join("meta.properties")).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("cluster.id="))?;
    Some(id.trim().to_owned())
}

fn format(program: &Path, node: &NodeLayout, cluster_id: &str) -> Result<(), Failure> {
    let mut command = Command::new(program);
    command.args(["format", "--quiet", "--ignore-formatted", "-t", cluster_id, "-c"]);
    command.arg(node.config());
    let what = format!("cannot format node {}", node.id);
    let output = command.output();
    let output = output.map_err(|error| Failure::new(Exit::Failed, what.as_str()).why(error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, what)
        .place(node.config().display().to_string())
        .why(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn cannot(what: &str, place: &Path, error: std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot {what}"))
        .place(place.display().to_string())
        .why(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(nodes: u16) -> Layout {
        let node = |id: u16| NodeLayout {
            id,
            dir: PathBuf::from(format!("/d/{id}")),
            port: 9090 + 2 * id,
        };
        Layout {
            dir: PathBuf::from("/d"),
            nodes: (1..=nodes).map(node).collect(),
            controllers: controllers(nodes),
        }
    }

    #[test]
    fn voters_are_odd_and_at_most_three() {
        assert_eq!([1, 2, 3, 4, 5].map(controllers), [1, 1, 3, 3, 3]);
    }

    #[test]
    fn a_node_beyond_the_voters_is_a_broker_alone() {
        let layout = layout(4);
        let (third, fourth) =
            (layout.properties(&layout.nodes[2], &[]), layout.properties(&layout.nodes[3], &[]));
        assert!(third.contains("process.roles=broker,controller\nnode.id=3\nlisteners=PLAINTEXT://127.0.0.1:9096,INTERNAL://127.77.0.3:9096,CONTROLLER://127.77.0.3:9097\n"), "{third}");
        assert!(
            fourth.contains(
                "process.roles=broker\nnode.id=4\nlisteners=PLAINTEXT://127.0.0.1:9098,INTERNAL://127.77.0.4:9098\n"
            ),
            "{fourth}"
        );
        assert!(fourth.contains(
            "controller.quorum.voters=1@127.0.0.1:9093,2@127.0.0.1:9095,3@127.0.0.1:9097\n"
        ));
        assert!(fourth.contains("default.replication.factor=3\nmin.insync.replicas=2\n"));
        for text in [&third, &fourth] {
            ottla::server::Config::parse(text, &std::collections::BTreeMap::new()).unwrap();
        }
    }

    #[test]
    fn one_node_keeps_one_copy_and_what_the_user_says_comes_last() {
        let layout = layout(1);
        let overrides = [("num.partitions".to_owned(), "7".to_owned())];
        let text = layout.properties(&layout.nodes[0], &overrides);
        assert!(text.contains("default.replication.factor=1\nmin.insync.replicas=1\n"), "{text}");
        assert!(text.contains("\noffsets.topic.replication.factor=1\n"), "{text}");
        assert!(text.ends_with("num.partitions=7\n"), "{text}");
        for line in [&text, &layout.properties(&layout.nodes[0], &[])] {
            ottla::server::Config::parse(line, &std::collections::BTreeMap::new()).unwrap();
        }
        assert_eq!(layout.bootstrap(), "localhost:9092");
    }
}
