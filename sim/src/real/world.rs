//! The real world of a run: real processes of the real binary on this machine, its clock, its disks, and loopback links that
//! can be cut. Has the names that the simulated world has, as far as `run/` uses them.
//!
//! A node is a child process ([`server`]); what it says of itself it appends to a file, which is read as it grows. A client is
//! a thread with a runtime of its own: to kill it is to drop that with all that is in it. Every node and client connects from
//! a loopback address of its own, so that each link can be cut ([`ottla::runtime::links`]).

#[path = "../world/look.rs"]
mod look;
#[path = "../world/name.rs"]
mod name;
pub mod server;
mod thread;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ottla::runtime::links::Links;
use ottla::runtime::{Clock, Env, clock, real_env_at, real_wall_clock, signal, watch};
use ottla::types::{Monotonic, Observation};

use rand::RngExt;

use crate::scenario::draw::rng_of;
pub use look::Look;
pub use name::{Boot, NodeId, SimTime, ways};
use server::{Running, Server};

/// How often is looked what nodes have said and whether they live.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Whoever watches is told when the testbed did nothing for longer than this: whatever was missed then, it was not the nodes.
const STALL: Duration = Duration::from_secs(1);

/// Runs under way on this machine get networks of their own; the first of them.
const NETWORK_FIRST: u32 = 64;

/// Hears what happens in a world: must be quick and must not call the world back.
pub trait EventSink: Send + Sync {
    /// A running node spoke of itself.
    fn observation(&self, at: SimTime, node: NodeId, boot: Boot, observation: &Observation);

    /// The world itself did something.
    fn world(&self, at: SimTime, event: &WorldEvent);
}

/// Something that was done to a node or client, or happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields carry the world's ordinary names")]
pub enum WorldEvent {
    /// It was started.
    Started { node: NodeId, boot: Boot },
    /// It was ended by SIGKILL.
    Killed { node: NodeId },
    /// It was stopped by SIGSTOP.
    Paused { node: NodeId },
    /// It goes on after SIGCONT.
    Resumed { node: NodeId },
    /// It ended by itself, asked or not.
    Ended { node: NodeId, end: ProcessEnd },
    /// A client panicked.
    Panicked { node: NodeId, message: String },
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEnd {
    /// In good order: exit code 0.
    Clean,
    /// With this status.
    Failed(String),
}

/// What a client's main future is given.
pub struct NodeContext {
    /// The world, as it may see it.
    pub env: Env,
}

/// One start of a node or client.
pub struct Process {
    boot: Boot,
    what: Kind,
    is_paused: AtomicBool,
    ended: watch::Sender<bool>,
}

enum Kind {
    Server(Mutex<Running>),
    /// Turns true when it is to end at once.
    Client(watch::Sender<bool>),
}

impl Process {
    /// Whether it stands still.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    /// Waits until it is dead, whatever ended it.
    pub async fn ended(&self) {
        let mut ended = self.ended.subscribe();
        // The sender lives in `self`: it cannot be gone.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

/// What survives the restarts of a process.
pub struct Machine {
    /// Its name in the world.
    pub node: NodeId,
    /// Its host name, for its directory.
    pub name: String,
    /// Where its connections come from.
    pub address: IpAddr,
    /// What is started on it; `None` for clients.
    pub server: Option<Server>,
    state: Mutex<MachineState>,
}

#[derive(Default)]
struct MachineState {
    boots: u32,
    process: Option<Arc<Process>>,
}

impl Machine {
    fn lock(&self) -> MutexGuard<'_, MachineState> {
        self.state.lock().expect("nothing panics with a machine locked")
    }

    /// What runs on it, paused or not.
    #[must_use]
    pub fn process(&self) -> Option<Arc<Process>> {
        self.lock().process.clone()
    }
}

/// What a world is made from.
#[derive(Clone)]
pub struct WorldOptions {
    /// What clients draw comes from it.
    pub seed: u64,
    /// The binary whose processes the nodes are.
    pub program: PathBuf,
    /// What its lines of progress begin with.
    pub label: String,
    /// Where nodes keep their files: an absolute path. Made if missing.
    pub dir: PathBuf,
    /// Who hears what happens.
    pub sink: Arc<dyn EventSink>,
}

/// See the module.
pub struct World {
    options: WorldOptions,
    clock: Arc<dyn Clock>,
    begun: Monotonic,
    /// What the wall clock showed when the world began, in milliseconds.
    wall_begun: i64,
    /// The first three bytes of every address.
    network: [u8; 3],
    links: Arc<Links>,
    cuts: Mutex<Cuts>,
    placed: Mutex<BTreeMap<String, Placed>>,
    machines: Mutex<BTreeMap<NodeId, Arc<Machine>>>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

/// Where a node is.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// Where it listens for clients.
    pub listens: SocketAddr,
    /// Where it listens for voters and brokers, if it is a voter.
    pub listens_as_voter: SocketAddr,
    /// Where clients reach it: its proxy.
    pub reached: SocketAddr,
    /// Where voters and brokers reach it, if it is a voter: its other proxy.
    pub reached_as_voter: SocketAddr,
}

/// The cuts under way. Two may lie over one link: it is whole when both are healed.
#[derive(Default)]
struct Cuts {
    next: u64,
    under_way: BTreeMap<u64, Vec<(NodeId, NodeId)>>,
}

impl World {
    /// The time since the world began.
    #[must_use]
    pub fn now(&self) -> SimTime {
        SimTime(0) + self.clock.now().monotonic.since(self.begun)
    }

