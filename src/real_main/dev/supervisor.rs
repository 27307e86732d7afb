//! Runs the nodes of a development cluster as child processes, and does to them what is asked.

use std::fs::OpenOptions;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use ottla::client::{Admin, AdminConfig};
use rustix::process::{Pid, Signal, kill_process};

use super::control::{Asker, Control, Order};
use super::layout::{Layout, NodeLayout};
use super::links::{Wires, own_address};
use super::{now, pause, say};
use crate::real_main::args::DevArgs;
use crate::real_main::client::{block_on, wrong_property};
use crate::real_main::failure::{Exit, Failure};
use crate::real_main::node::{SOURCE_ADDRESS, STOP_WITH_PARENT};

/// How long a node may take to open its port.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a node may take to end in good order before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Runs a cluster until Ctrl-C.
pub(super) fn run(args: &DevArgs) -> Result<(), Failure> {
    let layout = Layout::new(args)?;
    let control = Control::open(&layout.dir)?;
    for node in &layout.nodes {
        refuse_taken_port(node.port)?;
    }
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(Exit::Failed, "cannot find this program").why(error))?;
    layout.prepare(&program, &args.overrides)?;
    let mut stop = Stop::new()?;

    let began = now();
    let wires = (layout.nodes.len() > 1).then(|| Wires::open(&layout.nodes)).transpose()?;
    let mut supervisor = Supervisor::new(layout, program, wires);
    let started = supervisor.start_all();
    let ended = match started {
        Ok(()) => {
            let took = now().duration_since(began);
            say(std::io::stdout(), greeting(args, &supervisor.layout, took));
            supervisor.watch(&control, &mut stop)
        }
        Err(failure) => Err(failure),
    };
    supervisor.stop_all(&mut stop);
    drop(control);
    if args.ephemeral {
        let dir = &supervisor.layout.dir;
        std::fs::remove_dir_all(dir).map_err(|error| {
            let place = dir.display().to_string();
            Failure::new(Exit::Failed, "cannot remove the data").place(place).why(error)
        })?;
    }
    ended
}

fn refuse_taken_port(port: u16) -> Result<(), Failure> {
    TcpListener::bind(("127.0.0.1", port)).map(drop).map_err(|error| {
        Failure::new(Exit::Usage, format!("port {port} is taken"))
            .place(format!("127.0.0.1:{port}"))
            .why(error)
            .next(format!("ottla dev --port {}", port.wrapping_add(100)))
    })
}

/// Ctrl-C and SIGTERM. The nodes are in groups of their own: the terminal's Ctrl-C reaches only this process.
struct Stop {
    runtime: tokio::runtime::Runtime,
    signals: ottla::runtime::signal::Stop,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Failed, "cannot listen for signals").why(error)
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let signals = {
            let _inside = runtime.enter();
            ottla::runtime::signal::Stop::new().map_err(failed)?
        };
        Ok(Self { runtime, signals })
    }

    /// Waits a moment. Returns whether a signal came.
    fn came(&mut self) -> bool {
        self.runtime.block_on(async {
            tokio::time::timeout(Duration::from_millis(50), self.signals.wait()).await.is_ok()
        })
    }
}

/// A node's process.
#[derive(Debug)]
enum State {
    Running(Child),
    Paused(Child),
    /// Not there, and why.
    Down(String),
}

#[derive(Debug)]
struct Supervisor {
    layout: Layout,
    program: PathBuf,
    /// In the order of the layout's nodes.
    states: Vec<State>,
    /// `None` where there is one node.
    wires: Option<Wires>,
}

impl Supervisor {
    fn new(layout: Layout, program: PathBuf, wires: Option<Wires>) -> Self {
        let down = || State::Down("not started".to_owned());
        let states = layout.nodes.iter().map(|_| down()).collect();
        Self { layout, program, states, wires }
    }

    fn start_all(&mut self) -> Result<(), Failure> {
        for index in 0..self.states.len() {
            let child = self.spawn(index)?;
            self.states[index] = State::Running(child);
        }
        (0..self.states.len()).try_for_each(|index| self.wait_until_open(index))?;
        self.wait_until_served()
    }

