//! The world held to its promises: the suite that the real world passes too, and every fault.

mod clocks;
mod disks;
mod leaks;
mod networks;
mod processes;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla::runtime::Env;
use ottla::runtime::conformance::{
    DISK_CASES, DiskEnds, NET_CASES, NetEnds, all_disk_cases, all_net_cases, no_space,
};
use ottla::types::Observation;

use super::disk::{DiskLatency, PowerLossMode};
use super::net::{LinkConfig, TcpConfig};
use super::*;

/// Runs `main` in a world of `seed`.
#[track_caller]
fn world<T, F>(seed: u64, main: impl FnOnce(Arc<World>) -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    run(WorldOptions::new(seed), main).unwrap_or_else(|failed| panic!("{failed}")).value
}

/// Starts a node that only lends its environment to the test.
fn boot(world: &Arc<World>, node: NodeId) -> Env {
    let mut lent = None;
    world.start(node, |context| {
        lent = Some(context.env.clone());
        async move {
            let mut context = context;
            context.shutdown_asked().await;
            ProcessEnd::Clean
        }
    });
    lent.expect("the main function was called")
}

fn two(world: &Arc<World>) -> (NodeId, Env, NodeId, Env) {
    let (a, b) = (world.add_node("a"), world.add_node("b"));
    (a, boot(world, a), b, boot(world, b))
}

fn at(node: NodeId, port: u16) -> SocketAddr {
    SocketAddr::new(address_of(node), port)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

async fn disk_suite(world: Arc<World>) {
    let node = world.add_node("a");
    let disk = boot(&world, node).disk;
    all_disk_cases(DiskEnds { disk, root: PathBuf::from("/data") }, |_| {}).await;
}

async fn net_suite(world: Arc<World>, loopback: bool) {
    let (_, a, b, b_env) = two(&world);
    let ip = if loopback { "127.0.0.1".parse().unwrap() } else { address_of(b) };
    let ends = NetEnds {
        client: if loopback { Arc::clone(&b_env.net) } else { a.net },
        server: b_env.net,
        listen_on: SocketAddr::new(ip, 0),
        silent: "10.9.9.9:9092".parse().unwrap(),
        clock: a.clock,
    };
    all_net_cases(ends, |_| {}).await;
}

#[test]
fn simulated_files_behave_as_the_suite_says() {
    assert!(!DISK_CASES.is_empty());
    for seed in 0..5 {
        world(seed, disk_suite);
    }
}

#[test]
fn simulated_files_behave_as_the_suite_says_where_everything_takes_time() {
    for seed in 0..5 {
        world(seed, |world| async move {
            let node = world.add_node("a");
            let some = Distribution::lognormal(ms(1), ms(20));
            let latency = DiskLatency {
                read: some.clone(),
                write: some.clone(),
                sync: some.clone(),
                name: some,
            };
            world.machine(node).disk.set_latency(latency);
            let disk = boot(&world, node).disk;
            all_disk_cases(DiskEnds { disk, root: PathBuf::from("/data") }, |_| {}).await;
        });
    }
}

#[test]
fn simulated_disks_fill_up_as_the_suite_says() {
    world(1, |world| async move {
        let node = world.add_node("a");
        world.machine(node).disk.set_capacity(Some(100_000));
        let disk = boot(&world, node).disk;
        no_space(DiskEnds { disk, root: PathBuf::from("/") }, 100_000).await;
    });
}

#[test]
fn simulated_connections_behave_as_the_suite_says() {
    assert!(!NET_CASES.is_empty());
    for seed in 0..5 {
        world(seed, |world| net_suite(world, false));
        world(seed, |world| net_suite(world, true));
    }
}

#[test]
fn simulated_connections_behave_as_the_suite_says_on_bad_links_in_small_pieces() {
    for seed in 0..5 {
        world(seed, |world| async move {
            let latency = Distribution::Uniform { low: ms(1), high: ms(20) };
            let link = LinkConfig { latency, bandwidth: Some(10_000_000), loss: 1_000 };
            world.network().set_ordinary_link(link);
            let (send_buffer, receive_buffer) = (16 * 1024, 16 * 1024);
            let tcp =
                TcpConfig { partial: 500_000, send_buffer, receive_buffer, ..TcpConfig::default() };
            world.network().set_tcp(tcp);
            net_suite(world, false).await;
        });
    }
}

/// Keeps everything it hears.
#[derive(Default)]
struct Ear {
    observations: Mutex<Vec<(SimTime, NodeId, Boot, Observation)>>,
    events: Mutex<Vec<WorldEvent>>,
}

impl EventSink for Ear {
    fn observation(&self, at: SimTime, node: NodeId, boot: Boot, observation: &Observation) {
        self.observations.lock().unwrap().push((at, node, boot, *observation));
    }

    fn world(&self, _: SimTime, event: &WorldEvent) {
        self.events.lock().unwrap().push(event.clone());
    }
}

/// Prints frames and simulated seconds per CPU-second of the bare world. Not a check: `cargo sim bench` is.
#[test]
fn ping_pong_of_frames_is_quick() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const ROUNDS: u64 = 20_000;
    let finished = run(WorldOptions::new(1), |world| async move {
        let (_, a, b, b_env) = two(&world);
        let mut listener = b_env.net.listen(at(b, 9092)).await.unwrap();
        let echo = async {
            let mut stream = listener.accept().await.unwrap().into_stream().unwrap();
            let mut frame = [0; 112];
            while stream.read_exact(&mut frame).await.is_ok() {
                stream.write_all(&frame).await.unwrap();
            }
        };
        let ask = async {
            let mut stream = a.net.connect(at(b, 9092)).await.unwrap();
            let mut frame = [0u8; 112];
            frame[..4].copy_from_slice(&108i32.to_be_bytes());
            for _ in 0..ROUNDS {
                stream.write_all(&frame).await.unwrap();
                stream.read_exact(&mut frame).await.unwrap();
            }
        };
        tokio::join!(echo, ask);
        cpu_nanos()
    });
    let finished = finished.unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(finished.frames, 2 * ROUNDS);
    let nanos = finished.value / finished.frames;
    println!("{nanos} ns of CPU a frame, {} simulated", finished.lasted);
}

/// What the thread that asks has used.
fn cpu_nanos() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}