    /// When the wall clock showed so many milliseconds.
    fn moment_of(&self, wall_millis: i64) -> SimTime {
        let since = u64::try_from(wall_millis.saturating_sub(self.wall_begun)).unwrap_or(0);
        SimTime(0) + Duration::from_millis(since)
    }

    /// Waits.
    pub async fn sleep(&self, span: Duration) {
        clock::sleep(self.clock.as_ref(), span).await;
    }

    /// Waits until a moment.
    pub async fn sleep_until(&self, at: SimTime) {
        self.sleep(at.since(self.now())).await;
    }

    /// Where nodes keep their files.
    #[must_use]
    pub fn dir(&self) -> &PathBuf {
        &self.options.dir
    }

    /// Tells whoever watches how it goes, on standard error.
    pub fn say(&self, what: &str) {
        eprintln!("{}: {what}", self.options.label);
    }

    /// Finds free ports for the node called `name`, which is added next, and opens the proxies before it.
    ///
    /// Errors: there are none.
    pub fn place(&self, name: &str) -> std::io::Result<()> {
        let (node, address) = self.next_node();
        // The proxies are at another address than the nodes: nobody's connection takes a dead node's port from there.
        let proxies = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let free = || TcpListener::bind((address, 0))?.local_addr();
        let (listens, listens_as_voter) = (free()?, free()?);
        let placed = Placed {
            listens,
            listens_as_voter,
            reached: self.links.open(node.0, proxies, listens)?,
            reached_as_voter: self.links.open(node.0, proxies, listens_as_voter)?,
        };
        let mut all = self.placed.lock().expect("nothing panics with it locked");
        all.insert(name.to_owned(), placed);
        Ok(())
    }

    /// Where each node is.
    #[must_use]
    pub fn placed(&self) -> BTreeMap<String, Placed> {
        self.placed.lock().expect("nothing panics with it locked").clone()
    }

    /// The links between all.
    #[must_use]
    pub fn links(&self) -> &Arc<Links> {
        &self.links
    }

    // ── Machines ───────────────────────────────────────────────────────────────────────────────────────────────────────

