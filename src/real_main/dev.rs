//! `ottla dev`: a broker to try things with, as a child process of this one.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::args::DevArgs;
use super::failure::{Exit, Failure};

/// How long the child may take to open its port.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Runs it until Ctrl-C.
pub(crate) fn run(args: &DevArgs) -> Result<(), Failure> {
    refuse_taken_port(args.port)?;
    let failed = |what: &str, error: std::io::Error| {
        Failure::new(Exit::Failed, what).place(args.dir.display().to_string()).why(error)
    };
    fs::create_dir_all(&args.dir)
        .map_err(|error| failed("cannot make the data directory", error))?;
    let config = args.dir.join("server.properties");
    fs::write(&config, properties(args))
        .map_err(|error| failed("cannot write the node's configuration", error))?;
    let program =
        std::env::current_exe().map_err(|error| failed("cannot find this program", error))?;
    format(&program, &config)?;

    let began = now();
    let mut child = Command::new(&program)
        .args(["start", "-c"])
        .arg(&config)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| failed("cannot start the broker", error))?;
    wait_until_ready(&mut child, args.port)?;
    greet(args, now().duration_since(began));

    let status = wait_for_end(&mut child)?;
    if args.ephemeral {
        fs::remove_dir_all(&args.dir).map_err(|error| failed("cannot remove the data", error))?;
    }
    if status == 0 {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, format!("the broker ended with exit code {status}"))
        .next("its log is above"))
}

#[expect(clippy::disallowed_methods, reason = "the supervisor stands outside the node's world")]
fn now() -> Instant {
    Instant::now()
}

fn refuse_taken_port(port: u16) -> Result<(), Failure> {
    TcpListener::bind(("127.0.0.1", port)).map(drop).map_err(|error| {
        Failure::new(Exit::Usage, format!("port {port} is taken"))
            .place(format!("127.0.0.1:{port}"))
            .why(error)
            .next(format!("ottla dev --port {}", port.wrapping_add(100)))
    })
}

fn properties(args: &DevArgs) -> String {
    let data = args.dir.join("logs");
    let mut text = format!(
        "# Written by `ottla dev` at each start.\n\
         process.roles=broker,controller\nnode.id=1\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://localhost:{port}\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         log.dirs={}\n",
        data.display(),
        port = args.port,
        controller = args.port.wrapping_add(1),
    );
    for (name, value) in &args.overrides {
        text.push_str(&format!("{name}={value}\n"));
    }
    text
}

fn format(program: &Path, config: &Path) -> Result<(), Failure> {
    let output = Command::new(program)
        .args(["format", "--quiet", "--ignore-formatted", "-c"])
        .arg(config)
        .output();
    let output = output.map_err(|error| {
        Failure::new(Exit::Failed, "cannot format the data directory").why(error)
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, "cannot format the data directory")
        .why(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn wait_until_ready(child: &mut Child, port: u16) -> Result<(), Failure> {
    let deadline = now() + READY_WITHIN;
    while now() < deadline {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Failure::new(Exit::Failed, format!("the broker did not start ({status})"))
                .next("its log is above"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    Err(Failure::new(
        Exit::TimedOut,
        format!("the broker did not open port {port} within {} s", READY_WITHIN.as_secs()),
    ))
}

fn greet(args: &DevArgs, took: Duration) {
    let kept = if args.ephemeral { "forgotten at the end" } else { "kept" };
    let port = args.port;
    let at = if port == 9092 { String::new() } else { format!(" -b localhost:{port}") };
    println!(
        "ottla {}  dev cluster  1 broker · 1 controller · data {} ({kept})\n\
         \x20 bootstrap  localhost:{port}\n\
         ready in {:.2} s.  Next:\n\
         \x20 ottla topic create hello -p 3{at}\n\
         \x20 echo hi | ottla produce hello{at}\n\
         \x20 ottla consume hello -o start -n 1{at}\n\
         Ctrl-C stops it cleanly; start again to keep the data, `ottla dev --ephemeral` to forget.",
        env!("CARGO_PKG_VERSION"),
        args.dir.display(),
        took.as_secs_f64(),
    );
}

/// Waits for the child. Ctrl-C reaches it from the terminal too; SIGTERM is passed on, so that no broker is left behind.
fn wait_for_end(child: &mut Child) -> Result<i32, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(Exit::Failed, "cannot watch the broker").why(error);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let mut stop = {
        let _inside = runtime.enter();
        ottla::runtime::signal::Stop::new().map_err(failed)?
    };
    loop {
        let asked = runtime.block_on(async {
            tokio::time::timeout(Duration::from_millis(100), stop.wait()).await.is_ok()
        });
        if asked
            && let Some(process) =
                i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            // A broker that has ended meanwhile needs no signal.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status.code().unwrap_or(-1));
        }
    }
}
