//! `ottla dev isolate N`: a node that the others do not reach, and that comes back.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const OTTLA: &str = env!("CARGO_BIN_EXE_ottla");
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Three nodes take two each.
const PORTS: u16 = 6;

/// A port with free ones after it.
fn free_ports() -> u16 {
    let start = u16::try_from(std::process::id() % 900).unwrap() * 10;
    let all = (0..900).map(|index| 11_000 + (start + index * 10) % 9_000);
    let is_free = |port: &u16| {
        (*port..port + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
    };
    all.into_iter().find(is_free).unwrap()
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
        let (dir, port) = (tempfile::tempdir().unwrap(), free_ports());
        let mut command = Command::new(OTTLA);
        command.args(["dev", "--brokers", "3", "--port", &port.to_string(), "--dir"]);
        command.arg(dir.path().join("data"));
        command.args(["--override", "broker.session.timeout.ms=3000"]);
        command.args(["--override", "broker.heartbeat.interval.ms=500"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let is_ready = said.lines().any(|line| line.unwrap().contains("ready in"));
        let dev = Self { child, dir, port };
        assert!(is_ready, "the cluster ended before it was ready");
        dev
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