    fn machines_locked(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<Machine>>> {
        self.machines.lock().expect("nothing panics with the machines locked")
    }

    /// The name and the address that the next machine gets.
    #[must_use]
    pub fn next_node(&self) -> (NodeId, IpAddr) {
        let number = u32::try_from(self.machines_locked().len()).expect("few nodes");
        let [a, b, c] = self.network;
        let last = u8::try_from(number + 1).expect("fewer than 255 nodes and clients");
        (NodeId(number), IpAddr::V4(Ipv4Addr::new(a, b, c, last)))
    }

    /// Adds a machine; with a server where it is a node.
    pub fn add_node(&self, name: &str, server: Option<Server>) -> NodeId {
        let (node, address) = self.next_node();
        self.links.name(address, node.0);
        let state = Mutex::default();
        let machine = Arc::new(Machine { node, name: name.to_owned(), address, server, state });
        self.machines_locked().insert(node, machine);
        node
    }

    /// A machine.
    ///
    /// Panics where there is none of this name: names come from [`World::add_node`].
    #[must_use]
    pub fn machine(&self, node: NodeId) -> Arc<Machine> {
        Arc::clone(self.machines_locked().get(&node).expect("a node of this world"))
    }

    /// Every machine, in the order they were added.
    #[must_use]
    pub fn machines(&self) -> Vec<Arc<Machine>> {
        self.machines_locked().values().cloned().collect()
    }

    fn tell(&self, event: &WorldEvent) {
        self.options.sink.world(self.now(), event);
    }

    // ── Processes ──────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Starts the node on a machine.
    ///
    /// Panics where it runs already, or cannot be started at all.
    pub fn start_server(&self, node: NodeId) -> Arc<Process> {
        let machine = self.machine(node);
        let server = machine.server.as_ref().expect("a node, not a client");
        let mut state = machine.lock();
        assert!(state.process.is_none(), "{} is started while it runs", machine.name);
        state.boots += 1;
        let boot = Boot(state.boots);
        let running = server.start(&self.options.program, machine.address, boot);
        let running = running.unwrap_or_else(|error| panic!("{}: {error}", machine.name));
        let process = Arc::new(Process::new(boot, Kind::Server(Mutex::new(running))));
        state.process = Some(Arc::clone(&process));
        drop(state);
        self.tell(&WorldEvent::Started { node, boot });
        process
    }

    /// Starts a client on a machine.
    ///
    /// Panics where it runs already.
    pub fn start_client(
        self: &Arc<Self>,
        node: NodeId,
        main: impl FnOnce(NodeContext) -> ottla::runtime::BoxFuture<'static, ProcessEnd>
        + Send
        + 'static,
    ) -> Arc<Process> {
        let machine = self.machine(node);
        let (kill, kills) = watch::channel(false);
        let mut state = machine.lock();
        assert!(state.process.is_none(), "{} is started while it runs", machine.name);
        state.boots += 1;
        let boot = Boot(state.boots);
        let process = Arc::new(Process::new(boot, Kind::Client(kill)));
        state.process = Some(Arc::clone(&process));
        drop(state);
        self.tell(&WorldEvent::Started { node, boot });
        let thread = thread::start(self, &machine, &process, kills, main);
        self.threads.lock().expect("nothing panics with the threads locked").push(thread);
        process
    }

    /// The seed that the testbed draws from.
    pub fn seed(&self) -> u64 {
        self.options.seed
    }

    /// The seed of a start of a client: others at each start.
    fn seed_of(&self, node: NodeId, boot: Boot) -> u64 {
        rng_of(self.options.seed, &format!("{node}, start {}", boot.0)).random()
    }

    /// A process has ended: forgets it, and tells.
    fn bury(&self, machine: &Machine, process: &Process, event: &WorldEvent) {
        let mut state = machine.lock();
        let is_it = state.process.as_ref().is_some_and(|now| now.boot == process.boot);
        if !is_it {
            return; // somebody else was faster
        }
        state.process = None;
        drop(state);
        self.tell(event);
        process.ended.send_replace(true);
    }

    /// Ends a process without warning. False where none runs.
    pub fn kill(&self, node: NodeId) -> bool {
        let machine = self.machine(node);
        let Some(process) = machine.process() else { return false };
        match &process.what {
            Kind::Server(running) => {
                let mut running = running.lock().expect("nothing panics with it locked");
                running.kill();
                let said = running.said();
                drop(running);
                self.hear(node, process.boot, said);
            }
            Kind::Client(kill) => drop(kill.send_replace(true)),
        }
        self.bury(&machine, &process, &WorldEvent::Killed { node });
        true
    }

    /// Stops a node's process. False where none runs, or it is a client's.
    pub fn pause(&self, node: NodeId) -> bool {
        let is_done = self.signal(node, rustix::process::Signal::STOP, true);
        if is_done {
            self.tell(&WorldEvent::Paused { node });
        }
        is_done
    }

    /// Lets a stopped process go on. False where none runs, or it is a client's.
    pub fn resume(&self, node: NodeId) -> bool {
        let is_done = self.signal(node, rustix::process::Signal::CONT, false);
        if is_done {
            self.tell(&WorldEvent::Resumed { node });
        }
        is_done
    }

    /// Asks a node to stop in good order.
    pub fn ask_shutdown(&self, node: NodeId) {
        self.signal(node, rustix::process::Signal::TERM, false);
    }

    fn signal(&self, node: NodeId, signal: rustix::process::Signal, is_paused: bool) -> bool {
        let Some(process) = self.machine(node).process() else { return false };
        let Kind::Server(running) = &process.what else { return false };
        let sent = running.lock().expect("nothing panics with it locked").signal(signal);
        if sent {
            process.is_paused.store(is_paused, Ordering::Relaxed);
        }
        sent
    }

    /// Empties the disk of a node that does not run.
    ///
    /// Panics where it runs, or its files cannot be removed.
    pub fn wipe(&self, node: NodeId) {
        let machine = self.machine(node);
        assert!(machine.process().is_none(), "{} is wiped while it runs", machine.name);
        let wiped = machine.server.as_ref().expect("a node, not a client").wipe();
        wiped.unwrap_or_else(|error| panic!("{}: {error}", machine.name));
    }

    fn hear(&self, node: NodeId, boot: Boot, said: Vec<(i64, Observation)>) {
        for (at, observation) in said {
            self.options.sink.observation(self.moment_of(at), node, boot, &observation);
        }
    }

    /// Hears what all nodes have said, and notices those that ended.
    fn look(&self) {
        for machine in self.machines() {
            let Some(process) = machine.process() else { continue };
            let Kind::Server(running) = &process.what else { continue };
            let mut running = running.lock().expect("nothing panics with it locked");
            // First whether it has ended: then what it said is whole.
            let end = running.ended();
            let said = running.said();
            drop(running);
            self.hear(machine.node, process.boot, said);
            if let Some(end) = end {
                let event = WorldEvent::Ended { node: machine.node, end };
                self.bury(&machine, &process, &event);
            }
        }
    }

    // ── Links ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    fn cuts(&self) -> MutexGuard<'_, Cuts> {
        self.cuts.lock().expect("nothing panics with the cuts locked")
    }

