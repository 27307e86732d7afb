//! How `ottla dev kill 2` reaches the `ottla dev` that runs: one line there, one line back, over a socket in its directory.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::real_main::failure::{Exit, Failure};

/// How long who asks waits for the answer.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long who asks may take to say what, on a busy machine.
const PATIENCE_WITH_ASKER: Duration = Duration::from_secs(10);

/// What is to be done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// SIGKILL: what the kernel has of its writes stays.
    Kill(u16),
    /// SIGSTOP: it hangs.
    Pause(u16),
    /// SIGCONT.
    Resume(u16),
    /// SIGTERM: it hands its partitions over and ends.
    Stop(u16),
    /// A new process on the node's data.
    Start(u16),
    /// No node reaches it, and it none.
    Isolate(u16),
    /// They reach each other again.
    Rejoin(u16),
    /// Which nodes run.
    Status,
}

impl Order {
    fn line(self) -> String {
        match self {
            Self::Kill(node) => format!("kill {node}"),
            Self::Pause(node) => format!("pause {node}"),
            Self::Resume(node) => format!("resume {node}"),
            Self::Stop(node) => format!("stop {node}"),
            Self::Start(node) => format!("start {node}"),
            Self::Isolate(node) => format!("isolate {node}"),
            Self::Rejoin(node) => format!("rejoin {node}"),
            Self::Status => "status".to_owned(),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        if line == "status" {
            return Some(Self::Status);
        }
        let (word, node) = line.split_once(' ')?;
        let node: u16 = node.parse().ok()?;
        Some(match word {
            "kill" => Self::Kill(node),
            "pause" => Self::Pause(node),
            "resume" => Self::Resume(node),
            "stop" => Self::Stop(node),
            "start" => Self::Start(node),
            "isolate" => Self::Isolate(node),
            "rejoin" => Self::Rejoin(node),
            _ => return None,
        })
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

/// The running side. Removes the socket when it is dropped.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Control {
    fn drop(&mut self) {
        // The next start removes it too.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Control {
    /// Errors: another `ottla dev` runs in this directory, or the socket cannot be made there.
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        let path = socket(dir);
        if UnixStream::connect(&path).is_ok() {
            return Err(Failure::new(Exit::Usage, "an `ottla dev` runs in this directory already")
                .place(dir.display().to_string())
                .next("stop it with Ctrl-C, or use another --dir and --port"));
        }
        // What is there was left by one that was killed.
        let _ = std::fs::remove_file(&path);
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Failed, "cannot make the control socket")
                .place(path.display().to_string())
                .why(error)
                .next("use a shorter --dir: a socket's path has at most 107 bytes")
        };
        let listener = UnixListener::bind(&path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self { listener, path })
    }

    /// Somebody who asks, if there is one now.
    pub(super) fn next(&self) -> Option<Asker> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(PATIENCE_WITH_ASKER)).ok()?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).ok()?;
        Some(Asker { order: Order::parse(line.trim()), stream })
    }
}

/// Who asks, and what; `None` where the line says nothing that is known.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) order: Option<Order>,
    stream: UnixStream,
}

impl Asker {
    pub(super) fn answer(mut self, answer: &Result<String, String>) {
        let (word, text) = match answer {
            Ok(text) => ("ok", text),
            Err(text) => ("error", text),
        };
        // Who asked may be gone.
        let _ = writeln!(self.stream, "{word} {}", text.replace('\n', "\t"));
    }
}

/// The asking side.
pub(super) fn ask(dir: &Path, order: Order) -> Result<String, Failure> {
    let path = socket(dir);
    let unreachable = |error: std::io::Error| {
        Failure::new(Exit::Unreachable, "no `ottla dev` runs in this directory")
            .place(dir.display().to_string())
            .why(error)
            .next("start one with `ottla dev --brokers 3`, or name its directory with --dir")
    };
    let mut stream = UnixStream::connect(&path).map_err(unreachable)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(unreachable)?;
    writeln!(stream, "{}", order.line()).map_err(unreachable)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(unreachable)?;
    let line = line.trim_end().replace('\t', "\n");
    match line.split_once(' ') {
        Some(("ok", text)) => Ok(text.to_owned()),
        Some(("error", text)) => Err(Failure::new(Exit::Failed, text)),
        Some(_) | None => {
            Err(Failure::new(Exit::Failed, "the running `ottla dev` ended meanwhile"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_read_back() {
        let orders = [
            Order::Kill(1),
            Order::Pause(2),
            Order::Resume(3),
            Order::Stop(4),
            Order::Start(5),
            Order::Isolate(6),
            Order::Rejoin(7),
            Order::Status,
        ];
        for order in orders {
            assert_eq!(Order::parse(&order.line()), Some(order));
        }
        assert_eq!(Order::parse("kill"), None);
        assert_eq!(Order::parse("kill -1"), None);
        assert_eq!(Order::parse("burn 1"), None);
    }

    #[expect(clippy::disallowed_methods, reason = "the one who asks is another process otherwise")]
    #[test]
    fn an_order_is_carried_out_by_the_one_that_runs() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ask(dir.path(), Order::Status).is_err());
        let control = Control::open(dir.path()).unwrap();
        assert!(Control::open(dir.path()).is_err(), "one is enough");
        // That look was somebody who asked nothing.
        while control.next().is_some() {}
        let path = dir.path().to_owned();
        let asking = std::thread::spawn(move || ask(&path, Order::Kill(2)));
        let asker = loop {
            if let Some(asker) = control.next() {
                break asker;
            }
            std::thread::yield_now();
        };
        assert_eq!(asker.order, Some(Order::Kill(2)));
        asker.answer(&Ok("two\nlines".to_owned()));
        assert_eq!(asking.join().unwrap().unwrap(), "two\nlines");
        drop(control);
        assert!(!socket(dir.path()).exists());
    }
}