    /// Waits until every broker may lead.
    fn wait_until_served(&mut self) -> Result<(), Failure> {
        let deadline = now() + READY_WITHIN;
        while now() < deadline {
            if brokers_serving(&self.layout.bootstrap())? == self.layout.nodes.len() {
                return Ok(());
            }
            for index in 0..self.states.len() {
                self.refuse_ended(index)?;
            }
            pause();
        }
        let within = READY_WITHIN.as_secs();
        let what = format!("not every broker was in the cluster within {within} s");
        Err(Failure::new(Exit::TimedOut, what).next(self.where_its_log_is(0)))
    }

    fn refuse_ended(&mut self, index: usize) -> Result<(), Failure> {
        let Some(status) = self.ended(index) else { return Ok(()) };
        let id = self.layout.nodes[index].id;
        Err(Failure::new(Exit::Failed, format!("node {id} did not start ({status})"))
            .next(self.where_its_log_is(index)))
    }

    fn is_alone(&self) -> bool {
        self.layout.nodes.len() == 1
    }

    fn spawn(&self, index: usize) -> Result<Child, Failure> {
        let node = &self.layout.nodes[index];
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Failed, format!("cannot start node {}", node.id)).why(error)
        };
        let mut command = Command::new(&self.program);
        command.args(["start", "-c"]).arg(node.config());
        command.env(STOP_WITH_PARENT, "1").stdin(Stdio::null()).process_group(0);
        if !self.is_alone() {
            command.env(SOURCE_ADDRESS, own_address(node.id).to_string());
            let open = OpenOptions::new().create(true).append(true).open(node.log());
            let log = open.map_err(failed)?;
            command.stdout(log.try_clone().map_err(failed)?).stderr(log);
        }
        command.spawn().map_err(failed)
    }

    /// Waits until the node takes connections.
    fn wait_until_open(&mut self, index: usize) -> Result<(), Failure> {
        let deadline = now() + READY_WITHIN;
        while now() < deadline {
            let port = self.layout.nodes[index].port;
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            self.refuse_ended(index)?;
            pause();
        }
        let node = &self.layout.nodes[index];
        Err(Failure::new(
            Exit::TimedOut,
            format!(
                "node {} did not open port {} within {} s",
                node.id,
                node.port,
                READY_WITHIN.as_secs()
            ),
        )
        .next(self.where_its_log_is(index)))
    }

    fn where_its_log_is(&self, index: usize) -> String {
        if self.is_alone() {
            return "its log is above".to_owned();
        }
        format!("its log is {}", self.layout.nodes[index].log().display())
    }

    /// Whether the node's process ended by itself; then it is down.
    fn ended(&mut self, index: usize) -> Option<ExitStatus> {
        let status = match &mut self.states[index] {
            State::Running(child) | State::Paused(child) => child.try_wait().ok().flatten()?,
            State::Down(_) => return None,
        };
        self.states[index] = State::Down(status.to_string());
        Some(status)
    }

    /// Does what is asked until a signal comes, or the only node ends.
    fn watch(&mut self, control: &Control, stop: &mut Stop) -> Result<(), Failure> {
        while !stop.came() {
            while let Some(asker) = control.next() {
                self.answer(asker);
            }
            for index in 0..self.states.len() {
                let Some(status) = self.ended(index) else { continue };
                let id = self.layout.nodes[index].id;
                let failure =
                    Failure::new(Exit::Failed, format!("node {id} ended by itself ({status})"));
                if self.is_alone() {
                    return Err(failure.next("its log is above"));
                }
                let next = format!(
                    "{}; `ottla dev start {id}` starts it again",
                    self.where_its_log_is(index)
                );
                say(std::io::stderr(), failure.next(next));
            }
        }
        Ok(())
    }

    fn answer(&mut self, asker: Asker) {
        let answer = match asker.order {
            Some(order) => self.carry_out(order),
            None => Err("the order is not known: is it another version of ottla?".to_owned()),
        };
        if let (Ok(text), false) = (&answer, asker.order == Some(Order::Status)) {
            say(std::io::stderr(), text);
        }
        asker.answer(&answer);
    }

    fn carry_out(&mut self, order: Order) -> Result<String, String> {
        match order {
            Order::Status => Ok(self.status()),
            Order::Start(node) => self.start(node),
            Order::Kill(node) => {
                self.signal(node, Signal::KILL)?;
                self.reap(node, "killed")?;
                Ok(format!("node {node} is killed; `ottla dev start {node}` starts it again"))
            }
            Order::Stop(node) => {
                self.signal(node, Signal::CONT)?;
                self.signal(node, Signal::TERM)?;
                self.reap(node, "stopped")?;
                Ok(format!("node {node} is stopped; `ottla dev start {node}` starts it again"))
            }
            Order::Isolate(node) => {
                self.index(node)?;
                self.wires()?.isolate(node)?;
                Ok(format!(
                    "node {node} is cut off from the others; `ottla dev rejoin {node}` lets it back"
                ))
            }
            Order::Rejoin(node) => {
                self.index(node)?;
                self.wires()?.rejoin(node)?;
                Ok(format!("node {node} reaches the others again"))
            }
            Order::Pause(node) => {
                self.signal(node, Signal::STOP)?;
                self.change(node, State::paused)?;
                Ok(format!("node {node} hangs; `ottla dev resume {node}` lets it go on"))
            }
            Order::Resume(node) => {
                self.signal(node, Signal::CONT)?;
                self.change(node, State::running)?;
                Ok(format!("node {node} goes on"))
            }
        }
    }

    fn index(&self, node: u16) -> Result<usize, String> {
        let index = self.layout.nodes.iter().position(|known| known.id == node);
        index.ok_or_else(|| {
            format!("there is no node {node}: the nodes are 1 to {}", self.layout.nodes.len())
        })
    }

    fn wires(&mut self) -> Result<&mut Wires, String> {
        self.wires.as_mut().ok_or_else(|| {
            "there is no other node to be cut off from; `ottla dev --brokers 3`".to_owned()
        })
    }

    fn signal(&mut self, node: u16, signal: Signal) -> Result<(), String> {
        let index = self.index(node)?;
        match &self.states[index] {
            State::Down(why) => Err(format!("node {node} does not run ({why})")),
            State::Running(child) | State::Paused(child) => send(child, signal)
                .map_err(|error| format!("node {node} cannot be signalled: {error}")),
        }
    }

    fn change(&mut self, node: u16, change: impl FnOnce(State) -> State) -> Result<(), String> {
        let index = self.index(node)?;
        let state = std::mem::replace(&mut self.states[index], State::Down(String::new()));
        self.states[index] = change(state);
        Ok(())
    }

    /// Waits for a node that was told to end.
    fn reap(&mut self, node: u16, why: &str) -> Result<(), String> {
        let index = self.index(node)?;
        let deadline = now() + STOP_WITHIN;
        while self.ended(index).is_none() {
            if now() > deadline {
                return Err(format!(
                    "node {node} has not ended after {} s; `ottla dev kill {node}`",
                    STOP_WITHIN.as_secs()
                ));
            }
            pause();
        }
        self.states[index] = State::Down(why.to_owned());
        Ok(())
    }

    fn start(&mut self, node: u16) -> Result<String, String> {
        let index = self.index(node)?;
        if !matches!(self.states[index], State::Down(_)) {
            return Err(format!("node {node} runs already"));
        }
        let child = self.spawn(index).map_err(|failure| failure.to_string())?;
        self.states[index] = State::Running(child);
        self.wait_until_open(index).map_err(|failure| failure.to_string())?;
        Ok(format!("node {node} runs"))
    }

    fn status(&mut self) -> String {
        for index in 0..self.states.len() {
            let _ = self.ended(index);
        }
        let line = |(node, state): (&NodeLayout, &State)| {
            let state = match state {
                State::Running(child) => format!("runs     pid {}", child.id()),
                State::Paused(child) => format!("hangs    pid {}", child.id()),
                State::Down(why) => format!("is down  {why}"),
            };
            let is_apart = self.wires.as_ref().is_some_and(|wires| wires.is_apart(node.id));
            let apart = if is_apart { "  cut off from the others" } else { "" };
            format!("node {}  localhost:{}  {state}{apart}", node.id, node.port)
        };
        let lines: Vec<String> = self.layout.nodes.iter().zip(&self.states).map(line).collect();
        lines.join("\n")
    }

    /// Ends all nodes in good order; at once where another signal comes, or it takes too long.
    fn stop_all(&mut self, stop: &mut Stop) {
        for state in &self.states {
            if let State::Running(child) | State::Paused(child) = state {
                // A node that has ended meanwhile needs no signal.
                let _ = send(child, Signal::CONT);
                let _ = send(child, Signal::TERM);
            }
        }
        let deadline = now() + STOP_WITHIN;
        loop {
            let left = (0..self.states.len())
                .filter(|index| {
                    self.ended(*index).is_none() && !matches!(self.states[*index], State::Down(_))
                })
                .count();
            if left == 0 {
                return;
            }
            if stop.came() || now() > deadline {
                break;
            }
        }
        for state in &mut self.states {
            if let State::Running(child) | State::Paused(child) = state {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

impl State {
    fn paused(self) -> Self {
        match self {
            Self::Running(child) | Self::Paused(child) => Self::Paused(child),
            Self::Down(why) => Self::Down(why),
        }
    }

    fn running(self) -> Self {
        match self {
            Self::Running(child) | Self::Paused(child) => Self::Running(child),
            Self::Down(why) => Self::Down(why),
        }
    }
}

/// How many brokers the cluster names to clients.
fn brokers_serving(bootstrap: &str) -> Result<usize, Failure> {
    let properties = [("bootstrap.servers", bootstrap), ("default.api.timeout.ms", "2000")];
    let config = AdminConfig::new(properties).map_err(|error| wrong_property(&error))?;
    let mut count = 0;
    block_on(|env| {
        let (admin, count) = (Admin::new(config, env), &mut count);
        async move {
            // No answer yet: it is asked again.
            *count = admin.describe_cluster().await.map_or(0, |cluster| cluster.nodes.len());
            Ok(())
        }
    })?;
    Ok(count)
}

fn send(child: &Child, signal: Signal) -> rustix::io::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.map_or(Err(rustix::io::Errno::SRCH), |pid| kill_process(pid, signal))
}

/// What runs, where, and what to do with it.
fn greeting(args: &DevArgs, layout: &Layout, took: Duration) -> String {
    let kept = if args.ephemeral { "forgotten at the end" } else { "kept" };
    let count = layout.nodes.len();
    let first = layout.nodes[0].port;
    let at = if first == 9092 { String::new() } else { format!(" -b localhost:{first}") };
    let plural =
        |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let controllers = usize::from(layout.controllers());
    let mut text = format!(
        "ottla {}  dev cluster  {} · {} · data {} ({kept})\n\
         \x20 bootstrap  {}\n\
         ready in {:.2} s.  Next:\n\
         \x20 ottla topic create hello -p 3{at}\n\
         \x20 echo hi | ottla produce hello{at}\n\
         \x20 ottla consume hello -o start -n 1{at}\n",
        env!("CARGO_PKG_VERSION"),
        plural(count, "broker"),
        plural(controllers, "controller"),
        args.dir.display(),
        layout.bootstrap(),
        took.as_secs_f64(),
    );
    if count > 1 {
        let dir = if args.dir.as_os_str() == "./data" {
            String::new()
        } else {
            format!(" --dir {}", args.dir.display())
        };
        text += &format!(
            "\x20 ottla dev{dir} kill 2        and then: ottla topic describe hello{at}; ottla dev{dir} start 2\n\
             \x20 (or pause, resume, stop, isolate, rejoin, status; what a node says is in {}/N/node.log)\n",
            args.dir.display()
        );
    }
    text + "Ctrl-C stops it cleanly; start again to keep the data, `ottla dev --ephemeral` to forget."
}