    /// Cuts these ways: nothing of the first arrives at the second. Returns the cut's number.
    pub fn cut(&self, ways: Vec<(NodeId, NodeId)>) -> u64 {
        let mut cuts = self.cuts();
        cuts.next += 1;
        let number = cuts.next;
        cuts.under_way.insert(number, ways);
        self.apply(&cuts);
        number
    }

    /// Heals a cut.
    pub fn heal_cut(&self, number: u64) {
        let mut cuts = self.cuts();
        cuts.under_way.remove(&number);
        self.apply(&cuts);
    }

    /// Heals one way, whatever cut it.
    pub fn heal_way(&self, from: NodeId, to: NodeId) {
        let mut cuts = self.cuts();
        cuts.under_way.values_mut().for_each(|ways| ways.retain(|way| *way != (from, to)));
        self.apply(&cuts);
    }

    /// Heals every cut.
    pub fn heal_all(&self) {
        let mut cuts = self.cuts();
        cuts.under_way.clear();
        self.apply(&cuts);
    }

    fn apply(&self, cuts: &Cuts) {
        let ways = cuts.under_way.values().flatten();
        self.links.set(ways.map(|(from, to)| (from.0, to.0)).collect());
    }
}

impl Process {
    fn new(boot: Boot, what: Kind) -> Self {
        Self { boot, what, is_paused: AtomicBool::new(false), ended: watch::Sender::new(false) }
    }
}

/// A world that has ended.
#[derive(Clone, Debug)]
pub struct Finished<T> {
    /// What the main future returned.
    pub value: T,
    /// How long it lasted.
    pub lasted: SimTime,
}

/// The testbed itself panicked, or the world could not be made.
#[derive(Clone, Debug)]
pub struct WorldFailed(pub String);

impl fmt::Display for WorldFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs `main` in a new world on a new thread, ends everything in it, and returns what it returned. Ends the whole testbed
/// where SIGINT or SIGTERM comes, once no process of the world is left.
///
/// Errors: the testbed's own code panicked, or there is nothing to make a world of.
#[expect(clippy::disallowed_methods, reason = "a world is made and ended on a thread of its own")]
pub fn run<T, F>(
    options: WorldOptions,
    main: impl FnOnce(Arc<World>) -> F + Send + 'static,
) -> Result<Finished<T>, WorldFailed>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    // Nodes end with the thread that started them: it must live as long as they.
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| WorldFailed(error.to_string()))?;
        runtime.block_on(in_world(options, main))
    });
    thread.join().unwrap_or_else(|payload| {
        let words = payload.downcast_ref::<String>().cloned();
        let words = words.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
        Err(WorldFailed(words.unwrap_or_default()))
    })
}

