//! `ottla dev isolate N`: a node that the others do not reach, and that comes back.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const OTTLA: &str = env!("CARGO_BIN_EXE_ottla");
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Three nodes take two each.
const PORTS: u16 = 6;

/// A port with free ones after it, not given to another test.
fn free_ports() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: &u16| {
        (*port..port + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
    };
    let mut all = (0..900).map(|_| {
        let place = std::process::id() + GIVEN.fetch_add(1, Ordering::Relaxed);
        11_000 + u16::try_from(place % 900).unwrap() * 10
    });
    all.find(is_free).unwrap()
}

struct Dev {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Its nodes end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Dev {
    /// A cluster of three that serves.
    fn start() -> Self {
        let mut dev = Self::spawn();
        let said = BufReader::new(dev.child.stdout.take().unwrap());
        let is_ready = said.lines().any(|line| line.unwrap().contains("ready in"));
        assert!(is_ready, "the cluster ended before it was ready");
        dev
    }

    /// A cluster of three that begins.
    fn spawn() -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_ports());
        let mut command = Command::new(OTTLA);
        command.args(["dev", "--brokers", "3", "--port", &port.to_string(), "--dir"]);
        command.arg(dir.path().join("data"));
        command.args(["--override", "broker.session.timeout.ms=3000"]);
        command.args(["--override", "broker.heartbeat.interval.ms=500"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child, dir, port }
    }

    /// Asks the one that runs. Errors: what is said then.
    fn ask(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(OTTLA);
        command.args(["dev", "--dir"]).arg(self.dir.path().join("data")).args(words);
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Asks for what is refused, with these words.
    fn refuses(&self, words: &[&str], with: &str) {
        let error = self.ask(words).unwrap_err();
        assert!(error.contains(with), "{words:?}: {error}");
    }

    /// A command of a client.
    fn client(&self, words: &[&str]) -> String {
        let at = format!("localhost:{}", self.port);
        let output = Command::new(OTTLA).args(words).args(["-b", &at]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until each line of a topic's description is as asked.
    fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let described = self.client(&["topic", "describe", "orders", "--kafka"]);
            let partitions: Vec<&str> =
                described.lines().filter(|line| line.contains("Partition: ")).collect();
            if partitions.len() == 3 && partitions.iter().all(|line| is_so(line)) {
                return;
            }
            assert!(Instant::now() < deadline, "never {what}:\n{described}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The ids after `Isr: `.
fn isr(line: &str) -> Vec<&str> {
    let ids = line.split("Isr: ").nth(1).unwrap_or_default();
    ids.split(['\t', ' ']).next().unwrap_or_default().split(',').collect()
}

#[test]
fn a_node_that_is_cut_off_leads_nothing_and_is_in_sync_again_when_it_is_back() {
    let dev = Dev::start();
    dev.client(&["topic", "create", "orders", "-p", "3", "-r", "3"]);
    dev.wait_until("in sync", |line| isr(line).len() == 3);
    dev.refuses(&["rejoin", "2"], "node 2 is not cut off");
    dev.refuses(&["isolate", "9"], "there is no node 9");

    assert!(dev.ask(&["isolate", "2"]).unwrap().contains("node 2 is cut off"));
    dev.refuses(&["isolate", "2"], "cut off already");
    let status = dev.ask(&["status"]).unwrap();
    let apart: Vec<&str> = status.lines().filter(|line| line.contains("cut off")).collect();
    assert!(apart.len() == 1 && apart[0].starts_with("node 2 "), "{status}");
    dev.wait_until("led by others", |line| {
        !isr(line).contains(&"2") && !line.contains("Leader: 2\t")
    });

    dev.ask(&["rejoin", "2"]).unwrap();
    assert!(!dev.ask(&["status"]).unwrap().contains("cut off"));
    dev.wait_until("in sync again", |line| isr(line).len() == 3);
}

/// As under `ottla dev | head -3`.
#[test]
fn a_cluster_runs_on_when_nobody_reads_what_it_says() {
    let mut dev = Dev::spawn();
    drop((dev.child.stdout.take(), dev.child.stderr.take()));
    let deadline = Instant::now() + PATIENCE;
    // It answers only once it has said that it is ready.
    while dev.ask(&["status"]).is_err() {
        assert_eq!(dev.child.try_wait().unwrap(), None, "it ended");
        assert!(Instant::now() < deadline, "it never answers");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(dev.ask(&["isolate", "2"]).unwrap().contains("node 2 is cut off"));
    assert!(dev.ask(&["status"]).unwrap().contains("cut off"));
}
