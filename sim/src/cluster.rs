//! The nodes of a run: how each is started, and what can be done to it.
//!
//! A cluster only remembers the factory of each node, so that whoever injects faults can say "start it again". Disks, clocks
//! and addresses are the world's and outlive every start. Clients are nodes like brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla::runtime::BoxFuture;

use crate::world::disk::{PowerLoss, PowerLossMode};
use crate::world::{NodeContext, NodeId, Process, ProcessEnd, World};

/// Makes a node's main future at each start. It runs until the node ends by itself: asked by
/// [`NodeContext::shutdown_asked`], or because it must.
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

    /// Adds a node with this host name. It does not run yet.
    pub fn add(&self, name: &str, factory: NodeFactory) -> NodeId {
        let node = self.world.add_node(name);
        self.replace(node, factory);
        node
    }

    /// Gives a node another factory from its next start on (another configuration, say).
    pub fn replace(&self, node: NodeId, factory: NodeFactory) {
        let mut factories = self.factories.lock().expect("nothing panics with it locked");
        factories.insert(node, factory);
    }

    /// Starts a node, with power if it has none.
    ///
    /// Panics where it runs, or was never added.
    pub fn start(&self, node: NodeId) -> Arc<Process> {
        let factories = self.factories.lock().expect("nothing panics with it locked");
        let factory = Arc::clone(factories.get(&node).expect("a node of this cluster"));
        drop(factories);
        self.world.start(node, |context| factory(context))
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

    /// Takes the power from a node's machine.
    pub fn power_loss(&self, node: NodeId, mode: PowerLossMode) -> PowerLoss {
        self.world.power_loss(node, mode)
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

    /// Replaces the disk of a node by an empty one, under the same id.
    ///
    /// Panics where it runs.
    pub fn wipe(&self, node: NodeId) {
        self.world.wipe(node);
    }

    /// Ends every fault of network, disks and clocks, and lets paused nodes go on but those `left_out`. Dead nodes stay dead.
    pub fn heal(&self, left_out: &BTreeSet<NodeId>) {
        self.world.network().lift_all();
        for machine in self.world.machines() {
            machine.disk.lift_all();
            machine.clock.drift(0);
            machine.clock.correct_wall();
            let is_paused = machine.process().is_some_and(|process| process.is_paused());
            if is_paused && !left_out.contains(&machine.node) {
                self.world.resume(machine.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use bytes::Bytes;
    use ottla::runtime::{OpenMode, sync};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::world::{WorldOptions, address_of, run};

    /// Writes "durable", syncs, writes "unsynced"; then answers each connection with the file's length and lives on.
    async fn server(context: NodeContext) -> ProcessEnd {
        let env = context.env;
        let path = Path::new("/data/file");
        env.disk.create_dir_all(Path::new("/data")).await.unwrap();
        let file = env.disk.open(path, OpenMode::Create).await.unwrap();
        let start = file.length().await.unwrap();
        if start == 0 {
            file.write_at(0, vec![Bytes::from_static(b"durable")]).await.unwrap();
            sync(file.as_ref()).await.unwrap();
            env.disk.sync_dir(Path::new("/data")).await.unwrap();
            env.disk.sync_dir(Path::new("/")).await.unwrap();
            file.write_at(7, vec![Bytes::from_static(b"unsynced")]).await.unwrap();
        }
        let mut listener = env.net.listen("0.0.0.0:9092".parse().unwrap()).await.unwrap();
        loop {
            let mut stream = listener.accept().await.unwrap().into_stream().unwrap();
            stream.write_u64(start).await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
    }

    async fn ask(world: &Arc<World>, client: &Cluster, server: NodeId) -> u64 {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let sender = Arc::new(Mutex::new(Some(sender)));
        let address = SocketAddr::new(address_of(server), 9092);
        let node = client.add(
            &format!("client {}", world.now()),
            factory(move |context| {
                let sender = Arc::clone(&sender);
                async move {
                    let mut stream = context.env.net.connect(address).await.unwrap();
                    let answer = stream.read_u64().await.unwrap();
                    let _ = sender.lock().unwrap().take().unwrap().send(answer);
                    ProcessEnd::Clean
                }
            }),
        );
        client.start(node);
        receiver.await.unwrap()
    }

    fn lengths(seed: u64, mode: Option<PowerLossMode>) -> (Vec<u64>, crate::trace::TraceResult) {
        let finished = run(WorldOptions::new(seed).recording(), move |world| async move {
            let cluster = Cluster::new(Arc::clone(&world));
            let node = cluster.add("server", factory(server));
            let mut lengths = Vec::new();
            for _ in 0..2 {
                cluster.start(node);
                world.sleep(Duration::from_millis(1)).await;
                lengths.push(ask(&world, &cluster, node).await);
                match mode {
                    None => drop(cluster.kill(node)),
                    Some(mode) => drop(cluster.power_loss(node, mode)),
                }
            }
            lengths
        });
        let finished = finished.unwrap();
        (finished.value, finished.trace)
    }

    #[test]
    fn a_kill_keeps_the_page_cache_and_a_power_loss_does_not() {
        assert_eq!(lengths(1, None).0, [0, 15]);
        assert_eq!(lengths(1, Some(PowerLossMode::LoseUnsynced)).0, [0, 7]);
        assert_eq!(lengths(1, Some(PowerLossMode::KeepAll)).0, [0, 15]);
    }

    #[test]
    fn a_seed_repeats_to_the_bit_and_another_does_not() {
        let mode = Some(PowerLossMode::LoseRandomUnsynced);
        let (first, again, other) = (lengths(7, mode), lengths(7, mode), lengths(8, mode));
        assert_eq!(first.1.compare(&again.1), Ok(()));
        assert!(first.1.compare(&other.1).is_err());
    }
}