async fn in_world<T, F: Future<Output = T>>(
    options: WorldOptions,
    main: impl FnOnce(Arc<World>) -> F,
) -> Result<Finished<T>, WorldFailed> {
    let failed = |error: std::io::Error| WorldFailed(error.to_string());
    let world = Arc::new(World::new(options).map_err(failed)?);
    let mut stop = signal::Stop::new().map_err(failed)?;
    let ears = async {
        let mut last = world.now();
        loop {
            let stood_still = world.now().since(last);
            if stood_still > STALL {
                let seconds = stood_still.as_secs_f64();
                world.say(&format!(
                    "the testbed itself stood still for {seconds:.1}s, and every link with it: \
                     this machine is too busy for what the run is to show"
                ));
            }
            last = world.now();
            world.look();
            world.sleep(LOOK_EVERY).await;
        }
    };
    let value = tokio::select! {
        biased;
        signal = stop.wait() => {
            world.end_all();
            eprintln!("{signal}: every node is ended");
            std::process::exit(130);
        }
        () = ears => unreachable!("it listens for ever"),
        value = main(Arc::clone(&world)) => value,
    };
    let lasted = world.now();
    world.end_all();
    Ok(Finished { value, lasted })
}

impl World {
    fn new(options: WorldOptions) -> std::io::Result<Self> {
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        std::fs::create_dir_all(&options.dir)?;
        // Worlds of one process have networks of their own; those of others mostly too, and other ports in any case.
        let of_process = std::process::id() % 128;
        let number = WORLDS.fetch_add(1, Ordering::Relaxed) % 250;
        let byte = |number: u32| u8::try_from(number).expect("below 256");
        let clock = real_env_at(None, Arc::new(Deaf), 1)?.clock;
        let begun = clock.now().monotonic;
        Ok(Self {
            options,
            clock,
            begun,
            wall_begun: real_wall_clock().millis(),
            network: [127, byte(NETWORK_FIRST + of_process), byte(number)],
            links: Links::new(),
            cuts: Mutex::default(),
            placed: Mutex::default(),
            machines: Mutex::default(),
            threads: Mutex::default(),
        })
    }

    /// Kills every process and waits for every thread.
    fn end_all(&self) {
        for machine in self.machines() {
            self.kill(machine.node);
        }
        self.links.close();
        let mut threads = self.threads.lock().expect("nothing panics with the threads locked");
        for thread in threads.drain(..) {
            // Its panic was told.
            let _ = thread.join();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // After a panic of the testbed too no process is left.
        for machine in self.machines() {
            self.kill(machine.node);
        }
    }
}

/// Hears nothing: what clients say of themselves is of no interest.
struct Deaf;

impl ottla::runtime::Observer for Deaf {
    fn observe(&self, _: Observation) {}
}
