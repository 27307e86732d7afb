//! The nodes of a real run: how each is started, and what can be done to it. Has the names that the simulated one has.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla::runtime::BoxFuture;

use crate::world::server::Server;
use crate::world::{NodeContext, NodeId, Process, ProcessEnd, World};

/// Makes a client's main future at each start. It runs until the client ends by itself.
pub type NodeFactory = Arc<dyn Fn(NodeContext) -> BoxFuture<'static, ProcessEnd> + Send + Sync>;

/// Makes a factory of an async closure.
pub fn factory<F>(make: impl Fn(NodeContext) -> F + Send + Sync + 'static) -> NodeFactory
where
    F: Future<Output = ProcessEnd> + Send + 'static,
{
    Arc::new(move |context| Box::pin(make(context)))
}

/// The nodes of a run.
pub struct Cluster {
    world: Arc<World>,
    factories: Mutex<BTreeMap<NodeId, NodeFactory>>,
}

impl Cluster {
    /// No node yet.
    #[must_use]
    pub fn new(world: Arc<World>) -> Self {
        Self { world, factories: Mutex::new(BTreeMap::new()) }
    }

    /// The world they are in.
    #[must_use]
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Adds a client with this name. It does not run yet.
    pub fn add(&self, name: &str, factory: NodeFactory) -> NodeId {
        let node = self.world.add_node(name, None);
        self.replace(node, factory);
        node
    }

    /// Adds a node, whose process is the real binary's. It does not run yet.
    pub fn add_server(&self, name: &str, server: Server) -> NodeId {
        self.world.add_node(name, Some(server))
    }

    /// Gives a client another factory from its next start on.
    pub fn replace(&self, node: NodeId, factory: NodeFactory) {
        let mut factories = self.factories.lock().expect("nothing panics with it locked");
        factories.insert(node, factory);
    }

    /// Starts a node or client.
    ///
    /// Panics where it runs, or was never added.
    pub fn start(&self, node: NodeId) -> Arc<Process> {
        if self.world.machine(node).server.is_some() {
            return self.world.start_server(node);
        }
        let factories = self.factories.lock().expect("nothing panics with it locked");
        let factory = Arc::clone(factories.get(&node).expect("a client of this cluster"));
        drop(factories);
        self.world.start_client(node, move |context| factory(context))
    }

    /// Whether a node runs or is paused.
    #[must_use]
    pub fn is_running(&self, node: NodeId) -> bool {
        self.world.machine(node).process().is_some()
    }

    /// Ends a node's process without warning. False where none runs.
    pub fn kill(&self, node: NodeId) -> bool {
        self.world.kill(node)
    }

    /// Stops a node's process. False where none runs.
    pub fn pause(&self, node: NodeId) -> bool {
        self.world.pause(node)
    }

    /// Lets a paused process go on. False where none runs.
    pub fn resume(&self, node: NodeId) -> bool {
        self.world.resume(node)
    }

    /// Asks a node to stop in good order and waits for its end, at most `patience`. False where it still runs then.
    pub async fn shutdown(&self, node: NodeId, patience: Duration) -> bool {
        let Some(process) = self.world.machine(node).process() else { return true };
        self.world.ask_shutdown(node);
        tokio::select! {
            biased;
            () = process.ended() => true,
            () = self.world.sleep(patience) => false,
        }
    }

    /// Empties the log directories of a node, under the same id.
    ///
    /// Panics where it runs.
    pub fn wipe(&self, node: NodeId) {
        self.world.wipe(node);
    }

    /// Heals every cut and lets paused nodes go on but those `left_out`. Dead nodes stay dead.
    pub fn heal(&self, left_out: &BTreeSet<NodeId>) {
        self.world.heal_all();
        for machine in self.world.machines() {
            let is_paused = machine.process().is_some_and(|process| process.is_paused());
            if is_paused && !left_out.contains(&machine.node) {
                self.world.resume(machine.node);
            }
        }
    }
}
