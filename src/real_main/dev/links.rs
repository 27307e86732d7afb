//! The links between the nodes of a development cluster: each node is reached by the others through a proxy of this process,
//! so that one can be cut off from the rest. Clients reach every node directly, and always.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc;

use ottla::runtime::links::Links;

use super::layout::NodeLayout;
use crate::real_main::failure::{Exit, Failure};

/// The links of a cluster that runs.
#[derive(Debug)]
pub(super) struct Wires {
    links: Arc<Links>,
    nodes: Vec<u16>,
    /// The nodes that are cut off.
    apart: BTreeSet<u16>,
}

/// The address that a node listens at for the others, and from which it connects to them. The whole of 127.0.0.0/8 is this
/// machine.
pub(super) fn own_address(node: u16) -> IpAddr {
    let [high, low] = node.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 77, high, low))
}

/// The address of the proxy through which brokers reach a node.
pub(super) fn proxy_address(node: u16) -> IpAddr {
    let [high, low] = node.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 78, high, low))
}

impl Wires {
    /// Opens the proxies, on a thread that lives as long as this process.
    ///
    /// Errors: an address cannot be listened on.
    #[expect(clippy::disallowed_methods, reason = "the supervisor stands outside the node's world")]
    pub(super) fn open(nodes: &[NodeLayout]) -> Result<Self, Failure> {
        let links = Links::new();
        let mut proxies = Vec::new();
        for node in nodes {
            links.name(own_address(node.id), node.id.into());
            proxies.extend(node.proxies().map(|(listen, upstream)| (node.id, listen, upstream)));
        }
        let (told, hear) = mpsc::channel();
        let of_thread = Arc::clone(&links);
        std::thread::spawn(move || serve(&of_thread, &proxies, &told));
        let opened = hear.recv().unwrap_or_else(|_| Err(("the links".into(), "no thread".into())));
        opened.map_err(|(place, why)| {
            Failure::new(Exit::Failed, "cannot open the links between the nodes")
                .place(place)
                .why(why)
                .next("use another --port")
        })?;
        let nodes = nodes.iter().map(|node| node.id).collect();
        Ok(Self { links, nodes, apart: BTreeSet::new() })
    }

    /// Whether a node is cut off.
    pub(super) fn is_apart(&self, node: u16) -> bool {
        self.apart.contains(&node)
    }

    /// Cuts a node off from all others, both ways.
    ///
    /// Errors: it is already.
    pub(super) fn isolate(&mut self, node: u16) -> Result<(), String> {
        if !self.apart.insert(node) {
            return Err(format!("node {node} is cut off already; `ottla dev rejoin {node}`"));
        }
        self.apply();
        Ok(())
    }

    /// Lets a node reach the others again, and them it.
    ///
    /// Errors: it does.
    pub(super) fn rejoin(&mut self, node: u16) -> Result<(), String> {
        if !self.apart.remove(&node) {
            return Err(format!("node {node} is not cut off"));
        }
        self.apply();
        Ok(())
    }

    fn apply(&self) {
        let is_cut =
            |one: &u16, other: &u16| one != other && (self.is_apart(*one) || self.is_apart(*other));
        let pairs = self.nodes.iter().flat_map(|one| self.nodes.iter().map(move |to| (one, to)));
        let cut = pairs.filter(|(one, other)| is_cut(one, other));
        self.links.set(cut.map(|(one, other)| ((*one).into(), (*other).into())).collect());
    }
}

/// A proxy: before which node, where it listens, and where the node does.
type Proxy = (u16, SocketAddr, SocketAddr);
/// Whether all are open; where not, which is not and why.
type Opened = Result<(), (String, String)>;

/// Runs the proxies for as long as the process lives.
fn serve(links: &Arc<Links>, proxies: &[Proxy], told: &mpsc::Sender<Opened>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = told.send(Err(("the links".into(), error.to_string())));
            return;
        }
    };
    runtime.block_on(async {
        for (node, listen, upstream) in proxies {
            if let Err(error) = links.open((*node).into(), *listen, *upstream) {
                let _ = told.send(Err((listen.to_string(), error.to_string())));
                return;
            }
        }
        let _ = told.send(Ok(()));
        std::future::pending::<()>().await;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_cut_off_reaches_nobody_and_nobody_him() {
        let mut wires = Wires { links: Links::new(), nodes: vec![1, 2, 3], apart: BTreeSet::new() };
        let cut = |wires: &Wires| -> Vec<(u32, u32)> {
            let all = (1..=3).flat_map(|one| (1..=3).map(move |other| (one, other)));
            all.filter(|(one, other)| wires.links.is_cut(*one, *other)).collect()
        };
        wires.isolate(2).unwrap();
        assert_eq!(cut(&wires), [(1, 2), (2, 1), (2, 3), (3, 2)]);
        assert!(wires.isolate(2).is_err());
        wires.isolate(3).unwrap();
        wires.rejoin(2).unwrap();
        assert_eq!(cut(&wires), [(1, 3), (2, 3), (3, 1), (3, 2)]);
        assert!(wires.rejoin(2).is_err());
        wires.rejoin(3).unwrap();
        assert_eq!(cut(&wires), []);
    }
}
