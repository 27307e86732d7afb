//! A node of a real run: its files, its process, and what it says of itself.
//!
//! ```text
//! DIR/server.properties         written at each start
//! DIR/data-0/, DIR/metadata/    its log directories
//! DIR/node.log                  its standard error
//! DIR/observations-1.jsonl      what it said of itself, one file a start
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla::types::{Observation, Uuid};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use super::{Boot, ProcessEnd};

/// One cluster id in all runs.
const CLUSTER_ID: Uuid = Uuid::from_bytes(*b"ottla-simulation");

/// Makes the text of `server.properties`.
pub type Properties = Box<dyn Fn() -> String + Send + Sync>;

/// What is started on a machine.
pub struct Server {
    /// Where its files are.
    pub dir: PathBuf,
    /// Its configuration, made anew at each start: then every node's port is known.
    pub properties: Properties,
    /// Whether the next start formats its directories first.
    pub needs_format: Arc<AtomicBool>,
}

impl Server {
    fn config(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    /// What its process writes to standard output and standard error.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("node.log")
    }

    /// Starts its process.
    pub(super) fn start(&self, program: &Path, address: IpAddr, boot: Boot) -> io::Result<Running> {
        fs::create_dir_all(&self.dir)?;
        fs::write(self.config(), (self.properties)())?;
        if self.needs_format.load(Ordering::Relaxed) {
            self.format(program)?;
            self.needs_format.store(false, Ordering::Relaxed);
        }
        let said = self.dir.join(format!("observations-{}.jsonl", boot.0));
        let tail = Tail::of(&said)?;
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new(program);
        command.args(["start", "-c"]).arg(self.config());
        // A node that hangs ends too when the testbed is gone.
        command.env("OTTLA_STOP_WITH_PARENT", "kill");
        command.env("OTTLA_SOURCE_ADDRESS", address.to_string());
        command.env("OTTLA_OBSERVATIONS", &said);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Ctrl-C at the terminal is the testbed's alone.
        command.process_group(0);
        Ok(Running { child: command.spawn()?, tail })
    }

    fn format(&self, program: &Path) -> io::Result<()> {
        let mut command = Command::new(program);
        command.args(["format", "--quiet", "--ignore-formatted", "-t", &CLUSTER_ID.to_string()]);
        let output = command.arg("-c").arg(self.config()).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// Removes its log directories.
    pub(super) fn wipe(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.is_dir() {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }
}

/// A node's process.
pub struct Running {
    child: Child,
    tail: Tail,
}

impl Running {
    /// SIGKILL, and its end.
    pub(super) fn kill(&mut self) {
        // A process that has ended needs no kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Returns whether it was there to be signalled.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
    }

    /// How it ended; `None` while it lives.
    pub(super) fn ended(&mut self) -> Option<ProcessEnd> {
        let status: ExitStatus = self.child.try_wait().ok().flatten()?;
        Some(if status.success() {
            ProcessEnd::Clean
        } else {
            ProcessEnd::Failed(status.to_string())
        })
    }

    /// What it said since the last call, with the wall clock's milliseconds.
    pub(super) fn said(&mut self) -> Vec<(i64, Observation)> {
        self.tail.read()
    }
}

/// The end of a file that grows line by line.
struct Tail {
    file: File,
    /// The beginning of a line that is not whole yet.
    rest: Vec<u8>,
}

/// A line of it, as the node's `FileObserver` writes them.
#[derive(Deserialize)]
struct Line {
    at: i64,
    observation: Observation,
}

impl Tail {
    fn of(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
        Ok(Self { file, rest: Vec::new() })
    }

    /// The lines that became whole. A line that says nothing we know is an error of the testbed: node and testbed are one build.
    fn read(&mut self) -> Vec<(i64, Observation)> {
        // What cannot be read now is read the next time.
        let _ = self.file.read_to_end(&mut self.rest);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let rest = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let line: Line = serde_json::from_slice(line)
                    .unwrap_or_else(|error| panic!("the binary is of another build: {error}"));
                (line.at, line.observation)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use ottla::types::BrokerId;

    use super::*;

    #[test]
    fn lines_are_heard_when_they_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("said");
        let mut tail = Tail::of(&path).unwrap();
        let mut writes = OpenOptions::new().append(true).open(&path).unwrap();
        let said = Observation::NodeStopping { broker: BrokerId::new(3) };
        let text = serde_json::to_string(&said).unwrap();
        write!(writes, "{{\"at\":7,\"observation\":{text}}}\n{{\"at\":8,").unwrap();
        assert_eq!(tail.read(), [(7, said)]);
        assert_eq!(tail.read(), []);
        writeln!(writes, "\"observation\":{text}}}").unwrap();
        assert_eq!(tail.read(), [(8, said)]);
    }
}
